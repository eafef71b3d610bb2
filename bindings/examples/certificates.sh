#!/bin/sh
# Makes an authority (ca.pem) and a certificate for 127.0.0.1 that it signed (node.pem, node.key) in the folder $1.
set -eu
mkdir -p "$1"
cd "$1"
key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
echo "subjectAltName=IP:127.0.0.1" >names
# shellcheck disable=SC2086 # a list of words
{
    openssl req -x509 $key -keyout ca.key -out ca.pem -subj /CN=authority -days 2
    openssl req $key -keyout node.key -out node.csr -subj /CN=node
    openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -days 2 -out node.pem
} 2>openssl.txt || { cat openssl.txt; exit 1; }
