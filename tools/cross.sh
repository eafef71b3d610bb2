#!/bin/bash
# Builds the library for other platforms, links C examples with it, and runs them against a cluster:
#
#     tools/cross.sh [TARGET...]       all of the targets below, or some of them
#
# cross/toolchain.sh says where the compilers come from. Programs for another processor run under qemu-user.
set -eu -o pipefail
cd "$(dirname "$0")/.."
. tools/cross/toolchain.sh
examples="readonly pipeline threads errors topology"

targets="x86_64-unknown-linux-musl aarch64-unknown-linux-gnu aarch64-unknown-linux-musl"

check() { # TARGET
    local run programs=()
    zig_compiler "$1"
    cross_library "$1" debug
    run=$(runner "$1")
    for example in $examples; do
        programs+=("$cross/$1-$example")
        "$cross/cc-$1" -std=c99 -O1 -pthread -Iinclude "examples-c/$example.c" \
            "$cross/build/$1/debug/librediscluster.a" "$(unwinder "$1")" -lm -lpthread -ldl -o "$cross/$1-$example"
    done
    if [ "$run" = - ]; then
        say "$1: built and linked"
        return
    fi
    # shellcheck disable=SC2016 # the inner shell expands them
    cargo run -q -p support --bin cluster -- run -- sh -ec 'run=$1; shift
        for program; do timeout 120 $run "$program" >"$program.out"; done' sh "$run" "${programs[@]}"
    say "$1: built, linked, ${#programs[@]} examples run"
}

setup_zig
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $targets
for target; do
    [[ " $targets " == *" $target "* ]] || { say "unknown target: $target"; exit 2; }
    check "$target"
done
