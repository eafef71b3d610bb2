#!/bin/sh
# Feeds every parser with what libFuzzer thinks up, for so many seconds each, under AddressSanitizer; what reaches
# something new is kept in tests/fuzz/corpus. Stable compilers have all of it, but call it unstable.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
build=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
flags="--cfg fuzzing -Zsanitizer=address -Ccodegen-units=1 -Cpasses=sancov-module"
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
	flags="$flags -Cllvm-args=-sanitizer-coverage-$flag"
done
RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$build RUSTFLAGS=$flags cargo build -q --release \
	--manifest-path fuzz/Cargo.toml --target x86_64-unknown-linux-gnu
program=$build/x86_64-unknown-linux-gnu/release/fuzz
for kept in tests/fuzz/corpus/*.txt; do
	FUZZ_TARGET=$(basename "$kept" .txt)
	export FUZZ_TARGET
	work=$build/work/$FUZZ_TARGET
	rm -rf "$work"
	mkdir -p "$work/min"
	python3 tools/corpus.py unpack "$kept" "$work/all"
	# What it finds wrong it writes to where the message says, and ends with an error.
	"$program" "$work/all" -max_total_time="$seconds" -max_len=600 -timeout=10 \
		-artifact_prefix="$build/$FUZZ_TARGET-" >"$work/log" 2>&1 || { tail -n 40 "$work/log"; exit 1; }
	"$program" -set_cover_merge=1 "$work/min" "$work/all" >"$work/merge" 2>&1
	python3 tools/corpus.py pack "$work/min" "$kept"
	echo "$FUZZ_TARGET: $(grep -o 'Done [0-9]* runs' "$work/log"), $(wc -l <"$kept") inputs kept"
done
