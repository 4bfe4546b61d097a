#!/bin/sh
# Runs test programs that print TAP and adds up: run.sh BUILD FILTER PROGRAM...
# A program that ends badly without a "not ok" of its own counts as one failure. Last line: N passed, N failed, N skipped.
build=$1; filter=$2; shift 2
pass=0; bad=0; skip=0
skipped='^\(not \)\{0,1\}ok [0-9]*.*# *skip'
log=$build/tests/log; mkdir -p "$log"
for t in "$@"; do
    case $t in *"$filter"*) ;; *) continue ;; esac
    name=$(echo "${t#"$build"/}" | tr / .)
    start=$(date +%s)
    case $t in
        *.lua) "$build/nibble" "$t" -o TAP >"$log/$name" 2>&1; rc=$? ;;
        *_fuzz) "$t" "${FUZZ_N:-20000}" >"$log/$name" 2>&1; rc=$? ;;
        *) CMOCKA_MESSAGE_OUTPUT=TAP "$t" >"$log/$name" 2>&1; rc=$? ;;
    esac
    # cmocka prints a skipped test as "not ok N # SKIP name", luaunit as "ok N # SKIP": both are skips.
    s=$(grep -c -i "$skipped" "$log/$name"); n=$(grep '^not ok' "$log/$name" | grep -v -c -i "$skipped")
    p=$(grep '^ok' "$log/$name" | grep -v -c -i "$skipped")
    [ "$rc" = 0 ] || [ "$n" != 0 ] || n=1
    if [ "$rc" = 0 ] && [ $((p + s + n)) = 0 ]; then n=1; echo "no test ran" >>"$log/$name"; fi
    pass=$((pass + p)); bad=$((bad + n)); skip=$((skip + s))
    printf '%-52s %4d passed %3d failed %3d skipped %4d s\n' "${t#"$build"/}" "$p" "$n" "$s" "$(($(date +%s) - start))"
    [ "$n" = 0 ] || sed 's/^/    /' "$log/$name" | grep -v '^    ok' | tail -60
    [ "$s" = 0 ] || grep -i "$skipped" "$log/$name" | sed 's/^/    /'
done
echo "$pass passed, $bad failed, $skip skipped"
[ "$bad" = 0 ] && [ "$pass" != 0 ]
