#!/bin/sh
# dist/packages/session.sh: installs the packages of /packages by their ordinary tools, and runs a program with each
# against the cluster of RDC_URL. roots.sh runs it inside a root. Prints a line for each package that was used.
set -eu
export DEBIAN_FRONTEND=noninteractive HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd /packages
one() { set -- $1; [ -e "$1" ] && echo "$PWD/$1"; }
used() { echo "used: $1"; }
limited() { timeout 120 "$@"; }

# The same program in each language prints the same lines.
anywhere() { # PACKAGE COMMAND...
    package=$1
    shift
    limited "$@" >/tmp/output
    diff /programs/anywhere.txt /tmp/output
    used "$package"
}

c_programs() { # PACKAGE PKG-CONFIG-FOLDER FLAGS
    export PKG_CONFIG_PATH=$2
    for kind in rediscluster rediscluster-static; do
        # shellcheck disable=SC2046,SC2086 # lists of words
        cc -std=c99 /programs/readonly.c -o /tmp/$kind $(pkg-config --cflags --libs $kind) $3
        limited /tmp/$kind >/tmp/output || { cat /tmp/output; exit 1; }
    done
    unset PKG_CONFIG_PATH
    used "$1"
}

archive=$(one 'librediscluster-*.tar.xz')
mkdir /archive
tar -C /archive -xf "$archive"
root=$(echo /archive/*)
c_programs archive "$root/lib/pkgconfig" "-Wl,-rpath,$root/lib"
limited "$root/bin/rdc" topology >/dev/null

if one 'librediscluster0_*.deb' >/dev/null; then
    apt-get install -qq -y ./librediscluster0_*.deb ./librediscluster-dev_*.deb ./rediscluster-tools_*.deb \
        >/tmp/output 2>&1 || { cat /tmp/output; exit 1; }
    c_programs 'Debian packages' '' ''
    limited rdc topology >/dev/null
    apt-get purge -qq -y librediscluster0 librediscluster-dev rediscluster-tools >/dev/null 2>&1
    [ -z "$(find /usr -name '*rediscluster*')" ]
fi

python3 -m venv /venv
/venv/bin/python -m pip install -q --disable-pip-version-check --no-index --find-links /packages librediscluster
anywhere wheel /venv/bin/python /programs/anywhere.py

gem install --quiet --local --no-document "$(one 'rediscluster-*.gem')" >/tmp/output 2>&1 || { cat /tmp/output; exit 1; }
anywhere gem ruby /programs/anywhere.rb

cd /npm
limited node -e "
    const { Cluster } = require('rediscluster');
    (async () => {
      const cluster = new Cluster(process.env.RDC_URL);
      await cluster.set('{packages}node', 'from npm');
      if (await cluster.getdel('{packages}node') !== 'from npm') process.exit(1);
      cluster.disconnect();
    })();"
used 'npm package'

if [ -e /go-proxy ]; then
    export GOPROXY=file:///go-proxy GONOSUMDB='*' GOFLAGS=-mod=mod GONOSUMCHECK=1 GOSUMDB=off PKG_CONFIG=false
    mkdir /go-project
    cd /go-project
    cp /programs/anywhere.go main.go
    { go mod init example && go get "$(cat /go-proxy/module)" && go build -o program .; } >/tmp/output 2>&1 ||
        { cat /tmp/output; exit 1; }
    anywhere 'Go module' ./program
fi
