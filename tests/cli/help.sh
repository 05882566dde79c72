#!/bin/sh
# Every command has help with examples; man page and completion know every command; wrong use exits 2 and names what was wrong.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers

expect 0 --version
grep -qE '^alula [0-9]+\.[0-9]+\.[0-9]+$' "$dir/out" || fail "not a version: $(cat "$dir/out")"

expect 0 --help
cp "$dir/out" "$dir/program"
expect 0 help
cmp -s "$dir/out" "$dir/program" || fail "'alula help' and 'alula --help' differ"
commands=$(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' "$dir/program")
[ -n "$commands" ] || fail "no commands are listed: $(cat "$dir/program")"

expect 0 help --man
cp "$dir/out" "$dir/man"
expect 0 help --completion bash
bash -n "$dir/out" || fail "the completion script does not parse"
cp "$dir/out" "$dir/completion"
for command in $commands; do
    expect 0 "$command" --help
    prints "Usage: alula $command"
    prints "Examples:"
    cp "$dir/out" "$dir/one"
    expect 0 help "$command"
    cmp -s "$dir/out" "$dir/one" || fail "'alula help $command' and 'alula $command --help' differ"
    grep -qF "\"alula $command" "$dir/man" || fail "the man page lacks '$command'"
    grep -qF "'$command')" "$dir/completion" || fail "the completion lacks '$command'"
    expect 2 "$command" --no-such-option
    says "--no-such-option"
done

# The completion offers commands at the first word and options behind it.
words=$(bash -c '. "$0"; COMP_WORDS=(alula he) COMP_CWORD=1; _alula; echo "${COMPREPLY[*]}"' "$dir/completion")
[ "$words" = help ] || fail "completing 'alula he' gives '$words'"
words=$(bash -c '. "$0"; COMP_WORDS=(alula help --comp) COMP_CWORD=2; _alula; echo "${COMPREPLY[*]}"' "$dir/completion")
[ "$words" = --completion ] || fail "completing 'alula help --comp' gives '$words'"

expect 2
says "no command"
expect 2 hlep
says "did you mean 'help'?"
expect 2 help nonsense
says "'nonsense' is no command"
expect 2 help --completion fish
says "--completion: found 'fish'"
expect 2 help help me
says "no sub-command 'me'"

# A full disk under the output is noticed.
if [ -w /dev/full ]; then
    got=0
    "$alula" help >/dev/full 2>"$dir/err" || got=$?
    [ $got -eq 1 ] || fail "writing to a full disk exits $got"
    says "cannot write to standard output: No space left on device"
fi
got=0
"$alula" help >&- 2>"$dir/err" || got=$?
[ $got -eq 1 ] || fail "writing to a closed standard output exits $got"
says "cannot write to standard output"
