#include "core/tensor/weight.h"

#include <assert.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/fp16.h"
#include "core/num/nvfp4.h"

double weight_input_scale(const Weight *w)
{
    assert(w->has_input_scale);
    return w->is_divisor ? 1.0 / (double)w->input_scale : (double)w->input_scale;
}

float weight_input_inverse(const Weight *w)
{
    assert(w->has_input_scale);
    return w->is_divisor ? w->input_scale : 1.0f / w->input_scale;
}

const char *weight_format_name(const Weight *w)
{
    switch (w->format) {
    case WEIGHT_NVFP4: return "nvfp4";
    case WEIGHT_FP8: return "fp8";
    case WEIGHT_FP8_BLOCK: return "fp8_block";
    case WEIGHT_PLAIN: break;
    }
    return w->dtype == DTYPE_BF16 ? "bf16" : w->dtype == DTYPE_F16 ? "f16" : "f32";
}

/* Element i of 16 bits; mapped files promise no alignment. */
static uint16_t load_u16(const uint8_t *p, size_t i)
{
    uint16_t u;
    memcpy(&u, p + 2 * i, sizeof u);
    return u;
}

/* Elements of a plain array from index at on. */
static void widen(const uint8_t *data, DType dtype, size_t at, size_t count, float *y)
{
    switch (dtype) {
    case DTYPE_F32:
        memcpy(y, data + 4 * at, 4 * count);
        return;
    case DTYPE_BF16:
        for (size_t i = 0; i < count; i++) {
            uint32_t u = (uint32_t)load_u16(data, at + i) << 16;
            memcpy(y + i, &u, sizeof u);
        }
        return;
    case DTYPE_F16:
        for (size_t i = 0; i < count; i++)
            y[i] = fp16_to_f32(load_u16(data, at + i));
        return;
    default:
        assert(!"plain weights and block scales are F32, BF16 or F16");
    }
}

/* y[i] = fl(e4m3 · scale). Written with shifts and masks so that it becomes vector code: the code's seven lower bits are the
 * top of an f32 whose exponent is 120 too small, subnormals included; 0x7F is NaN. */
static void fp8_row(const uint8_t *codes, size_t count, float scale, float *y)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t u = (uint32_t)(codes[i] & 0x7F) << 20, sign = (uint32_t)(codes[i] & 0x80) << 24;
        float x;
        memcpy(&x, &u, sizeof x);
        x *= 0x1p120f;
        memcpy(&u, &x, sizeof u);
        u |= sign | (x == 480.0f ? 0x7FC00000 : 0);
        memcpy(&x, &u, sizeof x);
        y[i] = x * scale;
    }
}

static void fp8_block_row(const Weight *w, size_t n, float *y)
{
    assert(w->block_n && w->block_k);
    size_t blocks = (w->k + w->block_k - 1) / w->block_k;
    for (size_t b = 0; b < blocks; b++) {
        size_t at = b * w->block_k, count = w->k - at < w->block_k ? w->k - at : w->block_k;
        float scale;
        widen(w->scales, w->scale_dtype, n / w->block_n * blocks + b, 1, &scale);
        fp8_row(w->data + n * w->k + at, count, scale, y + at);
    }
}

void weight_row(const Weight *w, size_t n, float *y)
{
    assert(n < w->n);
    switch (w->format) {
    case WEIGHT_PLAIN:
        widen(w->data, w->dtype, n * w->k, w->k, y);
        return;
    case WEIGHT_NVFP4:
        nvfp4_decode_row(w->data + n * (w->k / 2), w->scales + n * (w->k / NVFP4_BLOCK), w->tensor_scale, w->is_divisor, w->k, y);
        return;
    case WEIGHT_FP8:
        fp8_row(w->data + n * w->k, w->k, w->tensor_scale, y);
        return;
    case WEIGHT_FP8_BLOCK:
        fp8_block_row(w, n, y);
        return;
    }
}
