//! docs/dependencies.md lists each crate of the build with its licence and its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Terms that allow linking into any program, with the licence's text beside it.
const ACCEPTED: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "ISC",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Unlicense",
    "Unicode-3.0",
];

const LINUX: &str = "x86_64-unknown-linux-gnu";
const MACOS: &str = "aarch64-apple-darwin";

/// Name, version and licence of each crate of the build for a target, without this one.
fn tree(target: &str) -> BTreeSet<[String; 3]> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "-e", "normal,build", "--prefix", "none"])
        .args(["--target", target, "-f", "{p}|{l}"])
        .current_dir(ROOT)
        .output()
        .expect("cargo tree");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {stderr}");
    let mut crates = BTreeSet::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (package, licence) = line.split_once('|').expect("a package and its licence");
        let mut words = package.split(' ').map(str::to_string);
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        if name != env!("CARGO_PKG_NAME") {
            crates.insert([name, version, licence.replace(" (*)", "")]);
        }
    }
    crates
}

/// The cells of the table rows below this heading.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = page
        .split_once(&format!("\n## {heading}\n"))
        .expect(heading);
    let section = section.split("\n## ").next().unwrap();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1);
    let cells = |row: &str| {
        row.trim_matches('|')
            .split('|')
            .map(|c| c.trim().to_string())
            .collect()
    };
    rows.map(cells).collect()
}

fn page() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("docs/dependencies.md")).expect("the page")
}

#[test]
fn dependencies_page_lists_every_crate_with_reason() {
    let page = page();
    let rows = [table(&page, "Chosen"), table(&page, "Brought by others")].concat();
    let mut listed = BTreeMap::new();
    for row in &rows {
        assert!(
            row.iter().all(|cell| !cell.is_empty()),
            "an empty cell: {row:?}"
        );
        let old = listed.insert(row[0].clone(), row[1].clone());
        assert_eq!(old, None, "{} is listed twice", row[0]);
    }
    let by_name = |crates: BTreeSet<[String; 3]>| -> BTreeMap<String, String> {
        let pairs = crates.into_iter().map(|[name, _, licence]| (name, licence));
        pairs.collect()
    };
    let used = by_name(tree(LINUX));
    assert_eq!(
        listed, used,
        "docs/dependencies.md (left) and cargo tree (right)"
    );
    let listed = table(&page, "Only on macOS").into_iter();
    let listed: BTreeMap<_, _> = listed.map(|row| (row[0].clone(), row[1].clone())).collect();
    let mut only = by_name(tree(MACOS));
    only.retain(|name, _| !used.contains_key(name));
    assert_eq!(
        listed, only,
        "docs/dependencies.md (left) and what cargo tree has for macOS only (right)"
    );
}

#[test]
fn licences_of_dependencies_are_accepted() {
    for [name, _, licence] in tree(LINUX).union(&tree(MACOS)) {
        let parts = licence
            .split(" AND ")
            .map(|part| part.trim_matches(['(', ')']));
        for part in parts {
            let accepted = part.split(" OR ").any(|one| ACCEPTED.contains(&one));
            assert!(
                accepted,
                "{name}: {licence} is not in the list of accepted licences"
            );
        }
    }
}

#[test]
fn duplicate_crates_are_explained() {
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for [name, ..] in tree(LINUX) {
        *versions.entry(name).or_default() += 1;
    }
    let duplicates: BTreeSet<String> = versions
        .into_iter()
        .filter(|(_, n)| *n > 1)
        .map(|(name, _)| name)
        .collect();
    let explained: BTreeSet<String> = table(&page(), "Duplicates")
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(
        duplicates, explained,
        "crates in several versions (left), and those that the page explains"
    );
}
