#!/bin/sh
# tune: its JSON, its picture, what it remembers and who heeds it; damaged and foreign records; wrong use. Runs with --force: the machine
# that tests is busy.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
model=models/tiny-donor
export XDG_STATE_HOME="$dir/xdg"
state=$XDG_STATE_HOME/alula/tune.json

member() { # an expression about the object in $dir/json
    printf '{{ %s }}' "$1" >"$dir/m.jinja"
    "$alula" render --template "$dir/m.jinja" --input "$dir/json"
}
is() { # EXPRESSION VALUE
    [ "$(member "$1")" = "$2" ] || fail "$1: found $(member "$1"), expected $2"
}

# No picture and no record unless asked for.
expect 0 tune $model --force --rounds 3 -n 8 --depths 2 --no-save --json
cp "$dir/out" "$dir/json"
is action tune
is 'results | map(attribute="mode") | join(" ")' 'AR D1 D2'
is 'settings.depths' '1,2'
is 'results[2].acceptance_by_depth | length' 2
is 'results[0].multiplier_vs_ar' 1.0
is 'results[1].generated_tokens' 96
is 'results[1].quality_passed' True
is 'best_multiplier.verdict in ["mtp_depth_wins", "no_mtp_depth_beat_ar"]' True
is saved False
is 'draft_vocab.candidates | map(attribute="ids") | join(" ")' '0 2048 512 256'
is 'draft_vocab.candidates | map(attribute="bits") | join(" ")' '0 4 4 4'
is 'draft_vocab.ids in [0, 2048, 512, 256]' True
threads=$(member settings.threads)
[ ! -e "$XDG_STATE_HOME" ] || fail "--no-save made $XDG_STATE_HOME"

expect 0 tune $model --force --rounds 3 -n 8 --depths 1 --plot "$dir/plot.svg"
prints 'verdict'
prints "$state"
grep -q '</svg>' "$dir/plot.svg" || fail "no picture"
[ "$(find "$XDG_STATE_HOME" -type f)" = "$state" ] || fail "files: $(find "$XDG_STATE_HOME" -type f)"

# A copy elsewhere is the same artifact. What is remembered decides for run unless a depth is given.
cp -R $model "$dir/copy"
recorded() { # VERDICT BUSY
    sed "s/\"verdict\": \"[a-z_]*\"/\"verdict\": \"$1\"/; s/\"busy\": [a-z]*/\"busy\": $2/" "$state" >"$dir/new"
    cp "$dir/new" "$state"
}
depth() {
    expect 0 run "$dir/copy" --raw -p 'In the beginning' -n 8 --json "$@"
    cp "$dir/out" "$dir/json"
    member stats.depth
}
recorded no_mtp_depth_beat_ar true
[ "$(depth)" = auto ] || fail "run believed a loss on a busy machine"
recorded no_mtp_depth_beat_ar false
[ "$(depth)" = 0 ] || fail "run did not heed the record"
[ "$(depth --depth 2)" = 2 ] || fail "the record overrode --depth"
[ "$(depth --exact)" = auto ] || fail "the record is not of --exact"
[ "$(depth --state "$dir/none")" = auto ] || fail "--state did not count"
[ "$(depth --threads $((threads + 1)))" = auto ] || fail "the record is of another number of threads"
expect 0 inspect "$dir/copy"
grep -q 'tuned .*no_mtp_depth_beat_ar' "$dir/out" || fail "inspect does not show it: $(cat "$dir/out")"

# Drafts come from the part of the vocabulary that won, and the text stays the same.
tokens() {
    expect 0 run "$dir/copy" --raw -p 'In the beginning' -n 40 --json "$@"
    cp "$dir/out" "$dir/json"
    member 'tokens | join(" ")'
}
plain=$(tokens --depth 0)
cat >"$dir/win.jinja" <<'EOF'
{%- set r = (records.values() | list)[0] -%}
{"schema_version": 1, "records": {"{{ r.key }}": {"schema_version": 1, "saved_at": "then", "key": "{{ r.key }}",
"key_material": {{ r.key_material | tojson }}, "payload": {"diagnostics": {"busy": false},
"best": {"depth": 2, "multiplier_vs_ar": 1.5}, "best_multiplier": {"verdict": "mtp_depth_wins"},
"draft_vocab": {"ids": 512, "coverage": 0.75, "acceptance": 0.625, "acceptance_whole": 0.75}}}}}
EOF
"$alula" render --template "$dir/win.jinja" --input "$state" >"$dir/new"
cp "$dir/new" "$state"
[ "$(tokens)" = "$plain" ] || fail "another text from a part of the vocabulary"
expect 0 inspect "$dir/copy"
prints 'drafts come from 512 ids: 75.0 % of tokens'
sed 's/"ids": 512,/"ids": 3, "list": [5, 60, 700],/' "$dir/new" >"$state"
[ "$(tokens)" = "$plain" ] || fail "another text from the ids of a text"
expect 0 inspect "$dir/copy"
prints 'drafts come from 3 ids of a text: 75.0 % of tokens'

# Damaged: said, not heeded, not overwritten.
echo '{' >"$state"
[ "$(depth)" = auto ] || fail "run heeded a damaged record"
says "$state"
expect 0 tune $model --force --rounds 3 -n 8 --depths 1
grep -q 'saved *no: .*damaged' "$dir/out" || fail "the damage was not said: $(cat "$dir/out")"
[ "$(cat "$state")" = '{' ] || fail "the damaged file was touched"

# Another build's: as if it were not there.
rm "$state"
expect 0 tune $model --force --rounds 3 -n 8 --depths 1
sed 's/"alula_version": "[0-9.]*"/"alula_version": "0.0.0"/' "$state" >"$dir/new"
cp "$dir/new" "$state"
recorded no_mtp_depth_beat_ar false
[ "$(depth)" = auto ] || fail "run heeded another build's record"

# The most frequent ids of a text are tried as well.
yes 'In the beginning God created the heaven and the earth.' | head -n 50 >"$dir/past.txt"
expect 0 tune $model --force --no-save --rounds 3 -n 8 --depths 1 --json --draft-text "$dir/past.txt"
cp "$dir/out" "$dir/json"
is 'draft_vocab.candidates | map(attribute="of_text") | join(" ")' 'False False False False True'
refuse() { # STATUS TEXT ARG...
    status=$1 text=$2
    shift 2
    expect "$status" tune "$@"
    says "$text"
}
refuse 2 'needs DIR'
refuse 2 '--depths' $model --depths 8
refuse 2 '--rounds' $model --rounds 2
refuse 1 "$dir/nowhere.txt" $model --draft-text "$dir/nowhere.txt"
refuse 1 'no MTP head' models/tiny-trunk
refuse 1 "$dir/nowhere" "$dir/nowhere"
refuse 1 "$dir/nowhere" $model --force --no-save --rounds 3 -n 8 --depths 1 --json --plot "$dir/nowhere/plot.svg"
