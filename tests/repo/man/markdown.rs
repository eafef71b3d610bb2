//! The Markdown of docs/ as a man page: headings, paragraphs, lists, tables and programs.

use super::roff::{Page, escaped};

/// Inline markup: code is bold, a link is its text.
pub fn inline(text: &str) -> String {
    let mut result = String::new();
    for (i, part) in text.split('`').enumerate() {
        match i % 2 {
            1 => result += &format!("\\fB{}\\fR", escaped(part)),
            _ => result += &escaped(part),
        }
    }
    without_links(&result)
}

fn without_links(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('[') {
        let link = tail
            .split_once("](")
            .and_then(|(name, tail)| Some((name, tail.split_once(')')?.1)))
            .filter(|(name, _)| !name.contains('['));
        result += before;
        match link {
            Some((name, tail)) => {
                result += name;
                rest = tail;
            }
            None => {
                result.push('[');
                rest = tail;
            }
        }
    }
    result + rest
}

/// The cells of a table row. `\|` is a bar in a cell.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_matches('|').replace("\\|", "\u{1}");
    row.split('|')
        .map(|cell| inline(&cell.trim().replace('\u{1}', "|")))
        .collect()
}

fn block(page: &mut Page, lines: &[&str]) {
    let first = lines[0];
    if let Some(title) = first.strip_prefix("### ") {
        page.subsection(title);
    } else if let Some(title) = first.strip_prefix("## ") {
        page.section(title);
    } else if first.starts_with("# ") || first.starts_with("- [") {
        // The title, and the table of contents.
    } else if first.starts_with("    ") {
        page.literal(
            lines
                .iter()
                .map(|line| line.strip_prefix("    ").unwrap_or(line)),
        );
    } else if first.starts_with('|') {
        let rows = lines.iter().filter(|line| !line.starts_with("|---"));
        page.table(&rows.map(|row| cells(row)).collect::<Vec<_>>());
    } else if first.starts_with("- ") || first.starts_with("1. ") {
        list(page, lines);
    } else {
        page.paragraph(&inline(&lines.join("\n")));
    }
}

pub fn list(page: &mut Page, lines: &[&str]) {
    let mut entries: Vec<(String, String)> = Vec::new();
    for line in lines {
        match line.split_once(' ') {
            Some(("-", text)) => entries.push(("\\(bu".to_string(), text.to_string())),
            Some((number, text))
                if number.ends_with('.') && number != "." && !line.starts_with(' ') =>
            {
                entries.push((number.to_string(), text.to_string()));
            }
            _ => {
                let (_, entry) = entries.last_mut().expect("a list begins with an entry");
                *entry += &format!("\n{}", line.trim());
            }
        }
    }
    for (mark, text) in entries {
        page.entry(&mark, &inline(&text));
    }
}

/// Blocks are separated by blank lines; a blank line inside a program stays in it.
pub fn write(page: &mut Page, text: &str) {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if !line.is_empty() {
            lines.push(line);
        } else if !lines.is_empty() {
            block(page, &lines);
            lines.clear();
        }
    }
}
