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
dynamic=-dynamic
case $triple in *-apple-darwin) dynamic= ;; esac

# shellcheck disable=SC2046 # lists of words
"$compiler" examples-c/readonly.c $(pkg-config --cflags --libs rediscluster-static) $(unwinder "$triple") -o "$work/static"
# shellcheck disable=SC2046
"$compiler" examples-c/readonly.c $(pkg-config --cflags --libs rediscluster) -Wl,-rpath,"$root/lib" \
    ${dynamic:+"$dynamic"} -o "$work/shared"
run=$(runner "$triple")
if [ "$run" = - ]; then
    say "$triple: linked, not run"
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
commands="$run $work/static; $run $root/bin/rdc get foo16706"
if [ "$loader" = - ]; then
    say "$triple: without a loader of musl for it, the program with the shared library is linked, not run"
else
    commands="$commands; $run $loader $work/shared"
fi
cargo run -q -p support --bin cluster -- run -- sh -ec "$commands" >"$work/output"
grep -qx bar "$work/output" # from rdc
say "$triple: ${commands//"$work/"/}"
