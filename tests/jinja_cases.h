/* jinja_cases.h - members of a fixture's line as raw text, because a JSON library would lose how numbers
 * are spelled. */
#ifndef TESTS_JINJA_CASES_H
#define TESTS_JINJA_CASES_H

#include "tests/support.h"

#include <stdlib.h>
#include <string.h>

struct span {
    const char *p;
    size_t n;
};

/* The next line of a file; false at its end. */
static inline bool next_line(const struct buf *file, size_t *at, struct span *line)
{
    const char *p = file->data + *at, *end = *at < file->len ? memchr(p, '\n', file->len - *at) : NULL;
    if (!end) return false;
    *line = (struct span){p, (size_t)(end - p)};
    *at += line->n + 1;
    return true;
}

/* Bytes of the JSON value at p, which is well-formed. */
static inline size_t value_length(const char *p)
{
    size_t i = 0;
    int depth = 0;
    do {
        if (p[i] == '"')
            while (p[++i] != '"') i += p[i] == '\\';
        else if (p[i] == '{' || p[i] == '[')
            depth++;
        else if (p[i] == '}' || p[i] == ']')
            depth--;
        i++;
    } while (depth > 0 ||
             (p[0] != '"' && p[0] != '{' && p[0] != '[' && p[i] != ',' && p[i] != '}' && p[i] != ']'));
    return i;
}

/* A member of the object that the line is, as it is written; p NULL = absent. */
static inline struct span member(struct span line, const char *name)
{
    size_t i = 1;
    while (i < line.n) {
        size_t key = value_length(line.p + i), from = i + key + 2;
        size_t n = value_length(line.p + from);
        if (key == strlen(name) + 2 && memcmp(line.p + i + 1, name, key - 2) == 0)
            return (struct span){line.p + from, n};
        i = from + n + 2;
    }
    return (struct span){NULL, 0};
}

/* True if the member is that string. */
static inline bool is_member(struct span line, const char *name, const char *text)
{
    struct span v = member(line, name);
    return v.p && v.n == strlen(text) + 2 && memcmp(v.p + 1, text, v.n - 2) == 0;
}

/* The bytes of a JSON string, U+0000 perhaps among them. */
struct decoded {
    json_t *v;
    const char *p;
    size_t n;
};

static inline struct decoded decode(struct span text)
{
    mem_setup();
    json_t *v = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_true(json_is_string(v));
    return (struct decoded){v, json_string_value(v), json_string_length(v)};
}

static inline void free_decoded(struct decoded d) { json_decref(d.v); }

#endif
