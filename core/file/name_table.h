/* Names → indices: an open-addressing hash table that is filled once and then read. Names are
 * borrowed. */
#ifndef CORE_FILE_NAME_TABLE_H
#define CORE_FILE_NAME_TABLE_H
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

typedef struct NameTable {
    struct NameSlot *slots;
    size_t mask; /* slots - 1 */
} NameTable;

/* Room for n names; E_MEMORY. */
bool name_table_init(NameTable *t, size_t n, Err *err);
/* A zeroed table is fine. */
void name_table_deinit(NameTable *t);
/* Puts name → index and returns index; when the name is there already, nothing changes and its
 * index is returned. */
size_t name_table_put(NameTable *t, const char *name, size_t index);
/* False when absent, or the table was never filled. */
bool name_table_find(const NameTable *t, const char *name, size_t *index);

#endif
