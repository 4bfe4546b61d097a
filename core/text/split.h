/* The pre-tokenizer's regular expression: cuts text into matches and what lies between them ("Isolated").
 * The pattern is written for Oniguruma and run by PCRE2, so only what both read alike is let through; \s and \S become the
 * Unicode property White_Space, which is what Oniguruma means by them (PCRE2's own \s has U+180E as well), and \p{L}, \p{M} and
 * \p{N} cover Unicode 16.0 whatever PCRE2 knows (split_newer.def). */
#ifndef CORE_TEXT_SPLIT_H
#define CORE_TEXT_SPLIT_H
#include <stddef.h>

#include "core/base/err.h"

typedef struct Split Split;

/* Compiles the n bytes of UTF-8 at pattern. E_FORMAT: not a regular expression; E_UNSUPPORTED: a construct that the two
 * engines read differently, or a pattern that matches the empty string. The caller owns the result. */
Split *split_new(const char *pattern, size_t n, Err *err);
/* Takes NULL. */
void split_free(Split *s);
/* The pattern as PCRE2 got it. */
const char *split_pattern(const Split *s);

typedef struct SplitCursor {
    size_t at;                /* end of the last piece */
    size_t match, match_end;  /* a match found beyond `at`; none when match_end is not greater than `at` */
} SplitCursor;

/* One thread at a time per Split: matching works in memory it owns.
 * The next piece of the n bytes of valid UTF-8 at text: [*start, c->at), never empty; c = {0} begins.
 * *start == n says there is none left. E_UNSUPPORTED when the pattern needs more steps than text of this length may cost. */
bool split_next(const Split *s, const char *text, size_t n, SplitCursor *c, size_t *start, Err *err);

#endif
