/* engine_rig.h - one engine for all tests of a program, opened before the first and closed behind the last: for
 * cmocka_run_group_tests. Include once per program. */
#ifndef TESTS_ENGINE_RIG_H
#define TESTS_ENGINE_RIG_H

#include "alula.h"

static struct alula_engine *engine;

/* The bundled trunk with the donor's head. */
static inline int open_graft(void **state)
{
    struct alula_error e;
    struct alula_engine_options o = {.mtp = "models/tiny-donor"};
    (void)state;
    return alula_engine_open(&engine, "models/tiny-trunk", &o, &e) ? 0 : -1;
}

/* The donor, head and all. */
static inline int open_donor(void **state)
{
    struct alula_error e;
    (void)state;
    return alula_engine_open(&engine, "models/tiny-donor", NULL, &e) ? 0 : -1;
}

static inline int close_engine(void **state)
{
    (void)state;
    alula_engine_close(engine);
    return 0;
}

#endif
