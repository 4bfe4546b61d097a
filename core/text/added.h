/* Added tokens, which are cut out of the text before anything else is done to it. Of all that begin at the leftmost place the
 * longest wins, as in the tokenizers library; a token marked single_word counts only when no word character touches it;
 * lstrip and rstrip draw the white space beside the token into it. */
#ifndef CORE_TEXT_ADDED_H
#define CORE_TEXT_ADDED_H
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"

typedef struct AddedToken {
    const char *text; /* valid UTF-8, not empty; copied by added_add */
    size_t n;
    uint32_t id;
    bool is_special, single_word, lstrip, rstrip;
} AddedToken;

typedef struct Added Added;

Added *added_new(Err *err);
/* Takes NULL. */
void added_free(Added *a);
/* E_FORMAT when the text is already there; E_MEMORY. */
bool added_add(Added *a, const AddedToken *token, Err *err);
size_t added_count(const Added *a);

typedef struct AddedCursor {
    size_t from;   /* what lies before has been handed out */
    size_t search; /* where the search goes on */
    size_t token_end, id; /* a token that follows the text just handed out; none when token_end is 0 */
} AddedCursor;

typedef struct AddedPiece {
    size_t start, end; /* of the text; end > start */
    uint32_t id;       /* the token's, VOCAB_NONE for text between tokens */
} AddedPiece;

/* The next piece of n bytes of valid UTF-8; c = {0} begins, false says there is none left. Special tokens are passed over as
 * ordinary text when with_special is false. */
bool added_next(const Added *a, const char *text, size_t n, bool with_special, AddedCursor *c, AddedPiece *piece);

#endif
