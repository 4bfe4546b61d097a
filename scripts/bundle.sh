#!/bin/sh
# bundle.sh PROGRAM FOLDER: the program with every library, script and kernel source it needs in one folder that runs
# on another Linux machine.
set -eu
program=$1; folder=$2
rm -rf "$folder"; mkdir -p "$folder/lib"
cp "$program" "$folder/nibble"
strip --strip-debug "$folder/nibble"
luv=$(find /usr/lib -name luv.so -path '*lua/5.4*' | head -1)
cp "$luv" "$folder/lib/"
for file in "$program" "$luv"; do
    # glibc itself stays the other machine's: it must be at least as new as this one's
    ldd "$file" | awk '$3 ~ /^\// {print $3}' | grep -v -E '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*)\.so'
done | sort -u | while read -r lib; do cp -L "$lib" "$folder/lib/"; done
for part in scripts kernels tuner; do
    [ -d "$part" ] && mkdir -p "$folder/$part" && cp -R "$part/." "$folder/$part/"
done
# what the gate's results depend on: a store made here counts in the tree that it came from
mkdir -p "$folder/core"
for part in emu gpu model num ptx tensor; do cp -R "core/$part" "$folder/core/"; done
# the tests on a device run from the bundle too; those of the model look for recorded data in its build/golden
mkdir -p "$folder/tests/scripts" "$folder/tests/ptx"
cp -R tests/model "$folder/tests/"
cp tests/scripts/command.lua "$folder/tests/scripts/"
cp -R tests/ptx/cases tests/ptx/cases_gpu_test.lua "$folder/tests/ptx/"
cp "$(find /usr/share/lua -name luaunit.lua -path '*5.4*' | head -1)" "$folder/"
du -sh "$folder" | awk '{print "bundle: " $2 ", " $1}'
