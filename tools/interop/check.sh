#!/bin/sh
# Do MLX's programs read what alula forges, and alula what MTPLX forges? Usage: check.sh BUILD. Makes a virtual environment of
# pinned packages in BUILD/interop/venv. Without them nothing can be said: that is SKIPPED, aloud, and no failure.
set -eu
cd "$(dirname "$0")/../.."
work=$1/interop
venv=$work/venv
mkdir -p "$work"
skip() {
    echo "SKIPPED, nothing was checked: $1"
    echo '0 passed, 0 failed'
    exit 0
}
if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >"$work/venv.log" 2>&1 || skip "no virtual environment can be made ($work/venv.log)"
    "$venv/bin/pip" install -q -r tools/interop/requirements.txt >"$work/pip.log" 2>&1 ||
        skip "the packages cannot be had ($work/pip.log)"
    touch "$venv/complete"
fi
"$venv/bin/python" tools/interop/check.py "$1/alula" "$work" "$venv/bin/mtplx"
