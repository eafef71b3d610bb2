//! The header as a man page: a section for each chapter, and for each declaration its comment.

use super::markdown::{inline, list};
use super::roff::{Page, escaped};

/// The text of a comment without its frame: paragraphs, whose indented lines are programs or lists.
fn comment(page: &mut Page, text: &str) {
    let lines = text.trim().lines().map(|line| {
        let line = line
            .strip_prefix(" * ")
            .or(line.strip_prefix("   "))
            .unwrap_or(line);
        if line.trim() == "*" {
            ""
        } else {
            line.trim_end()
        }
    });
    let lines: Vec<&str> = lines.collect();
    for paragraph in lines.split(|line| line.is_empty()) {
        match paragraph {
            [] => {}
            [first, ..] if first.starts_with("1. ") => list(page, paragraph),
            _ => plain_or_literal(page, paragraph),
        }
    }
}

fn plain_or_literal(page: &mut Page, paragraph: &[&str]) {
    let is_literal = |line: &&str| line.starts_with("  ");
    for part in paragraph.chunk_by(|left, right| is_literal(left) == is_literal(right)) {
        if is_literal(&part[0]) {
            page.literal(part.iter().copied());
        } else {
            page.paragraph(&inline(&part.join("\n")));
        }
    }
}

/// Is it documented for users of the functions?
fn is_declaration(text: &str) -> bool {
    text.starts_with("#define RDC_")
        || text.starts_with("#define rdc_")
        || text.starts_with("typedef")
        || text.contains("rdc_") && text.trim_end().ends_with(';')
}

fn declaration(page: &mut Page, lines: &str, about: &str) {
    page.macro_line(".PP\n.nf\n.ft B");
    for line in lines.lines().filter(|line| !line.starts_with("#endif")) {
        page.macro_line(&escaped(line));
    }
    page.macro_line(".ft R\n.fi\n.RS 4");
    comment(page, about);
    page.macro_line(".RE");
}

pub fn write(page: &mut Page, header: &str) {
    let mut rest = header;
    let mut is_first = true;
    while let Some((_, tail)) = rest.split_once("/*") {
        let (text, tail) = tail.split_once("*/").expect("the end of a comment");
        rest = tail;
        let next = tail
            .trim_start_matches("\n#ifndef __cplusplus")
            .strip_prefix('\n');
        let next = next
            .and_then(|next| next.split("\n\n").next())
            .unwrap_or_default();
        if is_first {
            is_first = false;
            // The first line is the title, and the next says that the header is generated.
            let (_, text) = text
                .split_once("do not edit.\n")
                .expect("the beginning of the header");
            comment(page, text);
            page.section("Constants and types");
        } else if let Some(title) = text.strip_prefix(" ---- ") {
            page.section(title.trim_end_matches(['-', ' ']));
        } else if is_declaration(next) {
            declaration(page, next, text);
        }
    }
}
