/* HDF5 files: the only interface to the library. Reading trusts nothing: only hard links are followed (no soft, external or
 * user-defined ones), only the filters deflate, shuffle and fletcher32 run, no data is read from other files, and sizes are
 * held against what the file can contain before memory is taken. Writing makes PATH.part and renames it at close.
 * Paths inside a file are "/a/b" or "a/b"; "/" is the root. HDF5's own error reports are silent and become part of Err.
 * Types: IEEE floats of 2, 4, 8 bytes are F16 F32 F64; signed integers keep their size; u8 is U8, u16 becomes I32, u32 and
 * u64 I64; enumerations of one byte (h5py's bool) are U8. What HDF5 lacks is stored as bits with the attribute dtype:
 * BF16 as u16; F8_E4M3, F8_E5M2 and BOOL as u8 (traces/FORMAT.md).
 * Errors everywhere: E_MISSING no such object or attribute, E_SHAPE wrong type or shape, E_FORMAT bytes that are not HDF5 or
 * contradict themselves, E_UNSUPPORTED links, filters and types we do not read, E_IO, E_SPACE, E_MEMORY. */
#ifndef CORE_FILE_H5_H
#define CORE_FILE_H5_H
#include <stdint.h>

#include "core/base/err.h"
#include "core/tensor/tensor.h"

typedef struct H5File H5File;

typedef enum H5Kind { H5_ABSENT, H5_GROUP, H5_DATASET, H5_OTHER /* a link or object that is not followed */ } H5Kind;

typedef struct H5Entry {
    char *name;
    H5Kind kind;
} H5Entry;

typedef struct H5List {
    size_t n;
    H5Entry *entries; /* by name, ascending */
} H5List;

typedef struct H5Info {
    DType dtype; /* of the Tensor that h5_read gives; DTYPE_NONE when the type cannot be read */
    int rank;
    size_t shape[TENSOR_RANK_MAX];
} H5Info;

/* Rows of the first dimension, from first_row on; rows_n SIZE_MAX: to the end. as: the stored bits are of this type (a
 * u16 dataset without attributes that holds BF16, say); DTYPE_NONE: as the file says. */
typedef struct H5Part {
    size_t first_row, rows_n;
    DType as;
} H5Part;

typedef enum H5AttrKind { H5_ATTR_INT, H5_ATTR_REAL, H5_ATTR_BOOL, H5_ATTR_STRING } H5AttrKind;

/* One value or a list of n; the array of its kind is set (ints also for BOOL), the others are NULL. */
typedef struct H5Attr {
    H5AttrKind kind;
    bool is_list;
    size_t n;
    int64_t *ints;
    double *reals;
    char **strings;
} H5Attr;

/* How a new dataset is stored. chunk_rows 0: contiguous, its space allocated at once and not written; otherwise chunks of so
 * many rows, compressed with shuffle and deflate of that level (0: not compressed). */
typedef struct H5Layout {
    size_t chunk_rows;
    int deflate;
} H5Layout;

/* For reading. The caller owns the file; h5_close frees it. The library does not survive every broken file: a child process
 * reads it first (all of a file up to 1 MiB, else structure, attributes, first and last rows), and strings of variable length
 * are always read by a child. */
H5File *h5_open(const char *path, Err *err);
/* As h5_open, of a file that this program wrote: without the child. */
H5File *h5_open_own(const char *path, Err *err);
/* As h5_open_own, over n bytes in memory (copied). */
H5File *h5_open_image(const void *bytes, size_t n, Err *err);
/* For writing: PATH.part, made afresh; PATH appears when h5_close succeeds. */
H5File *h5_create(const char *path, Err *err);
/* Frees f in every case. A file being written is flushed and renamed; on an error its .part is removed. */
bool h5_close(H5File *f, Err *err);
/* Frees f without a result: a file being written is removed. Takes NULL. */
void h5_discard(H5File *f);
/* The path given to open or create. Lives as long as f. */
const char *h5_path(const H5File *f);
/* HDF5 objects open in this process, files included. 0 once every file is closed. */
long h5_open_objects(void);

/* *kind of the object at p, H5_ABSENT when there is none. An error only when the file is broken. */
bool h5_kind(H5File *f, const char *p, H5Kind *kind, Err *err);
/* What group p holds; the caller frees *list with h5_list_free. */
bool h5_list(H5File *f, const char *p, H5List *list, Err *err);
void h5_list_free(H5List *list);

/* Type and shape of dataset p; E_SHAPE when it has more than TENSOR_RANK_MAX dimensions. */
bool h5_info(H5File *f, const char *p, H5Info *info, Err *err);
/* Dataset p as a Tensor that the caller owns. */
Tensor *h5_read(H5File *f, const char *p, Err *err);
/* A part of it: E_SHAPE when the rows are not all there or the type `as` has another size than what is stored. */
Tensor *h5_read_part(H5File *f, const char *p, H5Part part, Err *err);

/* Attribute name of object p; the caller frees *attr with h5_attr_free. */
bool h5_attr(H5File *f, const char *p, const char *name, H5Attr *attr, Err *err);
void h5_attr_free(H5Attr *attr);
/* Names of the attributes of object p, as a list whose kinds mean nothing. */
bool h5_attr_names(H5File *f, const char *p, H5List *list, Err *err);

/* Makes group p and those above it where they are absent. */
bool h5_make_group(H5File *f, const char *p, Err *err);
/* Makes dataset p (and the groups above it) without content. E_USAGE when p exists. */
bool h5_make(H5File *f, const char *p, DType dtype, int rank, const size_t *shape, H5Layout layout, Err *err);
/* Writes t into the rows of dataset p from first_row on; type and row shape must be those of p. */
bool h5_write_rows(H5File *f, const char *p, size_t first_row, const Tensor *t, Err *err);
/* h5_make, contiguous, and h5_write_rows of all of t. */
bool h5_write(H5File *f, const char *p, const Tensor *t, Err *err);
/* Takes disk space for all that was made so far, so that a full disk is E_SPACE now and not in the middle of a run. */
bool h5_reserve(H5File *f, Err *err);
/* Where the raw values of contiguous dataset p begin, in bytes from the start of the file. */
bool h5_offset(H5File *f, const char *p, uint64_t *offset, Err *err);
/* Sets or replaces attribute name of object p. Strings are UTF-8 without NUL (E_VALUE). */
bool h5_set_attr(H5File *f, const char *p, const char *name, const H5Attr *attr, Err *err);

#endif
