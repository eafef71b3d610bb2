#!/bin/bash
# Runs the tests of the Rust workspace. Tests that break real servers measure time, and a machine that stalls for a
# second fails them although the library is correct. Such a test that fails is run once more, alone; its first output
# stays in the log. A second failure is final. Every other failure is final at once, and so are a target that cannot be
# built and a target that ends without naming its failed tests.
set -u -o pipefail
target=${CARGO_TARGET_DIR:-target}
cargo=${CARGO:-cargo}
# Targets, or modules of targets, whose tests measure time.
clock_bound="clusters partition rdc replicas
    cluster::authentication cluster::blocking cluster::handles cluster::scan cluster::shards cluster::transactions
    faults::at_most_once faults::backoff_limits faults::interrupts faults::connection_loss faults::deadlines
    faults::early_send faults::failover faults::isolation faults::node_loss faults::reply_matching faults::reshard
    faults::server_errors faults::soak scripted::connections scripted::fork scripted::process
    subscribers::faults subscribers::numbered subscribers::slots"
mkdir -p "$target"
log=$target/test.log
"$cargo" test --workspace --no-fail-fast 2>&1 | tee "$log" && exit 0

is_clock_bound() { # target::module::test
    for entry in $clock_bound; do
        case $1 in "$entry"::*) return 0 ;; esac
    done
    return 1
}

# The failed tests of a target, one a line; nothing if their number is not the one that the target reports.
failed_tests() {
    awk -v target="$1" '
        /^ *Running / { name = $NF; sub(/.*\//, "", name); sub(/-[0-9a-f]*\)$/, "", name); here = name == target }
        here && /^test .* \.\.\. FAILED$/ && !seen[$2]++ { tests = tests $2 "\n"; count++ }
        here && /^test result: FAILED/ { for (i = 2; i <= NF; i++) if ($i ~ /^failed/) reported = $(i - 1) }
        END { if (count == reported) printf "%s", tests }' "$log"
}

# The targets stand behind "error: 1 target failed:", one a line: `-p rediscluster --test faults`.
mapfile -t failed < <(sed -n '/^error: [0-9]* targets\{0,1\} failed:$/,$ s/^    `\(.*\)`$/\1/p' "$log")
[ ${#failed[@]} -gt 0 ] || exit 1
for one in "${failed[@]}"; do
    tests=$(failed_tests "${one##* }")
    [ -n "$tests" ] || { echo "test: $one has failed" >&2; exit 1; }
    for test in $tests; do
        is_clock_bound "${one##* }::$test" || { echo "test: ${one##* }::$test has failed" >&2; exit 1; }
    done
done
for one in "${failed[@]}"; do
    for test in $(failed_tests "${one##* }"); do
        echo "test: ${one##* }::$test has failed and is run once more" >&2
        # shellcheck disable=SC2086 # a list of words
        "$cargo" test $one -- --exact "$test" || exit 1
    done
done
