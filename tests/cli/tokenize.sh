#!/bin/sh
# tokenize: the whole of standard input both ways, added tokens as asked, bad input refused by name.
# shellcheck disable=SC1091,SC2154 # $alula and $dir come from helpers
set -eu
. tests/cli/helpers
model=models/tiny-trunk

# Not a line at a time, nothing added, nothing lost: line breaks, no line break at the end, NUL, marks, emoji.
printf 'two lines\n\nand a third, na\303\257ve \360\237\246\205 \000 end' >"$dir/text"
expect 0 tokenize $model <"$dir/text"
grep -qE '^\[[0-9]+(, [0-9]+)*\]$' "$dir/out" || fail "not one array on one line: $(cat "$dir/out")"
cp "$dir/out" "$dir/ids"
expect 0 tokenize $model --decode <"$dir/ids"
cmp "$dir/text" "$dir/out" || fail "text and ids do not go round"

expect 0 tokenize $model </dev/null
prints '[]'
echo '[]' >"$dir/ids"
expect 0 tokenize $model --decode <"$dir/ids"
[ ! -s "$dir/out" ] || fail "no ids gave text: $(cat "$dir/out")"

# An added token is one id, or plain text with --no-special.
printf '<|im_end|>' >"$dir/text"
expect 0 tokenize $model <"$dir/text"
[ "$(cat "$dir/out")" = '[2041]' ] || fail "<|im_end|> gave $(cat "$dir/out")"
expect 0 tokenize $model --no-special <"$dir/text"
grep -q ', ' "$dir/out" || fail "--no-special gave one id: $(cat "$dir/out")"
cp "$dir/out" "$dir/ids"
expect 0 tokenize $model --decode <"$dir/ids"
cmp "$dir/text" "$dir/out"

printf 'abc\377def' >"$dir/text"
expect 1 tokenize $model <"$dir/text"
says 'standard input'
for bad in '' '{}' '[1' '[1.5]' '[-1]' '["a"]' '[4294967296]' '[1] [2]' '[[[1]]]'; do
    printf '%s' "$bad" >"$dir/text"
    expect 1 tokenize $model --decode <"$dir/text"
    says 'standard input'
done
echo '[1, 999999]' >"$dir/text"
expect 1 tokenize $model --decode <"$dir/text"
says 'entry 1 is 999999'

expect 2 tokenize
says "needs DIR"
expect 2 tokenize $model extra </dev/null
says "'extra'"
expect 2 tokenize $model --decode --no-special </dev/null
says '--no-special'
expect 1 tokenize no/such/folder </dev/null
says 'no/such/folder'
