//! The journals of tests/c/chaos.c, which describes their lines.

use std::collections::BTreeMap;
use std::path::Path;

/// What the program was told about a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ran,
    /// It has not run and will not run.
    Not,
    /// It may have run; also for a call that never returned, because its process was killed.
    May,
}

/// A write with a token.
#[derive(Debug)]
pub struct Write {
    /// The first token of its call.
    pub group: String,
    /// `single`, `pipeline`, `atomic` or `script`.
    pub operation: String,
    /// The hash tag of its key.
    pub tag: String,
    pub verdict: Verdict,
    /// Number of replicas that WAIT counted behind it.
    pub replicas: usize,
}

/// The end of a call with an error or beyond its limit, or of a write.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub sent: bool,
    pub began: i64,
    pub ended: i64,
    /// Microseconds beyond the limit of the call.
    pub late: i64,
    /// Whether there was no fault during the call.
    pub calm: bool,
    pub message: String,
    /// The line of the journal.
    pub line: String,
}

/// Something that must not happen, except that a nil is explained by the loss of a key.
#[derive(Debug)]
pub struct Finding {
    pub kind: String,
    pub tag: String,
    pub line: String,
}

#[derive(Debug, Default)]
pub struct Journals {
    /// By token.
    pub writes: BTreeMap<String, Write>,
    pub outcomes: Vec<Outcome>,
    pub findings: Vec<Finding>,
    /// Lines that are no lines of a journal.
    pub foreign: Vec<String>,
}

impl Journals {
    /// All journals of a folder.
    pub fn read(folder: &Path) -> Journals {
        let mut journals = Journals::default();
        let entries = std::fs::read_dir(folder).unwrap();
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with("journal-") {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            for line in String::from_utf8_lossy(&bytes).lines() {
                if journals.line(line).is_none() {
                    journals.foreign.push(format!("{name}: {line}"));
                }
            }
        }
        journals
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        match kind {
            "B" => {
                let mut words = rest.split(' ');
                let token = words.next()?.to_string();
                let write = Write {
                    group: words.next()?.to_string(),
                    operation: words.next()?.to_string(),
                    tag: words.next()?.to_string(),
                    verdict: Verdict::May,
                    replicas: 0,
                };
                self.writes.insert(token, write);
            }
            "E" => {
                let mut words = rest.splitn(10, ' ');
                let (token, verdict) = (words.next()?, words.next()?);
                let outcome = Outcome {
                    code: words.next()?.parse().ok()?,
                    sent: words.next()? == "1",
                    began: words.next()?.parse().ok()?,
                    ended: words.next()?.parse().ok()?,
                    late: words.next()?.parse().ok()?,
                    calm: words.next()? == "1",
                    line: line.to_string(),
                    message: String::new(),
                };
                let _node = words.next()?;
                if let Some(write) = self.writes.get_mut(token) {
                    write.verdict = match verdict {
                        "ran" => Verdict::Ran,
                        "not" => Verdict::Not,
                        _ => Verdict::May,
                    };
                }
                let message = words.next()?.to_string();
                self.outcomes.push(Outcome { message, ..outcome });
            }
            "W" => {
                let (replicas, token) = rest.split_once(' ')?;
                self.writes.get_mut(token)?.replicas = replicas.parse().ok()?;
            }
            "F" => {
                let mut words = rest.split(' ');
                let finding = Finding {
                    kind: words.next()?.to_string(),
                    tag: words.next()?.to_string(),
                    line: line.to_string(),
                };
                self.findings.push(finding);
            }
            _ => return None,
        }
        Some(())
    }
}
