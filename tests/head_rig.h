/* head_rig.h - heads that are broken in one way each, made of tiny-donor's. Include once per program. */
#ifndef TESTS_HEAD_RIG_H
#define TESTS_HEAD_RIG_H

#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/tensors_rig.h"

#define HEAD_DONOR "models/tiny-donor"

enum head_fault {
    HEAD_SOUND,
    HEAD_SHUFFLED,  /* rows of fc in another order */
    HEAD_NOISE,     /* matrices of another seed: as large as the true ones and unrelated to them */
    HEAD_SWAPPED,   /* fc takes the hidden state first */
    HEAD_MISLABELED /* norms zero-centred, config.json says absolute */
};

static inline double rig_normal(uint64_t *seed)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*seed >> 11) / 9007199254740992.0;
    }
    return sum - 6;
}

static inline void rig_noise(const struct tensor *t, unsigned char *out, uint64_t *seed)
{
    size_t n = t->n_bytes / 2;
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += pow(value_f32(t->data, t->dtype, i), 2);
    for (size_t i = 0; i < n; i++) {
        uint16_t v = f32_to_bf16((float)(sqrt(squares / (double)n) * rig_normal(seed)));
        memcpy(out + 2 * i, &v, 2);
    }
}

struct rig_fault {
    enum head_fault fault;
    uint64_t seed;
};

static inline void rig_change(void *arg, const struct tensor *t, unsigned char *out)
{
    struct rig_fault *r = arg;
    bool fc = strcmp(t->name, "mtp.fc.weight") == 0;
    size_t rows = (size_t)t->shape[0], row = t->n_bytes / rows;
    assert_int_equal(t->dtype, DT_BF16);
    if (r->fault == HEAD_NOISE && t->n_dims > 1) rig_noise(t, out, &r->seed);
    for (size_t i = 0; i < rows && fc; i++) {
        if (r->fault == HEAD_SHUFFLED) memcpy(out + i * row, t->data + (i * 77 + 5) % rows * row, row);
        if (r->fault != HEAD_SWAPPED) continue;
        memcpy(out + i * row, t->data + i * row + row / 2, row / 2);
        memcpy(out + i * row + row / 2, t->data + i * row, row / 2);
    }
}

/* config.json of the donor, with the wrong word in it. */
static inline void rig_mislabel(const char *dir)
{
    char path[4200];
    struct alula_error e = {0};
    struct buf b = {0};
    json_t *root = json_parse_file(HEAD_DONOR "/config.json", 1 << 20, 64, &e);
    assert_ok(root, e);
    json_object_set_new(root, "mtplx_mtp_norm_encoding", json_string("absolute"));
    json_write(&b, root, 2);
    snprintf(path, sizeof path, "%s/config.json", dir);
    assert_ok(file_write(path, b.data, b.len, &e), e);
    buf_free(&b);
    json_decref(root);
}

/* A folder that holds only a head. One of four rotating static buffers. */
static inline const char *rig_head(enum head_fault fault)
{
    static char dirs[4][4096];
    static int made;
    char *dir = dirs[made % 4], path[4200];
    struct rig_fault r = {fault, 7};
    snprintf(dir, sizeof dirs[0], "%s/head%d", scratch_dir(), made++);
    assert_int_equal(mkdir(dir, 0777), 0);
    snprintf(path, sizeof path, "%s/mtp.safetensors", dir);
    rewrite_tensors(HEAD_DONOR "/model.safetensors", path, "mtp.", rig_change, &r);
    if (fault == HEAD_MISLABELED) rig_mislabel(dir);
    return dir;
}

#endif
