/* bench_server.c - clients that ask a server at once, and percentiles of what they saw.
 *
 * Closed loop: each client asks again when it has its answer, so a slow server is asked less. Open loop: requests
 * come at times drawn beforehand (a Poisson process), and waiting counts from that time even if no client was free,
 * so a server that falls behind shows it. */
#include "cli/bench_server.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/remote.h"
#include "cli/term.h"

#define CLIENTS_MAX 64
#define SERIES_MAX  ((size_t)1 << 24)

/* Seconds, as many as come. */
struct series {
    double *v;
    size_t n, room;
};

struct load {
    const struct bench_server_options *o;
    pthread_mutex_t lock; /* guards all below */
    int next;             /* request */
    double *due;          /* [requests] open loop: when each comes, seconds from begin */
    double begin;
    struct series first, gap, total;
    int64_t tokens, prompt_tokens, cached_tokens;
    int answered, failed;
    struct alula_error error; /* of the first that failed */
};

/* One request of one client. */
struct ask {
    struct series gap;
    double last;
};

/* ---- series --------------------------------------------------------------------------------------------- */

static void series_add(struct series *s, double v)
{
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 256;
        double *grown = room <= SERIES_MAX ? mem_realloc(s->v, room * sizeof *grown) : NULL;
        if (!grown) return; /* a sample less */
        s->v = grown;
        s->room = room;
    }
    s->v[s->n++] = v;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value that share p of the series does not exceed; the series is sorted. */
static double percentile(const struct series *s, double p)
{
    return s->n ? s->v[(size_t)ceil(p * (double)s->n) - 1] : 0;
}

/* ---- clients -------------------------------------------------------------------------------------------- */

/* Words that differ from request to request from the first on, so that no prompt is another's beginning. */
static void write_prompt(struct buf *b, int number, int words)
{
    static const char *const stock[] = {"river",   "stone",  "letter", "winter", "garden",   "engine",
                                        "harbour", "silver", "music",  "paper",  "mountain", "kitchen",
                                        "window",  "forest", "market", "bridge"};
    buf_fmt(b, "\"messages\": [{\"role\": \"user\", \"content\": \"Number %d:", number);
    for (int i = 0; i < words; i++) {
        unsigned mix = ((unsigned)number + 1) * 2654435761u + (unsigned)i * 40503u;
        buf_fmt(b, " %s", stock[(mix >> 12) % 16]);
    }
    buf_str(b, "\"}], \"temperature\": 0");
}

static bool take_piece(void *arg, bool reasoning, const char *text, size_t len, struct alula_error *e)
{
    struct ask *ask = arg;
    double now = clock_s();
    (void)reasoning, (void)text, (void)len, (void)e;
    if (ask->last > 0) series_add(&ask->gap, now - ask->last);
    ask->last = now;
    return true;
}

/* Waits until a request is due; false if the user asked to stop. */
static bool wait_until(double due)
{
    for (double left; !term_stopped() && (left = due - clock_s()) > 0;) {
        struct timespec t = {0, (long)(1e9 * fmin(left, 0.05))};
        nanosleep(&t, NULL);
    }
    return !term_stopped();
}

static void add_result(struct load *l, const struct ask *ask, const struct remote_answer *a, double late,
                       bool ok, const struct alula_error *e)
{
    pthread_mutex_lock(&l->lock);
    if (ok) {
        l->answered++;
        if (a->first_s > 0) series_add(&l->first, late + a->first_s);
        series_add(&l->total, late + a->total_s);
        for (size_t i = 0; i < ask->gap.n; i++) series_add(&l->gap, ask->gap.v[i]);
        l->tokens += a->tokens;
        l->prompt_tokens += a->prompt_tokens;
        l->cached_tokens += a->cached_tokens;
    } else if (!l->failed++) {
        l->error = *e;
    }
    pthread_mutex_unlock(&l->lock);
}

static bool ask_once(struct load *l, struct remote *r, int number)
{
    struct buf members = {0};
    struct ask ask = {0};
    struct remote_answer answer;
    struct alula_error e;
    double due = l->begin + l->due[number], late = 0;
    if (l->o->rate > 0) {
        if (!wait_until(due)) return false;
        late = clock_s() - due;
    }
    write_prompt(&members, number, l->o->prompt_words);
    buf_fmt(&members, ", \"max_tokens\": %d", l->o->max_tokens);
    bool ok =
        buf_check(&members, "the request", &e) && remote_chat(r, members.data, take_piece, &ask, &answer, &e);
    if (ok || e.code != ALULA_CANCELLED) add_result(l, &ask, &answer, late, ok, &e);
    mem_free(ask.gap.v);
    buf_free(&members);
    return ok || e.code != ALULA_CANCELLED;
}

static int take_number(struct load *l)
{
    pthread_mutex_lock(&l->lock);
    int number = l->next < l->o->requests ? l->next++ : -1;
    pthread_mutex_unlock(&l->lock);
    return number;
}

static void *client(void *arg)
{
    struct load *l = arg;
    struct remote *r;
    struct alula_error e;
    if (!remote_open(&r, l->o->url, l->o->key, &e)) {
        add_result(l, NULL, NULL, 0, false, &e);
        return NULL;
    }
    for (int number; (number = take_number(l)) >= 0;)
        if (!ask_once(l, r, number)) break;
    remote_close(r);
    return NULL;
}

/* ---- report --------------------------------------------------------------------------------------------- */

static void report_series(struct buf *out, bool json, const char *key, const char *label, struct series *s)
{
    static const double shares[] = {.5, .9, .99};
    if (s->n) qsort(s->v, s->n, sizeof *s->v, ascending);
    double v[3];
    for (int i = 0; i < 3; i++) v[i] = 1e3 * percentile(s, shares[i]);
    if (json)
        buf_fmt(out, "\"%s\": {\"n\": %zu, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f}, ", key, s->n, v[0],
                v[1], v[2]);
    else
        buf_fmt(out, "%-22s %10.1f %10.1f %10.1f ms\n", label, v[0], v[1], v[2]);
}

static void report(struct load *l, double seconds, struct buf *out)
{
    const struct bench_server_options *o = l->o;
    if (o->json) {
        buf_fmt(out, "{\"clients\": %d, \"rate\": %.3f, \"requests\": %d, \"answered\": %d, \"failed\": %d, ",
                o->clients, o->rate, o->requests, l->answered, l->failed);
        buf_fmt(out, "\"seconds\": %.3f, \"tokens\": %lld, \"tok_s\": %.2f, ", seconds, (long long)l->tokens,
                (double)l->tokens / seconds);
    } else {
        if (o->rate > 0)
            buf_fmt(out, "%d requests, %g a second\n\n", o->requests, o->rate);
        else
            buf_fmt(out, "%d requests of %d clients\n\n", o->requests, o->clients);
        buf_fmt(out, "%-22s %10s %10s %10s\n", "", "median", "90 %", "99 %");
    }
    report_series(out, o->json, "first_ms", "to the first text", &l->first);
    report_series(out, o->json, "gap_ms", "between texts", &l->gap);
    report_series(out, o->json, "total_ms", "whole answer", &l->total);
    if (o->json) {
        buf_fmt(out, "\"prompt_tokens\": %lld, \"cached_tokens\": %lld}\n", (long long)l->prompt_tokens,
                (long long)l->cached_tokens);
        return;
    }
    buf_fmt(out, "\n%d answered with %lld tokens in %.1f s: %.1f tok/s in all\n", l->answered,
            (long long)l->tokens, seconds, (double)l->tokens / seconds);
    if (l->failed) buf_fmt(out, "%d failed, the first so: %s\n", l->failed, l->error.message);
}

/* ---- the run -------------------------------------------------------------------------------------------- */

/* Times between arrivals of a Poisson process are exponential; the same ones each time. */
static void draw_arrivals(struct load *l)
{
    uint64_t state = 1;
    double at = 0;
    for (int i = 0; i < l->o->requests && l->o->rate > 0; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        at -= log(((double)(state >> 11) + 1) * 0x1p-53) / l->o->rate;
        l->due[i] = at;
    }
}

static void run_clients(struct load *l)
{
    pthread_t threads[CLIENTS_MAX];
    int want = l->o->rate > 0 ? CLIENTS_MAX : l->o->clients, n = 0;
    if (want > l->o->requests) want = l->o->requests;
    while (n < want && !pthread_create(&threads[n], NULL, client, l)) n++;
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
}

bool bench_server(const struct bench_server_options *o, struct buf *out, struct alula_error *e)
{
    struct load l = {.o = o, .lock = PTHREAD_MUTEX_INITIALIZER};
    l.due = mem_zalloc((size_t)o->requests, sizeof *l.due);
    if (!l.due) return err_set(e, ALULA_NOMEM, "no memory for %d requests", o->requests);
    draw_arrivals(&l);
    l.begin = clock_s();
    run_clients(&l);
    double seconds = clock_s() - l.begin;
    bool ok = l.answered > 0 && !term_stopped();
    if (ok)
        report(&l, seconds, out);
    else if (term_stopped())
        err_set(e, ALULA_CANCELLED, "stopped");
    else if (l.failed)
        *e = l.error;
    else
        err_set(e, ALULA_IO, "no client could be started");
    mem_free(l.due);
    mem_free(l.first.v);
    mem_free(l.gap.v);
    mem_free(l.total.v);
    return ok && buf_check(out, "the report", e);
}
