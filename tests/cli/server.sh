#!/bin/sh
# start: what it prints is what works; options from file and command line; keys; the log and SIGHUP; signals let
# requests finish. Every server here listens on a port of the system's choice and is ended by its number.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
command -v curl >/dev/null || {
    echo "curl is not installed; the server is tested in test_http.c alone"
    exit 0
}
model=models/tiny-donor
pid=''
trap '[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT

start() { # ARG...: a server, its address in $url
    : >"$dir/page"
    "$alula" start $model "$@" >"$dir/page" 2>"$dir/log" &
    pid=$!
    await grep -q ANTHROPIC "$dir/page"
    url=$(sed -n 's/.* is served at //p' "$dir/page")
}
await() { # COMMAND...: until it succeeds, as long as the server lives
    until "$@"; do
        kill -0 $pid 2>/dev/null || fail "the server ended before '$*': $(cat "$dir/log")"
        sleep 0.02
    done
}
drains() { ask /health && grep -q draining "$dir/reply"; }
stop() { # SIGNAL: ends it and expects that it says nothing was wrong
    kill -"$1" $pid
    got=0
    wait $pid || got=$?
    pid=''
    [ $got -eq 0 ] || fail "the server exited with $got after SIG$1: $(cat "$dir/log")"
}
ask() { # PATH [CURL ARG...]: the reply in $dir/reply, its status in $status
    path=$1
    shift
    status=$(curl -s -m 60 -o "$dir/reply" -w '%{http_code}' "$url$path" "$@") || status=failed
}
replies() { # STATUS TEXT
    [ "$status" = "$1" ] || fail "status $status, expected $1: $(cat "$dir/reply")"
    grep -qF -- "$2" "$dir/reply" || fail "the reply lacks '$2': $(cat "$dir/reply")"
}
refuse() { # STATUS TEXT ARG...
    want=$1 text=$2
    shift 2
    expect "$want" start "$@"
    says "$text"
}
chat='{"max_tokens": 4, "messages": [{"role": "user", "content": "Say cat."}]}'

refuse 2 'needs DIR'
refuse 2 '--host 0.0.0.0' $model --host 0.0.0.0
refuse 2 '--no-mtp' $model --no-mtp --mtp $model
refuse 2 'exclude each other' $model --api-key x --api-key-file y
refuse 2 'the key is empty' $model --api-key ''
refuse 2 '--parallel' $model --parallel 0
refuse 1 'no/such' $model --api-key-file no/such
refuse 1 'no/such' no/such --port 0
refuse 1 'made for 4096' $model --ctx 5000 --port 0
refuse 1 'passes of the model take' $model --memory 1 --port 0
refuse 1 'no/such/host' $model --host no/such/host --api-key x --port 0
refuse 1 'cannot open the log' $model --log no/such/log --port 0

# What the page says is what an agent needs.
start --port 0
ask /v1/models
replies 200 '"id": "tiny-donor"'
ask /v1/chat/completions -d "$chat"
replies 200 '"finish_reason": "length"'
grep -q "OPENAI_BASE_URL=$url/v1 OPENAI_API_KEY=any" "$dir/page" || fail "page: $(cat "$dir/page")"
grep -q "ANTHROPIC_BASE_URL=$url ANTHROPIC_AUTH_TOKEN=any" "$dir/page" || fail "page: $(cat "$dir/page")"
grep -q '"POST" "/v1/chat/completions" 200' "$dir/log" || fail "log: $(cat "$dir/log")"
refuse 1 "port ${url##*:}: Address already in use" $model --port "${url##*:}"
stop TERM

# A file of options, the command line on top of it; a key that stays in its file.
printf 'top secret\n' >"$dir/key"
refuse 1 'is no key' $model --api-key-file "$dir/key" --port 0
printf 'secret\n' >"$dir/key"
cat >"$dir/config.json" <<END
{"port": 0, "model-name": "pet", "api-key-file": "$dir/key", "ctx": 512, "parallel": 2, "log-json": true,
 "log": "$dir/access", "timeout": 600.5, "cors": "https://a.example", "cache-memory": 0, "queue": 3}
END
start --config "$dir/config.json" --model-name cat
ask /v1/models
replies 401 'a key is needed'
ask /v1/models -H 'Authorization: Bearer secret'
replies 200 '"id": "cat"'
replies 200 '"max_model_len": 512'
grep -q secret "$dir/page" && fail "the page shows the key: $(cat "$dir/page")"
grep -q '"status": 401' "$dir/access" || fail "log: $(cat "$dir/access")"
mv "$dir/access" "$dir/access.old"
kill -HUP $pid
await [ -e "$dir/access" ]
ask /health
replies 200 ok
await grep -q health "$dir/access"
grep -q health "$dir/access.old" && fail "the old log still grows"
stop INT

printf '{"prot": 1}' >"$dir/config.json"
refuse 2 "did you mean --port" $model --config "$dir/config.json"
printf '{"port": "x"}' >"$dir/config.json"
refuse 2 "option --port: found 'x'" $model --config "$dir/config.json"
for value in null false 5 '["a"]'; do # nothing else than a string becomes a key
    printf '{"api-key": %s}' "$value" >"$dir/config.json"
    refuse 1 '"api-key" is no string' $model --config "$dir/config.json"
done
printf '{"api-key": "a\\u0000b"}' >"$dir/config.json"
refuse 1 'holds a NUL' $model --config "$dir/config.json"
printf '{"config": "other.json"}' >"$dir/config.json"
refuse 1 'a file names no other' $model --config "$dir/config.json"
printf '[]' >"$dir/config.json"
refuse 1 'expected an object with options' $model --config "$dir/config.json"

# A folder keeps what was read beyond the end of the server.
talk='{"max_tokens": 4, "temperature": 0, "messages": [{"role": "system", "content": "'$(yes 'Be brief.' | head -n 100 | tr '\n' ' ')'"}, {"role": "user", "content": "Say cat."}]}'
start --port 0 --cache-dir "$dir/cache"
ask /v1/chat/completions -d "$talk"
replies 200 '"cache_source": "none"'
cp "$dir/reply" "$dir/first"
stop TERM
start --port 0 --cache-dir "$dir/cache"
ask /v1/chat/completions -d "$talk"
replies 200 '"cache_source": "disk"'
for f in first reply; do sed 's/.*"choices": //; s/, "usage".*//' "$dir/$f" >"$dir/$f.said"; done
cmp "$dir/first.said" "$dir/reply.said"
stop TERM

# A signal lets what runs finish, and refuses what is new.
: >"$dir/stream"
start --port 0
long='{"stream": true, "max_tokens": 3000, "depth": 0, "temperature": 1, "seed": 3, "logit_bias": {"2039": -100, "2041": -100}, "messages": [{"role": "user", "content": "Say cat."}]}'
curl -sN -m 100 "$url/v1/chat/completions" -d "$long" >"$dir/stream" &
client=$!
await grep -q reasoning "$dir/stream"
kill -TERM $pid
await drains
ask /v1/chat/completions -d "$chat"
replies 503 'about to end'
wait $client
grep -qF 'data: [DONE]' "$dir/stream" || fail "the stream was cut: $(tail -c 300 "$dir/stream")"
got=0
wait $pid || got=$?
pid=''
[ $got -eq 0 ] || fail "the server exited with $got"

# A second signal does not wait.
: >"$dir/stream"
start --port 0
curl -sN -m 100 "$url/v1/chat/completions" -d "$long" >"$dir/stream" &
client=$!
await grep -q reasoning "$dir/stream"
kill -TERM $pid
await drains
stop TERM
wait $client || true
grep -q 'the server ends' "$dir/stream" || fail "the stream was not told: $(tail -c 300 "$dir/stream")"
