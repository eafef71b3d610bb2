#!/bin/bash
# dist/packages/go.sh [TRIPLE...]: the Go module with the static library for each platform, so that programs are built
# without Rust and without an installed library. The archive has the form in which module proxies serve modules.
. dist/packages/common.sh
# shellcheck disable=SC2046 # a list of words
set -- $(built "${@:-$host}")
[ $# -gt 0 ] || exit 0
module=$(sed -n 's/^module //p' bindings/go/go.mod)
work=$target/dist/go
rm -rf "$work"
mkdir -p "$work/include"
cp -r bindings/go/. "$work/"
# The benchmark and the adapter are modules of their own, and the tests need the repository.
rm -r "$work/bench" "$work/goredis"
find "$work" -name '*_test.go' -delete
cp LICENSE-MIT LICENSE-APACHE "$(tree_of "$1")/share/doc/librediscluster/LICENSES-THIRD-PARTY.txt" "$work/"
cp include/rediscluster.h "$work/include/"

platforms=
for triple; do
    read -r system processor < <(go_name "$triple") || continue
    libraries=$(cat "$target/dist/$triple/static_libs")
    # The unwinder, which clang for macOS does not need, and which the libraries for FreeBSD name already.
    [ "$system" != linux ] || libraries="-lgcc_s $libraries"
    folder=$work/lib/${system}_$processor
    mkdir -p "$folder"
    cp "$(tree_of "$triple")/lib/librediscluster.a" "$folder/"
    platforms="${platforms:+$platforms || }($system && $processor)"
    cat >"$work/link_${system}_$processor.go" <<END
//go:build !system && !static

package rediscluster

// #cgo CFLAGS: -I\${SRCDIR}/include
// #cgo LDFLAGS: \${SRCDIR}/lib/${system}_$processor/librediscluster.a $libraries
import "C"
END
done
sed -i "s#^//go:build !static\$#//go:build !static \\&\\& (system || !(${platforms//&/\\&}))#" "$work/link.go"
grep -q 'system ||' "$work/link.go"
if have gofmt; then gofmt -w "$work/link.go"; fi

archive=$packages/librediscluster-go-$version.zip
python3 - "$work" "$module@v$version" "$archive" <<'END'
import os, sys, time, zipfile
from pathlib import Path

folder, name, archive = sys.argv[1:]
when = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            entry = zipfile.ZipInfo(f"{name}/{path.relative_to(folder)}", when)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
END
finish "$archive" "$1" CONTAINS
