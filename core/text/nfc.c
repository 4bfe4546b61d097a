/* Decompose each character, put runs of combining marks in the order of their class, compose. utf8proc knows the characters;
 * the order is made here because utf8proc_decompose moves marks one step at a time, which is quadratic in a run's length. */
#include "core/text/nfc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/text/utf8.h"

enum {
    DECOMPOSED_MAX = 18, /* room for the longest decomposition utf8proc may write for one character */
    CLASSES = 256,
    RUN_SHORT = 32, /* runs up to here are sorted by insertion */
};

static const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;

static int class_of(utf8proc_int32_t cp)
{
    return (int)utf8proc_get_property(cp)->combining_class;
}

static void insertion_sort(utf8proc_int32_t *run, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        utf8proc_int32_t cp = run[i];
        size_t j = i;
        for (; j > 0 && class_of(run[j - 1]) > class_of(cp); j--)
            run[j] = run[j - 1];
        run[j] = cp;
    }
}

/* Stable, by counting. */
static bool counting_sort(utf8proc_int32_t *run, size_t n, Err *err)
{
    size_t at[CLASSES + 1] = {0};
    utf8proc_int32_t *copy = malloc(n * sizeof *copy);
    if (!copy)
        return fail(err, E_MEMORY, "no memory to order %zu combining marks", n);
    memcpy(copy, run, n * sizeof *copy);
    for (size_t i = 0; i < n; i++)
        at[class_of(copy[i]) + 1]++;
    for (size_t c = 0; c < CLASSES; c++)
        at[c + 1] += at[c];
    for (size_t i = 0; i < n; i++)
        run[at[class_of(copy[i])]++] = copy[i];
    free(copy);
    return true;
}

static bool order_marks(utf8proc_int32_t *cps, size_t n, Err *err)
{
    for (size_t i = 0; i < n;) {
        size_t from = i;
        while (i < n && class_of(cps[i]) != 0)
            i++;
        if (i - from <= RUN_SHORT)
            insertion_sort(cps + from, i - from);
        else if (!counting_sort(cps + from, i - from, err))
            return false;
        i += i == from;
    }
    return true;
}

/* No character below U+0300 changes under NFC or is a combining mark. */
static bool is_plain(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)s[i] >= 0xCC)
            return false;
    return true;
}

bool nfc_append(const char *s, size_t n, Buf *out, Err *err)
{
    Buf work = {0};
    bool ok = false;
    if (is_plain(s, n))
        return buf_append(out, s, n, err);
    for (size_t at = 0, len; at < n; at += len) {
        int last_class = 0;
        if (!buf_reserve(&work, DECOMPOSED_MAX * sizeof(utf8proc_int32_t), err))
            goto done;
        utf8proc_int32_t *end = (utf8proc_int32_t *)(void *)(work.data + work.n);
        utf8proc_ssize_t got = utf8proc_decompose_char((utf8proc_int32_t)utf8_get(s + at, &len), end, DECOMPOSED_MAX, options,
                                                       &last_class);
        assert(got > 0 && got <= DECOMPOSED_MAX);
        work.n += (size_t)got * sizeof *end;
    }
    utf8proc_int32_t *cps = (utf8proc_int32_t *)(void *)work.data;
    size_t cps_n = work.n / sizeof *cps;
    if (!order_marks(cps, cps_n, err))
        goto done;
    utf8proc_ssize_t composed_n = utf8proc_normalize_utf32(cps, (utf8proc_ssize_t)cps_n, options);
    assert(composed_n >= 0);
    if (!buf_reserve(out, (size_t)composed_n * UTF8_BYTES_MAX, err))
        goto done;
    for (size_t i = 0; i < (size_t)composed_n; i++)
        out->n += utf8_put((uint32_t)cps[i], out->data + out->n);
    ok = true;
done:
    buf_deinit(&work);
    return ok;
}
