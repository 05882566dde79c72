/* err.h - errors as values.
 *
 * A function that can fail returns bool (or a pointer) and takes `struct alula_error *e` last. The place
 * that knows the fact sets it; callers may put in front what they were doing. On failure outputs are
 * untouched. Both helpers return false, so `return err_set(e, ...)` reads well. e is never NULL. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "alula.h"

/* Sets code and message (cut at the end of the buffer, at a character's border). Returns false. */
bool err_set(struct alula_error *e, enum alula_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, with ": " and the text of errno at the end; ENOMEM and ENOENT choose their own code. */
bool err_errno(struct alula_error *e, enum alula_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "fmt: " in front of the message that is there. Returns false. */
bool err_context(struct alula_error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
