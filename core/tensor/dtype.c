#include "core/tensor/dtype.h"

#include <assert.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} types[DTYPES] = {
    [DTYPE_NONE] = {"NONE", 0},       [DTYPE_F32] = {"F32", 4},         [DTYPE_F64] = {"F64", 8},
    [DTYPE_BF16] = {"BF16", 2},       [DTYPE_F16] = {"F16", 2},         [DTYPE_F8_E4M3] = {"F8_E4M3", 1},
    [DTYPE_F8_E5M2] = {"F8_E5M2", 1}, [DTYPE_U8] = {"U8", 1},           [DTYPE_I8] = {"I8", 1},
    [DTYPE_I16] = {"I16", 2},         [DTYPE_I32] = {"I32", 4},         [DTYPE_I64] = {"I64", 8},
    [DTYPE_BOOL] = {"BOOL", 1},
};

size_t dtype_bytes(DType t)
{
    assert(t < DTYPES);
    return types[t].bytes;
}

const char *dtype_name(DType t)
{
    assert(t < DTYPES);
    return types[t].name;
}

DType dtype_from_name(const char *name)
{
    for (int t = 1; t < DTYPES; t++)
        if (strcmp(types[t].name, name) == 0)
            return (DType)t;
    return DTYPE_NONE;
}
