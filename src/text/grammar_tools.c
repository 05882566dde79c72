/* grammar_tools.c - the markup of tool calls. Must not know how values of parameters are written (schema_call.c). */
#include "text/grammar_tools.h"

#include <stdio.h>
#include <string.h>

#include "text/schema.h"

enum { TOOLS_MAX = 1000 };

int32_t grammar_tag(struct grammar *g, const struct tokenizer *t, const char *tag, int32_t next)
{
    int32_t id = tokenizer_find(t, tag, strlen(tag));
    if (id >= 0 && tokenizer_is_added(t, id)) return grammar_token(g, id, next);
    return grammar_str(g, tag, next);
}

static bool check_name(const char *name, size_t i, struct alula_error *e)
{
    if (!name) return err_set(e, ALULA_FORMAT, "tool %zu has no name", i);
    if (schema_is_name(name)) return true;
    return err_set(
        e, ALULA_FORMAT,
        "tool %zu is called \"%.60s\", expected 1 to %d bytes without <, > or line breaks, and no white "
        "space at the ends",
        i, name, SCHEMA_NAME_BYTES);
}

/* NAME and what follows it, up to and with </function> LF. */
static bool read_tool(struct json_text *j, const char *name, const json_t *parameters, int32_t next,
                      int32_t *ret, struct alula_error *e)
{
    struct schema_reader *r;
    char place[120];
    struct grammar *g = j->g;
    int32_t end = grammar_str(g, "</function>\n", next);
    snprintf(place, sizeof place, "tool \"%.60s\"", name);
    bool any = parameters && !json_is_null(parameters);
    if (any) {
        if (!schema_reader_create(&r, j, parameters, place, e)) return false;
        end = schema_call(r, parameters, end);
        bool ok = schema_reader_finish(r, e);
        schema_reader_free(r);
        if (!ok) return false;
    }
    *ret = grammar_str(g, name, grammar_str(g, ">\n", end));
    return true;
}

/* Any of the tools that may be called. */
static bool read_tools(struct json_text *j, const json_t *tools, const char *only, int32_t next, int32_t *ret,
                       struct alula_error *e)
{
    int32_t all = GRAMMAR_S_DEAD, one = GRAMMAR_S_DEAD;
    if (!json_array_size(tools) || json_array_size(tools) > TOOLS_MAX)
        return err_set(e, ALULA_FORMAT, "the grammar: \"tools\" must be a list of 1 to %d tools", TOOLS_MAX);
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i), *function = json_object_get(tool, "function");
        if (!function) function = tool;
        const char *name = json_string_value(json_object_get(function, "name"));
        if (!check_name(name, i, e)) return false;
        if (only && strcmp(only, name)) continue;
        if (!read_tool(j, name, json_object_get(function, "parameters"), next, &one, e)) return false;
        all = grammar_either(j->g, one, all);
    }
    if (all == GRAMMAR_S_DEAD && !j->g->failed)
        return err_set(e, ALULA_FORMAT, "the grammar: \"choice\" names \"%.60s\", which is none of the tools",
                       only ? only : "");
    *ret = all;
    return true;
}

static bool read_choice(const json_t *choice, const char **ret_only, struct alula_error *e)
{
    const char *text = json_string_value(choice), *name = json_string_value(json_object_get(choice, "name"));
    *ret_only = name;
    if (!choice || name || (text && strcmp(text, "required") == 0)) return true;
    return err_set(e, ALULA_FORMAT, "the grammar: \"choice\" must be \"required\" or {\"name\": NAME}");
}

bool grammar_tools(struct json_text *j, const struct tokenizer *t, const json_t *spec, int32_t *ret,
                   struct alula_error *e)
{
    struct grammar *g = j->g;
    const char *only;
    bool parallel;
    int32_t first = GRAMMAR_S_DEAD, again;
    const json_t *tools = json_object_get(spec, "tools");
    if (!read_choice(json_object_get(spec, "choice"), &only, e) ||
        !json_get_bool_or(spec, "parallel", true, &parallel, "the grammar", e))
        return false;
    /* A call is a rule: the first is called, and each further one by the line break behind the last. */
    int call = grammar_rule(g);
    int32_t last = grammar_tag(g, t, "</tool_call>", GRAMMAR_S_END);
    if (!read_tools(j, tools, only, last, &first, e)) return false;
    grammar_define(g, call, grammar_tag(g, t, "<tool_call>", grammar_str(g, "\n<function=", first)));
    again = grammar_str(g, "\n", grammar_call(g, call, GRAMMAR_S_AGAIN));
    *ret = grammar_call(
        g, call, parallel ? grammar_repeat(g, again, 0, GRAMMAR_NO_LIMIT, GRAMMAR_S_END) : GRAMMAR_S_END);
    return true;
}
