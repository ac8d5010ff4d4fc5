#!/bin/sh
# Made the certificates and keys of this directory, which protect nothing but the tests: an authority, a server 127.0.0.1 and a client
# `postgres` that it vouches for, and another authority. They are kept, so that the tests need no openssl, and last for a hundred years.
set -eu
cd "$(dirname "$0")"

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=$2" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$1.key" -out "$1.crt"
}

signed() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.csr"
    printf '%s\n' "basicConstraints=CA:FALSE" "$3" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA root.crt -CAkey root.key -CAcreateserial -days 36500 -extfile "$1.ext" -out "$1.crt"
}

authority root "PgWorkflows tests"
authority other "Another authority"
signed server 127.0.0.1 "subjectAltName=IP:127.0.0.1"
signed client postgres "extendedKeyUsage=clientAuth"
rm -f ./*.csr ./*.ext ./*.srl root.key other.key
