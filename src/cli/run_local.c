/* run_local.c - one answer or a chat with a model that this process opened.
 *
 * Owns sessions and what is shown of an answer. The prompt is made in talk.c, the answer in answer.c. */
#include "cli/run_local.h"

#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/line.h"
#include "cli/term.h"
#include "serve/prompt.h"

/* What an answer leaves on the screen, whether it came to its end or was stopped. */
static bool finish_output(const struct run_local *r, const struct answer *a, struct alula_error *e)
{
    struct buf out = {0};
    if (r->json)
        answer_write_json(a, &out);
    else if (a->text.len && a->text.data[a->text.len - 1] != '\n')
        buf_byte(&out, '\n');
    bool ok = term_write_buf(&out, e);
    if (ok && r->stats) {
        answer_write_stats(a, &out);
        ok = buf_check(&out, "the statistics", e);
        if (ok) fprintf(stderr, "%s", out.data);
    }
    buf_free(&out);
    return ok;
}

/* ---- one answer ---------------------------------------------------------------------------------------- */

static bool prompt_ids(struct run_local *r, const struct buf *text, const char *what, int32_t **ret_ids,
                       size_t *ret_n, struct alula_error *e)
{
    if (r->raw)
        return alula_tokenize(r->engine, text->data, text->len, true, ret_ids, ret_n, e) ||
               err_context(e, "%s", what);
    return talk_add(&r->talk, "user", text->data, text->len, what, e) &&
           talk_prompt(&r->talk, r->engine, ret_ids, ret_n, e);
}

/* The grammar of the schema for answers to this prompt. */
static bool read_schema(const struct run_local *r, const int32_t *ids, size_t n, struct alula_grammar **ret,
                        struct alula_error *e)
{
    struct buf schema, spec = {0};
    buf_init(&schema, CLI_INPUT_MAX);
    bool ok = file_read(r->schema, CLI_INPUT_MAX, &schema, e);
    if (ok) {
        buf_fmt(&spec, "{\"type\": \"json_schema\", \"reasoning\": %s, \"schema\":\n",
                prompt_ends_in_reasoning(r->engine, ids, n) ? "true" : "false");
        buf_add(&spec, schema.data, schema.len);
        buf_byte(&spec, '}');
    }
    ok = ok && buf_check(&spec, r->schema, e) &&
         (alula_grammar_create(ret, r->engine, spec.data, spec.len, e) || err_context(e, "%s", r->schema));
    buf_free(&schema);
    buf_free(&spec);
    return ok;
}

bool run_local_once(struct run_local *r, const struct buf *text, const char *what, struct alula_error *e)
{
    struct alula_session_options so = r->session;
    struct alula_session *session = NULL;
    struct alula_grammar *grammar = NULL;
    struct answer a = {.depth = so.depth};
    struct alula_error late;
    int32_t *ids;
    size_t n;
    if (!prompt_ids(r, text, what, &ids, &n, e)) return false;
    bool ok = !r->schema || read_schema(r, ids, n, &grammar, e);
    so.grammar = grammar;
    ok = ok && alula_session_create(&session, r->engine, &so, e) &&
         answer_make(&a, session, ids, n, !r->json, e);
    if (ok)
        ok = finish_output(r, &a, e);
    else if (e->code == ALULA_CANCELLED)
        finish_output(r, &a, &late); /* the stop is what there is to report */
    answer_free(&a);
    alula_session_free(session);
    alula_grammar_free(grammar);
    alula_free(ids);
    return ok;
}

/* ---- chat ---------------------------------------------------------------------------------------------- */

/* A session that holds a beginning of the ids, *ret_known of them and not all. That of the last turn serves if the
 * template prints earlier turns as they were decoded; many drop their reasoning, and then everything is read anew. */
static bool chat_session(const struct run_local *r, struct alula_session **session, const int32_t *ids,
                         size_t n, size_t *ret_known, struct alula_error *e)
{
    if (*session) {
        const int32_t *held = alula_session_tokens(*session, ret_known);
        if (*ret_known < n && memcmp(held, ids, *ret_known * sizeof *ids) == 0) return true;
        alula_session_free(*session);
        *session = NULL;
    }
    *ret_known = 0;
    return alula_session_create(session, r->engine, &r->session, e);
}

/* One question and its answer; an answer that was stopped is part of the conversation as far as it came. */
static bool chat_turn(struct run_local *r, struct alula_session **session, const char *line, size_t len,
                      struct alula_error *e)
{
    struct answer a = {.depth = r->session.depth};
    int32_t *ids;
    size_t n, known;
    if (!talk_add(&r->talk, "user", line, len, "the line", e) ||
        !talk_prompt(&r->talk, r->engine, &ids, &n, e))
        return false;
    bool ok = chat_session(r, session, ids, n, &known, e) &&
              answer_make(&a, *session, ids + known, n - known, true, e);
    if (!ok && e->code == ALULA_CANCELLED) {
        term_resume();
        ok = true;
    }
    ok = ok && finish_output(r, &a, e) && fputc('\n', stderr) != EOF &&
         talk_add(&r->talk, "assistant", a.text.len ? a.text.data : "", a.text.len, "the answer", e);
    answer_free(&a);
    alula_free(ids);
    return ok;
}

bool run_local_chat(struct run_local *r, struct alula_error *e)
{
    struct alula_session *session = NULL; /* of the last turn */
    struct line_reader *reader = NULL;
    const char *line;
    size_t len;
    bool ok = line_open(&reader, e);
    if (ok)
        fprintf(stderr, "%sCtrl-C stops an answer, Ctrl-D ends the chat.%s\n", term_style(stderr, TERM_DIM),
                term_style(stderr, TERM_PLAIN));
    while (ok && (line = line_read(reader, &len)))
        if (len) ok = chat_turn(r, &session, line, len, e);
    line_close(reader);
    alula_session_free(session);
    return ok && (!term_stopped() || err_set(e, ALULA_CANCELLED, "stopped"));
}
