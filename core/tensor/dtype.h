/* Element types of host tensors and of checkpoint tensors. */
#ifndef CORE_TENSOR_DTYPE_H
#define CORE_TENSOR_DTYPE_H
#include <stddef.h>

typedef enum DType {
    DTYPE_NONE,
    DTYPE_F32,
    DTYPE_F64,
    DTYPE_BF16,
    DTYPE_F16,
    DTYPE_F8_E4M3,
    DTYPE_F8_E5M2,
    DTYPE_U8,
    DTYPE_I8,
    DTYPE_I16,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_BOOL,
    DTYPES
} DType;

/* Bytes of one element; 0 for DTYPE_NONE. */
size_t dtype_bytes(DType t);
/* The spelling of safetensors headers ("BF16", "F8_E4M3"); "NONE" for DTYPE_NONE. */
const char *dtype_name(DType t);
/* The type with that spelling, DTYPE_NONE if unknown. */
DType dtype_from_name(const char *name);

#endif
