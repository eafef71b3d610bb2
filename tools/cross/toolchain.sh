# Compilers for other platforms, and for older versions of glibc than this machine's. Sourced by tools/cross.sh and
# dist/packages/platform.sh, in the root of the repository.
#
# zig, from PyPI, compiles and links C for every target. rustup provides the standard library of a target. Where it
# cannot, Debian's rustc-web is unpacked into target/cross, and builds the standard library from its sources.
# shellcheck shell=bash
cross=$(realpath -m "${CARGO_TARGET_DIR:-target}/cross")
zig_version=0.15.2
# What is linked with glibc runs with this version and later ones; RISC-V's first one is later.
glibc=2.17
glibc_riscv=2.27
# The first macOS on which what is linked for it runs. The first one for aarch64.
export MACOSX_DEPLOYMENT_TARGET=11.0

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

# rust_tool NAME: the path of a program of Rust's own installation, which may lack it.
rust_tool() { echo "$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/$1"; }

# Makes $cross/objcopy, Rust's own, which understands all processors and systems; that of binutils understands one.
rust_objcopy() {
    tool objcopy env "LD_LIBRARY_PATH=$(rustc --print sysroot)/lib" "$(rust_tool rust-objcopy)"
}

# apple_compiler TARGET: makes $cross/cc-TARGET for macOS. rustup's Rust has the linker; others have LLVM's, if at all.
apple_compiler() {
    local linker architecture=${1%%-*}
    linker=$(rust_tool gcc-ld/ld64.lld)
    [ -x "$linker" ] || linker=$(command -v ld64.lld) ||
        { say "a linker for macOS is missing: use rustup, or install LLVM's lld"; return 1; }
    tool "cc-$1" env "ZIG='$cross/zig/bin/python -m ziglang'" "LD64=$linker" \
        "LIBSYSTEM=$(echo "$cross"/zig/lib/python3*/site-packages/ziglang/lib/libc/darwin)" \
        "MACOSX_DEPLOYMENT_TARGET=$MACOSX_DEPLOYMENT_TARGET" \
        "$(realpath tools/cross/apple-cc)" "${architecture/aarch64/arm64}"
    # Build scripts look for an SDK, but need nothing in it.
    export SDKROOT=$cross/zig
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
    local zig="$cross/zig/bin/python -m ziglang" name
    case $1 in
    riscv64gc-*-gnu) name=riscv64-linux-gnu.$glibc_riscv ;;
    *-gnu) name=${1/-unknown/}.$glibc ;;
    *) name=${1/-unknown/} ;;
    esac
    tool ar "$zig ar"
    case $1 in *-apple-darwin) apple_compiler "$1"; return ;; esac
    # Without optimization, zig instruments C for a runtime library that a foreign program does not link.
    tool "cc-$1" "$zig cc -target $name -fno-sanitize=undefined"
    mkdir -p "$cross/$1"
    case $1 in *-gnu)
        "$cross/cc-$1" -shared -nostdlib -Wl,-soname,libgcc_s.so.1 \
            -Wl,--version-script=tools/cross/gcc_s.map tools/cross/gcc_s.c -o "$cross/$1/libgcc_s.so.1" ;;
    esac
}

# unwinder TARGET: what a program or library links that contains librediscluster.a. C compilers link it without being
# asked, but zig does not. Systems with musl need not have libgcc_s, so there it is zig's own, inside the program.
unwinder() {
    case $1 in
    *-gnu) echo "$cross/$1/libgcc_s.so.1" ;;
    *-apple-darwin) ;; # it is a part of libSystem
    *) echo -lunwind ;;
    esac
}

# system_libraries TARGET: the other libraries that such a program links; the Makefile has the same.
system_libraries() {
    case $1 in
    *-apple-darwin) echo "-Wl,-framework,Security -Wl,-framework,CoreFoundation -Wl,-dead_strip -lm" ;;
    *-freebsd) echo "-lexecinfo -lpthread -lm -lrt -lutil" ;;
    *) echo "-lm -lpthread -ldl" ;;
    esac
}

# cross_library TARGET PROFILE: builds $cross/build/TARGET/PROFILE/librediscluster.a. It contains no C library, also for
# musl, so that programs choose how to link theirs.
cross_library() {
    local name=${1//-/_} profile=$2 std=() flags=()
    export "CC_$name=$cross/cc-$1" "AR_$name=$cross/ar" "CARGO_TARGET_${name^^}_LINKER=$cross/cc-$1"
    case $1 in *-musl) flags=(-C target-feature=-crt-static) ;; esac
    if ! rustup target add "$1" >/dev/null 2>&1; then
        case $1 in *-linux-*) ;; *) say "$1: rustup, which has its standard library, is missing"; return 1 ;; esac
        setup_debian_rust "$1"
        export RUSTC=$cross/rustc RUSTC_BOOTSTRAP=1
        std=(-Zbuild-std=std,panic_unwind)
    fi
    [ "$profile" = debug ] && profile=dev
    CARGO_ENCODED_RUSTFLAGS=$(dist/rustflags.sh "${flags[@]}") || return
    export CARGO_ENCODED_RUSTFLAGS
    cargo rustc --lib --crate-type staticlib --profile "$profile" --target "$1" --target-dir "$cross/build" "${std[@]}"
    unset RUSTC RUSTC_BOOTSTRAP CARGO_ENCODED_RUSTFLAGS
}

# runner TARGET: the command that runs a program of a target, which is installed if need be; "-" if it cannot be had.
# glibc's programs also get its loader and libraries.
runner() {
    local processor=${1%%-*} qemu system=/ packages
    case $1 in *-linux-*) ;; *) echo -; return ;; esac
    processor=${processor/riscv64gc/riscv64}
    qemu=qemu-$processor
    if [ "${1%%-*}" = "$(uname -m)" ]; then echo env; return; fi
    if ! command -v "$qemu" >/dev/null && { [ "$(id -u)" -ne 0 ] ||
        ! apt-get install -qq -y --no-install-recommends qemu-user >/dev/null 2>&1; }; then
        say "$qemu is missing, so that nothing is run: install qemu-user"
        echo -
        return
    fi
    case $1 in *-gnu)
        system=$cross/root/usr/$processor-linux-gnu
        packages=${processor/aarch64/arm64}-cross
        [ -e "$system" ] || debian "libc6-$packages" "libgcc-s1-$packages" >&2 ;;
    esac
    echo "$qemu -L $system"
}
