#!/bin/sh
# How much drafting gains on the bundled pair, by kind of text, as the table in README.md, beside what it ought to gain
# by its acceptance and its costs: greedy, plain against automatic depth. 'noise' is random letters, which no head
# foretells; 'defeat' has its drafts made right and wrong in turn. Exits 1 if automatic depth is slower than 0.98 of
# plain on any text. Needs a quiet machine. The models are too small for two threads to share.
# Usage: measure_gain.sh BUILD [ROUNDS [TOKENS [THREADS]]]; make bench-gain
set -eu
build=$1 rounds=${2:-21} tokens=${3:-128} threads=${4:-1}
case $build in /*) ;; *) build=$PWD/$build ;; esac
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

text() { # KIND I: the beginning of a window that nobody was trained on
    printf '{{ loss_windows.%s[%s][:96] }}' "$1" "$2" >"$work/t.jinja"
    "$build/alula" render --template "$work/t.jinja" --input models/expected.json |
        "$build/alula" tokenize models/tiny-trunk --decode
}

"$build/alula" forge --trunk models/tiny-trunk --mtp models/tiny-donor --out "$work/model" --no-verify >/dev/null
set --
for i in 0 1 2 3; do
    for kind in kjv code chat; do
        text $kind $i >"$work/$kind.$i"
    done
    awk -v seed=$i 'BEGIN { srand(seed); for (n = 0; n < 160; n++) printf "%c", 33 + int(90 * rand()) }' >"$work/noise.$i"
done
for kind in kjv code chat noise; do
    set -- "$@" $kind="$work/$kind.0" $kind="$work/$kind.1" $kind="$work/$kind.2" $kind="$work/$kind.3"
done
for kind in kjv chat; do
    set -- "$@" defeat="$work/$kind.0" defeat="$work/$kind.1"
done
"$build/tools/measure_gain" "$work/model" "$rounds" "$tokens" "$threads" "$@"
