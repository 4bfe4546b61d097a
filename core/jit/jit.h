/* Kernel text + named constants → NVRTC → PTX and cubin, through a disk cache.
 * The compiler is opened at run time, so one binary serves machines with and without it. Device sources include device headers
 * only, always as #include "name.cuh", found beside the source or in kernels/include; "tune.cuh" is the generated text. Any other
 * include is refused, so the cache key covers everything that is compiled: source, headers reached, generated text, compiler
 * version, flags, architecture. */
#ifndef CORE_JIT_JIT_H
#define CORE_JIT_JIT_H
#include <stddef.h>

#include "core/base/err.h"
#include "core/gpu/arch.h"

typedef struct Jit Jit;

/* cache_dir: made when absent; NULL for $NIBBLE_CACHE_DIR, else $XDG_CACHE_HOME/nibble, else ~/.cache/nibble. A folder that
 * cannot be written is no error: results are then not kept and jit_cache_note says why. include_dir: where shared device headers
 * live. */
Jit *jit_open(const char *cache_dir, const char *include_dir, Err *err);
/* Takes NULL. */
void jit_close(Jit *j);
const char *jit_cache_dir(const Jit *j);
/* Why nothing is kept, NULL if results are kept. */
const char *jit_cache_note(const Jit *j);
/* Version of the compiler as major·100 + minor; 0 when there is none (and then *why says what was tried). */
int jit_compiler(Jit *j, char why[400]);

typedef struct JitDesc {
    const char *name;      /* of the variant, for messages: "linear/m64n128" */
    const char *source;    /* path of the .cu file */
    const char *constants; /* text of tune.cuh: one constexpr per tunable and baked extent */
    const Arch *arch;
} JitDesc;

typedef struct JitResult {
    char *ptx;             /* zero-terminated */
    unsigned char *cubin;
    size_t ptx_bytes, cubin_bytes;
    char key[33];
    char *folder;          /* where source, tune.cuh, kernel.ptx, kernel.cubin and log.txt are kept; NULL when nothing is kept */
    char *log;             /* the compiler's, may be empty */
    double seconds;        /* of compilation; 0 from the cache */
    bool is_cached;
} JitResult;

/* E_IO and E_FORMAT for the source and its includes, E_UNSUPPORTED when the compiler is missing or too old for the architecture,
 * E_COMPILE with the compiler's first messages. The caller calls jit_result_deinit on success. Thread-safe. */
bool jit_compile(Jit *j, const JitDesc *desc, JitResult *out, Err *err);
void jit_result_deinit(JitResult *r);
/* Compiles n descriptions on all cores; results and errors by index. Returns how many failed. */
int jit_compile_many(Jit *j, const JitDesc *descs, int n, JitResult *out, Err *errs);

#endif
