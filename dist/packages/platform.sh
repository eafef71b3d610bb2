#!/bin/bash
# dist/packages/platform.sh [TRIPLE]: installs the library for a platform into target/dist/TRIPLE/root, from which the
# packages are made. For this machine's platform, which is the default, it links what `make build` has compiled.
#
# zig links, against an old glibc: the packages run on older systems than this one. Without zig, this machine's compiler
# links, and the packages need this machine's glibc.
. dist/packages/common.sh
. tools/cross/toolchain.sh
triple=${1:-$host}
folder=$target/dist/$triple
system=Linux
case $triple in
*-linux-*) ;;
*-apple-darwin) system=Darwin ;;
*-freebsd) system=FreeBSD ;;
*) say "no packages for $triple"; exit 0 ;;
esac
static_libs=$(make --no-print-directory -s static-libs SYSTEM=$system)

with_zig() {
    [ "${RDC_ZIG:-yes}" = yes ] && have python3 && setup_zig
}

objcopy() {
    case $triple in "${host%%-*}"-*-linux-*) echo objcopy; return ;; esac
    rust_objcopy
    for tool in "$cross/objcopy" llvm-objcopy "${triple%%-*}-linux-gnu-objcopy"; do
        if "$tool" --version >/dev/null 2>&1; then echo "$tool"; return; fi
    done
    echo -
}

objcopy=$(objcopy)
[ "$objcopy" != - ] || skip "$triple" "an objcopy for ${triple%%-*}" "install llvm"
rm -rf "$folder/root" "$folder/compiler"
archive=$target/release/librediscluster.a
if with_zig; then
    zig_compiler "$triple"
    compiler=$cross/cc-$triple
    link_libs="$static_libs $(unwinder "$triple")"
    [ $system = Linux ] || link_libs="$(system_libraries "$triple") $(unwinder "$triple")"
elif [ "$triple" = "$host" ]; then
    say "without zig, the packages need glibc $(newest_glibc "$target/release/stripped/librediscluster.so") or later"
    compiler=${CC:-cc}
    link_libs=$static_libs
else
    skip "$triple" zig "python3 -m pip has to reach PyPI, see tools/cross/toolchain.sh"
fi
if [ "$triple" != "$host" ]; then
    cross_library "$triple" release
    archive=$cross/build/$triple/release/librediscluster.a
fi

build=$folder/build-$(basename "$compiler")
mkdir -p "$build"
cp -pu "$archive" "$build/"
OBJCOPY=$objcopy make --no-print-directory -s install SYSTEM=$system BUILD="$build" CC="$compiler" LINK_LIBS="$link_libs" \
    DESTDIR= PREFIX="$folder/root" LIBDIR="$folder/root/lib" INCLUDEDIR="$folder/root/include" \
    BINDIR="$folder/root/bin" MANDIR="$folder/root/share/man"
documents=$folder/root/share/doc/librediscluster
mkdir -p "$documents"
cp LICENSE-MIT LICENSE-APACHE CHANGELOG.md dist/packages/INSTALL.md "$documents/"
cp -r examples-c "$documents/"
python3 dist/packages/inventory.py licences "$triple" >"$documents/LICENSES-THIRD-PARTY.txt"
echo "$link_libs" >"$folder/link_libs"
echo "$static_libs" >"$folder/static_libs"
echo "$compiler" >"$folder/compiler" # the last file: the platform is complete
