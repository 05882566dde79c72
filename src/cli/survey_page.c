/* survey_page.c - a survey in words: model, weights, head; and the advice that follows. */
#include "cli/survey_page.h"

static const char *family(const struct config *c) { return c->n_experts ? "Qwen3.5-MoE" : "Qwen3.5"; }

static void show_model(const struct survey *s, struct buf *out)
{
    const struct config *c = &s->cp->config;
    int attention = 0;
    if (!s->cp->has_config) return;
    for (int i = 0; i < c->n_layers; i++) attention += c->layer_types[i] == LAYER_FULL_ATTENTION;
    char experts[96] = "";
    if (c->n_experts)
        snprintf(experts, sizeof experts, ", %d experts of which %d work at a time", c->n_experts,
                 c->experts_per_tok);
    page_line(
        out, "model", TERM_PLAIN,
        "%s (%s): %d layers (%d with attention, %d with a gated delta net), hidden size %d%s, vocabulary %d",
        family(c), c->model_type, c->n_layers, attention, c->n_layers - attention, c->hidden, experts,
        c->vocab);
}

static void show_weights(const struct survey *s, struct buf *out)
{
    static const char *const layouts[] = {"", "dense MLPs", "fused experts", "stacked experts",
                                          "numbered experts"};
    char count[32], size[32], width[64];
    if (!s->weights) return;
    const char *type = s->type == DT_BF16 ? "bf16" : s->type == DT_F16 ? "fp16" : "fp32";
    if (s->bits)
        snprintf(width, sizeof width, "packed to %d bits", s->bits);
    else
        snprintf(width, sizeof width, "%s", type);
    page_line(out, "weights", TERM_PLAIN, "%s parameters, %s, %s in %zu file%s; laid out by %s, %s",
              page_count(count, s->body_parameters), width, page_bytes(size, s->bytes - s->head_bytes),
              s->cp->n_files - (s->cp->sidecar != NULL),
              s->cp->n_files - (s->cp->sidecar != NULL) == 1 ? "" : "s", s->from_mlx ? "MLX" : "Hugging Face",
              layouts[s->layout]);
}

static void show_head(const struct survey *s, struct buf *out)
{
    const struct head_set *h = &s->head_set;
    char size[32];
    if (s->head.code) {
        page_line(out, "MTP head", TERM_RED, "broken: %s", s->head.message);
    } else if (h->n_tensors) {
        page_line(out, "MTP head", TERM_GREEN, "yes: %zu tensors, %s%s, %s, %s%s", h->n_tensors,
                  head_layout_name(h->layout), h->packed ? ", packed" : "", page_bytes(size, s->head_bytes),
                  s->cp->sidecar ? "in " : "among the others", s->cp->sidecar ? s->cp->sidecar : "");
        if (!s->declares_head && s->has_config)
            page_line(out, "", TERM_PLAIN,
                      "(config.json declares none: mtp_num_hidden_layers is absent or 0)");
    } else if (s->trunk.code && !s->has_trunk) {
        /* what could not be read may hold one */
    } else if (s->declares_head) {
        page_line(out, "MTP head", TERM_RED,
                  "missing: config.json declares one, but there is no tensor of it");
    } else if (s->has_trunk) {
        page_line(out, "MTP head", TERM_PLAIN, "none%s", s->config.code ? "" : ", and none is declared");
    }
    if (s->cp->sidecar_missing)
        page_line(out, "", TERM_RED, "config.json names %s, which is not there", s->cp->sidecar_missing);
}

void survey_page(const struct survey *s, struct buf *out)
{
    show_model(s, out);
    show_weights(s, out);
    show_head(s, out);
}

void advice_page(const struct advice *next, int n, struct buf *out)
{
    for (int i = 0; i < n; i++) {
        page_line(out, i ? "" : "next", TERM_PLAIN, "%s%s", next[i].why, next[i].command[0] ? ":" : "");
        if (next[i].command[0]) page_command(out, next[i].command);
    }
}
