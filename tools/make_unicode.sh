#!/bin/sh
# Writes the C tables of src/text/unicode_data.c from tools/unicode.txt:
#
#     sh tools/make_unicode.sh > src/text/unicode_data.c
#
# tests/cli/unicode_data.sh checks that the file in the tree is what comes out here.
set -eu
LC_ALL=C
export LC_ALL
data=$(dirname "$0")/unicode.txt

# Code points from which NFC can differ from the text itself, as ranges: class not 0, decompositions that stay apart, second halves
# of pairs, and the Hangul vowels and final consonants, which compose by rule.
special()
{
    awk '
    function hex(s, n, i) {
        n = 0
        for (i = 1; i <= length(s); i++)
            n = n * 16 + index("0123456789abcdef", substr(s, i, 1)) - 1
        return n
    }
    function mark(first, last) {
        for (; first <= last; first++)
            seen[first] = 1
        if (last > top)
            top = last
    }
    BEGIN { mark(hex("001161"), hex("001175")); mark(hex("0011a8"), hex("0011c2")) }
    $1 == "ccc" { mark(hex($2), hex($3)) }
    $1 == "split" { mark(hex($2), hex($2)) }
    $1 == "pair" { mark(hex($4), hex($4)) }
    END {
        for (c = 0; c <= top + 1; c++) {
            if ((c in seen) && !((c - 1) in seen))
                first = c
            if (!(c in seen) && ((c - 1) in seen))
                printf "%06x %06x\n", first, c - 1
        }
    }' "$data"
}

# pack WIDTH: joins the entries read from standard input into lines of WIDTH entries.
pack()
{
    awk -v width="$1" '
    { printf "%s%s", (NR % width == 1 ? "    " : " "), $0; if (NR % width == 0) printf "\n" }
    END { if (NR % width) printf "\n" }'
}

table() # table "DECLARATION" WIDTH, entries from standard input
{
    echo
    echo "const $1[] = {"
    pack "$2"
    echo "};"
}

count() { printf 'const int %s_count = %d;\n' "$1" "$2"; }

cat <<'END'
/* unicode_data.c - tables of character classes (Unicode 16.0) and of NFC (Unicode 9.0).
 *
 * Written by tools/make_unicode.sh from tools/unicode.txt; edit those. Owns the numbers, knows nothing else. */
#include "text/unicode.h"
END

awk '$1 == "class" {
    name["L"] = "UNICODE_LETTER"; name["M"] = "UNICODE_MARK"; name["N"] = "UNICODE_NUMBER"; name["S"] = "UNICODE_SPACE"
    printf "{0x%s, 0x%s, %s},\n", $2, $3, name[$4]
}' "$data" | table 'struct unicode_range unicode_classes' 2
count unicode_classes "$(grep -c '^class ' "$data")"

awk '$1 == "ccc" { printf "{0x%s, 0x%s, %d},\n", $2, $3, $4 }' "$data" |
    table 'struct unicode_range unicode_combining_classes' 4
count unicode_combining_classes "$(grep -c '^ccc ' "$data")"

special | awk '{ printf "{0x%s, 0x%s, 1},\n", $1, $2 }' | table 'struct unicode_range unicode_nfc_specials' 4
count unicode_nfc_specials "$(special | wc -l)"

awk '$1 == "pair" || $1 == "split" { printf "{0x%s, 0x%s, 0x%s},\n", $2, $3, (NF == 4 ? $4 : "0") }' "$data" |
    table 'struct unicode_decomposition unicode_decompositions' 4
count unicode_decompositions "$(grep -c -e '^pair ' -e '^split ' "$data")"

awk '$1 == "pair" || $1 == "split" { n++ } $1 == "pair" { print $3, $4, n - 1 }' "$data" | sort |
    awk '{ print $3 "," }' | table 'uint16_t unicode_pairs' 18
count unicode_pairs "$(grep -c '^pair ' "$data")"
