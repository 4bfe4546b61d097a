/* UTF-8: strict reading (no overlong forms, no surrogates, nothing above U+10FFFF) and lossy repair.
 * Repair writes one U+FFFD for each maximal beginning of a character that the next byte breaks, as the Unicode Standard
 * (chapter 3.9, "U+FFFD Substitution of Maximal Subparts") recommends and as the tokenizers library's decoder does. */
#ifndef CORE_TEXT_UTF8_H
#define CORE_TEXT_UTF8_H
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"

typedef enum Utf8Kind {
    UTF8_CHAR,    /* a whole character */
    UTF8_BAD,     /* bytes that no continuation makes a character */
    UTF8_PARTIAL, /* a beginning of a character that the end of the input cuts */
} Utf8Kind;

enum { UTF8_BYTES_MAX = 4 };

/* What stands at s, n ≥ 1 bytes; *len is how many bytes it covers (≥ 1). */
Utf8Kind utf8_next(const char *s, size_t n, size_t *len);
/* Offset of the first byte that does not belong to a whole character; n when there is none. */
size_t utf8_check(const char *s, size_t n);
/* The character at s, which must be whole; *len is its length. */
uint32_t utf8_get(const char *s, size_t *len);
/* Writes cp (a scalar value) to out, returns its length. */
size_t utf8_put(uint32_t cp, char out[UTF8_BYTES_MAX]);
/* The largest length up to max at which valid UTF-8 can be cut without cutting a character. */
size_t utf8_cut(const char *s, size_t n, size_t max);
/* Appends s repaired to out. When rest is not NULL, a cut character at the end is left out and *rest is its length (0…3);
 * when rest is NULL it becomes U+FFFD. E_MEMORY. */
bool utf8_repair(const char *s, size_t n, Buf *out, size_t *rest, Err *err);
/* Unicode property White_Space. */
bool utf8_is_space(uint32_t cp);
/* A character of words as regular expressions of Unicode TR18 see it: letters, marks, decimal and letter numbers,
 * connectors, joiners, and letters in circles and squares. */
bool utf8_is_word(uint32_t cp);

#endif
