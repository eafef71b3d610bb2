#!/bin/bash
# dist/packages/gem.sh [TRIPLE]: the Ruby package with the library inside, for a platform.
. dist/packages/common.sh
have gem || skip "the gem" RubyGems "apt-get install ruby"
triple=$(built "${1:-$host}")
[ -n "$triple" ] || exit 0
library=librediscluster.so.$version
name=librediscluster.so.$major
case $triple in
*-linux-*) ;;
*-apple-darwin) library=librediscluster.$version.dylib name=librediscluster.$major.dylib ;;
*) say "no gem for $triple: nobody has tried Ruby there"; exit 0 ;;
esac
work=$target/dist/$triple/gem

# RubyGems says linux for glibc; older versions of it do not understand another name.
platform() {
    local processor
    processor=$(processor_name "$triple")
    case $triple in
    *-musl) echo "$processor-linux-musl" ;;
    *-apple-darwin) echo "${processor/aarch64/arm64}-darwin" ;;
    *) echo "$processor-linux" ;;
    esac
}

rm -rf "$work"
cp -r bindings/ruby "$work"
cp LICENSE-MIT LICENSE-APACHE "$(tree_of "$triple")/share/doc/librediscluster/LICENSES-THIRD-PARTY.txt" "$work/"
cp "$(tree_of "$triple")/lib/$library" "$work/lib/rediscluster/$name"
# A C extension is compiled when the gem is installed, and needs the header.
for extension in "$work"/ext/*/; do
    if [ -e "$extension" ]; then cp include/rediscluster.h "$extension"; fi
done
(cd "$work" && RDC_GEM_PLATFORM=$(platform) gem build -q rediscluster.gemspec >build.txt 2>&1 || { cat build.txt; exit 1; })
built=("$work"/*.gem)
mv "${built[0]}" "$packages/"
finish "$packages/${built[0]##*/}" "$triple" CONTAINS
