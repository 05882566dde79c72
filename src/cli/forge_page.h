/* forge_page.h - what a forge will do and what it did, in words or as JSON. */
#ifndef CLI_FORGE_PAGE_H
#define CLI_FORGE_PAGE_H

#include <jansson.h>
#include "cli/page.h"
#include "forge/forge.h"

void forge_preview_page(const struct forge_preview *p, const struct forge_options *o, struct buf *out);
void forge_preview_json(const struct forge_preview *p, struct buf *out);
void forge_report_page(const struct forge_report *r, const char *dir, struct buf *out);
/* measured: what was measured of it, NULL if nothing was. */
void forge_report_json(const struct forge_report *r, const char *dir, const json_t *measured,
                       struct buf *out);

#endif
