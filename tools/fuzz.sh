#!/bin/sh
# fuzz.sh [SECONDS]: runs libFuzzer with each target for this time, under AddressSanitizer. Inputs that reach new
# branches are added to tests/fuzz/corpus. A stable compiler has the flags for it, behind RUSTC_BOOTSTRAP.
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
for corpus in tests/fuzz/corpus/*.txt; do
	FUZZ_TARGET=$(basename "$corpus" .txt)
	export FUZZ_TARGET
	work=$build/work/$FUZZ_TARGET
	rm -rf "$work"
	mkdir -p "$work/min"
	python3 tools/corpus.py unpack "$corpus" "$work/all"
	# A failing input is written to the artifact path that the log names, and the exit status is not 0.
	"$program" "$work/all" -max_total_time="$seconds" -max_len=600 -timeout=10 \
		-artifact_prefix="$build/$FUZZ_TARGET-" >"$work/log" 2>&1 || { tail -n 40 "$work/log"; exit 1; }
	"$program" -set_cover_merge=1 "$work/min" "$work/all" >"$work/merge" 2>&1
	python3 tools/corpus.py pack "$work/min" "$corpus"
	echo "$FUZZ_TARGET: $(grep -o 'Done [0-9]* runs' "$work/log"), $(wc -l <"$corpus") inputs in the corpus"
done
