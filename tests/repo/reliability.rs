//! The tests that README.md, RELIABILITY.md, docs/replica-reads.md and docs/endpoints.md name exist.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

fn test_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            test_files(&path, found);
        } else if path
            .extension()
            .is_some_and(|e| LANGUAGES.iter().any(|l| e == *l))
        {
            found.push(path);
        }
    }
}

/// The extensions of files with tests: of the library, and of the Python, Ruby and Go bindings.
const LANGUAGES: [&str; 4] = ["rs", "py", "rb", "go"];

/// The module name of a file: its own name, or the name of its folder for `mod.rs`, `main.rs` and `tests.rs`.
fn name(path: &Path) -> String {
    let own = path.file_stem().unwrap().to_str().unwrap();
    if own == "mod" || own == "main" || own == "tests" {
        return name(path.parent().unwrap());
    }
    own.to_string()
}

fn is_test(text: &str, function: &str) -> bool {
    // Python and Ruby, Go.
    if function.starts_with("test_") || function.starts_with("Test") {
        return text.lines().any(|line| {
            ["def ", "func "].iter().any(|keyword| {
                let rest = line.trim().strip_prefix(keyword);
                rest.and_then(|rest| rest.strip_prefix(function))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('('))
            })
        });
    }
    let head = format!("fn {function}(");
    // Tests of C programs are rows: `subject_condition_result = "program.c",`.
    let row = format!("{function} = \"");
    let mut tests = text.split("#[test]").skip(1);
    tests.any(|test| test.lines().take(4).any(|l| l.trim().starts_with(&head)))
        || text.lines().any(|line| line.trim().starts_with(&row))
}

/// The file and the name of a test: `file::test`. Not an IPv6 address, nor the page's own example.
fn test_name(word: &str) -> Option<(&str, &str)> {
    let (file, test) = word.split_once("::")?;
    let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_test =
        !file.is_empty() && is_name(file) && is_name(test) && (file, test) != ("file", "test");
    (is_test && !test.is_empty()).then_some((file, test))
}

/// What a page names that does not exist, and the number of tests that it names.
fn missing_in(page: &str) -> (Vec<String>, usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(page);
    let page = std::fs::read_to_string(&path).unwrap();
    let mut files = Vec::new();
    for folder in ["tests", "src", "bindings"] {
        test_files(&root.join(folder), &mut files);
    }
    let mut seen = 0;
    let mut missing = Vec::new();
    for (file, test) in page.split('`').filter_map(test_name) {
        seen += 1;
        let exists = files
            .iter()
            .filter(|path| name(path) == file)
            .any(|path| is_test(&std::fs::read_to_string(path).unwrap(), test));
        if !exists {
            missing.push(format!("{file}::{test}"));
        }
    }
    missing.extend(dead_links(&path, &page));
    (missing, seen)
}

/// The links of a page to files that do not exist.
fn dead_links(path: &Path, page: &str) -> Vec<String> {
    page.split("](")
        .skip(1)
        .map(|link| link.split([')', '#']).next().unwrap())
        .filter(|target| !target.is_empty() && !target.starts_with("https://"))
        .filter(|target| !path.parent().unwrap().join(target).exists())
        .map(|target| format!("{}: {target}", path.display()))
        .collect()
}

#[test]
fn links_of_every_page_lead_to_existing_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = 0;
    let mut missing = Vec::new();
    for folder in [
        "",
        "docs",
        "docs/benchmarks",
        "docs/decisions",
        "examples-c",
    ] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                pages += 1;
                missing.extend(dead_links(&path, &std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(pages > 20, "only {pages} pages found");
}

#[test]
fn tests_and_files_named_in_reliability_page_exist() {
    let (missing, seen) = missing_in("RELIABILITY.md");
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(seen > 60, "only {seen} tests are named");
}

#[test]
fn tests_and_files_named_in_replica_page_exist() {
    let (missing, seen) = missing_in("docs/replica-reads.md");
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(seen > 60, "only {seen} tests are named");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/replica-reads.md")).unwrap();
    let promises = page
        .lines()
        .filter(|l| l.starts_with("| `") && !l.contains("enforced by"));
    for row in promises {
        assert!(row.contains("::"), "no test guards it: {row}");
    }
}

/// Each row of its tables says what happens somewhere, or where that is documented.
#[test]
fn every_endpoint_has_an_existing_test() {
    let (missing, seen) = missing_in("docs/endpoints.md");
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(seen > 40, "only {seen} tests are named");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/endpoints.md")).unwrap();
    let (tested, documented) = page.split_once("## What is documented").unwrap();
    let rows = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter(|line| line.starts_with("| "));
        let rows = rows.map(|row| cells(row).into_iter().map(str::to_string).collect());
        rows.collect()
    };
    let tested = rows(tested);
    let headers = tested
        .iter()
        .filter(|row| row.last().unwrap() == "test")
        .count();
    for row in tested.iter().filter(|row| row.last().unwrap() != "test") {
        let last = row.last().unwrap();
        assert!(
            names(last).filter_map(test_name).count() > 0,
            "no test: {row:?}"
        );
    }
    assert!(tested.len() > headers + 25, "only {} rows", tested.len());
    for row in rows(documented).iter().skip(1) {
        assert!(row[1].contains("](https://"), "no source: {row:?}");
    }
}

#[test]
fn tests_and_files_named_in_readme_exist() {
    // The table of tests that the README once had is the summary of docs/replica-reads.md.
    let (missing, _) = missing_in("README.md");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The cells of a row.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// The texts in backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_guarantee_and_fault_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("RELIABILITY.md")).unwrap();
    let rows = page.lines().filter(|l| l.starts_with("| "));
    let rows: Vec<Vec<&str>> = rows.map(cells).collect();
    let (matrix, lists): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.len() == 7);
    let lists = lists
        .iter()
        .filter(|row| row[1] != "enforced by" && row[1] != "test");
    let mut short = HashSet::new();
    for row in lists {
        let holds = row[1].contains("::") || row[1].contains("](");
        assert!(row.len() == 2 && holds, "no test: {row:?}");
        short.extend(names(row[0]).filter(|name| !name.contains("::")));
    }
    let mut used = HashSet::new();
    for row in matrix.iter().filter(|row| row[6] != "measured") {
        for cell in &row[1..] {
            let named: Vec<&str> = names(cell).collect();
            let because = cell.strip_prefix("n/a: ");
            assert_ne!(
                named.is_empty(),
                because.is_none_or(str::is_empty),
                "neither test nor reason: {row:?}: {cell}"
            );
            for name in named {
                assert!(short.contains(name), "{name} is in no list: {row:?}");
                used.insert(name);
            }
        }
    }
    // Some guarantees name an identifier or a function; those are not tests.
    let unused: Vec<_> = short
        .difference(&used)
        .filter(|n| !n.contains('_'))
        .collect();
    assert!(unused.is_empty(), "no row uses {unused:?}");
    assert!(matrix.len() > 35, "too few rows in the matrix");
}
