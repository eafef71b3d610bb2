//! The bodies of scripts that were loaded or run, for nodes that do not have them.
//!
//! Each server keeps scripts in its memory: a restarted or a new node answers EVALSHA with NOSCRIPT.
//! Nothing has run then, and a client that knows the body may send the body instead.

use crate::resp::{CommandBody, encode_command, parse_command};
use crate::route::{Flag, Row, find, table};
use sha1_smol::Sha1;
use std::collections::HashMap;
use std::sync::Arc;

/// The most bodies and bytes that are kept; beyond them the least recently used body is dropped.
const MAX_SCRIPTS: usize = 1024;
const MAX_BYTES: usize = 4 << 20;
/// A longer body is not kept.
const MAX_BODY_LEN: usize = 256 * 1024;

/// Commands with the body of a script, and the index of that argument.
const BODIES: &[(&Row, usize)] = &[
    (table::SCRIPT_LOAD, 2),
    (table::EVAL, 1),
    (table::EVAL_RO, 1),
];
/// Commands whose first argument is the digest of a script, and the command that takes the body instead.
const BY_DIGEST: &[(&Row, &[u8])] = &[(table::EVALSHA, b"EVAL"), (table::EVALSHA_RO, b"EVAL_RO")];

/// SHA-1 as servers write it: 40 hexadecimal digits in lower case.
type Digest = [u8; 40];

#[derive(Clone, Debug, Default)]
pub struct Scripts {
    /// By body, so that the digest of a body is computed once.
    digests: HashMap<Arc<[u8]>, Digest>,
    bodies: HashMap<Digest, Script>,
    /// The sum of the bodies' lengths.
    bytes: usize,
    /// Incremented by each use.
    clock: u64,
}

#[derive(Clone, Debug)]
struct Script {
    body: Arc<[u8]>,
    last_used: u64,
}

/// Whether [`Scripts::note`] has an effect for a command.
#[inline]
pub fn may_have_script(row: &Row) -> bool {
    row.flags.has(Flag::Noscript)
}

impl Scripts {
    /// Remembers the body that a command carries; SCRIPT FLUSH drops all bodies.
    pub fn note(&mut self, row: &Row, args: &[&[u8]]) {
        if row == table::SCRIPT_FLUSH {
            *self = Scripts::default();
        }
        let body_at = BODIES.iter().find(|(command, _)| *command == row);
        if let Some(body) = body_at.and_then(|(_, at)| args.get(*at))
            && body.len() <= MAX_BODY_LEN
        {
            self.add(body);
        }
    }

    fn add(&mut self, body: &[u8]) {
        self.clock += 1;
        let last_used = self.clock;
        if let Some(digest) = self.digests.get(body) {
            if let Some(script) = self.bodies.get_mut(digest) {
                script.last_used = last_used;
            }
            return;
        }
        self.bytes += body.len();
        self.evict();
        let mut digest = [0; 40];
        let text = Sha1::from(body).digest().to_string();
        digest.copy_from_slice(text.as_bytes());
        let body: Arc<[u8]> = Arc::from(body);
        self.digests.insert(body.clone(), digest);
        self.bodies.insert(digest, Script { body, last_used });
    }

    /// Drops the least recently used bodies until there is room for another.
    fn evict(&mut self) {
        while self.bodies.len() >= MAX_SCRIPTS || self.bytes > MAX_BYTES {
            let oldest = self
                .bodies
                .iter()
                .min_by_key(|(_, script)| script.last_used);
            let Some(oldest) = oldest.map(|(digest, _)| *digest) else {
                break;
            };
            if let Some(dropped) = self.bodies.remove(&oldest) {
                self.bytes -= dropped.body.len();
                self.digests.remove(&dropped.body);
            }
        }
    }

    /// A command that names a script by its digest, encoded with the body instead; `None` if the body
    /// is not known.
    pub fn with_script_body(&mut self, body: &CommandBody<'_>) -> Option<Vec<u8>> {
        let mut parsed = Vec::new();
        let args = match body {
            CommandBody::Args(args) => *args,
            CommandBody::Encoded(bytes) => {
                parse_command(bytes, 0, &mut parsed).ok()?;
                &parsed
            }
            // Neither a short command nor one with a password is EVALSHA or FCALL.
            CommandBody::Named(..) | CommandBody::SecretArgs(_) | CommandBody::SecretEncoded(_) => {
                return None;
            }
        };
        let row = find(args)?;
        let (_, name) = BY_DIGEST.iter().find(|(command, _)| *command == row)?;
        let digest = args.get(1)?.to_ascii_lowercase();
        let script = self.bodies.get_mut(digest.as_slice())?;
        self.clock += 1;
        script.last_used = self.clock;
        let mut new_args: Vec<&[u8]> = vec![name, &script.body];
        new_args.extend(args.get(2..)?);
        let mut bytes = Vec::new();
        encode_command(&mut bytes, &new_args);
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

    /// The digest of "return 1".
    const ONE: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

    #[test]
    fn loaded_or_run_script_is_found_by_digest() {
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
    fn script_cache_is_bounded_and_keeps_used_scripts() {
        let mut scripts = Scripts::default();
        note(&mut scripts, &["EVAL", "return 1", "0"]);
        for n in 0..2 * MAX_SCRIPTS {
            note(&mut scripts, &["EVAL", &format!("return {n}0"), "0"]);
            assert!(with_script_body(&mut scripts, &["EVALSHA", ONE, "0"]).is_some());
        }
        assert_eq!(
            (scripts.bodies.len(), scripts.digests.len()),
            (MAX_SCRIPTS, MAX_SCRIPTS)
        );
        for n in 0..40 {
            note(
                &mut scripts,
                &[
                    "EVAL",
                    &format!("return {n}{}", " ".repeat(MAX_BODY_LEN - 20)),
                    "0",
                ],
            );
        }
        assert!(scripts.bytes <= MAX_BYTES && scripts.bodies.len() < 40);
        let kept: usize = scripts
            .bodies
            .values()
            .map(|script| script.body.len())
            .sum();
        assert_eq!(kept, scripts.bytes);
        note(&mut scripts, &["EVAL", &" ".repeat(MAX_BODY_LEN + 1), "0"]);
        assert_eq!(scripts.digests.len(), scripts.bodies.len());
        assert!(scripts.bytes <= MAX_BYTES);
    }
}
