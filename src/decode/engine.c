/* engine.c - a model folder, opened once: trunk, head, tokenizer, chat template. Owns their lifetimes; must
 * not know sessions. Immutable once opened, so any number of threads may use it. */
#include <string.h>

#include "artifact/contract.h"
#include "base/mem.h"
#include "decode/decode_internal.h"

const char *alula_version(void) { return ALULA_VERSION; }

/* Opens the folders and binds the weights. The head comes from options->mtp, else from the model's own
 * folder, else there is none. */
static bool bind_weights(struct alula_engine *g, const char *dir, const struct alula_engine_options *o,
                         struct alula_error *e)
{
    if (o->no_mtp || o->mtp) {
        if (!checkpoint_open_trunk(&g->trunk, dir, e)) return false;
    } else if (!checkpoint_open(&g->trunk, dir, e)) {
        return false;
    }
    if (o->no_mtp) return weights_bind_trunk(&g->weights, g->trunk, e);
    if (o->mtp && !checkpoint_open_head(&g->head, o->mtp, e)) return false;
    return weights_bind(&g->weights, g->trunk, g->head, e);
}

static bool create_model(struct alula_engine *g, enum model_mode mode, struct alula_error *e)
{
    struct runtime_contract contract;
    if (!g->weights->has_mtp) return model_create(&g->model, g->weights, NULL, mode, e);
    return contract_read(&contract, g->head ? g->head : g->trunk, e) &&
           model_create(&g->model, g->weights, &contract.mtp, mode, e);
}

static bool open_text(struct alula_engine *g, const char *dir, struct alula_error *e)
{
    if (!tokenizer_open(&g->tokenizer, dir, e) ||
        !token_trie_create(&g->trie, g->tokenizer, model_config(g->model)->vocab, e))
        return false;
    /* Without a template that can be run, raw text still can. */
    if (!chat_template_open(&g->chat, dir, &g->chat_error)) g->chat = NULL;
    for (int id = 0; id < tokenizer_count(g->tokenizer); id++) {
        size_t n;
        if (tokenizer_bytes(g->tokenizer, id, &n) && n > g->token_bytes_max) g->token_bytes_max = n;
    }
    return true;
}

/* The ids that drafts come from, by the options: a list, or the first ids and added tokens; the stop ids in
 * any case. */
static int choose_draft_ids(const struct alula_engine *g, const struct alula_engine_options *o, int32_t *ids)
{
    const struct config *c = model_config(g->model);
    int n = 0, first = o->draft_vocab > 0 ? o->draft_vocab : c->vocab;
    for (int i = 0; i < o->n_draft_ids; i++) ids[n++] = o->draft_ids[i];
    for (int id = 0; !o->draft_ids && id < c->vocab; id++)
        if (id < first || tokenizer_is_special(g->tokenizer, id)) ids[n++] = id;
    for (int i = 0; i < c->n_stop_ids; i++) ids[n++] = c->stop_ids[i];
    return n;
}

static bool create_drafts(struct alula_engine *g, const struct alula_engine_options *o, struct alula_error *e)
{
    int vocab = model_config(g->model)->vocab;
    if (o->draft_vocab < 0 || o->draft_vocab > vocab)
        return err_set(e, ALULA_USAGE, "draft_vocab is %d, expected 0 (all) to %d", o->draft_vocab, vocab);
    if (o->n_draft_ids < 0 || o->n_draft_ids > vocab || (o->n_draft_ids > 0 && !o->draft_ids))
        return err_set(e, ALULA_USAGE, "n_draft_ids is %d, expected 0 to %d and that many ids",
                       o->n_draft_ids, vocab);
    if (!model_has_mtp(g->model) || (!o->draft_vocab && !o->draft_ids && !o->draft_bits)) return true;
    int32_t *ids = mem_zalloc((size_t)vocab + STOP_IDS_MAX, sizeof *ids);
    if (!ids) return err_set(e, ALULA_NOMEM, "no memory for a draft vocabulary");
    bool ok = draft_vocab_create(&g->drafts, &g->weights->lm_head, ids, choose_draft_ids(g, o, ids),
                                 o->draft_bits, e);
    mem_free(ids);
    return ok;
}

bool alula_engine_open(struct alula_engine **ret, const char *dir, const struct alula_engine_options *options,
                       struct alula_error *e)
{
    struct alula_engine_options o = options ? *options : (struct alula_engine_options){0};
    if (o.no_mtp && o.mtp)
        return err_set(e, ALULA_USAGE,
                       "no_mtp and mtp (%s) contradict each other: one leaves the head aside, the other "
                       "names one",
                       o.mtp);
    struct alula_engine *g = mem_zalloc(1, sizeof *g);
    if (!g) return err_set(e, ALULA_NOMEM, "no memory for an engine");
    if (!bind_weights(g, dir, &o, e) || !create_model(g, o.exact ? MODEL_EXACT : MODEL_FAST, e) ||
        !open_text(g, dir, e) || !create_drafts(g, &o, e)) {
        alula_engine_close(g);
        return false;
    }
    g->has_mtp = model_has_mtp(g->model);
    g->exact = o.exact;
    *ret = g;
    return true;
}

void alula_engine_close(struct alula_engine *g)
{
    if (!g) return;
    draft_vocab_free(g->drafts);
    chat_template_close(g->chat);
    token_trie_free(&g->trie);
    tokenizer_close(g->tokenizer);
    model_free(g->model);
    weights_free(g->weights);
    checkpoint_close(g->head);
    checkpoint_close(g->trunk);
    mem_free(g);
}

void alula_engine_describe(const struct alula_engine *g, struct alula_engine_info *ret)
{
    const struct config *c = model_config(g->model);
    *ret = (struct alula_engine_info){
        .architecture = c->model_type,
        .vocab = c->vocab,
        .hidden = c->hidden,
        .n_layers = c->n_layers,
        .max_context = c->max_position,
        .has_mtp = g->has_mtp,
        .exact = g->exact,
        .draft_vocab = g->drafts ? g->drafts->n : 0,
        .stop_ids = c->stop_ids,
        .n_stop_ids = c->n_stop_ids,
    };
}

const char *alula_token_bytes(const struct alula_engine *g, int32_t id, size_t *ret_len)
{
    return id < 0 || id >= tokenizer_count(g->tokenizer) ? NULL : tokenizer_bytes(g->tokenizer, id, ret_len);
}

bool alula_tokenize(const struct alula_engine *g, const char *text, size_t len, bool special,
                    int32_t **ret_ids, size_t *ret_n, struct alula_error *e)
{
    return tokenizer_encode(g->tokenizer, text, len, special, ret_ids, ret_n, e);
}

bool alula_detokenize(const struct alula_engine *g, const int32_t *ids, size_t n, bool skip_special,
                      char **ret_text, size_t *ret_len, struct alula_error *e)
{
    struct detok d;
    struct buf b;
    buf_init(&b, 0);
    buf_add(&b, "", 0);
    detok_init(&d, g->tokenizer, skip_special);
    for (size_t i = 0; i < n; i++) detok_put(&d, ids[i], &b);
    detok_end(&d, &b);
    if (!buf_check(&b, "the text of the ids", e)) {
        buf_free(&b);
        return false;
    }
    *ret_text = b.data;
    *ret_len = b.len;
    return true;
}

bool alula_tokenize_chat(const struct alula_engine *g, const char *json, size_t len, int32_t **ret_ids,
                         size_t *ret_n, struct alula_error *e)
{
    if (g->chat) return chat_template_encode(g->chat, g->tokenizer, json, len, ret_ids, ret_n, e);
    *e = g->chat_error;
    return false;
}

void alula_free(void *p) { mem_free(p); }
