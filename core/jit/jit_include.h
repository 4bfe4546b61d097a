/* Collects a device source and every header it reaches. */
#ifndef CORE_JIT_JIT_INCLUDE_H
#define CORE_JIT_JIT_INCLUDE_H
#include "core/base/arena.h"
#include "core/base/err.h"

enum { JIT_HEADERS_MAX = 64 };

typedef struct JitText {
    const char *source;                        /* text of the .cu */
    int headers_n;
    const char *header_name[JIT_HEADERS_MAX];  /* as included */
    const char *header_text[JIT_HEADERS_MAX];
} JitText;

/* Reads path and follows #include "name.cuh": first in the folder of path, then in include_dir; "tune.cuh" is `constants`.
 * E_FORMAT for any other form of include (file and line), E_MISSING for a header in neither place, E_IO. Texts live in the
 * arena. */
bool jit_include_collect(Arena *a, const char *path, const char *include_dir, const char *constants, JitText *out, Err *err);

#endif
