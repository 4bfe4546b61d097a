/* Trace files that lie, in two ways. Most executions: well-formed HDF5 whose content is wrong (built by h5.h with random types,
 * shapes, names, absences and attributes, then values and texts changed in memory); the reader refuses it with a sentence or
 * gives exactly the bytes that are in the file. One execution in BYTES_EVERY: any bytes of a file changed or its end cut off,
 * where HDF5 itself may crash: there the reading child of h5_open is what is tested. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file/trace.h"

enum { VARIANT_EVERY = 200, BYTES_EVERY = 200, IMAGE_BYTES_MAX = 1 << 18, PLACES_MAX = 16, NAMES = 6, HANG_S = 100 };

#ifdef __SANITIZE_ADDRESS__
/* HDF5 loses memory on files that it refuses. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5\n";
}

/* Little freed memory is kept back: the reading child is a copy of all of it. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8:malloc_context_size=8";
}
#endif

/* Raw values of a contiguous dataset. */
typedef struct Place {
    char path[64];
    uint64_t offset;
    size_t bytes;
} Place;

typedef struct Variant {
    unsigned char image[IMAGE_BYTES_MAX];
    size_t n, places_n;
    Place places[PLACES_MAX];
} Variant;

static const char *const names[NAMES] = {"layer00/mixer", "layer00/router_experts", "logits", "a.b-c/d_e", "x", "layer01/output"};
static uint64_t state;

static uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1du >> 16;
}

static size_t below(size_t n)
{
    return (size_t)(draw() % n);
}

/* True once in n times: something is not as it should be. */
static bool is_off(size_t n)
{
    return below(n) == 0;
}

/* ---- building ---- */

static void set_texts(H5File *f, const char *name, size_t n, const char *const *texts, bool is_list)
{
    Err err;
    H5Attr attr = {.kind = H5_ATTR_STRING, .is_list = is_list, .n = n, .strings = (char **)(uintptr_t)texts};
    bool ok = h5_set_attr(f, "meta", name, &attr, &err);
    assert(ok);
}

static void set_number(H5File *f, const char *name, int64_t value)
{
    Err err;
    double real = (double)value;
    H5Attr attr = {.kind = is_off(40) ? H5_ATTR_REAL : H5_ATTR_INT, .is_list = is_off(40), .n = 1, .ints = &value, .reals = &real};
    bool ok = h5_set_attr(f, "meta", name, &attr, &err);
    assert(ok);
}

static void build_meta(H5File *f, size_t taps_n, const char *const *taps)
{
    Err err;
    const char *format = is_off(60) ? "nibble tracf" : "nibble trace", *bad[] = {"../x", "", "x//y", "no such", "x/y/z"};
    const char *listed[NAMES + 1];
    bool ok = h5_make_group(f, "meta", &err);
    assert(ok);
    for (size_t i = 0; i < taps_n; i++)
        listed[i] = is_off(40) ? bad[below(5)] : is_off(40) ? taps[0] : taps[i];
    if (!is_off(60))
        set_texts(f, "format", 1, &format, is_off(40));
    if (!is_off(60))
        set_number(f, "version", is_off(40) ? (int64_t)draw() : 1);
    int64_t finished = (int64_t)below(2);
    if (!is_off(60))
        h5_set_attr(f, "meta", "finished", &(H5Attr){.kind = is_off(30) ? H5_ATTR_INT : H5_ATTR_BOOL, .n = 1, .ints = &finished}, &err);
    if (!is_off(60))
        set_texts(f, "taps", taps_n, listed, taps_n != 1 || !is_off(20));
}

/* A dataset with random values (done: 0 and 1), contiguous or compressed; sometimes absent, or of another type or shape. */
static void build_dataset(Variant *v, H5File *f, const char *path, DType dtype, int rank, size_t rows, bool is_mark)
{
    static const DType others[] = {DTYPE_F32, DTYPE_F64, DTYPE_F16, DTYPE_BF16, DTYPE_F8_E4M3, DTYPE_F8_E5M2, DTYPE_U8,
                                   DTYPE_I8, DTYPE_I16, DTYPE_I32, DTYPE_I64, DTYPE_BOOL};
    Err err;
    if (is_off(60))
        return;
    if (is_off(60)) {
        h5_make_group(f, path, &err);
        return;
    }
    size_t shape[TENSOR_RANK_MAX] = {is_off(60) ? below(12) : rows};
    dtype = is_off(60) ? others[below(sizeof others / sizeof others[0])] : dtype;
    rank = is_off(60) ? (int)below(TENSOR_RANK_MAX + 1) : rank;
    for (int i = 1; i < rank; i++)
        shape[i] = 1 + below(3);
    Tensor *t = tensor_new(dtype, rank, shape, &err);
    assert(t);
    for (size_t i = 0; i < tensor_bytes(t); i++)
        ((unsigned char *)t->data)[i] = (unsigned char)(is_mark ? below(2) : draw());
    bool is_packed = below(4) == 0;
    bool ok = h5_make(f, path, dtype, rank, shape, (H5Layout){is_packed ? 1 + below(4) : 0, is_packed ? 1 : 0}, &err) &&
              h5_write_rows(f, path, 0, t, &err);
    uint64_t offset;
    if (ok && !is_packed && tensor_count(t) > 0 && v->places_n < PLACES_MAX && h5_offset(f, path, &offset, &err)) {
        Place *p = &v->places[v->places_n++];
        snprintf(p->path, sizeof p->path, "%s", path);
        p->offset = offset;
        p->bytes = tensor_bytes(t);
    }
    tensor_free(t);
}

static void load(Variant *v, const char *path)
{
    FILE *file = fopen(path, "rb");
    assert(file);
    v->n = fread(v->image, 1, sizeof v->image, file);
    assert(v->n > 0 && v->n < sizeof v->image);
    fclose(file);
}

static void build(Variant *v, const char *path)
{
    static const char *const fields[] = {"rows/seq", "rows/pos", "rows/step", "rows/token"};
    static const DType dtypes[] = {DTYPE_F32, DTYPE_I32, DTYPE_F32, DTYPE_BF16, DTYPE_F64, DTYPE_F16};
    Err err;
    H5File *f = h5_create(path, &err);
    assert(f);
    v->places_n = 0;
    const char *taps[NAMES];
    size_t taps_n = below(4), rows = 1 + below(10), first = below(NAMES);
    for (size_t i = 0; i < taps_n; i++)
        taps[i] = names[(first + i) % NAMES];
    if (!is_off(100))
        build_meta(f, taps_n, taps);
    build_dataset(v, f, "rows/done", DTYPE_U8, 1, rows, true);
    for (int i = 0; i < 4; i++)
        build_dataset(v, f, fields[i], DTYPE_I32, 1, rows, false);
    for (size_t i = 0; i < taps_n; i++) {
        char p[64];
        snprintf(p, sizeof p, "taps/%s", taps[i]);
        build_dataset(v, f, p, dtypes[below(6)], 1 + (int)below(4), rows, false);
        snprintf(p, sizeof p, "present/%s", taps[i]);
        if (below(3) == 0)
            build_dataset(v, f, p, DTYPE_U8, 1, rows, true);
    }
    bool ok = h5_close(f, &err);
    assert(ok);
    load(v, path);
}

/* ---- changing ---- */

static void change_byte(unsigned char *b)
{
    switch (below(4)) {
    case 0: *b = (unsigned char)draw(); break;
    case 1: *b = (unsigned char)(*b ^ 1u << below(8)); break;
    case 2: *b = 0xff; break;
    default: *b = (unsigned char)below(3); break;
    }
}

/* Values and texts: what HDF5 passes through without looking. Texts are found by their slash or space, which no link name has. */
static void change_content(unsigned char *image, const Variant *v)
{
    static const char *const texts[] = {"nibble trace", "layer00/mixer", "layer00/router_experts", "a.b-c/d_e", "layer01/output"};
    for (size_t k = below(4); k > 0; k--) {
        if (v->places_n && below(3)) {
            const Place *p = &v->places[below(v->places_n)];
            change_byte(image + p->offset + below(p->bytes));
        } else {
            const char *text = texts[below(sizeof texts / sizeof texts[0])];
            unsigned char *at = memmem(image, v->n, text, strlen(text));
            if (at)
                change_byte(at + below(strlen(text)));
        }
    }
}

static size_t change_bytes(unsigned char *image, size_t n)
{
    if (is_off(10))
        return below(n);
    for (size_t k = 1 + below(4); k > 0; k--)
        change_byte(image + below(below(2) ? n : n < 4096 ? n : 4096));
    return n;
}

/* ---- reading and checking ---- */

static const Place *place_of(const Variant *v, const char *tap)
{
    for (size_t i = 0; i < v->places_n; i++)
        if (strncmp(v->places[i].path, "taps/", 5) == 0 && strcmp(v->places[i].path + 5, tap) == 0)
            return &v->places[i];
    return NULL;
}

static void check_refusal(const Err *err)
{
    assert(err->kind != E_NONE && err->kind < ERR_KINDS && strlen(err->text) > 10);
}

/* v NULL: the structure is unknown, so that values cannot be compared with the image. */
static void check_tap(TraceReader *r, int tap, const unsigned char *image, const Variant *v)
{
    Err err = {0};
    const TraceTap *info = &r->taps[tap];
    size_t rows[64], n = 0, row_bytes = dtype_bytes(info->dtype);
    assert(trace_find(r, info->name) == tap && row_bytes > 0 && info->rank >= 0 && info->rank <= TRACE_RANK_MAX);
    for (int i = 0; i < info->rank; i++)
        row_bytes *= info->shape[i];
    bool is_backward = is_off(8); /* no two in a run */
    for (size_t i = 0; i < r->rows_n && n < 64; i++) {
        size_t row = is_backward ? r->rows_n - 1 - i : i;
        if (r->done[row])
            rows[n++] = row;
    }
    if (n > 2 && is_off(4)) {
        rows[0] = rows[n - 1];
        rows[1] = rows[0] + 1 < r->rows_n ? rows[0] + 1 : 0;
    }
    Tensor *t = trace_read(r, tap, n, rows, &err);
    if (!t) {
        check_refusal(&err);
    } else {
        assert(t->dtype == info->dtype && t->rank == info->rank + 1 && t->shape[0] == n && tensor_bytes(t) == n * row_bytes);
        const Place *p = v ? place_of(v, info->name) : NULL;
        for (size_t i = 0; p && i < n; i++)
            assert(memcmp((char *)t->data + i * row_bytes, image + p->offset + rows[i] * row_bytes, row_bytes) == 0);
    }
    tensor_free(t);
    uint8_t *present;
    if (trace_present(r, tap, &present, &err)) {
        for (size_t i = 0; i < r->rows_n; i++)
            assert(present[i] <= r->done[i]);
        free(present);
    } else {
        check_refusal(&err);
    }
}

/* Reads all of a trace; true when it was one. */
static bool read_all(H5File *f, const unsigned char *image, const Variant *v, Err *err)
{
    TraceReader *r = f ? trace_from(f, err) : NULL;
    if (!r) {
        check_refusal(err);
    } else {
        for (size_t i = 0; i < r->rows_n; i++)
            assert(r->done[i] <= 1);
        for (size_t i = 0; i < r->taps_n; i++)
            check_tap(r, (int)i, image, v);
    }
    trace_free(r);
    assert(h5_open_objects() == 0);
    return r != NULL;
}

/* deaths counts the reading children that did not survive. */
static bool read_bytes(const char *path, const unsigned char *image, size_t n, long *deaths)
{
    Err err = {0};
    FILE *file = fopen(path, "wb");
    assert(file && fwrite(image, 1, n, file) == n);
    fclose(file);
    bool ok = read_all(h5_open(path, &err), image, NULL, &err);
    *deaths += !ok && strstr(err.text, "does not survive");
    return ok;
}

int main(int argc, char **argv)
{
    static Variant v;
    static unsigned char image[IMAGE_BYTES_MAX];
    long executions = argc > 1 ? atol(argv[1]) : 1000, good = 0, bytes_n = 0, bytes_good = 0, deaths = 0;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    char folder[] = "/tmp/nibble-trace-fuzz-XXXXXX", path[80];
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/x.h5", folder);
    for (long i = 0; i < executions; i++) {
        state = (seed + (uint64_t)(i / VARIANT_EVERY)) * 0x9e3779b97f4a7c15u | 1;
        if (i % VARIANT_EVERY == 0)
            build(&v, path);
        state = (seed * 1000003 + (uint64_t)i) * 0x9e3779b97f4a7c15u | 1;
        draw(), draw();
        alarm(HANG_S);
        memcpy(image, v.image, v.n);
        if (i % BYTES_EVERY == BYTES_EVERY - 1) {
            bytes_n++;
            bytes_good += read_bytes(path, image, change_bytes(image, v.n), &deaths);
        } else {
            Err err = {0};
            change_content(image, &v);
            good += read_all(h5_open_image(image, v.n, &err), image, &v, &err);
        }
    }
    unlink(path);
    rmdir(folder);
    printf("# %ld contents, %ld of them traces; %ld files of changed bytes, %ld of them traces, %ld that HDF5 does not survive\n",
           executions - bytes_n, good, bytes_n, bytes_good, deaths);
    assert(executions < 10000 || (good > executions / 20 && good < executions - bytes_n && bytes_good < bytes_n));
    printf("ok 1 - trace: %ld executions, seed %llu\n", executions, (unsigned long long)seed);
    return 0;
}
