#!/bin/sh
# Ctrl-C: decoding stops, what was written stays and ends in a line break, exit 130, no complaint. A model that vanishes: a sentence.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
model=models/tiny-donor

# Waits for text, then interrupts; $1 is the output file, the rest goes to alula.
interrupt() {
    out=$1
    shift
    # Scripts start background jobs with SIGINT ignored, which is inherited; env undoes that.
    env --default-signal=INT "$alula" "$@" >"$out" 2>"$dir/err" &
    pid=$!
    tries=0
    until [ -s "$out" ] || [ $tries -eq 100 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    kill -INT $pid
    got=0
    wait $pid || got=$?
}

# An answer that fills the context if nobody stops it: the list that is demanded does not fit.
echo '{"type": "array", "minItems": 1000, "items": {"type": "string", "minLength": 40}}' >"$dir/list.json"
long="--raw -p Begin --schema $dir/list.json --temp 1 --seed 1 --exact --threads 1 --ctx 4096"
# shellcheck disable=SC2086 # words
interrupt "$dir/out" run $model $long
[ $got -eq 130 ] || fail "exit $got, expected 130; it said: $(cat "$dir/err")"
[ -s "$dir/out" ] || fail "nothing was kept"
[ "$(tail -c 1 "$dir/out")" = '' ] || fail "no line break at the end"
[ ! -s "$dir/err" ] || fail "a complaint: $(cat "$dir/err")"

# A model that another program cuts while it is read ends the answer in a sentence.
cp -R models/tiny-donor "$dir/cut"
# shellcheck disable=SC2086 # words
"$alula" run "$dir/cut" $long >"$dir/begun" 2>"$dir/err" &
pid=$!
for _ in $(seq 300); do
    [ ! -s "$dir/begun" ] || break
    sleep 0.1
done
truncate -s 4096 "$dir/cut/model.safetensors"
got=0
wait "$pid" || got=$?
[ "$got" -eq 1 ] || fail "a model that was cut: exit $got, expected 1"
says 'cut short'
