#!/bin/sh
# --cpu: scalar code writes the text that the widest kernels write; a set that is unknown, or that the machine lacks, is refused.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
model=models/tiny-donor

expect 0 run $model -p 'The light' --raw -n 24 --seed 3
cp "$dir/out" "$dir/best"
expect 0 run $model -p 'The light' --raw -n 24 --seed 3 --cpu scalar
cmp -s "$dir/out" "$dir/best" || fail "scalar code writes another text: $(cat "$dir/out")"
expect 0 run $model -p 'The light' --raw -n 24 --seed 3 --cpu all

expect 2 run $model -p x --cpu sse9
says "option --cpu: found 'sse9'"
missing=neon
if [ "$(uname -m)" = aarch64 ]; then missing=avx2; fi
expect 2 run $model -p x --cpu $missing
says "no $missing"
