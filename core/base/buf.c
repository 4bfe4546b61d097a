#include "core/base/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_FIRST = 64, BUF_FILE_CHUNK = 1 << 16 };

bool buf_reserve(Buf *b, size_t more, Err *err)
{
    if (more <= b->cap - b->n)
        return true;
    if (more > SIZE_MAX / 2 - b->n)
        return fail(err, E_MEMORY, "a buffer cannot grow by %zu bytes", more);
    size_t cap = b->cap ? b->cap : BUF_FIRST;
    while (cap < b->n + more)
        cap *= 2;
    char *data = realloc(b->data, cap);
    if (!data)
        return fail(err, E_MEMORY, "no memory for a buffer of %zu bytes", cap);
    b->data = data;
    b->cap = cap;
    return true;
}

bool buf_append(Buf *b, const void *data, size_t n, Err *err)
{
    if (!buf_reserve(b, n, err))
        return false;
    if (n)
        memcpy(b->data + b->n, data, n);
    b->n += n;
    return true;
}

bool buf_read_file(Buf *b, const char *path, Err *err)
{
    bool ok = false;
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail_errno(err, "cannot open %s", path);
    size_t got;
    do {
        if (!buf_reserve(b, BUF_FILE_CHUNK, err))
            goto done;
        got = fread(b->data + b->n, 1, BUF_FILE_CHUNK, f);
        b->n += got;
    } while (got == BUF_FILE_CHUNK);
    ok = !ferror(f) || fail_errno(err, "cannot read %s", path);
done:
    fclose(f);
    return ok;
}

void buf_deinit(Buf *b)
{
    free(b->data);
    *b = (Buf){0};
}
