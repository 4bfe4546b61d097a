#include "core/tensor/weight.h"

#include <assert.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/fp16.h"
#include "core/num/fp8.h"
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

/* count elements of a plain array from index at on; mapped files promise no alignment. */
static void widen(const uint8_t *data, DType dtype, size_t at, size_t count, float *y)
{
    switch (dtype) {
    case DTYPE_F32: memcpy(y, data + 4 * at, 4 * count); return;
    case DTYPE_BF16: bf16_row_to_f32(data + 2 * at, count, y); return;
    case DTYPE_F16: fp16_row_to_f32(data + 2 * at, count, y); return;
    default: assert(!"plain weights and block scales are F32, BF16 or F16");
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
        fp8_e4m3_row_to_f32(w->data + n * w->k + at, count, scale, y + at);
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
        fp8_e4m3_row_to_f32(w->data + n * w->k, w->k, w->tensor_scale, y);
        return;
    case WEIGHT_FP8_BLOCK:
        fp8_block_row(w, n, y);
        return;
    }
}
