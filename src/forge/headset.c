/* headset.c - the lists of tensors that a head may be made of. Knows names; reads no value. */
#include "forge/headset.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "artifact/layout.h"

#define PREFIX  "mtp."
#define EXPERTS "layers.0.mlp.experts."

struct lister {
    struct head_set *set;
    const char **names; /* [set->n_tensors] what is there, sorted */
    bool *expected;     /* [set->n_tensors] */
    bool failed;        /* out of memory */
};

static const char *key_of(const struct tensor *t)
{
    const char *key;
    return layout_part(t->name, &key) == PART_HEAD ? key : NULL;
}

const char *head_set_name(const struct tensor *t, char *out, size_t cap)
{
    const char *key = key_of(t);
    snprintf(out, cap, "%s%s", key ? PREFIX : "", key ? key : t->name);
    return out;
}

static long find(const struct lister *l, const char *key)
{
    const char **hit = bsearch(&key, l->names, l->set->n_tensors, sizeof *l->names, by_string);
    return hit ? hit - l->names : -1;
}

static bool has(const struct lister *l, const char *module, const char *leaf)
{
    char key[300];
    snprintf(key, sizeof key, "%s%s", module, leaf);
    return find(l, key) >= 0;
}

static void note(struct lister *l, const char ***list, size_t *n, const char *key)
{
    if (*n % 64 == 0) {
        const char **longer = arena_array(&l->set->arena, *n + 64, sizeof *longer);
        if (!longer) {
            l->failed = true;
            return;
        }
        if (*n) memcpy(longer, *list, *n * sizeof *longer);
        *list = longer;
    }
    char name[310];
    int len = snprintf(name, sizeof name, "%s%s", PREFIX, key);
    char *copy = arena_strndup(&l->set->arena, name, (size_t)len);
    if (!copy) l->failed = true;
    (*list)[(*n)++] = copy;
}

static void expect(struct lister *l, const char *module, const char *leaf)
{
    char key[300];
    if (l->failed) return;
    snprintf(key, sizeof key, "%s%s", module, leaf);
    l->set->n_expected++;
    long i = find(l, key);
    if (i >= 0)
        l->expected[i] = true;
    else
        note(l, &l->set->missing, &l->set->n_missing, key);
}

/* A matrix: three tensors if any of the two that only a packed one has is there. */
static void expect_matrix(struct lister *l, const char *module, const char *leaf)
{
    expect(l, module, leaf);
    if (!has(l, module, ".scales") && !has(l, module, ".biases")) return;
    expect(l, module, ".scales");
    expect(l, module, ".biases");
    l->set->packed = true;
}

static void expect_matrices(struct lister *l, const char *prefix, const char *const *modules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char module[200];
        snprintf(module, sizeof module, "%s%s", prefix, modules[i]);
        expect_matrix(l, module, ".weight");
    }
}

static void expect_experts(struct lister *l, int n_experts)
{
    static const char *const projections[] = {"gate_proj", "up_proj", "down_proj"};
    if (l->set->layout == HEAD_FUSED) {
        expect_matrix(l, EXPERTS "gate_up_proj", "");
        expect_matrix(l, EXPERTS "down_proj", "");
    } else if (l->set->layout == HEAD_SWITCH) {
        expect_matrices(l, "layers.0.mlp.switch_mlp.", projections, 3);
    } else {
        for (int i = 0; i < n_experts; i++) {
            char prefix[64];
            snprintf(prefix, sizeof prefix, EXPERTS "%d.", i);
            expect_matrices(l, prefix, projections, 3);
        }
    }
}

static void expect_all(struct lister *l, int n_experts)
{
    static const char *const norms[] = {"norm",
                                        "pre_fc_norm_embedding",
                                        "pre_fc_norm_hidden",
                                        "layers.0.input_layernorm",
                                        "layers.0.post_attention_layernorm",
                                        "layers.0.self_attn.q_norm",
                                        "layers.0.self_attn.k_norm"};
    static const char *const common[] = {"fc", "layers.0.self_attn.q_proj", "layers.0.self_attn.k_proj",
                                         "layers.0.self_attn.v_proj", "layers.0.self_attn.o_proj"};
    static const char *const moe[] = {"gate", "shared_expert.gate_proj", "shared_expert.up_proj",
                                      "shared_expert.down_proj", "shared_expert_gate"};
    static const char *const dense[] = {"gate_proj", "up_proj", "down_proj"};
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) expect(l, norms[i], ".weight");
    expect_matrices(l, "", common, 5);
    if (l->set->layout == HEAD_DENSE) {
        expect_matrices(l, "layers.0.mlp.", dense, 3);
        return;
    }
    expect_matrices(l, "layers.0.mlp.", moe, 5);
    expect_experts(l, n_experts);
}

/* Number of an expert in a key, or -1. */
static int expert_number(const char *key)
{
    size_t n = strlen(EXPERTS);
    if (strncmp(key, EXPERTS, n) || !isdigit((unsigned char)key[n])) return -1;
    long v = strtol(key + n, NULL, 10);
    return v < CONFIG_EXPERTS_MAX ? (int)v : -1;
}

/* The experts' layout, and how many there are if no config says. */
static enum head_layout find_layout(const struct lister *l, int *n_experts)
{
    bool fused = false, switched = false, moe = *n_experts > 0;
    int most = -1;
    for (size_t i = 0; i < l->set->n_tensors; i++) {
        const char *key = l->names[i];
        int number = expert_number(key);
        if (number > most) most = number;
        switched |= !strncmp(key, "layers.0.mlp.switch_mlp.", 24);
        fused |= number < 0 && !strncmp(key, EXPERTS, strlen(EXPERTS));
    }
    if (*n_experts < 0) *n_experts = most + 1;
    if (switched) return HEAD_SWITCH;
    if (most >= 0 && !fused) return HEAD_NUMBERED;
    return fused || moe ? HEAD_FUSED : HEAD_DENSE;
}

static bool list_head(struct lister *l, const struct checkpoint *cp)
{
    struct head_set *s = l->set;
    s->tensors = arena_array(&s->arena, cp->n_tensors + 1, sizeof *s->tensors);
    l->names = arena_array(&s->arena, cp->n_tensors + 1, sizeof *l->names);
    l->expected = arena_array(&s->arena, cp->n_tensors + 1, sizeof *l->expected);
    if (!s->tensors || !l->names || !l->expected) return false;
    for (size_t i = 0; i < cp->n_tensors; i++) {
        const char *key = key_of(cp->tensors[i]);
        if (!key) continue;
        l->names[s->n_tensors] = key;
        s->tensors[s->n_tensors++] = cp->tensors[i];
    }
    qsort(l->names, s->n_tensors, sizeof *l->names, by_string);
    return true;
}

bool head_set_read(struct head_set *ret, const struct checkpoint *cp, int n_experts, struct alula_error *e)
{
    struct head_set s = {0};
    struct lister l = {.set = &s};
    l.failed = !list_head(&l, cp);
    if (!l.failed) {
        s.layout = find_layout(&l, &n_experts);
        expect_all(&l, n_experts);
        for (size_t i = 0; i < s.n_tensors && !l.failed; i++)
            if (!l.expected[i]) note(&l, &s.extra, &s.n_extra, l.names[i]);
    }
    if (l.failed) {
        head_set_free(&s);
        return err_set(e, ALULA_NOMEM, "%s: no memory for the names of its head", cp->dir);
    }
    if (s.n_tensors == 0) s.n_missing = 0; /* the whole head is, and that is said elsewhere */
    s.passes = s.n_tensors && !s.n_missing && !s.n_extra;
    *ret = s;
    return true;
}

void head_set_free(struct head_set *s) { arena_free(&s->arena); }

const char *head_set_format(const struct head_set *s)
{
    static const char *const words[][2] = {
        [HEAD_DENSE] = {"bf16", "prequantized-mlx-affine"},
        [HEAD_FUSED] = {"bf16-qwen-moe", "prequantized-mlx-affine-qwen-moe"},
        [HEAD_SWITCH] = {"bf16-qwen-moe-switch-mlx", "prequantized-mlx-affine-qwen-moe-switch-mlx"},
        [HEAD_NUMBERED] = {"bf16-qwen-moe-experts", "prequantized-mlx-affine-qwen-moe-experts"},
    };
    if (s->layout == HEAD_DENSE && !s->packed && s->n_tensors && s->tensors[0]->dtype == DT_F16)
        return "fp16";
    return words[s->layout][s->packed];
}

const char *head_layout_name(enum head_layout layout)
{
    static const char *const names[] = {
        [HEAD_DENSE] = "dense MLP",
        [HEAD_FUSED] = "fused experts",
        [HEAD_SWITCH] = "stacked experts (switch_mlp)",
        [HEAD_NUMBERED] = "numbered experts",
    };
    return names[layout];
}
