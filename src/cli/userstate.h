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

#endif
