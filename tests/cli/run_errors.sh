#!/bin/sh
# run: wrong use exits 2 and names the option; bad input exits 1 and says what was found; nothing is printed then.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
model=models/tiny-donor

refuse() { # STATUS TEXT ARG...
    status=$1 text=$2
    shift 2
    expect "$status" run "$@" </dev/null
    says "$text"
    [ ! -s "$dir/out" ] || fail "alula run $*: output beside an error: $(cat "$dir/out")"
}

refuse 2 'needs DIR'
refuse 2 'the prompt is empty' $model
refuse 2 'the prompt is empty' $model -p ''
refuse 2 'the prompt is empty' $model --raw -p ''
refuse 2 '--depth' $model -p x --depth 8
refuse 2 '--depth' $model -p x --depth -1
refuse 2 '--depth' $model -p x --depth two
refuse 2 '--temp' $model -p x --temp nan
refuse 2 '--top-p' $model -p x --top-p 1.5
refuse 2 '--max-tokens' $model -p x -n 0
refuse 2 '--seed' $model -p x --seed -5
refuse 2 '--threads' $model -p x --threads 1000
refuse 2 '--stop' $model -p x --stop
refuse 2 '--stop' $model -p x --stop ''
refuse 2 '--no-mtp' $model -p x --no-mtp --depth 1
refuse 2 '--no-mtp' $model -p x --no-mtp --mtp $model
refuse 2 '--no-think' $model -p x --no-think --think
refuse 2 '--raw' $model -p x --raw --system y
refuse 2 '--raw' $model -p x --raw --no-think

refuse 2 '--schema' --connect http://127.0.0.1:1 -p x --schema "$dir/schema"
refuse 1 'no/such/schema' $model -p x --schema no/such/schema

refuse 1 'no/such/folder' no/such/folder -p x
refuse 1 'config.json' "$dir" -p x
refuse 1 'no/such/head' $model -p x --mtp no/such/head
refuse 1 'MTP' models/tiny-trunk -p x --depth 1
refuse 1 '--ctx' $model -p x --ctx 4097
printf '{"type": "object", "properties": {"a": {"not": {}}}}' >"$dir/schema"
refuse 1 '#/properties/a/not' $model -p x --schema "$dir/schema"
rm "$dir/schema"
refuse 1 'context holds 20' $model --raw -p 'one two three four five six seven eight nine ten eleven twelve thirteen' --ctx 20
got=0
printf 'abc\377' | "$alula" run $model >"$dir/out" 2>"$dir/err" || got=$?
[ $got -eq 1 ] || fail "a prompt that is not UTF-8 exits $got"
says 'standard input'

# A template that does not know the choice says so instead of ignoring it.
mkdir "$dir/plain"
cp $model/* "$dir/plain"
printf '{%% for m in messages %%}{{ m.content }}{%% endfor %%}' >"$dir/plain/chat_template.jinja"
refuse 2 '--no-think' "$dir/plain" -p x --no-think
printf '{{ raise_exception("not today") }}' >"$dir/plain/chat_template.jinja"
refuse 1 'not today' "$dir/plain" -p x

# Without a template that runs, a text can still be continued.
printf '{%% for' >"$dir/plain/chat_template.jinja"
refuse 1 'chat_template.jinja:1' "$dir/plain" -p x
expect 0 run "$dir/plain" -p x --raw -n 3
rm "$dir/plain/chat_template.jinja"
refuse 1 'no chat template' "$dir/plain" -p x
expect 0 run "$dir/plain" -p x --raw -n 3

if [ -w /dev/full ]; then
    got=0
    "$alula" run $model -p x >/dev/full 2>"$dir/err" || got=$?
    [ $got -eq 1 ] || fail "writing to a full disk exits $got"
    says 'standard output'
fi
