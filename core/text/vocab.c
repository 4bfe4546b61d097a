#include "core/text/vocab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/text/utf8.h"

typedef struct Token {
    uint32_t text, text_n; /* offset and length in `blob`; text_n is UINT32_MAX for an id that no token has */
    uint32_t bytes, bytes_n;
} Token;

struct Vocab {
    Buf blob;
    Token *tokens; /* by id */
    size_t id_end, tokens_cap, count;
    uint32_t *slots; /* ids by hash of the text, open addressing; VOCAB_NONE is free */
    size_t slots_n;  /* a power of two, more than 1.5 times count */
};

enum { SLOTS_FIRST = 1024, TOKENS_FIRST = 1024, SHOWN_MAX = 60 };

static bool is_printable(uint32_t b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

uint32_t vocab_char_of_byte(uint8_t byte)
{
    if (is_printable(byte))
        return byte;
    uint32_t before = 0;
    for (uint32_t b = 0; b < byte; b++)
        before += !is_printable(b);
    return 0x100 + before;
}

int vocab_byte_of_char(uint32_t cp)
{
    if (cp < 0x100)
        return is_printable(cp) ? (int)cp : -1;
    /* The unprintable bytes are 0x00…0x20, 0x7F…0xA0 and 0xAD. */
    uint32_t i = cp - 0x100;
    return i < 33 ? (int)i : i < 67 ? (int)(i - 33 + 0x7F) : i == 67 ? 0xAD : -1;
}

Vocab *vocab_new(Err *err)
{
    Vocab *v = calloc(1, sizeof *v);
    /* Room in the blob from the start, so that an empty text has an address too. */
    if (v && buf_reserve(&v->blob, 1, err) && (v->slots = malloc(SLOTS_FIRST * sizeof *v->slots))) {
        memset(v->slots, 0xFF, SLOTS_FIRST * sizeof *v->slots);
        v->slots_n = SLOTS_FIRST;
        return v;
    }
    vocab_free(v);
    return fail(err, E_MEMORY, "no memory for a vocabulary"), NULL;
}

void vocab_free(Vocab *v)
{
    if (!v)
        return;
    free(v->slots);
    free(v->tokens);
    buf_deinit(&v->blob);
    free(v);
}

/* The slot that holds the text, or the free one where it belongs. */
static size_t slot_of(const Vocab *v, const char *text, size_t n)
{
    size_t i = XXH3_64bits(text, n) & (v->slots_n - 1);
    for (; v->slots[i] != VOCAB_NONE; i = (i + 1) & (v->slots_n - 1)) {
        const Token *t = &v->tokens[v->slots[i]];
        if (t->text_n == n && memcmp(v->blob.data + t->text, text, n) == 0)
            break;
    }
    return i;
}

static bool grow_slots(Vocab *v, Err *err)
{
    size_t slots_n = v->slots_n * 2;
    uint32_t *slots = malloc(slots_n * sizeof *slots);
    if (!slots)
        return fail(err, E_MEMORY, "no memory for a vocabulary of %zu tokens", v->count);
    memset(slots, 0xFF, slots_n * sizeof *slots);
    free(v->slots);
    v->slots = slots;
    v->slots_n = slots_n;
    for (size_t id = 0; id < v->id_end; id++)
        if (v->tokens[id].text_n != UINT32_MAX)
            slots[slot_of(v, v->blob.data + v->tokens[id].text, v->tokens[id].text_n)] = (uint32_t)id;
    return true;
}

static bool grow_tokens(Vocab *v, size_t id_end, Err *err)
{
    if (id_end > v->tokens_cap) {
        size_t cap = v->tokens_cap ? v->tokens_cap : TOKENS_FIRST;
        while (cap < id_end)
            cap *= 2;
        Token *tokens = realloc(v->tokens, cap * sizeof *tokens);
        if (!tokens)
            return fail(err, E_MEMORY, "no memory for %zu token ids", cap);
        v->tokens = tokens;
        v->tokens_cap = cap;
    }
    for (; v->id_end < id_end; v->id_end++)
        v->tokens[v->id_end] = (Token){.text_n = UINT32_MAX};
    return true;
}

/* Appends the bytes for which a text stands; the text itself when a character has no byte. */
static bool append_bytes(Vocab *v, const char *text, size_t n, Err *err)
{
    size_t start = v->blob.n, len;
    if (!buf_reserve(&v->blob, n, err))
        return false;
    for (size_t at = 0; at < n; at += len) {
        int byte = vocab_byte_of_char(utf8_get(text + at, &len));
        if (byte < 0) {
            memcpy(v->blob.data + start, text, n);
            v->blob.n = start + n;
            return true;
        }
        v->blob.data[v->blob.n++] = (char)byte;
    }
    return true;
}

/* For messages: a text of any length as "%.*s". */
static int shown(const char *text, size_t n)
{
    return (int)utf8_cut(text, n, SHOWN_MAX);
}

bool vocab_add(Vocab *v, const char *text, size_t n, int64_t id, Err *err)
{
    if (id < 0 || id > VOCAB_ID_MAX)
        return fail(err, E_VALUE, "token \"%.*s\" has an id %s; ids go from 0 to %d", shown(text, n), text,
                    id < 0 ? "below 0" : "above the largest", VOCAB_ID_MAX);
    if (n >= UINT32_MAX / 2 || v->blob.n >= UINT32_MAX - 2 * n)
        return fail(err, E_UNSUPPORTED, "the vocabulary's texts take more than 4 GB");
    uint32_t had = vocab_find(v, text, n);
    if (had == (uint32_t)id)
        return true;
    if (had != VOCAB_NONE)
        return fail(err, E_FORMAT, "token \"%.*s\" has two ids, %u and %lld", shown(text, n), text, had, (long long)id);
    size_t other_n;
    const char *other = vocab_text(v, (uint32_t)id, &other_n);
    if (other)
        return fail(err, E_FORMAT, "id %lld belongs to two tokens, \"%.*s\" and \"%.*s\"", (long long)id, shown(other, other_n),
                    other,
                    shown(text, n), text);
    if (!grow_tokens(v, (size_t)id + 1, err) || (v->count * 3 >= v->slots_n * 2 && !grow_slots(v, err)))
        return false;
    Token t = {.text = (uint32_t)v->blob.n, .text_n = (uint32_t)n};
    if (!buf_append(&v->blob, text, n, err))
        return false;
    t.bytes = (uint32_t)v->blob.n;
    if (!append_bytes(v, text, n, err))
        return false;
    t.bytes_n = (uint32_t)(v->blob.n - t.bytes);
    size_t slot = slot_of(v, text, n);
    v->tokens[id] = t;
    v->slots[slot] = (uint32_t)id;
    v->count++;
    return true;
}

uint32_t vocab_find(const Vocab *v, const char *text, size_t n)
{
    return v->slots[slot_of(v, text, n)];
}

const char *vocab_text(const Vocab *v, uint32_t id, size_t *n)
{
    if (id >= v->id_end || v->tokens[id].text_n == UINT32_MAX)
        return NULL;
    *n = v->tokens[id].text_n;
    return v->blob.data + v->tokens[id].text;
}

const char *vocab_bytes(const Vocab *v, uint32_t id, size_t *n)
{
    if (id >= v->id_end || v->tokens[id].text_n == UINT32_MAX)
        return NULL;
    *n = v->tokens[id].bytes_n;
    return v->blob.data + v->tokens[id].bytes;
}

size_t vocab_size(const Vocab *v)
{
    return v->count;
}

size_t vocab_id_end(const Vocab *v)
{
    return v->id_end;
}
