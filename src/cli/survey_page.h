/* survey_page.h - what probe and inspect both show of a folder. */
#ifndef CLI_SURVEY_PAGE_H
#define CLI_SURVEY_PAGE_H

#include "cli/page.h"
#include "forge/probe.h"

/* Lines on the model, its weights and its head. */
void survey_page(const struct survey *s, struct buf *out);
/* "next": each why and its command. */
void advice_page(const struct advice *next, int n, struct buf *out);

#endif
