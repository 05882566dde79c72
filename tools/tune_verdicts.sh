#!/bin/sh
# How steady tune's verdict is: runs it RUNS times, shortly, and counts the verdicts. Without DIR on the bundled pair, freshly
# forged, by one thread. Needs a quiet machine; runs that find it busy are counted as such.
# Usage: tune_verdicts.sh ALULA [RUNS [DIR [OPTION...]]]
set -eu
alula=$1 runs=${2:-40}
[ $# -lt 3 ] || shift
[ $# -lt 2 ] || shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ $# -lt 1 ] || [ ! -d "$1" ]; then
    top=$(dirname "$0")/..
    "$alula" forge --trunk "$top/models/tiny-trunk" --mtp "$top/models/tiny-donor" --out "$work/model" --no-verify >/dev/null
    set -- "$work/model" --threads 1
fi
i=0
while [ $((i += 1)) -le "$runs" ]; do
    if "$alula" tune "$@" --no-save --json >"$work/json" 2>/dev/null; then
        sed -n 's/.*"verdict": "\([a-z_]*\)".*/\1/p' "$work/json"
    else
        echo 'none: the machine was busy'
    fi
done | sort | uniq -c
