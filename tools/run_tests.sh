#!/bin/sh
# Runs every unit test (BUILD/tests/test_*) and every tests/cli/*.sh, adds up what they report, and closes with
# "N passed, N failed". A program that ends without a report counts as one failure. Usage: run_tests.sh BUILD
set -u
build=$1
cd "$(dirname "$0")/.."
passed=0 failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for t in "$build"/tests/test_*; do
    case $t in *.o | *.d) continue ;; esac
    # cmocka prints "[  PASSED  ] 3 test(s)." and "[  FAILED  ] 1 test(s)" per group
    timeout 600 "$t" >"$out" 2>&1
    rc=$?
    p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$out" | awk '{n += $1} END {print n + 0}')
    f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$out" | awk '{n += $1} END {print n + 0}')
    [ $rc -ne 0 ] && [ "$f" -eq 0 ] && f=1
    [ "$f" -ne 0 ] && { echo "--- $t (exit $rc)"; grep -v -e '\[ RUN' -e '\[       OK' "$out" | tail -n 60; }
    echo "$(basename "$t"): $p passed, $f failed"
    passed=$((passed + p)) failed=$((failed + f))
done
for t in tests/cli/*.sh; do
    [ -e "$t" ] || continue
    if timeout 600 sh "$t" "$build/alula" >"$out" 2>&1; then
        passed=$((passed + 1)); echo "$t: passed"
    else
        failed=$((failed + 1)); echo "--- $t"; tail -n 60 "$out"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
