//! What macOS and FreeBSD compile instead of Linux's system calls (src/net/sys/bsd): it compiles there, and it is run on
//! Linux: C programs against a cluster, and the unit tests of src/net (`make portable`). kqueue is emulated
//! (tests/portable/kqueue_emulation.rs).

mod programs;

use programs::{C_FLAGS, ROOT, run, scratch, succeed};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const CFG: [&str; 3] = ["--", "--cfg", "rdc_portable"];

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(ROOT).args(["rustc", "-q", "--lib"]);
    cargo
}

/// The target folder of this build. In that of the other tests, its library would replace theirs.
static TARGET: LazyLock<PathBuf> =
    LazyLock::new(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("portable"));

/// Without TLS, whose crates compile C. Nothing in it depends on the system.
fn check_for(target: &str) {
    let mut rustup = Command::new("rustup");
    let added = rustup.args(["target", "add", target]).output();
    if !added.is_ok_and(|added| added.status.success()) {
        eprintln!("skipped: rustup, or its standard library for {target}, is missing");
        return;
    }
    succeed(
        Command::new(env!("CARGO"))
            .args([
                "clippy",
                "-q",
                "--lib",
                "--no-default-features",
                "--target",
                target,
            ])
            .args(["--", "-D", "warnings"])
            .current_dir(ROOT)
            .env("CARGO_TARGET_DIR", &*TARGET),
    );
}

#[test]
fn library_compiles_for_macos() {
    check_for("aarch64-apple-darwin");
}

#[test]
fn library_compiles_for_freebsd() {
    check_for("x86_64-unknown-freebsd");
}

#[test]
#[ignore = "compiles the tests again: make portable"]
fn unit_tests_of_net_pass() {
    let built = succeed(
        cargo()
            .args(["--profile", "test", "--message-format", "json"])
            .args(CFG),
    );
    let (_, rest) = built.rsplit_once("\"executable\":\"").expect("the tests");
    let tests = rest.split('"').next().expect("its path");
    let output = succeed(
        Command::new("timeout")
            .args(["--kill-after=5", "120", tests, "net::"])
            .current_dir(ROOT),
    );
    let passed = output
        .split(" passed")
        .next()
        .and_then(|s| s.rsplit(' ').next());
    let passed: usize = passed.expect("a summary").parse().expect("a number");
    assert!(passed > 50, "{output}");
}

static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    succeed(
        cargo()
            .args(["--crate-type", "staticlib", "--no-default-features"])
            .env("CARGO_TARGET_DIR", &*TARGET)
            .args(CFG),
    );
    TARGET.join("debug/librediscluster.a")
});

fn run_program(source: &str) {
    let name = source.replace('/', "-");
    let program = scratch(&format!("portable-{name}")).join("program");
    succeed(
        Command::new("cc")
            .args(C_FLAGS)
            .arg(format!("-I{ROOT}/include"))
            .arg(Path::new(ROOT).join(source))
            .arg(&*LIBRARY)
            .args(["-ldl", "-lm", "-o"])
            .arg(&program),
    );
    run(&program, &[]);
}

macro_rules! programs {
    ($($name:ident = $source:literal),+ $(,)?) => {
        $(#[test] fn $name() { run_program($source) })+
    };
}

programs!(
    queue_descriptor_is_readable_when_there_is_work = "tests/c/queue.c",
    queued_commands_complete_with_their_own_replies = "tests/c/queue_replies.c",
    queues_of_many_threads_run_mixed_operations = "tests/c/queue_stress.c",
    subscriber_keeps_its_contract = "tests/c/subscriber.c",
    many_threads_run_mixed_operations = "tests/c/stress.c",
    handle_is_closed_while_in_use = "tests/c/close.c",
    cancelled_thread_ends_after_its_call = "tests/c/cancel.c",
    waiting_call_runs_wait_callback = "tests/c/wait.c",
    forked_child_continues = "tests/c/fork.c",
    forked_child_closes_only_inherited_sockets = "tests/c/fork_descriptors.c",
    every_function_checks_its_arguments = "tests/c/api.c",
);
