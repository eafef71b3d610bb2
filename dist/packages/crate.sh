#!/bin/bash
# dist/packages/crate.sh: the crate, which cargo compiles once from its own files. RDC_VERIFY=no leaves that out.
. dist/packages/common.sh
flags=(--allow-dirty)
[ "${RDC_VERIFY:-yes}" = yes ] || flags+=(--no-verify)
cargo package -q -p rediscluster --locked --target-dir "$target" "${flags[@]}"
cp "$target/package/rediscluster-$version.crate" "$packages/"
finish "$packages/rediscluster-$version.crate" "$host" DEPENDS_ON
