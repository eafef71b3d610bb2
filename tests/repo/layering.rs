//! Rules of the code base that can be checked in the sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// From the lowest layer to the highest: a file imports from its own layer and from those below.
const LAYERS: &[&[&str]] = &[
    &[
        "address",
        "call_scope",
        "config",
        "deadline",
        "error",
        "fiber",
        "log",
        "panics",
        "random",
        "sync",
        "sim_hooks",
    ],
    &["resp"],
    &["net"],
    &["topology"],
    &["route"],
    &["cluster"],
    &["ffi", "interface"],
];

/// Every file of src/ by its path, without code that is compiled only for its own tests.
pub fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                found.insert(name, text.to_string());
            }
        }
    }
    assert!(found.len() > 40, "too few source files found");
    found
}

/// A line without its comment and without string literals.
pub fn code(line: &str) -> String {
    let line = line.split("//").next().unwrap_or_default();
    line.split('"').step_by(2).collect()
}

/// Every line that breaks a rule: `cluster/core.rs:12: use ...`.
fn violations(breaks: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if breaks(&name, &code(line)) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn imports_point_down() {
    let mut seen = 0;
    for (name, text) in sources() {
        let owner = name.split('/').next().unwrap().trim_end_matches(".rs");
        if owner == "lib" {
            continue;
        }
        let here = layer(owner).unwrap_or_else(|| panic!("{name} is in no layer: add it to one"));
        for line in text.lines().map(code) {
            for path in line.split("crate::").skip(1) {
                // `use crate::{a, b}` would hide a name from this test.
                let module: String = path
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                let there = layer(&module)
                    .unwrap_or_else(|| panic!("{name}: {line:?} names no layer: {module:?}"));
                assert!(
                    there < here || module == owner || (there == 0 && here == 0),
                    "{name} imports {module}, which is above it"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "only {seen} imports found: the search is wrong");
}

#[test]
fn unsafe_code_is_confined_to_ffi_sys_fibers_and_one_processor_feature() {
    let owner = |name: &str| {
        ["ffi/", "net/sys"]
            .iter()
            .any(|folder| name.starts_with(folder))
            || ["fiber.rs", "topology/carryless.rs"].contains(&name)
    };
    let is_unsafe = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|w| w == "unsafe")
    };
    let strays = violations(|name, line| !owner(name) && is_unsafe(line));
    assert!(strays.is_empty(), "{strays:#?}");
    let at_home = violations(|name, line| owner(name) && is_unsafe(line));
    assert!(at_home.len() > 20, "too few matches: the search is wrong");
}

#[test]
fn sources_print_nothing_and_have_no_todo_notes() {
    let words = [
        "println!",
        "print!",
        "eprintln!",
        "eprint!",
        "dbg!",
        "todo!",
        "unimplemented!",
        "std::process::exit",
        "process::abort",
    ];
    let found = violations(|_, line| words.iter().any(|word| line.contains(word)));
    assert!(found.is_empty(), "{found:#?}");
    let mut notes = Vec::new();
    for (name, text) in sources() {
        for word in ["TODO", "FIXME", "XXX", "HACK"] {
            if text.contains(word) {
                notes.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(notes.is_empty(), "{notes:#?}");
}

#[test]
fn command_names_appear_only_in_the_table() {
    let names: Vec<&str> = rediscluster::route::table::ROWS
        .iter()
        .map(|row| row.name)
        .filter(|name| name.len() > 2)
        .collect();
    let mut found = Vec::new();
    for (name, text) in sources() {
        // The table itself, the handshake and topology commands, and replies of servers, which are no commands.
        let owner = name.starts_with("route/table")
            || name == "net/conn/handshake.rs"
            || name == "route/recovery.rs"
            || name.starts_with("topology/");
        if owner {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let compares = ["==", "!=", "eq_ignore_ascii_case", "=>", "matches!"];
            let compares = compares.iter().any(|c| line.contains(c));
            // The result of a match arm is no comparison.
            let quoted = line
                .split("=>")
                .next()
                .unwrap_or_default()
                .split('"')
                .skip(1)
                .step_by(2);
            let mut commands = quoted.filter(|word| names.contains(word));
            if compares && let Some(command) = commands.next() {
                found.push(format!("{name}:{}: {command}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_wall_clock_environment_thread_or_signal_handler() {
    let words = [
        "SystemTime",
        "std::env",
        "env::var",
        "thread::spawn",
        "thread::Builder",
        "thread::sleep",
        "libc::signal",
        "libc::sigaction",
        "libc::atexit",
        "write_vectored",
    ];
    // RDC_LOG is the one environment variable.
    let reads_rdc_log = |name: &str| name == "ffi/environment_log.rs";
    let found = violations(|name, line| {
        let mut words = words.iter();
        words.any(|word| line.contains(word) && !(reads_rdc_log(name) && word.contains("env")))
    });
    assert!(found.is_empty(), "{found:#?}");
}

/// What is initialized under a lock is never initialized in a child that was forked meanwhile: the child waits for the
/// parent's thread. [`once_cell::race`] has no lock.
#[test]
fn nothing_of_the_process_is_initialized_under_a_lock() {
    let found = violations(|_, line| {
        let is_static = line.contains("static ") && line.contains("OnceLock");
        is_static || line.contains("LazyLock") || line.contains("sync::Once;")
    });
    assert!(found.is_empty(), "{found:#?}");
}
