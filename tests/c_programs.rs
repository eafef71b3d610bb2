//! The library in C programs: compiled, linked, installed and run against a real cluster.
//!
//! Nothing here calls the library from Rust. Every example, every C test and every C program in the documentation is
//! built with warnings as errors and run. The examples run a second time under valgrind.

mod programs;

use programs::{
    BUILT, ROOT, SONAME, compile, compile_against_library, run, run_with, scratch, succeed,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn build(folder: &str, file: &str) -> PathBuf {
    let program = scratch(&format!("{folder}-{file}").replace('/', "-")).join("program");
    compile(&Path::new(ROOT).join(folder).join(file), &program);
    program
}

fn run_test(file: &str) {
    run(&build("tests/c", file), &[]);
}

fn run_example(file: &str) {
    run_also_under_valgrind(&build("examples-c", file));
}

/// A test of misuse or of ownership that corrupts memory where the library does not prevent it.
fn run_test_of_memory(file: &str) {
    run_also_under_valgrind(&build("tests/c", file));
}

fn run_also_under_valgrind(program: &Path) {
    run(program, &[]);
    // "Possibly lost" is what valgrind reports for Rust's hash tables in statics, because their pointer lies inside
    // the block.
    let valgrind = [
        "valgrind",
        "-q",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
        "--show-leak-kinds=definite",
        "--error-exitcode=99",
    ];
    run(program, &valgrind);
}

macro_rules! programs {
    ($runner:ident: $($name:ident = $file:literal),+ $(,)?) => {
        $(#[test] fn $name() { $runner($file) })+

        /// Checked below, so that every program is run.
        pub const FILES: &[&str] = &[$($file),+];
    };
}

mod examples {
    use super::run_example;
    programs!(run_example:
        readonly = "readonly.c",
        readonly_in_cpp = "readonly.cpp",
        typed_results_in_cpp = "results.cpp",
        pipeline = "pipeline.c",
        threads = "threads.c",
        errors = "errors.c",
        topology = "topology.c",
        anywhere = "anywhere.c",
        epoll = "epoll.c",
        libuv = "libuv.c",
        libev = "libev.c",
        subscribe = "subscribe.c",
        transaction = "transaction.c",
        worker = "worker.c",
        scan = "scan.c",
        fork = "fork.c",
        options = "options.c",
        user_with_few_rights = "tls_acl.c",
        logger = "logger.c",
        subscribe_poll = "subscribe_poll.c",
    );
}

mod tests {
    use super::run_test;
    programs!(run_test:
        every_function_checks_its_arguments = "api.c",
        readonly_handles_read_any_node_and_reject_writes = "readonly.c",
        many_threads_share_one_client = "threads.c",
        many_threads_run_mixed_operations = "stress.c",
        handle_is_closed_while_in_use = "close.c",
        forked_child_continues = "fork.c",
        forked_child_closes_only_inherited_sockets = "fork_descriptors.c",
        forked_child_waits_for_no_lock_of_its_parent = "fork_locks.c",
        forked_child_abandons_queue_of_its_parent = "fork_queue.c",
        interrupt_is_async_signal_safe = "interrupt.c",
        destructors_and_exit_handlers_may_call = "destructors.c",
        cancelled_thread_ends_after_its_call = "cancel.c",
        process_may_exit_during_calls = "exit.c",
        library_unloaded_while_in_use_stays_mapped = "dlopen.c",
        environment_chooses_log_without_logger = "environment_log.c",
        small_stack_is_sufficient = "stack.c",
        wall_clock_changes_have_no_effect = "clock.c",
        waiting_call_runs_wait_callback = "wait.c",
        partial_system_calls_are_handled = "kernel.c",
        passwords_are_overwritten_in_memory = "secrets.c",
        header_compiles_in_cpp = "header.cpp",
        cpp_interface_converts_replies = "interface.cpp",
    );
}

mod memory_tests {
    use super::run_test_of_memory;
    programs!(run_test_of_memory:
        callbacks_cannot_use_what_their_call_uses = "callbacks.c",
        queues_of_many_threads_run_mixed_operations = "queue_stress.c",
        queue_descriptor_is_readable_when_there_is_work = "queue.c",
        queued_commands_complete_with_their_own_replies = "queue_replies.c",
        subscriber_keeps_its_contract = "subscriber.c",
    );
}

#[test]
fn one_program_runs_on_every_kind_of_server() {
    let expected = fs::read_to_string(format!("{ROOT}/bindings/examples/anywhere.txt")).unwrap();
    let servers = support::find::below(&BUILT.join("../../venv/servers"));
    let valkey = servers
        .iter()
        .find(|s| s.kind == "valkey" && s.version.0 >= 9);
    assert!(
        valkey.is_some() || cfg!(not(target_arch = "x86_64")),
        "Valkey 9 is missing: tools/setup.sh test"
    );
    let places = support::Places::start(valkey).unwrap();
    let program = build("examples-c", "anywhere.c");
    for (kind, url) in places.urls() {
        let output = run_with(&program, &[], &[("RDC_URL", &url)]);
        assert_eq!(output, expected, "{kind}: {url}");
    }
}

#[test]
fn user_with_few_rights_over_tls() {
    let dir = scratch("tls-acl");
    let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_string()]).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&cert, pair.cert.pem()).unwrap();
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let server = support::Server::builder()
        .tls(&cert, &key, &cert)
        .start()
        .unwrap();
    let url = format!("rediss://127.0.0.1:{}", server.tls_port().unwrap());
    let program = build("examples-c", "tls_acl.c");
    let trusting = format!("{url}?tls_ca_file={}", cert.display());
    let output = run_with(&program, &[], &[("RDC_URL", &trusting)]);
    assert!(
        output.contains("other:1  AUTH: NOPERM"),
        "the server refuses what the user may not do: {output}"
    );
    let stranger = Command::new(&program).env("RDC_URL", &url).output();
    let message = String::from_utf8_lossy(&stranger.unwrap().stderr).into_owned();
    assert!(message.contains("TLS"), "an unknown authority: {message}");
}

#[test]
fn every_c_program_is_run() {
    let tests = [tests::FILES, memory_tests::FILES].concat();
    for (folder, known) in [("examples-c", examples::FILES), ("tests/c", &tests)] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).expect(folder) {
            let name = entry
                .expect(folder)
                .file_name()
                .into_string()
                .expect("a name");
            // tests/faults runs these.
            let elsewhere = ["soak.c", "chaos.c", "messages.c", "queue_failover.c"];
            let is_run_elsewhere = elsewhere.contains(&&*name);
            if (name.ends_with(".c") || name.ends_with(".cpp")) && !is_run_elsewhere {
                assert!(
                    known.contains(&&*name),
                    "{folder}/{name} is missing in tests/c_programs.rs"
                );
            }
        }
    }
}

/// The C programs of a page: the text between ```c and ```.
fn code_blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while lines.any(|line| line == "```c") {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n") + "\n");
    }
    blocks
}

#[test]
fn programs_in_documentation_compile_and_run() {
    let pages = [".", "docs", "examples-c"].into_iter().flat_map(|folder| {
        let files = fs::read_dir(Path::new(ROOT).join(folder)).expect(folder);
        files.map(|entry| entry.expect("a file").path())
    });
    let mut found = 0;
    for page in pages.filter(|path| path.extension().is_some_and(|e| e == "md")) {
        for block in code_blocks(&fs::read_to_string(&page).expect("a page")) {
            found += 1;
            let dir = scratch(&format!("page-{found}"));
            fs::write(dir.join("block.c"), block).expect("the program");
            compile(&dir.join("block.c"), &dir.join("block"));
            // Programs of pages take the URL as their argument.
            let tool = ["sh", "-c", "exec \"$0\" \"$RDC_URL\""];
            run(&dir.join("block"), &tool);
        }
    }
    assert!(found > 0, "the README shows a program in C");
}

/// Runs `make VERB` into a separate folder, with the library that cargo built for this test.
fn make(verb: &str, root: &Path) {
    let mut make = Command::new("make");
    // The flags of a make that runs these tests must not reach the tested make.
    for inherited in [
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
        "LIBDIR",
        "INCLUDEDIR",
        "BINDIR",
    ] {
        make.env_remove(inherited);
    }
    succeed(
        make.current_dir(ROOT)
            .args([verb, "PREFIX=/usr", "LIBDIR=/usr/lib/cpu-os"])
            .arg(format!("DESTDIR={}", root.display()))
            .arg(format!("BUILD={}", BUILT.display())),
    );
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("its type").is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

#[test]
fn installed_library_is_found_by_pkg_config_and_uninstalled() {
    let root = scratch("installed");
    make("install", &root);
    let lib = root.join("usr/lib/cpu-os");
    let real = format!("librediscluster.so.{}", env!("CARGO_PKG_VERSION"));
    let target = |name: &str| fs::read_link(lib.join(name)).expect(name);
    assert_eq!(target("librediscluster.so"), Path::new(SONAME));
    assert_eq!(target(SONAME), Path::new(&real));
    let dynamic = succeed(Command::new("readelf").arg("-d").arg(lib.join(&real)));
    let soname = format!("soname: [{SONAME}]");
    assert!(dynamic.contains(&soname), "{soname} in {dynamic}");

    // The command lines of examples-c/README.md. The files find the library where it was moved to.
    let cc = "cc -std=c99 examples-c/readonly.c";
    let lines = [
        ("shared", "$(pkg-config --cflags --libs rediscluster)"),
        (
            "static",
            "$(pkg-config --cflags --libs rediscluster-static)",
        ),
        (
            "all-static",
            "-static $(pkg-config --static --cflags --libs rediscluster) 2>/dev/null",
        ),
    ];
    for (name, line) in lines {
        let program = root.join(name);
        succeed(
            Command::new("sh")
                .args(["-euc", &format!("{cc} -o $OUT {line}")])
                .current_dir(ROOT)
                .env("OUT", &program)
                .env("PKG_CONFIG_PATH", lib.join("pkgconfig")),
        );
        run_installed(&program, &lib, name == "shared");
    }

    let version = succeed(Command::new(root.join("usr/bin/rdc")).arg("version"));
    assert_eq!(version, format!("rdc {}\n", env!("CARGO_PKG_VERSION")));

    make("uninstall", &root);
    assert_eq!(files_below(&root), [] as [PathBuf; 0], "left behind");
}

/// Runs a program, which needs the shared library or does not, and removes it.
fn run_installed(program: &Path, lib: &Path, is_shared: bool) {
    let needed = succeed(Command::new("readelf").arg("-d").arg(program));
    assert_eq!(needed.contains(SONAME), is_shared, "{program:?}: {needed}");
    let path = format!("LD_LIBRARY_PATH={}", lib.display());
    let loader = ["env", &path];
    run(program, if is_shared { &loader } else { &[] });
    fs::remove_file(program).expect("the program");
}

#[test]
fn installed_library_is_found_by_cmake() {
    let root = scratch("installed-for-cmake");
    make("install", &root);
    let lib = root.join("usr/lib/cpu-os");
    let source = scratch("cmake-project");
    let project = format!(
        "cmake_minimum_required(VERSION 3.13)\nproject(example C)\n\
         find_package(rediscluster {} CONFIG REQUIRED)\n\
         add_executable(shared {ROOT}/examples-c/readonly.c)\n\
         target_link_libraries(shared rediscluster::rediscluster)\n\
         add_executable(static {ROOT}/examples-c/readonly.c)\n\
         target_link_libraries(static rediscluster::static)\n",
        env!("CARGO_PKG_VERSION")
    );
    fs::write(source.join("CMakeLists.txt"), project).expect("the project");
    let cmake = |arguments: &[&str]| {
        succeed(Command::new("cmake").args(arguments).current_dir(&source));
    };
    let package = format!("-Drediscluster_DIR={}/cmake/rediscluster", lib.display());
    cmake(&["-S.", "-Bbuild", &package]);
    cmake(&["--build", "build"]);
    for name in ["shared", "static"] {
        run_installed(&source.join("build").join(name), &lib, name == "shared");
    }
}

#[test]
fn header_macros_compile_in_old_and_new_dialects() {
    let dir = scratch("dialects");
    let source = "#include <rediscluster.h>\n\
        int main(void) { rdc_client *c = rdc_create(\"redis://127.0.0.1:1?lazy=yes&timeout_ms=1\");\n\
        rdc_reply_free(rdc_cmd(c, \"GET\", \"key\")); rdc_close(c); return !rdc_version_matches(); }\n";
    for (name, compiler, standard) in [
        ("a.c", "cc", "gnu89"),
        ("b.c", "cc", "c99"),
        ("c.c", "cc", "c17"),
        ("d.cpp", "c++", "c++11"),
        ("e.cpp", "c++", "c++20"),
    ] {
        fs::write(dir.join(name), source).expect("the program");
        let mut compile = Command::new(compiler);
        compile.args(["-Wall", "-Wextra", "-Werror"]);
        if standard != "gnu89" {
            compile.arg("-pedantic");
        }
        compile_against_library(compile.arg(format!("-std={standard}")), &dir.join(name));
        run(&dir.join(name).with_extension("program"), &[]);
    }
}

#[test]
fn makefile_lists_libraries_of_static_link() {
    let dir = scratch("static-libs");
    fs::write(dir.join("empty.rs"), "").expect("a source");
    let output = Command::new("rustc")
        .args([
            "--crate-type=staticlib",
            "--print=native-static-libs",
            "empty.rs",
        ])
        .current_dir(&dir)
        .output()
        .expect("rustc");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, libs) = stderr
        .split_once("native-static-libs: ")
        .expect("the note of rustc");
    let libs = libs.lines().next().unwrap_or_default();
    let expected = format!("STATIC_LIBS := {}", libs.replace("-lgcc_s ", ""));
    let makefile = fs::read_to_string(Path::new(ROOT).join("Makefile")).expect("Makefile");
    assert!(
        makefile.lines().any(|line| line == expected.trim_end()),
        "the Makefile should say: {expected}"
    );
}
