/* fingerprint.h - what a model's weights are known by, without reading all of them. */
#ifndef ARTIFACT_FINGERPRINT_H
#define ARTIFACT_FINGERPRINT_H

#include "artifact/checkpoint.h"
#include "base/sha256.h"

/* Adds configuration, names, types, shapes and samples of every tensor, and sizes and times of the files: any other
 * training or quantization changes nearly every byte of a tensor, and an edit in place changes a time. */
bool fingerprint_add(struct sha256 *s, const struct checkpoint *c, struct alula_error *e);

#endif
