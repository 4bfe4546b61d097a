/* The order of writes is the whole point: values, then seq pos step token, then done. pwrite puts them into the page cache in
 * that order, and a killed process loses nothing of what is there. */
#include "core/file/trace.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are written as they lie in memory");

enum { TRACE_VERSION = 1, NAME_BYTES_MAX = 200, CHUNK_BYTES = 1 << 19, BLOCK_CHUNKS = 8 };

static const char trace_format[] = "nibble trace";
static const char *const row_fields[] = {"seq", "pos", "step", "token"};
static const char *const row_units[] = {"sequence index", "tokens", "step index", "token id"};
enum { ROW_FIELDS = 4 };

typedef struct Tap {
    char *name;
    int rank;
    DType dtype;
    size_t row_bytes;
    uint64_t offset, present; /* in the file; present 0 when every row has a value */
    uint8_t *has;             /* [capacity], 1: put */
} Tap;

struct TraceWriter {
    char *path;
    int fd, deflate;
    size_t capacity, rows_end; /* rows_end: one behind the last done row */
    size_t taps_n;
    Tap *taps;
    uint8_t *done; /* [capacity] */
    uint64_t row_offset[ROW_FIELDS], done_offset;
};

/* ---- making the file ---- */

static char *name_in(const char *group, const char *name, char *buf, size_t n)
{
    snprintf(buf, n, "%s/%s", group, name);
    return buf;
}

static bool name_is_good(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n >= NAME_BYTES_MAX || name[0] == '/' || name[n - 1] == '/' || strstr(name, "//"))
        return false;
    for (const char *s = name; *s; s += strcspn(s, "/"), s += *s == '/')
        if (s[0] == '.')
            return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/") == n;
}

static bool check_desc(const TraceDesc *desc, Err *err)
{
    if (desc->taps_n > TRACE_TAPS_MAX)
        return fail(err, E_USAGE, "%s: a trace has at most %d taps, not %zu", desc->path, TRACE_TAPS_MAX, desc->taps_n);
    for (size_t i = 0; i < desc->taps_n; i++) {
        const TraceTap *tap = &desc->taps[i];
        size_t bytes = dtype_bytes(tap->dtype);
        if (!name_is_good(tap->name))
            return fail(err, E_USAGE, "%s: \"%s\" is no name for a tap", desc->path, tap->name);
        assert(bytes > 0 && tap->rank >= 0 && tap->rank <= TRACE_RANK_MAX);
        for (int d = 0; d < tap->rank; d++)
            if (tap->shape[d] == 0 || __builtin_mul_overflow(bytes, tap->shape[d], &bytes))
                return fail(err, E_SHAPE, "%s: tap %s has an impossible row", desc->path, tap->name);
        if (__builtin_mul_overflow(bytes, desc->capacity, &bytes) || bytes > INT64_MAX)
            return fail(err, E_SHAPE, "%s: tap %s becomes too large", desc->path, tap->name);
    }
    return true;
}

static bool set_text(H5File *f, const char *p, const char *name, const char *text, Err *err)
{
    char *strings[] = {(char *)(uintptr_t)text};
    return h5_set_attr(f, p, name, &(H5Attr){.kind = H5_ATTR_STRING, .n = 1, .strings = strings}, err);
}

static bool set_int(H5File *f, const char *p, const char *name, int64_t value, Err *err)
{
    return h5_set_attr(f, p, name, &(H5Attr){.kind = H5_ATTR_INT, .n = 1, .ints = &value}, err);
}

static bool set_bool(H5File *f, const char *p, const char *name, int64_t value, Err *err)
{
    return h5_set_attr(f, p, name, &(H5Attr){.kind = H5_ATTR_BOOL, .n = 1, .ints = &value}, err);
}

static bool set_meta(H5File *f, size_t n, const TraceMeta *meta, Err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!h5_set_attr(f, "meta", meta[i].name, &meta[i].value, err))
            return false;
    return true;
}

/* One dataset of the trace: its first dimension counts rows; labels name the others (DIMENSION_LABELS is HDF5's own name). */
static bool make_dataset(H5File *f, const char *p, size_t capacity, const TraceTap *tap, Err *err)
{
    size_t shape[TENSOR_RANK_MAX] = {capacity};
    char *labels[TENSOR_RANK_MAX] = {(char *)(uintptr_t)"row"};
    for (int i = 0; i < tap->rank; i++) {
        shape[i + 1] = tap->shape[i];
        labels[i + 1] = (char *)(uintptr_t)(tap->labels[i] ? tap->labels[i] : "");
    }
    H5Attr names = {.kind = H5_ATTR_STRING, .is_list = true, .n = (size_t)tap->rank + 1, .strings = labels};
    return h5_make(f, p, tap->dtype, tap->rank + 1, shape, (H5Layout){0}, err) &&
           h5_set_attr(f, p, "DIMENSION_LABELS", &names, err) && set_text(f, p, "units", tap->unit ? tap->unit : "1", err);
}

static bool make_meta(H5File *f, const TraceDesc *desc, Err *err)
{
    char **names = calloc(desc->taps_n + 1, sizeof *names);
    if (!names)
        return fail(err, E_MEMORY, "no memory for a trace");
    for (size_t i = 0; i < desc->taps_n; i++)
        names[i] = (char *)(uintptr_t)desc->taps[i].name;
    H5Attr taps = {.kind = H5_ATTR_STRING, .is_list = true, .n = desc->taps_n, .strings = names};
    bool ok = h5_make_group(f, "meta", err) && h5_make_group(f, "taps", err) && set_meta(f, desc->meta_n, desc->meta, err) &&
              set_text(f, "meta", "format", trace_format, err) && set_int(f, "meta", "version", TRACE_VERSION, err) &&
              set_bool(f, "meta", "finished", false, err) && h5_set_attr(f, "meta", "taps", &taps, err);
    free(names);
    return ok;
}

static bool make_rows(H5File *f, TraceWriter *w, Err *err)
{
    char p[NAME_BYTES_MAX + 16];
    for (int i = 0; i < ROW_FIELDS; i++) {
        TraceTap field = {.dtype = DTYPE_I32, .unit = row_units[i]};
        name_in("rows", row_fields[i], p, sizeof p);
        if (!make_dataset(f, p, w->capacity, &field, err) || !h5_offset(f, p, &w->row_offset[i], err))
            return false;
    }
    return make_dataset(f, "rows/done", w->capacity, &(TraceTap){.dtype = DTYPE_U8, .unit = "boolean"}, err) &&
           h5_offset(f, "rows/done", &w->done_offset, err);
}

static bool make_tap(H5File *f, TraceWriter *w, const TraceTap *tap, Tap *to, Err *err)
{
    char p[NAME_BYTES_MAX + 16];
    to->name = strdup(tap->name);
    to->has = calloc(w->capacity, 1);
    to->dtype = tap->dtype;
    to->rank = tap->rank;
    to->row_bytes = dtype_bytes(tap->dtype);
    for (int i = 0; i < tap->rank; i++)
        to->row_bytes *= tap->shape[i];
    if (!to->name || !to->has)
        return fail(err, E_MEMORY, "no memory for a trace");
    name_in("taps", tap->name, p, sizeof p);
    if (!make_dataset(f, p, w->capacity, tap, err) || !h5_offset(f, p, &to->offset, err))
        return false;
    if (!tap->is_partial)
        return true;
    name_in("present", tap->name, p, sizeof p);
    return make_dataset(f, p, w->capacity, &(TraceTap){.dtype = DTYPE_U8, .unit = "boolean"}, err) &&
           h5_offset(f, p, &to->present, err);
}

static bool make_layout(H5File *f, TraceWriter *w, const TraceDesc *desc, Err *err)
{
    if (!make_meta(f, desc, err) || !make_rows(f, w, err))
        return false;
    for (size_t i = 0; i < desc->taps_n; i++, w->taps_n++)
        if (!make_tap(f, w, &desc->taps[i], &w->taps[i], err)) {
            w->taps_n++;
            return false;
        }
    return h5_reserve(f, err);
}

static void writer_free(TraceWriter *w)
{
    for (size_t i = 0; i < w->taps_n; i++) {
        free(w->taps[i].name);
        free(w->taps[i].has);
    }
    if (w->fd >= 0)
        close(w->fd);
    free(w->taps);
    free(w->done);
    free(w->path);
    free(w);
}

TraceWriter *trace_create(const TraceDesc *desc, Err *err)
{
    if (desc->capacity == 0)
        return fail(err, E_USAGE, "%s: a trace has room for at least one row", desc->path), NULL;
    if (!check_desc(desc, err))
        return NULL;
    TraceWriter *w = calloc(1, sizeof *w);
    if (!w)
        return fail(err, E_MEMORY, "no memory for a trace"), NULL;
    w->fd = -1;
    w->capacity = desc->capacity;
    w->deflate = desc->deflate;
    w->path = strdup(desc->path);
    w->done = calloc(desc->capacity, 1);
    w->taps = calloc(desc->taps_n + 1, sizeof *w->taps);
    H5File *f = NULL;
    bool ok = (w->path && w->done && w->taps) || fail(err, E_MEMORY, "no memory for a trace of %zu rows", desc->capacity);
    if (ok)
        f = h5_create(desc->path, err);
    ok = f && make_layout(f, w, desc, err);
    if (ok) {
        ok = h5_close(f, err);
        f = NULL;
    }
    if (ok) {
        w->fd = open(w->path, O_WRONLY | O_CLOEXEC);
        ok = w->fd >= 0 || fail_errno(err, "cannot write %s", w->path);
    }
    if (ok)
        return w;
    h5_discard(f);
    writer_free(w);
    return NULL;
}

/* ---- writing rows ---- */

int trace_tap(const TraceWriter *w, const char *name)
{
    for (size_t i = 0; i < w->taps_n; i++)
        if (strcmp(w->taps[i].name, name) == 0)
            return (int)i;
    return -1;
}

size_t trace_row_bytes(const TraceWriter *w, int tap)
{
    assert(tap >= 0 && (size_t)tap < w->taps_n);
    return w->taps[tap].row_bytes;
}

DType trace_dtype(const TraceWriter *w, int tap)
{
    assert(tap >= 0 && (size_t)tap < w->taps_n);
    return w->taps[tap].dtype;
}

static bool put_bytes(TraceWriter *w, uint64_t offset, const void *bytes, size_t n, Err *err)
{
    const char *from = bytes;
    while (n > 0) {
        ssize_t k = pwrite(w->fd, from, n, (off_t)offset);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return fail_errno(err, "cannot write %s", w->path);
        from += k;
        offset += (uint64_t)k;
        n -= (size_t)k;
    }
    return true;
}

static bool rows_are_free(const TraceWriter *w, size_t first_row, size_t rows_n, Err *err)
{
    if (first_row > w->capacity || rows_n > w->capacity - first_row)
        return fail(err, E_USAGE, "%s has room for %zu rows; %zu from row %zu on do not fit", w->path, w->capacity, rows_n,
                    first_row);
    const uint8_t *done = memchr(w->done + first_row, 1, rows_n);
    return !done || fail(err, E_USAGE, "%s: row %zu is done and cannot be written again", w->path, (size_t)(done - w->done));
}

bool trace_put(TraceWriter *w, int tap, size_t first_row, size_t rows_n, const void *values, Err *err)
{
    assert(tap >= 0 && (size_t)tap < w->taps_n);
    Tap *to = &w->taps[tap];
    if (!rows_are_free(w, first_row, rows_n, err) ||
        !put_bytes(w, to->offset + first_row * to->row_bytes, values, rows_n * to->row_bytes, err))
        return false;
    memset(to->has + first_row, 1, rows_n);
    return true;
}

static bool taps_are_put(const TraceWriter *w, size_t first_row, size_t rows_n, Err *err)
{
    for (size_t i = 0; i < w->taps_n; i++) {
        const uint8_t *hole = w->taps[i].present ? NULL : memchr(w->taps[i].has + first_row, 0, rows_n);
        if (hole)
            return fail(err, E_USAGE, "%s: row %zu cannot be done, tap %s was not written", w->path,
                        (size_t)(hole - w->taps[i].has), w->taps[i].name);
    }
    return true;
}

bool trace_finish(TraceWriter *w, size_t first_row, size_t rows_n, const TraceRow *rows, Err *err)
{
    if (!rows_are_free(w, first_row, rows_n, err) || !taps_are_put(w, first_row, rows_n, err))
        return false;
    for (size_t i = 0; i < w->taps_n; i++)
        if (w->taps[i].present && !put_bytes(w, w->taps[i].present + first_row, w->taps[i].has + first_row, rows_n, err))
            return false;
    int32_t *column = malloc(rows_n * sizeof *column + 1);
    bool ok = column || fail(err, E_MEMORY, "no memory for %zu rows", rows_n);
    for (int field = 0; ok && field < ROW_FIELDS; field++) {
        for (size_t i = 0; i < rows_n; i++)
            column[i] = (const int32_t[]){rows[i].seq, rows[i].pos, rows[i].step, rows[i].token}[field];
        ok = put_bytes(w, w->row_offset[field] + first_row * sizeof *column, column, rows_n * sizeof *column, err);
    }
    free(column);
    if (!ok)
        return false;
    memset(w->done + first_row, 1, rows_n);
    if (!put_bytes(w, w->done_offset + first_row, w->done + first_row, rows_n, err))
        return false;
    if (rows_n && first_row + rows_n > w->rows_end)
        w->rows_end = first_row + rows_n;
    return true;
}

/* ---- closing ---- */

static bool copy_attrs(H5File *from, H5File *to, const char *p, Err *err)
{
    H5List names;
    if (!h5_attr_names(from, p, &names, err))
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < names.n; i++) {
        H5Attr attr;
        ok = h5_attr(from, p, names.entries[i].name, &attr, err);
        if (ok) {
            ok = h5_set_attr(to, p, names.entries[i].name, &attr, err);
            h5_attr_free(&attr);
        }
    }
    h5_list_free(&names);
    return ok;
}

/* Copies the first rows of a dataset, a few chunks at a time, so that memory does not grow with the trace. */
static bool copy_dataset(H5File *from, H5File *to, const char *p, size_t rows, int deflate, Err *err)
{
    H5Info info;
    if (!h5_info(from, p, &info, err))
        return false;
    size_t row_bytes = dtype_bytes(info.dtype);
    for (int i = 1; i < info.rank; i++)
        row_bytes *= info.shape[i];
    size_t chunk_rows = row_bytes < CHUNK_BYTES ? CHUNK_BYTES / row_bytes : 1, block = chunk_rows * BLOCK_CHUNKS;
    info.shape[0] = rows;
    H5Layout layout = {deflate ? chunk_rows : 0, deflate};
    if (!h5_make(to, p, info.dtype, info.rank, info.shape, layout, err) || !copy_attrs(from, to, p, err))
        return false;
    for (size_t first = 0; first < rows; first += block) {
        size_t n = rows - first < block ? rows - first : block;
        Tensor *t = h5_read_part(from, p, (H5Part){first, n, DTYPE_NONE}, err);
        bool ok = t && h5_write_rows(to, p, first, t, err);
        tensor_free(t);
        if (!ok)
            return false;
    }
    return true;
}

static bool copy_all(TraceWriter *w, H5File *from, H5File *to, Err *err)
{
    char p[NAME_BYTES_MAX + 16];
    if (!h5_make_group(to, "meta", err) || !h5_make_group(to, "taps", err) || !copy_attrs(from, to, "meta", err))
        return false;
    for (int i = 0; i < ROW_FIELDS; i++)
        if (!copy_dataset(from, to, name_in("rows", row_fields[i], p, sizeof p), w->rows_end, w->deflate, err))
            return false;
    if (!copy_dataset(from, to, "rows/done", w->rows_end, w->deflate, err))
        return false;
    for (size_t i = 0; i < w->taps_n; i++) {
        const char *name = w->taps[i].name;
        if (!copy_dataset(from, to, name_in("taps", name, p, sizeof p), w->rows_end, w->deflate, err))
            return false;
        if (w->taps[i].present &&
            !copy_dataset(from, to, name_in("present", name, p, sizeof p), w->rows_end, w->deflate, err))
            return false;
    }
    return true;
}

/* Is the file under our name still the one we write into? Another run may have taken the name. */
static bool name_is_ours(const TraceWriter *w, Err *err)
{
    struct stat ours, there;
    if (fstat(w->fd, &ours) != 0 || stat(w->path, &there) != 0)
        return fail_errno(err, "cannot find %s again", w->path);
    return (ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) ||
           fail(err, E_IO, "%s was replaced by another program while it was written", w->path);
}

bool trace_close(TraceWriter *w, size_t meta_n, const TraceMeta *meta, Err *err)
{
    H5File *from = NULL, *to = NULL;
    bool ok = name_is_ours(w, err) && (from = h5_open_own(w->path, err)) && (to = h5_create(w->path, err)) &&
              copy_all(w, from, to, err) && set_meta(to, meta_n, meta, err) && set_bool(to, "meta", "finished", true, err);
    h5_discard(from);
    if (ok)
        ok = h5_close(to, err);
    else
        h5_discard(to);
    if (!ok)
        err_in(err, "%s keeps its finished rows, but is not compressed", w->path);
    writer_free(w);
    return ok;
}

void trace_discard(TraceWriter *w)
{
    Err ignored;
    if (!w)
        return;
    if (w->rows_end == 0 && name_is_ours(w, &ignored))
        unlink(w->path);
    writer_free(w);
}

/* ---- reading ---- */

static bool check_meta(H5File *f, TraceReader *r, Err *err)
{
    H5Kind kind;
    H5Attr attr;
    if (!h5_kind(f, "meta", &kind, err))
        return false;
    if (kind != H5_GROUP || !h5_attr(f, "meta", "format", &attr, err))
        return fail(err, E_FORMAT, "%s is not a trace: it has no /meta with the attribute format", h5_path(f));
    bool ok = attr.kind == H5_ATTR_STRING && attr.n == 1 && strcmp(attr.strings[0], trace_format) == 0;
    h5_attr_free(&attr);
    if (!ok)
        return fail(err, E_FORMAT, "%s is not a trace: /meta format is not \"%s\"", h5_path(f), trace_format);
    if (!h5_attr(f, "meta", "version", &attr, err))
        return false;
    int64_t version = attr.kind == H5_ATTR_INT && attr.n == 1 ? attr.ints[0] : 0;
    h5_attr_free(&attr);
    if (version != TRACE_VERSION)
        return fail(err, E_UNSUPPORTED, "%s is a trace of version %lld; version %d is read", h5_path(f), (long long)version,
                    TRACE_VERSION);
    if (!h5_attr(f, "meta", "finished", &attr, err))
        return false;
    r->is_finished = attr.kind == H5_ATTR_BOOL && attr.n == 1 && attr.ints[0];
    h5_attr_free(&attr);
    return true;
}

/* A column of /rows: one-dimensional, of the given type; the first one read fixes the number of rows. */
static Tensor *read_column(H5File *f, const char *p, DType dtype, bool is_first, TraceReader *r, Err *err)
{
    Tensor *t = h5_read(f, p, err);
    if (t && t->dtype == dtype && t->rank == 1 && (is_first || t->shape[0] == r->rows_n)) {
        r->rows_n = t->shape[0];
        return t;
    }
    if (t) {
        char found[160];
        fail(err, E_FORMAT, "%s:/%s: expected one %s a row, found %s", h5_path(f), p, dtype_name(dtype),
             tensor_describe(t, found, sizeof found));
    }
    tensor_free(t);
    return NULL;
}

static bool read_rows(H5File *f, TraceReader *r, Err *err)
{
    Tensor *t = read_column(f, "rows/done", DTYPE_U8, true, r, err);
    if (!t)
        return false;
    r->done = calloc(r->rows_n + 1, 1);
    r->rows = calloc(r->rows_n + 1, sizeof *r->rows);
    bool ok = (r->done && r->rows) || fail(err, E_MEMORY, "no memory for %zu rows", r->rows_n);
    for (size_t i = 0; ok && i < r->rows_n; i++) {
        r->done[i] = ((const uint8_t *)t->data)[i];
        ok = r->done[i] <= 1 || fail(err, E_FORMAT, "%s:/rows/done: row %zu is %d, expected 0 or 1", h5_path(f), i, r->done[i]);
    }
    tensor_free(t);
    for (int field = 0; ok && field < ROW_FIELDS; field++) {
        char p[NAME_BYTES_MAX + 16];
        t = read_column(f, name_in("rows", row_fields[field], p, sizeof p), DTYPE_I32, false, r, err);
        ok = t != NULL;
        for (size_t i = 0; ok && i < r->rows_n; i++) {
            int32_t v = ((const int32_t *)t->data)[i];
            int32_t *to[] = {&r->rows[i].seq, &r->rows[i].pos, &r->rows[i].step, &r->rows[i].token};
            *to[field] = v;
        }
        tensor_free(t);
    }
    return ok;
}

static bool read_tap(H5File *f, TraceReader *r, TraceTap *tap, const char *name, Err *err)
{
    char p[NAME_BYTES_MAX + 16];
    H5Info info;
    H5Kind kind;
    if (!name_is_good(name))
        return fail(err, E_FORMAT, "%s:/meta taps: \"%s\" is no name for a tap", h5_path(f), name);
    if (!(tap->name = strdup(name)))
        return fail(err, E_MEMORY, "no memory for a trace");
    if (!h5_info(f, name_in("taps", name, p, sizeof p), &info, err))
        return false;
    if (info.dtype == DTYPE_NONE || info.rank < 1 || info.shape[0] != r->rows_n)
        return fail(err, E_FORMAT, "%s:/%s: expected numbers for %zu rows", h5_path(f), p, r->rows_n);
    tap->dtype = info.dtype;
    tap->rank = info.rank - 1;
    for (int i = 0; i < tap->rank; i++)
        tap->shape[i] = info.shape[i + 1];
    if (!h5_kind(f, name_in("present", name, p, sizeof p), &kind, err))
        return false;
    tap->is_partial = kind == H5_DATASET;
    return true;
}

static bool read_taps(H5File *f, TraceReader *r, Err *err)
{
    H5Attr names;
    if (!h5_attr(f, "meta", "taps", &names, err))
        return false;
    bool ok = (names.kind == H5_ATTR_STRING && names.is_list && names.n <= TRACE_TAPS_MAX) ||
              fail(err, E_FORMAT, "%s:/meta taps: expected a list of at most %d names", h5_path(f), TRACE_TAPS_MAX);
    if (ok) {
        r->taps = calloc(names.n + 1, sizeof *r->taps);
        ok = r->taps || fail(err, E_MEMORY, "no memory for a trace");
    }
    for (size_t i = 0; ok && i < names.n; i++) {
        ok = trace_find(r, names.strings[i]) < 0 ||
             fail(err, E_FORMAT, "%s:/meta taps: \"%s\" stands there twice", h5_path(f), names.strings[i]);
        ok = ok && read_tap(f, r, &r->taps[r->taps_n++], names.strings[i], err);
    }
    h5_attr_free(&names);
    return ok;
}

TraceReader *trace_from(H5File *file, Err *err)
{
    TraceReader *r = calloc(1, sizeof *r);
    if (!r) {
        h5_discard(file);
        return fail(err, E_MEMORY, "no memory for a trace"), NULL;
    }
    r->file = file;
    if (check_meta(file, r, err) && read_rows(file, r, err) && read_taps(file, r, err))
        return r;
    trace_free(r);
    return NULL;
}

TraceReader *trace_open(const char *path, Err *err)
{
    H5File *file = h5_open(path, err);
    return file ? trace_from(file, err) : NULL;
}

void trace_free(TraceReader *r)
{
    if (!r)
        return;
    for (size_t i = 0; r->taps && i < r->taps_n; i++)
        free((char *)(uintptr_t)r->taps[i].name);
    free(r->taps);
    free(r->rows);
    free(r->done);
    h5_discard(r->file);
    free(r);
}

int trace_find(const TraceReader *r, const char *name)
{
    for (size_t i = 0; i < r->taps_n; i++)
        if (strcmp(r->taps[i].name, name) == 0)
            return (int)i;
    return -1;
}

Tensor *trace_read(TraceReader *r, int tap, size_t n, const size_t *rows, Err *err)
{
    assert(tap >= 0 && (size_t)tap < r->taps_n);
    const TraceTap *from = &r->taps[tap];
    char p[NAME_BYTES_MAX + 16];
    size_t shape[TENSOR_RANK_MAX] = {n}, row_bytes = dtype_bytes(from->dtype), run;
    for (int i = 0; i < from->rank; i++)
        row_bytes *= shape[i + 1] = from->shape[i];
    name_in("taps", from->name, p, sizeof p);
    Tensor *all = NULL;
    for (size_t first = 0; first < n; first += run) {
        for (run = 1; first + run < n && rows[first + run] == rows[first] + run;)
            run++;
        Tensor *part = h5_read_part(r->file, p, (H5Part){rows[first], run, DTYPE_NONE}, err);
        if (part && run == n)
            return part;
        if (part && !all) /* the whole is made once a part has shown that the file holds what it announces */
            all = tensor_new(from->dtype, from->rank + 1, shape, err);
        if (!part || !all) {
            tensor_free(part);
            tensor_free(all);
            return NULL;
        }
        memcpy((char *)all->data + first * row_bytes, part->data, run * row_bytes);
        tensor_free(part);
    }
    return all ? all : tensor_new(from->dtype, from->rank + 1, shape, err);
}

bool trace_present(TraceReader *r, int tap, uint8_t **present, Err *err)
{
    assert(tap >= 0 && (size_t)tap < r->taps_n);
    char p[NAME_BYTES_MAX + 16];
    *present = malloc(r->rows_n + 1);
    if (!*present)
        return fail(err, E_MEMORY, "no memory for %zu rows", r->rows_n);
    memcpy(*present, r->done, r->rows_n);
    if (!r->taps[tap].is_partial)
        return true;
    Tensor *t = read_column(r->file, name_in("present", r->taps[tap].name, p, sizeof p), DTYPE_U8, false, r, err);
    for (size_t i = 0; t && i < r->rows_n; i++)
        (*present)[i] &= ((const uint8_t *)t->data)[i] == 1;
    if (!t) {
        free(*present);
        *present = NULL;
    }
    tensor_free(t);
    return t != NULL;
}
