#!/bin/sh
# doctor: what it says of the machine, that its speeds are called an estimate, a verdict about the memory, a command that can be
# typed next, and the keys of its JSON. No speed is asserted.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers

expect 0 doctor --threads 1
for text in processor CPUs kernels memory reads plain MTP estimate verdict next 'alula bench --synthetic'; do
    prints "$text"
done
# What it says to type is a command with options that exist.
next=$(sed -n 's/^ *alula \(bench .*\)/\1/p' "$dir/out" | head -n 1)
[ -n "$next" ] || fail "no command to type next"
# shellcheck disable=SC2086 # words
expect 0 $next --help

expect 0 doctor --threads 1 --json
for key in machine cpu cpus memory_bytes available_bytes limit_bytes instruction_sets kernels threads read_gbs read_gbs_min \
    estimate plain_tok_s mtp_tok_s acceptance plain_bound_share needed_bytes fits; do
    prints "\"$key\":"
done

expect 2 doctor --threads 0
says '--threads'
expect 2 doctor models/tiny-trunk
