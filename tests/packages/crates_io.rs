use super::built::{command, package};
use super::programs::succeed;

/// `make dist` also compiles the crate from its own files.
#[test]
fn crate_contains_what_a_build_needs_and_no_tests() {
    let list = succeed(
        command("tar")
            .arg("-tzf")
            .arg(package("rediscluster-", ".crate")),
    );
    let files: Vec<&str> = list
        .lines()
        .filter_map(|line| Some(line.split_once('/')?.1))
        .collect();
    for file in [
        "Cargo.lock",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "Makefile",
        "README.md",
        "build.rs",
        "dist/link.sh",
        "dist/rediscluster.map",
        "docs/man/man1/rdc.1",
        "docs/man/man3/rdc_get.3",
        "include/rediscluster.h",
        "src/lib.rs",
        "tools/rdc/main.c",
    ] {
        assert!(files.contains(&file), "{file} is missing in {list}");
    }
    // The program that Cargo.toml names as an example.
    let example = "bindings/examples/session.rs";
    assert!(files.contains(&example));
    for file in files.into_iter().filter(|file| *file != example) {
        let is_foreign = ["tests/", "bench/", "bindings/", "fuzz/", "dist/packages/"].iter();
        assert!(
            !is_foreign.clone().any(|folder| file.starts_with(folder)),
            "{file}"
        );
    }
}
