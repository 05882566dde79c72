/* audit.h - looks at the values of a head's file: is anything in it? */
#ifndef FORGE_AUDIT_H
#define FORGE_AUDIT_H

#include <jansson.h>
#include "base/err.h"

/* mtplx_mtp_payload_audit of the sidecar at path: counts of matrices ("payload", names ending in .weight, at
 * least 2-D) and of those that are not all zero, scales likewise, names of the zero ones. *ret_passed: there
 * is payload, some of it is not zero, not all scales are. Errors: those of st_open, NOMEM. */
bool audit_sidecar(json_t **ret, bool *ret_passed, const char *path, struct alula_error *e);

#endif
