//! Files that the options name.

use crate::config::Secret;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, Read};

/// The error of an unusable file. It never contains the content, which may be a password or a key.
pub(super) fn bad_file(option: &str, path: &str, problem: impl std::fmt::Display) -> Error {
    Error::invalid(format_args!("option {option}: {path:?} {problem}"))
}

/// Reads a file of text of at most `max_kib`.
pub(super) fn read_text(option: &str, path: &str, max_kib: u64) -> Result<Secret> {
    let bad = |why: &dyn std::fmt::Display| bad_file(option, path, why);
    let cannot = |e: io::Error| bad(&format_args!("cannot be read: {e}"));
    // Opening a pipe could block for ever.
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err(bad(&"is not a regular file"));
    }
    let max = max_kib * 1024;
    // One byte more shows that the file has grown.
    let mut text = String::with_capacity(metadata.len().min(max) as usize + 1);
    let read = match metadata.len() > max {
        true => Ok(usize::MAX),
        false => File::open(path).and_then(|f| f.take(max + 1).read_to_string(&mut text)),
    };
    let text = Secret::from(text);
    match read {
        Ok(size) if size as u64 > max => Err(bad(&format_args!(
            "is larger than {}",
            size_of_kib(max_kib)
        ))),
        Ok(_) => Ok(text),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(bad(&"is not UTF-8 text")),
        Err(e) => Err(cannot(e)),
    }
}

fn size_of_kib(kib: u64) -> String {
    match kib % 1024 {
        0 => format!("{} MiB", kib / 1024),
        _ => format!("{kib} KiB"),
    }
}

/// The largest file with a user or a password.
const MAX_LINE_KIB: u64 = 64;

/// Reads a file of one line. The newline at its end is not part of it.
pub(super) fn read_line(option: &str, path: &str) -> Result<Secret> {
    let text = read_text(option, path, MAX_LINE_KIB)?;
    let line = text.reveal();
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(bad_file(option, path, "is empty"));
    }
    if let Some(at) = line.bytes().position(|b| b.is_ascii_control()) {
        let why = format_args!("contains a control character (at byte {at})");
        return Err(bad_file(option, path, why));
    }
    Ok(Secret::new(line))
}
