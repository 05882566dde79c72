/* grammar_spec.h - from the request for a form of answer to its grammar. */
#ifndef TEXT_GRAMMAR_SPEC_H
#define TEXT_GRAMMAR_SPEC_H

#include "text/grammar.h"
#include "text/tokenizer.h"

/* spec: see alula_grammar_create. Gives a sealed grammar; tokenizer tells which tags are tokens of their own. Errors:
 * FORMAT (no valid JSON, a field of the wrong type, a schema that contradicts itself), UNSUPPORTED (names the keyword
 * and its place), LIMIT, NOMEM. */
bool grammar_from_spec(struct grammar *ret, const struct tokenizer *tokenizer, const char *spec, size_t len,
                       struct alula_error *e);

#endif
