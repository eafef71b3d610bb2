//! Runs the fuzz target named by `FUZZ_TARGET` with the inputs of libFuzzer.
#![no_main]

#[path = "../../tests/fuzz/targets.rs"]
mod targets;

use std::sync::OnceLock;
use targets::{TARGETS, Target};

fn target() -> Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    *TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|(n, _)| *n == name);
        found
            .unwrap_or_else(|| panic!("FUZZ_TARGET names no target: {name:?}"))
            .1
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| target()(data));
