/* One safetensors file, mapped read-only: u64 header length, JSON header, data area. Everything a header says is checked before
 * use: length, JSON, known types, shape × type = offsets, offsets inside the file, no overlap, no name twice. Holes between
 * tensors and bytes behind the last one do no harm to a reader and are left to doctor. A file that is cut while it is mapped ends
 * the program. */
#ifndef CORE_FILE_SAFETENSORS_H
#define CORE_FILE_SAFETENSORS_H
#include <stdint.h>

#include "core/base/err.h"
#include "core/tensor/dtype.h"

/* The format's own library refuses longer headers. */
enum { SAFETENSORS_RANK_MAX = 8, SAFETENSORS_HEADER_MAX = 100000000, SAFETENSORS_LENGTH_BYTES = 8 };

typedef struct SafetensorsEntry {
    const char *name; /* lives as long as the file */
    DType dtype;
    int rank;
    size_t shape[SAFETENSORS_RANK_MAX];
    uint64_t offset;  /* of the data from the start of the file */
    uint64_t bytes;
} SafetensorsEntry;

typedef struct Safetensors Safetensors;

/* Maps the file at path. E_IO, E_FORMAT (what was expected, found and at which byte or tensor), E_UNSUPPORTED for an unknown
 * dtype.
 * The caller owns the result. */
Safetensors *safetensors_open(const char *path, Err *err);
/* The same for bytes in memory, which are borrowed; name stands for the path in messages. */
Safetensors *safetensors_parse(const char *name, const uint8_t *bytes, size_t n, Err *err);
/* Takes NULL. Views into the file die with it. */
void safetensors_close(Safetensors *f);
const char *safetensors_path(const Safetensors *f);
uint64_t safetensors_file_bytes(const Safetensors *f);
/* The JSON header as stored (not 0-terminated); the data area starts SAFETENSORS_LENGTH_BYTES + *n bytes into the file. */
const char *safetensors_header(const Safetensors *f, uint64_t *n);
/* Entries in the order of the header. */
size_t safetensors_count(const Safetensors *f);
const SafetensorsEntry *safetensors_entry(const Safetensors *f, size_t i);
/* The entry of that name, NULL if there is none. Constant time. */
const SafetensorsEntry *safetensors_find(const Safetensors *f, const char *name);
/* The mapped bytes of an entry; never NULL. Unaligned. */
const uint8_t *safetensors_data(const Safetensors *f, const SafetensorsEntry *entry);
/* Tells the system that small pieces far from each other are about to be read, or that this is over. */
void safetensors_expect_scattered(const Safetensors *f, bool is_scattered);

#endif
