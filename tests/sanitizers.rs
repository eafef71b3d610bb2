//! The C programs with a library that is built with AddressSanitizer or ThreadSanitizer. Use after free, double free,
//! leaks and data races often have no effect that another test could see.
//!
//! The stable compiler has the sanitizers, but only with RUSTC_BOOTSTRAP. The standard library is compiled without
//! them: see src/sync.rs for locks and tests/c/tsan.supp for the rest. `make asan`, `make tsan`.

mod programs;

use programs::{C_FLAGS, ROOT, run_with, scratch, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The settings that differ between the two.
struct Sanitizer {
    name: &'static str,
    /// Flags for rustc.
    flags: &'static str,
    /// Arguments for cargo.
    features: &'static [&'static str],
    /// The command that runs a program.
    tool: &'static [&'static str],
    library: LazyLock<PathBuf>,
}

static ADDRESS: Sanitizer = Sanitizer {
    name: "address",
    flags: "-Zsanitizer=address",
    features: &["--features", "sanitizer"],
    tool: &[],
    library: LazyLock::new(|| library(&ADDRESS)),
};

static THREAD: Sanitizer = Sanitizer {
    name: "thread",
    flags: "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg rdc_tsan",
    features: &[],
    // Random addresses may collide with its shadow memory.
    tool: &["setarch", "-R"],
    library: LazyLock::new(|| library(&THREAD)),
};

const SUPPRESSIONS: &str = concat!(
    "suppressions=",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/c/tsan.supp"
);

fn rustc(question: &[&str]) -> String {
    let answer = succeed(Command::new("rustc").args(question).current_dir(ROOT));
    answer.trim().to_string()
}

/// The instrumented static library, in a separate target folder.
fn library(sanitizer: &Sanitizer) -> PathBuf {
    let version = rustc(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.expect("the target that rustc runs on");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let target = target.expect("the target folder").join(sanitizer.name);
    succeed(
        Command::new(env!("CARGO"))
            .args(["build", "-q", "--lib", "--target", host])
            .args(sanitizer.features)
            .current_dir(ROOT)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", sanitizer.flags),
    );
    target.join(host).join("debug/librediscluster.a")
}

fn build(sanitizer: &Sanitizer, source: &Path) -> PathBuf {
    let name = source.file_stem().expect("a name").to_string_lossy();
    let dir = scratch(&format!("{}-{name}", sanitizer.name));
    let (object, program) = (dir.join("object.o"), dir.join("program"));
    let sanitize = format!("-fsanitize={}", sanitizer.name);
    succeed(
        Command::new("cc")
            .args(C_FLAGS)
            .args([&sanitize, "-c"])
            .arg(format!("-I{ROOT}/include"))
            .arg(source)
            .arg("-o")
            .arg(&object),
    );
    let mut link = Command::new("cc");
    link.arg(&object).arg(&*sanitizer.library);
    if sanitizer.name == "thread" {
        // The C compiler's own runtime has another layout than the one that the library was compiled for.
        let runtime = rustc(&["--print", "target-libdir"]) + "/librustc-stable_rt.tsan.a";
        link.args(["-Wl,--whole-archive", &runtime, "-Wl,--no-whole-archive"]);
        link.arg("-lstdc++");
    } else {
        link.arg(&sanitize);
    }
    link.args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"]);
    succeed(link.arg("-o").arg(&program));
    program
}

fn run_sanitized(sanitizer: &Sanitizer, file: &str, rounds: &str) {
    let program = build(sanitizer, &Path::new(ROOT).join("tests/c").join(file));
    let said = run_with(
        &program,
        sanitizer.tool,
        &[("RDC_ROUNDS", rounds), ("TSAN_OPTIONS", SUPPRESSIONS)],
    );
    assert!(said.contains(" passed, 0 failed"), "{said}");
}

/// Runs a program with a mistake: the sanitizer must report it, and name the place in the library.
fn assert_detects(sanitizer: &Sanitizer, name: &str, body: &str, words: &[&str]) {
    let source = scratch("misuse").join(format!("{name}.c"));
    let program = "#include <rediscluster.h>\n#include <pthread.h>\n#include <stdlib.h>\n";
    fs::write(&source, format!("{program}{body}")).expect("the program");
    let program = build(sanitizer, &source);
    let mut command = match sanitizer.tool {
        [tool, args @ ..] => {
            let mut command = Command::new(tool);
            command.args(args).arg(&program);
            command
        }
        [] => Command::new(&program),
    };
    let output = command.env("TSAN_OPTIONS", SUPPRESSIONS).output();
    let output = output.expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{name} was not detected: {said}");
    for word in words {
        assert!(said.contains(word), "{name}: no {word:?} in {said}");
    }
}

mod address {
    use super::*;

    #[test]
    fn every_function_passes_address_sanitizer() {
        run_sanitized(&ADDRESS, "api.c", "");
        run_sanitized(&ADDRESS, "readonly.c", "");
        run_sanitized(&ADDRESS, "threads.c", "");
        run_sanitized(&ADDRESS, "fork.c", "");
        run_sanitized(&ADDRESS, "fork_queue.c", "");
    }

    #[test]
    fn queues_of_many_threads_pass_address_sanitizer() {
        run_sanitized(&ADDRESS, "queue_stress.c", "300");
    }

    #[test]
    fn subscribers_pass_address_sanitizer() {
        run_sanitized(&ADDRESS, "subscriber.c", "");
        run_sanitized(&ADDRESS, "subscriber.c", "300");
    }

    #[test]
    fn thread_stress_passes_address_sanitizer() {
        run_sanitized(&ADDRESS, "stress.c", "400");
    }

    #[test]
    fn concurrent_close_passes_address_sanitizer() {
        run_sanitized(&ADDRESS, "close.c", "400");
    }

    #[test]
    fn address_sanitizer_detects_caller_misuse_in_library() {
        let reply = "rdc_reply *r = rdc_explain(0, 0, 0, 0);";
        assert_detects(
            &ADDRESS,
            "freed_twice",
            &format!("int main(void) {{ {reply} rdc_reply_free(r); return rdc_reply_free(r); }}"),
            &["heap-use-after-free", "rdc_reply_free"],
        );
        assert_detects(
            &ADDRESS,
            "used_after_free",
            &format!("int main(void) {{ {reply} rdc_reply_free(r); return rdc_reply_type(r); }}"),
            &["heap-use-after-free", "rdc_reply_type"],
        );
        assert_detects(
            &ADDRESS,
            "not_freed",
            &format!("int main(void) {{ {reply} return r == 0; }}"),
            &["LeakSanitizer", "rdc_explain"],
        );
        assert_detects(
            &ADDRESS,
            "length_too_large",
            "int main(void) { char *key = calloc(4, 1); int slot = rdc_key_slot(key, 5); free(key); return slot < 0; }",
            &["heap-buffer-overflow", "rdc_key_slot"],
        );
    }
}

mod thread {
    use super::*;

    #[test]
    fn shared_connections_pass_thread_sanitizer() {
        run_sanitized(&THREAD, "threads.c", "");
    }

    #[test]
    fn thread_stress_passes_thread_sanitizer() {
        run_sanitized(&THREAD, "stress.c", "200");
    }

    #[test]
    fn queues_of_many_threads_pass_thread_sanitizer() {
        run_sanitized(&THREAD, "queue_stress.c", "150");
    }

    #[test]
    fn subscribers_of_many_threads_pass_thread_sanitizer() {
        run_sanitized(&THREAD, "subscriber.c", "200");
    }

    #[test]
    fn concurrent_close_passes_thread_sanitizer() {
        run_sanitized(&THREAD, "close.c", "150");
    }

    #[test]
    fn thread_sanitizer_detects_shared_pipeline() {
        // The accesses follow one another, but without synchronisation.
        let body = "
            static int done;
            static void *other(void *p) {
                rdc_pipeline_get(p, \"k\", 1);
                __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
                return 0;
            }
            int main(void) {
                pthread_t thread;
                rdc_pipeline *p = rdc_pipeline_new(0);
                if (pthread_create(&thread, 0, other, p))
                    return 0;
                while (!__atomic_load_n(&done, __ATOMIC_RELAXED))
                    continue;
                rdc_pipeline_clear(p);
                return pthread_join(thread, 0);
            }";
        assert_detects(
            &THREAD,
            "shared_pipeline",
            body,
            &[
                "data race",
                "rediscluster::cluster::pipeline",
                "rdc_pipeline_clear",
            ],
        );
    }
}
