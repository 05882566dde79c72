/* tensors_rig.h - a safetensors file written again with its values changed. */
#ifndef TESTS_TENSORS_RIG_H
#define TESTS_TENSORS_RIG_H

#include <string.h>

#include "artifact/safetensors.h"
#include "tests/support.h"

/* Writes the tensors of `from` whose names begin with prefix into `to`, each as `change` leaves its bytes. */
static inline void rewrite_tensors(const char *from, const char *to, const char *prefix,
                                   void (*change)(void *arg, const struct tensor *t, unsigned char *bytes),
                                   void *arg)
{
    struct st_file *f;
    struct st_writer *w;
    struct alula_error e = {0};
    assert_ok(st_open(&f, from, &e) && st_writer_open(&w, to, NULL, &e), e);
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tensor *t = &f->tensors[i];
        if (strncmp(t->name, prefix, strlen(prefix)) == 0)
            assert_ok(st_writer_declare(w, t->name, t->dtype, t->n_dims, t->shape, &e), e);
    }
    assert_ok(st_writer_begin(w, &e), e);
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tensor *t = &f->tensors[i];
        if (strncmp(t->name, prefix, strlen(prefix)) != 0) continue;
        unsigned char *bytes = mem_alloc(t->n_bytes + 1);
        memcpy(bytes, t->data, t->n_bytes);
        change(arg, t, bytes);
        assert_ok(st_writer_append(w, bytes, t->n_bytes, &e), e);
        mem_free(bytes);
    }
    assert_ok(st_writer_commit(w, &e), e);
    st_writer_close(w);
    st_close(f);
}

#endif
