/* metrics.c - what the scheduler counts, as Prometheus text.
 *
 * Owns the names of the metrics. Knows nothing of how they came about. */
#include "serve/scheduler.h"

static void number(struct buf *out, const char *name, const char *type, const char *help, double value)
{
    buf_fmt(out, "# HELP alula_%s %s\n# TYPE alula_%s %s\nalula_%s %.15g\n", name, help, name, type, name,
            value);
}

static void by_depth(struct buf *out, const char *name, const char *help, const int64_t *counts)
{
    buf_fmt(out, "# HELP alula_%s %s\n# TYPE alula_%s counter\n", name, help, name);
    for (int d = 0; d < ALULA_DEPTH_MAX; d++)
        buf_fmt(out, "alula_%s{depth=\"%d\"} %jd\n", name, d + 1, (intmax_t)counts[d]);
}

/* Sum and count, of which Prometheus makes a mean over any time. */
static void sums(struct buf *out, const char *name, const char *help, double sum, int64_t count)
{
    buf_fmt(out, "# HELP alula_%s %s\n# TYPE alula_%s summary\nalula_%s_sum %.15g\nalula_%s_count %jd\n",
            name, help, name, name, sum, name, (intmax_t)count);
}

static void spread(struct buf *out, const char *name, const char *help, const struct histogram *h)
{
    histogram_write(h, histogram_seconds, name, help, out);
}

static void cache_numbers(struct buf *out, const struct alula_cache_stats *c)
{
    number(out, "cache_memory_bytes", "gauge", "Memory that the prompt cache may take.", (double)c->memory);
    number(out, "cache_memory_used_bytes", "gauge", "Of it taken.", (double)c->memory_used);
    number(out, "cache_snapshots", "gauge", "Places at which a session can be taken up.",
           (double)c->snapshots);
    number(out, "cache_lookups_total", "counter", "Prompts looked up.", (double)c->lookups);
    number(out, "cache_hits_total", "counter", "Of them found in part at least.", (double)c->hits);
    number(out, "cache_evicted_total", "counter", "Snapshots dropped from memory.", (double)c->evicted);
    number(out, "cache_disk_used_bytes", "gauge", "Bytes of the cache's files.", (double)c->disk_used);
    number(out, "cache_disk_hits_total", "counter", "Prompts found that read files.", (double)c->hits_disk);
    number(out, "cache_disk_damaged_total", "counter", "Files that were ignored.", (double)c->disk_damaged);
}

void scheduler_write_metrics(struct scheduler *scheduler, struct buf *out)
{
    struct scheduler_stats s;
    scheduler_describe(scheduler, &s);
    number(out, "requests_running", "gauge", "Answers that hold a session.", s.running);
    number(out, "requests_paused", "gauge", "Of them waiting for a client that reads slowly.", s.paused);
    number(out, "requests_waiting", "gauge", "Requests in the queue.", s.waiting);
    buf_str(out, "# HELP alula_requests_total Requests that are over, by how they ended.\n"
                 "# TYPE alula_requests_total counter\n");
    buf_fmt(out, "alula_requests_total{end=\"answered\"} %jd\n", (intmax_t)s.finished);
    buf_fmt(out, "alula_requests_total{end=\"failed\"} %jd\n", (intmax_t)s.failed);
    buf_fmt(out, "alula_requests_total{end=\"left\"} %jd\n", (intmax_t)s.cancelled);
    number(out, "prompt_tokens_total", "counter", "Tokens of prompts.", (double)s.prompt_tokens);
    number(out, "prompt_tokens_cached_total", "counter", "Of them taken from the cache.",
           (double)s.cached_tokens);
    number(out, "completion_tokens_total", "counter", "Tokens of answers.", (double)s.completion_tokens);
    number(out, "cycles_total", "counter", "Verifications.", (double)s.cycles);
    by_depth(out, "drafted_tokens_total", "Tokens drafted ahead, by depth.", s.drafted);
    by_depth(out, "accepted_tokens_total", "Of them accepted.", s.accepted);
    spread(out, "alula_queue_seconds", "From a request's arrival to its session.", &s.queue);
    sums(out, "prefill_seconds", "Reading of prompts.", s.prefill_s, s.finished);
    spread(out, "alula_first_token_seconds", "From a request's arrival to its first token.", &s.first_token);
    spread(out, "alula_between_tokens_seconds",
           "Between two tokens of an answer; those that a pass accepts together share its time.", &s.between);
    spread(out, "alula_request_seconds", "From a request's arrival to the end of its answers.", &s.whole);
    histogram_write(&s.prompt, histogram_tokens, "alula_request_prompt_tokens",
                    "Tokens of a request's prompts.", out);
    sums(out, "decode_seconds", "Writing of answers.", s.decode_s, s.finished);
    number(out, "session_memory_bytes", "gauge", "Memory that requests may take together.", (double)s.memory);
    number(out, "session_memory_used_bytes", "gauge", "Of it reserved.", (double)s.memory_used);
    cache_numbers(out, &s.cache);
}
