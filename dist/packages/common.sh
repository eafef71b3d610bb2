# What the scripts of this folder share. They are run in the root of the repository, by `make`.
# shellcheck shell=bash
set -eu -o pipefail
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
# Where finished packages go.
packages=$(realpath -m "${PACKAGES:-$target/packages}")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
major=${version%%.*}
host=$(rustc -vV | sed -n 's/^host: //p')
# Every file in a package has this time, so that the same sources and tools give the same bytes.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
mkdir -p "$packages"

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# skip PACKAGE TOOL HOW: says that a package is not built, and how to get what is missing. Ends the script: other packages
# do not need it.
skip() {
    say "skipped $1: $2 is missing: $3"
    exit 0
}

# Which of these platforms are there? platform.sh has said why another one is not.
built() {
    local triple
    for triple; do
        if [ -e "$target/dist/$triple/compiler" ]; then echo "$triple"; else say "skipped $triple: it was not built"; fi
    done
}

# The installation for a platform, the compiler that it was linked with, and what it was made of: platform.sh makes them.
tree_of() { echo "$target/dist/$1/root"; }
compiler_of() { cat "$target/dist/$1/compiler"; }
build_of() { echo "$target/dist/$1/build-$(basename "$(compiler_of "$1")")"; }

# processor_name TRIPLE: as Linux and Python call it.
processor_name() { local name=${1%%-*}; echo "${name/riscv64gc/riscv64}"; }

# go_name TRIPLE: the system and the processor as Go calls them; nothing if it has no library of its own.
go_name() {
    local processor
    processor=$(processor_name "$1")
    processor=${processor/x86_64/amd64}
    processor=${processor/aarch64/arm64}
    case $1 in
    *-linux-gnu) echo "linux $processor" ;;
    *-apple-darwin) echo "darwin $processor" ;;
    *-freebsd) echo "freebsd $processor" ;;
    *-musl) say "not $1: Go does not tell musl from glibc; use -tags system there" ;;
    *) say "not $1: use -tags system there" ;;
    esac
}

# platform_name TRIPLE: as in the names of archives: x86_64-linux-gnu.
platform_name() { local name=${1/-unknown/}; echo "${name/riscv64gc/riscv64}"; }

# The newest version of glibc that one of these files needs: 2.17.
newest_glibc() { readelf -VW "$@" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -n 1; }

# Names a finished package, and writes the list of what is inside beside it.
finish() { # FILE TRIPLE CONTAINS|DEPENDS_ON
    python3 dist/packages/inventory.py spdx "$2" "$3" "$1" >"$1.spdx.json"
    say "${1##*/}"
}
