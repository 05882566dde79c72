/* grammar_tools.h - calls of tools as Qwen3.5 writes them. Internal to text/. */
#ifndef TEXT_GRAMMAR_TOOLS_H
#define TEXT_GRAMMAR_TOOLS_H

#include "base/json.h"
#include "text/json_text.h"
#include "text/tokenizer.h"

/* A tag in the answer: the added token where the tokenizer has it, else its characters. */
int32_t grammar_tag(struct grammar *g, const struct tokenizer *t, const char *tag, int32_t next);

/* One call, or several with a line break between them if spec's "parallel" allows (it does unless it is
 * false). spec has "tools" as in the chat template, and "choice": "required" (the default) or {"name": N}.
 * *ret: where the first begins. */
bool grammar_tools(struct json_text *j, const struct tokenizer *t, const json_t *spec, int32_t *ret,
                   struct alula_error *e);

#endif
