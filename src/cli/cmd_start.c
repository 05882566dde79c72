/* cmd_start.c - alula start: an endpoint for clients of OpenAI's and Anthropic's APIs.
 *
 * Owns the options, the order of beginning and ending, and the signals. What is served stands in serve/. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/notify.h"
#include "cli/start_plan.h"
#include "cli/term.h"
#include "cli/userstate.h"
#include "serve/http.h"
#include "serve/listen.h"

#define PORT_FIRST 8765
#define PORT_TRIES 100
#define PARALLEL   4
#define QUEUE      64
#define CONFIG_MAX ((size_t)1 << 20)
#define LAST_LOOKS 40 /* two seconds */

static const struct timespec look = {.tv_nsec =
                                         50 * 1000 * 1000}; /* between two looks at what is still to do */

/* Numbers that were not given are -1, so that a file's can be told from the command line's. */
struct start_options {
    struct opt_shared shared;
    const char *host, *api_key, *api_key_file, *cors, *log, *config, *model_name, *mtp, *state, *cache_dir;
    bool log_json, exact, no_mtp;
    int port, parallel, ctx, max_tokens, queue, threads;
    int64_t memory, cache_memory;
    double timeout;
};

static const struct start_options defaults = {
    .shared = CLI_SHARED,
    .port = -1,
    .parallel = -1,
    .ctx = -1,
    .max_tokens = -1,
    .queue = -1,
    .threads = -1,
    .memory = -1,
    .cache_memory = -1,
    .timeout = -1,
};

#define AT(member) offsetof(struct start_options, member)
static const struct opt table[] = {
    {.name = "port",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(port),
     .min = 0,
     .max = 65535,
     .fallback = "the first free one from 8765 on",
     .help = "Where to listen; 0 takes any port that is free."},
    {.name = "host",
     .arg = "HOST",
     .type = OPT_STR,
     .offset = AT(host),
     .fallback = "127.0.0.1",
     .help = "Address to listen on. Any that other machines reach demands a key."},
    CLI_API_KEY(AT(api_key), "Answer only those who bring this key. Other users of this machine can see it; "
                             "--api-key-file hides it."),
    {.name = "api-key-file",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(api_key_file),
     .help = "The same, with the key in the first line of a file."},
    {.name = "cors",
     .arg = "ORIGIN",
     .type = OPT_STR,
     .offset = AT(cors),
     .help = "Let web pages from this origin ask (https://example.org; * is any). Without it none but the "
             "server's own may."},
    {.name = "model-name",
     .arg = "NAME",
     .type = OPT_STR,
     .offset = AT(model_name),
     .fallback = "the folder's name",
     .help = "Name by which clients see the model. Whatever name they ask for, they get this one."},
    {.name = "parallel",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(parallel),
     .min = 1,
     .max = 64,
     .fallback = "4",
     .help = "Answers that are made at a time."},
    {.name = "queue",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(queue),
     .min = 0,
     .max = 4096,
     .fallback = "64",
     .help = "Requests that may wait beyond those; more are told to come again later."},
    CLI_CTX(AT(ctx), "Tokens that prompt and answer of one request may have together."),
    CLI_MAX_TOKENS(AT(max_tokens), "to the end of the context",
                   "Longest answer to a request that does not say."),
    {.name = "memory",
     .arg = "MB",
     .type = OPT_INT64,
     .offset = AT(memory),
     .min = 0,
     .max = 1 << 30,
     .fallback = "what weights and cache leave",
     .help =
         "Memory for all requests: passes of the model, sessions, answers. A request starts when what it may "
         "need is free."},
    {.name = "cache-memory",
     .arg = "MB",
     .type = OPT_INT64,
     .offset = AT(cache_memory),
     .min = 0,
     .max = 1 << 30,
     .fallback = "a quarter of what the weights leave",
     .help = "Memory for beginnings of prompts, so that a conversation is not read anew each turn; 0 keeps "
             "none."},
    {.name = "cache-dir",
     .arg = "DIR",
     .type = OPT_STR,
     .offset = AT(cache_dir),
     .help =
         "Keep them in this folder as well, beyond the end of the server. It is made if it is not there."},
    {.name = "timeout",
     .arg = "SECONDS",
     .type = OPT_REAL,
     .offset = AT(timeout),
     .min = 0,
     .max = 1e9,
     .fallback = "none",
     .help = "Longest time for one request, waiting included."},
    {.name = "log",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(log),
     .fallback = "standard error",
     .help = "Where each request gets its line. SIGHUP opens the file anew."},
    {.name = "log-json", .type = OPT_FLAG, .offset = AT(log_json), .help = "Write these lines as JSON."},
    {.name = "config",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(config),
     .help = "A JSON object with options by their long names; the command line has the last word."},
    CLI_NO_MTP(AT(no_mtp)),
    CLI_MTP(AT(mtp)),
    CLI_EXACT(AT(exact)),
    CLI_THREADS(AT(threads), "Threads that compute."),
    CLI_STATE(AT(state), "Folder in which tune remembered what pays."),
    {.name = NULL},
};
#undef AT

static const struct opt_example examples[] = {
    {"alula start DIR", "Serves on this machine and says how to point an agent at it."},
    {"alula start DIR --host 0.0.0.0 --api-key-file key.txt", "Serves other machines too."},
    {"alula start DIR --config server.json --port 80", "Options from a file, and one on top."},
    {NULL, NULL},
};

/* ---- options ------------------------------------------------------------------------------------------------------------- */

static size_t option_size(const struct opt *o)
{
    switch (o->type) {
    case OPT_FLAG: return sizeof(bool);
    case OPT_INT:
    case OPT_CHOICE: return sizeof(int);
    case OPT_INT64: return sizeof(int64_t);
    case OPT_REAL: return sizeof(double);
    case OPT_STR: return sizeof(const char *);
    case OPT_LIST: return sizeof(struct opt_list);
    }
    return 0;
}

static bool takes_text(const struct opt *options, const char *name)
{
    for (const struct opt *t = options; t->name; t++)
        if (strcmp(t->name, name) == 0) return t->type == OPT_STR;
    return false;
}

/* A member's value as it would stand on the command line: texts are strings, all else may be. */
static bool set_member(const char *key, const json_t *value, const char *path, struct start_options *o,
                       struct alula_error *e)
{
    struct buf text = {0};
    const char *given = json_string_value(value); /* the tree outlives the options */
    bool ok;
    if (strcmp(key, "config") == 0)
        return err_set(e, ALULA_FORMAT, "%s: \"config\" is for the command line, a file names no other",
                       path);
    if (given && strlen(given) != json_string_length(value))
        return err_set(e, ALULA_FORMAT, "%s: \"%s\" holds a NUL character", path, key);
    if (!given && (takes_text(table, key) || takes_text(opt_shared_table, key)))
        return err_set(e, ALULA_FORMAT, "%s: \"%s\" is no string", path, key);
    if (!given) json_write(&text, value, 0);
    ok = buf_check(&text, path, e) && opt_set(&cmd_start.opt, key, given ? given : text.data, o, e);
    buf_free(&text);
    return ok || err_context(e, "%s", path);
}

/* What the file says, where the command line says nothing. *ret_tree owns the strings. */
static bool read_config(struct start_options *o, json_t **ret_tree, struct alula_error *e)
{
    struct start_options file = defaults;
    const char *key;
    json_t *value, *tree = json_parse_file(o->config, CONFIG_MAX, 4, e);
    if (!tree) return false;
    *ret_tree = tree;
    if (!json_is_object(tree))
        return err_set(e, ALULA_FORMAT, "%s: expected an object with options", o->config);
    json_object_foreach(tree, key, value) if (!set_member(key, value, o->config, &file, e)) return false;
    for (const struct opt *t = table; t->name; t++) {
        char *to = (char *)o + t->offset;
        if (memcmp(to, (const char *)&defaults + t->offset, option_size(t)) == 0)
            memcpy(to, (const char *)&file + t->offset, option_size(t));
    }
    return true;
}

static bool check_options(struct start_options *o, struct alula_error *e)
{
    if (!o->host) o->host = "127.0.0.1";
    if (o->api_key && o->api_key_file)
        return err_set(e, ALULA_USAGE, "--api-key and --api-key-file exclude each other");
    if (o->api_key && !*o->api_key) return err_set(e, ALULA_USAGE, "option --api-key: the key is empty");
    if (o->no_mtp && o->mtp) return err_set(e, ALULA_USAGE, "--no-mtp and --mtp exclude each other");
    if (!listen_is_local(o->host) && !o->api_key && !o->api_key_file)
        return err_set(e, ALULA_USAGE,
                       "--host %s lets other machines in; give --api-key-file FILE or --api-key KEY",
                       o->host);
    if (o->parallel < 0) o->parallel = PARALLEL;
    if (o->queue < 0) o->queue = QUEUE;
    if (o->ctx < 0) o->ctx = 0;
    if (o->max_tokens < 0) o->max_tokens = 0;
    if (o->threads < 0) o->threads = 0;
    if (o->timeout < 0) o->timeout = 0;
    return true;
}

/* ---- running --------------------------------------------------------------------------------------------------------------- */

/* All that a server is made of, in the order in which it is made. */
struct running {
    const struct start_options *o;
    struct alula_engine *engine;
    struct access_log *log;
    struct scheduler *scheduler;
    struct http *http;
    struct site site;
    struct buf key;
    char model[256];
    int depth;
};

/* The last part of the folder's path, or what --model-name says. */
static void choose_name(struct running *r, const char *dir)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--;
    size_t from = n;
    while (from > 0 && dir[from - 1] != '/') from--;
    if (r->o->model_name)
        snprintf(r->model, sizeof r->model, "%s", r->o->model_name);
    else
        snprintf(r->model, sizeof r->model, "%.*s", (int)(n - from), dir + from);
}

/* Of megabytes; -1, not given, stays. */
static int64_t in_bytes(int64_t mb) { return mb < 0 ? -1 : mb << 20; }

static bool start_scheduler(struct running *r, const char *dir, struct alula_error *e)
{
    const struct start_options *o = r->o;
    struct scheduler_options so = {
        .model = r->model,
        .n_threads = o->threads,
        .parallel = o->parallel,
        .queue = o->queue,
        .max_tokens = o->max_tokens,
        .depth = r->depth,
        .timeout_s = o->timeout,
        .cache_dir = o->cache_dir,
    };
    struct start_memory plan = {o->ctx, in_bytes(o->memory), in_bytes(o->cache_memory)};
    int64_t work = (int64_t)scheduler_work_bytes(r->engine, o->threads, o->parallel);
    if (!start_plan_memory(r->engine, dir, so.depth, work, &plan, e) ||
        !start_plan_sampling(dir, &r->site.sampling, e))
        return false;
    so.n_ctx = r->site.n_ctx = plan.n_ctx;
    so.memory = (size_t)plan.requests;
    so.cache_memory = (size_t)plan.cache;
    return scheduler_create(&r->scheduler, r->engine, &so, e);
}

static bool start_http(struct running *r, struct alula_error *e)
{
    const struct start_options *o = r->o;
    struct http_options ho = {
        .host = o->host,
        .port = o->port < 0 ? PORT_FIRST : o->port,
        .tries = o->port < 0 ? PORT_TRIES : 1,
        .guard = {.key = o->api_key ? o->api_key : r->key.data, .cors = o->cors},
        .log = r->log,
    };
    r->site.engine = r->engine;
    r->site.scheduler = r->scheduler;
    r->site.model = r->model;
    r->site.started = (int64_t)time(NULL);
    return http_start(&r->http, &r->site, &ho, e);
}

static bool start(struct running *r, const char *dir, struct alula_error *e)
{
    const struct start_options *o = r->o;
    struct alula_engine_options eo = {.exact = o->exact, .no_mtp = o->no_mtp, .mtp = o->mtp};
    choose_name(r, dir);
    r->depth = userstate_heed(&eo, o->state, dir, o->threads);
    bool ok = (!o->api_key_file || start_plan_key(o->api_key_file, &r->key, e)) &&
              access_log_open(&r->log, o->log, o->log_json, e) &&
              alula_engine_open(&r->engine, dir, &eo, e) && start_scheduler(r, dir, e) && start_http(r, e);
    mem_free((void *)(uintptr_t)eo.draft_ids);
    return ok;
}

/* Requests end before connections, and those before what they stand on. Clients get a moment for their last bytes. */
static void stop(struct running *r)
{
    struct scheduler_stats s = {.open = 1};
    if (r->scheduler) scheduler_stop(r->scheduler);
    for (int i = 0; r->http && s.open && i < LAST_LOOKS; i++) {
        if (i) nanosleep(&look, NULL);
        scheduler_describe(r->scheduler, &s);
    }
    http_stop(r->http);
    scheduler_free(r->scheduler);
    alula_engine_close(r->engine);
    access_log_close(r->log);
    buf_free(&r->key);
}

/* How to reach the server, and how to tell that to an agent. A key from a file stays in it. */
static bool print_page(const struct running *r, struct alula_error *e)
{
    const struct start_options *o = r->o;
    struct buf out = {0}, key = {0};
    const char *host = strcmp(o->host, "0.0.0.0") == 0 || strcmp(o->host, "::") == 0 ? "127.0.0.1" : o->host;
    const char *open = strchr(host, ':') ? "[" : "", *close = *open ? "]" : "";
    char url[320];
    snprintf(url, sizeof url, "http://%s%.250s%s:%d", open, host, close, http_port(r->http));
    if (o->api_key_file)
        buf_fmt(&key, "\"$(head -n 1 '%s')\"", o->api_key_file);
    else
        buf_str(&key, o->api_key ? o->api_key : "any");
    buf_fmt(&out, "%s is served at %s\n", r->model, url);
    buf_fmt(&out, "  %d tokens of context, %d answers at a time, key %s\n", r->site.n_ctx, o->parallel,
            o->api_key_file ? o->api_key_file : key.data);
    buf_str(&out, "To point an agent at it:\n");
    buf_fmt(&out, "  export OPENAI_BASE_URL=%s/v1 OPENAI_API_KEY=%s\n", url, key.data);
    buf_fmt(&out, "  export ANTHROPIC_BASE_URL=%s ANTHROPIC_AUTH_TOKEN=%s\n", url, key.data);
    if (key.failed) out.failed = true;
    buf_free(&key);
    bool ok = term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

/* ---- signals --------------------------------------------------------------------------------------------------------------- */

static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
}

static void reopen_log(struct running *r)
{
    struct alula_error e;
    if (!access_log_reopen(r->log, &e)) log_at(LOG_ERROR, "%s", e.message);
}

/* Until SIGTERM or SIGINT; then until the last request is done, or a second signal. */
static void wait_for_end(struct running *r, const sigset_t *set)
{
    struct scheduler_stats s;
    int number;
    while ((number = sigwaitinfo(set, NULL)) == SIGHUP || number < 0)
        if (number == SIGHUP) reopen_log(r);
    notify_manager("STOPPING=1");
    scheduler_drain(r->scheduler);
    scheduler_describe(r->scheduler, &s);
    if (s.open) log_at(LOG_WARN, "finishing %d requests; a second signal ends them", s.open);
    while (s.open) {
        number = sigtimedwait(set, NULL, &look);
        if (number == SIGHUP) reopen_log(r);
        if (number == SIGTERM || number == SIGINT) break;
        scheduler_describe(r->scheduler, &s);
    }
}

static bool serve(struct running *r, const char *dir, struct alula_error *e)
{
    sigset_t set;
    block_signals(&set); /* before there are threads, which inherit it */
    bool ok = start(r, dir, e) && print_page(r, e);
    if (ok) {
        notify_manager("READY=1");
        wait_for_end(r, &set);
    }
    stop(r);
    return ok;
}

static bool start_run(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    struct start_options o = *(const struct start_options *)options;
    struct running r = {.o = &o};
    json_t *tree = NULL;
    (void)n_args, (void)status;
    bool ok = (!o.config || read_config(&o, &tree, e)) && check_options(&o, e) && serve(&r, args[0], e);
    json_decref(tree);
    return ok;
}

const struct cli_command cmd_start = {
    .opt = {.name = "start",
            .summary = "serve a model to agents and other clients",
            .args = "DIR",
            .args_min = 1,
            .args_max = 1,
            .text = "Speaks the APIs of OpenAI and Anthropic, answers several requests at once, and "
                    "remembers what conversations have in common. A browser finds a chat at the same "
                    "address. SIGTERM and Ctrl-C let running requests finish; a second one ends them.",
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = start_run,
};
