/* A strict JSON reader that walks a text once and builds nothing: for the two places where a JSON
 * object has one member per tensor (safetensors headers, the shard index). RFC 8259 without
 * extensions: UTF-8 is checked, \u escapes are joined and encoded, U+0000 is refused (names are C
 * strings), numbers have no leading zeros, nesting is limited.
 *
 * Why not jansson: its tree of the 20 MB header of a 125,000-tensor checkpoint costs more than the
 * time in which the whole checkpoint is to be open (figures in core/file/README.md). Small JSON
 * (config.json) still goes through jansson. */
#ifndef CORE_FILE_JSON_SCAN_H
#define CORE_FILE_JSON_SCAN_H
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

enum { JSON_SCAN_DEPTH_MAX = 64 };

typedef struct JsonScan {
    const char *text; /* borrowed, n bytes, needs no 0 at its end */
    size_t n, at;
    const char *where; /* file name for messages */
    uint64_t base;     /* offset of text in that file, added to positions in messages */
    Err *err;
} JsonScan;

/* Every function that returns bool fills s->err with "where: byte N: expected …, found …"
 * (E_FORMAT) when it returns false. */

/* The next character that is not white space, not consumed; -1 at the end. */
int json_scan_peek(JsonScan *s);
/* Skips white space and consumes c. what says what stands there: "'{' of the header". */
bool json_scan_expect(JsonScan *s, char c, const char *what);
/* Consumes a string into out (cap bytes with the final 0); longer ones are refused. len may be
 * NULL. */
bool json_scan_string(JsonScan *s, char *out, size_t cap, size_t *len, const char *what);
/* Consumes a non-negative integer below 2^64; a sign, fraction or exponent is refused. */
bool json_scan_u64(JsonScan *s, uint64_t *v, const char *what);
/* Consumes and checks one value of any type. */
bool json_scan_skip(JsonScan *s);
/* After a member or element: consumes ',' (then *more is true) or close ('}' or ']', then it is
 * false). */
bool json_scan_more(JsonScan *s, char close, bool *more);
/* Only white space may be left. */
bool json_scan_end(JsonScan *s);

#endif
