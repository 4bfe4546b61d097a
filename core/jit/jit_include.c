#include "core/jit/jit_include.h"

#include <stdio.h>
#include <string.h>

static char *read_text(Arena *a, const char *path, Err *err)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail_errno(err, "%s", path), NULL;
    char *text = NULL;
    if (fseek(f, 0, SEEK_END) == 0) {
        long n = ftell(f);
        rewind(f);
        text = n >= 0 ? arena_alloc(a, (size_t)n + 1) : NULL;
        if (!text)
            fail(err, E_MEMORY, "%s: no memory for its text", path);
        else if (fread(text, 1, (size_t)n, f) != (size_t)n)
            text = (fail_errno(err, "%s", path), NULL);
    } else {
        fail_errno(err, "%s", path);
    }
    fclose(f);
    return text;
}

static bool has_header(const JitText *t, const char *name)
{
    for (int i = 0; i < t->headers_n; i++)
        if (strcmp(t->header_name[i], name) == 0)
            return true;
    return false;
}

/* The word between quotes behind #include on this line, NULL with an error for another form. */
static const char *included_name(Arena *a, const char *line, const char *path, int number, Err *err)
{
    const char *open = line + strspn(line, " \t"), *close = *open == '"' ? strchr(open + 1, '"') : NULL;
    size_t n = close ? (size_t)(close - open - 1) : 0;
    if (n < 5 || memchr(open, '\n', n + 1) || memchr(open + 1, '/', n) || strncmp(close - 4, ".cuh", 4) != 0)
        return fail(err, E_FORMAT, "%s:%d: expected #include \"name.cuh\", found %.60s", path, number, line), NULL;
    char *name = arena_strndup(a, open + 1, n);
    return name ? name : (fail(err, E_MEMORY, "%s: no memory", path), NULL);
}

static bool add_header(Arena *a, const char *name, const char *folder, const char *include_dir, const char *constants,
                       JitText *out,
                       Err *err)
{
    if (out->headers_n == JIT_HEADERS_MAX)
        return fail(err, E_FORMAT, "more than %d device headers", JIT_HEADERS_MAX);
    char path[4096];
    const char *text = constants;
    if (strcmp(name, "tune.cuh") != 0) {
        snprintf(path, sizeof path, "%s/%s", folder, name);
        FILE *probe = fopen(path, "rb");
        if (probe)
            fclose(probe);
        else
            snprintf(path, sizeof path, "%s/%s", include_dir, name);
        probe = fopen(path, "rb");
        if (!probe)
            return fail(err, E_MISSING, "device header \"%s\": expected in %s or %s", name, folder, include_dir);
        fclose(probe);
        text = read_text(a, path, err);
    }
    if (!text)
        return false;
    out->header_name[out->headers_n] = name;
    out->header_text[out->headers_n++] = text;
    return true;
}

static bool follow(Arena *a, const char *text, const char *path, const char *folder, const char *include_dir,
                   const char *constants,
                   JitText *out, Err *err)
{
    int number = 1;
    for (const char *line = text; line; number++) {
        const char *at = line + strspn(line, " \t");
        if (*at == '#') {
            at += 1 + strspn(at + 1, " \t");
            if (strncmp(at, "include", 7) == 0) {
                const char *name = included_name(a, at + 7, path, number, err);
                if (!name || (!has_header(out, name) && !add_header(a, name, folder, include_dir, constants, out, err)))
                    return false;
            }
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return true;
}

bool jit_include_collect(Arena *a, const char *path, const char *include_dir, const char *constants, JitText *out, Err *err)
{
    *out = (JitText){0};
    const char *cut = strrchr(path, '/');
    const char *folder = cut ? arena_strndup(a, path, (size_t)(cut - path)) : ".";
    out->source = read_text(a, path, err);
    if (!out->source || !folder)
        return false;
    if (!follow(a, out->source, path, folder, include_dir, constants, out, err))
        return false;
    /* Headers are appended while the list is walked, so every header reached is followed once. */
    for (int i = 0; i < out->headers_n; i++)
        if (!follow(a, out->header_text[i], out->header_name[i], folder, include_dir, constants, out, err))
            return false;
    return true;
}
