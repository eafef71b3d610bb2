//! The pages of `man` are generated: rdc(1) from docs/rdc.md; rediscluster(7), and a page for each function, from the
//! header.

mod callers;
mod header;
mod markdown;
mod roff;

use callers::Program;
use header::{Header, Item};
use roff::{Page, escaped};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).expect(path)
}

/// The text of the section "Commands of rdc" and so on, as rdc(1).
fn rdc() -> String {
    let mut page = Page::new("RDC", 1, "rdc", "look inside a Redis or Valkey cluster");
    page.section("SYNOPSIS");
    page.macro_line(".B rdc\n[\\fIOPTION\\fR...] \\fICOMMAND\\fR [\\fIARG\\fR...]");
    page.section("DESCRIPTION");
    markdown::write(&mut page, &read("docs/rdc.md"));
    page.section("SEE ALSO");
    page.macro_line(".BR rediscluster (7)");
    page.finish()
}

/// The section SYNOPSIS of a page about the library.
fn synopsis(page: &mut Page, item: Option<&Item>) {
    page.section("SYNOPSIS");
    page.macro_line(".nf\n.B #include <rediscluster.h>\n.PP");
    if let Some(item) = item {
        page.macro_line(".ft B");
        item.write_declaration(page);
        page.macro_line(".ft R\n.PP");
    }
    page.macro_line("cc program.c $(pkg\\-config \\-\\-cflags \\-\\-libs rediscluster)\n.fi");
}

/// rediscluster(7): what applies to all functions, the constants and types, and a list of the functions.
fn rediscluster(header: &Header) -> String {
    let purpose = "a client for Redis and Valkey clusters";
    let mut page = Page::new("REDISCLUSTER", 7, "rediscluster", purpose);
    synopsis(&mut page, None);
    page.section("DESCRIPTION");
    header::comment(&mut page, &header.about);
    for chapter in &header.chapters {
        page.section(&chapter.title);
        for item in &chapter.items {
            match item.function.as_str() {
                "" => item.write(&mut page),
                name => page.term(&format!(".BR {name} (3)"), &escaped(&item.summary())),
            }
        }
    }
    page.section("SEE ALSO");
    page.macro_line(".BR rdc (1)");
    page.finish()
}

/// The page of a function, with the programs that show it.
fn function(item: &Item, callers: &[String]) -> String {
    let name = &item.function;
    let mut page = Page::new(&name.to_uppercase(), 3, name, &escaped(&item.summary()));
    synopsis(&mut page, Some(item));
    page.section("DESCRIPTION");
    header::comment(&mut page, &item.about);
    page.section(EXAMPLES);
    page.paragraph(&escaped(&callers.join(", ")));
    page.section("SEE ALSO");
    let related = item.related();
    let related = related.iter().map(|name| format!(".BR {name} (3),\n"));
    page.macro_line(&format!(
        "{}.BR rediscluster (7)",
        related.collect::<String>()
    ));
    page.finish()
}

/// The website reads the programs of a function from the section with this title. The folder examples-c is a part of the
/// installed documentation.
const EXAMPLES: &str = "EXAMPLES";

fn callers(function: &str) -> Vec<String> {
    static PROGRAMS: LazyLock<[Vec<Program>; 2]> =
        LazyLock::new(|| ["examples-c", "tests/c"].map(|folder| callers::programs(ROOT, folder)));
    callers::of(function, &*PROGRAMS)
}

fn pages() -> Vec<(String, String)> {
    let header = header::parse(&read("include/rediscluster.h"));
    let mut pages = vec![
        ("docs/man/man1/rdc.1".to_string(), rdc()),
        (
            "docs/man/man7/rediscluster.7".to_string(),
            rediscluster(&header),
        ),
    ];
    for item in header.functions() {
        let page = function(item, &callers(&item.function));
        pages.push((format!("{FUNCTIONS}/{}.3", item.function), page));
    }
    pages
}

const FUNCTIONS: &str = "docs/man/man3";

#[test]
fn man_pages_are_current() {
    for (name, fresh) in pages() {
        let path = Path::new(ROOT).join(&name);
        if std::env::var_os("RDC_BLESS").is_some() {
            std::fs::write(&path, &fresh).expect(&name);
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == fresh,
            "{name} is stale: `RDC_BLESS=1 cargo test --test repo man` renews it"
        );
    }
}

#[test]
fn every_function_has_a_page() {
    let mut expected: Vec<String> = read("dist/rediscluster.map")
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';'))
        .filter(|name| name.starts_with("rdc_"))
        .chain(["rdc_cmd", "rdc_version_matches"])
        .map(|name| format!("{name}.3"))
        .collect();
    expected.sort();
    let files = std::fs::read_dir(Path::new(ROOT).join(FUNCTIONS)).expect(FUNCTIONS);
    let files = files.map(|entry| entry.expect("a page").file_name());
    let mut files: Vec<String> = files
        .map(|name| name.into_string().expect("a name"))
        .collect();
    files.sort();
    assert_eq!(files, expected);
}

/// What no program calls, nobody has tried, and a reader finds no use of it.
#[test]
fn every_function_is_called_by_an_example_or_a_test() {
    let header = header::parse(&read("include/rediscluster.h"));
    let names = header.functions().map(|item| item.function.as_str());
    let without: Vec<&str> = names.filter(|name| callers(name).is_empty()).collect();
    assert_eq!(without, [""; 0], "called in examples-c or tests/c");
}

/// groff warns about what it cannot lay out. Without groff, only the tests above check the pages.
#[test]
fn man_pages_have_no_warnings() {
    for (name, _) in pages() {
        let groff = Command::new("groff")
            .args(["-t", "-man", "-Tascii", "-ww", "-z", "-rLL=100n"])
            .arg(Path::new(ROOT).join(&name))
            .stdout(Stdio::null())
            .output();
        let Ok(output) = groff else {
            eprintln!("skipped: groff is missing (Debian: groff)");
            return;
        };
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && warnings.is_empty(),
            "{name}: {warnings}"
        );
    }
}
