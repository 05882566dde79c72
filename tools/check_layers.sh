#!/bin/sh
# Fails if a layer includes one to its right. The order, left to right, is the line `layers`; two folders joined
# by a comma stand side by side and do not see each other. tests/ may include anything.
# Names in this tree have no blanks, so loops over words are safe.
# shellcheck disable=SC2044,SC2013
set -eu
cd "$(dirname "$0")/.."
layers='base kern artifact,text model decode forge tune serve cli'
status=0
allowed='base'
for group in $layers; do
    members=$(echo "$group" | tr ',' ' ')
    for layer in $members; do
        for file in $(find "src/$layer" -name '*.[ch]' 2>/dev/null); do
            for inc in $(sed -n 's/^#include "\([a-z]*\)\/.*/\1/p' "$file"); do
                case " $allowed $layer " in
                *" $inc "*) ;;
                *)
                    echo "$file includes $inc/, which stands to the right of $layer/ (or beside it)" >&2
                    status=1
                    ;;
                esac
            done
        done
    done
    allowed="$allowed $members"
done
dup=$(find src -name '*.[ch]' -exec basename {} \; | sort | uniq -d)
if [ -n "$dup" ]; then
    echo "file names must be unique in the tree: $dup" >&2
    status=1
fi
exit $status
