//! The files that `make install` installs: their sizes, and the debug information beside them.
//!
//! docs/decisions/size.md says what determines the sizes. `make sizes` also checks a build without TLS.

mod release_build;

use release_build::release;
use std::fs;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LIBRARY: &str = concat!("librediscluster.so.", env!("CARGO_PKG_VERSION"));

/// Bytes of the shared library, the static library, and a static C program.
type Sizes = [u64; 3];
const WITH_TLS: Sizes = [3_250_000, 7_250_000, 2_730_000];
const WITHOUT_TLS: Sizes = [2_050_000, 4_950_000, 1_600_000];

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| {
        panic!("{command:?}: {e} (tools/setup.sh test installs what is missing)")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stderr}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Installs the libraries of `build` into an empty folder, with debug information. Returns the folder of the libraries.
fn install(build: &Path, name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // It may not exist; any other error makes the installation fail.
    let _ = fs::remove_dir_all(&root);
    let mut make = Command::new("make");
    for inherited in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "LIBDIR", "INCLUDEDIR"] {
        make.env_remove(inherited);
    }
    succeed(
        make.current_dir(ROOT)
            .args(["install-debug", "DESTDIR="])
            .arg(format!("PREFIX={}", root.display()))
            .arg(format!("BUILD={}", build.display())),
    );
    root.join("lib")
}

/// The release libraries, installed.
static LIB: LazyLock<PathBuf> = LazyLock::new(|| {
    let library = release("librediscluster.a").unwrap_or_else(|reason| panic!("{reason}"));
    install(library.parent().expect("its folder"), "release-files")
});

fn check_sizes(lib: &Path, limits: Sizes) {
    let program = lib.join("program");
    succeed(
        Command::new("sh")
            .args(["-euc", "cc -std=c99 -O2 -s -Wl,--gc-sections examples-c/readonly.c $(pkg-config --cflags --libs rediscluster-static) -o $OUT"])
            .current_dir(ROOT)
            .env("OUT", &program)
            .env("PKG_CONFIG_PATH", lib.join("pkgconfig")),
    );
    let files = [LIBRARY, "librediscluster.a", "program"];
    for (file, limit) in files.into_iter().zip(limits) {
        let size = fs::metadata(lib.join(file)).expect(file).len();
        let line = format!("size: {file:<24} {size:>9}  limit {limit:>9}\n");
        stderr().write_all(line.as_bytes()).expect("standard error");
        assert!(size <= limit, "{file}: {size} bytes are more than {limit}");
    }
}

#[test]
fn installed_files_are_small() {
    check_sizes(&LIB, WITH_TLS);
}

/// Part of `make sizes`: a second release build takes a minute.
#[test]
fn installed_files_without_tls_are_smaller() {
    if let Some(build) = std::env::var_os("RDC_NO_TLS") {
        check_sizes(&install(Path::new(&build), "no-tls-files"), WITHOUT_TLS);
    }
}

/// dist/rustflags.sh: messages of panics contain the paths of sources.
#[test]
fn installed_files_name_no_folder_of_the_machine_that_built_them() {
    let home = std::env::var("HOME").unwrap_or_default();
    let folders = [ROOT, &home, ".cargo/registry", "/rustlib/src/"];
    let folders = folders.iter().filter(|folder| folder.len() > 1);
    for file in [LIBRARY, "librediscluster.a", "../bin/rdc"] {
        let bytes = fs::read(LIB.join(file)).expect(file);
        let text = String::from_utf8_lossy(&bytes);
        for folder in folders.clone() {
            let found = text.match_indices(*folder).take(3);
            let found: Vec<&str> = found.map(|(at, _)| line_at(&text, at)).collect();
            assert!(found.is_empty(), "{file} names {folder}: {found:?}");
        }
        assert!(text.contains("/crates/"), "{file}: the search is wrong");
    }
}

/// What stands around a place, as far as it is text.
fn line_at(text: &str, at: usize) -> &str {
    let is_end = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    let start = text[..at].rfind(is_end).map_or(0, |end| end + 1);
    let rest = text.get(start..).unwrap_or(&text[at..]);
    let rest = rest.split(is_end).next().unwrap_or_default();
    rest.get(..160).unwrap_or(rest)
}

/// Sections of the installed library, and the line of a function, which only the file beside it knows.
#[test]
fn debug_information_is_found_beside_stripped_library() {
    let library = LIB.join(LIBRARY);
    let sections = succeed(Command::new("readelf").arg("-SW").arg(&library));
    for section in [".debug_info", ".symtab", ".llvmbc"] {
        assert!(!sections.contains(section), "{section} in {sections}");
    }
    let build_id = |file: &Path| succeed(Command::new("readelf").arg("-n").arg(file));
    let (_, id) = build_id(&library)
        .split_once("Build ID: ")
        .map(|(_, id)| ((), id.lines().next().unwrap_or_default().to_string()))
        .expect("a build id");
    let debug = LIB.join(format!("{LIBRARY}.debug"));
    assert!(build_id(&debug).contains(&id), "another build id than {id}");

    let symbols = succeed(Command::new("nm").arg("-D").arg(&library));
    let line = symbols.lines().find(|line| line.contains(" rdc_get@@"));
    let address = line
        .and_then(|line| line.split_whitespace().next())
        .expect("rdc_get");
    let found = succeed(
        Command::new("addr2line")
            .arg("-e")
            .arg(&library)
            .arg(address),
    );
    assert!(found.contains("src/ffi/"), "{address} is at {found}");
}

/// A program that needs a function of a later release does not start, and the loader says why.
#[test]
fn symbol_version_of_later_release_is_reported() {
    let dir = LIB.join("later");
    fs::create_dir_all(&dir).expect("a folder");
    let soname = concat!("librediscluster.so.", env!("CARGO_PKG_VERSION_MAJOR"));
    fs::write(
        dir.join("later.map"),
        "REDISCLUSTER_9.9 { global: rdc_later; local: *; };",
    )
    .unwrap();
    fs::write(dir.join("later.c"), "int rdc_later(void) { return 0; }").unwrap();
    fs::write(
        dir.join("main.c"),
        "int rdc_later(void); int main(void) { return rdc_later(); }",
    )
    .unwrap();
    let script = format!(
        "cc -shared -fPIC later.c -Wl,--version-script=later.map -Wl,-soname,{soname} -o {soname}; \
         cc main.c ./{soname} -o main; LD_LIBRARY_PATH=. ./main; rm {soname}; \
         ! LD_LIBRARY_PATH={} ./main 2>message; cat message",
        LIB.display()
    );
    let message = succeed(Command::new("sh").args(["-euc", &script]).current_dir(&dir));
    assert!(
        message.contains("version `REDISCLUSTER_9.9' not found"),
        "{message}"
    );
}
