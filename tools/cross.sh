#!/bin/bash
# Builds the library for other platforms, links C examples with it, and runs them against a cluster:
#
#     tools/cross.sh [TARGET...]       all of the targets below, or some of them
#
# cross/toolchain.sh says where the compilers come from. Programs for another processor run under qemu-user. Programs for
# another system are not run.
set -eu -o pipefail
cd "$(dirname "$0")/.."
. tools/cross/toolchain.sh
examples="readonly pipeline threads errors topology"

targets="x86_64-unknown-linux-musl aarch64-unknown-linux-gnu aarch64-unknown-linux-musl riscv64gc-unknown-linux-gnu
    aarch64-apple-darwin x86_64-apple-darwin x86_64-unknown-freebsd"

# The shared library for macOS exports the functions of the interface and nothing else, by its own name in @rpath.
check_dylib() { # TARGET
    local build=$cross/build/$1/debug architecture=${1%%-*} library version
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    rm -f "$build/stripped/librediscluster.dylib"
    rust_objcopy
    CC=$cross/cc-$1 SYSTEM=Darwin OBJCOPY=$cross/objcopy STATIC_LIBS=$(system_libraries "$1") \
        dist/link.sh "$build" "$version"
    library=$build/stripped/librediscluster.dylib
    {
        echo "processor ${architecture/aarch64/arm64}"
        echo "name @rpath/librediscluster.${version%%.*}.dylib"
        echo "macos $MACOSX_DEPLOYMENT_TARGET"
        echo "needs /System/Library/Frameworks/CoreFoundation.framework/Versions/A/CoreFoundation"
        echo "needs /System/Library/Frameworks/Security.framework/Versions/A/Security"
        echo "needs /usr/lib/libSystem.B.dylib"
        sed -n 's/^ *\(rdc_[a-z_]*\);/exports _\1/p' dist/rediscluster.map
        # The loader of a processor of Apple's wants a signature, even if nobody has signed it.
        [ "$architecture" != aarch64 ] || echo signed
    } | sort >"$build/expected"
    tools/cross/macho.py "$library" | sort | diff "$build/expected" - ||
        { say "$1: $library is not as expected"; return 1; }
    "$cross/cc-$1" -std=c99 -Iinclude examples-c/readonly.c "$library" -o "$cross/$1-shared"
}

check() { # TARGET
    local run programs=()
    zig_compiler "$1"
    cross_library "$1" debug
    run=$(runner "$1")
    for example in $examples; do
        programs+=("$cross/$1-$example")
        # shellcheck disable=SC2046 # lists of words
        "$cross/cc-$1" -std=c99 -O1 -pthread -Iinclude "examples-c/$example.c" \
            "$cross/build/$1/debug/librediscluster.a" $(unwinder "$1") $(system_libraries "$1") -o "$cross/$1-$example"
    done
    case $1 in *-apple-darwin) check_dylib "$1" ;; esac
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
# Nobody debugs these: a quarter of the time.
export CARGO_PROFILE_DEV_DEBUG=0
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $targets
for target; do
    [[ " ${targets//$'\n'/ } " == *" $target "* ]] || { say "unknown target: $target"; exit 2; }
    if [ "${RDC_NO_TARGET-}" = skip ] && ! rustup target add "$target" >/dev/null 2>&1; then
        say "$target: skipped: rustup, or its standard library for it, is missing"
        continue
    fi
    check "$target"
done
