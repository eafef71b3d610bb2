//! Sets the SONAME of the shared library, which cargo does not, and keeps the library mapped after
//! dlclose(): thread-local destructors may run later.
fn main() {
    // Programs are linked against the major version: see ABI.md.
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").unwrap_or_default();
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,librediscluster.so.{major}");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Set by `make tsan` only: see src/sync.rs.
    println!("cargo:rustc-check-cfg=cfg(rdc_tsan)");
    println!("cargo:rerun-if-changed=build.rs");
}
