#!/bin/sh
# Runs each example in the cluster at RDC_URL and compares its output with expected.txt, with loop.txt if it uses an event
# loop, or with subscribe.txt if it receives messages. Then it runs the sessions in a cluster with TLS.
# `make test-examples` calls it and sets the paths of the library (RDC_LIBRARY), its declarations (RDC_CDEF) and a folder
# for build results (RDC_SCRATCH).
set -eu
cd "$(dirname "$0")"
: "${RDC_URL:?}" "${RDC_LIBRARY:?}" "${RDC_CDEF:?}" "${RDC_SCRATCH:?}" "${RDC_CLUSTER:?}"
mkdir -p "$RDC_SCRATCH"
failed=0

# The result of the command before.
result() { # STATUS NAME
    if [ "$1" -eq 0 ]; then
        echo "ok - $2"
    else
        echo "not ok - $2"
        failed=1
    fi
}

check() { # NAME EXPECTED COMMAND...
    name=$1
    expected=$2
    shift 2
    if timeout 60 "$@" >"$RDC_SCRATCH/$name.txt" && diff "$expected" "$RDC_SCRATCH/$name.txt"; then
        result 0 "$name"
    else
        result 1 "$name"
    fi
}

# The first Java that has java.lang.foreign. Debian 12 has none.
java22() {
    for java in "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java)" /usr/lib/jvm/*/bin/java; do
        version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p') || continue
        [ "${version:-0}" -lt 22 ] || { echo "$java" && return; }
    done
}

# The zig that `make tarball` takes from PyPI.
zig=$RDC_SCRATCH/../cross/zig/bin/python
build_with_zig() {
    "$zig" -m ziglang build-exe session.zig -lc -lrediscluster -femit-bin="$RDC_SCRATCH/session" \
        -I"$(dirname "$RDC_CDEF")" -L"$(dirname "$RDC_LIBRARY")" \
        --cache-dir "$RDC_SCRATCH/zig" --global-cache-dir "$RDC_SCRATCH/zig"
}

sessions() { # PREFIX
    check "$1LuaJIT" expected.txt luajit session.lua
    check "$1PHP" expected.txt php -d ffi.enable=1 session.php
    NODE_PATH=$RDC_SCRATCH/node_modules check "$1Node" expected.txt node session.js
    check "$1C#" expected.txt mono "$RDC_SCRATCH/Session.exe"
    check "$1Rust" expected.txt "$RDC_SCRATCH/../debug/examples/session"
    check "$1Perl" expected.txt perl session.pl
    if [ -e "$zig" ]; then
        check "$1Zig" expected.txt "$RDC_SCRATCH/session"
    else
        echo "skipped - $1Zig: \`make tarball\` installs zig"
    fi
    if [ -n "$java" ]; then
        check "$1Java" expected.txt "$java" --enable-native-access=ALL-UNNAMED Session.java
    else
        echo "skipped - $1Java: Java 22 or later is not installed"
    fi
}

java=$(java22)
if [ "${1:-}" = tls ]; then
    export RDC_URL="$RDC_URL?tls_ca_file=$RDC_SCRATCH/tls/ca.pem"
    sessions TLS-
    exit $failed
fi

# Python has a binding and needs no example. This checks that cffi can parse the declarations.
python=$RDC_SCRATCH/../venv/bin/python
"$python" -c 'import cffi, os; cffi.FFI().cdef(open(os.environ["RDC_CDEF"]).read())' && status=0 || status=$?
result $status "cffi reads the declarations"
(cd ../.. && "${CARGO:-cargo}" build -q --example session)
mcs -out:"$RDC_SCRATCH/Session.exe" Session.cs
[ ! -e "$zig" ] || build_with_zig
sessions ""
check LuaJIT-loop loop.txt luajit loop.lua
check LuaJIT-cqueues loop.txt luajit loop_cqueues.lua
check PHP-fibers loop.txt php -d ffi.enable=1 loop.php
check LuaJIT-subscribe subscribe.txt luajit subscribe.lua
check PHP-subscribe subscribe.txt php -d ffi.enable=1 subscribe.php

./certificates.sh "$RDC_SCRATCH/tls"
tls=$RDC_SCRATCH/tls
"$RDC_CLUSTER" run --tls "$tls/node.pem" "$tls/node.key" "$tls/ca.pem" -- ./run.sh tls || failed=1
exit $failed
