/* Any text as a model's answer: the reader of reasoning, content and calls gives the same events however the
 * text is cut, whole characters only, and arguments that are a JSON object. The first bytes choose cut and
 * mode. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/toolcall.h"

#define TOOLS                                                                                                \
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\", "      \
    "\"properties\": {"                                                                                      \
    "\"s\": {\"type\": \"string\"}, \"n\": {\"type\": \"integer\"}, \"o\": {\"type\": [\"object\", "         \
    "\"null\"]}}}}}]"

static void must(bool condition)
{
    if (!condition) abort();
}

/* Text of one kind that goes on is one piece, so that cuts do not show. */
struct record {
    struct buf text;
    int last; /* kind of the last event, -1 = none */
};

static void take(void *arg, const struct toolcall_event *event)
{
    struct record *r = arg;
    struct alula_error e;
    must(event->len > 0 && utf8_valid_len(event->text, event->len) == event->len);
    if (event->kind == TOOLCALL_CALL) {
        json_t *v = json_parse(event->text, event->len, 128, "arguments", &e);
        must(json_is_object(v));
        json_decref(v);
        buf_fmt(&r->text, "\n[call %s]", event->name);
    } else if ((int)event->kind != r->last) {
        buf_fmt(&r->text, "\n[%d]", event->kind);
    }
    r->last = event->kind;
    buf_add(&r->text, event->text, event->len);
}

/* Feeds the text in pieces of `step` bytes. */
static void read_all(struct record *r, const json_t *tools, unsigned mode, const char *text, size_t n,
                     size_t step)
{
    struct toolcall *t;
    struct alula_error e;
    r->last = -1;
    must(toolcall_create(&t, mode & 1 ? tools : NULL, mode & 2, take, r, &e));
    for (size_t i = 0; i < n; i += step) must(toolcall_feed(t, text + i, n - i < step ? n - i : step, &e));
    must(toolcall_end(t, mode & 4, &e));
    toolcall_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct alula_error e;
    struct record whole = {0}, cut = {0};
    if (size < 3) return 0;
    const char *text = (const char *)data + 2;
    size_t n = utf8_valid_len(text, size - 2); /* answers come from a decoder that gives whole characters */
    if (n == 0) return 0;
    json_t *tools = json_parse(TOOLS, strlen(TOOLS), 16, "tools", &e);
    read_all(&whole, tools, data[0], text, n, n);
    read_all(&cut, tools, data[0], text, n, 1 + data[1] % 16u);
    must(whole.text.len == cut.text.len &&
         (!cut.text.len || !memcmp(whole.text.data, cut.text.data, cut.text.len)));
    json_decref(tools);
    buf_free(&whole.text);
    buf_free(&cut.text);
    return 0;
}
