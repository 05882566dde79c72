/* layout.c - tells a tensor's part from its name.
 *
 * Owns the prefixes: Hugging Face, text-only export, MLX, and the three spellings of the head. Knows no
 * shapes. */
#include "artifact/layout.h"

#include <stddef.h>
#include <string.h>

static const char *const head_prefixes[] = {"mtp.", "language_model.mtp.", "model.mtp.", NULL};
/* Longest first: "model." begins the first of them too. */
static const char *const trunk_prefixes[] = {"model.language_model.", "language_model.model.", "model.",
                                             NULL};
/* Before the LM head, which stands outside the model in every layout. */
static const char *const outer_prefixes[] = {"", "language_model.", NULL};
static const char *const vision_prefixes[] = {"model.visual", "vision_tower", NULL};

const char *const *layout_prefixes(enum tensor_part part)
{
    return part == PART_HEAD ? head_prefixes : part == PART_VISION ? vision_prefixes : trunk_prefixes;
}

/* The tail of name behind the first prefix that fits, or NULL. */
static const char *strip(const char *name, const char *const *prefixes)
{
    for (; *prefixes; prefixes++) {
        size_t n = strlen(*prefixes);
        if (!strncmp(name, *prefixes, n)) return name + n;
    }
    return NULL;
}

enum tensor_part layout_part(const char *name, const char **ret_key)
{
    const char *key;
    if ((key = strip(name, vision_prefixes))) {
        *ret_key = key;
        return PART_VISION;
    }
    if ((key = strip(name, head_prefixes))) {
        *ret_key = key;
        return PART_HEAD;
    }
    for (const char *const *p = outer_prefixes; *p; p++) {
        size_t n = strlen(*p);
        if (!strncmp(name, *p, n) && !strncmp(name + n, "lm_head.", 8)) {
            *ret_key = name + n;
            return PART_TRUNK;
        }
    }
    if ((key = strip(name, trunk_prefixes))) {
        *ret_key = key;
        return PART_TRUNK;
    }
    *ret_key = name;
    return PART_UNKNOWN;
}
