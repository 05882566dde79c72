/* survey.h - what lies in a folder, looked at step by step: a step that fails leaves its sentence and the
 * next is still tried.
 *
 * Reads JSON files, headers and the 1-D parameters, so it takes well under a second on a folder of any size. */
#ifndef FORGE_SURVEY_H
#define FORGE_SURVEY_H

#include "artifact/weights.h"
#include "forge/headset.h"
#include "forge/licence.h"

enum body_layout { BODY_NONE, BODY_DENSE, BODY_FUSED, BODY_SWITCH, BODY_NUMBERED };

struct survey {
    struct checkpoint *cp;
    struct weights *weights; /* body and, if it fits, head; NULL if the body does not bind */
    /* What went wrong with a step; code ALULA_OK if nothing did or the step could not be tried. */
    struct alula_error config, trunk, head;
    bool has_config, has_trunk; /* the file, the tensors are there */
    bool known_family;          /* the config names an architecture that alula computes */
    bool declares_head;         /* the config speaks of MTP layers */
    struct head_set head_set;
    bool head_fits; /* bound: shapes and 1-D values too */
    enum body_layout layout;
    bool from_mlx;              /* the body lies as MLX wrote it, not as Hugging Face did */
    uint64_t bytes, head_bytes; /* of tensors' data: all, the head's */
    uint64_t body_parameters;   /* 0 if the body does not bind */
    int bits;                   /* of most of the body; 0 = plain */
    enum dtype type;            /* of the embedding, packed: of its scales */
    char licences[256];         /* names of its licence files, ", " between them */
    struct licence licence;     /* as its README.md declares it */
};

/* path: a folder, or a file that holds only a head. Errors: NOT_FOUND, UNSUPPORTED for a GGUF file, NOMEM;
 * everything else stands in *ret. */
bool survey_open(struct survey *ret, const char *path, struct alula_error *e);
void survey_close(struct survey *s);

/* A path as a shell reads it: in quotes if it must be. */
void survey_quote(struct buf *out, const char *path);

#endif
