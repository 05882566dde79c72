/* toolcall.h - reads what a Qwen3.5 model writes, as it comes: reasoning, content, tool calls.
 *
 * The result does not depend on how the text is cut into pieces. Text is given out as soon as it is certain
 * what it is, and nothing is taken back; a call is given out when it is whole, because half a call may turn
 * out to be text. */
#ifndef TEXT_TOOLCALL_H
#define TEXT_TOOLCALL_H

#include "base/json.h"

enum toolcall_kind {
    TOOLCALL_REASONING, /* text, more of it */
    TOOLCALL_CONTENT,   /* text, more of it */
    TOOLCALL_CALL       /* text is the arguments, a JSON object */
};

/* Valid during the callback. text is whole characters, not NUL-terminated. */
struct toolcall_event {
    enum toolcall_kind kind;
    const char *text;
    size_t len;
    const char *name; /* of a call; NULL otherwise */
};

struct toolcall;

/* tools: the array that the request offers, as in the chat template's `tools`; NULL or empty: nothing is a
 * call. It must outlive the reader. in_reasoning: the prompt ended inside <think>. emit is called by feed and
 * end, on their thread. */
bool toolcall_create(struct toolcall **ret, const json_t *tools, bool in_reasoning,
                     void (*emit)(void *arg, const struct toolcall_event *event), void *arg,
                     struct alula_error *e);
/* Before the first byte: the prompt ended inside content, and the answer is more of it. */
void toolcall_continue(struct toolcall *t);
void toolcall_free(struct toolcall *t);

/* More of the answer, without stop tokens. Fails only if memory is exhausted or the answer is over 64 MB. */
bool toolcall_feed(struct toolcall *t, const char *text, size_t n, struct alula_error *e);
/* The answer is over. stopped: by the model itself, not by a limit; a call that a limit has cut is given out
 * as content. */
bool toolcall_end(struct toolcall *t, bool stopped, struct alula_error *e);

#endif
