/* Traces: what a run computed, row by row, as HDF5 (traces/FORMAT.md). A row is one token at one step; a tap is one value per
 * row. While it is written the file lies complete under its own name, every dataset contiguous and as long as the run can
 * become; values are put into their places by pwrite and a row counts once its `done` is 1, which is written last. So a run
 * that ends anywhere leaves a file that any HDF5 reader opens with every finished row in it. trace_close makes the compressed
 * file beside it and renames that over it. (A power failure may lose rows that the system had not yet put on the disk.)
 * Errors everywhere: E_USAGE misuse of rows or taps, E_SHAPE values that do not fit, E_IO, E_SPACE, E_MEMORY. */
#ifndef CORE_FILE_TRACE_H
#define CORE_FILE_TRACE_H
#include <stdint.h>

#include "core/file/h5.h"

enum { TRACE_TAPS_MAX = 4000 /* their names are one HDF5 attribute */, TRACE_RANK_MAX = TENSOR_RANK_MAX - 1 };

typedef struct TraceTap {
    const char *name; /* "layer00/mixer": letters, digits, _ . - and slashes between them */
    DType dtype;
    int rank; /* of one row, at most TRACE_RANK_MAX; 0 is one value a row */
    size_t shape[TRACE_RANK_MAX];
    const char *labels[TRACE_RANK_MAX]; /* what the extents count ("hidden"); NULL: no label */
    const char *unit;                   /* NULL: "1" */
    bool is_partial; /* not every row has a value (logits, say); /present/<tap> tells which */
} TraceTap;

typedef struct TraceMeta {
    const char *name;
    H5Attr value;
} TraceMeta;

typedef struct TraceDesc {
    const char *path;
    size_t capacity; /* rows */
    size_t taps_n, meta_n;
    const TraceTap *taps; /* in graph order, which is kept */
    const TraceMeta *meta;
    int deflate; /* level of the final compression, 1 to 9; 0 leaves it out */
} TraceDesc;

typedef struct TraceRow {
    int32_t seq, pos, step, token;
} TraceRow;

typedef struct TraceWriter TraceWriter;

/* Makes the file with room for desc->capacity rows; borrows nothing of desc. An older file of that name stays until all is
 * ready. On an error nothing new is left. */
TraceWriter *trace_create(const TraceDesc *desc, Err *err);
/* Index of the tap of that name in desc->taps, -1 when there is none. */
int trace_tap(const TraceWriter *w, const char *name);
/* Type of a tap's values and bytes of one row of it. */
DType trace_dtype(const TraceWriter *w, int tap);
size_t trace_row_bytes(const TraceWriter *w, int tap);
/* Values of rows first_row … first_row + rows_n - 1 of a tap: rows_n * trace_row_bytes bytes. The rows must not be done. */
bool trace_put(TraceWriter *w, int tap, size_t first_row, size_t rows_n, const void *values, Err *err);
/* Marks rows_n rows done. Each tap that is not partial must have been put for them. */
bool trace_finish(TraceWriter *w, size_t first_row, size_t rows_n, const TraceRow *rows, Err *err);
/* Ends the trace and frees w: compresses, cuts to the rows used, adds the attributes to /meta. On an error the file stays as
 * a run that was broken off leaves it. */
bool trace_close(TraceWriter *w, size_t meta_n, const TraceMeta *meta, Err *err);
/* Frees w and leaves the file as it is; without a finished row it is removed. Takes NULL. */
void trace_discard(TraceWriter *w);

typedef struct TraceReader {
    H5File *file;
    size_t rows_n;      /* places for rows; only those with done[i] hold anything */
    TraceRow *rows;     /* [rows_n] */
    uint8_t *done;      /* [rows_n], 0 or 1 */
    bool is_finished;   /* closed by trace_close */
    size_t taps_n;
    TraceTap *taps;     /* in graph order; labels and unit are not read */
} TraceReader;

/* Opens a trace, finished or not. E_FORMAT when it is not one or contradicts itself, E_UNSUPPORTED a later version.
 * The caller frees it with trace_free. */
TraceReader *trace_open(const char *path, Err *err);
/* The same over an open file, which it takes in every case. */
TraceReader *trace_from(H5File *file, Err *err);
/* Takes NULL. */
void trace_free(TraceReader *r);
/* Index of the tap of that name in r->taps, -1 when there is none. */
int trace_find(const TraceReader *r, const char *name);
/* The rows named by rows[0 … n-1] of a tap, in that order: a Tensor [n, …] that the caller owns. */
Tensor *trace_read(TraceReader *r, int tap, size_t n, const size_t *rows, Err *err);
/* *present[rows_n]: 1 where a done row has a value of the tap. The caller frees it. */
bool trace_present(TraceReader *r, int tap, uint8_t **present, Err *err);

#endif
