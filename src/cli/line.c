/* line.c - a line typed on the terminal, with editing and the lines of before.
 *
 * Owns the use of libedit. Knows nothing of chats. */
#include "cli/line.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/term.h"

#define HISTORY_LINES 500

struct line_reader {
    EditLine *edit;
    History *history;
};

static char *line_mark(EditLine *edit)
{
    static char mark[] = "> ";
    (void)edit;
    return mark;
}

/* One character. libedit's own reader starts over when a signal interrupts it, so Ctrl-C would have to be
 * pressed twice, and then leave the terminal as the editor had set it. */
static int line_getc(EditLine *edit, wchar_t *ret)
{
    char bytes[4];
    uint32_t cp;
    (void)edit;
    for (size_t n = 0; n < sizeof bytes;) {
        ssize_t k = read(STDIN_FILENO, bytes + n, 1);
        if (k < 0 && errno == EINTR && !term_stopped()) continue;
        if (k <= 0) return (int)k;
        n++;
        if (utf8_decode(bytes, n, &cp)) {
            *ret = (wchar_t)cp;
            return 1;
        }
    }
    *ret = 0xfffd;
    return 1;
}

bool line_open(struct line_reader **ret, struct alula_error *e)
{
    struct line_reader *r = mem_zalloc(1, sizeof *r);
    if (r) {
        setlocale(LC_CTYPE, "C.UTF-8"); /* libedit asks the locale how characters are written */
        r->edit = el_init("alula", stdin, stderr, stderr);
        r->history = history_init();
    }
    if (!r || !r->edit || !r->history) {
        line_close(r);
        return err_set(e, ALULA_NOMEM, "cannot set up line editing");
    }
    HistEvent event;
    history(r->history, &event, H_SETSIZE, HISTORY_LINES);
    history(r->history, &event, H_SETUNIQUE, 1);
    el_set(r->edit, EL_PROMPT, line_mark);
    el_set(r->edit, EL_EDITOR, "emacs");
    el_set(r->edit, EL_HIST, history, r->history);
    el_set(r->edit, EL_GETCFN, line_getc);
    *ret = r;
    return true;
}

void line_close(struct line_reader *r)
{
    if (!r) return;
    if (r->edit) el_end(r->edit);
    if (r->history) history_end(r->history);
    mem_free(r);
}

const char *line_read(struct line_reader *r, size_t *ret_len)
{
    int n;
    HistEvent event;
    const char *line = el_gets(r->edit, &n);
    if (!line || n <= 0) {
        fputc('\n', stderr);
        return NULL;
    }
    size_t len = (size_t)n;
    while (len && (line[len - 1] == '\n' || line[len - 1] == '\r')) len--;
    if (len) history(r->history, &event, H_ENTER, line);
    *ret_len = len;
    return line;
}
