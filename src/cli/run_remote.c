/* run_remote.c - one answer or a chat with a server.
 *
 * Owns what is shown of it. Text goes to standard output; reasoning, which the server tells apart, to standard error
 * where that is a terminal. */
#include "cli/run_remote.h"

#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "cli/line.h"
#include "cli/term.h"

struct reply {
    const struct run_remote *run;
    struct buf text, reasoning;
    struct remote_answer answer;
};

static bool take_piece(void *arg, bool reasoning, const char *text, size_t len, struct alula_error *e)
{
    struct reply *reply = arg;
    bool seen = !reply->run->json && term_is_terminal(stderr);
    if (reasoning) {
        if (seen)
            fprintf(stderr, "%s%.*s%s", term_style(stderr, TERM_DIM), (int)len, text,
                    term_style(stderr, TERM_PLAIN));
        buf_add(&reply->reasoning, text, len);
        return buf_check(&reply->reasoning, "the reasoning", e);
    }
    if (seen && reply->reasoning.len && !reply->text.len) fputs("\n\n", stderr);
    buf_add(&reply->text, text, len);
    return buf_check(&reply->text, "the answer", e) && (reply->run->json || term_write(text, len, e));
}

static void write_json(const struct reply *reply, struct buf *out)
{
    const struct remote_answer *a = &reply->answer;
    buf_str(out, "{\"text\": ");
    json_write_str(out, reply->text.data ? reply->text.data : "", reply->text.len);
    buf_str(out, ", \"reasoning\": ");
    json_write_str(out, reply->reasoning.data ? reply->reasoning.data : "", reply->reasoning.len);
    buf_fmt(out, ", \"prompt_tokens\": %lld, \"cached_tokens\": %lld, \"n_tokens\": %lld, \"finish\": ",
            (long long)a->prompt_tokens, (long long)a->cached_tokens, (long long)a->tokens);
    json_write_str(out, a->finish, strlen(a->finish));
    buf_str(out, ", \"stats\": {\"first_s\": ");
    json_write_real(out, a->first_s);
    buf_str(out, ", \"total_s\": ");
    json_write_real(out, a->total_s);
    buf_str(out, "}}\n");
}

static bool finish_output(const struct reply *reply, struct alula_error *e)
{
    const struct remote_answer *a = &reply->answer;
    struct buf out = {0};
    if (reply->run->json)
        write_json(reply, &out);
    else if (reply->text.len && reply->text.data[reply->text.len - 1] != '\n')
        buf_byte(&out, '\n');
    bool ok = term_write_buf(&out, e);
    if (ok && !reply->run->json && reply->reasoning.len && !reply->text.len)
        fprintf(stderr, "%sThe answer ended within its reasoning; --no-think asks for none.\n",
                term_is_terminal(stderr) ? "\n" : "");
    if (ok && reply->run->stats)
        fprintf(stderr,
                "prompt  %6lld tokens, %lld of them from the cache\nanswer  %6lld tokens in %.3f s, the "
                "first after %.3f s\n",
                (long long)a->prompt_tokens, (long long)a->cached_tokens, (long long)a->tokens, a->total_s,
                a->first_s);
    buf_free(&out);
    return ok;
}

/* One question and its answer. An answer that was stopped is shown and kept as far as it came, and counts as
 * CANCELLED; one that broke off is shown as far as it came. */
static bool turn(struct run_remote *r, struct remote *remote, const char *text, size_t len, const char *what,
                 struct alula_error *e)
{
    static const char *const thinking[] = {"", ", \"chat_template_kwargs\": {\"enable_thinking\": true}",
                                           ", \"chat_template_kwargs\": {\"enable_thinking\": false}"};
    struct reply reply = {.run = r};
    struct buf members = {0};
    struct alula_error late;
    bool ok = talk_add(&r->talk, "user", text, len, what, e);
    if (ok) {
        buf_fmt(&members, "\"messages\": [%s]%s%s", r->talk.messages.data, thinking[r->talk.thinking],
                r->parameters);
        ok = buf_check(&members, "the request", e) &&
             remote_chat(remote, members.data, take_piece, &reply, &reply.answer, e);
    }
    bool shown = ok || (members.len && e->code == ALULA_CANCELLED) || (reply.text.len && !r->json);
    if (shown && !finish_output(&reply, ok ? e : &late)) ok = false;
    if (shown && !talk_add(&r->talk, "assistant", reply.text.data ? reply.text.data : "", reply.text.len,
                           "the answer", ok ? e : &late))
        ok = false;
    buf_free(&members);
    buf_free(&reply.text);
    buf_free(&reply.reasoning);
    return ok;
}

bool run_remote_once(struct run_remote *r, const struct buf *text, const char *what, struct alula_error *e)
{
    struct remote *remote;
    if (!remote_open(&remote, r->url, r->key, e)) return false;
    bool ok = turn(r, remote, text->data, text->len, what, e);
    remote_close(remote);
    return ok;
}

bool run_remote_chat(struct run_remote *r, struct alula_error *e)
{
    struct line_reader *reader = NULL;
    struct remote *remote;
    const char *line;
    size_t len;
    if (!remote_open(&remote, r->url, r->key, e)) return false;
    bool ok = line_open(&reader, e);
    if (ok)
        fprintf(stderr, "%s%s at %s. Ctrl-C stops an answer, Ctrl-D ends the chat.%s\n",
                term_style(stderr, TERM_DIM), remote_model(remote), r->url, term_style(stderr, TERM_PLAIN));
    while (ok && (line = line_read(reader, &len))) {
        if (!len) continue;
        ok = turn(r, remote, line, len, "the line", e);
        if (!ok && e->code == ALULA_CANCELLED) {
            term_resume();
            ok = true;
        }
        fputc('\n', stderr);
    }
    line_close(reader);
    remote_close(remote);
    return ok && (!term_stopped() || err_set(e, ALULA_CANCELLED, "stopped"));
}
