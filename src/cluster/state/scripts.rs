//! Scripts that have passed by, with their bodies: for nodes that have not been told of one.
//!
//! Servers keep scripts in memory, each for itself: a node that was started anew, or is new, answers
//! EVALSHA with NOSCRIPT. Nothing has run then, and whoever knows the body may send that instead.

use crate::resp::{CommandBody, encode_command, parse_command};
use crate::route::{Flag, Row, find, table};
use sha1_smol::Sha1;
use std::collections::HashMap;
use std::sync::Arc;

/// Of so many scripts, with so many bytes in all, the bodies are kept; then the one that was not
/// used for longest is forgotten.
const MOST: usize = 1024;
const MOST_BYTES: usize = 4 << 20;
/// A body beyond this is not worth its memory.
const LONGEST: usize = 256 * 1024;

/// Where commands have the body of a script.
const BODIES: &[(&Row, usize)] = &[
    (table::SCRIPT_LOAD, 2),
    (table::EVAL, 1),
    (table::EVAL_RO, 1),
];
/// Commands that name a script by its digest, their first argument, and what takes its body instead.
const BY_DIGEST: &[(&Row, &[u8])] = &[(table::EVALSHA, b"EVAL"), (table::EVALSHA_RO, b"EVAL_RO")];

/// As servers write it: 40 hexadecimal digits, in small letters.
type Digest = [u8; 40];

#[derive(Clone, Debug, Default)]
pub struct Scripts {
    /// By body too, so that one that is used again is not digested again.
    digests: HashMap<Arc<[u8]>, Digest>,
    bodies: HashMap<Digest, Known>,
    bytes: usize,
    /// Grows with each use.
    time: u64,
}

#[derive(Clone, Debug)]
struct Known {
    body: Arc<[u8]>,
    used: u64,
}

/// Whether a command has anything to do with scripts, so that it should pass by here.
#[inline]
pub fn concerns(row: &Row) -> bool {
    row.flags.has(Flag::Noscript)
}

impl Scripts {
    /// Notes what a command says of scripts.
    pub fn note(&mut self, row: &Row, args: &[&[u8]]) {
        if row == table::SCRIPT_FLUSH {
            *self = Scripts::default();
        }
        let at = BODIES.iter().find(|(known, _)| *known == row);
        if let Some(body) = at.and_then(|(_, at)| args.get(*at))
            && body.len() <= LONGEST
        {
            self.learn(body);
        }
    }

    fn learn(&mut self, body: &[u8]) {
        self.time += 1;
        let used = self.time;
        if let Some(digest) = self.digests.get(body) {
            if let Some(known) = self.bodies.get_mut(digest) {
                known.used = used;
            }
            return;
        }
        self.bytes += body.len();
        while self.bodies.len() >= MOST || self.bytes > MOST_BYTES {
            let oldest = self.bodies.iter().min_by_key(|(_, known)| known.used);
            let Some(oldest) = oldest.map(|(digest, _)| *digest) else {
                break;
            };
            if let Some(forgotten) = self.bodies.remove(&oldest) {
                self.bytes -= forgotten.body.len();
                self.digests.remove(&forgotten.body);
            }
        }
        let mut digest = [0; 40];
        let text = Sha1::from(body).digest().to_string();
        digest.copy_from_slice(text.as_bytes());
        let body: Arc<[u8]> = Arc::from(body);
        self.digests.insert(body.clone(), digest);
        self.bodies.insert(digest, Known { body, used });
    }

    /// A command that named a script by its digest, encoded with the body in its place.
    pub fn with_script_body(&mut self, body: &CommandBody<'_>) -> Option<Vec<u8>> {
        let mut split_args = Vec::new();
        let args = match body {
            CommandBody::Args(args) => *args,
            CommandBody::Encoded(bytes) => {
                parse_command(bytes, 0, &mut split_args).ok()?;
                &split_args
            }
            CommandBody::Named(..) => return None,
        };
        let row = find(args)?;
        let (_, name) = BY_DIGEST.iter().find(|(known, _)| *known == row)?;
        let digest = args.get(1)?.to_ascii_lowercase();
        let known = self.bodies.get_mut(digest.as_slice())?;
        self.time += 1;
        known.used = self.time;
        let mut words: Vec<&[u8]> = vec![name, &known.body];
        words.extend(args.get(2..)?);
        let mut bytes = Vec::new();
        encode_command(&mut bytes, &words);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(scripts: &mut Scripts, words: &[&str]) {
        let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        scripts.note(find(&args).unwrap(), &args);
    }

    fn with_script_body(scripts: &mut Scripts, words: &[&str]) -> Option<String> {
        let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let by_args = scripts.with_script_body(&CommandBody::Args(&args));
        let mut bytes = Vec::new();
        encode_command(&mut bytes, &args);
        assert_eq!(
            scripts.with_script_body(&CommandBody::Encoded(&bytes)),
            by_args
        );
        by_args.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// Of "return 1".
    const ONE: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

    #[test]
    fn a_script_that_was_loaded_or_run_is_known_by_its_digest() {
        for how in [
            &["SCRIPT", "LOAD", "return 1"][..],
            &["eval", "return 1", "0"],
            &["EVAL_RO", "return 1", "1", "k"],
        ] {
            let mut scripts = Scripts::default();
            note(&mut scripts, how);
            let full = with_script_body(&mut scripts, &["EVALSHA", ONE, "1", "k", "a"]);
            let expected =
                "*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\na\r\n";
            assert_eq!(full.as_deref(), Some(expected));
            let full = with_script_body(&mut scripts, &["evalsha_ro", &ONE.to_uppercase(), "0"]);
            let expected = "*3\r\n$7\r\nEVAL_RO\r\n$8\r\nreturn 1\r\n$1\r\n0\r\n";
            assert_eq!(full.as_deref(), Some(expected));
            for other in [
                ["EVALSHA", "e0e1", "0"],
                ["FCALL", ONE, "0"],
                ["GET", ONE, "0"],
            ] {
                assert_eq!(with_script_body(&mut scripts, &other), None);
            }
            note(&mut scripts, &["SCRIPT", "FLUSH"]);
            assert_eq!(with_script_body(&mut scripts, &["EVALSHA", ONE, "0"]), None);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_used_is_kept() {
        let mut scripts = Scripts::default();
        note(&mut scripts, &["EVAL", "return 1", "0"]);
        for n in 0..2 * MOST {
            note(&mut scripts, &["EVAL", &format!("return {n}0"), "0"]);
            assert!(with_script_body(&mut scripts, &["EVALSHA", ONE, "0"]).is_some());
        }
        assert_eq!((scripts.bodies.len(), scripts.digests.len()), (MOST, MOST));
        for n in 0..40 {
            note(
                &mut scripts,
                &[
                    "EVAL",
                    &format!("return {n}{}", " ".repeat(LONGEST - 20)),
                    "0",
                ],
            );
        }
        assert!(scripts.bytes <= MOST_BYTES && scripts.bodies.len() < 40);
        let kept: usize = scripts.bodies.values().map(|known| known.body.len()).sum();
        assert_eq!(kept, scripts.bytes);
        note(&mut scripts, &["EVAL", &" ".repeat(LONGEST + 1), "0"]);
        assert_eq!(scripts.digests.len(), scripts.bodies.len());
        assert!(scripts.bytes <= MOST_BYTES);
    }
}
