/* Byte-pair merging: the bytes of a word are its first symbols; of all neighbours that a merge joins, the one with the lowest
 * rank (leftmost among equals) is joined, until none is left. Time is n log n in the word's length. */
#ifndef CORE_TEXT_BPE_H
#define CORE_TEXT_BPE_H
#include "core/text/vocab.h"

typedef struct Bpe Bpe;

/* Room for merges_n merges over a vocabulary, which must outlive the result. E_MEMORY. */
Bpe *bpe_new(const Vocab *v, size_t merges_n, Err *err);
/* Takes NULL. */
void bpe_free(Bpe *b);
/* The next merge, its rank being the number of merges added before. A pair that comes twice keeps its last rank.
 * E_FORMAT when left, right or their concatenation is not in the vocabulary; at most merges_n times (asserted). */
bool bpe_add(Bpe *b, const char *left, size_t left_n, const char *right, size_t right_n, Err *err);
/* The id of a single byte, VOCAB_NONE when the vocabulary lacks it. */
uint32_t bpe_byte(const Bpe *b, uint8_t byte);

/* Memory that bpe_word keeps from word to word; {0} is ready. */
typedef struct BpeWork {
    Buf symbols, heap;
} BpeWork;

void bpe_work_deinit(BpeWork *w);
/* Appends the ids (u32) of a word of n < 2^31 bytes to ids. E_MISSING for a byte that the vocabulary lacks; E_MEMORY. */
bool bpe_word(const Bpe *b, const char *word, size_t n, BpeWork *w, Buf *ids, Err *err);

#endif
