/* checkpoint.h - a model folder: its JSON files and every tensor of its shards and of its MTP sidecar, by name.
 *
 * Which files hold the trunk: those that model.safetensors.index.json names, else model*.safetensors. Which hold the
 * MTP head: tensors with "mtp." in the trunk's shards, else the sidecar that config.json's mtp_file (or a relative of it)
 * names, else the usual names (spec: facts sheet 2.1, 2.2). Opens headers only; data is mapped and read when touched. */
#ifndef ARTIFACT_CHECKPOINT_H
#define ARTIFACT_CHECKPOINT_H

#include "artifact/config.h"
#include "artifact/safetensors.h"

struct checkpoint {
    char *dir;
    json_t *config_json;             /* config.json */
    json_t *generation_json;         /* or NULL */
    json_t *quantization;            /* borrowed: config.json's "quantization" (or quantization_config), or NULL */
    struct config config;
    struct st_file **files;          /* every file opened; index 0.. trunk, then sidecar */
    size_t n_files;
    const struct tensor **tensors;   /* of all files, in byte order of their names; a name in two files is an error */
    size_t n_tensors;
    char *sidecar;                   /* path of the MTP sidecar relative to dir, or NULL */
    struct arena arena;
};

bool checkpoint_open(struct checkpoint **ret, const char *dir, struct alula_error *e);
void checkpoint_close(struct checkpoint *c);
const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name);

#endif
