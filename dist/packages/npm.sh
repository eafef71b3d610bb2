#!/bin/bash
# dist/packages/npm.sh [TRIPLE...]: the Node.js package with an addon, which contains the library, for each platform.
. dist/packages/common.sh
have npm || skip "the npm package" npm "apt-get install nodejs npm"
headers=$target/node/node_modules/node-api-headers/include
[ -e "$headers/node_api.h" ] || skip "the npm package" "the headers of Node-API" "tools/setup.sh node"
work=$target/dist/npm

addon() { # TRIPLE
    local triple=$1 processor system=Linux folder=linux
    case $triple in
    *-linux-gnu) ;;
    *-apple-darwin) system=Darwin folder=darwin ;;
    *-musl) say "no addon for $triple: Node.js does not tell musl from glibc"; return ;;
    *) say "no addon for $triple: nobody has tried Node.js there"; return ;;
    esac
    processor=$(processor_name "$triple")
    processor=${processor/x86_64/x64}
    make --no-print-directory -s node-addon SYSTEM=$system CC="$(compiler_of "$triple")" \
        LINK_LIBS="$(cat "$target/dist/$triple/link_libs")" BUILD="$(build_of "$triple")" \
        ADDON="$work/prebuilds/$folder-${processor/aarch64/arm64}/rediscluster.node"
    [ $system = Linux ] || check_bundle "$work/prebuilds/$folder-${processor/aarch64/arm64}/rediscluster.node"
}

# Nobody has loaded it on macOS: at least it exports what Node.js looks up, and nothing else.
check_bundle() { # ADDON
    printf 'exports _%s\n' napi_register_module_v1 node_api_module_get_api_version_v1 |
        diff - <(tools/cross/macho.py "$1" | grep '^exports') || { say "$1 exports something else"; exit 1; }
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
