#!/bin/bash
# dist/packages/roots.sh [debian|musl|aarch64]...: installs the packages of target/packages in fresh roots, by their
# ordinary tools, and runs a program with each against a cluster:
#
#     debian     Debian 12 for this processor, as debootstrap installs it
#     musl       a root of musl's loader and busybox: a system without glibc, without Python, Ruby and Node.js
#     aarch64    Debian 12 for aarch64, under qemu-user, with its packages unpacked and not configured
#
# It needs root and a mirror of Debian, and installs debootstrap and, for aarch64, qemu-user-static. The first run
# makes target/roots/*.base, which later runs copy: some minutes each.
. dist/packages/common.sh
. tools/cross/toolchain.sh
roots=$target/roots
mkdir -p "$roots"
[ "$(id -u)" -eq 0 ] || { say "run it as root: it uses chroot"; exit 1; }

# need PACKAGE COMMAND: installs what is missing.
need() {
    have "$2" || apt-get install -qq -y --no-install-recommends "$1" >/dev/null || { say "please install $1"; exit 1; }
}

# The mirror that this machine uses, or Debian's.
mirror() {
    local used
    used=$(apt-get --print-uris update 2>/dev/null | sed -n "s|^'\(.*/debian/\)dists/.*|\1|p" | head -n 1)
    echo "${used:-http://deb.debian.org/debian/}"
}

# base NAME ARCHITECTURE PACKAGES: a root of Debian 12, made once.
base() {
    local folder=$roots/$1.base foreign=
    [ ! -e "$folder.complete" ] || return 0
    need debootstrap debootstrap
    say "Debian for $2 into $folder"
    rm -rf "$folder"
    [ "$2" = "$(dpkg --print-architecture)" ] || foreign=--foreign
    # shellcheck disable=SC2086 # a flag or nothing
    debootstrap $foreign --arch="$2" --variant=minbase --include="$3" bookworm "$folder" "$(mirror)" >"$roots/$1.log" ||
        { tail -n 20 "$roots/$1.log"; exit 1; }
    # The second stage takes half an hour under qemu. Nothing here needs what it configures: the packages are unpacked.
    if [ -n "$foreign" ]; then
        for package in "$folder"/var/cache/apt/archives/*.deb; do dpkg -x "$package" "$folder"; done
        ln -sf gcc "$folder/usr/bin/cc"
    fi
    touch "$folder.complete"
}

# Lets the kernel start programs for aarch64 with qemu, until this script ends.
emulate_aarch64() {
    local formats=/proc/sys/fs/binfmt_misc name=rediscluster-aarch64
    need qemu-user-static qemu-aarch64-static
    [ -e $formats/register ] || mount -t binfmt_misc none $formats
    if grep -qs '^enabled' $formats/qemu-aarch64 $formats/$name; then return; fi
    printf '%s' ":$name:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:"\
"\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:"\
"$(command -v qemu-aarch64-static):F" >$formats/register
    trap "echo -1 >$formats/$name" EXIT
}

# The wheel for glibc on a processor, and what it depends on. pip leaves out async-timeout, which only Pythons before
# 3.11.3 need: it asks its own Python.
wheels() { # PROCESSOR FOLDER
    local tag wheel
    wheel=$(echo "$packages/librediscluster-$version"-py3-none-manylinux_*_"$1.whl")
    tag=${wheel##*-}
    python3 -m pip download -q --disable-pip-version-check --only-binary=:all: --python-version 3.11 \
        --platform "${tag%.whl}" --platform "manylinux2014_$1" -d "$2" "$wheel" async-timeout
}

go_proxy() { # FOLDER
    local module folder
    module=$(sed -n 's/^module //p' bindings/go/go.mod)
    folder=$1/$module/@v
    mkdir -p "$folder"
    cp "$packages/librediscluster-go-$version.zip" "$folder/v$version.zip"
    cp bindings/go/go.mod "$folder/v$version.mod"
    echo "{\"Version\":\"v$version\"}" >"$folder/v$version.info"
    echo "$module@v$version" >"$1/module"
}

programs() { # FOLDER
    mkdir -p "$1"
    cp examples-c/readonly.c bindings/python/examples/anywhere.py bindings/ruby/examples/anywhere.rb \
        bindings/examples/anywhere.txt "$1/"
    cp bindings/go/examples/anywhere/main.go "$1/anywhere.go"
}

# debian_root NAME TRIPLE: fills a copy of the base, and runs the session in it.
debian_root() {
    local root=$roots/$1 processor=${2%%-*}
    rm -rf "$root"
    cp -a "$roots/$1.base" "$root"
    mkdir -p "$root/packages" "$root/npm"
    cp "$packages/librediscluster-$version-$(platform_name "$2").tar.xz" \
        "$packages/rediscluster-$version-$processor-linux.gem" "$root/packages/"
    [ "$2" != "$host" ] || cp "$packages"/*_"$(dpkg --print-architecture)".deb "$root/packages/"
    wheels "$processor" "$root/packages"
    programs "$root/programs"
    # npm, which Debian splits into hundreds of packages, installs from outside; what it installs runs inside.
    npm install --offline --silent --no-audit --no-fund --prefix "$root/npm" "$packages/rediscluster-$version.tgz"
    [ "$2" != "$host" ] || go_proxy "$root/go-proxy"
    cp dist/packages/session.sh "$root/"
    # Nothing of this machine's environment: it may name folders and servers of packages.
    # shellcheck disable=SC2016 # the inner shell expands it
    in_cluster sh -ec 'chroot "$1" /usr/bin/env -i RDC_URL="$RDC_URL" /bin/sh /session.sh' sh "$root"
}

# A system that has nothing but musl and busybox. zig links the programs. Which wheel pip chooses there is asked of pip.
musl_root() {
    local root=$roots/musl triple=x86_64-unknown-linux-musl name
    rm -rf "$root"
    mkdir -p "$root/lib" "$root/bin" "$cross/root"
    [ -e "$cross/root/lib/ld-musl-x86_64.so.1" ] || debian musl
    [ -e "$cross/root/bin/busybox" ] || debian busybox-static
    cp -L "$cross/root/lib/ld-musl-x86_64.so.1" "$root/lib/" # the loader is the C library
    cp "$cross/root/bin/busybox" "$root/bin/"
    for name in sh tar xz mkdir timeout grep; do ln -s busybox "$root/bin/$name"; done
    name=librediscluster-$version-x86_64-linux-musl
    cp "$packages/$name.tar.xz" "$root/"
    python3 -m pip download -q --disable-pip-version-check --no-index --no-deps --find-links "$packages" \
        --only-binary=:all: --platform musllinux_1_2_x86_64 -d "$root/wheel" librediscluster
    python3 -m zipfile -e "$root"/wheel/*.whl "$root/wheel"
    in_cluster sh -ec 'root=$1 name=$2 compiler=$3 unwinder=$4
        chroot "$root" /bin/sh -ec "xz -dc /$name.tar.xz | tar -x"
        export PKG_CONFIG_PATH=$root/$name/lib/pkgconfig
        "$compiler" examples-c/readonly.c $(pkg-config --cflags --libs rediscluster-static) $unwinder -o "$root/static"
        "$compiler" -dynamic examples-c/readonly.c $(pkg-config --cflags --libs rediscluster) -o "$root/shared"
        run() { timeout 120 chroot "$root" /bin/sh -ec "$1" >"$root/output" || { cat "$root/output"; exit 1; }; }
        run /static
        run "LD_LIBRARY_PATH=/$name/lib /shared"
        run "/$name/bin/rdc topology"
        echo "used: archive"
        # The library of the wheel, under the name that programs look for.
        mkdir "$root/of-wheel"
        cp "$root/wheel/rediscluster/librediscluster.so.0" "$root/of-wheel/"
        run "LD_LIBRARY_PATH=/of-wheel /shared"
        echo "used: the library of the wheel"' sh "$root" "$name" "$(compiler_of $triple)" "$(unwinder $triple)"
}

in_cluster() { cargo run -q -p support --bin cluster -- run -- "$@"; }

[ $# -gt 0 ] || set -- debian musl aarch64
for root; do
    say "$root:"
    case $root in
    debian)
        base debian "$(dpkg --print-architecture)" \
            gcc,libc6-dev,pkg-config,xz-utils,python3,python3-venv,ruby,ruby-ffi,rake,nodejs,golang-go
        debian_root debian "$host" ;;
    musl) musl_root ;;
    aarch64)
        emulate_aarch64
        base aarch64 arm64 gcc,libc6-dev,pkg-config,xz-utils,python3,python3-venv,ruby,ruby-ffi,rake,nodejs
        debian_root aarch64 aarch64-unknown-linux-gnu ;;
    *) say "unknown root: $root"; exit 2 ;;
    esac
done
