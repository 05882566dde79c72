/* prefix_cache.h - the insides of a prompt cache, for the file that owns it and for tests that look in. */
#ifndef DECODE_PREFIX_CACHE_H
#define DECODE_PREFIX_CACHE_H

#include <pthread.h>
#include "decode/cache_disk.h"
#include "decode/prefix_tree.h"

struct alula_cache {
    const struct alula_engine *engine;
    struct cache_disk *disk; /* or NULL */
    pthread_mutex_t lock;    /* everything below */
    struct prefix_tree tree;
    struct alula_cache_stats stats; /* what is counted as it happens */
};

#endif
