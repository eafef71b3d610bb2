#!/bin/sh
# Prints the flags for rustc with which released files name no folder of the machine that built them, as the variable
# CARGO_ENCODED_RUSTFLAGS wants them: dist/rustflags.sh [FLAG...], with more flags before them.
#
# Messages of panics contain the path of their source. Those of crates begin with the folder where cargo has unpacked
# them, and those of the standard library with the folder of Rust's own sources, if these are installed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
escape=$(printf '\037')

# The folders of the crates: of each, the one above it.
folders() {
    ${CARGO:-cargo} metadata --format-version 1 --manifest-path "$root/Cargo.toml" | tr ',' '\n' |
        sed -n 's|^"manifest_path":"\(.*\)/[^/]*/Cargo\.toml".*|\1|p' | sort -u |
        while IFS= read -r folder; do
            # Paths of this repository are relative in any case.
            case $root/ in "$folder"/*) continue ;; esac
            case $folder/ in "$root"/*) ;; *) printf '%s\n' "$folder" ;; esac
        done
}

flags=
add() { flags=$flags${flags:+$escape}$1; }
# shellcheck disable=SC2086 # a list of words
for flag in ${RUSTFLAGS-} "$@"; do add "$flag"; done
add "--remap-path-prefix=$(${RUSTC:-rustc} --print sysroot)/lib/rustlib/src/rust=/rust"
found=$(folders)
while IFS= read -r folder; do
    [ -z "$folder" ] || add "--remap-path-prefix=$folder=/crates"
done <<END
$found
END
printf '%s\n' "$flags"
