/* svg.h - the few marks that alula's pictures are made of. Appended to a buf; a picture stands alone, without
 * scripts or fonts. */
#ifndef TUNE_SVG_H
#define TUNE_SVG_H

#include "base/buf.h"

void svg_begin(struct buf *out, int width, int height);
void svg_end(struct buf *out);
/* anchor: "start", "middle" or "end"; style: further attributes with a space in front, or "". The text may
 * hold anything. */
void svg_text(struct buf *out, double x, double y, const char *anchor, const char *style, const char *fmt,
              ...) __attribute__((format(printf, 6, 7)));
void svg_line(struct buf *out, double x1, double y1, double x2, double y2, const char *colour);

#endif
