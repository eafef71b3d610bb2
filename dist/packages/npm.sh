#!/bin/bash
# dist/packages/npm.sh [TRIPLE...]: the Node.js package with an addon, which contains the library, for each platform.
. dist/packages/common.sh
have npm || skip "the npm package" npm "apt-get install nodejs npm"
headers=$target/node/node_modules/node-api-headers/include
[ -e "$headers/node_api.h" ] || skip "the npm package" "the headers of Node-API" "tools/setup.sh node"
work=$target/dist/npm

addon() { # TRIPLE
    local triple=$1 processor
    case $triple in
    x86_64-*-gnu) processor=x64 ;;
    aarch64-*-gnu) processor=arm64 ;;
    *-musl) say "no addon for $triple: Node.js does not tell musl from glibc"; return ;;
    *) say "no addon for $triple"; return ;;
    esac
    make --no-print-directory -s node-addon CC="$(compiler_of "$triple")" LINK_LIBS="$(cat "$target/dist/$triple/link_libs")" \
        BUILD="$(build_of "$triple")" ADDON="$work/prebuilds/linux-$processor/rediscluster.node"
}

# shellcheck disable=SC2046 # a list of words
set -- $(built "${@:-$host}")
[ $# -gt 0 ] || exit 0
rm -rf "$work"
mkdir -p "$work"
read -ra files <<<"${NODE_FILES:?is set by make}"
(cd bindings/node && cp -r "${files[@]}" "$work/")
cp LICENSE-MIT LICENSE-APACHE "$(tree_of "$1")/share/doc/librediscluster/LICENSES-THIRD-PARTY.txt" "$work/"
for triple; do addon "$triple"; done
name=$(cd "$work" && npm pack --silent --pack-destination "$packages")
finish "$packages/$name" "$1" CONTAINS
