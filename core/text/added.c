#include "core/text/added.h"

#include <stdlib.h>
#include <string.h>

#include "core/text/utf8.h"
#include "core/text/vocab.h"

typedef struct Entry {
    AddedToken token; /* text is an own copy */
    struct Entry *next; /* with the same first byte, longest first */
} Entry;

struct Added {
    Entry *by_byte[256];
    size_t count;
};

Added *added_new(Err *err)
{
    Added *a = calloc(1, sizeof *a);
    if (!a)
        fail(err, E_MEMORY, "no memory for added tokens");
    return a;
}

void added_free(Added *a)
{
    if (!a)
        return;
    for (int i = 0; i < 256; i++)
        for (Entry *e = a->by_byte[i], *next; e; e = next) {
            next = e->next;
            free((char *)(uintptr_t)e->token.text);
            free(e);
        }
    free(a);
}

bool added_add(Added *a, const AddedToken *token, Err *err)
{
    Entry **place = &a->by_byte[(uint8_t)token->text[0]];
    while (*place && (*place)->token.n > token->n)
        place = &(*place)->next;
    for (const Entry *e = *place; e && e->token.n == token->n; e = e->next)
        if (memcmp(e->token.text, token->text, token->n) == 0)
            return fail(err, E_FORMAT, "added token \"%.*s\" comes twice", (int)utf8_cut(token->text, token->n, 60), token->text);
    Entry *e = malloc(sizeof *e);
    char *text = malloc(token->n);
    if (!e || !text) {
        free(e);
        free(text);
        return fail(err, E_MEMORY, "no memory for added tokens");
    }
    memcpy(text, token->text, token->n);
    *e = (Entry){.token = *token, .next = *place};
    e->token.text = text;
    *place = e;
    a->count++;
    return true;
}

size_t added_count(const Added *a)
{
    return a->count;
}

/* The character before byte `at`, which begins one and is not 0. */
static uint32_t char_before(const char *text, size_t at, size_t *len)
{
    size_t start = at - 1;
    while (((uint8_t)text[start] & 0xC0) == 0x80)
        start--;
    return utf8_get(text + start, len);
}

static bool touches_word(const char *text, size_t n, size_t start, size_t end)
{
    size_t len;
    return (start > 0 && utf8_is_word(char_before(text, start, &len))) || (end < n && utf8_is_word(utf8_get(text + end, &len)));
}

static size_t spaces_before(const char *text, size_t at)
{
    size_t len;
    while (at > 0 && utf8_is_space(char_before(text, at, &len)))
        at -= len;
    return at;
}

static size_t spaces_behind(const char *text, size_t n, size_t at)
{
    size_t len;
    while (at < n && utf8_is_space(utf8_get(text + at, &len)))
        at += len;
    return at;
}

/* The longest token that begins at the first place at or behind c->search where one begins; NULL when there is none. */
static const AddedToken *find(const Added *a, const char *text, size_t n, size_t search, size_t *start)
{
    for (size_t at = search; at < n; at++)
        for (const Entry *e = a->by_byte[(uint8_t)text[at]]; e; e = e->next)
            if (e->token.n <= n - at && memcmp(text + at, e->token.text, e->token.n) == 0) {
                *start = at;
                return &e->token;
            }
    return NULL;
}

bool added_next(const Added *a, const char *text, size_t n, bool with_special, AddedCursor *c, AddedPiece *piece)
{
    if (c->token_end) {
        *piece = (AddedPiece){c->from, c->token_end, (uint32_t)c->id};
        c->from = c->token_end;
        c->token_end = 0;
        return true;
    }
    const AddedToken *t;
    for (size_t start; a->count && (t = find(a, text, n, c->search, &start));) {
        size_t end = start + t->n;
        c->search = end;
        /* A match that does not count is passed over whole, shorter tokens inside it included. */
        if ((t->is_special && !with_special) || (t->single_word && touches_word(text, n, start, end)))
            continue;
        /* White space that two tokens claim goes to the first. A token that is white space itself may lie inside what another
         * drew in: it is kept, unless lstrip leaves nothing of it, as in the tokenizers library. */
        if (t->lstrip) {
            size_t spaces = spaces_before(text, start);
            start = spaces > c->from ? spaces : c->from;
        }
        if (t->rstrip)
            end = spaces_behind(text, n, end);
        if (start >= end)
            continue;
        *piece = (AddedPiece){start, end, t->id};
        if (c->from < start) {
            *piece = (AddedPiece){c->from, start, VOCAB_NONE};
            c->token_end = end;
            c->id = t->id;
        }
        c->from = piece->end;
        return true;
    }
    *piece = (AddedPiece){c->from, n, VOCAB_NONE};
    c->from = n;
    c->search = n;
    return piece->start < n;
}
