#include "core/tensor/tensor.h"

#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/fp16.h"
#include "core/num/fp8.h"

size_t tensor_count(const Tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

size_t tensor_bytes(const Tensor *t)
{
    return tensor_count(t) * dtype_bytes(t->dtype);
}

Tensor *tensor_new(DType dtype, int rank, const size_t *shape, Err *err)
{
    if (rank < 0 || rank > TENSOR_RANK_MAX)
        return fail(err, E_SHAPE, "a tensor has 0 to %d dimensions, not %d", TENSOR_RANK_MAX, rank), NULL;
    size_t bytes = dtype_bytes(dtype);
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(bytes, shape[i], &bytes))
            return fail(err, E_SHAPE, "the size of a tensor overflows at dimension %d of %zu", i, shape[i]), NULL;
    Tensor *t = calloc(1, sizeof *t);
    void *data = calloc(1, bytes ? bytes : 1);
    if (!t || !data) {
        free(t);
        free(data);
        return fail(err, E_MEMORY, "no memory for a tensor of %zu bytes", bytes), NULL;
    }
    t->dtype = dtype;
    t->rank = rank;
    for (int i = 0; i < rank; i++)
        t->shape[i] = shape[i];
    t->data = data;
    return t;
}

void tensor_free(Tensor *t)
{
    if (!t)
        return;
    free(t->data);
    free(t);
}

double tensor_get(const Tensor *t, size_t i)
{
    assert(i < tensor_count(t));
    switch (t->dtype) {
    case DTYPE_F32: return ((const float *)t->data)[i];
    case DTYPE_F64: return ((const double *)t->data)[i];
    case DTYPE_BF16: return bf16_to_f32(((const uint16_t *)t->data)[i]);
    case DTYPE_F16: return fp16_to_f32(((const uint16_t *)t->data)[i]);
    case DTYPE_F8_E4M3: return fp8_e4m3_to_f32(((const uint8_t *)t->data)[i]);
    case DTYPE_F8_E5M2: return fp8_e5m2_to_f32(((const uint8_t *)t->data)[i]);
    case DTYPE_U8:
    case DTYPE_BOOL: return ((const uint8_t *)t->data)[i];
    case DTYPE_I8: return ((const int8_t *)t->data)[i];
    case DTYPE_I16: return ((const int16_t *)t->data)[i];
    case DTYPE_I32: return ((const int32_t *)t->data)[i];
    case DTYPE_I64: return (double)((const int64_t *)t->data)[i];
    default: assert(!"a tensor has a type"); return 0;
    }
}

void tensor_read_f64(const Tensor *t, size_t first, size_t n, double *y)
{
    assert(first <= tensor_count(t) && n <= tensor_count(t) - first);
    switch (t->dtype) {
    case DTYPE_F32:
        for (size_t i = 0; i < n; i++)
            y[i] = ((const float *)t->data)[first + i];
        return;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            y[i] = bf16_to_f32(((const uint16_t *)t->data)[first + i]);
        return;
    case DTYPE_F64: memcpy(y, (const double *)t->data + first, n * sizeof *y); return;
    default:
        for (size_t i = 0; i < n; i++)
            y[i] = tensor_get(t, first + i);
    }
}

void tensor_set(Tensor *t, size_t i, double v)
{
    assert(i < tensor_count(t));
    switch (t->dtype) {
    case DTYPE_F32: ((float *)t->data)[i] = (float)v; return;
    case DTYPE_F64: ((double *)t->data)[i] = v; return;
    case DTYPE_BF16: ((uint16_t *)t->data)[i] = bf16_from_f32((float)v); return;
    case DTYPE_F16: ((uint16_t *)t->data)[i] = fp16_from_f32((float)v); return;
    case DTYPE_F8_E4M3: ((uint8_t *)t->data)[i] = fp8_e4m3_from_f32_sat((float)v); return;
    case DTYPE_U8:
    case DTYPE_BOOL: ((uint8_t *)t->data)[i] = (uint8_t)v; return;
    case DTYPE_I8: ((int8_t *)t->data)[i] = (int8_t)v; return;
    case DTYPE_I16: ((int16_t *)t->data)[i] = (int16_t)v; return;
    case DTYPE_I32: ((int32_t *)t->data)[i] = (int32_t)v; return;
    case DTYPE_I64: ((int64_t *)t->data)[i] = (int64_t)v; return;
    default: assert(!"a tensor of this type is read-only"); return;
    }
}

const char *tensor_describe(const Tensor *t, char *buf, size_t n)
{
    size_t at = 0;
    for (const char *s = dtype_name(t->dtype); *s && at + 1 < n; s++)
        buf[at++] = (char)tolower((unsigned char)*s);
    for (int i = 0; i < t->rank && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, i ? ",%zu" : "[%zu", t->shape[i]);
    if (at < n)
        snprintf(buf + at, n - at, t->rank ? "]" : "[]");
    return buf;
}
