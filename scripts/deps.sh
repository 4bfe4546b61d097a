#!/bin/sh
# Installs what building and testing need. Says what it will do, asks nothing, does nothing twice.
set -eu
want="gcc make pkg-config xz-utils liblua5.4-dev lua-luv lua-lpeg lua-unit libhdf5-dev hdf5-tools libjansson-dev
libpcre2-dev libutf8proc-dev libxxhash-dev libcmocka-dev libssl-dev python3-h5py gnuplot-nox"
missing=""
for p in $want; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
# Kernels are compiled by NVRTC. Where no CUDA toolkit has it, NVIDIA's wheel goes to .deps/cuda; so does the disassembler that
# `nibble sass` names instructions with, and the assembler that a test puts all PTX through. Without them everything else works.
nvrtc="nvidia-cuda-nvrtc==13.0.88"
nvdisasm="nvidia-cuda-nvdisasm==13.5.37"
ptxas="nvidia-cuda-nvcc==13.0.88"
root=$(cd "$(dirname "$0")/.." && pwd)
cuda=$root/.deps/cuda
has() { for f in "$@"; do [ -e "$f" ] && return 0; done; return 1; }
wheels=""
known=$(ldconfig -p 2>/dev/null | awk '$1 == "libnvrtc.so.13" { print $NF; exit }')
has "${known:-none}" /usr/local/cuda*/lib*/libnvrtc.so.13 "$cuda"/nvidia/*/lib/libnvrtc.so.13 || wheels="$nvrtc"
command -v nvdisasm >/dev/null || has /usr/local/cuda*/bin/nvdisasm "$cuda"/nvidia/*/bin/nvdisasm || wheels="${wheels:+$wheels }$nvdisasm"
command -v ptxas >/dev/null || has /usr/local/cuda*/bin/ptxas "$cuda"/nvidia/*/bin/ptxas || wheels="${wheels:+$wheels }$ptxas"
[ -z "$wheels" ] || python3 -m pip --version >/dev/null 2>&1 || missing="$missing python3-pip"

fetch_wheels() {
    [ -n "$wheels" ] || return 0
    echo "deps: fetching $wheels into .deps/cuda"
    rm -rf "$cuda.part"
    if python3 -m pip install -q --no-deps --root-user-action=ignore --disable-pip-version-check --target "$cuda.part" $wheels; then
        mkdir -p "$cuda" && cp -R "$cuda.part/." "$cuda/"
    else
        echo "deps: could not fetch $wheels: without NVRTC kernels do not compile (NIBBLE_NVRTC can name a library)" >&2
    fi
    rm -rf "$cuda.part"
}
if [ -z "$missing" ]; then
    fetch_wheels
    exit 0
fi
command -v apt-get >/dev/null || { echo "deps: needs apt-get (Debian 12, Ubuntu 24.04) or these packages:$missing" >&2; exit 3; }
echo "deps: installing$missing"
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
fetch_wheels
