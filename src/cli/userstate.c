/* userstate.c - the user's state folder, by the XDG base directory rules: the only place that reads the
 * environment. */
#include "cli/userstate.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"

bool userstate_dir(char *out, size_t cap, const char *given, struct alula_error *e)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;
    if (given)
        n = snprintf(out, cap, "%s", given);
    else if (state && state[0] == '/') /* the rules: a relative path counts as none */
        n = snprintf(out, cap, "%s/alula", state);
    else if (home && home[0] == '/')
        n = snprintf(out, cap, "%s/.local/state/alula", home);
    else
        return err_set(e, ALULA_NOT_FOUND, "no state folder: HOME is not set; name one with --state DIR");
    return (size_t)n < cap ||
           err_set(e, ALULA_LIMIT, "the path of the state folder is longer than %zu bytes", cap - 1);
}

bool userstate_tuned(struct tune_record *ret, const char *given, const char *model, int n_threads,
                     struct alula_error *e)
{
    char dir[4000], path[4096];
    struct tune_key key;
    struct alula_error none;
    bool found = false;
    e->code = ALULA_OK;
    /* Nothing remembered at all is the usual case, and sampling a big artifact is not free. */
    if (!userstate_dir(dir, sizeof dir, given, &none) ||
        !path_join(path, sizeof path, dir, TUNE_RECORD_FILE, &none) || !file_exists(path))
        return false;
    /* A folder that cannot be read is reported by whoever opens it. */
    return tune_key_make(&key, model, n_threads, &none) && tune_record_find(dir, &key, ret, &found, e) &&
           found;
}

int userstate_heed(struct alula_engine_options *eo, const char *given, const char *model, int n_threads)
{
    struct tune_record t;
    struct alula_error e;
    if (eo->no_mtp || eo->mtp || eo->exact) return ALULA_DEPTH_AUTO;
    if (!userstate_tuned(&t, given, model, n_threads, &e)) {
        if (e.code) log_at(LOG_WARN, "%s", e.message);
        return ALULA_DEPTH_AUTO;
    }
    log_at(LOG_INFO, "tune found %s", tune_verdict_name(t.verdict));
    if (t.busy || !t.depth) {
        tune_record_free(&t);
        return t.busy ? ALULA_DEPTH_AUTO : 0;
    }
    eo->draft_ids = t.draft_ids;
    eo->n_draft_ids = t.draft_ids ? t.draft_vocab : 0;
    eo->draft_vocab = t.draft_ids ? 0 : t.draft_vocab;
    eo->draft_bits = t.draft_bits;
    return ALULA_DEPTH_AUTO;
}
