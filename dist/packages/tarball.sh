#!/bin/bash
# dist/packages/tarball.sh [TRIPLE]: packs the installation of a platform into an archive that works in any folder.
. dist/packages/common.sh
triple=$(built "${1:-$host}")
[ -n "$triple" ] || exit 0
name=librediscluster-$version-$(platform_name "$triple")
archive=$packages/$name.tar.xz
# In a stable order, without the owner and the times of this machine.
tar -C "$(tree_of "$triple")" --transform "s,^\.,$name,S" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" \
    --owner=0 --group=0 --numeric-owner --mode=u+rw,go+r-w,a+X -c . | xz -T1 -6 >"$archive.new"
mv "$archive.new" "$archive"
finish "$archive" "$triple" CONTAINS
