#!/bin/sh
# Runs every unit test (BUILD/tests/test_* of tests/test_*.c) and every tests/cli/*.sh, two at a time, adds up
# what they report, and closes with "N passed, N failed". A program that ends without a report is one failure.
# Usage: run_tests.sh BUILD; run_tests.sh BUILD TEST RESULTS runs a single one for the former.
set -u
build=$1
# Under sanitizers: leaks count, and an absurd size is refused as malloc refuses it.
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1
export TSAN_OPTIONS=halt_on_error=1:allocator_may_return_null=1

# Leaves the output in RESULTS/NAME.out and "passed failed" in RESULTS/NAME.sum.
run_one() {
    name=$(basename "$1")
    out=$2/$name.out
    rc=0 p=0 f=0
    case $1 in
    *.sh)
        if timeout 1800 sh "$1" "$build/alula" >"$out" 2>&1; then p=1; else rc=$? f=1; fi
        ;;
    *)
        # cmocka prints "[  PASSED  ] 3 test(s)." and "[  FAILED  ] 1 test(s)" per group
        timeout 1800 "$1" >"$out" 2>&1 || rc=$?
        p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$out" | awk '{n += $1} END {print n + 0}')
        f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$out" | awk '{n += $1} END {print n + 0}')
        if [ "$f" -eq 0 ] && { [ $rc -ne 0 ] || [ "$p" -eq 0 ]; }; then f=1; fi
        ;;
    esac
    echo "$p $f" >"$2/$name.sum"
    if [ "$f" -eq 0 ]; then
        rm -f "$out"
        echo "$name: $p passed"
    else
        echo "$name: $p passed, $f failed (exit $rc)"
    fi
}

if [ $# -eq 3 ]; then
    run_one "$2" "$3"
    exit 0
fi

cd "$(dirname "$0")/.." || exit 1
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
for t in tests/test_*.c tests/cli/*.sh; do
    case $t in
    *'*'*) ;;
    *.c) echo "$build/tests/$(basename "$t" .c)" ;;
    *) echo "$t" ;;
    esac
done | xargs -P 2 -I TEST "$0" "$build" TEST "$results"
for out in "$results"/*.out; do
    [ -e "$out" ] || continue
    echo "--- $(basename "$out" .out)"
    grep -v -e '\[ RUN' -e '\[       OK' "$out" | tail -n 60
done
cat "$results"/*.sum |
    awk '{p += $1; f += $2} END {print p + 0 " passed, " f + 0 " failed"; exit f > 0 || p == 0}'
