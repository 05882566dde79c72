/* json.h - JSON: jansson reads, this file writes.
 *
 * Jansson 2.14 writes 0.1 as 0.10000000000000001, so writing is ours, by Python's rules: shortest number
 * that reads back equal, 1.0 stays 1.0, non-ASCII text stays as it is. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include "base/buf.h"

/* Parses n bytes that must be one JSON value nested at most max_depth deep, without duplicate keys. what
 * names the source in errors ("config.json"). Strings may hold NUL characters: use json_string_length. The
 * caller owns the result (json_decref). NULL on error. */
json_t *json_parse(const char *text, size_t n, int max_depth, const char *what, struct alula_error *e);
/* Memory that the text and its tree take at most. */
size_t json_bytes(const char *text, size_t n);
/* The same from a file of at most max_bytes. */
json_t *json_parse_file(const char *path, size_t max_bytes, int max_depth, struct alula_error *e);

/* Writer. Appends one value to b; the caller writes commas and brackets, or uses json_write for a whole tree.
 */
void json_write_str(struct buf *b, const char *s, size_t n);
void json_write_int(struct buf *b, int64_t v);
void json_write_real(struct buf *b, double v); /* Python's repr; nan and inf as null */
/* indent 0 = one line with ", " and ": " (Python's default), else that many spaces a level. Keys in stored
 * order. */
void json_write(struct buf *b, const json_t *v, int indent);
/* A whole report: the tree, two spaces a level, and a line's end. Takes root; NULL is what jansson makes without
 * memory, and an error. */
bool json_write_report(struct buf *b, json_t *root, struct alula_error *e);

/* Typed members of an object; errors name `what` and the key. Absent or null: the first form refuses, the
 * `_or` form gives fallback. A value of another type or out of range is refused by both. */
bool json_get_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *ret, const char *what,
                  struct alula_error *e);
bool json_get_int_or(const json_t *o, const char *key, int64_t min, int64_t max, int64_t fallback,
                     int64_t *ret, const char *what, struct alula_error *e);
bool json_get_real(const json_t *o, const char *key, double min, double max, double *ret, const char *what,
                   struct alula_error *e);
bool json_get_real_or(const json_t *o, const char *key, double min, double max, double fallback, double *ret,
                      const char *what, struct alula_error *e);
bool json_get_bool_or(const json_t *o, const char *key, bool fallback, bool *ret, const char *what,
                      struct alula_error *e);
/* The string stays owned by o. fallback may be NULL. */
bool json_get_str_or(const json_t *o, const char *key, const char *fallback, const char **ret,
                     const char *what, struct alula_error *e);

#endif
