/* measure.c - see measure.h. Prints progress alone; the page is verify_page.c's. */
#include "cli/measure.h"

#include "base/file.h"
#include "cli/cli.h"
#include "cli/verify_page.h"

bool measure_artifact(struct verify *ret, const struct verify_options *vo, const struct measure_options *m,
                      struct alula_error *e)
{
    struct verify_watch progress = {.unit = "steps"};
    const struct watch watch = {verify_watch_tell, &progress};
    struct buf text;
    buf_init(&text, CLI_INPUT_MAX);
    bool ok = !m->calib || file_read(m->calib, CLI_INPUT_MAX, &text, e);
    struct verify_options o = *vo;
    if (m->calib) o.text = text.data ? text.data : ""; /* an empty file is not the bundled text */
    o.text_len = text.len;
    o.positions = m->positions;
    o.n_prompts = m->prompts;
    o.max_tokens = m->max_tokens;
    o.watch = &watch;
    ok = ok && verify_run(ret, &o, e);
    verify_watch_end(&progress);
    buf_free(&text);
    return ok;
}
