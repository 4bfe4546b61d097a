/* Symbols are a linked list in an array, indexed by the byte at which they start; a heap holds the joinable neighbours by
 * (rank, position). An entry of the heap is stale when its symbols have changed since; it is recognised by their ids. */
#include "core/text/bpe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/text/utf8.h"

#define NO_PAIR UINT64_MAX /* left and right are VOCAB_NONE, which no merge joins */

typedef struct Merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank, id;
} Merge;

struct Bpe {
    const Vocab *vocab;
    Merge *merges; /* by hash of the pair, open addressing, at most half full */
    size_t slots_n, merges_max;
    uint32_t rank;
    uint32_t byte_ids[256];
    Buf text; /* of the token that a merge makes */
};

typedef struct Symbol {
    uint32_t id;
    uint32_t prev, next; /* NO_SYMBOL at the ends */
} Symbol;

typedef struct Join {
    uint64_t order; /* rank << 32 | position of the left symbol */
    uint64_t pair;
    uint32_t id;
} Join;

#define NO_SYMBOL UINT32_MAX

static uint64_t pair_of(uint32_t left, uint32_t right)
{
    return (uint64_t)left << 32 | right;
}

/* The slot that holds the pair, or the free one where it belongs. */
static Merge *slot_of(const Bpe *b, uint64_t pair)
{
    uint64_t h = pair * 0x9E3779B97F4A7C15u;
    size_t i = (h ^ h >> 32) & (b->slots_n - 1);
    while (b->merges[i].pair != pair && b->merges[i].pair != NO_PAIR)
        i = (i + 1) & (b->slots_n - 1);
    return &b->merges[i];
}

Bpe *bpe_new(const Vocab *v, size_t merges_n, Err *err)
{
    Bpe *b = calloc(1, sizeof *b);
    size_t slots_n = 16;
    while (slots_n < merges_n * 2)
        slots_n *= 2;
    if (!b || !(b->merges = malloc(slots_n * sizeof *b->merges))) {
        free(b);
        return fail(err, E_MEMORY, "no memory for %zu merges", merges_n), NULL;
    }
    b->vocab = v;
    b->slots_n = slots_n;
    b->merges_max = merges_n;
    for (size_t i = 0; i < slots_n; i++)
        b->merges[i].pair = NO_PAIR;
    for (int i = 0; i < 256; i++) {
        char text[UTF8_BYTES_MAX];
        b->byte_ids[i] = vocab_find(v, text, utf8_put(vocab_char_of_byte((uint8_t)i), text));
    }
    return b;
}

void bpe_free(Bpe *b)
{
    if (!b)
        return;
    buf_deinit(&b->text);
    free(b->merges);
    free(b);
}

/* The id of a part of the merge that is being added. */
static bool find_part(const Bpe *b, const char *part, size_t n, uint32_t *id, Err *err)
{
    *id = vocab_find(b->vocab, part, n);
    if (*id == VOCAB_NONE)
        return fail(err, E_FORMAT, "it needs token \"%.*s\", which the vocabulary lacks", (int)utf8_cut(part, n, 60), part);
    return true;
}

bool bpe_add(Bpe *b, const char *left, size_t left_n, const char *right, size_t right_n, Err *err)
{
    uint32_t left_id, right_id, id;
    assert(b->rank < b->merges_max);
    b->text.n = 0;
    if (!buf_append(&b->text, left, left_n, err) || !buf_append(&b->text, right, right_n, err))
        return false;
    if (!find_part(b, left, left_n, &left_id, err) || !find_part(b, right, right_n, &right_id, err) ||
        !find_part(b, b->text.data, b->text.n, &id, err))
        return false;
    Merge *m = slot_of(b, pair_of(left_id, right_id));
    *m = (Merge){.pair = pair_of(left_id, right_id), .rank = b->rank++, .id = id};
    return true;
}

uint32_t bpe_byte(const Bpe *b, uint8_t byte)
{
    return b->byte_ids[byte];
}

void bpe_work_deinit(BpeWork *w)
{
    buf_deinit(&w->symbols);
    buf_deinit(&w->heap);
}

static bool heap_push(Buf *heap, Join join, Err *err)
{
    if (!buf_reserve(heap, sizeof join, err))
        return false;
    Join *h = (Join *)(void *)heap->data;
    size_t i = heap->n / sizeof join;
    for (; i > 0 && h[(i - 1) / 2].order > join.order; i = (i - 1) / 2)
        h[i] = h[(i - 1) / 2];
    h[i] = join;
    heap->n += sizeof join;
    return true;
}

static Join heap_pop(Buf *heap)
{
    Join *h = (Join *)(void *)heap->data;
    Join top = h[0];
    heap->n -= sizeof top;
    size_t n = heap->n / sizeof top, i = 0;
    Join last = h[n];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && h[child + 1].order < h[child].order;
        if (last.order <= h[child].order)
            break;
        h[i] = h[child];
    }
    h[i] = last;
    return top;
}

/* Puts the neighbours (left, the symbol behind it) on the heap when a merge joins them. */
static bool offer(const Bpe *b, BpeWork *w, uint32_t left, Err *err)
{
    const Symbol *s = (const Symbol *)(void *)w->symbols.data;
    if (left == NO_SYMBOL || s[left].next == NO_SYMBOL)
        return true;
    uint64_t pair = pair_of(s[left].id, s[s[left].next].id);
    const Merge *m = slot_of(b, pair);
    if (m->pair == NO_PAIR)
        return true;
    return heap_push(&w->heap, (Join){.order = (uint64_t)m->rank << 32 | left, .pair = pair, .id = m->id}, err);
}

static bool first_symbols(const Bpe *b, const char *word, size_t n, BpeWork *w, Err *err)
{
    w->symbols.n = w->heap.n = 0;
    if (!buf_reserve(&w->symbols, n * sizeof(Symbol), err))
        return false;
    Symbol *s = (Symbol *)(void *)w->symbols.data;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = b->byte_ids[(uint8_t)word[i]];
        if (id == VOCAB_NONE)
            return fail(err, E_MISSING, "the vocabulary has no token for byte 0x%02x", (unsigned)(uint8_t)word[i]);
        s[i] = (Symbol){id, i > 0 ? (uint32_t)i - 1 : NO_SYMBOL, i + 1 < n ? (uint32_t)i + 1 : NO_SYMBOL};
    }
    for (size_t i = 0; i + 1 < n; i++)
        if (!offer(b, w, (uint32_t)i, err))
            return false;
    return true;
}

bool bpe_word(const Bpe *b, const char *word, size_t n, BpeWork *w, Buf *ids, Err *err)
{
    assert(n < (size_t)1 << 31);
    if (n == 0)
        return true;
    if (!first_symbols(b, word, n, w, err))
        return false;
    Symbol *s = (Symbol *)(void *)w->symbols.data;
    while (w->heap.n > 0) {
        Join join = heap_pop(&w->heap);
        uint32_t left = (uint32_t)join.order, right = s[left].next;
        if (right == NO_SYMBOL || pair_of(s[left].id, s[right].id) != join.pair)
            continue;
        s[left].id = join.id;
        s[left].next = s[right].next;
        if (s[right].next != NO_SYMBOL)
            s[s[right].next].prev = left;
        s[right] = (Symbol){VOCAB_NONE, NO_SYMBOL, NO_SYMBOL};
        if (!offer(b, w, s[left].prev, err) || !offer(b, w, left, err))
            return false;
    }
    for (uint32_t i = 0; i != NO_SYMBOL; i = s[i].next)
        if (!buf_append(ids, &s[i].id, sizeof s[i].id, err))
            return false;
    return true;
}
