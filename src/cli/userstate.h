/* userstate.h - where this user's state is kept, and what tune remembered there. */
#ifndef CLI_USERSTATE_H
#define CLI_USERSTATE_H

#include "tune/record.h"

/* `given` if it is not NULL (option --state), else $XDG_STATE_HOME/alula, else ~/.local/state/alula. The
 * folder need not be there. Errors: NOT_FOUND if neither variable says where, LIMIT if the path is
 * too long. */
bool userstate_dir(char *out, size_t cap, const char *given, struct alula_error *e);

/* What tune found for this artifact, machine and build. False if nothing is recorded; then e->code is
 * ALULA_OK, or says what is wrong with the record. n_threads 0 = the CPUs that this process may use. */
bool userstate_tuned(struct tune_record *ret, const char *given, const char *model, int n_threads,
                     struct alula_error *e);

/* What tune found is made the way to decode: sets the draft vocabulary of the options an engine is to be
 * opened with, and returns the depth to decode with, ALULA_DEPTH_AUTO, or 0 where no depth paid. What it
 * measured is the model's own head in fast mode; where the options say otherwise nothing is heeded. Logs what
 * it heeds and what is wrong with the record. The ids that it puts into the options are the caller's
 * (mem_free) once the engine is open. */
int userstate_heed(struct alula_engine_options *eo, const char *given, const char *model, int n_threads);

#endif
