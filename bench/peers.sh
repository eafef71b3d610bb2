#!/bin/sh
# peers.sh FOLDER: fetches the clients that `make bench` compares librediscluster with into FOLDER.
#
# A client that cannot be fetched is left out, and the benchmark page lists it as absent.
set -u
peers=$1
mkdir -p "$peers"

say() { printf 'peers: %s\n' "$*" >&2; }

venv=$peers/venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv" || exit 1
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }

for package in redis==8.1.0 valkey-glide-sync==2.6.0 valkey-glide==2.6.0; do
    "$venv/bin/python" -c "from importlib.metadata import version; assert version('${package%==*}') == '${package#*==}'" 2>/dev/null ||
        pip install "$package" || say "no $package"
done
# A dependency of the Python binding.
"$venv/bin/python" -c 'import cffi' 2>/dev/null || pip install cffi || say "no cffi"

# The source package of libvalkey-py contains the C library.
version=4.2.1
if [ "$(cat "$peers/libvalkey.version" 2>/dev/null)" != "libvalkey as in libvalkey-py $version" ]; then
    rm -rf "$peers/libvalkey" "$peers/fetched"
    if pip download --no-deps --no-binary :all: --dest "$peers/fetched" "libvalkey==$version" &&
        tar -xzf "$peers/fetched/libvalkey-$version.tar.gz" -C "$peers/fetched"; then
        mv "$peers/fetched/libvalkey-$version/vendor/libvalkey" "$peers/libvalkey"
        echo "libvalkey as in libvalkey-py $version" >"$peers/libvalkey.version"
    else
        say "no libvalkey $version"
    fi
fi
exit 0
