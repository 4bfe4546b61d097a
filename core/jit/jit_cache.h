/* One folder a compiled variant, named by its key; it appears by rename, so it is there whole or not at all. */
#ifndef CORE_JIT_JIT_CACHE_H
#define CORE_JIT_JIT_CACHE_H
#include <stddef.h>

#include "core/base/err.h"

typedef struct JitFile {
    const char *name;
    const void *bytes;
    size_t n;
} JitFile;

/* Makes the folder and its parents and proves that it can be written. E_IO, E_SPACE. */
bool jit_cache_prepare(const char *dir, Err *err);
/* Keeps files under dir/key. An entry that another process made first is fine. */
bool jit_cache_put(const char *dir, const char *key, const JitFile *files, int n, Err *err);
/* Reads dir/key/name into fresh memory with a 0 behind it; NULL when absent. E_FORMAT when the entry exists without the file,
 * with the cure; *err->kind is E_NONE when there is no entry at all. */
char *jit_cache_get(const char *dir, const char *key, const char *name, size_t *n, Err *err);

#endif
