#include "core/file/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file/json_scan.h"
#include "core/file/name_table.h"

enum { LENGTH_BYTES = SAFETENSORS_LENGTH_BYTES, KEY_MAX = 32 };

struct Safetensors {
    char *path;
    const uint8_t *bytes;
    uint64_t file_bytes, header_bytes;
    bool is_mapped; /* bytes are ours to unmap */
    char *names;    /* all names, 0-terminated, in the order of the header */
    size_t names_n, names_cap;
    SafetensorsEntry *entries;
    size_t count, entries_cap;
    NameTable table;
};

static uint64_t data_start(const Safetensors *f)
{
    return LENGTH_BYTES + f->header_bytes;
}

static SafetensorsEntry *entry_new(Safetensors *f, Err *err)
{
    if (f->count == f->entries_cap) {
        size_t cap = f->entries_cap ? 2 * f->entries_cap : 64;
        SafetensorsEntry *grown = realloc(f->entries, cap * sizeof *grown);
        if (!grown)
            return fail(err, E_MEMORY, "%s: no memory for %zu tensors", f->path, cap), NULL;
        f->entries = grown;
        f->entries_cap = cap;
    }
    SafetensorsEntry *e = &f->entries[f->count++];
    memset(e, 0, sizeof *e);
    return e;
}

static bool read_dtype(JsonScan *s, SafetensorsEntry *e)
{
    char text[KEY_MAX];
    if (!json_scan_string(s, text, sizeof text, NULL, "a dtype"))
        return false;
    e->dtype = dtype_from_name(text);
    if (e->dtype == DTYPE_NONE)
        return fail(s->err, E_UNSUPPORTED,
                    "%s: tensor %s: dtype \"%s\" is not one this program knows", s->where, e->name,
                    text);
    return true;
}

static bool read_shape(JsonScan *s, SafetensorsEntry *e)
{
    if (!json_scan_expect(s, '[', "'[' of a shape"))
        return false;
    bool more = json_scan_peek(s) != ']';
    if (!more)
        s->at++;
    while (more) {
        uint64_t extent;
        if (e->rank == SAFETENSORS_RANK_MAX)
            return fail(s->err, E_UNSUPPORTED, "%s: tensor %s: more than %d dimensions", s->where,
                        e->name, SAFETENSORS_RANK_MAX);
        if (!json_scan_u64(s, &extent, "an extent of the shape") || !json_scan_more(s, ']', &more))
            return false;
        e->shape[e->rank++] = (size_t)extent;
    }
    return true;
}

/* begin and end, counted from the start of the data area, into offset and bytes (end - begin is
 * checked later). */
static bool read_offsets(JsonScan *s, uint64_t offsets[2])
{
    return json_scan_expect(s, '[', "'[' of data_offsets")
        && json_scan_u64(s, &offsets[0], "the begin of data_offsets")
        && json_scan_expect(s, ',', "',' between two data_offsets")
        && json_scan_u64(s, &offsets[1], "the end of data_offsets")
        && json_scan_expect(s, ']', "']' behind two data_offsets");
}

/* What the header says of one tensor must fit together and into the file. */
static bool check_entry(const Safetensors *f, SafetensorsEntry *e, const uint64_t offsets[2],
                        Err *err)
{
    uint64_t bytes = dtype_bytes(e->dtype);
    for (int i = 0; i < e->rank; i++)
        if (__builtin_mul_overflow(bytes, (uint64_t)e->shape[i], &bytes))
            return fail(err, E_FORMAT,
                        "%s: tensor %s: its shape overflows 64 bits at dimension %d of %zu",
                        f->path, e->name, i, e->shape[i]);
    if (offsets[0] > offsets[1])
        return fail(err, E_FORMAT,
                    "%s: tensor %s: data_offsets [%" PRIu64 ", %" PRIu64 "] end before they begin",
                    f->path, e->name, offsets[0], offsets[1]);
    if (offsets[1] - offsets[0] != bytes)
        return fail(err, E_FORMAT,
                    "%s: tensor %s: its shape and dtype %s need %" PRIu64
                    " bytes, data_offsets hold %" PRIu64,
                    f->path, e->name, dtype_name(e->dtype), bytes, offsets[1] - offsets[0]);
    uint64_t area = f->file_bytes - data_start(f);
    if (offsets[1] > area)
        return fail(err, E_FORMAT,
                    "%s: tensor %s: data_offsets end at %" PRIu64 ", the file has %" PRIu64
                    " bytes of data: truncated by at least %" PRIu64 " bytes or a wrong header",
                    f->path, e->name, offsets[1], area, offsets[1] - area);
    e->offset = data_start(f) + offsets[0];
    e->bytes = bytes;
    return true;
}

/* The object of one tensor: dtype, shape, data_offsets, each once, nothing else. */
static bool read_entry(Safetensors *f, JsonScan *s, const char *name)
{
    static const char *const key_names[] = {"dtype", "shape", "data_offsets"};
    SafetensorsEntry *e = entry_new(f, s->err);
    if (!e)
        return false;
    e->name = name;
    uint64_t offsets[2];
    bool has[3] = {false}, more = true;
    if (!json_scan_expect(s, '{', "'{' of a tensor"))
        return err_in(s->err, "tensor %s", name);
    while (more) {
        char key[KEY_MAX];
        if (!json_scan_string(s, key, sizeof key, NULL,
                              "one of the keys dtype, shape, data_offsets")
            || !json_scan_expect(s, ':', "':' behind a key"))
            return err_in(s->err, "tensor %s", name);
        int k = 0;
        while (k < 3 && strcmp(key, key_names[k]) != 0)
            k++;
        if (k == 3 || has[k])
            return fail(
                s->err, E_FORMAT,
                "%s: tensor %s: expected the keys dtype, shape and data_offsets once each, found \"%s\"%s",
                s->where, name, key, k == 3 ? "" : " again");
        has[k] = true;
        bool ok = k == 0 ? read_dtype(s, e) : k == 1 ? read_shape(s, e) : read_offsets(s, offsets);
        if (!ok || !json_scan_more(s, '}', &more))
            return s->err->kind == E_FORMAT ? err_in(s->err, "tensor %s", name) : false;
    }
    for (int k = 0; k < 3; k++)
        if (!has[k])
            return fail(s->err, E_FORMAT, "%s: tensor %s: the key %s is missing", s->where, name,
                        key_names[k]);
    return check_entry(f, e, offsets, s->err);
}

/* "__metadata__": an object of strings. */
static bool read_metadata(JsonScan *s)
{
    if (!json_scan_expect(s, '{', "'{' of __metadata__"))
        return false;
    bool more = json_scan_peek(s) != '}';
    if (!more)
        s->at++;
    while (more) {
        if (json_scan_peek(s) != '"')
            return json_scan_expect(s, '"', "a key of __metadata__");
        if (!json_scan_skip(s) || !json_scan_expect(s, ':', "':' behind a key of __metadata__"))
            return false;
        if (json_scan_peek(s) != '"')
            return json_scan_expect(s, '"', "a string as value of __metadata__");
        if (!json_scan_skip(s) || !json_scan_more(s, '}', &more))
            return false;
    }
    return true;
}

static bool read_header(Safetensors *f, Err *err)
{
    JsonScan s = {.text = (const char *)f->bytes + LENGTH_BYTES,
                  .n = (size_t)f->header_bytes,
                  .where = f->path,
                  .base = LENGTH_BYTES,
                  .err = err};
    if (s.n == 0 || s.text[0] != '{')
        return json_scan_peek(&s) == '{'
                 ? fail(err, E_FORMAT, "%s: byte 8: expected '{', found white space", f->path)
                 : json_scan_expect(&s, '{', "'{' of the header");
    s.at++;
    bool has_metadata = false, more = json_scan_peek(&s) != '}';
    if (!more)
        s.at++;
    while (more) {
        char *name = f->names + f->names_n;
        size_t len;
        if (!json_scan_string(&s, name, f->names_cap - f->names_n, &len, "the name of a tensor")
            || !json_scan_expect(&s, ':', "':' behind the name of a tensor"))
            return false;
        if (strcmp(name, "__metadata__") == 0) {
            if (has_metadata)
                return fail(err, E_FORMAT, "%s: __metadata__ stands in the header twice", f->path);
            has_metadata = true;
            if (!read_metadata(&s))
                return false;
        } else {
            f->names_n += len + 1;
            if (!read_entry(f, &s, name))
                return false;
        }
        if (!json_scan_more(&s, '}', &more))
            return false;
    }
    return json_scan_end(&s);
}

static bool fill_table(Safetensors *f, Err *err)
{
    if (!name_table_init(&f->table, f->count, err))
        return false;
    for (size_t i = 0; i < f->count; i++)
        if (name_table_put(&f->table, f->entries[i].name, i) != i)
            return fail(err, E_FORMAT, "%s: tensor %s stands in the header twice", f->path,
                        f->entries[i].name);
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const SafetensorsEntry *x = *(const SafetensorsEntry *const *)a,
                           *y = *(const SafetensorsEntry *const *)b;
    return x->offset != y->offset ? (x->offset < y->offset ? -1 : 1)
                                  : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static bool check_pair(const Safetensors *f, const SafetensorsEntry *a, const SafetensorsEntry *b,
                       Err *err)
{
    if (a->offset + a->bytes <= b->offset)
        return true;
    return fail(err, E_FORMAT,
                "%s: tensors %s and %s overlap: one ends at byte %" PRIu64
                " of the file, the next begins at %" PRIu64,
                f->path, a->name, b->name, a->offset + a->bytes, b->offset);
}

/* No byte belongs to two tensors. Writers store tensors in header order, so sorting is the
 * exception. */
static bool check_overlaps(const Safetensors *f, Err *err)
{
    bool is_sorted = true;
    for (size_t i = 1; i < f->count && is_sorted; i++)
        is_sorted = f->entries[i - 1].offset + f->entries[i - 1].bytes <= f->entries[i].offset;
    if (is_sorted)
        return true;
    const SafetensorsEntry **sorted = malloc(f->count * sizeof *sorted);
    if (!sorted)
        return fail(err, E_MEMORY, "%s: no memory to sort %zu tensors", f->path, f->count);
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++)
        if (f->entries[i].bytes > 0)
            sorted[n++] = &f->entries[i];
    qsort(sorted, n, sizeof *sorted, by_offset);
    bool ok = true;
    for (size_t i = 1; i < n && ok; i++)
        ok = check_pair(f, sorted[i - 1], sorted[i], err);
    free(sorted);
    return ok;
}

static bool read_length(Safetensors *f, Err *err)
{
    if (f->file_bytes < LENGTH_BYTES)
        return fail(err, E_FORMAT,
                    "%s: expected 8 bytes of header length, found a file of %" PRIu64 " bytes",
                    f->path, f->file_bytes);
    for (int i = 0; i < LENGTH_BYTES; i++)
        f->header_bytes |= (uint64_t)f->bytes[i] << 8 * i;
    if (f->header_bytes > f->file_bytes - LENGTH_BYTES)
        return fail(err, E_FORMAT,
                    "%s: the header length says %" PRIu64 " bytes, behind it the file has %" PRIu64,
                    f->path, f->header_bytes, f->file_bytes - LENGTH_BYTES);
    if (f->header_bytes > SAFETENSORS_HEADER_MAX)
        return fail(err, E_FORMAT,
                    "%s: the header length says %" PRIu64 " bytes, the format allows %d", f->path,
                    f->header_bytes, SAFETENSORS_HEADER_MAX);
    return true;
}

/* Fills all but path and the bytes themselves. */
static bool read_all(Safetensors *f, Err *err)
{
    if (!read_length(f, err))
        return false;
    f->names_cap = (size_t)f->header_bytes
                 + 1; /* a name takes its quotes less than in the header, and gets a 0 */
    f->names = malloc(f->names_cap);
    if (!f->names)
        return fail(err, E_MEMORY, "%s: no memory for the names of a header of %zu bytes", f->path,
                    f->names_cap);
    return read_header(f, err) && fill_table(f, err) && check_overlaps(f, err);
}

static Safetensors *file_new(const char *path, Err *err)
{
    Safetensors *f = calloc(1, sizeof *f);
    if (f)
        f->path = strdup(path);
    if (!f || !f->path) {
        free(f);
        return fail(err, E_MEMORY, "%s: no memory to open it", path), NULL;
    }
    return f;
}

/* Maps the file at f->path. Not blocking: a pipe in place of a file is refused, not waited for. */
static bool map_file(Safetensors *f, Err *err)
{
    struct stat st;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(err, "%s: cannot be opened", f->path);
    bool ok = false;
    if (fstat(fd, &st) != 0)
        fail_errno(err, "%s: cannot be examined", f->path);
    else if (!S_ISREG(st.st_mode))
        fail(err, E_IO, "%s: expected a file, found a %s", f->path,
             S_ISDIR(st.st_mode) ? "folder" : "device or pipe");
    else if (st.st_size == 0)
        fail(err, E_FORMAT, "%s: expected 8 bytes of header length, found an empty file", f->path);
    else
        ok = true;
    if (ok) {
        void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        ok = bytes != MAP_FAILED;
        if (ok) {
            f->bytes = bytes;
            f->file_bytes = (uint64_t)st.st_size;
            f->is_mapped = true;
        } else {
            fail_errno(err, "%s: cannot be mapped", f->path);
        }
    }
    close(fd);
    return ok;
}

Safetensors *safetensors_open(const char *path, Err *err)
{
    Safetensors *f = file_new(path, err);
    if (f && map_file(f, err) && read_all(f, err))
        return f;
    safetensors_close(f);
    return NULL;
}

Safetensors *safetensors_parse(const char *name, const uint8_t *bytes, size_t n, Err *err)
{
    Safetensors *f = file_new(name, err);
    if (!f)
        return NULL;
    f->bytes = bytes;
    f->file_bytes = n;
    if (read_all(f, err))
        return f;
    safetensors_close(f);
    return NULL;
}

void safetensors_close(Safetensors *f)
{
    if (!f)
        return;
    if (f->is_mapped)
        munmap((void *)(uintptr_t)f->bytes, (size_t)f->file_bytes);
    name_table_deinit(&f->table);
    free(f->entries);
    free(f->names);
    free(f->path);
    free(f);
}

const char *safetensors_path(const Safetensors *f)
{
    return f->path;
}

uint64_t safetensors_file_bytes(const Safetensors *f)
{
    return f->file_bytes;
}

const char *safetensors_header(const Safetensors *f, uint64_t *n)
{
    *n = f->header_bytes;
    return (const char *)f->bytes + LENGTH_BYTES;
}

size_t safetensors_count(const Safetensors *f)
{
    return f->count;
}

const SafetensorsEntry *safetensors_entry(const Safetensors *f, size_t i)
{
    assert(i < f->count);
    return &f->entries[i];
}

const SafetensorsEntry *safetensors_find(const Safetensors *f, const char *name)
{
    size_t i;
    return name_table_find(&f->table, name, &i) ? &f->entries[i] : NULL;
}

const uint8_t *safetensors_data(const Safetensors *f, const SafetensorsEntry *entry)
{
    assert(entry->offset + entry->bytes <= f->file_bytes);
    return f->bytes + entry->offset;
}

void safetensors_expect_scattered(const Safetensors *f, bool is_scattered)
{
    if (f->is_mapped) /* advice only: nothing depends on whether it is taken */
        madvise((void *)(uintptr_t)f->bytes, (size_t)f->file_bytes,
                is_scattered ? MADV_RANDOM : MADV_NORMAL);
}
