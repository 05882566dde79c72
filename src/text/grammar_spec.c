/* grammar_spec.c - the kinds of request for a form of answer, and the reasoning that may come first. Must not know
 * schemas. */
#include "text/grammar_spec.h"

#include <string.h>

#include "base/json.h"
#include "text/free_text.h"
#include "text/grammar_tools.h"
#include "text/schema.h"

enum { SPEC_BYTES_MAX = 4 << 20, SPEC_DEPTH_MAX = 200 };

/* Free text up to the tag, however it is spelled; then an empty line, as the chat template writes it. */
static int32_t read_reasoning(struct grammar *g, const struct tokenizer *t, int32_t next)
{
    static const char *const tag[] = {"</think>"};
    int32_t rest = grammar_str(g, "\n\n", next);
    int32_t end = grammar_either(g, grammar_tag(g, t, *tag, rest), grammar_str(g, *tag, rest));
    return free_text(g, tag, 1, (struct free_form){.without = ""}, end);
}

static bool read_schema(struct json_text *j, const json_t *schema, int32_t *ret, struct alula_error *e)
{
    struct schema_reader *r;
    if (!schema) return err_set(e, ALULA_FORMAT, "the grammar: \"schema\" is missing");
    if (!schema_reader_create(&r, j, schema, "the schema", e)) return false;
    *ret = grammar_call(j->g, schema_rule(r, schema, ""), GRAMMAR_S_END);
    bool ok = schema_reader_finish(r, e);
    schema_reader_free(r);
    return ok;
}

static bool read_form(struct json_text *j, const json_t *spec, const char *type, int32_t *ret,
                      struct alula_error *e)
{
    if (strcmp(type, "json_schema") == 0) return read_schema(j, json_object_get(spec, "schema"), ret, e);
    *ret = grammar_call(j->g, j->object, GRAMMAR_S_END);
    return strcmp(type, "json_object") == 0 ||
           err_set(e, ALULA_UNSUPPORTED,
                   "the grammar: \"type\" is \"%.40s\", expected json_object, json_schema or tools", type);
}

/* Where the answer proper begins. With tools beside a form the model chooses by its first token. */
static bool read_answer(struct grammar *g, const struct tokenizer *t, const json_t *spec, int32_t *ret,
                        struct alula_error *e)
{
    struct json_text j;
    const char *type;
    int32_t form = GRAMMAR_S_DEAD, calls = GRAMMAR_S_DEAD;
    if (!json_get_str_or(spec, "type", "", &type, "the grammar", e)) return false;
    bool formless = strcmp(type, "tools") == 0, tools = formless || json_object_get(spec, "tools");
    json_text_create(&j, g, tools ? STRING_JSON | STRING_TAGLESS : STRING_JSON);
    if ((!formless && !read_form(&j, spec, type, &form, e)) ||
        (tools && !grammar_tools(&j, t, spec, &calls, e)))
        return false;
    *ret = grammar_either(g, calls, form);
    return true;
}

static bool build(struct grammar *g, const struct tokenizer *t, const json_t *spec, struct alula_error *e)
{
    int32_t begin;
    bool reasoning;
    if (!json_get_bool_or(spec, "reasoning", false, &reasoning, "the grammar", e) ||
        !read_answer(g, t, spec, &begin, e))
        return false;
    return grammar_seal(g, reasoning ? read_reasoning(g, t, begin) : begin, e);
}

bool grammar_from_spec(struct grammar *ret, const struct tokenizer *tokenizer, const char *spec, size_t len,
                       struct alula_error *e)
{
    struct grammar g;
    if (len > SPEC_BYTES_MAX)
        return err_set(e, ALULA_LIMIT, "the grammar has %zu bytes, expected at most %d", len, SPEC_BYTES_MAX);
    json_t *root = json_parse(spec, len, SPEC_DEPTH_MAX, "the grammar", e);
    bool ok = root && (json_is_object(root) || err_set(e, ALULA_FORMAT, "the grammar is not a JSON object"));
    if (ok && (ok = grammar_create(&g, e)) && !(ok = build(&g, tokenizer, root, e))) grammar_free(&g);
    json_decref(root);
    if (ok) *ret = g;
    return ok;
}
