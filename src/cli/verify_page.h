/* verify_page.h - a verification for people: its report and its progress. For forge and forge verify. */
#ifndef CLI_VERIFY_PAGE_H
#define CLI_VERIFY_PAGE_H

#include "cli/page.h"
#include "forge/verify.h"

void verify_page(const struct verify *v, const char *dir, struct buf *out);

/* A line of progress that starts anew with every part. Zero at first but for unit; verify_watch_tell is a
 * watch's tell. */
struct verify_watch {
    const char *unit; /* of the steps: "B", "steps" */
    struct progress line;
    const char *what; /* the part under way, borrowed text compared by content */
    char held[64];
};
bool verify_watch_tell(void *arg, const char *what, uint64_t done, uint64_t total);
void verify_watch_end(struct verify_watch *w);

#endif
