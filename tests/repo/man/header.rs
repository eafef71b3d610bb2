//! The header, parsed for the man pages: its chapters, and for each declaration its comment.

use super::markdown::{inline, list};
use super::roff::{Page, escaped};

/// The text of a comment without its frame: paragraphs, whose indented lines are programs or lists.
pub fn comment(page: &mut Page, text: &str) {
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

/// A declaration with its comment.
pub struct Item {
    /// Of a function or of a macro that is called like one; of others the empty text.
    pub function: String,
    pub declaration: String,
    pub about: String,
}

pub struct Chapter {
    pub title: String,
    pub items: Vec<Item>,
}

/// The comment on the whole header, and its chapters.
pub struct Header {
    pub about: String,
    pub chapters: Vec<Chapter>,
}

impl Header {
    pub fn functions(&self) -> impl Iterator<Item = &Item> {
        let items = self.chapters.iter().flat_map(|chapter| &chapter.items);
        items.filter(|item| !item.function.is_empty())
    }
}

/// Is it documented for users of the functions?
fn is_declaration(text: &str) -> bool {
    text.starts_with("#define RDC_")
        || text.starts_with("#define rdc_")
        || text.starts_with("typedef")
        || text.contains("rdc_") && text.trim_end().ends_with(';')
}

/// The word before the first parenthesis, unless it is a constant or a type.
fn function(declaration: &str) -> String {
    let before = declaration.split('(').next().unwrap_or_default();
    let name = before
        .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default();
    let is_function = declaration.contains('(') && !declaration.starts_with("typedef");
    match name.starts_with("rdc_") && is_function {
        true => name.to_string(),
        false => String::new(),
    }
}

pub fn parse(header: &str) -> Header {
    let mut parsed = Header {
        about: String::new(),
        chapters: Vec::new(),
    };
    let mut rest = header;
    while let Some((_, tail)) = rest.split_once("/*") {
        let (text, tail) = tail.split_once("*/").expect("the end of a comment");
        rest = tail;
        let next = tail
            .trim_start_matches("\n#ifndef __cplusplus")
            .strip_prefix('\n');
        let next = next
            .and_then(|next| next.split("\n\n").next())
            .unwrap_or_default();
        if parsed.chapters.is_empty() {
            // The first line is the title, and the next says that the header is generated.
            let (_, about) = text
                .split_once("do not edit.\n")
                .expect("the beginning of the header");
            parsed.about = about.to_string();
            parsed.begin("Constants and types");
        } else if let Some(title) = text.strip_prefix(" ---- ") {
            parsed.begin(title.trim_end_matches(['-', ' ']));
        } else if is_declaration(next) {
            parsed.add(next, text);
        }
    }
    parsed
}

impl Header {
    fn begin(&mut self, title: &str) {
        self.chapters.push(Chapter {
            title: title.to_string(),
            items: Vec::new(),
        });
    }

    fn add(&mut self, declaration: &str, about: &str) {
        let lines = declaration
            .lines()
            .filter(|line| !line.starts_with("#endif"));
        let item = Item {
            function: function(declaration),
            declaration: lines.collect::<Vec<_>>().join("\n"),
            about: about.to_string(),
        };
        let chapter = self.chapters.last_mut().expect("a chapter");
        chapter.items.push(item);
    }
}

impl Item {
    /// The first sentence, for the list of functions.
    pub fn summary(&self) -> String {
        let words: Vec<&str> = self.about.split_whitespace().collect();
        let text = words.join(" ");
        let end = [". ", ": ", "; "]
            .iter()
            .filter_map(|end| text.find(end))
            .min();
        let sentence = &text[..end.unwrap_or(text.len())];
        sentence.trim_end_matches('.').to_string()
    }

    /// The other functions that the comment names.
    pub fn related(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let words = self
            .about
            .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '(');
        for word in words {
            let name = word.split_once('(').map(|(name, _)| name);
            let name = name.filter(|name| name.starts_with("rdc_") && *name != self.function);
            if let Some(name) = name.filter(|name| !names.iter().any(|known| known == name)) {
                names.push(name.to_string());
            }
        }
        names
    }

    pub fn write_declaration(&self, page: &mut Page) {
        for line in self.declaration.lines() {
            page.macro_line(&escaped(line));
        }
    }

    /// The declaration, with its comment indented below it.
    pub fn write(&self, page: &mut Page) {
        page.macro_line(".PP\n.nf\n.ft B");
        self.write_declaration(page);
        page.macro_line(".ft R\n.fi\n.RS 4");
        comment(page, &self.about);
        page.macro_line(".RE");
    }
}
