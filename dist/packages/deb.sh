#!/bin/bash
# dist/packages/deb.sh: Debian packages of what `make build` has made, for this machine's release of Debian or Ubuntu:
#
#     librediscluster0      the shared library        librediscluster-dev   what a compiler needs
#     rediscluster-tools    rdc
#
# lintian checks them. RDC_LINTIAN=no leaves that out.
. dist/packages/common.sh
for tool in dpkg-deb dpkg-gensymbols dpkg-shlibdeps; do
    have $tool || skip "the Debian packages" $tool "apt-get install dpkg-dev"
done
# Sorts below the packages of a distribution.
revision=0+upstream1
architecture=$(dpkg --print-architecture)
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
work=$target/dist/deb
maintainer="The librediscluster authors <librediscluster@users.noreply.github.com>"
homepage=https://github.com/librediscluster/librediscluster
shared=librediscluster$major

rm -rf "$work"
mkdir -p "$work/debian"
install_all() {
    make --no-print-directory -s install DESTDIR="$work/all" PREFIX=/usr LIBDIR="/usr/lib/$multiarch" \
        INCLUDEDIR=/usr/include BINDIR=/usr/bin MANDIR=/usr/share/man BUILD="$target/release"
    find "$work/all/usr/share/man" -type f -exec gzip -9n {} +
}

# move PACKAGE PATH...: takes files of the installation into a package.
move() {
    local package=$1 path
    shift
    for path; do
        mkdir -p "$work/$package/$(dirname "$path")"
        mv "$work/all/$path" "$work/$package/$path"
    done
}

documents() { # PACKAGE
    local folder=$work/$1/usr/share/doc/$1
    mkdir -p "$folder"
    cat >"$folder/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: librediscluster
Source: $homepage
Comment:
 The package also contains code of the Rust crates that third-party-notices.txt.gz
 lists with their terms: all of them permissive.

Files: *
Copyright: $(sed -n 's/^Copyright (c) //p' LICENSE-MIT)
License: Expat or Apache-2.0

License: Expat
$(sed -n '/^Permission/,$ { s/^$/./; s/^/ /; p }' LICENSE-MIT)

License: Apache-2.0
 On Debian systems, the text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
END
    cat <<END | gzip -9n >"$folder/changelog.Debian.gz"
librediscluster ($version-$revision) unstable; urgency=medium

  * Release $version of librediscluster.

 -- $maintainer  $(LC_ALL=C date -ud "@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')
END
    gzip -9nc CHANGELOG.md >"$folder/changelog.gz"
    gzip -9nc "$work/notices" >"$folder/third-party-notices.txt.gz"
}

# The packages that the programs and libraries of a package need, in the versions whose symbols they use.
depends() { # PACKAGE FILE
    (cd "$work" && dpkg-shlibdeps -O "$1/$2" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
}

symbols() {
    (cd "$work" && dpkg-gensymbols -q -p$shared -v"$version" -P$shared -O"$shared/DEBIAN/symbols")
    # What a program needs is the release that added a function, without the revision of this package.
    echo "librediscluster $major $shared (>= $version)" >"$work/$shared/DEBIAN/shlibs"
    echo "activate-noawait ldconfig" >"$work/$shared/DEBIAN/triggers"
}

build() { # PACKAGE SECTION DEPENDS DESCRIPTION, whose other lines come from standard input
    local package=$1 file=$packages/$1_$version-${revision}_$architecture.deb
    documents "$package"
    mkdir -p "$work/$package/DEBIAN"
    cat >"$work/$package/DEBIAN/control" <<END
Package: $package
Source: librediscluster
Version: $version-$revision
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -k -s --apparent-size --exclude=DEBIAN "$work/$package" | cut -f 1)
Depends: $3
Section: $2
Priority: optional
${multi_arch:+Multi-Arch: $multi_arch
}Homepage: $homepage
Description: $4
$(cat)
END
    chmod -R u=rwX,go=rX "$work/$package"
    find "$work/$package/usr/lib" -type f -name '*.so.*' -exec chmod 644 {} + 2>/dev/null || true
    (cd "$work/$package" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    dpkg-deb --root-owner-group -Zxz --build "$work/$package" "$file" >/dev/null
    finish "$file" "$host" CONTAINS
}

# dpkg-shlibdeps and dpkg-gensymbols read it.
printf 'Source: librediscluster\n\nPackage: %s\nArchitecture: any\n' $shared >"$work/debian/control"
python3 dist/packages/inventory.py licences "$host" >"$work/notices"
install_all
library=usr/lib/$multiarch/librediscluster.so
mkdir -p "$work/$shared/DEBIAN"
move $shared $library.$version $library.$major
symbols
multi_arch=same build $shared libs "$(depends $shared $library.$version)" "client for Redis and Valkey clusters" <<END
 librediscluster is a client for Redis Cluster and Valkey Cluster with a C
 interface. It follows redirections and failovers, reads from replicas within
 bounds, and ends every call within its timeout. Any number of threads may use
 one client, and event loops get a descriptor.
 .
 This package contains the shared library.
END
move librediscluster-dev $library "${library%.so}.a" "usr/lib/$multiarch/pkgconfig" "usr/lib/$multiarch/cmake" \
    usr/include usr/share/man/man3 usr/share/man/man7
mkdir -p "$work/librediscluster-dev/usr/share/doc/librediscluster-dev"
cp -r examples-c "$work/librediscluster-dev/usr/share/doc/librediscluster-dev/"
multi_arch=same build librediscluster-dev libdevel "$shared (= $version-$revision), libc6-dev" \
    "client for Redis and Valkey clusters (development)" <<END
 librediscluster is a client for Redis Cluster and Valkey Cluster with a C
 interface.
 .
 This package contains the headers for C and C++, the static library, files
 for pkg-config and CMake, the manual pages of the functions, and examples.
END
move rediscluster-tools usr/bin/rdc usr/share/man/man1
multi_arch=foreign build rediscluster-tools database "$(depends rediscluster-tools usr/bin/rdc)" \
    "tool that looks inside Redis and Valkey clusters" <<END
 rdc prints the topology of a Redis Cluster or Valkey Cluster, checks it and
 says what to do, explains where a command would be sent, measures latencies,
 generates load, and sends any command.
END
if [ "${RDC_LINTIAN:-yes}" = no ]; then exit 0; fi
if have lintian; then
    lintian --allow-root --fail-on error,warning "$packages"/*"_$version-${revision}_$architecture.deb"
    say "lintian has no complaints"
else
    say "lintian has not checked the Debian packages: apt-get install lintian"
fi
