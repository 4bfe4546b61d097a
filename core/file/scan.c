#include "core/file/scan.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/num/bf16.h"
#include "core/num/fp16.h"
#include "core/num/fp8.h"

enum {
    PIECE_BYTES = 1 << 20, /* stays in the second-level cache between the read and the loops over it */
    STRIP = 16384          /* elements per inner loop: counters of 16 bits cannot overflow */
};

struct ScanFile {
    int fd;
    uint64_t bytes;
};

ScanFile *scan_open(const char *path, Err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, "%s", path), NULL;
    struct stat st;
    ScanFile *f = NULL;
    if (fstat(fd, &st) != 0)
        fail_errno(err, "%s", path);
    else if (!S_ISREG(st.st_mode))
        fail(err, E_IO, "%s: expected a file", path);
    else if (!(f = malloc(sizeof *f)))
        fail(err, E_MEMORY, "%s: no memory to open it", path);
    if (!f) {
        close(fd);
        return NULL;
    }
    *f = (ScanFile){.fd = fd, .bytes = (uint64_t)st.st_size};
    return f;
}

void scan_close(ScanFile *f)
{
    if (!f)
        return;
    close(f->fd);
    free(f);
}

uint64_t scan_file_bytes(const ScanFile *f) { return f->bytes; }

bool scan_read(const ScanFile *f, uint64_t offset, size_t n, void *out, Err *err)
{
    if (offset > f->bytes || n > f->bytes - offset)
        return fail(err, E_IO, "%zu bytes wanted at byte %llu of a file of %llu", n, (unsigned long long)offset,
                    (unsigned long long)f->bytes);
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(f->fd, (char *)out + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(err, "reading %zu bytes at byte %llu", n, (unsigned long long)offset);
        if (got == 0)
            return fail(err, E_IO, "the file ends at byte %llu, inside %zu bytes wanted at %llu",
                        (unsigned long long)(offset + done), n, (unsigned long long)offset);
        done += (size_t)got;
    }
    return true;
}

bool scan_read_f32(const ScanFile *f, const uint64_t *offsets, size_t n, float *out, Err *err)
{
    bool ok = true;
#pragma omp parallel for schedule(static) if (n > 4096)
    for (size_t i = 0; i < n; i++) {
        Err one;
        if (!scan_read(f, offsets[i], sizeof out[i], &out[i], &one)) {
#pragma omp critical(scan_error)
            {
                if (ok)
                    *err = one;
                ok = false;
            }
        }
    }
    return ok;
}

/* A piece of an item: what one task reads at once. */
typedef struct Piece {
    size_t item;
    uint64_t start, bytes; /* relative to the item */
    ScanStats stats;
} Piece;

static void strip_16(const uint16_t *x, size_t n, uint16_t inf, ScanStats *s, int *top)
{
    uint16_t zeros = 0, nans = 0, infs = 0, negatives = 0;
    int16_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        int16_t magnitude = (int16_t)(x[i] & 0x7FFF);
        bool is_finite = magnitude < (int16_t)inf;
        zeros = (uint16_t)(zeros + (magnitude == 0));
        nans = (uint16_t)(nans + (magnitude > (int16_t)inf));
        infs = (uint16_t)(infs + (magnitude == (int16_t)inf));
        negatives = (uint16_t)(negatives + ((int16_t)x[i] < 0 && magnitude != 0 && magnitude <= (int16_t)inf));
        int16_t candidate = is_finite ? magnitude : 0;
        largest = candidate > largest ? candidate : largest;
    }
    s->zeros += zeros;
    s->nans += nans;
    s->infs += infs;
    s->negatives += negatives;
    *top = largest > *top ? largest : *top;
}

static void strip_32(const uint32_t *x, size_t n, ScanStats *s, int *top)
{
    uint32_t zeros = 0, nans = 0, infs = 0, negatives = 0;
    int32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t magnitude = (int32_t)(x[i] & 0x7FFFFFFF);
        zeros += magnitude == 0;
        nans += magnitude > 0x7F800000;
        infs += magnitude == 0x7F800000;
        negatives += (int32_t)x[i] < 0 && magnitude != 0 && magnitude <= 0x7F800000;
        int32_t candidate = magnitude < 0x7F800000 ? magnitude : 0;
        largest = candidate > largest ? candidate : largest;
    }
    s->zeros += zeros;
    s->nans += nans;
    s->infs += infs;
    s->negatives += negatives;
    *top = largest > *top ? largest : *top;
}

static float float_at(DType t, const uint8_t *data, size_t i)
{
    uint16_t half;
    float x;
    if (t == DTYPE_F32) {
        memcpy(&x, data + 4 * i, sizeof x);
        return x;
    }
    memcpy(&half, data + 2 * i, sizeof half);
    return t == DTYPE_BF16 ? bf16_to_f32(half) : fp16_to_f32(half);
}

static float f32_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void piece_floats(DType t, const uint8_t *data, size_t n, ScanStats *s)
{
    union {
        uint16_t half[STRIP];
        uint32_t word[STRIP];
    } strip; /* aligned copy: tensors may start at any byte */
    size_t size = dtype_bytes(t);
    int top = 0;
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        memcpy(&strip, data + i * size, m * size);
        if (t == DTYPE_F32)
            strip_32(strip.word, m, s, &top);
        else
            strip_16(strip.half, m, t == DTYPE_BF16 ? 0x7F80 : 0x7C00, s, &top);
    }
    s->amax = t == DTYPE_F32    ? (double)f32_of_bits((uint32_t)top)
              : t == DTYPE_BF16 ? (double)bf16_to_f32((uint16_t)top)
                                : (double)fp16_to_f32((uint16_t)top);
}

static void small_mean(DType t, const uint8_t *data, size_t n, ScanStats *s)
{
    double sum = 0, smallest = INFINITY;
    uint64_t finite = 0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)float_at(t, data, i);
        if (!isfinite(x))
            continue;
        sum += x;
        smallest = x < smallest ? x : smallest;
        finite++;
    }
    s->mean = finite ? sum / (double)finite : 0;
    s->min = finite ? smallest : 0;
}

static void piece_e4m3(const uint8_t *data, size_t n, ScanStats *s)
{
    uint32_t seen[4][256] = {{0}}; /* four tables: runs of one byte would wait for each other's stores */
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        seen[0][data[i]]++;
        seen[1][data[i + 1]]++;
        seen[2][data[i + 2]]++;
        seen[3][data[i + 3]]++;
    }
    for (; i < n; i++)
        seen[0][data[i]]++;
    for (int b = 0; b < 256; b++) {
        uint64_t k = (uint64_t)seen[0][b] + seen[1][b] + seen[2][b] + seen[3][b];
        if (!k)
            continue;
        int magnitude = b & 0x7F;
        s->zeros += magnitude == 0 ? k : 0;
        s->nans += magnitude == 0x7F ? k : 0;
        s->saturated += magnitude == 0x7E ? k : 0;
        s->negatives += b >= 0x80 ? k : 0;
        double value = magnitude == 0x7F ? 0 : (double)fp8_e4m3_to_f32((uint8_t)magnitude);
        s->amax = value > s->amax ? value : s->amax;
    }
}

static void piece_codes(const uint8_t *data, size_t n, ScanStats *s)
{
    uint64_t zeros = 0;
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        uint16_t strip = 0;
        for (size_t j = 0; j < m; j++)
            strip = (uint16_t)(strip + ((data[i + j] & 0x77) == 0));
        zeros += strip;
    }
    s->zeros += zeros;
}

/* Blocks whose scale is zero although a code is not. */
static bool count_lost(const ScanItem *item, const Piece *p, const uint8_t *scales, uint8_t *codes, ScanStats *s, Err *err)
{
    enum { BLOCK_BYTES = 8, BLOCKS = PIECE_BYTES / BLOCK_BYTES };
    for (uint64_t i = 0; i < p->bytes; i += BLOCKS) {
        size_t m = p->bytes - i < BLOCKS ? (size_t)(p->bytes - i) : BLOCKS;
        if (!scan_read(item->code_file, item->code_offset + (p->start + i) * BLOCK_BYTES, m * BLOCK_BYTES, codes, err))
            return false;
        for (size_t j = 0; j < m; j++) {
            uint64_t block;
            memcpy(&block, codes + j * BLOCK_BYTES, sizeof block);
            s->lost += (scales[i + j] & 0x7F) == 0 && (block & 0x7777777777777777u) != 0;
        }
    }
    return true;
}

static bool scan_piece(const ScanItem *item, Piece *p, uint8_t *buf, uint8_t *codes, Err *err)
{
    if (!scan_read(item->file, item->offset + p->start, (size_t)p->bytes, buf, err))
        return false;
    ScanStats *s = &p->stats;
    size_t n = (size_t)p->bytes / dtype_bytes(item->dtype);
    s->count = n;
    switch (item->dtype) {
    case DTYPE_F32:
    case DTYPE_BF16:
    case DTYPE_F16:
        piece_floats(item->dtype, buf, n, s);
        if (item->bytes / dtype_bytes(item->dtype) <= SCAN_MEAN_MAX)
            small_mean(item->dtype, buf, n, s);
        return true;
    case DTYPE_F8_E4M3:
        piece_e4m3(buf, n, s);
        return !item->code_file || !s->zeros || count_lost(item, p, buf, codes, s, err);
    case DTYPE_U8:
        piece_codes(buf, n, s);
        return true;
    default:
        return true;
    }
}

static void add_stats(ScanStats *sum, const ScanStats *s)
{
    sum->count += s->count;
    sum->zeros += s->zeros;
    sum->nans += s->nans;
    sum->infs += s->infs;
    sum->negatives += s->negatives;
    sum->saturated += s->saturated;
    sum->lost += s->lost;
    sum->amax = s->amax > sum->amax ? s->amax : sum->amax;
    sum->min += s->min;   /* of one piece only: a tensor that has these fits into one */
    sum->mean += s->mean;
}

bool scan_run(ScanItem *items, size_t n, Progress *progress, Err *err)
{
    static_assert((size_t)SCAN_MEAN_MAX * 4 <= PIECE_BYTES, "a tensor with a mean is one piece");
    size_t pieces_n = 0;
    for (size_t i = 0; i < n; i++) {
        assert(items[i].bytes % dtype_bytes(items[i].dtype) == 0);
        pieces_n += (size_t)((items[i].bytes + PIECE_BYTES - 1) / PIECE_BYTES);
    }
    Piece *pieces = calloc(pieces_n ? pieces_n : 1, sizeof *pieces);
    if (!pieces)
        return fail(err, E_MEMORY, "no memory to scan %zu pieces", pieces_n);
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        for (uint64_t start = 0; start < items[i].bytes; start += PIECE_BYTES) {
            uint64_t left = items[i].bytes - start;
            pieces[at++] = (Piece){.item = i, .start = start, .bytes = left < PIECE_BYTES ? left : PIECE_BYTES};
        }

    bool ok = true;
#pragma omp parallel
    {
        uint8_t *buf = malloc(2 * (size_t)PIECE_BYTES);
        uint64_t unreported = 0;
#pragma omp for schedule(dynamic, 4)
        for (size_t i = 0; i < pieces_n; i++) {
            Err one = {.kind = E_NONE};
            if (!buf)
                fail(&one, E_MEMORY, "no memory to scan");
            else
                scan_piece(&items[pieces[i].item], &pieces[i], buf, buf + PIECE_BYTES, &one);
            if (one.kind != E_NONE) {
#pragma omp critical(scan_error)
                {
                    if (ok)
                        *err = one;
                    ok = false;
                }
            }
            unreported += pieces[i].bytes;
            if (progress && unreported >= 16 * (uint64_t)PIECE_BYTES) {
                progress_add(progress, unreported);
                unreported = 0;
            }
        }
        if (progress)
            progress_add(progress, unreported);
        free(buf);
    }
    for (size_t i = 0; i < n; i++)
        items[i].stats = (ScanStats){0};
    for (size_t i = 0; i < pieces_n; i++)
        add_stats(&items[pieces[i].item].stats, &pieces[i].stats);
    free(pieces);
    return ok;
}
