/* recipe.h - every choice of a forge as JSON, so that an artifact can be made again, byte for byte. */
#ifndef FORGE_RECIPE_H
#define FORGE_RECIPE_H

#include <jansson.h>

#include "forge/plan.h"

#define RECIPE_NAME          "alula_recipe.json"
#define RECIPE_OVERRIDES_MAX 64

/* Zero-initialised but for the two defaults below. Texts lie in the arena. */
struct recipe {
    struct plan_options plan; /* overrides points to the array here */
    struct plan_override overrides[RECIPE_OVERRIDES_MAX];
    const char *trunk, *mtp, *out; /* folders; NULL = not said. An artifact's recipe says none */
    const char *trunk_id, *mtp_id;
    struct arena arena;
};

/* 4 bits in groups of 64, head packed, gains as they are. */
void recipe_init(struct recipe *r);
void recipe_free(struct recipe *r);

/* Puts what the file says over what r holds. Errors: those of reading; FORMAT for a key or value that no recipe has. */
bool recipe_read(struct recipe *r, const char *path, struct alula_error *e);
/* Adds "PATTERN=BITS[:GROUP]", BITS 16 for plain. Errors: USAGE, LIMIT. */
bool recipe_add_override(struct recipe *r, const char *text, struct alula_error *e);
/* Bits 2 3 4 5 6 8, groups 32 64 128. USAGE. */
bool recipe_check(const struct recipe *r, struct alula_error *e);

/* The choices as an object, without the folders. ids may be NULL. NULL when out of memory. */
json_t *recipe_json(const struct plan_options *o, const char *trunk_id, const char *mtp_id);

#endif
