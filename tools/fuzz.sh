#!/bin/sh
# Lets libFuzzer loose on tests/fuzz/fuzz_*.c, two at a time. Usage: fuzz.sh BUILD SECONDS. Seeds lie in tests/fuzz/seeds;
# what is found grows in BUILD/corpus, and an input that breaks something is left in BUILD. Closes with "N passed, N failed".
set -eu
build=$1 seconds=$2
cd "$(dirname "$0")/.."
if [ $# -eq 3 ]; then
    name=${3#fuzz_}
    mkdir -p "$build/corpus/$name"
    if "$build/tests/fuzz/$3" -max_total_time="$seconds" -max_len=8192 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$build/$3-" "$build/corpus/$name" "tests/fuzz/seeds/$name" >"$build/$3.log" 2>&1; then
        echo "$3: $(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$3.log") inputs, nothing found"
        echo pass >"$build/$3.sum"
    else
        tail -n 40 "$build/$3.log"
        echo "$3: FAILED, see $build/$3.log"
        echo fail >"$build/$3.sum"
    fi
    exit 0
fi
rm -f "$build"/fuzz_*.sum
for source in tests/fuzz/fuzz_*.c; do basename "$source" .c; done | xargs -n 1 -P 2 sh "$0" "$build" "$seconds"
failed=$(cat "$build"/fuzz_*.sum | grep -c fail || true)
echo "$(cat "$build"/fuzz_*.sum | grep -c pass || true) passed, $failed failed"
[ "$failed" -eq 0 ]
