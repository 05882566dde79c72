/* term.c - the terminal: writing results to it, colour, a line of progress, Ctrl-C.
 *
 * Owns what signals do and every escape sequence. Knows nothing of commands. */
#include "cli/term.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    stopped = 1;
    signal(number, SIG_DFL);
}

/* A page of a mapped file that is no longer there: another program cut the file, or the disk failed. */
static void on_lost_page(int number)
{
    static const char text[] =
        "alula: a file of the model was cut short while it was read, or its disk failed\n";
    (void)number;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(1);
}

static void arm(void)
{
    /* no SA_RESTART: a read or write that waits must return, or Ctrl-C would do nothing */
    struct sigaction act = {.sa_handler = on_signal};
    sigemptyset(&act.sa_mask);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

void term_start(void)
{
    /* wrong way round on purpose: reading from or writing to a stream that was closed stays an error */
    const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", modes[fd]);
    signal(SIGBUS, on_lost_page);
    arm();
}

bool term_stopped(void) { return stopped != 0; }

void term_resume(void)
{
    stopped = 0;
    arm();
}

bool term_write(const void *p, size_t n, struct alula_error *e)
{
    const char *at = p;
    while (n) {
        ssize_t k = write(STDOUT_FILENO, at, n);
        if (k < 0 && errno == EINTR) {
            if (stopped) return err_set(e, ALULA_CANCELLED, "stopped");
            continue;
        }
        if (k < 0) return err_errno(e, ALULA_IO, "cannot write to standard output");
        at += k;
        n -= (size_t)k;
    }
    return true;
}

bool term_write_buf(struct buf *b, struct alula_error *e)
{
    bool ok = buf_check(b, "the output", e) && term_write(b->data, b->len, e);
    buf_clear(b);
    return ok;
}

bool term_is_terminal(FILE *f) { return isatty(fileno(f)) == 1; }

int term_width(FILE *f)
{
    struct winsize w;
    if (!term_is_terminal(f) || ioctl(fileno(f), TIOCGWINSZ, &w) != 0 || w.ws_col == 0) return 80;
    return w.ws_col;
}

const char *term_style(FILE *f, enum term_style style)
{
    static const char *const sequences[] = {
        [TERM_PLAIN] = "\033[0m", [TERM_BOLD] = "\033[1m",   [TERM_DIM] = "\033[2m",
        [TERM_RED] = "\033[31m",  [TERM_GREEN] = "\033[32m", [TERM_CYAN] = "\033[36m",
    };
    const char *plain = getenv("NO_COLOR"); /* no-color.org: any text but the empty one */
    return term_is_terminal(f) && !(plain && *plain) ? sequences[style] : "";
}

void progress_start(struct progress *p, const char *what, const char *unit, uint64_t total)
{
    *p = (struct progress){.what = what,
                           .unit = unit,
                           .total = total,
                           .start_s = clock_s(),
                           .enabled = term_is_terminal(stderr)};
}

/* "152 MB", "31 tokens" */
static void amount(char *out, size_t cap, double v, const char *unit)
{
    static const char *const prefixes[] = {"", "k", "M", "G", "T"};
    size_t i = 0;
    bool bytes = strcmp(unit, "B") == 0;
    while (bytes && v >= 1000 && i + 1 < sizeof prefixes / sizeof *prefixes) {
        v /= 1000;
        i++;
    }
    snprintf(out, cap, "%.*f %s%s", v < 10 ? 1 : 0, v, prefixes[i], unit);
}

static void duration(char *out, size_t cap, double s)
{
    if (s < 90)
        snprintf(out, cap, "%.0f s", s);
    else if (s < 5400)
        snprintf(out, cap, "%.0f min", s / 60);
    else
        snprintf(out, cap, "%.1f h", s / 3600);
}

void progress_show(struct progress *p, uint64_t done)
{
    double now = clock_s(), spent = now - p->start_s;
    if (!p->enabled || !done || !p->total || spent < 0.5 || now - p->drawn_s < 0.1) return;
    double share = done < p->total ? (double)done / (double)p->total : 1;
    if (!p->drawn_s && spent / share < 2) return;
    p->drawn_s = now;

    char rate[32], left[32], tail[128], bar[64];
    amount(rate, sizeof rate, (double)done / spent, p->unit);
    duration(left, sizeof left, spent / share - spent);
    snprintf(tail, sizeof tail, "%3.0f %%  %s/s  %s left", 100 * share, rate, left);
    int room = term_width(stderr) - (int)strlen(p->what) - (int)strlen(tail) - 7;
    int width = room < 40 ? room : 40;
    if (width < 4) {
        fprintf(stderr, "\r\033[K%s", tail);
        return;
    }
    memset(bar, '.', (size_t)width);
    memset(bar, '#', (size_t)(share * width));
    fprintf(stderr, "\r\033[K%s  [%.*s]  %s", p->what, width, bar, tail);
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->drawn_s) fputs("\r\033[K", stderr);
    p->drawn_s = 0;
}
