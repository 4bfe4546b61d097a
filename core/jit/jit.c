#include "core/jit/jit.h"

#include <assert.h>
#include <dlfcn.h>
#include <glob.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "core/jit/jit_cache.h"
#include "core/jit/jit_include.h"

typedef struct Nvrtc {
#define API(name, parameters) int(*name) parameters;
#include "core/jit/nvrtc_api.def"
#undef API
} Nvrtc;

struct Jit {
    char cache_dir[2048], include_dir[2048];
    char cache_note[400];   /* empty: results are kept */
    pthread_mutex_t lock;   /* opening the compiler */
    bool was_tried;
    int version;            /* 0: none */
    char why[400];
    Nvrtc api;
};

/* Flags of every compilation; they are part of the key. -lineinfo lets a finding name the source line. */
static const char *const flags[] = {"--std=c++17", "-default-device", "-lineinfo", "--fmad=true"};
enum { FLAGS = sizeof flags / sizeof *flags, LOG_SHOWN = 700 };

static void default_cache(char *dir, size_t n)
{
    const char *own = getenv("NIBBLE_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own)
        snprintf(dir, n, "%s", own);
    else if (xdg)
        snprintf(dir, n, "%s/nibble", xdg);
    else
        snprintf(dir, n, "%s/.cache/nibble", home ? home : ".");
}

Jit *jit_open(const char *cache_dir, const char *include_dir, Err *err)
{
    Jit *j = calloc(1, sizeof *j);
    if (!j)
        return fail(err, E_MEMORY, "no memory for the compiler's state"), NULL;
    if (cache_dir)
        snprintf(j->cache_dir, sizeof j->cache_dir, "%s", cache_dir);
    else
        default_cache(j->cache_dir, sizeof j->cache_dir);
    snprintf(j->include_dir, sizeof j->include_dir, "%s", include_dir);
    pthread_mutex_init(&j->lock, NULL);
    Err why;
    if (!jit_cache_prepare(j->cache_dir, &why))
        snprintf(j->cache_note, sizeof j->cache_note, "%s: compiled kernels are not kept", why.text);
    return j;
}

void jit_close(Jit *j)
{
    if (!j)
        return;
    pthread_mutex_destroy(&j->lock); /* the library stays loaded: it does not survive being closed and opened again */
    free(j);
}

const char *jit_cache_dir(const Jit *j)
{
    return j->cache_dir;
}

const char *jit_cache_note(const Jit *j)
{
    return j->cache_note[0] ? j->cache_note : NULL;
}

/* The first library that fits the pattern and opens. */
static void *open_matching(const char *pattern)
{
    void *lib = NULL;
    glob_t found;
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; !lib && i < found.gl_pathc; i++)
            lib = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
    globfree(&found);
    return lib;
}

/* The compiler in a folder that the loader does not search. It asks for its builtins by name, which finds them once
 * they are loaded. */
static void *open_beside(const char *folder)
{
    char pattern[2300];
    snprintf(pattern, sizeof pattern, "%s/libnvrtc-builtins.so.13*", folder);
    open_matching(pattern);
    snprintf(pattern, sizeof pattern, "%s/libnvrtc.so.13", folder);
    return open_matching(pattern);
}

/* The compiler's library: the loader's path, then a toolkit, then the wheel that `make deps` fetches to the root of
 * the tree, which is where kernels/include lies. */
static void *open_library(const Jit *j)
{
    char wheel[sizeof j->include_dir + 64];
    const char *named = getenv("NIBBLE_NVRTC");
    if (named)
        return dlopen(named, RTLD_NOW | RTLD_LOCAL);
    snprintf(wheel, sizeof wheel, "%s/../../.deps/cuda/nvidia/*/lib", j->include_dir);
    void *lib = dlopen("libnvrtc.so.13", RTLD_NOW | RTLD_LOCAL);
    lib = lib ? lib : open_beside("/usr/local/cuda*/lib*");
    lib = lib ? lib : open_beside("/usr/local/cuda*/targets/*/lib");
    return lib ? lib : open_beside(wheel);
}

static void open_compiler(Jit *j)
{
    void *lib = open_library(j);
    if (!lib && getenv("NIBBLE_NVRTC")) {
        snprintf(j->why, sizeof j->why, "NVRTC: %s cannot be opened (`make deps` fetches one; unset NIBBLE_NVRTC to find it)",
                 getenv("NIBBLE_NVRTC"));
        return;
    }
    if (!lib) {
        snprintf(j->why, sizeof j->why,
                 "NVRTC: expected libnvrtc.so.13 in the library path, under /usr/local/cuda* or in .deps/cuda; found none "
                 "(`make deps` fetches it, NIBBLE_NVRTC names it)");
        return;
    }
#define API(name, parameters) \
    if (!(*(void **)(&j->api.name) = dlsym(lib, #name))) { \
        snprintf(j->why, sizeof j->why, "NVRTC: the library has no function " #name); \
        return; \
    }
#include "core/jit/nvrtc_api.def"
#undef API
    int major = 0, minor = 0;
    if (j->api.nvrtcVersion(&major, &minor) != 0 || major * 100 + minor < 1208) {
        snprintf(j->why, sizeof j->why, "NVRTC: expected version 12.8 or newer, found %d.%d", major, minor);
        return;
    }
    j->version = major * 100 + minor;
}

int jit_compiler(Jit *j, char why[400])
{
    pthread_mutex_lock(&j->lock);
    if (!j->was_tried)
        open_compiler(j);
    j->was_tried = true;
    pthread_mutex_unlock(&j->lock);
    if (why)
        memcpy(why, j->why, sizeof j->why);
    return j->version;
}

static void hash_text(XXH3_state_t *state, const char *text)
{
    XXH3_128bits_update(state, text, strlen(text) + 1);
}

static bool make_key(const JitText *text, const JitDesc *desc, int version, char key[33], Err *err)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return fail(err, E_MEMORY, "no memory for a cache key");
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, &version, sizeof version);
    hash_text(state, desc->arch->name);
    for (int i = 0; i < FLAGS; i++)
        hash_text(state, flags[i]);
    hash_text(state, text->source);
    for (int i = 0; i < text->headers_n; i++) {
        hash_text(state, text->header_name[i]);
        hash_text(state, text->header_text[i]);
    }
    XXH128_hash_t h = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(key, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
    return true;
}

static bool load_cached(const Jit *j, JitResult *out, Err *err)
{
    size_t log_bytes;
    out->ptx = jit_cache_get(j->cache_dir, out->key, "kernel.ptx", &out->ptx_bytes, err);
    if (!out->ptx)
        return false;
    out->cubin = (unsigned char *)jit_cache_get(j->cache_dir, out->key, "kernel.cubin", &out->cubin_bytes, err);
    out->log = out->cubin ? jit_cache_get(j->cache_dir, out->key, "log.txt", &log_bytes, err) : NULL;
    if (!out->log)
        return false;
    out->is_cached = true;
    return true;
}

static char *get_log(const Nvrtc *api, void *program)
{
    size_t n = 0;
    api->nvrtcGetProgramLogSize(program, &n);
    char *log = calloc(n + 1, 1);
    if (log && n)
        api->nvrtcGetProgramLog(program, log);
    return log;
}

static bool take_binaries(const Nvrtc *api, void *program, JitResult *out, Err *err)
{
    if (api->nvrtcGetPTXSize(program, &out->ptx_bytes) != 0 || api->nvrtcGetCUBINSize(program, &out->cubin_bytes) != 0)
        return fail(err, E_COMPILE, "the compiler gave no PTX or no cubin");
    out->ptx = calloc(out->ptx_bytes + 1, 1);
    out->cubin = calloc(out->cubin_bytes + 1, 1);
    if (!out->ptx || !out->cubin)
        return fail(err, E_MEMORY, "no memory for %zu bytes of PTX", out->ptx_bytes);
    if (api->nvrtcGetPTX(program, out->ptx) != 0 || api->nvrtcGetCUBIN(program, (char *)out->cubin) != 0)
        return fail(err, E_COMPILE, "the compiler gave no PTX or no cubin");
    out->ptx_bytes = strlen(out->ptx);
    return true;
}

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool compile(const Nvrtc *api, const JitDesc *desc, const JitText *text, JitResult *out, Err *err)
{
    char target[64];
    const char *options[FLAGS + 1];
    void *program = NULL;
    double start = now_seconds();
    snprintf(target, sizeof target, "--gpu-architecture=%s", desc->arch->name);
    memcpy(options, flags, sizeof flags);
    options[FLAGS] = target;
    if (api->nvrtcCreateProgram(&program, text->source, desc->source, text->headers_n, text->header_text,
        text->header_name) != 0)
        return fail(err, E_COMPILE, "%s: the compiler takes no program", desc->name);
    int code = api->nvrtcCompileProgram(program, FLAGS + 1, options);
    out->log = get_log(api, program);
    bool is_ok = false;
    if (!out->log)
        fail(err, E_MEMORY, "%s: no memory for the compiler's log", desc->name);
    else if (code != 0)
        fail(err, E_COMPILE, "%s for %s does not compile:\n%.*s", desc->name, desc->arch->name, LOG_SHOWN, out->log);
    else
        is_ok = take_binaries(api, program, out, err);
    api->nvrtcDestroyProgram(&program);
    out->seconds = now_seconds() - start;
    return is_ok;
}

/* Keeps a fresh result; a cache that cannot be written any more costs nothing but the next compilation. */
static bool keep(const Jit *j, const JitDesc *desc, const JitText *text, const JitResult *out)
{
    Err ignored;
    const JitFile files[] = {
        {"source.cu", text->source, strlen(text->source)}, {"tune.cuh", desc->constants, strlen(desc->constants)},
        {"kernel.ptx", out->ptx, out->ptx_bytes},          {"kernel.cubin", out->cubin, out->cubin_bytes},
        {"log.txt", out->log, strlen(out->log)},           {"name.txt", desc->name, strlen(desc->name)},
    };
    return jit_cache_put(j->cache_dir, out->key, files, sizeof files / sizeof *files, &ignored);
}

bool jit_compile(Jit *j, const JitDesc *desc, JitResult *out, Err *err)
{
    assert(desc->name && desc->source && desc->constants && desc->arch);
    *out = (JitResult){0};
    Arena arena = {0};
    JitText text;
    char why[400];
    int version = jit_compiler(j, why);
    bool is_kept = !j->cache_note[0];
    bool is_ok = jit_include_collect(&arena, desc->source, j->include_dir, desc->constants, &text, err) &&
                 make_key(&text, desc, version, out->key, err);
    if (is_ok && is_kept) {
        is_ok = load_cached(j, out, err);
        if (is_ok || err->kind != E_NONE)
            goto done;
    } else if (!is_ok) {
        goto done;
    }
    if (version == 0)
        is_ok = fail(err, E_UNSUPPORTED, "%s", why);
    else
        is_ok = compile(&j->api, desc, &text, out, err);
    is_kept = is_ok && is_kept && keep(j, desc, &text, out);
done:
    arena_deinit(&arena);
    if (is_ok && is_kept) {
        size_t n = strlen(j->cache_dir) + sizeof out->key + 1;
        out->folder = malloc(n);
        if (out->folder)
            snprintf(out->folder, n, "%s/%s", j->cache_dir, out->key);
    }
    if (!is_ok)
        jit_result_deinit(out);
    return is_ok || err_in(err, "kernel %s", desc->name);
}

void jit_result_deinit(JitResult *r)
{
    free(r->ptx);
    free(r->cubin);
    free(r->log);
    free(r->folder);
    *r = (JitResult){0};
}

int jit_compile_many(Jit *j, const JitDesc *descs, int n, JitResult *out, Err *errs)
{
    int failed = 0;
#pragma omp parallel for schedule(dynamic) reduction(+ : failed)
    for (int i = 0; i < n; i++)
        failed += !jit_compile(j, &descs[i], &out[i], &errs[i]);
    return failed;
}
