/* measure.c - see measure.h. Prints progress alone; the page is verify_page.c's. */
#include "cli/measure.h"

#include "base/file.h"
#include "cli/cli.h"
#include "cli/verify_page.h"

bool measure_open(struct verify_options *vo, struct buf *text, const struct measure_options *m,
                  struct alula_error *e)
{
    buf_init(text, CLI_INPUT_MAX);
    if (m->calib && !file_read(m->calib, CLI_INPUT_MAX, text, e)) return false;
    if (m->calib) vo->text = text->data ? text->data : ""; /* an empty file is not the bundled text */
    vo->text_len = text->len;
    vo->positions = m->positions;
    vo->n_prompts = m->prompts;
    vo->max_tokens = m->max_tokens;
    return true;
}

bool measure_artifact(struct verify *ret, const struct verify_options *vo, struct alula_error *e)
{
    struct verify_watch progress = {.unit = "steps"};
    const struct watch watch = {verify_watch_tell, &progress};
    struct verify_options o = *vo;
    o.watch = &watch;
    bool ok = verify_run(ret, &o, e);
    verify_watch_end(&progress);
    return ok;
}
