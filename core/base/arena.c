#include "core/base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct ArenaBlock {
    struct ArenaBlock *older;
    size_t used, size;
    _Alignas(16) unsigned char data[];
} ArenaBlock;

enum { ARENA_BLOCK_BYTES = 1 << 16 };

void *arena_alloc(Arena *a, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + 15) & ~(size_t)15;
    if (!a->block || a->block->size - a->block->used < n) {
        size_t size = n > ARENA_BLOCK_BYTES ? n : ARENA_BLOCK_BYTES;
        ArenaBlock *b = calloc(1, sizeof *b + size);
        if (!b)
            return NULL;
        b->size = size;
        b->older = a->block;
        a->block = b;
    }
    void *p = a->block->data + a->block->used;
    a->block->used += n;
    return p;
}

char *arena_strndup(Arena *a, const char *s, size_t n)
{
    char *p = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;
    if (p)
        memcpy(p, s, n);
    return p;
}

void arena_deinit(Arena *a)
{
    for (ArenaBlock *b = a->block, *older; b; b = older) {
        older = b->older;
        free(b);
    }
    a->block = NULL;
}
