#!/bin/sh
# bench: help, the keys of the JSON and the table on a small artifact, wrong use refused by name. No speed is asserted.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers

expect 0 bench --help
prints '--synthetic'
prints '--acceptance'

expect 0 forge --trunk models/tiny-trunk --mtp models/tiny-donor --out "$dir/forged" --no-verify
expect 0 bench "$dir/forged" --rounds 1 --threads 1 --json
for key in read_gbs read_gbs_min read_gbs_max bytes_per_token threads isa ar verify draft head_rows mtp depth acceptance \
    ratio prefill tokens sequences n scaling tok_s tok_s_min tok_s_max bound_share bound_share_max rows ms load_s \
    rss_bytes rss_bytes_max; do
    prints "\"$key\":"
done
expect 0 bench models/tiny-trunk --rounds 1 --threads 1 --exact
prints 'plain decoding'
prints 'of the bound'
if grep -q 'MTP, depth' "$dir/out"; then fail 'MTP figures of a model without a head'; fi

expect 0 bench "$dir/forged" --rounds 1 --threads 1 --profile
prints 'delta rule'
prints 'waiting'

expect 0 bench "$dir/forged" --rounds 1 --threads 1 --why-4-bit
prints 'BF16'
prints '4 bits '
expect 0 bench "$dir/forged" --rounds 1 --threads 1 --why-4-bit --json
cp "$dir/out" "$dir/json"
printf '{{ heads | map(attribute="bits") | join(" ") }} {{ heads[0].draft.bytes > heads[1].draft.bytes > heads[2].draft.bytes }}' >"$dir/t.jinja"
[ "$("$alula" render --template "$dir/t.jinja" --input "$dir/json")" = '16 8 4 True' ] || fail 'the heads are not those that were asked for'
expect 1 bench models/tiny-trunk --rounds 1 --threads 1 --why-4-bit
says 'no MTP head'

expect 0 bench "$dir/forged" --rounds 1 --threads 1 --csv "$dir/b.csv" --plot "$dir/b.svg"
prints 'first token after'
prints 'simulated'
grep -q '^verify,4,1,' "$dir/b.csv" || fail "no verification of four rows: $(cat "$dir/b.csv")"
grep -q '</svg>' "$dir/b.svg" || fail 'the picture has no end'
expect 1 bench "$dir/forged" --rounds 1 --threads 1 --csv "$dir/nothing/b.csv"

expect 2 bench
says '--synthetic'
expect 2 bench models/tiny-trunk --layers 3
says '--layers'
expect 2 bench --synthetic gpt
says 'qwen3.5-122b-a10b'
says 'qwen3.5-35b-a3b'
expect 2 bench "$dir/forged" --acceptance .5,x
says '.5,x'
expect 2 bench "$dir/forged" --acceptance .5,.9
says '0.9'
expect 1 bench "$dir/nothing"
expect 2 bench --server http://127.0.0.1:1 --csv "$dir/s.csv"
says '--csv'
