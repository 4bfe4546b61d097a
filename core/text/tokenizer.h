/* Text ↔ token ids as a Hugging Face tokenizer.json of a byte-level BPE says, read from that file alone:
 * added tokens that are not `normalized` are cut out → NFC → `normalized` added tokens are cut out → the Split pattern →
 * bytes → merges by rank. What the file asks for beyond that is E_UNSUPPORTED, named; truncation and padding are left to callers.
 * Verified against recorded output of the tokenizers library 0.23 (tests/text/tokenizer_test.lua). One thread at a time per
 * Tokenizer. */
#ifndef CORE_TEXT_TOKENIZER_H
#define CORE_TEXT_TOKENIZER_H
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/text/utf8.h"

typedef struct Tokenizer Tokenizer;

/* Reads a tokenizer.json, or a folder: its tokenizer.json, else its vocab.json and merges.txt with the added tokens of
 * tokenizer_config.json (`added_tokens_decoder`) and the pattern and normalizer of qwen3_5_moe, which those files do not hold.
 * E_IO, E_MISSING (neither in the folder), E_FORMAT, E_UNSUPPORTED, E_VALUE, each naming the file. The caller owns the result. */
Tokenizer *tokenizer_open(const char *path, Err *err);
/* The same from the n bytes of a tokenizer.json. */
Tokenizer *tokenizer_parse(const char *json, size_t n, Err *err);
/* Takes NULL. */
void tokenizer_close(Tokenizer *t);

/* How many tokens there are, added ones included; and one more than the largest id. */
size_t tokenizer_size(const Tokenizer *t);
size_t tokenizer_id_end(const Tokenizer *t);
/* The id of a token as the file writes it ("<|im_end|>", "Ġthe"); -1 if there is none. */
int64_t tokenizer_id(const Tokenizer *t, const char *text, size_t n);
/* The bytes for which a token stands, NULL when no token has the id; they live as long as the tokenizer. */
const char *tokenizer_bytes(const Tokenizer *t, uint32_t id, size_t *n);
/* Whether the id is an added token marked special. */
bool tokenizer_is_special(const Tokenizer *t, uint32_t id);

typedef enum TokenizerSpecial {
    TOKENIZER_SPECIAL, /* "<|im_end|>" in the text is that token */
    TOKENIZER_PLAIN,   /* special tokens are spelled like any other text; added tokens that are not special still count */
} TokenizerSpecial;

/* Appends the ids (u32) of n bytes of text to ids. E_VALUE with the byte offset where the text is not UTF-8 (or for more than
 * 1 GiB at once), E_MISSING for a byte that the vocabulary lacks, E_MEMORY. */
bool tokenizer_encode(Tokenizer *t, const char *text, size_t n, TokenizerSpecial special, Buf *ids, Err *err);

typedef enum TokenizerShow {
    TOKENIZER_SHOW_ALL,
    TOKENIZER_SKIP_SPECIAL, /* special tokens leave nothing in the text */
} TokenizerShow;

/* Appends the text of ids_n ids to text, always valid UTF-8: bytes that form no character become U+FFFD (utf8.h).
 * E_VALUE for an id that no token has, E_MEMORY. */
bool tokenizer_decode(const Tokenizer *t, const uint32_t *ids, size_t ids_n, TokenizerShow show, Buf *text, Err *err);

/* Decoding as ids come, never half a character: the texts of all puts and the flush joined are what tokenizer_decode gives. */
typedef struct TokenizerStream {
    char tail[UTF8_BYTES_MAX]; /* beginning of a character that is not whole yet */
    size_t tail_n;
} TokenizerStream;

/* Appends what has become complete with id. Errors as tokenizer_decode, the stream is then as it was. */
bool tokenizer_stream_put(const Tokenizer *t, TokenizerStream *s, uint32_t id, TokenizerShow show, Buf *text, Err *err);
/* Appends what is left, a cut character as U+FFFD, and begins anew. E_MEMORY. */
bool tokenizer_stream_flush(TokenizerStream *s, Buf *text, Err *err);

#endif
