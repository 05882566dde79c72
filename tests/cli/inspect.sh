#!/bin/sh
# inspect: exit codes are verdicts, not failures; the page names what is wrong and what to type.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers

compose() {
    rm -rf "$dir/model"
    cp -R tests/data/mtplx/variants/base "$dir/model"
    while read -r f; do [ -z "$f" ] || rm -f "$dir/model/$f"; done <"tests/data/mtplx/variants/$1/remove.txt"
    [ ! -d "tests/data/mtplx/variants/$1/files" ] || cp -R "tests/data/mtplx/variants/$1/files/." "$dir/model/"
}

# judged STATUS VARIANT TEXT: nothing on standard error, whatever the verdict
judged() {
    compose "$2"
    expect "$1" inspect "$dir/model"
    [ ! -s "$dir/err" ] || fail "$2: a verdict is no error: $(cat "$dir/err")"
    prints "$3"
    prints '  verdict '
}
judged 0 complete-fused 'alula run'
judged 0 no-contract 'family-compatible-unverified'
judged 3 missing-tensor-of-19 'mtp.layers.0.self_attn.k_norm.weight'
judged 3 missing-sidecar-no-contract '--mtp DONOR'
judged 3 contract-pending 'pending_full_load'
judged 3 contract-pending 'alula forge verify'
judged 3 sidecar-cut 'mtp.safetensors'
judged 4 unknown-architecture 'foo_text'
expect 4 inspect "$dir/model" --json
prints '"tier": "incompatible-architecture"'

# Of a body that is cut off nobody can say whether it has a head, and no advice on grafting helps.
compose complete-fused
rm "$dir/model/mtp.safetensors"
truncate -s -9 "$dir/model/model.safetensors"
expect 3 inspect "$dir/model"
prints 'cut off'
prints 'finish it and look again'
if grep -q 'MTP head  *missing\|--trunk TRUNK' "$dir/out"; then fail 'a head that was not looked for is called missing'; fi

expect 1 inspect "$dir/none"
says "$dir/none"
echo '{' >"$dir/model/config.json"
expect 1 inspect "$dir/model"
says 'config.json'
expect 2 inspect
