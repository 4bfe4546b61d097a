#include "core/model/pack.h"

#include <stdlib.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/fp16.h"
#include "core/num/nvfp4.h"

size_t pack_row(WeightFormat format, size_t k)
{
    size_t unit = format == WEIGHT_NVFP4 ? 128 : format == WEIGHT_PLAIN ? 8 : 16;
    return (k + unit - 1) / unit * unit;
}

static bool is_same_kind(const Weight *a, const Weight *b)
{
    return a->format == b->format && a->n == b->n && a->k == b->k && a->block_n == b->block_n && a->block_k == b->block_k;
}

/* Uploads host bytes into fresh device memory and frees the host copy. */
static bool put(Device *d, const char *label, void *host, size_t bytes, DevicePtr *out, PackedWeight *total, Err *err)
{
    bool is_ok = host ? device_alloc(d, label, bytes, out, err) && device_upload(d, *out, host, bytes, err)
                      : fail(err, E_MEMORY, "no memory to pack %zu bytes of weights", bytes);
    free(host);
    total->bytes += bytes;
    return is_ok;
}

static bool pack_vector(Device *d, const Weight *w, PackedWeight *out, Err *err)
{
    float *row = malloc(w->k * sizeof *row);
    if (row)
        weight_row(w, 0, row);
    return put(d, "weights (vector)", row, w->k * sizeof *row, &out->data, out, err);
}

static bool pack_plain(Device *d, const Weight *w, size_t n, PackedWeight *out, Err *err)
{
    size_t kp = pack_row(WEIGHT_PLAIN, w->k), rows = n * w->n;
    uint16_t *data = calloc(rows * kp, sizeof *data);
    float *row = malloc(w->k * sizeof *row);
    for (size_t r = 0; data && row && r < rows; r++) {
        weight_row(&w[r / w->n], r % w->n, row);
        for (size_t k = 0; k < w->k; k++)
            data[r * kp + k] = bf16_from_f32(row[k]);
    }
    if (!row) {
        free(data);
        data = NULL;
    }
    free(row);
    return put(d, "weights (bf16)", data, rows * kp * sizeof *data, &out->data, out, err);
}

/* Copies rows of `bytes` bytes into rows of `stride` bytes, zero behind. */
static uint8_t *padded(const Weight *w, size_t n, bool is_scale, size_t bytes, size_t stride)
{
    uint8_t *to = calloc(n * w->n, stride);
    for (size_t r = 0; to && r < n * w->n; r++) {
        const Weight *m = &w[r / w->n];
        memcpy(to + r * stride, (is_scale ? m->scales : m->data) + r % w->n * bytes, bytes);
    }
    return to;
}

static bool pack_row_scales(Device *d, const Weight *w, size_t n, PackedWeight *out, Err *err)
{
    float *scale = malloc(n * w->n * sizeof *scale);
    for (size_t r = 0; scale && r < n * w->n; r++) {
        const Weight *m = &w[r / w->n];
        scale[r] = m->is_divisor ? 1 / m->tensor_scale : m->tensor_scale;
    }
    return put(d, "weights (row scales)", scale, n * w->n * sizeof *scale, &out->row_scale, out, err);
}

static float scale_value(const Weight *w, size_t i)
{
    switch (w->scale_dtype) {
    case DTYPE_F32: {
        float x;
        memcpy(&x, w->scales + 4 * i, sizeof x);
        return x;
    }
    default: {
        uint16_t x;
        memcpy(&x, w->scales + 2 * i, sizeof x);
        return w->scale_dtype == DTYPE_BF16 ? bf16_to_f32(x) : fp16_to_f32(x);
    }
    }
}

static bool pack_block_scales(Device *d, const Weight *w, size_t n, PackedWeight *out, Err *err)
{
    size_t blocks = (w->n + w->block_n - 1) / w->block_n * ((w->k + w->block_k - 1) / w->block_k);
    float *scale = malloc(n * blocks * sizeof *scale);
    for (size_t i = 0; scale && i < n * blocks; i++)
        scale[i] = scale_value(&w[i / blocks], i % blocks);
    return put(d, "weights (block scales)", scale, n * blocks * sizeof *scale, &out->scales, out, err);
}

/* A NaN or negative block scale would make a kernel and its reference disagree in ways nobody can read. */
static bool check_block_scales(const Weight *w, size_t n, Err *err)
{
    for (size_t m = 0; m < n; m++)
        for (size_t i = 0; i < w->n * (w->k / NVFP4_BLOCK); i++)
            if (w[m].scales[i] >= 0x7F)
                return fail(err, E_UNSUPPORTED,
                            "matrix %zu: block scale %zu: expected a positive e4m3 number, found byte 0x%02X", m, i,
                            w[m].scales[i]);
    return true;
}

bool pack_weights(Device *d, const Weight *w, size_t n, bool is_vector, PackedWeight *out, Err *err)
{
    *out = (PackedWeight){0};
    for (size_t i = 1; i < n; i++)
        if (!is_same_kind(&w[0], &w[i]))
            return fail(err, E_UNSUPPORTED, "matrix %zu is %s[%zu,%zu], the first is %s[%zu,%zu]: one argument has one format", i,
                        weight_format_name(&w[i]), w[i].n, w[i].k, weight_format_name(w), w->n, w->k);
    bool is_ok = true;
    size_t kp = pack_row(w->format, w->k);
    if (is_vector)
        is_ok = pack_vector(d, w, out, err);
    else if (w->format == WEIGHT_PLAIN)
        is_ok = pack_plain(d, w, n, out, err);
    else if (w->format == WEIGHT_NVFP4)
        is_ok = check_block_scales(w, n, err) &&
                put(d, "weights (fp4 codes)", padded(w, n, false, w->k / 2, kp / 2), n * w->n * kp / 2,
                    &out->data, out, err) &&
                put(d, "weights (fp4 scales)", padded(w, n, true, w->k / NVFP4_BLOCK, kp / NVFP4_BLOCK),
                    n * w->n * kp / NVFP4_BLOCK,
                    &out->scales, out, err) &&
                pack_row_scales(d, w, n, out, err);
    else
        is_ok = put(d, "weights (fp8)", padded(w, n, false, w->k, kp), n * w->n * kp, &out->data, out, err) &&
                (w->format == WEIGHT_FP8 ? pack_row_scales(d, w, n, out, err) : pack_block_scales(d, w, n, out, err));
    if (!is_ok)
        pack_free(d, out);
    return is_ok;
}

void pack_free(Device *d, PackedWeight *w)
{
    device_free(d, w->data);
    device_free(d, w->scales);
    device_free(d, w->row_scale);
    *w = (PackedWeight){0};
}
