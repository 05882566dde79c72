#!/bin/sh
# eval: loss of the bundled trunk as recorded with it, logits as a whole file or none, bad input refused by name.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
model=models/tiny-trunk

expression() { # of a JSON file, in the words of a chat template
    printf '{{ %s }}' "$1" >"$dir/e.jinja"
    "$alula" render --template "$dir/e.jinja" --input "$2"
}

# One window of each kind; the tolerance is that of models/README.md.
for kind in kjv code chat; do
    expression "loss_windows.${kind}[1]" models/expected.json >"$dir/ids"
    expect 0 eval $model --ids "$dir/ids" --exact --json
    cp "$dir/out" "$dir/json"
    want=$(expression "loss_of_windows.${kind}.trunk[1]" models/expected.json)
    loss=$(expression loss "$dir/json")
    awk -v a="$loss" -v b="$want" 'BEGIN { exit !(a - b < 1e-4 && b - a < 1e-4) }' || fail "$kind: loss $loss, expected $want"
    [ "$(expression scored "$dir/json")" = 511 ] || fail "scored: $(cat "$dir/json")"
done

# The file of logits: every tensor of the right size, the same figures as without it.
printf 'In the beginning God created the heaven and the earth.' >"$dir/text"
"$alula" tokenize $model <"$dir/text" >"$dir/ids"
n=$(awk -F, '{ print NF }' "$dir/ids")
expect 0 eval $model --text "$dir/text" --head models/tiny-donor --mtp 2 --json
cp "$dir/out" "$dir/json"
[ "$(expression tokens "$dir/json")" = "$n" ] || fail "tokens: $(cat "$dir/json")"
[ "$(expression 'mtp.positions' "$dir/json")" = $((n - 3)) ] || fail "positions: $(cat "$dir/json")"
[ "$(expression 'mtp.accepted_by_depth | length' "$dir/json")" = 2 ] || fail "acceptance: $(cat "$dir/json")"
expect 0 eval $model --ids - --head models/tiny-donor --mtp 2 --json --logits "$dir/logits.safetensors" <"$dir/ids"
cp "$dir/out" "$dir/json2"
[ "$(expression loss "$dir/json")" = "$(expression loss "$dir/json2")" ] || fail "--text and --ids differ"
head -c 1000 "$dir/logits.safetensors" | tr '\0' '.' >"$dir/header"
for tensor in logits mtp_logits_1 mtp_logits_2; do
    grep -qF "\"$tensor\"" "$dir/header" || fail "no tensor $tensor: $(cat "$dir/header")"
done
bytes=$(wc -c <"$dir/logits.safetensors")
if [ "$bytes" -le $((3 * n * 2048 * 4)) ] || [ "$bytes" -gt $((3 * n * 2048 * 4 + 1000)) ]; then fail "$bytes bytes of logits"; fi
expect 0 eval $model --text "$dir/text" --head models/tiny-donor --mtp 2
prints 'perplexity'
prints 'depth 2'

# Nothing half written: a folder that is not there, a disk that is full.
expect 1 eval $model --ids "$dir/ids" --logits "$dir/none/out.safetensors"
says "$dir/none/out.safetensors"
mkdir "$dir/full"
got=0
(
    trap '' XFSZ
    ulimit -f 64
    "$alula" eval $model --ids "$dir/ids" --logits "$dir/full/out.safetensors" >"$dir/out" 2>"$dir/err"
) || got=$?
[ $got -eq 1 ] || fail "a full disk exits $got"
says "$dir/full/out.safetensors"
[ -z "$(ls -A "$dir/full")" ] || fail "left behind: $(ls -A "$dir/full")"

refuse() { # STATUS TEXT ARG...
    status=$1 text=$2
    shift 2
    expect "$status" eval "$@" </dev/null
    says "$text"
}
refuse 2 'needs DIR'
refuse 2 '--ids' $model
refuse 2 '--ids' $model --ids "$dir/ids" --text "$dir/text"
refuse 2 '--mtp' $model --ids "$dir/ids" --mtp 8
refuse 2 '--head' $model --ids "$dir/ids" --head models/tiny-donor
refuse 1 'MTP head' $model --ids "$dir/ids" --mtp 1
refuse 1 'no/such' $model --ids no/such
refuse 1 'no/such' $model --text no/such
echo '[]' >"$dir/bad"
refuse 1 'no text' $model --ids "$dir/bad"
echo '[1, 2048]' >"$dir/bad"
refuse 1 'id 2048 at index 1' $model --ids "$dir/bad"
awk 'BEGIN { printf "[1"; for (i = 0; i < 4096; i++) printf ",1"; print "]" }' >"$dir/bad"
refuse 1 '4097 tokens' $model --ids "$dir/bad"
printf 'abc\377' >"$dir/bad"
refuse 1 "$dir/bad" $model --text "$dir/bad"
