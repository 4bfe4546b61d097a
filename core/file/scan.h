/* What the data of stored tensors holds: zeros, NaN, infinities, signs, saturation. Reads through pread, so a file that shrinks
 * while it is read is an error and not a signal, and a file whose header is broken can still be looked into at given offsets.
 * Works in pieces spread over threads; the result depends neither on the number of threads nor on the order of the pieces. */
#ifndef CORE_FILE_SCAN_H
#define CORE_FILE_SCAN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/progress.h"
#include "core/tensor/dtype.h"

typedef struct ScanFile ScanFile;

/* Opens path for reading; E_IO. The caller owns it. */
ScanFile *scan_open(const char *path, Err *err);
/* Takes NULL. */
void scan_close(ScanFile *f);
uint64_t scan_file_bytes(const ScanFile *f);
/* The n bytes at offset into out; E_IO, also when the file ends before. */
bool scan_read(const ScanFile *f, uint64_t offset, size_t n, void *out, Err *err);
/* n little-endian f32 values at the given offsets; E_IO. */
bool scan_read_f32(const ScanFile *f, const uint64_t *offsets, size_t n, float *out, Err *err);

enum { SCAN_MEAN_MAX = 65536 };

typedef struct ScanStats {
    uint64_t count;     /* elements; bytes for integer types */
    uint64_t zeros;     /* ±0; for U8 bytes whose two e2m1 codes are both ±0 */
    uint64_t nans;
    uint64_t infs;
    uint64_t negatives; /* e4m3: sign bit set (NaN and -0 included); floats: below zero */
    uint64_t saturated; /* e4m3: 0x7E or 0xFE */
    uint64_t lost;      /* scales with codes: zero scales over a block whose codes are not all ±0 */
    double amax;        /* largest finite magnitude of floats and e4m3; 0 for integer types */
    double min, mean;   /* of the finite values of floats of at most SCAN_MEAN_MAX elements; else 0 */
} ScanStats;

typedef struct ScanItem {
    const ScanFile *file;
    DType dtype;
    uint64_t offset, bytes;    /* bytes is a whole number of elements */
    const ScanFile *code_file; /* of e4m3 block scales: the codes they belong to, 8 bytes a scale; NULL if none */
    uint64_t code_offset;
    ScanStats stats;           /* out */
} ScanItem;

/* Fills stats of all items; progress (may be NULL) counts bytes. E_IO names nothing but the offset: the caller adds the file. */
bool scan_run(ScanItem *items, size_t n, Progress *progress, Err *err);

#endif
