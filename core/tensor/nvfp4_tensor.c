#include "core/tensor/nvfp4_tensor.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

bool nvfp4_tensor_writer(const char *name, Nvfp4Writer *writer)
{
    static const char *const names[] = {[NVFP4_MODELOPT] = "modelopt",         [NVFP4_MODELOPT_043] = "modelopt-0.43",
                                        [NVFP4_MODELOPT_CPU] = "modelopt-cpu", [NVFP4_CT_BF16] = "ct-bf16",
                                        [NVFP4_CT_F32] = "ct-fp32"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) {
            *writer = (Nvfp4Writer)i;
            return true;
        }
    return false;
}

void nvfp4_tensor_deinit(Nvfp4Tensor *t)
{
    tensor_free(t->codes);
    tensor_free(t->scales);
    *t = (Nvfp4Tensor){0};
}

/* Columns of t and the rows above them. */
static size_t columns(const Tensor *t)
{
    return t->rank ? t->shape[t->rank - 1] : 0;
}

static size_t rows_of(const Tensor *t)
{
    return columns(t) ? tensor_count(t) / columns(t) : 0;
}

/* A tensor of t's leading dimensions and a last one of k. */
static Tensor *new_like(const Tensor *t, DType dtype, size_t k, Err *err)
{
    size_t shape[TENSOR_RANK_MAX];
    memcpy(shape, t->shape, sizeof shape);
    shape[t->rank - 1] = k;
    return tensor_new(dtype, t->rank, shape, err);
}

static bool new_codes(const Tensor *x, Nvfp4Tensor *out, Err *err)
{
    char text[160];
    size_t k = columns(x);
    *out = (Nvfp4Tensor){0};
    if (k == 0 || k % NVFP4_BLOCK != 0)
        return fail(err, E_SHAPE, "NVFP4 needs columns in blocks of %d, found %s", NVFP4_BLOCK,
                    tensor_describe(x, text, sizeof text));
    out->codes = new_like(x, DTYPE_U8, k / 2, err);
    out->scales = out->codes ? new_like(x, DTYPE_F8_E4M3, k / NVFP4_BLOCK, err) : NULL;
    if (!out->scales)
        nvfp4_tensor_deinit(out);
    return out->scales != NULL;
}

/* Row r of x, exactly for every type that a weight or an activation has; wide f64[k] is scratch. */
static void read_row(const Tensor *x, size_t r, size_t k, double *wide, float *y)
{
    tensor_read_f64(x, r * k, k, wide);
    for (size_t i = 0; i < k; i++)
        y[i] = (float)wide[i];
}

static float largest_magnitude(const Tensor *x)
{
    double amax = 0;
    for (size_t i = 0; i < tensor_count(x); i++) {
        double a = fabs(tensor_get(x, i));
        amax = a <= amax ? amax : a; /* NaN is taken and kept */
        if (isnan(a))
            break;
    }
    return (float)amax;
}

typedef void (*RowEncoder)(Nvfp4Writer writer, const float *x, size_t k, float g, uint8_t *codes, uint8_t *scales);

static void quantize_row(Nvfp4Writer writer, const float *x, size_t k, float s, uint8_t *codes, uint8_t *scales)
{
    (void)writer;
    nvfp4_quantize_activation(x, k, s, codes, scales);
}

static bool encode_rows(RowEncoder encode, Nvfp4Writer writer, const Tensor *x, Nvfp4Tensor *out, Err *err)
{
    size_t k = columns(x), rows = rows_of(x), each = k * (sizeof(double) + sizeof(float));
    char *scratch = malloc((size_t)omp_get_max_threads() * each);
    if (!scratch) {
        nvfp4_tensor_deinit(out);
        return fail(err, E_MEMORY, "no memory for rows of %zu numbers", k);
    }
#pragma omp parallel for schedule(static) if (rows * k >= 1 << 14)
    for (size_t r = 0; r < rows; r++) {
        double *wide = (double *)(scratch + (size_t)omp_get_thread_num() * each);
        float *row = (float *)(wide + k);
        read_row(x, r, k, wide, row);
        encode(writer, row, k, out->g, (uint8_t *)out->codes->data + r * (k / 2),
               (uint8_t *)out->scales->data + r * (k / NVFP4_BLOCK));
    }
    free(scratch);
    return true;
}

bool nvfp4_tensor_encode(Nvfp4Writer writer, const Tensor *w, const float *amax, Nvfp4Tensor *out, Err *err)
{
    float own = largest_magnitude(w), used = amax ? *amax : own;
    if (!new_codes(w, out, err))
        return false;
    if (!isfinite(own) || !isfinite(used) || used < 0) {
        nvfp4_tensor_deinit(out);
        return fail(err, E_VALUE, "NVFP4 needs finite numbers and an amax of at least 0, found amax %g and values up to %g",
                    (double)used, (double)own);
    }
    out->g = nvfp4_tensor_scale(writer, used);
    return encode_rows(nvfp4_encode_row, writer, w, out, err);
}

bool nvfp4_tensor_quantize(const Tensor *x, float s, Nvfp4Tensor *out, Err *err)
{
    *out = (Nvfp4Tensor){0};
    if (!isfinite(s) || s <= 0)
        return fail(err, E_VALUE, "the inverse input scale is finite and positive, not %g", (double)s);
    if (!new_codes(x, out, err))
        return false;
    out->g = s;
    return encode_rows(quantize_row, NVFP4_MODELOPT, x, out, err);
}

static bool check_codes(const Nvfp4Tensor *t, Err *err)
{
    char a[160], b[160];
    bool fits = t->codes->dtype == DTYPE_U8 && t->scales->dtype == DTYPE_F8_E4M3 && columns(t->scales) > 0 &&
                columns(t->codes) == NVFP4_BLOCK / 2 * columns(t->scales) && rows_of(t->codes) == rows_of(t->scales);
    return fits || fail(err, E_SHAPE, "expected codes u8[...,k/2] and scales f8_e4m3[...,k/16], found %s and %s",
                        tensor_describe(t->codes, a, sizeof a), tensor_describe(t->scales, b, sizeof b));
}

Tensor *nvfp4_tensor_decode(const Nvfp4Tensor *t, bool is_divisor, Err *err)
{
    if (!check_codes(t, err))
        return NULL;
    size_t k = 2 * columns(t->codes);
    Tensor *y = new_like(t->codes, DTYPE_F32, k, err);
    for (size_t r = 0; y && r < rows_of(t->codes); r++)
        nvfp4_decode_row((const uint8_t *)t->codes->data + r * (k / 2),
                         (const uint8_t *)t->scales->data + r * (k / NVFP4_BLOCK), t->g,
                         is_divisor, k, (float *)y->data + r * k);
    return y;
}
