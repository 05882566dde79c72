#!/bin/sh
# run: prompt from an option or standard input, text or one JSON object, stop texts, limits, the same text at every depth.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
model=models/tiny-donor
prompt='In the beginning God created'

# What JSON says, in words a test can compare. The reader is the program's own.
printf '{{ text }}|{{ tokens | length }}|{{ prompt_tokens }}|{{ finish }}|{{ stats.drafted_by_depth | length }}' >"$dir/t.jinja"
member() {
    printf '{{ %s }}' "$1" >"$dir/m.jinja"
    "$alula" render --template "$dir/m.jinja" --input "$dir/json"
}

expect 0 run $model --raw -p "$prompt" -n 40
cp "$dir/out" "$dir/text"
[ "$(wc -c <"$dir/text")" -gt 40 ] || fail "hardly any text: $(cat "$dir/text")"
[ ! -s "$dir/err" ] || fail "unasked words on standard error: $(cat "$dir/err")"

# The same prompt from standard input, and at every depth.
printf '%s' "$prompt" >"$dir/prompt"
expect 0 run $model --raw -n 40 <"$dir/prompt"
cmp "$dir/text" "$dir/out"
for depth in 0 1 2 3 7; do
    expect 0 run $model --raw -p "$prompt" -n 40 --depth $depth --threads 1
    cmp "$dir/text" "$dir/out" || fail "depth $depth gave another text: $(cat "$dir/out")"
done
expect 0 run $model --raw -p "$prompt" -n 40 --no-mtp
cmp "$dir/text" "$dir/out"

# One object, no text beside it.
expect 0 run $model --raw -p "$prompt" -n 40 --depth 2 --json
cp "$dir/out" "$dir/json"
[ "$(wc -l <"$dir/json")" -eq 1 ] || fail "not one line: $(cat "$dir/json")"
[ "$(member text)" = "$(cat "$dir/text")" ] || fail "text: $(member text)"
[ "$(member 'tokens | length')" = 40 ] || fail "tokens: $(member tokens)"
[ "$(member finish)" = length ] || fail "finish: $(member finish)"
[ "$(member 'stats.drafted_by_depth | length')" = 2 ] || fail "stats: $(member stats)"
[ "$(member 'stats.accepted_by_depth[0] <= stats.drafted_by_depth[0]')" = True ] || fail "stats: $(member stats)"
[ "$(member 'stats.decode_tok_s > 0 and stats.prefill_tok_s > 0')" = True ] || fail "stats: $(member stats)"
printf '%s' "$prompt" | "$alula" tokenize $model >"$dir/ids"
[ "$(member prompt_tokens)" = "$(awk -F, '{print NF}' "$dir/ids")" ] || fail "prompt_tokens: $(member prompt_tokens)"
member tokens | "$alula" tokenize $model --decode >"$dir/out"
[ "$(cat "$dir/out")" = "$(cat "$dir/text")" ] || fail "tokens and text differ: $(cat "$dir/out")"

# The model's own template: the answer ends by itself, the stop id is not part of it.
expect 0 run $model -p 'Say cat.' --no-think --json
cp "$dir/out" "$dir/json"
[ "$(member finish)" = stop ] || fail "chat did not stop: $(cat "$dir/json")"
[ "$(member "'<|im_end|>' in text")" = False ] || fail "the stop token is in the text: $(member text)"

# A stop text is left out, and nothing behind it appears.
word=$(head -n 1 "$dir/text" | cut -d " " -f 4)
expect 0 run $model --raw -p "$prompt" -n 40 --stop "$word" --json
cp "$dir/out" "$dir/json"
[ "$(member finish)" = stop ] || fail "stop text '$word' did not stop: $(cat "$dir/json")"
[ "$(member "'$word' in text")" = False ] || fail "the stop text is in the text: $(member text)"

# Drawing: the same seed, the same text.
expect 0 run $model --raw -p "$prompt" -n 40 --temp 1 --seed 5
cp "$dir/out" "$dir/drawn"
expect 0 run $model --raw -p "$prompt" -n 40 --temp 1 --seed 5
cmp "$dir/drawn" "$dir/out"
if cmp -s "$dir/drawn" "$dir/text"; then fail "temperature 1 drew the greedy text"; fi

expect 0 run $model --raw -p "$prompt" -n 40 --stats
cmp "$dir/text" "$dir/out"
grep -q 'tokens in .* a second' "$dir/err" || fail "no statistics: $(cat "$dir/err")"

# An answer in JSON that fits a schema, the same at every depth; keywords that are not supported are named.
printf '{"type":"object","properties":{"n":{"type":"integer","minimum":3,"maximum":5},"c":{"enum":["red","blue"]}},"required":["n","c"]}' >"$dir/schema"
expect 0 run $model --no-think -p 'Say cat.' --schema "$dir/schema" -n 60 --depth 0
cp "$dir/out" "$dir/text"
grep -Eqx '\{"n": [345], "c": "(red|blue)"\}' "$dir/text" || fail "does not fit the schema: $(cat "$dir/text")"
for depth in auto 2; do
    expect 0 run $model --no-think -p 'Say cat.' --schema "$dir/schema" -n 60 --depth $depth
    cmp "$dir/text" "$dir/out"
done
expect 0 run $model --think -p 'Say cat.' --schema "$dir/schema" -n 200
grep -q '</think>' "$dir/out" || fail "no reasoning before the answer: $(cat "$dir/out")"
