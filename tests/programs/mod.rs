//! Compiles C programs and runs them against a cluster.
#![allow(dead_code)] // Each test program uses a part of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Strict C99, for the oldest compilers in use.
pub const C_FLAGS: &[&str] = &[
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-O1",
    "-g",
    "-pthread",
];

const CXX_FLAGS: &[&str] = &[
    "-std=c++17",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-O1",
    "-g",
];
pub const SONAME: &str = concat!("librediscluster.so.", env!("CARGO_PKG_VERSION_MAJOR"));

/// The folder with the libraries that cargo built for this test.
pub static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = std::env::current_exe().expect("the path of this test");
    test.parent().expect("its folder").to_owned()
});

/// A folder with the names that linker and loader look for, linked to the built library.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = scratch("lib");
    for name in ["librediscluster.so", SONAME] {
        symlink(BUILT.join("librediscluster.so"), dir.join(name))
            .expect("a symlink to the library");
    }
    dir
});

/// The libraries of the event loops that a program includes.
fn event_loops(source: &Path) -> Vec<&'static str> {
    let text = fs::read_to_string(source).expect("a source");
    let loops = [("#include <uv.h>", "-luv"), ("#include <ev.h>", "-lev")];
    let included = loops.iter().filter(|(include, _)| text.contains(include));
    included.map(|(_, library)| *library).collect()
}

pub fn compile(source: &Path, program: &Path) {
    let (compiler, flags) = match source.extension().and_then(|e| e.to_str()) {
        Some("cpp") => ("c++", CXX_FLAGS),
        _ => ("cc", C_FLAGS),
    };
    succeed(
        Command::new(compiler)
            .args(flags)
            .arg(format!("-I{ROOT}/include"))
            .arg(source)
            .arg("-o")
            .arg(program)
            .arg(format!("-L{}", LIBRARY.display()))
            .arg(format!("-Wl,-rpath,{}", LIBRARY.display()))
            .args(["-Wl,--as-needed", "-lrediscluster", "-ldl"])
            .args(event_loops(source)),
    );
}

/// Runs `compiler` on a source. The program lies beside it, with the extension `program`.
pub fn compile_against_library(compiler: &mut Command, source: &Path) {
    succeed(
        compiler
            .arg(format!("-I{ROOT}/include"))
            .arg(source)
            .arg("-o")
            .arg(source.with_extension("program"))
            .arg(format!("-L{}", LIBRARY.display()))
            .arg(format!("-Wl,-rpath,{}", LIBRARY.display()))
            .arg("-lrediscluster"),
    );
}

/// A cluster for programs: the one in RDC_URL, or a new one. A new one lives while its standard input is open, that is,
/// until this process ends.
pub struct Cluster {
    url: LazyLock<(String, Option<Child>)>,
    /// Several programs write and delete the same keys.
    used: Mutex<()>,
}

impl Cluster {
    const fn new() -> Cluster {
        Cluster {
            url: LazyLock::new(start),
            used: Mutex::new(()),
        }
    }

    pub fn url(&self) -> &str {
        &self.url.0
    }
}

/// Two, so that one program does not wait for another one that waits.
pub static CLUSTERS: [Cluster; 2] = [const { Cluster::new() }; 2];

fn start() -> (String, Option<Child>) {
    if let Ok(url) = std::env::var("RDC_URL") {
        return (url, None);
    }
    let mut child = Command::new(env!("CARGO"))
        .args(["run", "-q", "-p", "support", "--bin", "cluster", "--"])
        .args(["run", "--", "sh", "-c", "echo \"$RDC_URL\"; exec cat"])
        .current_dir(ROOT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo run");
    let stdout = child.stdout.take().expect("its output");
    let url = BufReader::new(stdout)
        .lines()
        .map(|line| line.expect("a line of the cluster tool"))
        .find(|line| line.starts_with("redis://"))
        .expect("the cluster tool ended before its cluster was up");
    (url, Some(child))
}

/// A cluster that no other program uses until the guard is dropped.
fn free_cluster() -> (&'static Cluster, MutexGuard<'static, ()>) {
    let is_given = std::env::var_os("RDC_URL").is_some();
    let clusters = if is_given { &CLUSTERS[..1] } else { &CLUSTERS };
    let free = clusters
        .iter()
        .find_map(|cluster| match cluster.used.try_lock() {
            Ok(guard) => Some((cluster, guard)),
            Err(TryLockError::Poisoned(failed)) => Some((cluster, failed.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        });
    free.unwrap_or_else(|| {
        let guard = clusters[0].used.lock();
        (&clusters[0], guard.unwrap_or_else(PoisonError::into_inner))
    })
}

/// An empty folder with this name.
pub fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // It may not exist; any other error makes create_dir_all or its user fail.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a scratch folder");
    dir
}

/// Runs a command and returns its output. A failing command fails the test with that output.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| {
        panic!("{command:?}: {e} (tools/setup.sh test installs what is missing)")
    });
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{stderr}",
        output.status,
        // Of a long list of checks only the failed ones and their notes are useful.
        stdout
            .lines()
            .filter(|line| !line.starts_with("ok - "))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    stdout
}

/// `tool` runs the program under `timeout`, so that an endless call fails instead of hanging.
pub fn run(program: &Path, tool: &[&str]) -> String {
    run_with(program, tool, &[])
}

/// As [`run`], with more environment variables.
pub fn run_with(program: &Path, tool: &[&str], environment: &[(&str, &str)]) -> String {
    let (cluster, _guard) = free_cluster();
    let environment = environment.iter().filter(|(_, value)| !value.is_empty());
    succeed(
        Command::new("timeout")
            .args(["--kill-after=5", "180"])
            .args(tool)
            .arg(program)
            .env("RDC_URL", cluster.url())
            .envs(environment.copied()),
    )
}
