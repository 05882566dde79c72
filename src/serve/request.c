/* request.c - reads the fields that APIs share.
 *
 * Owns what a field may hold and the words that refuse it. Knows no API's way of writing an answer. */
#include "serve/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define WHAT       "the request"
#define BIASES_MAX 4096

void request_init(struct request *r, const struct dialect *dialect, const struct alula_sampling *defaults)
{
    *r = (struct request){
        .dialect = dialect, .sampling = *defaults, .n = 1, .depth = ALULA_DEPTH_AUTO, .parallel_calls = true};
}

void request_free(struct request *r)
{
    json_decref(r->body);
    json_decref(r->conversation);
    json_decref(r->texts);
    json_decref(r->tools);
    json_decref(r->grammar);
    for (int i = 0; i < r->n_prompts; i++) mem_free(r->prompts[i].ids);
    mem_free(r->prompts);
    for (int i = 0; i < r->n_stops; i++) mem_free(r->stops[i]);
    mem_free((void *)(uintptr_t)r->sampling.bias);
    *r = (struct request){0};
}

bool request_no_memory(struct alula_error *e)
{
    return err_set(e, ALULA_NOMEM, "out of memory for the request");
}

static const char *type_name(json_type type)
{
    static const char *const names[] = {"an object", "a list", "a string", "a whole number",
                                        "a number",  "true",   "false",    "null"};
    return names[type];
}

bool request_member(const json_t *o, const char *key, json_type type, json_t **ret, const char *what,
                    struct alula_error *e)
{
    json_t *v = json_object_get(o, key);
    *ret = NULL;
    if (!v || json_is_null(v)) return true;
    if (json_typeof(v) != type)
        return err_set(e, ALULA_FORMAT, "%s: \"%s\" is %s, expected %s", what, key, type_name(json_typeof(v)),
                       type_name(type));
    *ret = v;
    return true;
}

json_t *request_read_list(const json_t *body, const char *key,
                          json_t *(*make)(const json_t *given, const char *where, struct alula_error *e),
                          struct alula_error *e)
{
    json_t *given, *list, *entry;
    const json_t *each;
    size_t i;
    if (!request_member(body, key, JSON_ARRAY, &given, WHAT, e)) return NULL;
    if (!(list = json_array())) request_no_memory(e);
    json_array_foreach(list ? given : NULL, i, each)
    {
        char where[64];
        snprintf(where, sizeof where, "%s[%zu]", key, i);
        if ((entry = make(each, where, e)) && json_array_append_new(list, entry) == 0) continue;
        if (entry) request_no_memory(e);
        json_decref(list);
        return NULL;
    }
    return list;
}

/* ---- sampling ---------------------------------------------------------------------------------------------- */

static bool read_reals(struct alula_sampling *s, const json_t *body, struct alula_error *e)
{
    const struct {
        const char *key;
        double min, max, *at;
    } fields[] = {
        {"temperature", 0, 100, &s->temperature},
        {"top_p", 0, 1, &s->top_p},
        {"min_p", 0, 1, &s->min_p},
        {"presence_penalty", -2, 2, &s->presence_penalty},
        {"frequency_penalty", -2, 2, &s->frequency_penalty},
        {"repetition_penalty", 0.01, 100, &s->repetition_penalty},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!json_get_real_or(body, fields[i].key, fields[i].min, fields[i].max, *fields[i].at, fields[i].at,
                              WHAT, e))
            return false;
    return true;
}

/* {"id": value, ...}, ids as text. */
static bool read_bias(struct alula_sampling *s, const json_t *body, struct alula_error *e)
{
    json_t *biases, *value;
    const char *key;
    int n = 0;
    if (!request_member(body, "logit_bias", JSON_OBJECT, &biases, WHAT, e)) return false;
    if (!biases || json_object_size(biases) == 0) return true;
    if (json_object_size(biases) > BIASES_MAX)
        return err_set(e, ALULA_LIMIT, WHAT ": \"logit_bias\" has %zu members, at most %d are taken",
                       json_object_size(biases), BIASES_MAX);
    struct alula_bias *list = mem_zalloc(json_object_size(biases), sizeof *list);
    if (!list) return request_no_memory(e);
    s->bias = list;
    json_object_foreach(biases, key, value)
    {
        char *end;
        errno = 0;
        long id = strtol(key, &end, 10);
        if (key[0] < '0' || key[0] > '9' || *end || errno || id > INT32_MAX)
            return err_set(e, ALULA_FORMAT,
                           WHAT ": \"logit_bias\" has the key \"%.40s\", expected a token's id", key);
        list[n].id = (int32_t)id;
        if (!json_get_real(biases, key, -100, 100, &list[n++].value, WHAT ": \"logit_bias\"", e))
            return false;
    }
    s->n_bias = n;
    return true;
}

static bool read_seed(struct alula_sampling *s, const json_t *body, struct alula_error *e)
{
    json_t *seed;
    if (!request_member(body, "seed", JSON_INTEGER, &seed, WHAT, e)) return false;
    if (seed) {
        s->seeded = true;
        s->seed = (uint64_t)json_integer_value(seed);
    }
    return true;
}

static bool read_depth(struct request *r, const json_t *body, struct alula_error *e)
{
    const json_t *depth = json_object_get(body, "depth");
    const char *mode;
    int64_t n = ALULA_DEPTH_AUTO;
    bool automatic = json_is_string(depth) && strcmp(json_string_value(depth), "auto") == 0;
    if (!automatic && !json_get_int_or(body, "depth", 0, ALULA_DEPTH_MAX, ALULA_DEPTH_AUTO, &n, WHAT, e))
        return false;
    if (!json_get_str_or(body, "generation_mode", "mtp", &mode, WHAT, e)) return false;
    bool plain = strcmp(mode, "ar") == 0;
    if (!plain && strcmp(mode, "mtp") != 0)
        return err_set(e, ALULA_FORMAT, WHAT ": \"generation_mode\" is \"%.40s\", expected \"mtp\" or \"ar\"",
                       mode);
    if (plain && n > 0)
        return err_set(e, ALULA_FORMAT,
                       WHAT ": \"generation_mode\" \"ar\" drafts nothing, but \"depth\" is %d", (int)n);
    r->depth = plain ? 0 : (int)n;
    return true;
}

bool request_read_common(struct request *r, const json_t *body, struct alula_error *e)
{
    int64_t top_k;
    const char *model; /* whichever is asked for, there is one */
    if (!json_get_str_or(body, "model", NULL, &model, WHAT, e) ||
        !json_get_bool_or(body, "stream", false, &r->stream, WHAT, e) || !read_reals(&r->sampling, body, e) ||
        !json_get_int_or(body, "top_k", -1, 1 << 24, r->sampling.top_k, &top_k, WHAT, e))
        return false;
    r->sampling.top_k = top_k < 0 ? 0 : (int)top_k; /* -1 is how others say off */
    return read_bias(&r->sampling, body, e) && read_seed(&r->sampling, body, e) && read_depth(r, body, e);
}

static bool add_stop(struct request *r, const json_t *text, const char *key, struct alula_error *e)
{
    if (!json_is_string(text) || json_string_length(text) == 0 ||
        strlen(json_string_value(text)) != json_string_length(text))
        return err_set(e, ALULA_FORMAT, WHAT ": \"%s\" holds %s, expected texts that are not empty", key,
                       json_is_string(text) ? "an empty text or one with NUL" : type_name(json_typeof(text)));
    if (r->n_stops == REQUEST_STOPS_MAX)
        return err_set(e, ALULA_LIMIT, WHAT ": \"%s\" has more than %d texts", key, REQUEST_STOPS_MAX);
    char *copy = mem_strdup(json_string_value(text));
    if (!copy) return request_no_memory(e);
    r->stops[r->n_stops++] = copy;
    return true;
}

bool request_read_stops(struct request *r, const json_t *body, const char *key, struct alula_error *e)
{
    const json_t *stops = json_object_get(body, key), *text;
    size_t i;
    if (!stops || json_is_null(stops)) return true;
    if (!json_is_array(stops)) return add_stop(r, stops, key, e);
    json_array_foreach(stops, i, text) if (!add_stop(r, text, key, e)) return false;
    return true;
}

/* ---- the conversation ---------------------------------------------------------------------------------------- */

/* What the template is told beside the conversation, which it may not replace: that has been checked. */
static bool check_kwargs(const json_t *more, struct alula_error *e)
{
    static const char *const ours[] = {"messages", "tools", "add_generation_prompt"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (json_object_get(more, ours[i]))
            return err_set(e, ALULA_FORMAT,
                           WHAT ": \"chat_template_kwargs\" holds \"%s\", which is not for it to say",
                           ours[i]);
    return true;
}

bool request_read_thinking(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *more;
    const char *effort;
    bool thinks;
    if (!request_member(body, "chat_template_kwargs", JSON_OBJECT, &more, WHAT, e) ||
        !check_kwargs(more, e) || !json_get_str_or(body, "reasoning_effort", NULL, &effort, WHAT, e) ||
        !json_get_bool_or(body, "enable_thinking", effort && strcmp(effort, "none") != 0, &thinks, WHAT, e))
        return false;
    bool said = effort || json_is_boolean(json_object_get(body, "enable_thinking"));
    if ((effort && json_object_set_new(r->conversation, "reasoning_effort", json_string(effort)) < 0) ||
        (said && json_object_set_new(r->conversation, "enable_thinking", json_boolean(thinks)) < 0) ||
        (more && json_object_update(r->conversation, more) < 0))
        return request_no_memory(e);
    return true;
}

/* Appends a part's text; false with an error if it is no text. */
static bool add_part(struct buf *out, const json_t *part, const char *what, size_t at, struct alula_error *e)
{
    const char *type;
    char where[128];
    snprintf(where, sizeof where, "%s[%zu]", what, at);
    if (!json_is_object(part))
        return err_set(e, ALULA_FORMAT, "%s is %s, expected an object", where, type_name(json_typeof(part)));
    if (!json_get_str_or(part, "type", "text", &type, where, e)) return false;
    size_t n = strlen(type);
    const char *key = strcmp(type, "refusal") == 0 ? "refusal" : "text";
    if (strcmp(key, type) != 0 && !(n > 5 && strcmp(type + n - 5, "_text") == 0))
        return err_set(e, ALULA_UNSUPPORTED,
                       "%s: \"type\" is \"%.40s\"; only text is read, no images, sound or files", where,
                       type);
    const json_t *text = json_object_get(part, key);
    if (!json_is_string(text))
        return err_set(e, ALULA_FORMAT, "%s: \"%s\" is %s, expected a string", where, key,
                       text ? type_name(json_typeof(text)) : "missing");
    buf_add(out, json_string_value(text), json_string_length(text));
    return true;
}

json_t *request_text(const json_t *content, const char *what, struct alula_error *e)
{
    if (json_is_string(content)) return json_incref((json_t *)(uintptr_t)content);
    if (!json_is_array(content)) {
        err_set(e, ALULA_FORMAT, "%s is %s, expected a string or a list of parts", what,
                content ? type_name(json_typeof(content)) : "missing");
        return NULL;
    }
    struct buf text = {0};
    const json_t *part, *joined = NULL;
    bool ok = true;
    size_t i;
    json_array_foreach(content, i, part) if (!(ok = add_part(&text, part, what, i, e))) break;
    if (ok && !(text.failed || (joined = json_stringn(text.data ? text.data : "", text.len))))
        request_no_memory(e);
    if (ok && text.failed) buf_check(&text, what, e);
    buf_free(&text);
    return (json_t *)(uintptr_t)joined;
}

/* What two system messages say, with an empty line between them. */
static bool join_system(json_t *first, const json_t *second, struct alula_error *e)
{
    const json_t *a = json_object_get(first, "content"), *b = json_object_get(second, "content");
    struct buf text = {0};
    buf_add(&text, json_string_value(a), json_string_length(a));
    if (text.len && json_string_length(b)) buf_str(&text, "\n\n");
    buf_add(&text, json_string_value(b), json_string_length(b));
    bool ok = !text.failed && json_object_set_new(first, "content", json_stringn(text.data, text.len)) == 0;
    buf_free(&text);
    return ok || request_no_memory(e);
}

static bool append_message(struct request *r, json_t *message, const char *where, struct alula_error *e)
{
    static const char *const roles[][2] = {{"system", "system"}, {"developer", "system"},
                                           {"user", "user"},     {"assistant", "assistant"},
                                           {"tool", "tool"},     {"function", "tool"}};
    json_t *list = json_object_get(r->conversation, "messages");
    const char *role, *known = NULL;
    if (!json_get_str_or(message, "role", "", &role, where, e)) return false;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(role, roles[i][0]) == 0) known = roles[i][1];
    if (!known)
        return err_set(e, ALULA_FORMAT,
                       "%s: \"role\" is \"%.40s\", expected system, developer, user, assistant or tool",
                       where, role);
    if (!list && json_object_set_new(r->conversation, "messages", list = json_array()) < 0)
        return request_no_memory(e);
    if (json_array_size(list) == REQUEST_MESSAGES_MAX)
        return err_set(e, ALULA_LIMIT, "%s: a conversation may have %d messages at most", where,
                       REQUEST_MESSAGES_MAX);
    json_t *first = json_array_get(list, 0);
    bool system = strcmp(known, "system") == 0;
    if (system && json_array_size(list) == 1 &&
        strcmp(json_string_value(json_object_get(first, "role")), "system") == 0)
        return join_system(first, message, e);
    if (system && first) known = "user";
    return (json_object_set_new(message, "role", json_string(known)) == 0 &&
            json_array_append(list, message) == 0) ||
           request_no_memory(e);
}

bool request_add_message(struct request *r, json_t *message, const char *where, struct alula_error *e)
{
    bool ok = message ? append_message(r, message, where, e) : request_no_memory(e);
    json_decref(message);
    return ok;
}

/* ---- tools and formats --------------------------------------------------------------------------------------- */

bool request_read_choice(const json_t *body, enum tool_choice *ret, const char **ret_name,
                         struct alula_error *e)
{
    static const char *const words[] = {"auto", "none", "required"};
    const json_t *v = json_object_get(body, "tool_choice"), *function = json_object_get(v, "function");
    *ret_name = json_string_value(json_object_get(function ? function : v, "name"));
    *ret = *ret_name ? TOOLS_NAMED : TOOLS_AUTO;
    if (!v || json_is_null(v) || *ret_name) return true;
    for (int i = 0; i < 3 && json_is_string(v); i++)
        if (strcmp(json_string_value(v), words[i]) == 0) {
            *ret = (enum tool_choice)i;
            return true;
        }
    return err_set(e, ALULA_FORMAT,
                   WHAT
                   ": \"tool_choice\" is neither auto, none, required nor an object that names a function");
}
_Static_assert(TOOLS_AUTO == 0 && TOOLS_NONE == 1 && TOOLS_REQUIRED == 2, "request_read_choice's words");

json_t *request_make_tool(const char *name, const char *description, json_t *parameters,
                          struct alula_error *e)
{
    json_t *tool =
        json_pack("{s:s, s:{s:s, s:s*, s:o}}", "type", "function", "function", "name", name, "description",
                  description, "parameters", parameters ? json_incref(parameters) : json_object());
    if (!tool) request_no_memory(e);
    return tool;
}

static bool check_tool(const json_t *tool, const char *where, size_t at, const char **ret_name,
                       struct alula_error *e)
{
    char what[96];
    const char *type;
    json_t *function, *parameters;
    snprintf(what, sizeof what, "%s[%zu]", where, at);
    if (!json_is_object(tool))
        return err_set(e, ALULA_FORMAT, "%s is %s, expected an object", what, type_name(json_typeof(tool)));
    if (!json_get_str_or(tool, "type", "function", &type, what, e)) return false;
    if (strcmp(type, "function") != 0)
        return err_set(e, ALULA_UNSUPPORTED, "%s: \"type\" is \"%.40s\"; only functions can be offered", what,
                       type);
    if (!request_member(tool, "function", JSON_OBJECT, &function, what, e)) return false;
    if (!function) return err_set(e, ALULA_FORMAT, "%s: \"function\" is missing, expected an object", what);
    if (!json_get_str_or(function, "name", "", ret_name, what, e) ||
        !request_member(function, "parameters", JSON_OBJECT, &parameters, what, e))
        return false;
    return **ret_name || err_set(e, ALULA_FORMAT, "%s: \"name\" is missing or empty", what);
}

/* {"type": "tools", ...} for alula_grammar_create. */
static json_t *call_grammar(json_t *tools, const char *name, bool parallel)
{
    json_t *choice = name ? json_pack("{s:s}", "name", name) : json_string("required");
    return json_pack("{s:s, s:O, s:o, s:b}", "type", "tools", "tools", tools, "choice", choice, "parallel",
                     parallel);
}

bool request_offer_tools(struct request *r, json_t *tools, enum tool_choice choice, const char *name,
                         const char *where, struct alula_error *e)
{
    const json_t *tool;
    const char *each;
    bool found = choice != TOOLS_NAMED;
    size_t i;
    if (json_array_size(tools) > REQUEST_TOOLS_MAX)
        return err_set(e, ALULA_LIMIT, "%s: %zu tools are offered, at most %d are taken", where,
                       json_array_size(tools), REQUEST_TOOLS_MAX);
    json_array_foreach(tools, i, tool)
    {
        if (!check_tool(tool, where, i, &each, e)) return false;
        if (!found && strcmp(each, name) == 0) found = true;
    }
    if (!found)
        return err_set(e, ALULA_FORMAT, WHAT ": \"tool_choice\" names \"%.100s\", which is none of the tools",
                       name);
    if (choice == TOOLS_REQUIRED && json_array_size(tools) == 0)
        return err_set(e, ALULA_FORMAT, WHAT ": \"tool_choice\" demands a call, but no tools are offered");
    if (json_array_size(tools) == 0 || choice == TOOLS_NONE) return true;
    r->tools = json_incref(tools);
    if (json_object_set(r->conversation, "tools", tools) < 0) return request_no_memory(e);
    if (choice == TOOLS_AUTO) return true;
    r->grammar = call_grammar(tools, choice == TOOLS_NAMED ? name : NULL, r->parallel_calls);
    return r->grammar || request_no_memory(e);
}

bool request_constrain(struct request *r, json_t *spec, struct alula_error *e)
{
    bool demanded = r->grammar, ok = spec; /* a call is demanded: nothing else will be said */
    if (ok && r->tools && !demanded)
        ok = json_object_set(spec, "tools", r->tools) == 0 &&
             json_object_set_new(spec, "parallel", json_boolean(r->parallel_calls)) == 0;
    if (ok && !demanded) r->grammar = json_incref(spec);
    json_decref(spec);
    return ok || request_no_memory(e);
}

bool request_continue(struct request *r, struct alula_error *e)
{
    const json_t *list = json_object_get(r->conversation, "messages"),
                 *last = json_array_get(list, json_array_size(list) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (strcmp(role, "assistant") != 0)
        return err_set(e, ALULA_FORMAT, "the last message is the %s's; only the assistant's can be continued",
                       role);
    if (json_array_size(json_object_get(last, "tool_calls")))
        return err_set(e, ALULA_FORMAT,
                       "the last message calls tools; their results must follow before an answer can");
    if (!json_is_string(json_object_get(last, "content")))
        return err_set(e, ALULA_FORMAT, "the last message has no text that could be continued");
    if (r->grammar)
        return err_set(e, ALULA_UNSUPPORTED,
                       WHAT
                       ": an answer that continues a message cannot have a format or a call demanded of it");
    r->continues = true;
    return true;
}
