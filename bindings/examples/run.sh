#!/bin/sh
# Runs each example in the cluster at RDC_URL and compares its output with expected.txt, with loop.txt if it uses an event
# loop, or with subscribe.txt if it receives messages. `make test-examples` calls it and sets the paths of the library
# (RDC_LIBRARY), its declarations (RDC_CDEF) and a folder for build results (RDC_SCRATCH).
set -eu
cd "$(dirname "$0")"
: "${RDC_URL:?}" "${RDC_LIBRARY:?}" "${RDC_CDEF:?}" "${RDC_SCRATCH:?}"
mkdir -p "$RDC_SCRATCH"
failed=0

# check NAME EXPECTED COMMAND...
check() {
    name=$1
    expected=$2
    shift 2
    if timeout 60 "$@" >"$RDC_SCRATCH/$name.txt" && diff "$expected" "$RDC_SCRATCH/$name.txt"; then
        echo "ok - $name"
    else
        echo "not ok - $name"
        failed=1
    fi
}

# Python has a binding and needs no example. This checks that cffi can parse the declarations.
python=$RDC_SCRATCH/../venv/bin/python
if "$python" -c 'import cffi, os; cffi.FFI().cdef(open(os.environ["RDC_CDEF"]).read())'; then
    echo "ok - cffi reads the declarations"
else
    echo "not ok - cffi reads the declarations"
    failed=1
fi
check LuaJIT expected.txt luajit session.lua
check PHP expected.txt php -d ffi.enable=1 session.php
NODE_PATH=$RDC_SCRATCH/node_modules check Node expected.txt node session.js
mcs -out:"$RDC_SCRATCH/Session.exe" Session.cs
check C# expected.txt mono "$RDC_SCRATCH/Session.exe"
check LuaJIT-loop loop.txt luajit loop.lua
check LuaJIT-cqueues loop.txt luajit loop_cqueues.lua
check PHP-fibers loop.txt php -d ffi.enable=1 loop.php
check LuaJIT-subscribe subscribe.txt luajit subscribe.lua
check PHP-subscribe subscribe.txt php -d ffi.enable=1 subscribe.php
exit $failed
