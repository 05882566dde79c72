/* alula.h - the public C interface: graft a multi-token-prediction head, decode with it.
 *
 * This first part is the error type that every layer shares; the engine and the session follow. */
#ifndef ALULA_H
#define ALULA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What kind of thing went wrong. A kind decides the exit status of the program and the status of an
 * HTTP reply; the message says the rest. */
enum alula_code {
    ALULA_OK = 0,
    ALULA_USAGE,       /* an option or an argument is wrong */
    ALULA_LIMIT,       /* a ceiling was reached: context, size, depth, count */
    ALULA_UNSUPPORTED, /* well-formed, but not something that alula does */
    ALULA_NOT_FOUND,   /* a file, tensor or name that should be there is not */
    ALULA_MISMATCH,    /* two things that must agree do not: shapes, dimensions, contracts */
    ALULA_FORMAT,      /* a file or a request is malformed */
    ALULA_IO,          /* the system refused to read or write */
    ALULA_BUSY,        /* later, perhaps */
    ALULA_NOMEM,       /* memory is exhausted */
    ALULA_CANCELLED,   /* the caller asked to stop */
    ALULA_INTERNAL     /* a defect in alula */
};

/* Lives on the caller's stack; nothing is allocated. message is one sentence that names the file, tensor,
 * option or field, what was found and what was expected. */
struct alula_error {
    enum alula_code code;
    char message[1024];
};

#endif
