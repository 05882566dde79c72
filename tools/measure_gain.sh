#!/bin/sh
# How much drafting gains on the bundled pair, by kind of text, as the table in README.md: greedy, plain against
# --depth auto, one after the other on the same prompt, the ratio taken pair by pair. 'noise' is random letters, which
# no head foretells. Closes with the worst text; exits 1 if auto is slower there than 0.98 of plain. Needs a quiet
# machine. Usage: measure_gain.sh BUILD/alula [ROUNDS [TOKENS]]
set -eu
alula=$1 rounds=${2:-9} tokens=${3:-128}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=$work/model

prompts() { # four of each kind into $work/KIND.N
    for kind in kjv code chat; do
        for i in 0 1 2 3; do
            printf '{{ loss_windows.%s[%s][:96] }}' $kind $i >"$work/t.jinja"
            "$alula" render --template "$work/t.jinja" --input models/expected.json |
                "$alula" tokenize models/tiny-trunk --decode >"$work/$kind.$i"
        done
    done
    for i in 0 1 2 3; do
        awk -v seed=$i 'BEGIN { srand(seed); for (n = 0; n < 160; n++) printf "%c", 33 + int(90 * rand()) }' >"$work/noise.$i"
    done
}

speed() { # KIND.N DEPTH: tokens per second; the state folder is empty, so that no verdict of tune is heeded
    "$alula" run "$model" --raw -n "$tokens" --depth "$2" --state "$work/none" --json <"$work/$1" |
        sed -n 's/.*"decode_tok_s": \([0-9.]*\).*/\1/p'
}

"$alula" forge --trunk models/tiny-trunk --mtp models/tiny-donor --out "$model" --no-verify >/dev/null
prompts
round=0
while [ $((round += 1)) -le "$rounds" ]; do
    for kind in kjv code chat noise; do
        for i in 0 1 2 3; do
            if [ $((round % 2)) -eq 0 ]; then
                plain=$(speed $kind.$i 0) auto=$(speed $kind.$i auto)
            else
                auto=$(speed $kind.$i auto) plain=$(speed $kind.$i 0)
            fi
            echo "$kind $i $plain $auto" >>"$work/pairs"
        done
    done
done

median() { sort -n | awk '{ v[NR] = $1 } END { m = int((NR + 1) / 2); printf "%.4f", NR % 2 ? v[m] : (v[m] + v[m + 1]) / 2 }'; }
echo '| text | plain, tok/s | auto, tok/s | gain (median) | worst and best of 4 texts |'
echo '|---|---|---|---|---|'
for kind in kjv code chat noise; do
    rm -f "$work/texts"
    for i in 0 1 2 3; do
        echo "$(awk -v k=$kind -v i=$i '$1 == k && $2 == i { print $4 / $3 }' "$work/pairs" | median) $kind.$i" >>"$work/texts"
    done
    cat "$work/texts" >>"$work/all"
    plain=$(awk -v k=$kind '$1 == k { print $3 }' "$work/pairs" | median)
    auto=$(awk -v k=$kind '$1 == k { print $4 }' "$work/pairs" | median)
    gain=$(awk -v k=$kind '$1 == k { print $4 / $3 }' "$work/pairs" | median)
    low=$(sort -n "$work/texts" | head -n 1) high=$(sort -n "$work/texts" | tail -n 1)
    printf '| %s | %.0f | %.0f | %.2fx | %.2fx, %.2fx |\n' $kind "$plain" "$auto" "$gain" "${low%% *}" "${high%% *}"
done
echo
sort -n "$work/all" | head -n 1 | awk '{ printf "worst text: %s, %.3f of plain\n", $2, $1; exit $1 < 0.98 }'
