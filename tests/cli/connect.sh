#!/bin/sh
# run --connect and bench --server, against a server on a port of the system's choice that is ended by its number.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
pid=''
trap '[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT

start() { # ARG...: a server, its address in $url
    : >"$dir/page"
    "$alula" start models/tiny-donor --port 0 "$@" >"$dir/page" 2>"$dir/log" &
    pid=$!
    until grep -q ANTHROPIC "$dir/page"; do
        kill -0 $pid 2>/dev/null || fail "the server ended: $(cat "$dir/log")"
        sleep 0.02
    done
    url=$(sed -n 's/.* is served at //p' "$dir/page")
}
stop() { # SIGNAL
    kill -"$1" $pid
    wait $pid 2>/dev/null || true
    pid=''
}

# What is refused before anybody is asked.
expect 2 run --connect localhost:8765 -p x
says 'expected http://HOST:PORT'
expect 2 run models/tiny-donor --connect http://localhost -p x
says 'exclude each other'
expect 2 run --connect http://localhost --threads 2 -p x
says "are that server's"
expect 2 run --connect http://localhost --api-key 'a
b' -p x
says 'the API key has'
expect 2 bench --server http://localhost models/tiny-donor
says 'one of'
expect 2 bench models/tiny-donor --rate 2
says 'are for --server'
expect 1 run --connect http://127.0.0.1:1 -p x
says 'http://127.0.0.1:1 cannot be reached'

# The same text as at home, whatever the depth; nothing but the text on standard output.
start --api-key secret
expect 0 run models/tiny-donor -p 'Say cat.' --no-think -n 12 --depth 0
cp "$dir/out" "$dir/home"
expect 0 run --connect "$url/v1" --api-key secret -p 'Say cat.' --no-think -n 12
cmp -s "$dir/home" "$dir/out" || fail "the server says '$(cat "$dir/out")', run '$(cat "$dir/home")'"
expect 0 run --connect "$url" --api-key secret -p 'Say cat.' --no-think -n 12 --stats
grep -q 'from the cache' "$dir/err" || fail "no statistics: $(cat "$dir/err")"
echo 'Say cat.' >"$dir/in"
expect 0 run --connect "$url" --api-key secret -n 4 --think <"$dir/in"
says 'ended within its reasoning'
expect 0 run --connect "$url" --api-key secret -p 'Say cat.' --think -n 4 --json
prints '"text": "", "reasoning": "'
prints '"n_tokens": 4, "finish": "length"'
expect 2 run --connect "$url" -p x
says '(401): a key is needed'
expect 2 run --connect "$url" --api-key wrong -p x
says '(401): the key is wrong'
stop TERM

# Load: all are answered, and the same tokens are counted whichever way they come.
start --parallel 2
expect 0 bench --server "$url" --clients 4 --requests 6 --max-tokens 8 --json
prints '"answered": 6, "failed": 0'
expect 0 bench --server "$url" --rate 200 --requests 6 --max-tokens 8
prints '6 requests, 200 a second'
prints 'to the first text'
prints '6 answered with'

# Ctrl-C keeps what came, and the server is free again; a server that dies is told of behind what came. The penalty lets
# the text repeat itself to the end of the context.
begin() { # a long answer to $client, which has begun
    : >"$dir/out"
    env --default-signal=INT "$alula" run --connect "$url" -p 'Say cat.' --no-think --frequency-penalty -2 --depth 0 \
        >"$dir/out" 2>"$dir/err" &
    client=$!
    until [ -s "$dir/out" ]; do
        kill -0 $client 2>/dev/null || fail "the answer ended at once: $(cat "$dir/err")"
        sleep 0.02
    done
}
begin
kill -INT $client
got=0
wait $client || got=$?
[ $got -eq 130 ] || fail "exit $got, expected 130; it said: $(cat "$dir/err")"
[ "$(tail -c 1 "$dir/out")" = '' ] || fail "no line break at the end"
[ ! -s "$dir/err" ] || fail "a complaint: $(cat "$dir/err")"
begin
stop KILL
got=0
wait $client || got=$?
[ $got -eq 1 ] || fail "exit $got, expected 1; it said: $(cat "$dir/err")"
[ "$(tail -c 1 "$dir/out")" = '' ] || fail "no line break at the end"
says 'broke off'
