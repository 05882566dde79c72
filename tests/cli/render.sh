#!/bin/sh
# render: the rendering alone on standard output; what the template raises on standard error, exit 1.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
model=models/tiny-trunk

cat >"$dir/chat.json" <<'END'
{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "add_generation_prompt": true}
END
printf '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n' >"$dir/want"
expect 0 render $model --input "$dir/chat.json"
cmp "$dir/want" "$dir/out" || fail "rendered otherwise: $(cat "$dir/out")"
expect 0 render --template $model/chat_template.jinja --input "$dir/chat.json"
cmp "$dir/want" "$dir/out"
expect 0 render $model <"$dir/chat.json"
cmp "$dir/want" "$dir/out"

# 1 and 1.0 stay apart, as the template's own language has it.
printf '{{ a }} {{ b }}' >"$dir/t.jinja"
echo '{"a": 1, "b": 1.0}' >"$dir/v.json"
expect 0 render --template "$dir/t.jinja" --input "$dir/v.json"
[ "$(cat "$dir/out")" = '1 1.0' ] || fail "numbers: $(cat "$dir/out")"

printf 'begun {{ raise_exception("no such role: " ~ role) }}' >"$dir/t.jinja"
echo '{"role": "narrator"}' >"$dir/v.json"
expect 1 render --template "$dir/t.jinja" --input "$dir/v.json"
says 'no such role: narrator'
[ ! -s "$dir/out" ] || fail "half a rendering: $(cat "$dir/out")"

printf 'line one\n{%% for %%}' >"$dir/t.jinja"
expect 1 render --template "$dir/t.jinja" --input "$dir/v.json"
says 't.jinja:2'
echo '[1]' >"$dir/v.json"
expect 1 render $model --input "$dir/v.json"
says 'the conversation'
echo '{"messages": ' >"$dir/v.json"
expect 1 render $model --input "$dir/v.json"
says 'the conversation'

expect 2 render --input "$dir/chat.json"
says '--template'
expect 2 render $model --template "$dir/t.jinja" --input "$dir/chat.json"
says '--template'
expect 1 render $model --input no/such.json
says 'no/such.json'
expect 1 render --template no/such.jinja --input "$dir/chat.json"
says 'no/such.jinja'
