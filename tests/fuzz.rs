//! Fuzzing of untrusted input, on a stable compiler and without coverage.
//!
//! `make fuzz` finds the corpora in tests/fuzz/corpus: inputs that reach different branches. These tests
//! run them unchanged, then 20,000 mutations of them for each parser. `FUZZ_SECONDS=60` continues for
//! longer, and `FUZZ_SEED=7` gives other mutations.

#[path = "fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use targets::{TARGETS, Target};

/// How many mutated inputs of a parser are always run.
const MUTATIONS: u64 = 20_000;

/// The same of programs for queues, which connect and wait.
const QUEUE_MUTATIONS: u64 = 500;

/// The same of programs for subscribers, which wait for silent nodes too.
const SUBSCRIBER_MUTATIONS: u64 = 60;

/// SplitMix64.
struct SeededRng(u64);

impl SeededRng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}

/// Tokens of the formats that the targets parse.
const TOKENS: &[&[u8]] = &[
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

/// Mutates an input of the corpus; may splice another one into it.
fn mutate(rng: &mut SeededRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[rng.below(corpus.len())].clone();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + 1 + rng.below(8)).min(bytes.len());
        match rng.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = rng.below(256) as u8,
            2 => drop(bytes.drain(at.min(end)..end)),
            3 => {
                let token = TOKENS[rng.below(TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            4 => {
                let repeated = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, repeated);
            }
            5 => {
                let other = &corpus[rng.below(corpus.len())];
                let from = rng.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Decodes the line of the corpus that holds an input.
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
            (b'\\', [escaped, left @ ..]) => (*escaped, left),
            (plain, left) => (*plain, left),
        };
        bytes.push(byte);
        rest = left;
    }
    bytes
}

fn check(name: &str, target: Target, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
        let saved = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.bytes"));
        std::fs::write(&saved, bytes).unwrap();
        panic!(
            "{name} fails for {:?}\nsaved as {}: add it to tests/fuzz/corpus/{name}.txt",
            String::from_utf8_lossy(bytes),
            saved.display()
        );
    }
}

fn env_number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn run(name: &str) {
    run_mutations(name, MUTATIONS);
}

fn run_mutations(name: &str, mutations: u64) {
    let (_, target) = TARGETS.iter().find(|(n, _)| *n == name).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fuzz/corpus/{name}.txt"));
    let corpus: Vec<Vec<u8>> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(unescape)
        .collect();
    assert!(corpus.len() > 5, "the corpus has too few inputs");
    for bytes in &corpus {
        check(name, *target, bytes);
    }
    // Their number does not depend on the speed of the machine.
    let limit = Duration::from_secs(env_number("FUZZ_SECONDS", 0));
    let mut rng = SeededRng(env_number("FUZZ_SEED", 1));
    let (began, mut count) = (Instant::now(), 0);
    while count < mutations || began.elapsed() < limit {
        check(name, *target, &mutate(&mut rng, &corpus));
        count += 1;
    }
    println!("{name}: {} inputs and {count} mutations", corpus.len());
}

#[test]
fn fuzzed_replies_decode_the_same_at_any_split() {
    run("decode");
}

#[test]
fn fuzzed_topology_is_consistent_or_rejected() {
    run("topology");
}

#[test]
fn fuzzed_redirection_is_valid_or_ignored() {
    run("redirect");
}

#[test]
fn fuzzed_url_error_never_contains_password() {
    run("url");
}

#[test]
fn fuzzed_encoded_command_is_valid_or_rejected() {
    run("command");
}

#[test]
fn fuzzed_command_keys_are_arguments_and_set_the_route() {
    run("keys");
}

#[test]
fn fuzzed_dns_answer_has_requested_address_family() {
    run("dns");
}

#[test]
fn fuzzed_queue_programs_complete_each_command_once() {
    run_mutations("queues", QUEUE_MUTATIONS);
}

#[test]
fn fuzzed_subscriber_programs_get_messages_of_confirmed_channels_in_order_or_a_gap() {
    run_mutations("subscribers", SUBSCRIBER_MUTATIONS);
}
