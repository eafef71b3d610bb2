# Compilers for other platforms, and for older versions of glibc than this machine's. Sourced by tools/cross.sh and
# dist/packages/platform.sh, in the root of the repository.
#
# zig, from PyPI, compiles and links C for every target. rustup provides the standard library of a target. Where it
# cannot, Debian's rustc-web is unpacked into target/cross, and builds the standard library from its sources.
# shellcheck shell=bash
cross=$(realpath -m "${CARGO_TARGET_DIR:-target}/cross")
zig_version=0.15.2
# What is linked with glibc runs with this version and later ones.
glibc=2.17

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }

setup_zig() {
    [ -e "$cross/zig/$zig_version" ] && return
    say "zig $zig_version into $cross/zig"
    mkdir -p "$cross"
    python3 -m venv --clear "$cross/zig" &&
        "$cross/zig/bin/python" -m pip install -q --disable-pip-version-check ziglang==$zig_version &&
        touch "$cross/zig/$zig_version"
}

# debian PACKAGE...: unpacks packages without installing them.
debian() {
    local folder
    folder=$(mktemp -d "$cross/deb.XXXXXX")
    (cd "$folder" && apt-get download -qq "$@" 2>/dev/null)
    for package in "$folder"/*.deb; do dpkg -x "$package" "$cross/root"; done
    rm -r "$folder"
}

# The package that a package depends on, by the beginning of its name.
dependency() { apt-cache depends "$1" | sed -n "s/^ *Depends: \($2.*\)/\1/p" | head -n 1; }

# Rust with the sources of the standard library.
setup_debian_rust() {
    [ -x "$cross/rustc" ] && return
    command -v apt-get >/dev/null || { say "neither rustup nor apt-get has the standard library for $1"; exit 1; }
    say "Debian's rustc-web into $cross/root"
    mkdir -p "$cross/root"
    local std
    std=$(dependency libstd-rust-web-dev libstd-rust-web)
    debian rustc-web rust-web-src libstd-rust-web-dev "$std" "$(dependency "$std" libllvm)"
    cat >"$cross/rustc.new" <<END
#!/bin/sh
LD_LIBRARY_PATH=$(dirname "$(find "$cross/root/usr/lib" -name 'librustc_driver*.so' | head -n 1)") \\
    exec "$cross/root/usr/bin/rustc" "\$@"
END
    chmod +x "$cross/rustc.new"
    mv "$cross/rustc.new" "$cross/rustc"
}

# tool NAME COMMAND...: a program of one word, as cargo and build scripts want it. Build scripts name the target as Rust
# does, which zig does not understand. The file changes only if its contents do: cargo compares times.
tool() {
    cat >"$cross/$1.new" <<END
#!/bin/sh
for argument; do
    shift
    case \$argument in --target=*) ;; *) set -- "\$@" "\$argument" ;; esac
done
exec ${*:2} "\$@"
END
    chmod +x "$cross/$1.new"
    if cmp -s "$cross/$1.new" "$cross/$1"; then rm "$cross/$1.new"; else mv "$cross/$1.new" "$cross/$1"; fi
}

# zig_compiler TARGET: makes $cross/cc-TARGET, and $cross/TARGET/libgcc_s.so.1 to link with.
zig_compiler() {
    local zig="$cross/zig/bin/python -m ziglang" name=${1/-unknown/}
    # Without optimization, zig instruments C for a runtime library that a foreign program does not link.
    tool "cc-$1" "$zig cc -target ${name/%-gnu/-gnu.$glibc} -fno-sanitize=undefined"
    tool ar "$zig ar"
    mkdir -p "$cross/$1"
    case $1 in *-gnu)
        "$cross/cc-$1" -shared -nostdlib -Wl,-soname,libgcc_s.so.1 \
            -Wl,--version-script=tools/cross/gcc_s.map tools/cross/gcc_s.c -o "$cross/$1/libgcc_s.so.1" ;;
    esac
}

# unwinder TARGET: what a program or library links that contains librediscluster.a. C compilers link it without being
# asked, but zig does not. Systems with musl need not have libgcc_s, so there it is zig's own, inside the program.
unwinder() {
    case $1 in *-gnu) echo "$cross/$1/libgcc_s.so.1" ;; *) echo -lunwind ;; esac
}

# cross_library TARGET PROFILE: builds $cross/build/TARGET/PROFILE/librediscluster.a. It contains no C library, also for
# musl, so that programs choose how to link theirs.
cross_library() {
    local name=${1//-/_} profile=$2 std=()
    export "CC_$name=$cross/cc-$1" "AR_$name=$cross/ar" "CARGO_TARGET_${name^^}_LINKER=$cross/cc-$1"
    case $1 in *-musl) export "CARGO_TARGET_${name^^}_RUSTFLAGS=-C target-feature=-crt-static" ;; esac
    if ! rustup target add "$1" >/dev/null 2>&1; then
        setup_debian_rust "$1"
        export RUSTC=$cross/rustc RUSTC_BOOTSTRAP=1
        std=(-Zbuild-std=std,panic_unwind)
    fi
    [ "$profile" = debug ] && profile=dev
    cargo rustc --lib --crate-type staticlib --profile "$profile" --target "$1" --target-dir "$cross/build" "${std[@]}"
    unset RUSTC RUSTC_BOOTSTRAP
}

# runner TARGET: the command that runs a program of a target, which is installed if need be; "-" if it cannot be had.
# glibc's programs also get its loader and libraries.
runner() {
    local qemu=qemu-${1%%-*} system=/
    if [ "${1%%-*}" = "$(uname -m)" ]; then echo env; return; fi
    if ! command -v "$qemu" >/dev/null && { [ "$(id -u)" -ne 0 ] ||
        ! apt-get install -qq -y --no-install-recommends qemu-user >/dev/null 2>&1; }; then
        say "$qemu is missing, so that nothing is run: install qemu-user"
        echo -
        return
    fi
    case $1 in aarch64-*-gnu)
        system=$cross/root/usr/aarch64-linux-gnu
        [ -e "$system" ] || debian libc6-arm64-cross libgcc-s1-arm64-cross >&2 ;;
    esac
    echo "$qemu -L $system"
}
