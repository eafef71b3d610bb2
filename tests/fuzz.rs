//! Bytes that nobody has vouched for: what has once been of interest, and what dice make of it.
//!
//! The corpora in tests/fuzz/corpus were found by `make fuzz`, which is guided by the branches that an
//! input takes. Here they are run as they are, and with changes, some ten thousand of them.
//! `FUZZ_SECONDS=60` goes on for longer and `FUZZ_SEED=7` begins elsewhere.

#[path = "fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use targets::{TARGETS, Target};

/// So many changed inputs are always tried.
const CHANGED: u64 = 20_000;

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}

/// Pieces that matter to one or the other target.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"$-1\r\n",
    b"*0\r\n",
    b"*1000000000\r\n",
    b"$5\r\nhello\r\n",
    b":-1\r\n",
    b"|1\r\n",
    b">1\r\n",
    b"%1\r\n",
    b"~2\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(123\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"!3\r\nERR\r\n",
    b"16383",
    b"16384",
    b"-1",
    b"99999999999999999999",
    b"\0",
    b"{",
    b"}",
    b"STORE",
    b"KEYS",
    b"STREAMS",
    b"2",
    b"MOVED",
    b"ASK",
    b":7000",
    b"?",
    b"[::1]:7000",
    b"redis://",
    b"@",
    b"?timeout_ms=",
    b"&",
    b"%00",
    b"%41",
];

/// One input made of another, and perhaps of a third.
fn change(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + 1 + dice.below(8)).min(bytes.len());
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = dice.below(256) as u8,
            2 => drop(bytes.drain(at.min(end)..end)),
            3 => {
                let word = WORDS[dice.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            4 => {
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// An input as a line of the corpus has it.
fn unescape(line: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), line.as_bytes());
    while let [first, more @ ..] = rest {
        let (byte, left) = match (first, more) {
            (b'\\', [b'x', high, low, left @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                (u8::from_str_radix(digits, 16).unwrap(), left)
            }
            (b'\\', [b'r', left @ ..]) => (b'\r', left),
            (b'\\', [b'n', left @ ..]) => (b'\n', left),
            (b'\\', [b't', left @ ..]) => (b'\t', left),
            (b'\\', [itself, left @ ..]) => (*itself, left),
            (itself, left) => (*itself, left),
        };
        bytes.push(byte);
        rest = left;
    }
    bytes
}

fn check(name: &str, target: Target, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.bytes"));
        std::fs::write(&kept, bytes).unwrap();
        panic!(
            "{name} fails for {:?}\nkept in {}: add it to tests/fuzz/corpus/{name}.txt",
            String::from_utf8_lossy(bytes),
            kept.display()
        );
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

fn run(name: &str) {
    let (_, target) = TARGETS.iter().find(|(n, _)| *n == name).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fuzz/corpus/{name}.txt"));
    let corpus: Vec<Vec<u8>> = std::fs::read_to_string(&kept)
        .unwrap()
        .lines()
        .map(unescape)
        .collect();
    assert!(corpus.len() > 5, "the corpus is not where it was");
    for bytes in &corpus {
        check(name, *target, bytes);
    }
    // Always the same ones, so that what fails does not depend on how fast a machine is.
    let limit = Duration::from_secs(number("FUZZ_SECONDS", 0));
    let (mut dice, began, mut count) = (Dice(number("FUZZ_SEED", 1)), Instant::now(), 0);
    while count < CHANGED || began.elapsed() < limit {
        check(name, *target, &change(&mut dice, &corpus));
        count += 1;
    }
    println!("{name}: {} kept and {count} changed inputs", corpus.len());
}

#[test]
fn replies_are_the_same_wherever_they_are_cut() {
    run("decode");
}

#[test]
fn a_view_of_a_cluster_is_plausible_or_refused() {
    run("topology");
}

#[test]
fn where_an_error_sends_a_command_is_a_place_or_nowhere() {
    run("redirect");
}

#[test]
fn a_url_is_taken_or_refused_and_the_refusal_repeats_no_password() {
    run("url");
}

#[test]
fn what_is_taken_for_a_command_is_one() {
    run("split");
}

#[test]
fn keys_are_arguments_and_a_command_goes_where_they_are() {
    run("keys");
}

#[test]
fn an_answer_of_a_name_server_has_addresses_of_the_kind_that_was_asked_for() {
    run("dns");
}
