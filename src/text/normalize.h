/* normalize.h - Unicode normalization form C, as of Unicode 9.0. */
#ifndef TEXT_NORMALIZE_H
#define TEXT_NORMALIZE_H

#include "base/buf.h"

/* True: the text certainly is its own NFC. False: only normalize_nfc can tell. text is valid UTF-8. */
bool normalize_is_plain(const char *text, size_t n);

/* NFC of n bytes of valid UTF-8 into out (emptied first). Linear but for long runs of combining marks, which
 * are sorted. */
bool normalize_nfc(const char *text, size_t n, struct buf *out, struct alula_error *e);

#endif
