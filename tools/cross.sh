#!/bin/bash
# Builds the library for other platforms, links C examples with it, and runs them against a cluster:
#
#     tools/cross.sh [TARGET...]       all targets of the table below, or some of them
#
# zig, from PyPI, compiles and links C for every target. rustup provides the standard library of a target. Where it
# cannot, Debian's rustc-web is unpacked into target/cross, and builds the standard library from its sources.
# Programs for another processor run under qemu-user.
set -eu -o pipefail
cd "$(dirname "$0")/.."
cross=$(realpath -m "${CARGO_TARGET_DIR:-target}/cross")
zig_version=0.15.2
examples="readonly pipeline threads errors topology"

# Rust's name, zig's name, and the command that runs a program.
targets="
x86_64-unknown-linux-musl x86_64-linux-musl env
aarch64-unknown-linux-musl aarch64-linux-musl qemu-aarch64"

say() { printf 'cross: %s\n' "$*" >&2; }

setup_zig() {
    [ -e "$cross/zig/$zig_version" ] && return
    say "zig $zig_version into $cross/zig"
    python3 -m venv --clear "$cross/zig"
    "$cross/zig/bin/python" -m pip install -q --disable-pip-version-check ziglang==$zig_version
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

# Installs the command under which programs of another processor run. Prints "-" if it cannot be had.
runner() {
    if ! command -v "$1" >/dev/null; then
        if [ "$(id -u)" -ne 0 ] || ! apt-get install -qq -y --no-install-recommends qemu-user >/dev/null 2>&1; then
            say "$1 is missing, so that nothing is run: install qemu-user"
            echo -
            return
        fi
    fi
    echo "$1"
}

# tool NAME COMMAND...: a program of one word, as cargo and build scripts want it. Build scripts name the target as Rust
# does, which zig does not understand.
tool() {
    cat >"$cross/$1" <<END
#!/bin/sh
for argument; do
    shift
    case \$argument in --target=*) ;; *) set -- "\$@" "\$argument" ;; esac
done
exec ${*:2} "\$@"
END
    chmod +x "$cross/$1"
}

check() { # TARGET ZIG RUNNER
    local rust=$1 zig="$cross/zig/bin/python -m ziglang" run name upper std=()
    name=${rust//-/_}
    upper=${name^^}
    # Without optimization, zig instruments C for a runtime library that a foreign program does not link.
    tool "cc-$rust" "$zig cc -target $2 -fno-sanitize=undefined"
    tool ar "$zig ar"
    export "CC_$name=$cross/cc-$rust" "AR_$name=$cross/ar" "CARGO_TARGET_${upper}_LINKER=$cross/cc-$rust"
    if ! rustup target add "$rust" >/dev/null 2>&1; then
        setup_debian_rust "$rust"
        export RUSTC=$cross/rustc RUSTC_BOOTSTRAP=1
        std=(-Zbuild-std=std,panic_unwind)
    fi
    cargo rustc --lib --crate-type staticlib --target "$rust" --target-dir "$cross/build" "${std[@]}"
    unset RUSTC RUSTC_BOOTSTRAP
    run=$(runner "$3")
    local programs=()
    for example in $examples; do
        programs+=("$cross/$rust-$example")
        "$cross/cc-$rust" -std=c99 -O1 -pthread -Iinclude "examples-c/$example.c" \
            "$cross/build/$rust/debug/librediscluster.a" -lunwind -lm -lpthread -ldl -o "$cross/$rust-$example"
    done
    if [ "$run" = - ]; then
        say "$rust: built and linked"
        return
    fi
    # shellcheck disable=SC2016 # the inner shell expands them
    cargo run -q -p support --bin cluster -- run -- sh -ec 'run=$1; shift
        for program; do timeout 120 "$run" "$program" >"$program.out"; done' sh "$run" "${programs[@]}"
    say "$rust: built, linked, ${#programs[@]} examples run"
}

mkdir -p "$cross"
setup_zig
count=0
while read -r rust zig run; do
    if [ -n "$rust" ] && { [ $# -eq 0 ] || [[ " $* " == *" $rust "* ]]; }; then
        check "$rust" "$zig" "$run" </dev/null
        count=$((count + 1))
    fi
done <<<"$targets"
[ $count -gt 0 ] || { say "unknown target: $*"; exit 2; }
