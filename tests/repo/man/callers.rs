//! The programs that call a function of the interface: examples, or tests where no example does.

use std::path::Path;

/// A C program: its path in the repository, and its text without comments.
pub struct Program {
    path: String,
    code: String,
}

fn without_comments(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once("/*") {
        code += before;
        rest = tail.split_once("*/").map_or("", |(_, after)| after);
    }
    code + rest
}

/// The programs of a folder, in alphabetical order.
pub fn programs(root: &str, folder: &str) -> Vec<Program> {
    let entries = std::fs::read_dir(Path::new(root).join(folder)).expect(folder);
    let names = entries.map(|entry| entry.expect(folder).file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("a name")).collect();
    names.retain(|name| name.ends_with(".c") || name.ends_with(".cpp"));
    names.sort();
    let program = |name: String| {
        let path = format!("{folder}/{name}");
        let text = std::fs::read_to_string(Path::new(root).join(&path)).expect("a program");
        let code = without_comments(&text);
        Program { path, code }
    };
    names.into_iter().map(program).collect()
}

impl Program {
    fn calls(&self, function: &str) -> bool {
        let is_part_of_name = |c: char| c.is_alphanumeric() || c == '_';
        self.code.match_indices(function).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = &self.code[at + function.len()..];
            !before.is_some_and(is_part_of_name) && after.starts_with('(')
        })
    }
}

/// The programs of the first of these lists in which there is one.
pub fn of(function: &str, lists: &[Vec<Program>]) -> Vec<String> {
    let callers = |list: &Vec<Program>| {
        let callers = list.iter().filter(|program| program.calls(function));
        callers
            .map(|program| program.path.clone())
            .collect::<Vec<_>>()
    };
    let mut found = lists.iter().map(callers);
    found.find(|list| !list.is_empty()).unwrap_or_default()
}

#[test]
fn only_calls_count() {
    let text =
        "/* rdc_get() and\n rdc_set() */ rdc_get(c); my_rdc_del(c); rdc_delay(c); f(rdc_incrby);";
    let program = Program {
        path: "examples-c/a.c".to_string(),
        code: without_comments(text),
    };
    let called = |function: &&&str| program.calls(function);
    let all = ["rdc_get", "rdc_set", "rdc_del", "rdc_delay", "rdc_incrby"];
    let found: Vec<&&str> = all.iter().filter(called).collect();
    assert_eq!(found, [&"rdc_get", &"rdc_delay"]);
}
