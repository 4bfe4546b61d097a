#include "core/file/name_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct NameSlot {
    const char *name; /* NULL: empty */
    uint32_t tag; /* upper half of the hash, so that most strangers are seen without touching their
                     name */
    uint32_t index;
};

bool name_table_init(NameTable *t, size_t n, Err *err)
{
    assert(n < UINT32_MAX);
    size_t slots_n = 16;
    while (slots_n < 2 * n)
        slots_n *= 2;
    t->slots = calloc(slots_n, sizeof *t->slots);
    if (!t->slots)
        return fail(err, E_MEMORY, "no memory for a table of %zu names", n);
    t->mask = slots_n - 1;
    return true;
}

void name_table_deinit(NameTable *t)
{
    free(t->slots);
    t->slots = NULL;
}

/* The slot that holds name, or the empty one where it belongs. */
static struct NameSlot *slot_of(const NameTable *t, const char *name, uint32_t *tag)
{
    uint64_t hash = XXH3_64bits(name, strlen(name));
    *tag = (uint32_t)(hash >> 32);
    for (size_t i = (size_t)hash & t->mask;; i = (i + 1) & t->mask) {
        struct NameSlot *s = &t->slots[i];
        if (!s->name || (s->tag == *tag && strcmp(s->name, name) == 0))
            return s;
    }
}

size_t name_table_put(NameTable *t, const char *name, size_t index)
{
    uint32_t tag;
    struct NameSlot *s = slot_of(t, name, &tag);
    if (!s->name)
        *s = (struct NameSlot){name, tag, (uint32_t)index};
    return s->index;
}

bool name_table_find(const NameTable *t, const char *name, size_t *index)
{
    uint32_t tag;
    if (!t->slots)
        return false;
    const struct NameSlot *s = slot_of(t, name, &tag);
    if (s->name)
        *index = s->index;
    return s->name != NULL;
}
