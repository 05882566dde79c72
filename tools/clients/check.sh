#!/bin/sh
# Do the clients that people have work with alula's server, and many of them at once? Usage: check.sh BUILD. The libraries of OpenAI,
# Anthropic and LangChain for Python and Node, pinned, and headless Chromium on the web page. They are installed in BUILD/clients; what
# cannot be had is SKIPPED, aloud, and no failure.
set -eu
cd "$(dirname "$0")/../.."
tools=$PWD/tools/clients alula=$1/alula
work=$(mkdir -p "$1/clients" && cd "$1/clients" && pwd)
key=clients-check-key passed=0 failed=0

skip() { echo "SKIPPED, not checked: $1"; }

# count COMMAND...: runs a check and adds its closing line to the sums.
count() {
    "$@" >"$work/out" 2>&1 || true
    cat "$work/out"
    sum=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$work/out" | tail -n 1)
    [ -n "$sum" ] || sum='0 passed, 1 failed'
    passed=$((passed + ${sum%% *}))
    sum=${sum#*, }
    failed=$((failed + ${sum%% *}))
}

start_server() {
    rm -rf "$work/model"
    "$alula" forge --trunk models/tiny-trunk --mtp models/tiny-donor --out "$work/model" --no-verify >"$work/forge.log" 2>&1
    "$alula" start "$work/model" --port 0 --api-key $key --cache-memory 64 >"$work/server.log" 2>"$work/access.log" &
    server=$!
    trap 'kill $server 2>/dev/null || true' EXIT
    url=''
    for _ in $(seq 100); do
        url=$(sed -n 's/.*\(http:\/\/127\.0\.0\.1:[0-9]*\).*/\1/p' "$work/server.log" | head -n 1)
        [ -n "$url" ] && curl -sf -o /dev/null "$url/health" && return
        sleep 0.1
    done
    echo 'the server does not answer:' >&2
    cat "$work/server.log" "$work/access.log" >&2
    exit 1
}

# What was installed last time serves again as long as the lists are the same.
python_packages() {
    cmp -s "$tools/requirements.txt" "$work/venv/complete" && return
    rm -rf "$work/venv"
    python3 -m venv "$work/venv" >"$work/venv.log" 2>&1 &&
        "$work/venv/bin/pip" install -q -r "$tools/requirements.txt" >"$work/pip.log" 2>&1 &&
        cp "$tools/requirements.txt" "$work/venv/complete"
}

node_packages() {
    command -v npm >/dev/null || return
    mkdir -p "$work/node"
    cp "$tools/package.json" "$tools"/*.mjs "$work/node/"
    cmp -s "$tools/package.json" "$work/node/complete" && return
    (cd "$work/node" && npm install --silent --no-audit --no-fund) >"$work/npm.log" 2>&1 && cp "$tools/package.json" "$work/node/complete"
}

start_server
count python3 "$tools/load.py" "$url" $key $server
if python_packages; then
    count "$work/venv/bin/python" "$tools/clients.py" "$url" $key
else
    skip "the Python packages cannot be had ($work/pip.log)"
fi
if node_packages; then
    count node "$work/node/clients.mjs" "$url" $key
    chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
    if [ -n "$chromium" ]; then
        count node "$work/node/page.mjs" "$url" $key "$chromium" "$work"
    else
        skip "there is no Chromium for the web page"
    fi
else
    skip "the Node packages cannot be had ($work/npm.log)"
fi
kill $server
wait $server || true
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
