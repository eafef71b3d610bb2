//! The packages under test, which are built once.

use super::programs::{CLUSTERS, ROOT, scratch, succeed};
use super::release_build::release;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder of the packages.
pub static PACKAGES: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Err(reason) = release("librediscluster.a") {
        panic!("{reason}");
    }
    let folder = scratch("packages");
    let kinds = "tarball deb wheel sdist gem npm go-module crate sums";
    let kinds: Vec<&str> = kinds.split(' ').collect();
    make(&kinds, &folder);
    folder
});

/// Builds packages of these kinds, without what takes long: the crate is compiled, and lintian run, by `make dist`.
pub fn make(kinds: &[&str], folder: &Path) {
    let target = release("librediscluster.a").expect("the release build");
    let target = target.ancestors().nth(2).expect("target/release");
    succeed(
        command("make")
            .args(kinds)
            .current_dir(ROOT)
            .env("CARGO_TARGET_DIR", target)
            .env("PACKAGES", folder)
            .env("RDC_VERIFY", "no")
            .env("RDC_LINTIAN", "no"),
    );
}

/// A command without what cargo and make put into the environment of these tests. Build scripts that depend on it would
/// compile the library anew.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars() {
        let is_of_cargo = name.starts_with("CARGO") && name != "CARGO_HOME";
        if is_of_cargo || INHERITED.contains(&&*name) {
            command.env_remove(name);
        }
    }
    command
}

const INHERITED: &[&str] = &[
    "BINDIR",
    "BUILD",
    "INCLUDEDIR",
    "LD_LIBRARY_PATH",
    "LIBDIR",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MANDIR",
    "MFLAGS",
    "OUT_DIR",
    "PKG_CONFIG_PATH",
    "PLATFORMS",
    "RDC_LIBRARY",
    "RDC_PYTHON_EXTENSION",
    "STATIC_LIBS",
];

/// As [`command`], for a program that connects to the cluster. It ends if it hangs.
pub fn in_cluster(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut timeout = command("timeout");
    timeout.args(["--kill-after=5", "60"]).arg(program);
    timeout.env("RDC_URL", CLUSTERS[0].url());
    timeout
}

/// The only package whose name begins and ends so.
pub fn package(start: &str, end: &str) -> PathBuf {
    let names = fs::read_dir(&*PACKAGES).expect("the packages");
    let names = names.map(|entry| entry.expect("a package").path());
    let is_wanted = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(start) && name.ends_with(end))
    };
    let found: Vec<PathBuf> = names.filter(is_wanted).collect();
    assert_eq!(found.len(), 1, "{start}*{end}: {found:?}");
    found.into_iter().next().unwrap_or_default()
}

/// The program of target/venv, the Python of the tests.
pub fn python() -> PathBuf {
    let built = release("librediscluster.a").expect("the release build");
    built
        .ancestors()
        .nth(2)
        .expect("target")
        .join("venv/bin/python")
}
