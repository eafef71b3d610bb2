//! The pages of `man` are generated: rdc(1) from docs/rdc.md, rediscluster(3) from the header. `make install` makes the
//! name of each function a link to the latter.

mod header;
mod markdown;
mod roff;

use roff::Page;
use std::path::Path;
use std::process::{Command, Stdio};

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
    page.macro_line(".BR rediscluster (3)");
    page.finish()
}

fn rediscluster() -> String {
    let mut page = Page::new(
        "REDISCLUSTER",
        3,
        "rediscluster",
        "a client for Redis and Valkey clusters",
    );
    page.section("SYNOPSIS");
    page.macro_line(".nf\n.B #include <rediscluster.h>\n.PP\ncc program.c $(pkg\\-config \\-\\-cflags \\-\\-libs rediscluster)\n.fi");
    page.section("DESCRIPTION");
    header::write(&mut page, &read("include/rediscluster.h"));
    page.section("SEE ALSO");
    page.macro_line(".BR rdc (1)");
    page.finish()
}

fn pages() -> [(&'static str, String); 2] {
    [
        ("docs/man/rdc.1", rdc()),
        ("docs/man/rediscluster.3", rediscluster()),
    ]
}

#[test]
fn man_pages_are_current() {
    for (name, fresh) in pages() {
        let path = Path::new(ROOT).join(name);
        if std::env::var_os("RDC_BLESS").is_some() {
            std::fs::write(&path, &fresh).expect(name);
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == fresh,
            "{name} is stale: `RDC_BLESS=1 cargo test --test repo man` renews it"
        );
    }
}

#[test]
fn man_page_names_every_function() {
    let page = rediscluster();
    for line in read("dist/rediscluster.map").lines() {
        if let Some(function) = line
            .trim()
            .strip_suffix(';')
            .filter(|f| f.starts_with("rdc_"))
        {
            assert!(
                page.contains(&format!("{function}(")),
                "{function} is not in rediscluster(3)"
            );
        }
    }
}

/// groff warns about what it cannot lay out. Without groff, only the two tests above check the pages.
#[test]
fn man_pages_have_no_warnings() {
    for (name, _) in pages() {
        let groff = Command::new("groff")
            .args(["-t", "-man", "-Tascii", "-ww", "-z", "-rLL=100n"])
            .arg(Path::new(ROOT).join(name))
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
