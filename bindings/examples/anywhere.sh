#!/bin/sh
# Runs the same program in Python, Ruby and Go on each server in RDC_PLACES, and compares its output with anywhere.txt.
# `make test-examples` calls it in `cluster places`; tests/c_programs.rs does the same for C.
set -eu
cd "$(dirname "$0")"
: "${RDC_PLACES:?}" "${RDC_LIBRARY:?}" "${RDC_SCRATCH:?}"
mkdir -p "$RDC_SCRATCH"
(cd ../go && go build -o "$RDC_SCRATCH/anywhere" ./examples/anywhere)
failed=0

check() {
    name=$1
    shift
    if timeout 60 "$@" >"$RDC_SCRATCH/anywhere.txt" && diff anywhere.txt "$RDC_SCRATCH/anywhere.txt"; then
        echo "ok - $name"
    else
        echo "not ok - $name: $url"
        failed=1
    fi
}

while read -r kind url; do
    export RDC_URL="$url"
    PYTHONPATH=../python check "Python: $kind" "$RDC_SCRATCH/../venv/bin/python" ../python/examples/anywhere.py
    check "Ruby: $kind" ruby -w -I../ruby/lib ../ruby/examples/anywhere.rb
    check "Go: $kind" "$RDC_SCRATCH/anywhere"
done <<END
$RDC_PLACES
END
exit $failed
