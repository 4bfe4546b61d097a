/* Which files a checkpoint folder has, and which tensors its shard index
 * (model.safetensors.index.json) places in them. */
#ifndef CORE_FILE_CHECKPOINT_INDEX_H
#define CORE_FILE_CHECKPOINT_INDEX_H
#include <stddef.h>

#include "core/base/arena.h"
#include "core/base/err.h"

#define CHECKPOINT_INDEX_FILE "model.safetensors.index.json"

enum { CHECKPOINT_FILES_MAX = 10000 };

typedef struct CheckpointIndexRow {
    const char *tensor;
    size_t file; /* number in files */
} CheckpointIndexRow;

typedef struct CheckpointIndex {
    Arena arena; /* holds all names */
    char **files;
    size_t files_n;
    CheckpointIndexRow *rows; /* as the index lists them; none when the files come from a folder */
    size_t rows_n, rows_cap;
} CheckpointIndex;

/* A zeroed CheckpointIndex is an empty one. */
void checkpoint_index_deinit(CheckpointIndex *index);
/* Fills an empty index from the JSON text {"weight_map": {tensor: file, …}, …}. File names must be
 * plain names that end in .safetensors. E_FORMAT with the byte, E_UNSUPPORTED (too many files),
 * E_MEMORY. Names of tensors are not compared with each other. */
bool checkpoint_index_parse(CheckpointIndex *index, const char *text, size_t n, Err *err);
/* True for names of files that hold tensors: *.safetensors, not hidden. */
bool checkpoint_index_is_file(const char *name);
/* Adds a file, unless it is there already. */
bool checkpoint_index_add(CheckpointIndex *index, const char *name, size_t *file, Err *err);
/* Puts the files in the order of their names; rows keep pointing at theirs. */
bool checkpoint_index_sort(CheckpointIndex *index, Err *err);

#endif
