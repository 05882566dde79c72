/* chat.h - a model folder's chat template, and what a conversation goes through before it. */
#ifndef TEXT_CHAT_H
#define TEXT_CHAT_H

#include "text/tokenizer.h"

/* Immutable once opened; any number of threads may render. */
struct chat_template;

/* Reads dir/chat_template.jinja, or else "chat_template" of dir/tokenizer_config.json (a string, or a list
 * of {name, template}), and the special tokens of the latter (bos_token, eos_token, ...), which are
 * variables of the template. ALULA_NOT_FOUND if the folder has no template. */
bool chat_template_open(struct chat_template **ret, const char *dir, struct alula_error *e);
void chat_template_close(struct chat_template *t);

/* Renders a conversation as Hugging Face's apply_chat_template does. json: an object with "messages" and
 * any other variable of the template ("tools", "add_generation_prompt", "enable_thinking", ...). First the
 * conversation is prepared:
 *   - "messages" must be a list of objects, and not empty;
 *   - members of a message that are null are dropped; reasoning_content is filled from thinking or
 *     reasoning, thinking from reasoning_content;
 *   - arguments of tool calls that are JSON text are parsed; missing, null and empty ones become an empty
 *     object; what is no object then is refused;
 *   - "tools" that are missing or empty and missing "documents" are none, missing "add_generation_prompt"
 *     is false;
 *   - with "continue_final_message" the rendering ends with the text of the last message, without white space and calls
 *     behind it.
 * Output is appended to out; after an error out is as it was. What is wrong with the conversation, a
 * raise_exception of the template included, is ALULA_FORMAT. */
bool chat_template_render(const struct chat_template *t, const char *json, size_t n, struct buf *out,
                          struct alula_error *e);
/* The same as ids. Only what the template wrote is markup: where text of the conversation (messages, results, arguments,
 * tools, whatever the template does with them) is spelled like an added token, it is text. *ret_ids: mem_free. */
bool chat_template_encode(const struct chat_template *t, const struct tokenizer *tokenizer, const char *json,
                          size_t n, int32_t **ret_ids, size_t *ret_n, struct alula_error *e);

#endif
