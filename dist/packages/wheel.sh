#!/bin/bash
# dist/packages/wheel.sh [TRIPLE | sdist]: the Python package with the library and the C extension inside, for a
# platform; or its sources.
#
# The tag of a wheel says on which systems it runs. It is made from the versions of glibc that the files need, and
# compared with them again when the wheel is complete.
. dist/packages/common.sh
triple=${1:-$host}
[ "$triple" = sdist ] || triple=$(built "$triple")
[ -n "$triple" ] || exit 0
work=$target/dist/$triple/python
system=Linux
case $triple in
*-apple-darwin) system=Darwin ;;
*-freebsd) say "no wheel for $triple: PyPI has no tag for FreeBSD; the sdist uses the installed library"; exit 0 ;;
esac
. tools/cross/toolchain.sh

# A Python with setuptools, for which the C extension can be compiled; target/venv is that of the tests.
find_python() {
    for python in "$target/dist/venv/bin/python" "$target/venv/bin/python" python3; do
        if have "$python" && "$python" -c '
import setuptools, pip, sys
sys.exit(int(setuptools.__version__.split(".")[0]) < 77 or sys.version_info < (3, 10))' 2>/dev/null; then
            return
        fi
    done
    skip "the Python package" "setuptools 77 for Python 3.10 or later" "tools/setup.sh dist"
}

# Debian has a pyconfig.h for each platform, in a folder where only its own compilers look. What the C extension reads in
# it is the same for all platforms of 64 bits.
python_headers() {
    local include config
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -e "$include/Python.h" ] || skip "the wheel" Python.h "apt-get install python3-dev"
    for config in /usr/include/*/"${include##*/}/pyconfig.h"; do
        if [ -e "$config" ]; then
            mkdir -p "$work/headers/$(processor_name "$triple")-linux-gnu/${include##*/}"
            cp "$config" "$work/headers/$(processor_name "$triple")-linux-gnu/${include##*/}/"
        fi
    done
}

copy_sources() {
    rm -rf "$work"
    mkdir -p "$work"
    cp -r bindings/python/{pyproject.toml,setup.py,README.md,rediscluster,src} LICENSE-MIT LICENSE-APACHE "$work/"
    find "$work" -name __pycache__ -prune -exec rm -r {} +
    rm -f "$work"/rediscluster/*.so*
    cp include/rediscluster.h "$work/src/"
}

# manylinux_2_17_x86_64 for what needs glibc 2.17 or less.
platform_tag() {
    local processor glibc minor
    processor=$(processor_name "$triple")
    case $triple in
    *-musl) echo "musllinux_1_2_$processor"; return ;;
    *-apple-darwin) echo "macosx_${MACOSX_DEPLOYMENT_TARGET/./_}_${processor/aarch64/arm64}"; return ;;
    esac
    glibc=$(newest_glibc "$RDC_LIBRARY")
    minor=${glibc#2.}
    [ "$minor" -gt 17 ] || minor=17
    echo "manylinux_2_${minor}_$processor"
}

# The system libraries that every system of the tag has, and no newer glibc than that of the tag.
check_tag() { # WHEEL
    local folder=$work/unpacked files needed newest limit
    rm -rf "$folder"
    "$python" -m zipfile -e "$1" "$folder"
    mapfile -t files < <(find "$folder" -name '*.so*' -o -name '*.dylib')
    if [ "$system" = Darwin ]; then
        [ ${#files[@]} -eq 1 ] || { say "not the library alone: ${files[*]}"; exit 1; }
        tools/cross/macho.py "${files[0]}" | grep -qx "macos $MACOSX_DEPLOYMENT_TARGET"
        return
    fi
    [ ${#files[@]} -eq 2 ] || { say "not the library and the C extension: ${files[*]}"; exit 1; }
    needed=$(readelf -dW "${files[@]}" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u |
        grep -vxE 'lib(c|m|dl|rt|pthread|util|gcc_s)\.so(\.[0-9])?|ld-linux-.*' || true)
    [ -z "$needed" ] || { say "$1 needs what not every system has: $needed"; exit 1; }
    case $RDC_WHEEL_PLATFORM in manylinux*)
        limit=${RDC_WHEEL_PLATFORM#manylinux_2_}
        newest=$(newest_glibc "${files[@]}")
        [ "${newest#2.}" -le "${limit%%_*}" ] || { say "$1 needs glibc $newest"; exit 1; } ;;
    esac
    # The list of platforms without glibc is not known to auditwheel on a system with glibc.
    case $RDC_WHEEL_PLATFORM in manylinux_*_"${host%%-*}")
        if "$python" -c 'import auditwheel' 2>/dev/null; then
            "$python" -m auditwheel show "$1" | tr '\n' ' ' | grep -q "\"$RDC_WHEEL_PLATFORM\"" ||
                { "$python" -m auditwheel show "$1"; exit 1; }
        fi ;;
    esac
}

check_metadata() { # FILE
    if "$python" -c 'import twine' 2>/dev/null; then
        "$python" -m twine check --strict "$1" >"$work/twine.txt" || { cat "$work/twine.txt"; exit 1; }
    else
        say "twine has not checked ${1##*/}: tools/setup.sh dist"
    fi
}

wheel() {
    local compiler
    export RDC_LIBRARY RDC_WHEEL_PLATFORM RDC_PYTHON_EXTENSION=yes
    RDC_LIBRARY=$(tree_of "$triple")/lib/librediscluster.so.$version
    compiler=$(compiler_of "$triple")
    if [ "$system" = Darwin ]; then
        # The headers of another system's Python cannot be had here. The package does without the C extension.
        RDC_PYTHON_EXTENSION= compiler=false
        RDC_LIBRARY=$(tree_of "$triple")/lib/librediscluster.$version.dylib
    else
        python_headers
    fi
    RDC_WHEEL_PLATFORM=$(platform_tag)
    cp "$(tree_of "$triple")/share/doc/librediscluster/LICENSES-THIRD-PARTY.txt" "$work/"
    CC=$compiler LDSHARED="$compiler -shared" CFLAGS="-I$work/headers" "$python" -m pip wheel -q \
        --disable-pip-version-check --no-build-isolation --no-deps -w "$work/built" "$work"
    local built=("$work"/built/*.whl)
    check_tag "${built[0]}"
    check_metadata "${built[0]}"
    mv "${built[0]}" "$packages/"
    finish "$packages/${built[0]##*/}" "$triple" CONTAINS
}

sdist() {
    (cd "$work" && "$python" setup.py -q sdist --formats=gztar -d built)
    local built=("$work"/built/*.tar.gz)
    check_metadata "${built[0]}"
    mv "${built[0]}" "$packages/"
    finish "$packages/${built[0]##*/}" "$host" DEPENDS_ON
}

find_python
copy_sources
if [ "$triple" = sdist ]; then sdist; else wheel; fi
