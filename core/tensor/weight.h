/* One logical weight matrix of a checkpoint, whatever its serialization: a borrowed view into mapped files.
 * Dequantized always means the exact f32 product: e2m1 · fl(scale·tensor scale), e4m3 · scale, or the widened bf16. */
#ifndef CORE_TENSOR_WEIGHT_H
#define CORE_TENSOR_WEIGHT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/tensor/dtype.h"

typedef enum WeightFormat {
    WEIGHT_PLAIN,     /* data: dtype F32, BF16, F16 [n,k] */
    WEIGHT_NVFP4,     /* data: u8[n,k/2] codes, scales: e4m3[n,k/16], tensor_scale */
    WEIGHT_FP8,       /* data: e4m3[n,k], tensor_scale multiplies */
    WEIGHT_FP8_BLOCK  /* data: e4m3[n,k], scales: scale_dtype[ceil(n/block_n), ceil(k/block_k)] multiply */
} WeightFormat;

typedef struct Weight {
    WeightFormat format;
    DType dtype;         /* of data */
    DType scale_dtype;   /* of scales */
    size_t n, k;         /* rows (out features), columns (in features); a vector has n = 1 */
    const uint8_t *data;
    const uint8_t *scales;
    float tensor_scale;  /* as stored */
    bool is_divisor;     /* tensor_scale and input_scale divide (compressed-tensors) */
    bool has_input_scale;
    float input_scale;   /* as stored; only with has_input_scale */
    size_t block_n, block_k;
} Weight;

/* The multiplier of the activation's quantization: input_scale, or 1/input_scale when is_divisor. */
double weight_input_scale(const Weight *w);
/* S of the quantization formula: fl(1/input_scale), or the stored divisor. */
float weight_input_inverse(const Weight *w);
/* Row n of w into y f32[k]: the exact f32 products. */
void weight_row(const Weight *w, size_t n, float *y);
/* "nvfp4", "fp8", "fp8_block", "bf16", "f32", "f16". */
const char *weight_format_name(const Weight *w);

#endif
