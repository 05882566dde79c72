#!/bin/sh
# Does what alula writes under a JSON schema fit it? python-jsonschema says. Usage: check_schemas.sh BUILD [COUNT] [SEED]. Makes
# a virtual environment of pinned packages in BUILD/interop/schemas. Without them nothing can be said: that is SKIPPED, aloud,
# and no failure.
set -eu
cd "$(dirname "$0")/../.."
venv=$1/interop/schemas
skip() {
    echo "check_schemas: SKIPPED, nothing was checked: $1" >&2
    exit 0
}
if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    mkdir -p "$1/interop"
    python3 -m venv "$venv" >"$1/interop/schemas.log" 2>&1 ||
        skip "no virtual environment can be made ($1/interop/schemas.log)"
    "$venv/bin/pip" install -q -r tools/interop/requirements-schemas.txt >>"$1/interop/schemas.log" 2>&1 ||
        skip "the packages cannot be had ($1/interop/schemas.log)"
    touch "$venv/complete"
fi
"$venv/bin/python" tools/interop/check_schemas.py "$1/alula" "${2:-500}" "${3:-1}"
