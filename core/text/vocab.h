/* Tokens by id and by text. A token's text is what tokenizer.json writes; its bytes are what it stands for: the text with every
 * character of the byte-level alphabet replaced by its byte, or the text itself when a character is outside that alphabet
 * (added tokens may hold spaces, letters of any script).
 * The alphabet, as GPT-2 made it: bytes that are printable in Latin-1 stand for themselves, the others for U+0100, U+0101, …
 * in the order of their values. */
#ifndef CORE_TEXT_VOCAB_H
#define CORE_TEXT_VOCAB_H
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"

/* sixteen times the largest vocabulary of the family; bounds what a hostile file may cost */
enum { VOCAB_ID_MAX = (1 << 22) - 1 };
#define VOCAB_NONE UINT32_MAX

typedef struct Vocab Vocab;

Vocab *vocab_new(Err *err);
/* Takes NULL. */
void vocab_free(Vocab *v);
/* Adds a token. E_VALUE: id outside 0…VOCAB_ID_MAX; E_FORMAT: the id or the text is taken by another token (adding the same
 * pair twice is nothing); E_MEMORY. text is valid UTF-8. */
bool vocab_add(Vocab *v, const char *text, size_t n, int64_t id, Err *err);
/* The id of a text, VOCAB_NONE if there is none. */
uint32_t vocab_find(const Vocab *v, const char *text, size_t n);
/* Text and bytes of an id; NULL if no token has it. They live until the next vocab_add. */
const char *vocab_text(const Vocab *v, uint32_t id, size_t *n);
const char *vocab_bytes(const Vocab *v, uint32_t id, size_t *n);
/* Tokens, and one more than the largest id. */
size_t vocab_size(const Vocab *v);
size_t vocab_id_end(const Vocab *v);

/* The character that stands for a byte, and the byte for which a character stands (-1: none). */
uint32_t vocab_char_of_byte(uint8_t byte);
int vocab_byte_of_char(uint32_t cp);

#endif
