/* forge_page.h - what a forge will do and what it did, in words or as JSON. */
#ifndef CLI_FORGE_PAGE_H
#define CLI_FORGE_PAGE_H

#include <jansson.h>
#include "cli/page.h"
#include "forge/forge.h"

void forge_preview_page(const struct forge_preview *p, const struct forge_options *o, struct buf *out);
void forge_preview_json(const struct forge_preview *p, struct buf *out);
void forge_report_page(const struct forge_report *r, const char *dir, struct buf *out);
/* What measuring the result will take of memory, and what will be left out for want of it. Sizes in bytes. */
void forge_measuring_line(uint64_t artifact, uint64_t source, struct buf *out);
/* What to do with a result that was not measured. */
void forge_unmeasured_lines(const char *dir, struct buf *out);
/* measured: what was measured of it, NULL if nothing was. */
void forge_report_json(const struct forge_report *r, const char *dir, const json_t *measured,
                       struct buf *out);

#endif
