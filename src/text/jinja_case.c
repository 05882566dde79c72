/* jinja_case.c - upper, lower and title case of whole strings, and what repr may print.
 *
 * Owns case as Python has it: full mappings (one character may become three), the final sigma, and three
 * different ideas of a title. The numbers are in jinja_case_data.c. */
#include "text/jinja_case.h"
#include "text/jinja_internal.h"

#include "base/utf8.h"

static bool in_ranges(const struct jj_char_range *t, int n, uint32_t cp)
{
    int lo = 0, hi = n - 1;
    while (lo <= hi) {
        int mid = (lo + hi) / 2;
        if (cp < t[mid].first)
            hi = mid - 1;
        else if (cp > t[mid].last)
            lo = mid + 1;
        else
            return true;
    }
    return false;
}

/* The character that cp becomes by a table of ranges, each with a distance and a stride. */
static uint32_t map_by(const struct jj_case_range *t, int n, uint32_t cp)
{
    int lo = 0, hi = n - 1;
    while (lo <= hi) {
        int mid = (lo + hi) / 2;
        if (cp < t[mid].first)
            hi = mid - 1;
        else if (cp > t[mid].last)
            lo = mid + 1;
        else
            return (cp - t[mid].first) % t[mid].stride == 0 ? (uint32_t)((int32_t)cp + t[mid].delta) : cp;
    }
    return cp;
}

static uint32_t simple(uint32_t cp, enum jj_case how)
{
    if (cp < 0x80) {
        if (how == JJ_LOWER) return cp - 'A' < 26u ? cp + 32 : cp;
        return cp - 'a' < 26u ? cp - 32 : cp;
    }
    if (how == JJ_LOWER) return map_by(jj_case_lower, jj_case_lower_count, cp);
    if (how == JJ_CAPITALIZE)
        for (int i = 0; i < jj_case_title_count; i++)
            if (jj_case_title[i].cp == cp) return jj_case_title[i].to[0];
    return map_by(jj_case_upper, jj_case_upper_count, cp);
}

/* Full mapping, 1..3 characters. */
static int char_map(uint32_t cp, enum jj_case how, uint32_t out[3])
{
    const struct jj_case_special *t = how == JJ_LOWER   ? jj_case_lower_special
                                      : how == JJ_UPPER ? jj_case_upper_special
                                                        : jj_case_title_special;
    int n = how == JJ_LOWER   ? jj_case_lower_special_count
            : how == JJ_UPPER ? jj_case_upper_special_count
                              : jj_case_title_special_count;
    for (int i = 0; cp >= 0x80 && i < n; i++) {
        if (t[i].cp != cp) continue;
        int len = 0;
        while (len < 3 && t[i].to[len]) {
            out[len] = t[i].to[len];
            len++;
        }
        return len;
    }
    out[0] = simple(cp, how);
    return 1;
}

bool jj_char_printable(uint32_t cp)
{
    if (cp < 0x80) return cp >= 0x20 && cp != 0x7F;
    return !in_ranges(jj_case_unprintable, jj_case_unprintable_count, cp);
}

bool jj_char_is_upper(uint32_t cp)
{
    if (cp < 0x80) return cp - 'A' < 26u;
    return in_ranges(jj_case_is_upper, jj_case_is_upper_count, cp);
}

bool jj_char_is_lower(uint32_t cp)
{
    if (cp < 0x80) return cp - 'a' < 26u;
    return in_ranges(jj_case_is_lower, jj_case_is_lower_count, cp);
}

bool jj_char_is_title(uint32_t cp) { return in_ranges(jj_case_is_title, jj_case_is_title_count, cp); }

static bool is_cased(uint32_t cp)
{
    return jj_char_is_upper(cp) || jj_char_is_lower(cp) || jj_char_is_title(cp);
}

static bool is_ignorable(uint32_t cp) { return in_ranges(jj_case_ignorable, jj_case_ignorable_count, cp); }

/* A sigma ends a word if the nearest character that counts before it is cased and the nearest after it is
 * not. */
static bool final_sigma(const char *p, size_t n, size_t at)
{
    uint32_t cp = 0;
    size_t i = at;
    bool before = false;
    while (i > 0) {
        do i--;
        while (i > 0 && ((unsigned char)p[i] & 0xC0) == 0x80);
        utf8_decode(p + i, n - i, &cp);
        if (is_ignorable(cp)) continue;
        before = is_cased(cp);
        break;
    }
    if (!before) return false;
    for (i = at + 2; i < n;) {
        i += (size_t)utf8_decode(p + i, n - i, &cp);
        if (!is_ignorable(cp)) return !is_cased(cp);
    }
    return true;
}

/* The character of [p, p+n) that stands at `at`, mapped: returns the bytes written. */
static size_t write_mapped(const char *p, size_t n, size_t at, uint32_t cp, enum jj_case how, char *bytes)
{
    uint32_t out[3] = {cp};
    int len = 0, count = 1;
    if (how == JJ_LOWER && cp == 0x3A3)
        out[0] = final_sigma(p, n, at) ? 0x3C2 : 0x3C3;
    else
        count = char_map(cp, how, out);
    for (int i = 0; i < count; i++) len += utf8_encode(out[i], bytes + len);
    return (size_t)len;
}

static bool ends_word(uint32_t cp)
{
    return jj_is_space(cp) || cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<';
}

bool jj_str_case(struct jj_run *r, struct jj_value s, enum jj_case how, struct jj_value *ret)
{
    const char *p = s.s->p;
    size_t n = s.s->n, mark = r->out->len, word = 0; /* word: where the context of a sigma begins */
    char block[256];
    size_t used = 0;
    bool first = true;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        size_t len = (size_t)utf8_decode(p + i, n - i, &cp);
        enum jj_case now = how;
        if (how == JJ_TITLE_FILTER) {
            if (ends_word(cp)) first = true;
            now = first ? JJ_UPPER : JJ_LOWER;
            first = ends_word(cp);
        } else if (how == JJ_CAPITALIZE || how == JJ_TITLE_METHOD) {
            now = first ? JJ_CAPITALIZE : JJ_LOWER;
            first = how == JJ_TITLE_METHOD && !is_cased(cp);
        }
        used += write_mapped(p + word, n - word, i - word, cp, now, block + used);
        i += len;
        if (how == JJ_TITLE_FILTER && now == JJ_UPPER) word = i;
        if (used < sizeof block - 12) continue;
        if (!jj_put(r, block, used) || !jj_step(r, used / 8)) return false;
        used = 0;
    }
    if (!jj_put(r, block, used) || !jj_marks_spread(r, s.s, mark) || !jj_take(r, mark, ret)) return false;
    ret->flag = s.flag;
    return true;
}
