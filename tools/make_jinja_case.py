#!/usr/bin/env python3
"""Writes src/text/jinja_case_data.c from the Unicode data of the Python that runs it (3.11: Unicode 14, what the templates' reference uses).
Not part of the build; run it by hand: tools/make_jinja_case.py > src/text/jinja_case_data.c"""
import unicodedata

CHARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(keep, start=0x80):
    out = []
    for c in range(start, 0x110000):
        if not keep(c):
            continue
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def case_ranges(pairs):
    """Runs of equal distance, of stride 1 or 2."""
    out = []
    for c, to in sorted(pairs.items()):
        d = to - c
        if out:
            first, last, delta, stride = out[-1]
            if d == delta and (c - last == stride or (first == last and c - last <= 2)):
                out[-1] = [first, c, delta, c - last]
                continue
        out.append([c, c, d, 1])
    return out


def emit(kind, name, rows):
    print(f"\nconst struct {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        cell = " {" + ", ".join(x if isinstance(x, str) else (hex(x) if abs(x) > 9 else str(x)) for x in row) + "},"
        if len(line) + len(cell) > 110:
            print(line)
            line = "   "
        line += cell
    print(line + "\n};")
    print(f"const int {name}_count = {len(rows)};")


def special(rows):
    return [[c, "{" + ", ".join(hex(ord(x)) for x in to) + "}"] for c, to in rows]


def ignorable(c):
    """A sigma looks past c: it is final after 'A' and c, and not after '1' and c."""
    final = [(start + chr(c) + "\u03a3").lower()[-1] == "\u03c2" for start in "A1"]
    return final == [True, False]


upper, lower, titles = {}, {}, []
up_special, low_special, title_special = [], [], []
for c in CHARS[0x80:]:
    s = chr(c)
    if s.upper() != s:
        if len(s.upper()) > 1: up_special.append((c, s.upper()))
        else: upper[c] = ord(s.upper())
    if s.lower() != s and c != 0x3A3:
        if len(s.lower()) > 1: low_special.append((c, s.lower()))
        else: lower[c] = ord(s.lower())
    if len(s.title()) > 1: title_special.append((c, s.title()))
    elif s.title() != (s.upper() if len(s.upper()) == 1 else s): titles.append((c, s.title()))

print(f"""/* jinja_case_data.c - tables of letter case and of what repr prints (Unicode {unicodedata.unidata_version}).
 *
 * Written by tools/make_jinja_case.py; edit that. Owns the numbers, knows nothing else. */
#include "text/jinja_case.h\"""")
emit("jj_case_range", "jj_case_upper", case_ranges(upper))
emit("jj_case_range", "jj_case_lower", case_ranges(lower))
emit("jj_case_special", "jj_case_upper_special", special(up_special))
emit("jj_case_special", "jj_case_lower_special", special(low_special))
emit("jj_case_special", "jj_case_title_special", special(title_special))
emit("jj_case_special", "jj_case_title", special(titles))
emit("jj_char_range", "jj_case_unprintable", ranges(lambda c: not chr(c).isprintable()))
emit("jj_char_range", "jj_case_is_upper", ranges(lambda c: chr(c).isupper()))
emit("jj_char_range", "jj_case_is_lower", ranges(lambda c: chr(c).islower()))
emit("jj_char_range", "jj_case_is_title", ranges(lambda c: unicodedata.category(chr(c)) == "Lt"))
emit("jj_char_range", "jj_case_ignorable", ranges(lambda c: not 0xD800 <= c < 0xE000 and ignorable(c), 0))
