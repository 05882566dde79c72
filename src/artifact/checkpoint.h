/* checkpoint.h - a model folder: its JSON files and every tensor of its shards and of its MTP sidecar, by
 * name.
 *
 * Which files hold the trunk: those that model.safetensors.index.json names, else model*.safetensors. Which
 * hold the MTP head: the sidecar that config.json's mlx_lm_extra_tensors.mtp_file names (if that file is not
 * there, no other sidecar is looked for), else the first that exists of mtp.safetensors,
 * mtp/weights.safetensors, model-mtp.safetensors; without a sidecar, tensors with "mtp." in the trunk's
 * shards. A sidecar hides such tensors. Opens headers only; data is mapped and read when touched. */
#ifndef ARTIFACT_CHECKPOINT_H
#define ARTIFACT_CHECKPOINT_H

#include "artifact/config.h"
#include "artifact/safetensors.h"

struct checkpoint {
    char *dir;
    json_t *config_json;       /* config.json, or NULL while not read (or absent, in a head's folder) */
    json_t *generation_json;   /* or NULL */
    json_t *runtime_json;      /* mtplx_runtime.json, or NULL */
    char runtime_problem[256]; /* why mtplx_runtime.json, though there, could not be parsed; else "" */
    json_t *quantization;      /* borrowed: config.json's "quantization" (or quantization_config), or NULL */
    bool has_config;           /* config is filled */
    struct config config;
    struct st_file **files; /* every file opened; index 0.. trunk, then sidecar */
    size_t n_files;
    const struct tensor *
        *tensors; /* of all files, in byte order of their names; a name in two files is an error */
    size_t n_tensors;
    char *sidecar;         /* path of the MTP sidecar relative to dir, or NULL */
    char *sidecar_missing; /* the mtp_file that config.json names and that is not there, or NULL */
    struct arena arena;
};

/* A whole folder: configuration, trunk and, if there is one, head. */
bool checkpoint_open(struct checkpoint **ret, const char *dir, struct alula_error *e);
/* The same without a look at the sidecar, for a folder whose head is broken or not wanted. */
bool checkpoint_open_trunk(struct checkpoint **ret, const char *dir, struct alula_error *e);
/* A source of a head: a file, or a folder in which config.json and the trunk's shards may be absent. Fails
 * with NOT_FOUND if it holds no tensor of a head. */
bool checkpoint_open_head(struct checkpoint **ret, const char *path, struct alula_error *e);
void checkpoint_close(struct checkpoint *c); /* NULL is fine */

/* NULL if there is no such tensor. */
const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name);
/* Is there a tensor of the MTP head? */
bool checkpoint_has_head(const struct checkpoint *c);

/* The steps of checkpoint_open, for whoever reports on a broken folder: each may fail and the next still be
 * tried. What a step read before it failed stays in *c (config_json, for one). */
bool checkpoint_create(struct checkpoint **ret, const char *dir, struct alula_error *e);
bool checkpoint_load_config(struct checkpoint *c, struct alula_error *e);
bool checkpoint_load_trunk(struct checkpoint *c, struct alula_error *e);
bool checkpoint_load_sidecar(struct checkpoint *c, struct alula_error *e); /* true if there is none */

#endif
