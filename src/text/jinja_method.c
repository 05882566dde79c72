/* jinja_method.c - methods of strings, lists and dicts.
 *
 * Owns which names are methods of which kind. Whatever would change a value is known and refused
 * ("unsafe"), as in the sandbox of the reference; what Python has and templates do not use is known and
 * refused by name, so that it never reads as an undefined value. */
#include "text/jinja_internal.h"

#include "base/utf8.h"
#include "text/unicode.h"

#include <string.h>

#define METHOD(name)                                                                                         \
    static bool name(struct jj_run *r, struct jj_value self, const struct jj_value *a, struct jj_value *ret)

static bool is_absent(struct jj_value v) { return v.kind == JJ_MISSING || v.kind == JJ_NONE; }

/* ---- strip and case ------------------------------------------------------------------------------------ */

METHOD(str_strip) { return jj_str_strip(r, self, a[0], true, true, ret); }
METHOD(str_lstrip) { return jj_str_strip(r, self, a[0], true, false, ret); }
METHOD(str_rstrip) { return jj_str_strip(r, self, a[0], false, true, ret); }

#define CASE_METHOD(name, how)                                                                               \
    METHOD(name)                                                                                             \
    {                                                                                                        \
        (void)a;                                                                                             \
        return jj_str_case(r, self, how, ret);                                                               \
    }

CASE_METHOD(str_upper, JJ_UPPER)
CASE_METHOD(str_lower, JJ_LOWER)
CASE_METHOD(str_capitalize, JJ_CAPITALIZE)
CASE_METHOD(str_title, JJ_TITLE_METHOD)

/* ---- split --------------------------------------------------------------------------------------------- */

struct split {
    struct jj_run *r;
    struct jj_items items;
    uint8_t safe;
};

static bool add_piece(struct split *s, const char *p, size_t n)
{
    struct jj_value v;
    if (!jj_str_view(s->r, p, n, &v)) return false;
    v.flag = s->safe;
    return jj_items_add(s->r, &s->items, v);
}

static bool split_by(struct split *s, const char *p, size_t n, const struct jj_str *sep, int64_t max)
{
    for (; max != 0; max--) {
        size_t at = jj_find(p, n, sep->p, sep->n);
        if (at == SIZE_MAX) break;
        if (!add_piece(s, p, at)) return false;
        p += at + sep->n;
        n -= at + sep->n;
    }
    return add_piece(s, p, n);
}

static size_t word_length(const char *p, size_t n)
{
    size_t i = 0;
    uint32_t cp = 0;
    for (int len; i < n && (len = utf8_decode(p + i, n - i, &cp)) && !jj_is_space(cp);) i += (size_t)len;
    return i;
}

static bool split_words(struct split *s, const char *p, size_t n, int64_t max)
{
    for (;; max--) {
        size_t skip = jj_space_before(p, n);
        p += skip;
        n -= skip;
        if (n == 0) return true;
        if (max == 0) return add_piece(s, p, n);
        size_t len = word_length(p, n);
        if (!add_piece(s, p, len)) return false;
        p += len;
        n -= len;
    }
}

static void reverse(struct jj_items *a)
{
    for (size_t i = 0, j = a->n; i + 1 < j; i++) {
        struct jj_value v = a->v[i];
        a->v[i] = a->v[--j];
        a->v[j] = v;
    }
}

/* The last place of sep, SIZE_MAX = none. Looks at every place that its last byte ends, and pays for each. */
static bool find_last(struct jj_run *r, const char *p, size_t n, const struct jj_str *sep, size_t *ret)
{
    *ret = sep->n == 0 ? n : SIZE_MAX;
    while (sep->n > 0 && n >= sep->n) {
        const char *end = memrchr(p + sep->n - 1, sep->p[sep->n - 1], n - sep->n + 1);
        if (!jj_step(r, 1 + sep->n / 64)) return false;
        if (!end) break;
        n = (size_t)(end - p);
        if (memcmp(end + 1 - sep->n, sep->p, sep->n) != 0) continue;
        *ret = n + 1 - sep->n;
        break;
    }
    return true;
}

static bool rsplit_by(struct split *s, const char *p, size_t n, const struct jj_str *sep, int64_t max)
{
    for (; max != 0; max--) {
        size_t at;
        if (!find_last(s->r, p, n, sep, &at)) return false;
        if (at == SIZE_MAX) break;
        if (!add_piece(s, p + at + sep->n, n - at - sep->n)) return false;
        n = at;
    }
    return add_piece(s, p, n);
}

static bool rsplit_words(struct split *s, const char *p, size_t n, int64_t max)
{
    for (;; max--) {
        n -= jj_space_after(p, n);
        if (n == 0) return true;
        if (max == 0) return add_piece(s, p, n);
        size_t from = n;
        while (from > 0 && jj_space_after(p, from) == 0) do
                from--;
            while (from > 0 && ((unsigned char)p[from] & 0xC0) == 0x80);
        if (!add_piece(s, p + from, n - from)) return false;
        n = from;
    }
}

static bool split(struct jj_run *r, struct jj_value self, const struct jj_value *a, bool back,
                  struct jj_value *ret)
{
    const struct jj_str *text = self.s, *sep = NULL;
    struct split s = {.r = r, .safe = self.flag};
    int64_t max = -1;
    bool ok;
    if (!is_absent(a[0]) && !jj_arg_str(r, a[0], "the separator of split", &sep)) return false;
    if (sep && sep->n == 0) return jj_fail(r, ALULA_FORMAT, "split: an empty separator");
    if (a[1].kind != JJ_MISSING && !jj_arg_int(r, a[1], "maxsplit", &max)) return false;
    if (!jj_step(r, text->n / (sep ? 64 : 8))) return false;
    if (back)
        ok = sep ? rsplit_by(&s, text->p, text->n, sep, max) : rsplit_words(&s, text->p, text->n, max);
    else
        ok = sep ? split_by(&s, text->p, text->n, sep, max) : split_words(&s, text->p, text->n, max);
    if (!ok) return false;
    if (back) reverse(&s.items);
    return jj_items_list(r, &s.items, JJ_LIST, ret);
}

METHOD(str_split) { return split(r, self, a, false, ret); }
METHOD(str_rsplit) { return split(r, self, a, true, ret); }

METHOD(str_splitlines)
{
    struct split s = {.r = r, .safe = self.flag};
    bool keep = jj_truth(a[0]);
    for (size_t i = 0, text, line; i < self.s->n; i += line) {
        jj_line_end(self.s->p + i, self.s->n - i, &text, &line);
        if (!add_piece(&s, self.s->p + i, keep ? line : text)) return false;
    }
    return jj_items_list(r, &s.items, JJ_LIST, ret);
}

static bool partition(struct jj_run *r, struct jj_value self, struct jj_value by, bool back,
                      struct jj_value *ret)
{
    const struct jj_str *s = self.s, *sep;
    struct split parts = {.r = r};
    if (!jj_arg_str(r, by, "the separator of partition", &sep)) return false;
    if (sep->n == 0) return jj_fail(r, ALULA_FORMAT, "partition: an empty separator");
    size_t at = jj_find(s->p, s->n, sep->p, sep->n);
    if (back && !find_last(r, s->p, s->n, sep, &at)) return false;
    bool found = at != SIZE_MAX;
    size_t head = found ? at : back ? 0 : s->n, mid = found ? sep->n : 0;
    return jj_step(r, s->n / 64) && add_piece(&parts, s->p, head) && add_piece(&parts, s->p + head, mid) &&
           add_piece(&parts, s->p + head + mid, s->n - head - mid) &&
           jj_items_list(r, &parts.items, JJ_TUPLE, ret);
}

METHOD(str_partition) { return partition(r, self, a[0], false, ret); }
METHOD(str_rpartition) { return partition(r, self, a[0], true, ret); }

/* ---- searching ----------------------------------------------------------------------------------------- */

/* The part of self between code points a[0] and a[1], negative from the end; *ok false if it begins behind
 * the end. */
static bool window(struct jj_run *r, const struct jj_str *s, const struct jj_value *a, size_t *from,
                   size_t *to, bool *ok)
{
    *from = 0;
    *to = s->n;
    *ok = true;
    if (is_absent(a[0]) && is_absent(a[1])) return true;
    if (!jj_str_count(r, s)) return false;
    int64_t n = (int64_t)s->chars, b[2] = {0, n};
    for (int i = 0; i < 2; i++) {
        if (is_absent(a[i])) continue;
        if (!jj_arg_int(r, a[i], "start and end", &b[i])) return false;
        if (b[i] < 0) b[i] = b[i] < -n ? 0 : b[i] + n;
    }
    if (b[1] > n) b[1] = n;
    *ok = b[0] <= b[1];
    *from = *ok ? jj_char_offset(s, (size_t)b[0]) : 0;
    *to = *ok ? jj_char_offset(s, (size_t)b[1]) : 0;
    return jj_step(r, s->n / 64);
}

static bool find(struct jj_run *r, struct jj_value self, const struct jj_value *a, bool back, int64_t *ret)
{
    const struct jj_str *what;
    size_t from, to;
    bool ok;
    *ret = -1;
    if (!jj_arg_str(r, a[0], "the text to find", &what) || !window(r, self.s, a + 1, &from, &to, &ok))
        return false;
    if (!ok) return true;
    const char *p = self.s->p + from;
    if (!jj_step(r, (to - from) / 64)) return false;
    size_t at = jj_find(p, to - from, what->p, what->n);
    if (back && !find_last(r, p, to - from, what, &at)) return false;
    if (at != SIZE_MAX) *ret = (int64_t)jj_count_chars(self.s->p, from + at);
    return true;
}

METHOD(str_find)
{
    int64_t at;
    if (!find(r, self, a, false, &at)) return false;
    *ret = jj_int(at);
    return true;
}

METHOD(str_rfind)
{
    int64_t at;
    if (!find(r, self, a, true, &at)) return false;
    *ret = jj_int(at);
    return true;
}

static bool found(struct jj_run *r, int64_t at, struct jj_value *ret)
{
    *ret = jj_int(at);
    return at >= 0 || jj_fail(r, ALULA_FORMAT, "index: the text does not occur");
}

METHOD(str_index)
{
    int64_t at;
    return find(r, self, a, false, &at) && found(r, at, ret);
}

METHOD(str_rindex)
{
    int64_t at;
    return find(r, self, a, true, &at) && found(r, at, ret);
}

METHOD(str_count)
{
    const struct jj_str *what;
    size_t from, to, at;
    int64_t n = 0;
    bool ok;
    if (!jj_arg_str(r, a[0], "the text to count", &what) || !window(r, self.s, a + 1, &from, &to, &ok))
        return false;
    if (ok && what->n == 0) n = (int64_t)jj_count_chars(self.s->p + from, to - from) + 1;
    for (; ok && what->n && (at = jj_find(self.s->p + from, to - from, what->p, what->n)) != SIZE_MAX; n++)
        from += at + what->n;
    *ret = jj_int(n);
    return jj_step(r, self.s->n / 64);
}

static bool has_affix(const char *p, size_t n, const struct jj_str *affix, bool end)
{
    return affix->n <= n && (affix->n == 0 || memcmp(end ? p + n - affix->n : p, affix->p, affix->n) == 0);
}

/* The affix may be a tuple of strings, any of which will do; a list may not. */
static bool affix_test(struct jj_run *r, struct jj_value self, const struct jj_value *a, bool end,
                       struct jj_value *ret)
{
    const struct jj_str *affix;
    size_t from, to;
    bool ok, any = false;
    struct jj_list one = {.v = a, .n = 1};
    const struct jj_list *all = a[0].kind == JJ_TUPLE ? a[0].l : &one;
    if (!window(r, self.s, a + 1, &from, &to, &ok)) return false;
    for (size_t i = 0; i < all->n && !any; i++) {
        if (all->v[i].kind == JJ_STR && !jj_step(r, 1 + all->v[i].s->n / 64)) return false;
        if (!jj_arg_str(r, all->v[i], end ? "the argument of endswith" : "the argument of startswith",
                        &affix))
            return false;
        any = ok && has_affix(self.s->p + from, to - from, affix, end);
    }
    *ret = jj_bool(any);
    return true;
}

METHOD(str_startswith) { return affix_test(r, self, a, false, ret); }
METHOD(str_endswith) { return affix_test(r, self, a, true, ret); }

static bool remove_affix(struct jj_run *r, struct jj_value self, struct jj_value v, bool end,
                         struct jj_value *ret)
{
    const struct jj_str *affix;
    if (!jj_arg_str(r, v, "the text to remove", &affix)) return false;
    bool cut = has_affix(self.s->p, self.s->n, affix, end);
    return jj_str_view(r, self.s->p + (cut && !end ? affix->n : 0), self.s->n - (cut ? affix->n : 0), ret);
}

METHOD(str_removeprefix) { return remove_affix(r, self, a[0], false, ret); }
METHOD(str_removesuffix) { return remove_affix(r, self, a[0], true, ret); }

/* ---- replace and join ---------------------------------------------------------------------------------- */

METHOD(str_replace)
{
    const struct jj_str *from, *to;
    int64_t count = -1;
    return jj_arg_str(r, a[0], "the text to replace", &from) && jj_arg_str(r, a[1], "the replacement", &to) &&
           (a[2].kind == JJ_MISSING || jj_arg_int(r, a[2], "count", &count)) &&
           jj_str_replace(r, self.s, from, to, count, ret);
}

METHOD(str_join)
{
    struct jj_items items;
    size_t mark = r->out->len;
    if (!jj_iter_collect(r, a[0], &items)) return false;
    for (size_t i = 0; i < items.n; i++) {
        const struct jj_str *s;
        if (!jj_arg_str(r, items.v[i], "an element to join", &s)) return false;
        if ((i && !jj_put(r, self.s->p, self.s->n)) || !jj_put(r, s->p, s->n)) return false;
    }
    return jj_take(r, mark, ret);
}

/* ---- kinds of characters ------------------------------------------------------------------------------- */

enum char_kind { DIGIT, ALPHA, ALNUM, SPACE };

static bool char_is(uint32_t cp, enum char_kind kind)
{
    switch (kind) {
    case DIGIT: return cp - '0' < 10u;
    case ALPHA: return unicode_class(cp) == UNICODE_LETTER;
    case ALNUM: return unicode_class(cp) & (UNICODE_LETTER | UNICODE_NUMBER);
    default: return jj_is_space(cp);
    }
}

/* All characters are of the kind, and there is one. */
static bool all_of(struct jj_run *r, struct jj_value self, enum char_kind kind, struct jj_value *ret)
{
    bool all = self.s->n > 0;
    uint32_t cp = 0;
    for (size_t i = 0; i < self.s->n && all;) {
        i += (size_t)utf8_decode(self.s->p + i, self.s->n - i, &cp);
        if (kind == DIGIT && cp >= 0x80 && unicode_class(cp) == UNICODE_NUMBER)
            return jj_unsupported(r, "isdigit of digits outside ASCII");
        all = char_is(cp, kind);
    }
    *ret = jj_bool(all);
    return jj_step(r, self.s->n / 16);
}

#define KIND_METHOD(name, kind)                                                                              \
    METHOD(name)                                                                                             \
    {                                                                                                        \
        (void)a;                                                                                             \
        return all_of(r, self, kind, ret);                                                                   \
    }

KIND_METHOD(str_isdigit, DIGIT)
KIND_METHOD(str_isalpha, ALPHA)
KIND_METHOD(str_isalnum, ALNUM)
KIND_METHOD(str_isspace, SPACE)

/* Something has case, and nothing has the other case. */
static bool one_case(struct jj_run *r, struct jj_value self, bool upper, struct jj_value *ret)
{
    bool some = false, other = false;
    uint32_t cp = 0;
    for (size_t i = 0; i < self.s->n && !other;) {
        i += (size_t)utf8_decode(self.s->p + i, self.s->n - i, &cp);
        bool is_upper = jj_char_is_upper(cp), is_lower = jj_char_is_lower(cp);
        some = some || (upper ? is_upper : is_lower);
        other = jj_char_is_title(cp) || (upper ? is_lower : is_upper);
    }
    *ret = jj_bool(some && !other);
    return jj_step(r, self.s->n / 16);
}

METHOD(str_isupper)
{
    (void)a;
    return one_case(r, self, true, ret);
}

METHOD(str_islower)
{
    (void)a;
    return one_case(r, self, false, ret);
}

/* ---- lists and dicts ----------------------------------------------------------------------------------- */

METHOD(list_count)
{
    int64_t n = 0;
    for (size_t i = 0; i < self.l->n; i++) {
        bool equal;
        if (!jj_equal(r, self.l->v[i], a[0], &equal)) return false;
        n += equal;
    }
    *ret = jj_int(n);
    return true;
}

METHOD(list_index)
{
    for (size_t i = 0; i < self.l->n; i++) {
        bool equal;
        if (!jj_equal(r, self.l->v[i], a[0], &equal)) return false;
        *ret = jj_int((int64_t)i);
        if (equal) return true;
    }
    return jj_fail(r, ALULA_FORMAT, "index: the value is not in the list");
}

METHOD(dict_get)
{
    if (a[0].kind == JJ_LIST || a[0].kind == JJ_DICT)
        return jj_fail(r, ALULA_FORMAT, "a value of type '%s' cannot be a key", jj_kind_name(a[0]));
    if (!jj_key_step(r, a[0])) return false;
    if (!jj_dict_find(self.d, a[0], ret)) *ret = a[1].kind == JJ_MISSING ? jj_none() : a[1];
    return true;
}

static bool view(struct jj_value self, enum jj_view which, struct jj_value *ret)
{
    *ret = (struct jj_value){.kind = JJ_VIEW, .flag = (uint8_t)which, .d = self.d};
    return true;
}

METHOD(dict_items)
{
    (void)r;
    (void)a;
    return view(self, JJ_ITEMS, ret);
}

METHOD(dict_keys)
{
    (void)r;
    (void)a;
    return view(self, JJ_KEYS, ret);
}

METHOD(dict_values)
{
    (void)r;
    (void)a;
    return view(self, JJ_VALUES, ret);
}

METHOD(value_copy)
{
    (void)r;
    (void)a;
    *ret = self;
    return true;
}

/* ---- tables -------------------------------------------------------------------------------------------- */

static const struct jj_func str_methods[] = {
    {.name = "strip", .params = "chars", .call = str_strip, .safe = JJ_SAFE_KEEP},
    {.name = "lstrip", .params = "chars", .call = str_lstrip, .safe = JJ_SAFE_KEEP},
    {.name = "rstrip", .params = "chars", .call = str_rstrip, .safe = JJ_SAFE_KEEP},
    {.name = "upper", .params = "", .call = str_upper, .safe = JJ_SAFE_KEEP},
    {.name = "lower", .params = "", .call = str_lower, .safe = JJ_SAFE_KEEP},
    {.name = "capitalize", .params = "", .call = str_capitalize, .safe = JJ_SAFE_KEEP},
    {.name = "title", .params = "", .call = str_title, .safe = JJ_SAFE_KEEP},
    {.name = "split", .params = "sep maxsplit", .call = str_split, .safe = JJ_SAFE_KEEP},
    {.name = "rsplit", .params = "sep maxsplit", .call = str_rsplit, .safe = JJ_SAFE_KEEP},
    {.name = "splitlines", .params = "keepends", .call = str_splitlines, .safe = JJ_SAFE_KEEP},
    {.name = "partition", .params = "sep /", .call = str_partition, .safe = JJ_SAFE_REFUSE},
    {.name = "rpartition", .params = "sep /", .call = str_rpartition, .safe = JJ_SAFE_REFUSE},
    {.name = "find", .params = "sub / start end", .call = str_find},
    {.name = "rfind", .params = "sub / start end", .call = str_rfind},
    {.name = "index", .params = "sub / start end", .call = str_index},
    {.name = "rindex", .params = "sub / start end", .call = str_rindex},
    {.name = "count", .params = "sub / start end", .call = str_count},
    {.name = "startswith", .params = "prefix / start end", .call = str_startswith},
    {.name = "endswith", .params = "suffix / start end", .call = str_endswith},
    {.name = "removeprefix", .params = "prefix /", .call = str_removeprefix, .safe = JJ_SAFE_REFUSE},
    {.name = "removesuffix", .params = "suffix /", .call = str_removesuffix, .safe = JJ_SAFE_REFUSE},
    {.name = "replace", .params = "old new / count", .call = str_replace, .safe = JJ_SAFE_REFUSE},
    {.name = "join", .params = "iterable /", .call = str_join, .safe = JJ_SAFE_REFUSE},
    {.name = "isdigit", .params = "", .call = str_isdigit},
    {.name = "isalpha", .params = "", .call = str_isalpha},
    {.name = "isalnum", .params = "", .call = str_isalnum},
    {.name = "isspace", .params = "", .call = str_isspace},
    {.name = "isupper", .params = "", .call = str_isupper},
    {.name = "islower", .params = "", .call = str_islower},
    {.name = "casefold"},
    {.name = "center"},
    {.name = "encode"},
    {.name = "expandtabs"},
    {.name = "format"},
    {.name = "format_map"},
    {.name = "isascii"},
    {.name = "isdecimal"},
    {.name = "isidentifier"},
    {.name = "isnumeric"},
    {.name = "isprintable"},
    {.name = "istitle"},
    {.name = "ljust"},
    {.name = "maketrans"},
    {.name = "rjust"},
    {.name = "swapcase"},
    {.name = "translate"},
    {.name = "zfill"},
    {.name = NULL},
};

static const struct jj_func list_methods[] = {
    {.name = "index", .params = "value /", .call = list_index},
    {.name = "count", .params = "value /", .call = list_count},
    {.name = "copy", .params = "", .call = value_copy},
    {.name = NULL},
};

static const struct jj_func dict_methods[] = {
    {.name = "get", .params = "key / default", .call = dict_get},
    {.name = "items", .params = "", .call = dict_items},
    {.name = "keys", .params = "", .call = dict_keys},
    {.name = "values", .params = "", .call = dict_values},
    {.name = "copy", .params = "", .call = value_copy},
    {.name = "fromkeys"},
    {.name = NULL},
};

static const struct jj_func number_methods[] = {
    {.name = "as_integer_ratio"}, {.name = "bit_count"},   {.name = "bit_length"},
    {.name = "conjugate"},        {.name = "denominator"}, {.name = "from_bytes"},
    {.name = "fromhex"},          {.name = "hex"},         {.name = "imag"},
    {.name = "is_integer"},       {.name = "numerator"},   {.name = "real"},
    {.name = "to_bytes"},         {.name = NULL},
};

static const struct jj_func range_methods[] = {
    {.name = "count"}, {.name = "index"}, {.name = "start"},
    {.name = "step"},  {.name = "stop"},  {.name = NULL},
};

static const struct jj_func view_methods[] = {{.name = "isdisjoint"}, {.name = "mapping"}, {.name = NULL}};

static const struct jj_func iter_methods[] = {
    {.name = "close"},
    {.name = "send"},
    {.name = "throw"},
    {.name = NULL},
};

static bool is_one_of(const struct jj_str *name, const char *const *names)
{
    while (*names && !jj_str_is(name, *names)) names++;
    return *names != NULL;
}

const struct jj_func *jj_method_find(struct jj_value v, const struct jj_str *name, bool *unsafe)
{
    static const char *const change_list[] = {"append", "extend", "insert",  "remove", "pop",
                                              "clear",  "sort",   "reverse", NULL};
    static const char *const change_dict[] = {"pop", "popitem", "clear", "update", "setdefault", NULL};
    *unsafe = (v.kind == JJ_LIST && is_one_of(name, change_list)) ||
              (v.kind == JJ_DICT && is_one_of(name, change_dict));
    if (*unsafe) return NULL;
    switch (v.kind) {
    case JJ_STR: return jj_table_find(str_methods, name);
    case JJ_LIST: return jj_table_find(list_methods, name);
    case JJ_TUPLE: return jj_str_is(name, "copy") ? NULL : jj_table_find(list_methods, name);
    case JJ_DICT: return jj_table_find(dict_methods, name);
    case JJ_BOOL:
    case JJ_INT:
    case JJ_FLOAT: return jj_table_find(number_methods, name);
    case JJ_RANGE: return jj_table_find(range_methods, name);
    case JJ_VIEW: return jj_table_find(view_methods, name);
    case JJ_ITER: return jj_table_find(iter_methods, name);
    default: return NULL;
    }
}
