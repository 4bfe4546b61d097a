#!/usr/bin/env bash
# Packs recorded data into an archive beside this script: tests/golden/pack.sh FOLDER golden|siblings
# `golden` takes FOLDER/tiny, `siblings` takes FOLDER/sib_a and FOLDER/sib_b (SOURCES.md says what is in them and who made them).
# The same files give the same bytes: names sorted, owner, mode and time fixed, one xz thread. The dictionary spans the whole
# archive, because most of it is one model stored ten times; unpacking takes as much memory as the dictionary.
set -euo pipefail
usage="usage: tests/golden/pack.sh FOLDER golden|siblings"
folder=${1:?$usage}
name=${2:?$usage}
here=$(cd "$(dirname "$0")" && pwd)
bytes_max=32000000   # of all archives together

case $name in
golden) members=(tiny/bf16 tiny/ct tiny/modelopt tiny/fp8_block tiny/golden.h5 tiny/eval.h5 tiny/quantized-reference.h5
                 tiny/formats.h5 tiny/dequantized-sha256.json tiny/text-samples.json tiny/tokenizer-cases.jsonl.gz) ;;
siblings) members=(sib_a sib_b) ;;
*) echo "$usage" >&2; exit 1 ;;
esac

part=$here/$name.part
trap 'rm -f "$part"' EXIT
tar -C "$folder" --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --mtime=@0 -cf - "${members[@]}" |
    xz -T1 --check=sha256 --lzma2=preset=9e,dict=96MiB >"$part"

bytes=$(stat -c %s "$part")
for other in "$here"/*.tar.xz; do
    if [ -f "$other" ] && [ "$other" != "$here/$name.tar.xz" ]; then bytes=$((bytes + $(stat -c %s "$other"))); fi
done
if [ "$bytes" -gt "$bytes_max" ]; then
    echo "pack.sh: the archives would take $bytes bytes, more than $bytes_max" >&2
    exit 1
fi
mv "$part" "$here/$name.tar.xz"
echo "$here/$name.tar.xz: $(stat -c %s "$here/$name.tar.xz") bytes, all archives $bytes"
