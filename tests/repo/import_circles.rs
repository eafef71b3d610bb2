//! No file imports another one that depends on it.

use crate::layering::{code, sources};
use std::collections::{BTreeMap, BTreeSet};

/// The folders of src/ in which there must be no import circle.
const FOLDERS: &[&str] = &["net", "topology", "route", "cluster"];

/// The modules of src/net: each imports only those before it.
const NET_ORDER: &[&str] = &["sys", "wait", "resolver", "conn", "node", "pool", "peer"];

/// A path of a `use` declaration: its segments, and whether it is re-exported.
struct Import {
    segments: Vec<String>,
    is_reexport: bool,
}

/// The modules of the crate: path (`["net", "pool"]`) to file (`net/pool/mod.rs`).
type Modules = BTreeMap<Vec<String>, String>;

fn module_path(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_string).collect()
}

/// Expands a use tree: `a::{b, c::d as e}` is `a::b` and `a::c::d`.
fn expand(tree: &str, prefix: &[String], found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some((path, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        let segments = path.split("::").map(|s| s.trim().to_string());
        found.push(prefix.iter().cloned().chain(segments).collect());
        return;
    };
    let segments = path.split("::").map(str::trim).filter(|s| !s.is_empty());
    let prefix: Vec<String> = prefix
        .iter()
        .cloned()
        .chain(segments.map(str::to_string))
        .collect();
    let (mut depth, mut start) = (0, 0);
    let group = group.trim_end().strip_suffix('}').unwrap();
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&group[start..at], &prefix, found);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !group[start..].trim().is_empty() {
        expand(&group[start..], &prefix, found);
    }
}

/// The imports of a file: its use declarations, and paths in the code that begin with `crate` or `super`.
fn imports(text: &str) -> Vec<Import> {
    // Unit tests that other unit tests use are `pub`, and not cut off by `sources`.
    let text = text.split("#[cfg(test)]\npub").next().unwrap();
    let text: String = text.lines().map(|line| code(line) + "\n").collect();
    let mut found = Vec::new();
    let mut rest = String::new();
    let mut declaration = String::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let is_use = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "]
            .iter()
            .any(|start| trimmed.starts_with(start))
            || (trimmed.starts_with("pub(in ") && trimmed.contains(") use "));
        if !declaration.is_empty() || is_use {
            declaration += trimmed;
            declaration.push(' ');
            if let Some((whole, _)) = declaration.clone().split_once(';') {
                let (visibility, tree) = whole.split_once("use ").unwrap();
                let mut paths = Vec::new();
                expand(tree, &[], &mut paths);
                let is_reexport = visibility.starts_with("pub");
                found.extend(paths.into_iter().map(|segments| Import {
                    segments,
                    is_reexport,
                }));
                declaration.clear();
            }
        } else {
            rest += line;
            rest.push('\n');
        }
    }
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = rest.split(|c| !is_path(c));
    let paths = words.filter(|w| w.starts_with("crate::") || w.starts_with("super::"));
    found.extend(paths.map(|path| Import {
        segments: path.split("::").map(str::to_string).collect(),
        is_reexport: false,
    }));
    found
}

/// The module that a path starts in, and the remaining segments. None for a path of another crate.
fn start<'a>(
    here: &[String],
    segments: &'a [String],
    modules: &Modules,
) -> Option<(Vec<String>, &'a [String])> {
    match segments[0].as_str() {
        "crate" => Some((Vec::new(), &segments[1..])),
        "self" => Some((here.to_vec(), &segments[1..])),
        "super" => {
            let parent = here[..here.len() - 1].to_vec();
            let rest = &segments[1..];
            match rest.first().is_some_and(|next| next == "super") {
                true => start(&parent, rest, modules),
                false => Some((parent, rest)),
            }
        }
        name => {
            let child: Vec<String> = here.iter().cloned().chain([name.to_string()]).collect();
            modules
                .contains_key(&child)
                .then(|| (here.to_vec(), segments))
        }
    }
}

/// The file that defines what a path names: through submodules, and through re-exports.
fn target(
    here: &[String],
    segments: &[String],
    modules: &Modules,
    all: &BTreeMap<String, Vec<Import>>,
) -> Option<String> {
    let (mut module, mut rest) = start(here, segments, modules)?;
    while let Some(next) = rest.first() {
        let child: Vec<String> = module.iter().cloned().chain([next.clone()]).collect();
        if !modules.contains_key(&child) {
            break;
        }
        module = child;
        rest = &rest[1..];
    }
    let file = modules.get(&module)?;
    if let Some(name) = rest.first() {
        let mut reexports = all[file].iter().filter(|import| import.is_reexport);
        if let Some(import) = reexports.find(|import| import.segments.last() == Some(name)) {
            return target(&module, &import.segments, modules, all);
        }
    }
    Some(file.clone())
}

/// Which files each file imports.
fn graph(files: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<String>> {
    let modules: Modules = files
        .keys()
        .map(|file| (module_path(file), file.clone()))
        .collect();
    let all: BTreeMap<String, Vec<Import>> = files
        .iter()
        .map(|(file, text)| (file.clone(), imports(text)))
        .collect();
    let targets = |file: &String| {
        let here = module_path(file);
        let own = all[file].iter().filter(|import| !import.is_reexport);
        own.filter_map(|import| target(&here, &import.segments, &modules, &all))
            .filter(|target| target != file)
            .collect()
    };
    files
        .keys()
        .map(|file| (file.clone(), targets(file)))
        .collect()
}

/// Whether there is a path of imports between two files.
fn reaches(graph: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        for next in &graph[file] {
            if next == to {
                return true;
            }
            if seen.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    false
}

#[test]
fn files_of_a_layer_do_not_import_each_other_in_circles() {
    let graph = graph(&sources());
    let edges: usize = graph.values().map(BTreeSet::len).sum();
    assert!(edges > 200, "only {edges} imports found");
    let in_folder = |file: &str| FOLDERS.iter().any(|f| file.starts_with(&format!("{f}/")));
    let mut circles = Vec::new();
    for (file, targets) in graph.iter().filter(|(file, _)| in_folder(file)) {
        for target in targets.iter().filter(|target| in_folder(target)) {
            if reaches(&graph, target, file) {
                circles.push(format!("{file} -> {target}"));
            }
        }
    }
    assert!(
        circles.is_empty(),
        "imports that form circles: {circles:#?}"
    );
}

#[test]
fn modules_of_net_import_downwards() {
    let position = |file: &str| {
        let module = file.strip_prefix("net/")?.split('/').next()?;
        let module = module.trim_end_matches(".rs");
        (module != "mod").then(|| {
            let at = NET_ORDER.iter().position(|name| *name == module);
            at.unwrap_or_else(|| panic!("{file}: add {module} to NET_ORDER"))
        })
    };
    let mut upwards = Vec::new();
    for (file, targets) in graph(&sources()) {
        for target in targets {
            if let (Some(from), Some(to)) = (position(&file), position(&target))
                && to > from
            {
                upwards.push(format!("{file} -> {target}"));
            }
        }
    }
    assert!(upwards.is_empty(), "imports that point up: {upwards:#?}");
}

#[test]
fn import_graph_follows_groups_parents_and_reexports() {
    let files = [
        ("a/mod.rs", "mod b;\nmod c;\npub use b::{B, c as d};"),
        ("a/b.rs", "use super::c::{C,\n    D};\npub struct B;"),
        ("a/c.rs", "pub struct C;\nfn f() { crate::e::g(); }"),
        ("e.rs", "use crate::a::B;\nuse std::io;"),
    ];
    let files = files.map(|(file, text)| (file.to_string(), text.to_string()));
    let graph = graph(&files.into_iter().collect());
    let of = |file: &str| graph[file].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("a/mod.rs"), Vec::<&str>::new());
    assert_eq!(of("a/b.rs"), ["a/c.rs"]);
    assert_eq!(of("a/c.rs"), ["e.rs"]);
    assert_eq!(of("e.rs"), ["a/b.rs"]);
    assert!(reaches(&graph, "a/b.rs", "a/b.rs"));
}
