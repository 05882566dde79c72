#!/bin/sh
# From two bundled folders to a faster answer: probe, forge, inspect, tune, then one prompt answered by plain decoding and
# with one, two and three tokens drafted ahead. Fails unless the four answers are the same. Usage: demo.sh BUILD/alula
set -eu
alula=$1
work=$(dirname "$alula")/demo
cd "$(dirname "$0")/.."
rounds=9
prompt='what is a draft head?'

bold='' dim='' green='' plain=''
if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') green=$(printf '\033[32m') plain=$(printf '\033[0m'); fi
step() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
show() { # prints a command as a user would type it, runs it, sets its output apart
    words=''
    for word in "$@"; do
        case $word in *' '*) word="'$word'" ;; esac
        words="$words $word"
    done
    printf '%s$ alula%s%s\n' "$dim" "$words" "$plain"
    "$alula" "$@" >"$work/out" || [ $? -eq 3 ] # a verdict of inspect: here and now no depth was faster
    fold -s -w 112 "$work/out" | sed 's/^/  /'
}

rm -rf "$work"
mkdir -p "$work"
printf '%sA model without a head for drafting, and a donor that has one.%s\n' "$bold" "$plain"

step '1. What are these folders?'
show probe models/tiny-trunk models/tiny-donor

step '2. Graft the head of the donor onto the trunk, in 4 bits, and measure it'
show forge --trunk models/tiny-trunk --mtp models/tiny-donor --out "$work/tiny-mtp"

step '3. What came out?'
show inspect "$work/tiny-mtp"

step '4. What does drafting gain on this machine?'
show tune "$work/tiny-mtp" --threads 1 --rounds 3 -n 32 --force --no-save

step '5. One prompt, plain and with tokens drafted ahead'
show run "$work/tiny-mtp" -p "$prompt" --depth 3
round=0
while [ $((round += 1)) -le $rounds ]; do # interleaved, so that a busy moment of the machine hits every depth alike
    for depth in 0 1 2 3; do
        "$alula" run "$work/tiny-mtp" -p "$prompt" --depth $depth --threads 1 --json >"$work/$depth.json"
        sed 's/, "stats": .*//' "$work/$depth.json" >"$work/answer.$depth"
        sed -n 's/.*"decode_tok_s": \([0-9.]*\).*/\1/p' "$work/$depth.json" >>"$work/speed.$depth"
        if ! cmp -s "$work/answer.0" "$work/answer.$depth"; then
            echo "demo: the answer at depth $depth differs from the plain one; compare $work/0.json and $work/$depth.json" >&2
            exit 1
        fi
    done
done
printf '\n%sAll four answers are the same, token for token.%s\n\n' "$green" "$plain"

list() { sed -n "s/.*\"$2\": \[\([^]]*\)\].*/\1/p" "$work/$1.json"; }
printf '  %sdepth   drafts accepted at position 1, 2, 3   tokens/s   against plain%s\n' "$bold" "$plain"
for depth in 0 1 2 3; do
    speed=$(sort -n "$work/speed.$depth" | sed -n "$(((rounds + 1) / 2))p")
    [ $depth -eq 0 ] && base=$speed
    awk -v depth=$depth -v drafted="$(list $depth drafted_by_depth)" -v accepted="$(list $depth accepted_by_depth)" \
        -v speed="$speed" -v base="$base" 'BEGIN {
        split(drafted, d, ", "); split(accepted, a, ", ")
        for (i = 1; i <= depth; i++) text = text sprintf("%5.1f %%  ", d[i] ? 100 * a[i] / d[i] : 0)
        printf "  %5s   %-37s   %8.0f   %12.2fx\n", depth ? depth : "plain", text, speed, speed / base
    }'
done
cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
cat <<EOF

  Median of $rounds rounds, here and now: ${cpu:-$(uname -m)}, one thread of $(nproc).
  The bundled models are tiny, and they know this answer by heart, so nearly every draft is right. On
  other texts about 78, 61 and 50 % of first, second and third drafts are (models/README.md).
EOF
