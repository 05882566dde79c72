#!/bin/sh
# probe: what a newcomer sees of the two bundled folders, the command to type, and what is said of folders that are none.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers

expect 0 probe models/tiny-trunk
prints 'Qwen3.5-MoE'
prints 'missing: config.json declares one, but there is no tensor of it'
prints 'alula probe models/tiny-trunk DONOR'
expect 0 probe models/tiny-trunk models/tiny-donor
prints 'yes: 19 tensors, fused experts'
prints 'alula forge --trunk models/tiny-trunk --mtp models/tiny-donor --out tiny-trunk-mtp-4bit'
if grep -q "$(printf '\033')" "$dir/out"; then fail 'colour, and no terminal'; fi
# On a terminal, where script(1) can make one, there is colour unless the user wants none.
if command -v script >/dev/null; then
    script -qec "NO_COLOR= $alula probe models/tiny-trunk" /dev/null >"$dir/tty" </dev/null
    grep -q "$(printf '\033')" "$dir/tty" || fail 'no colour on a terminal'
    script -qec "NO_COLOR=1 $alula probe models/tiny-trunk" /dev/null >"$dir/tty" </dev/null
    if grep -q "$(printf '\033')" "$dir/tty"; then fail 'colour in spite of NO_COLOR'; fi
fi

# The advice is meant to be typed as it stands.
command=$(grep -- --mtp "$dir/out" | sed 's/^ *alula //; s/--out .*//')
# shellcheck disable=SC2086
expect 0 $command --out "$dir/forged" --no-verify
expect 0 probe "$dir/forged" --json
prints '"verdict": "already_mtplx"'
prints '"config_and_tensors_agree": true'

expect 0 probe models/tiny-trunk tests/data/layouts/donor
prints 'no: '
prints '(trunk: 192)'
expect 1 probe "$dir/nothing"
prints 'no such'
expect 1 probe "$dir/nothing" models/tiny-trunk
prints 'numbered experts'
expect 2 probe
says 'DIR'
