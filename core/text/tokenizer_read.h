/* Inside of a Tokenizer, shared by tokenizer.c (uses it) and tokenizer_read.c (fills it from files). */
#ifndef CORE_TEXT_TOKENIZER_READ_H
#define CORE_TEXT_TOKENIZER_READ_H
#include "core/text/added.h"
#include "core/text/bpe.h"
#include "core/text/split.h"
#include "core/text/tokenizer.h"
#include "core/text/vocab.h"

enum {
    TOKEN_SPECIAL = 1,
    TOKEN_ADDED_ONLY = 2, /* not in the model's vocabulary: no word becomes it by being looked up whole */
};

struct Tokenizer {
    Vocab *vocab;      /* all tokens, added ones included */
    Added *raw;        /* cut out before normalization */
    Added *normalized; /* cut out after it, their texts normalized */
    Bpe *bpe;
    Split *split;
    Buf flags; /* a byte of TOKEN_ bits an id, up to the last id that has any */
    bool nfc, ignore_merges;
    BpeWork work;
    Buf text; /* of the word that is looked up whole */
};

/* Fill a tokenizer that is new; after an error it can only be closed. */
bool tokenizer_read_path(Tokenizer *t, const char *path, Err *err);
bool tokenizer_read_json(Tokenizer *t, const char *json, size_t n, Err *err);

#endif
