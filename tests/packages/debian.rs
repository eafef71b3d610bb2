use super::built::{PACKAGES, command, in_cluster, package};
use super::programs::{ROOT, run, scratch, succeed};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const NAMES: [&str; 3] = [
    "librediscluster0_",
    "librediscluster-dev_",
    "rediscluster-tools_",
];

/// The packages; none, with a sentence, on a system that cannot build them.
fn packages() -> Option<Vec<PathBuf>> {
    let _ = &*PACKAGES;
    let has = |tool: &str| {
        command("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output()
    };
    let tools = ["dpkg-deb", "dpkg-gensymbols", "dpkg-shlibdeps"];
    if !tools
        .iter()
        .all(|tool| has(tool).is_ok_and(|found| found.status.success()))
    {
        eprintln!("skipped: dpkg-dev is not installed");
        return None;
    }
    Some(NAMES.iter().map(|name| package(name, ".deb")).collect())
}

/// dpkg itself, in a root of its own, which lacks the packages that these depend on.
fn dpkg(root: &Path) -> std::process::Command {
    let mut dpkg = command("dpkg");
    dpkg.arg(format!("--root={}", root.display()));
    dpkg.args([
        "--force-not-root",
        "--force-depends",
        "--force-bad-path",
        "--log=/dev/null",
    ]);
    dpkg
}

#[test]
fn debian_packages_are_installed_used_and_removed() {
    let Some(packages) = packages() else { return };
    let root = scratch("debian");
    fs::create_dir_all(root.join("var/lib/dpkg/info")).expect("a database");
    fs::create_dir_all(root.join("var/lib/dpkg/updates")).expect("a database");
    fs::write(root.join("var/lib/dpkg/status"), "").expect("a database");
    succeed(dpkg(&root).arg("--install").args(&packages));

    let found = succeed(
        command("find")
            .arg(root.join("usr/lib"))
            .args(["-name", "rediscluster.pc"]),
    );
    let configured = Path::new(found.trim())
        .parent()
        .expect("the folder of rediscluster.pc");
    let library = configured.parent().expect("the folder of the library");
    let program = root.join("program");
    succeed(
        command("sh")
            .args(["-euc", "cc -std=c99 examples-c/readonly.c -o $OUT $(pkg-config --cflags --libs rediscluster)"])
            .current_dir(ROOT)
            .env("OUT", &program)
            .env("PKG_CONFIG_PATH", configured),
    );
    run(
        &program,
        &["env", &format!("LD_LIBRARY_PATH={}", library.display())],
    );
    let value = succeed(in_cluster(root.join("usr/bin/rdc")).args(["ping"]));
    assert!(value.contains("primary"), "{value}");
    assert!(root.join("usr/share/man/man3/rdc_get.3.gz").exists());

    succeed(dpkg(&root).args([
        "--purge",
        "rediscluster-tools",
        "librediscluster-dev",
        "librediscluster0",
    ]));
    let left = succeed(command("find").arg(&root).args([
        "(",
        "-name",
        "*rediscluster*",
        "-o",
        "-name",
        "rdc*",
        ")",
    ]));
    assert_eq!(left, "", "left behind");
}

/// Programs built with these packages depend on the release that added what they use.
#[test]
fn debian_symbols_file_lists_every_function() {
    let Some(packages) = packages() else { return };
    let symbols = succeed(
        command("dpkg-deb")
            .arg("--info")
            .arg(&packages[0])
            .arg("symbols"),
    );
    let functions =
        fs::read_to_string(format!("{ROOT}/dist/rediscluster.map")).expect("the functions");
    let functions = functions
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';'));
    let mut count = 0;
    for function in functions.filter(|name| name.starts_with("rdc_")) {
        assert!(
            symbols.contains(&format!(" {function}@REDISCLUSTER_")),
            "{function} in {symbols}"
        );
        count += 1;
    }
    assert_eq!(symbols.matches(" rdc_").count(), count, "{symbols}");
}

/// A package whose tools are missing is not left out in silence, and does not end the build.
#[test]
fn missing_tool_is_named_with_its_package() {
    let tools = scratch("tools-without-dpkg");
    for folder in std::env::split_paths(&std::env::var_os("PATH").expect("PATH")) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name.to_string_lossy().starts_with("dpkg") {
                // The first folder wins.
                let _ = symlink(entry.path(), tools.join(name));
            }
        }
    }
    let mut deb = command("dist/packages/deb.sh");
    deb.current_dir(ROOT)
        .env("PATH", &tools)
        .env("PACKAGES", scratch("no-packages"));
    deb.env("CARGO_TARGET_DIR", scratch("no-target"));
    let output = deb.output().expect("deb.sh");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    assert_eq!(
        message,
        "deb: skipped the Debian packages: dpkg-deb is missing: apt-get install dpkg-dev\n"
    );
}
