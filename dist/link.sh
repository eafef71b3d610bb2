#!/bin/sh
# Makes the files to install from those that cargo has built: dist/link.sh BUILD VERSION
#
# BUILD/stripped/librediscluster.so          with the symbol versions of rediscluster.map, without debug information
# BUILD/stripped/librediscluster.so.debug    its debug information, which debuggers find by name or by build id
# BUILD/stripped/librediscluster.a           without debug information and the names of functions inside
#
# The shared library is linked from the static one: rustc passes a version script of its own to the linker, which
# accepts only one. CC, LD_FLAGS and OBJCOPY choose the tools. SYSTEM=Darwin makes librediscluster.dylib, which exports the
# same functions; its debug information stays in the static library that cargo has built.
set -eu
dist=$(dirname "$0")
build=$1
version=$2
out=$build/stripped
so=librediscluster.so
[ "${SYSTEM-}" != Darwin ] || so=librediscluster.dylib
mkdir -p "$out"

# Is it newer than what it is made from?
if [ "$out/$so" -nt "$build/librediscluster.a" ] && [ "$out/$so" -nt "$dist/rediscluster.map" ] &&
    [ "$out/$so" -nt "$dist/link.sh" ]; then
    exit 0
fi

# Two installations may run at once: files appear when they are complete.
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

link_elf() {
    # shellcheck disable=SC2086 # lists of words
    ${CC:-cc} -shared -o "$work/linked.so" ${LD_FLAGS-} \
        -Wl,--whole-archive "$build/librediscluster.a" -Wl,--no-whole-archive -Wl,--gc-sections \
        -Wl,--version-script="$dist/rediscluster.map" -Wl,-soname,$so."${version%%.*}" \
        -Wl,-z,nodelete,-z,relro,-z,now -Wl,--build-id=sha1 -Wl,--as-needed $STATIC_LIBS

    objcopy=${OBJCOPY:-objcopy}
    debug=$work/$so.$version.debug # the library contains the name under which this file is installed
    "$objcopy" --only-keep-debug "$work/linked.so" "$debug"
    "$objcopy" --strip-unneeded --add-gnu-debuglink="$debug" "$work/linked.so" "$work/$so"
    # Also without the names of functions inside, and without bitcode, which only rustc could use.
    "$objcopy" --strip-unneeded --remove-section=.llvmbc --remove-section=.llvmcmd \
        "$build/librediscluster.a" "$work/librediscluster.a"
    mv "$debug" "$out/$so.debug"
}

# A program that was linked with another major version does not start, as with a soname. macOS has no symbol versions.
link_macho() {
    sed -n 's/^ *\(rdc_[a-z_]*\);/_\1/p' "$dist/rediscluster.map" >"$work/exported"
    # shellcheck disable=SC2086 # lists of words
    ${CC:-cc} -dynamiclib -o "$work/$so" ${LD_FLAGS-} -Wl,-force_load,"$build/librediscluster.a" \
        -Wl,-exported_symbols_list,"$work/exported" -Wl,-install_name,@rpath/librediscluster."${version%%.*}".dylib \
        -Wl,-current_version,"$version" -Wl,-compatibility_version,"${version%.*}" -Wl,-dead_strip,-S,-x $STATIC_LIBS
    if [ -n "${OBJCOPY-}" ]; then
        "$OBJCOPY" --strip-debug "$build/librediscluster.a" "$work/librediscluster.a"
    else
        strip -S -o "$work/librediscluster.a" "$build/librediscluster.a"
    fi
}

if [ "${SYSTEM-}" = Darwin ]; then link_macho; else link_elf; fi
mv "$work/librediscluster.a" "$out/"
mv "$work/$so" "$out/"
