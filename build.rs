//! Sets the SONAME of the shared library, which cargo does not, and keeps the library mapped after
//! dlclose(): thread-local destructors may run later. Fills the tables of src/topology/key_slot.rs.

use crc16::{State, XMODEM};
use std::path::Path;

/// The CRC16 of each byte followed by 0 to 7 zeros, as a Rust expression.
fn crc16_tables() -> String {
    let table = |zeros: usize| -> Vec<u16> {
        (0..=u8::MAX)
            .map(|byte| State::<XMODEM>::calculate(&[byte, 0, 0, 0, 0, 0, 0, 0][..=zeros]))
            .collect()
    };
    format!("{:?}", [0, 1, 2, 3, 4, 5, 6, 7].map(table))
}

fn main() -> std::io::Result<()> {
    let out = std::env::var_os("OUT_DIR").unwrap_or_default();
    std::fs::write(Path::new(&out).join("crc16_tables.rs"), crc16_tables())?;
    // Programs are linked against the major version: see ABI.md.
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").unwrap_or_default();
    let option = match std::env::var("CARGO_CFG_TARGET_VENDOR").as_deref() {
        // A library with thread-local variables is never unloaded there.
        Ok("apple") => format!("-install_name,@rpath/librediscluster.{major}.dylib"),
        _ => format!("-soname,librediscluster.so.{major},-z,nodelete"),
    };
    println!("cargo:rustc-cdylib-link-arg=-Wl,{option}");
    // Set by `make tsan` only: see src/sync.rs.
    println!("cargo:rustc-check-cfg=cfg(rdc_tsan)");
    // Set by tests/portable.rs only: see src/net/sys/bsd/mod.rs.
    println!("cargo:rustc-check-cfg=cfg(rdc_portable)");
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
