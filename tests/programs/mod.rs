//! Compiling C programs, and a cluster to run them in.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Strict C99 as the oldest compilers that are still in use would have it.
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

/// One cluster for all tests of a program: the one that RDC_URL names, or else one of our own, which
/// lives as long as its standard input is open, that is, until this process ends, however it ends.
pub static CLUSTER: LazyLock<(String, Option<Child>)> = LazyLock::new(|| {
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
});

/// An empty folder of that name for this run.
pub fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Absent is as good as removed; anything else makes create_dir_all or its user fail.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a scratch folder");
    dir
}

/// Runs a command, gives back what it printed, and fails the test with all of that if it fails.
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
        // Of a long list of checks only those that failed are worth reading, and the notes beside them.
        stdout
            .lines()
            .filter(|line| !line.starts_with("ok - "))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    stdout
}

/// One program at a time: several of them write and delete the keys of the seed page.
static ALONE: Mutex<()> = Mutex::new(());

/// `tool` runs the program; it is `timeout`, since a call that never ends must fail, not hang.
#[allow(dead_code)] // Not every test program uses it.
pub fn run(program: &Path, tool: &[&str]) -> String {
    run_with(program, tool, &[])
}

/// The same with a few words more in the environment.
pub fn run_with(program: &Path, tool: &[&str], environment: &[(&str, &str)]) -> String {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let environment = environment.iter().filter(|(_, value)| !value.is_empty());
    succeed(
        Command::new("timeout")
            .args(["--kill-after=5", "180"])
            .args(tool)
            .arg(program)
            .env("RDC_URL", &CLUSTER.0)
            .envs(environment.copied()),
    )
}
