#!/bin/bash
# Runs the tests of the Rust workspace: those that mostly wait for servers, and beside them, with the lowest priority, the
# others, which compile and compute, and then a command:
#
#     tools/test.sh [COMMAND [ARGUMENT...]]
#
# Tests that break real servers measure time, and a machine that stalls for a second fails them although the library is
# correct. Such a test that fails is run once more, alone; its first output stays in the log. A second failure is final.
# Every other failure is final at once, and so are a target that cannot be built and a target that ends without naming
# its failed tests.
set -u -o pipefail
target=${CARGO_TARGET_DIR:-target}
cargo=${CARGO:-cargo}
# Targets that wait for servers, measure time, or count system calls.
waiting="c_programs cluster clusters cost_limits faults partition rdc replicas subscribers"
# Targets, or modules of targets, whose tests measure time.
clock_bound="clusters partition rdc replicas
    cluster::authentication cluster::blocking cluster::handles cluster::scan cluster::shards cluster::transactions
    faults::at_most_once faults::backoff_limits faults::interrupts faults::connection_loss faults::deadlines
    faults::early_send faults::failover faults::isolation faults::node_loss faults::reply_matching faults::reshard
    faults::server_errors faults::soak scripted::connections scripted::fork scripted::process
    subscribers::faults subscribers::numbered subscribers::slots"
mkdir -p "$target"

# The targets in tests and tests/support/tests that are neither waiting nor `scripted`.
others() {
    local path name
    for path in tests/*.rs tests/*/main.rs tests/support/tests/*.rs; do
        name=${path%/main.rs}
        name=$(basename "$name" .rs)
        case " $waiting scripted " in *" $name "*) ;; *) echo "$name" ;; esac
    done
}

run() { # LOG ARGUMENTS...
    local log=$target/test-$1
    shift
    "$cargo" test --workspace --no-fail-fast "$@" 2>&1 | tee "$log.log"
    echo $? >"$log.status"
}

run_waiting() {
    # shellcheck disable=SC2086 # a list of words
    run waiting $(printf -- '--test %s ' $waiting)
    # Its tests wait for scripted nodes of their own.
    RUST_TEST_THREADS=8 run scripted --test scripted
}

run_others() {
    # shellcheck disable=SC2046 # a list of words
    run others --lib --bins $(printf -- '--test %s ' $(others))
    run examples --doc
}

is_clock_bound() { # target::module::test
    for entry in $clock_bound; do
        case $1 in "$entry"::*) return 0 ;; esac
    done
    return 1
}

# The failed tests of a target, one a line; nothing if their number is not the one that the target reports.
failed_tests() { # LOG TARGET
    awk -v target="$2" '
        /^ *Running / { name = $NF; sub(/.*\//, "", name); sub(/-[0-9a-f]*\)$/, "", name); here = name == target }
        here && /^test .* \.\.\. FAILED$/ && !seen[$2]++ { tests = tests $2 "\n"; count++ }
        here && /^test result: FAILED/ { for (i = 2; i <= NF; i++) if ($i ~ /^failed/) reported = $(i - 1) }
        END { if (count == reported) printf "%s", tests }' "$1"
}

# The failed tests of a log, one a line, behind the arguments of their target: `-p rediscluster --test faults TEST`. Ends
# the run if one of them may not be repeated.
to_repeat() { # LOG
    local one test tests
    # The targets stand behind "error: 1 target failed:", one a line.
    sed -n '/^error: [0-9]* targets\{0,1\} failed:$/,$ s/^    `\(.*\)`$/\1/p' "$1" | while read -r one; do
        tests=$(failed_tests "$1" "${one##* }")
        [ -n "$tests" ] || { echo "test: $one has failed" >&2; exit 1; }
        for test in $tests; do
            is_clock_bound "${one##* }::$test" || { echo "test: ${one##* }::$test has failed" >&2; exit 1; }
            echo "$one $test"
        done
    done
}

"$cargo" test --workspace --no-run || exit 1
rm -f "$target"/test-*.{log,status}
(
    renice -n 19 $BASHPID
    run_others
    "$@" >"$target/test-command.log" 2>&1
    echo $? >"$target/test-command.status"
) >/dev/null 2>&1 </dev/null &
run_waiting
wait
cat "$target"/test-{others,examples,command}.log
for log in waiting scripted others examples command; do
    log=$target/test-$log
    [ "$(cat "$log.status")" != 0 ] || continue
    failed=$(to_repeat "$log.log") || exit 1
    [ -n "$failed" ] || { echo "test: failed, see $log.log" >&2; exit 1; }
    while read -r one; do
        echo "test: $one has failed and is run once more" >&2
        # shellcheck disable=SC2086 # a list of words
        "$cargo" test ${one% *} -- --exact "${one##* }" </dev/null || exit 1
    done <<<"$failed"
done
