#!/bin/sh
# forge, forge verify, inspect, forge card: the way from two folders to a verdict and a card, and the exit statuses on it.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers

expect 0 forge --trunk models/tiny-trunk --mtp models/tiny-donor --out "$dir/art"
quick="--prompts 2 --max-tokens 16"
sums() { (cd "$dir/art" && cat ./*.json | cksum); }

# a dry run writes nothing
before=$(sums)
# shellcheck disable=SC2086 # a list of options
expect 0 forge verify "$dir/art" $quick --dry-run --json
prints '"passed": true'
[ "$before" = "$(sums)" ] || fail 'a dry run has written'

# shellcheck disable=SC2086
expect 0 forge verify "$dir/art" $quick --trunk models/tiny-trunk --mtp models/tiny-donor
prints '  verified    yes'
prints 'concat_order embedding_hidden: decided'
prints 'position offset: undecidable'
prints 'equal to plain decoding'
prints '  drift '
rm -f "$dir/art/README.md"
expect 0 forge card "$dir/art"
grep -q '^### Acceptance$' "$dir/art/README.md" || fail 'the card has no acceptance table'
expect 0 forge card "$dir/art" --print
prints '| as it came (BF16) |'

# the wrong contract: exit status 1 and a sentence; --adopt heals it
for f in "$dir/art/mtplx_runtime.json" "$dir/art/config.json"; do
    sed 's/"embedding_hidden"/"hidden_embedding"/' "$f" >"$dir/changed"
    cp "$dir/changed" "$f"
done
# shellcheck disable=SC2086
expect 1 forge verify "$dir/art" $quick
prints '  verified    no'
prints 'the contract is wrong: it says concat_order hidden_embedding'
prints "alula forge verify $dir/art --adopt"
expect 3 inspect "$dir/art"
prints 'fail_contract; the contract is wrong'
prints "alula forge verify $dir/art --adopt"
# shellcheck disable=SC2086
expect 0 forge verify "$dir/art" $quick --adopt
prints 'replaced by the calibrated one'

# wrong use
expect 2 forge verify
expect 2 forge verify "$dir/art" --adopt --dry-run
says '--dry-run'
expect 2 forge verify "$dir/art" --positions 100
says '512'
echo 'A short text.' >"$dir/short"
expect 1 forge verify "$dir/art" --calib "$dir/short"
says '512 places need 531'
expect 1 forge verify "$dir/art" --calib /dev/null
says '512 places need 531'
expect 1 forge verify models/tiny-trunk
says 'holds no MTP head'
expect 1 forge card "$dir/none"
echo mine >"$dir/art/README.md"
expect 2 forge card "$dir/art"
says 'was not written by alula'
