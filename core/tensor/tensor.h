/* Host tensors: row-major, contiguous, up to TENSOR_RANK_MAX dimensions; rank 0 is one element. */
#ifndef CORE_TENSOR_TENSOR_H
#define CORE_TENSOR_TENSOR_H
#include "core/base/err.h"
#include "core/tensor/dtype.h"

enum { TENSOR_RANK_MAX = 5 };

typedef struct Tensor {
    DType dtype;
    int rank;
    size_t shape[TENSOR_RANK_MAX];
    void *data; /* tensor_bytes() bytes, owned */
} Tensor;

/* Number of elements / bytes. */
size_t tensor_count(const Tensor *t);
size_t tensor_bytes(const Tensor *t);
/* A zeroed tensor owned by the caller; E_MEMORY, E_SHAPE when the size overflows or rank > TENSOR_RANK_MAX. */
Tensor *tensor_new(DType dtype, int rank, const size_t *shape, Err *err);
/* Takes NULL. */
void tensor_free(Tensor *t);
/* Element i (row-major) as a double: exact for every type but I64 beyond 2^53. */
double tensor_get(const Tensor *t, size_t i);
/* n elements from first on as doubles into y, as tensor_get gives them; much faster. */
void tensor_read_f64(const Tensor *t, size_t first, size_t n, double *y);
/* Stores v as element i, rounded to the type (nearest even; e4m3 saturates). */
void tensor_set(Tensor *t, size_t i, double v);
/* "f32[3,128]" into buf; returns buf. */
const char *tensor_describe(const Tensor *t, char *buf, size_t n);

#endif
