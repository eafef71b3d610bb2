#!/bin/bash
# dist/packages/try.sh TRIPLE: unpacks the archive of another platform, links a C program with each library in it, and
# runs these programs and rdc against a cluster: under qemu for another processor, with the loader of musl for musl.
. dist/packages/common.sh
. tools/cross/toolchain.sh
triple=$(built "$1")
[ -n "$triple" ] || exit 0
work=$target/dist/$triple/try
rm -rf "$work"
mkdir -p "$work" "$cross/root"
tar -C "$work" -xf "$packages/librediscluster-$version-$(platform_name "$triple").tar.xz"
root=$work/librediscluster-$version-$(platform_name "$triple")
compiler=$(compiler_of "$triple")
export PKG_CONFIG_PATH=$root/lib/pkgconfig
# zig links programs for musl statically, unless it is told not to.
# The stubs of Apple's frameworks have only what a program needs whose unused parts are left out.
dynamic=-dynamic strip=
case $triple in *-apple-darwin) dynamic= strip=-Wl,-dead_strip ;; esac

# shellcheck disable=SC2046 # lists of words
"$compiler" examples-c/readonly.c $(pkg-config --cflags --libs rediscluster-static) $(unwinder "$triple") \
    ${strip:+"$strip"} -o "$work/static"
# shellcheck disable=SC2046
"$compiler" examples-c/readonly.c $(pkg-config --cflags --libs rediscluster) -Wl,-rpath,"$root/lib" \
    ${dynamic:+"$dynamic"} -o "$work/shared"
# A program in Go, with the module's own library.
go_program() {
    local module system processor
    read -r system processor < <(go_name "$triple" 2>/dev/null) || return 0
    have go && [ -e "$packages/librediscluster-go-$version.zip" ] || return 0
    module=$(sed -n 's/^module //p' bindings/go/go.mod)
    mkdir -p "$work/go"
    python3 -m zipfile -e "$packages/librediscluster-go-$version.zip" "$work/module"
    cp bindings/go/examples/anywhere/main.go "$work/go/"
    printf 'module example\ngo 1.19\nrequire %s v%s\nreplace %s => %s\n' \
        "$module" "$version" "$module" "$work/module/$module@v$version" >"$work/go/go.mod"
    # With -s, Go looks for no strip of another system.
    (cd "$work/go" && CGO_ENABLED=1 GOOS=$system GOARCH=$processor GOFLAGS=-mod=mod GOWORK=off PKG_CONFIG=false \
        CC=$compiler go build -ldflags "-s -w${strip:+ -extldflags=$strip}" -o "$work/go-program" .)
    commands="; $run $work/go-program"
}

run=$(runner "$triple")
commands=
go_program
if [ "$run" = - ]; then
    say "$triple: linked, not run${commands:+, also a Go program}"
    exit 0
fi
loader=
case $triple in *-musl)
    loader=$cross/root/lib/ld-musl-${triple%%-*}.so.1
    if [ "$run" != env ]; then
        loader=-
    elif [ ! -e "$loader" ]; then
        debian musl 2>/dev/null || loader=-
    fi ;;
esac
commands="$run $work/static; $run $root/bin/rdc get foo16706$commands"
if [ "$loader" = - ]; then
    say "$triple: without a loader of musl for it, the program with the shared library is linked, not run"
else
    commands="$commands; $run $loader $work/shared"
fi
cargo run -q -p support --bin cluster -- run -- sh -ec "$commands" >"$work/output"
grep -qx bar "$work/output" # from rdc
say "$triple: ${commands//"$work/"/}"
