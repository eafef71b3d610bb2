//! What lies beside the packages: checksums, and the list of what each package is made of.

use super::archive::unpack;
use super::built::{PACKAGES, VERSION, command};
use super::programs::{ROOT, succeed};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

fn names() -> Vec<String> {
    let entries = fs::read_dir(&*PACKAGES).expect("the packages");
    entries
        .map(|entry| {
            entry
                .expect("a file")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect()
}

/// Names and versions of the parts that an SPDX document lists, without the package itself.
fn parts(document: &Value) -> BTreeSet<(String, String)> {
    let packages = document["packages"].as_array().expect("packages");
    let text = |value: &Value| value.as_str().expect("a text").to_string();
    let parts = packages
        .iter()
        .map(|one| (text(&one["name"]), text(&one["versionInfo"])));
    parts
        .filter(|(name, _)| name != "librediscluster")
        .collect()
}

fn document(name: &str) -> Value {
    let text = fs::read_to_string(PACKAGES.join(name)).expect(name);
    serde_json::from_str(&text).expect("JSON")
}

/// The crates of docs/dependencies.md that are part of the library in this package.
fn linked(package: &str) -> BTreeSet<String> {
    let page = fs::read_to_string(format!("{ROOT}/docs/dependencies.md")).expect("the page");
    let is_for_macos = ["apple", "macos"].iter().any(|word| package.contains(word));
    let end = match is_for_macos {
        true => "\n## Duplicates",
        false => "\n## Only on macOS",
    };
    let (tables, _) = page.split_once(end).expect("the end of the tables");
    let rows = tables
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("build time"));
    let names = rows
        .filter_map(|row| row.split('|').nth(1))
        .map(|name| name.trim().to_string());
    let is_used = |name: &String| {
        let only_on_linux = ["openssl-probe", "linux-raw-sys"].contains(&name.as_str());
        name != "crate" && !(is_for_macos && only_on_linux)
    };
    names.filter(is_used).collect()
}

#[test]
fn every_package_has_checksum_and_list_of_parts() {
    succeed(
        command("sha256sum")
            .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
            .current_dir(&*PACKAGES),
    );
    let sums = fs::read_to_string(PACKAGES.join("SHA256SUMS")).expect("the checksums");
    let names = names();
    let mut count = 0;
    for name in names.iter().filter(|name| *name != "SHA256SUMS") {
        assert!(
            sums.contains(&format!("  {name}\n")),
            "{name} has no checksum"
        );
        if name.ends_with(".spdx.json") {
            continue;
        }
        let document = document(&format!("{name}.spdx.json"));
        assert_eq!(document["spdxVersion"], "SPDX-2.3");
        let digest = document["packages"][0]["checksums"][0]["checksumValue"]
            .as_str()
            .expect("a checksum");
        assert!(
            sums.contains(&format!("{digest}  {name}\n")),
            "{name}: another checksum in its list"
        );
        assert_eq!(document["packages"][0]["versionInfo"], VERSION);
        count += 1;
    }
    assert!(count >= 7, "only {count} packages: {names:?}");
}

#[test]
fn list_of_parts_agrees_with_page_of_dependencies() {
    for name in names().iter().filter(|name| name.ends_with(".spdx.json")) {
        let mut found: BTreeSet<String> = parts(&document(name))
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(found.remove("rust-std"), "the standard library");
        assert_eq!(
            found,
            linked(name),
            "{name} (left) and docs/dependencies.md (right)"
        );
    }
}

#[test]
fn licences_name_every_part() {
    let root = unpack("archive-with-licences");
    let archive = names()
        .into_iter()
        .find(|name| name.ends_with(".tar.xz.spdx.json"))
        .expect("the archive's list");
    let texts = fs::read_to_string(root.join("share/doc/librediscluster/LICENSES-THIRD-PARTY.txt"))
        .expect("the licences");
    for (name, version) in parts(&document(&archive)) {
        let name = if name == "rust-std" {
            "The standard library of Rust".to_string()
        } else {
            name
        };
        assert!(
            texts.contains(&format!("\n{name} {version} (")),
            "{name} {version}"
        );
    }
    assert!(
        !texts.contains("has no text of its licence"),
        "a licence is missing"
    );
}
