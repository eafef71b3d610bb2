#!/bin/bash
# dist/packages/check.sh: checks the lists of what is inside the packages with the SPDX project's own tool.
. dist/packages/common.sh
tool=$target/dist/venv/bin/pyspdxtools
[ -x "$tool" ] || skip "the check of the lists" spdx-tools "tools/setup.sh dist"
for list in "$packages"/*.spdx.json; do "$tool" -i "$list"; done
say "the lists of parts are valid"
