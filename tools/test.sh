#!/bin/bash
# The tests of the Rust workspace. Those that break real servers measure against a clock, and a machine
# that stalls for a second fails them without a fault of the library's: of these targets, one that fails is
# run once more, alone and in full, and what it said the first time stays in the output. Failing twice is failing.
# Everything else fails at once, and so does what cannot be built.
set -u -o pipefail
target=${CARGO_TARGET_DIR:-target}
clocks=" blocking calm clusters failover failures once partition process refusals replicas reshard scan shards soak transactions "
mkdir -p "$target"
log=$target/test.log
"${CARGO:-cargo}" test --workspace --no-fail-fast 2>&1 | tee "$log" && exit 0
# `-p rediscluster --test refusals`, one a line, behind "error: 1 target failed:".
mapfile -t failed < <(sed -n '/^error: [0-9]* targets\{0,1\} failed:$/,$ s/^    `\(.*\)`$/\1/p' "$log")
[ ${#failed[@]} -gt 0 ] || exit 1
for one in "${failed[@]}"; do
    case $clocks in *" ${one##* } "*) ;; *) echo "test: $one has failed" >&2; exit 1 ;; esac
done
for one in "${failed[@]}"; do
    echo "test: $one has failed and is run once more" >&2
    # shellcheck disable=SC2086 # a list of words
    "${CARGO:-cargo}" test $one || exit 1
done
