//! Gives the shared library its SONAME (cargo sets none) and keeps it mapped after dlclose:
//! thread-local storage of a caller's thread may outlive the handle that loaded us.
fn main() {
    // What programs are linked against is the major version: see ABI.md.
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").unwrap_or_default();
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,librediscluster.so.{major}");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // See src/sync.rs: set by `make tsan` alone.
    println!("cargo:rustc-check-cfg=cfg(rdc_tsan)");
    println!("cargo:rerun-if-changed=build.rs");
}
