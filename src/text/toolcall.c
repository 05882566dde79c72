/* toolcall.c - incremental reader of reasoning, content and tool calls.
 *
 * Owns the markup: <think>, <tool_call>, <function=NAME>, <parameter=KEY>, the JSON form of a call, and what
 * holds when any of it is missing or broken. Must not know types of arguments (toolarg.c) or what becomes of
 * a call.
 *
 * All text of the answer stays in one buffer. The reader moves through it by steps; each step decides one
 * thing from the bytes at hand, or waits because further bytes could change the decision. A decision taken
 * with fewer bytes is therefore the same as with all of them. */
#include "text/toolcall.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/toolarg.h"

enum { ANSWER_MAX = 64 << 20, NAME_BYTES = 256, JSON_DEPTH_MAX = 64 };

/* Whether something stands at a place: MORE = it depends on bytes that have not come. */
enum match { NO, YES, MORE };

enum where { START, REASONING, CONTENT };

enum phase {
    BODY,   /* between parameters */
    HERMES, /* inside the JSON form */
    VALUE,  /* of a parameter */
    AFTER   /* behind </function>; the call has been given out */
};

struct param {
    char *key, *json;
};

/* A call that is being read. Numbers are places in the buffer. */
struct call {
    bool active, wrapped; /* wrapped: inside <tool_call> */
    enum phase phase;
    size_t start; /* of <tool_call>, or of <function= where that stands alone */
    size_t body;  /* behind the header */
    size_t value; /* of the current parameter */
    size_t at;    /* what is before has been looked at */
    char name[NAME_BYTES + 1], key[NAME_BYTES + 1];
    const json_t *parameters; /* the tool's schema, NULL if it has none */
    struct param *params;
    size_t n_params, cap;
};

struct toolcall {
    const json_t *tools;
    void (*emit)(void *arg, const struct toolcall_event *event);
    void *arg;
    struct buf text;
    size_t pos;  /* what is before has been decided */
    size_t hold; /* [hold, pos) is white space that counts only if text follows */
    size_t line; /* a place that counts as the start of a line though no LF stands before it */
    struct clear {
        size_t from, to;
    } clear[2]; /* by phase, BODY and HERMES: no tag that matters there in between; spares later attempts the
                   search */
    enum where where;
    bool in_reasoning, has_reasoning, has_content, call_last;
    bool ended, stopped, no_memory;
    struct call call;
};

/* ---- looking at the buffer ----------------------------------------------------------------------------- */

static size_t skip_space(const struct toolcall *t, size_t i)
{
    while (i < t->text.len && toolarg_is_space(t->text.data[i])) i++;
    return i;
}

/* Whether `tag` stands at i. At the end of the answer nothing can come any more, so MORE is NO unless
 * `partial`. */
static enum match tag_at(const struct toolcall *t, size_t i, const char *tag)
{
    size_t len = strlen(tag), have = t->text.len - i;
    if (memcmp(t->text.data + i, tag, len < have ? len : have) != 0) return NO;
    return have >= len ? YES : MORE;
}

/* MORE becomes NO when the answer is over. */
static enum match settle(const struct toolcall *t, enum match m) { return m == MORE && t->ended ? NO : m; }

/* `open` NAME ">": the name without white space around it, and the place behind the tag. */
static enum match named_tag_at(const struct toolcall *t, size_t i, const char *open,
                               char name[NAME_BYTES + 1], size_t *ret_end)
{
    enum match m = tag_at(t, i, open);
    if (m != YES) return m;
    const char *s = t->text.data + i + strlen(open);
    size_t have = t->text.len - i - strlen(open), len = 0;
    while (len < have && len <= NAME_BYTES && s[len] != '>' && s[len] != '<' && s[len] != '\n' && s[len])
        len++;
    if (len > NAME_BYTES) return NO;
    if (len == have) return MORE;
    if (s[len] != '>') return NO;
    *ret_end = i + strlen(open) + len + 1;
    while (len > 0 && toolarg_is_space(s[0])) s++, len--;
    while (len > 0 && toolarg_is_space(s[len - 1])) len--;
    memcpy(name, s, len);
    name[len] = '\0';
    return len > 0 ? YES : NO;
}

static bool line_starts_at(const struct toolcall *t, size_t i)
{
    return i == t->line || (i > 0 && t->text.data[i - 1] == '\n');
}

/* The place of the next "<" from i on, or the end of the text. */
static size_t next_tag(const struct toolcall *t, size_t i)
{
    const char *hit = i < t->text.len ? memchr(t->text.data + i, '<', t->text.len - i) : NULL;
    return hit ? (size_t)(hit - t->text.data) : t->text.len;
}

/* The function that is offered under a name, or NULL. */
static const json_t *find_tool(const struct toolcall *t, const char *name)
{
    for (size_t i = 0; i < json_array_size(t->tools); i++) {
        const json_t *tool = json_array_get(t->tools, i), *function = json_object_get(tool, "function");
        const char *known = json_string_value(json_object_get(function ? function : tool, "name"));
        if (known && strcmp(known, name) == 0) return function ? function : tool;
    }
    return NULL;
}

/* ---- giving out ---------------------------------------------------------------------------------------- */

/* Text of [from, to) as what is being read. Line breaks before the first content, and white space before the
 * first reasoning, are no part of it. */
static void emit_text(struct toolcall *t, size_t from, size_t to)
{
    const char *s = t->text.data;
    if (t->where == REASONING)
        while (!t->has_reasoning && from < to && toolarg_is_space(s[from])) from++;
    else
        while (!t->has_content && from < to && (s[from] == '\n' || s[from] == '\r')) from++;
    if (from == to) return;
    if (t->where == REASONING)
        t->has_reasoning = true;
    else
        t->has_content = true;
    t->call_last = false;
    enum toolcall_kind kind = t->where == REASONING ? TOOLCALL_REASONING : TOOLCALL_CONTENT;
    t->emit(t->arg, &(struct toolcall_event){kind, s + from, to - from, NULL});
}

/* The text up to `to`, the white space that was held and what follows it. */
static void emit_up_to(struct toolcall *t, size_t to)
{
    emit_text(t, t->hold, to);
    t->hold = t->pos = to;
}

static void emit_call(struct toolcall *t, const char *name, const struct buf *arguments)
{
    if (arguments->failed) {
        t->no_memory = true;
        return;
    }
    t->where = CONTENT;
    t->call_last = true;
    t->emit(t->arg, &(struct toolcall_event){TOOLCALL_CALL, arguments->data, arguments->len, name});
}

/* Goes on behind something that has been dealt with and is no text. */
static void resume_at(struct toolcall *t, size_t at) { t->pos = t->hold = t->line = at; }

/* ---- parameters ---------------------------------------------------------------------------------------- */

static struct param *find_param(const struct call *c, const char *key)
{
    for (size_t i = 0; i < c->n_params; i++)
        if (strcmp(c->params[i].key, key) == 0) return &c->params[i];
    return NULL;
}

static void clear_params(struct call *c)
{
    for (size_t i = 0; i < c->n_params; i++) {
        mem_free(c->params[i].key);
        mem_free(c->params[i].json);
    }
    c->n_params = 0;
}

/* A new parameter under the current key, or the one that has it. NULL: memory is exhausted. */
static struct param *take_param(struct call *c)
{
    struct param *p = find_param(c, c->key);
    if (p) return p;
    if (c->n_params == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 8;
        struct param *grown = mem_realloc(c->params, cap * sizeof *grown);
        if (!grown) return NULL;
        c->params = grown;
        c->cap = cap;
    }
    char *key = mem_strdup(c->key);
    if (!key) return NULL;
    p = &c->params[c->n_params++];
    *p = (struct param){key, NULL};
    return p;
}

/* The value [c->value, end), without one line feed at each end, in the type that the schema asks for. */
static void store_value(struct toolcall *t, size_t end)
{
    struct call *c = &t->call;
    struct alula_error e;
    struct buf json;
    const char *s = t->text.data;
    size_t from = c->value;
    if (from < end && s[from] == '\n') from++;
    if (from < end && s[end - 1] == '\n') end--;
    buf_init(&json, 0);
    struct param *p = take_param(c);
    if (!toolarg_write(c->parameters, c->key, s + from, end - from, &json, &e) || json.failed || !p) {
        t->no_memory = true;
        buf_free(&json);
        return;
    }
    mem_free(p->json);
    p->json = json.data;
}

static void write_arguments(const struct call *c, struct buf *out)
{
    buf_byte(out, '{');
    for (size_t i = 0; i < c->n_params; i++) {
        if (i > 0) buf_str(out, ", ");
        json_write_str(out, c->params[i].key, strlen(c->params[i].key));
        buf_str(out, ": ");
        buf_str(out, c->params[i].json);
    }
    buf_byte(out, '}');
}

/* ---- the end of a call --------------------------------------------------------------------------------- */

/* It was no call: its "<" is text, and reading goes on behind that. */
static void call_is_text(struct toolcall *t)
{
    struct call *c = &t->call;
    if (c->phase <= HERMES && c->n_params == 0) t->clear[c->phase] = (struct clear){c->body, c->at};
    c->active = false;
    clear_params(c);
    emit_up_to(t, c->start + 1);
}

/* The answer is over inside a call: never run half of one, so all of it is content. */
static void rest_is_content(struct toolcall *t)
{
    struct call *c = &t->call;
    if (t->where == REASONING) t->hold = c->start;
    t->where = CONTENT;
    c->active = false;
    clear_params(c);
    emit_up_to(t, t->text.len);
}

/* Whether the "{" at from is closed by the last byte of [from, to). Looks no further than the place where
 * that is clear, so that many attempts on a long text stay cheap. */
static bool closes_at_end(const char *s, size_t from, size_t to)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = from; i < to; i++) {
        if (s[i] == '"') quoted = !quoted;
        if (quoted && s[i] == '\\') i++;
        if (quoted) continue;
        if (s[i] == '{') depth++;
        if (s[i] == '}') depth--;
        if (depth == 0) return i == to - 1;
        if (depth > JSON_DEPTH_MAX) return false;
    }
    return false;
}

/* [from, to) as a JSON object, NULL if it is none. */
static json_t *parse_object(struct toolcall *t, size_t from, size_t to)
{
    struct alula_error e = {.code = ALULA_OK};
    while (to > from && toolarg_is_space(t->text.data[to - 1])) to--;
    if (!closes_at_end(t->text.data, from, to)) return NULL;
    json_t *v = json_parse(t->text.data + from, to - from, JSON_DEPTH_MAX, "a call", &e);
    t->no_memory |= e.code == ALULA_NOMEM;
    if (json_is_object(v)) return v;
    json_decref(v);
    return NULL;
}

/* The body ends at `end`; reading goes on at `next`, still inside the wrapper if `inside`. */
static void finish_body(struct toolcall *t, size_t end, size_t next, bool inside)
{
    struct call *c = &t->call;
    struct buf arguments;
    buf_init(&arguments, 0);
    size_t from = skip_space(t, c->body);
    if (c->n_params > 0 || from >= end) {
        write_arguments(c, &arguments);
    } else {
        json_t *body = parse_object(t, from, end);
        if (!body) {
            call_is_text(t);
            return;
        }
        json_write(&arguments, body, 0);
        json_decref(body);
    }
    emit_call(t, c->name, &arguments);
    buf_free(&arguments);
    clear_params(c);
    resume_at(t, next);
    c->active = inside;
    c->phase = AFTER;
    c->at = next;
}

/* The answer is over between parameters; `end` leaves out a closing tag that was begun. */
static void body_is_cut(struct toolcall *t, size_t end)
{
    if (t->stopped)
        finish_body(t, end, t->text.len, false);
    else
        rest_is_content(t);
}

/* ---- steps inside a call; each returns false to wait --------------------------------------------------- */

static bool step_body(struct toolcall *t)
{
    struct call *c = &t->call;
    size_t i = next_tag(t, c->at), end;
    c->at = i;
    if (i == t->text.len) {
        if (!t->ended) return false;
        body_is_cut(t, i);
        return true;
    }
    enum match function = tag_at(t, i, "</function>"), close = tag_at(t, i, "</tool_call>");
    enum match open = tag_at(t, i, "<tool_call>"), param = named_tag_at(t, i, "<parameter=", c->key, &end);
    if (function == YES) {
        finish_body(t, i, i + strlen("</function>"), true);
    } else if (close == YES) {
        finish_body(t, i, i + strlen("</tool_call>"), false);
    } else if (open == YES) {
        finish_body(t, i, i, false);
    } else if (param == YES) {
        c->phase = VALUE;
        c->value = c->at = end;
    } else if (t->ended && (function == MORE || close == MORE)) {
        body_is_cut(t, i);
    } else if (!t->ended && (function == MORE || close == MORE || open == MORE || param == MORE)) {
        return false;
    } else {
        c->at = i + 1;
    }
    return true;
}

/* Whether, after white space, one of the tags follows i, or the answer ends there. partial: an unfinished tag
 * at the end counts. */
static enum match followed_by(const struct toolcall *t, size_t i, const char *const *tags, size_t n,
                              bool partial)
{
    enum match any = NO;
    i = skip_space(t, i);
    if (i == t->text.len) return t->ended ? YES : MORE;
    for (size_t k = 0; k < n; k++) {
        enum match m = tag_at(t, i, tags[k]);
        if (m == YES || (m == MORE && t->ended && partial)) return YES;
        if (m == MORE) any = MORE;
    }
    return settle(t, any);
}

/* Whether the value ends at the "<" at i; *ret_next is where the body goes on. */
static enum match value_ends_at(const struct toolcall *t, size_t i, size_t *ret_next)
{
    static const char *const after_parameter[] = {"<parameter=", "</function>", "</tool_call>",
                                                  "<tool_call>"};
    static const char *const after_function[] = {"</tool_call>"}, *const after_call[] = {"<tool_call>"};
    const struct call *c = &t->call;
    char key[NAME_BYTES + 1];
    size_t end;
    *ret_next = i;
    enum match m = tag_at(t, i, "</parameter>");
    if (m == YES) {
        *ret_next = i + strlen("</parameter>");
        return followed_by(t, *ret_next, after_parameter, 4, true);
    }
    enum match function = tag_at(t, i, "</function>");
    if (function == YES) return followed_by(t, i + strlen("</function>"), after_function, 1, false);
    m = m == MORE ? m : function;
    if (t->text.data[i - 1] == '\n') {
        enum match param = named_tag_at(t, i, "<parameter=", key, &end), call = tag_at(t, i, "</tool_call>");
        if (param == YES)
            return json_object_get(json_object_get(c->parameters, "properties"), key) &&
                           !find_param(c, key) && strcmp(key, c->key) != 0
                       ? YES
                       : NO;
        if (call == YES) return followed_by(t, i + strlen("</tool_call>"), after_call, 1, false);
        if (param == MORE || call == MORE) m = MORE;
    }
    return settle(t, m);
}

static bool step_value(struct toolcall *t)
{
    struct call *c = &t->call;
    size_t i = next_tag(t, c->at), next;
    c->at = i;
    if (i == t->text.len) {
        if (!t->ended) return false;
        rest_is_content(t);
        return true;
    }
    switch (value_ends_at(t, i, &next)) {
    case MORE: return false;
    case NO: c->at = i + 1; return true;
    default:
        store_value(t, i);
        c->phase = BODY;
        c->at = next;
        return true;
    }
}

/* A call in JSON, {"name": ..., "arguments": ...}, up to `end`. False: it is none. */
static bool finish_hermes(struct toolcall *t, size_t end, size_t next)
{
    struct alula_error e = {.code = ALULA_OK};
    struct buf out;
    json_t *call = parse_object(t, t->call.body, end), *parsed = NULL;
    const char *name = json_string_value(json_object_get(call, "name"));
    const json_t *arguments = json_object_get(call, "arguments");
    buf_init(&out, 0);
    if (json_is_string(arguments)) {
        parsed = json_parse(json_string_value(arguments), json_string_length(arguments), JSON_DEPTH_MAX,
                            "a call", &e);
        t->no_memory |= e.code == ALULA_NOMEM;
        arguments = parsed;
    } else if (!arguments) {
        buf_str(&out, "{}");
    }
    bool ok = name && name[strspn(name, " \t\r\n")] && strlen(name) <= NAME_BYTES &&
              (json_is_object(arguments) || out.len > 0) && (t->where != REASONING || find_tool(t, name));
    if (ok) {
        if (arguments) json_write(&out, arguments, 0);
        emit_call(t, name, &out);
        resume_at(t, next);
        t->call.active = false;
    }
    buf_free(&out);
    json_decref(parsed);
    json_decref(call);
    return ok;
}

static bool step_hermes(struct toolcall *t)
{
    struct call *c = &t->call;
    size_t i = next_tag(t, c->at);
    enum match close = i < t->text.len ? tag_at(t, i, "</tool_call>") : MORE;
    c->at = i;
    if (close == NO) {
        c->at = i + 1;
    } else if (close == YES) {
        if (!finish_hermes(t, i, i + strlen("</tool_call>"))) call_is_text(t);
    } else if (!t->ended) {
        return false;
    } else if (!t->stopped && t->where == CONTENT) {
        rest_is_content(t);
    } else if (!t->stopped || !finish_hermes(t, i, t->text.len)) {
        call_is_text(t);
    }
    return true;
}

/* Begins to read a call whose header ends at `body`. */
static void open_call(struct toolcall *t, size_t start, size_t body, bool wrapped, enum phase phase)
{
    struct call *c = &t->call;
    const json_t *tool = phase == BODY ? find_tool(t, c->name) : NULL;
    const struct clear *clear = &t->clear[phase];
    c->active = true;
    c->wrapped = wrapped;
    c->phase = phase;
    c->start = start;
    c->body = body;
    c->at = body >= clear->from && body < clear->to ? clear->to : body;
    c->parameters = json_object_get(tool, "parameters");
}

/* Behind </function>: the wrapper may close, or hold a further call. */
static bool step_after(struct toolcall *t)
{
    struct call *c = &t->call;
    size_t i = skip_space(t, c->at), end;
    if (i == t->text.len && !t->ended) return false;
    enum match close = tag_at(t, i, "</tool_call>"), function = NO;
    if (c->wrapped) function = named_tag_at(t, i, "<function=", c->name, &end);
    if (close == YES) {
        c->active = false;
        resume_at(t, i + strlen("</tool_call>"));
    } else if (function == YES) {
        t->pos = i;
        open_call(t, i, end, true, BODY);
    } else if (!t->ended && (close == MORE || function == MORE)) {
        return false;
    } else {
        c->active = false;
        if (close == MORE) resume_at(t, t->text.len);
    }
    return true;
}

/* ---- steps outside of calls ---------------------------------------------------------------------------- */

static bool step_start(struct toolcall *t)
{
    size_t i = skip_space(t, 0);
    if (i == t->text.len && !t->ended) return false;
    enum match think = settle(t, tag_at(t, i, "<think>"));
    if (think == MORE) return false;
    t->where = think == YES || t->in_reasoning ? REASONING : CONTENT;
    resume_at(t, think == YES ? i + strlen("<think>") : 0);
    return true;
}

/* <tool_call>, white space, and <function=NAME> or the "{" of the JSON form. */
static enum match wrapped_header_at(struct toolcall *t, size_t i)
{
    size_t end;
    enum match m = tag_at(t, i, "<tool_call>");
    if (m != YES) return m;
    size_t inner = skip_space(t, i + strlen("<tool_call>"));
    if (inner == t->text.len) return MORE;
    if (t->text.data[inner] == '{') {
        open_call(t, i, inner, true, HERMES);
        return YES;
    }
    m = named_tag_at(t, inner, "<function=", t->call.name, &end);
    if (m == YES && t->where == REASONING && !find_tool(t, t->call.name)) return NO;
    if (m == YES) open_call(t, i, end, true, BODY);
    return m;
}

/* <function=NAME> alone, of an offered tool, at the start of a line of content. */
static enum match bare_header_at(struct toolcall *t, size_t i)
{
    size_t end;
    if (t->where != CONTENT || !line_starts_at(t, i)) return NO;
    enum match m = named_tag_at(t, i, "<function=", t->call.name, &end);
    if (m == YES && !find_tool(t, t->call.name)) return NO;
    if (m == YES) open_call(t, i, end, false, BODY);
    return m;
}

/* What the "<" at t->pos begins: the end of reasoning, a call, or text. */
static bool step_tag(struct toolcall *t)
{
    size_t i = t->pos;
    enum match think = NO, call = NO;
    if (t->where == REASONING || !t->has_content) think = tag_at(t, i, "</think>");
    if (think == YES) {
        t->where = CONTENT;
        resume_at(t, i + strlen("</think>"));
        return true;
    }
    if (json_array_size(t->tools) > 0) {
        call = wrapped_header_at(t, i);
        if (call == NO) call = bare_header_at(t, i);
    }
    if (call == YES) return true;
    if (settle(t, think) == MORE || settle(t, call) == MORE) return false;
    emit_up_to(t, i + 1);
    return true;
}

/* Bytes at the end of [from, to) that begin a character which has not come whole. */
static size_t unfinished_tail(const struct toolcall *t, size_t from, size_t to)
{
    for (size_t n = 1; n <= 3 && n <= to - from; n++) {
        const char *s = t->text.data + to - n;
        bool more;
        if (((unsigned char)*s & 0xc0) == 0x80) continue;
        return utf8_broken_prefix(s, n, &more) == (int)n && more ? n : 0;
    }
    return 0;
}

/* Text up to the next tag; white space at its end is held back. */
static bool step_text(struct toolcall *t)
{
    size_t to = next_tag(t, t->pos), end;
    bool at_tag = to < t->text.len;
    if (!at_tag && !t->ended) to -= unfinished_tail(t, t->pos, to);
    for (end = to; end > t->pos && toolarg_is_space(t->text.data[end - 1]);) end--;
    if (end > t->pos) emit_up_to(t, end);
    t->pos = to;
    return at_tag && step_tag(t);
}

static bool step(struct toolcall *t)
{
    if (t->no_memory) return false;
    if (t->call.active) {
        switch (t->call.phase) {
        case BODY: return step_body(t);
        case VALUE: return step_value(t);
        case HERMES: return step_hermes(t);
        default: return step_after(t);
        }
    }
    return t->where == START ? step_start(t) : step_text(t);
}

static bool run(struct toolcall *t, struct alula_error *e)
{
    while (step(t)) continue;
    return !t->no_memory ||
           err_set(e, ALULA_NOMEM, "out of memory while reading an answer of %zu bytes", t->text.len);
}

/* ---- the interface ------------------------------------------------------------------------------------- */

bool toolcall_create(struct toolcall **ret, const json_t *tools, bool in_reasoning,
                     void (*emit)(void *arg, const struct toolcall_event *event), void *arg,
                     struct alula_error *e)
{
    struct toolcall *t = mem_zalloc(1, sizeof *t);
    if (!t) return err_set(e, ALULA_NOMEM, "out of memory for the reader of an answer");
    buf_init(&t->text, ANSWER_MAX);
    t->tools = tools;
    t->in_reasoning = in_reasoning;
    t->emit = emit;
    t->arg = arg;
    *ret = t;
    return true;
}

void toolcall_continue(struct toolcall *t)
{
    t->where = CONTENT;
    t->has_content = true;
    t->line = SIZE_MAX;
}

void toolcall_free(struct toolcall *t)
{
    if (!t) return;
    clear_params(&t->call);
    mem_free(t->call.params);
    buf_free(&t->text);
    mem_free(t);
}

bool toolcall_feed(struct toolcall *t, const char *text, size_t n, struct alula_error *e)
{
    buf_add(&t->text, text, n);
    return buf_check(&t->text, "an answer", e) && run(t, e);
}

bool toolcall_end(struct toolcall *t, bool stopped, struct alula_error *e)
{
    t->ended = true;
    t->stopped = stopped;
    buf_reserve(&t->text, 1); /* an empty answer has text, too */
    if (!buf_check(&t->text, "an answer", e) || !run(t, e)) return false;
    if (t->where == CONTENT && t->has_content && !t->call_last) emit_up_to(t, t->text.len);
    return true;
}
