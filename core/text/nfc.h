/* Unicode normalization form C. Time is linear in the text, also for hostile runs of combining marks. */
#ifndef CORE_TEXT_NFC_H
#define CORE_TEXT_NFC_H
#include <stddef.h>

#include "core/base/buf.h"

/* Appends the composed form of the n bytes of valid UTF-8 at s to out. E_MEMORY. Source: Unicode Standard Annex 15. */
bool nfc_append(const char *s, size_t n, Buf *out, Err *err);

#endif
