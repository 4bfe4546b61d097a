/* Bump allocator: many small results that die together. Memory is zeroed. Aborts on exhaustion only through Err. */
#ifndef CORE_BASE_ARENA_H
#define CORE_BASE_ARENA_H
#include <stddef.h>

typedef struct Arena {
    struct ArenaBlock *block; /* newest block */
} Arena;

/* n zeroed bytes, aligned to 16, valid until arena_deinit; an {0} Arena is ready. NULL when memory is exhausted. */
void *arena_alloc(Arena *a, size_t n);
/* Copy of the n bytes at s with a 0 behind them; NULL when memory is exhausted. */
char *arena_strndup(Arena *a, const char *s, size_t n);
/* Frees everything; the Arena is ready again. */
void arena_deinit(Arena *a);

#endif
