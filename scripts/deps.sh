#!/bin/sh
# Installs what building and testing need. Says what it will do, asks nothing, does nothing twice.
set -eu
want="gcc make pkg-config xz-utils liblua5.4-dev lua-luv lua-lpeg lua-unit libhdf5-dev hdf5-tools libjansson-dev
libpcre2-dev libutf8proc-dev libxxhash-dev libcmocka-dev libssl-dev python3-h5py gnuplot-nox"
missing=""
for p in $want; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || { echo "deps: needs apt-get (Debian 12, Ubuntu 24.04) or these packages:$missing" >&2; exit 3; }
echo "deps: installing$missing"
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
