/* NVFP4: e2m1 codes, two a byte with the even element in the low nibble; one e4m3 scale per 16 elements; one f32 per tensor.
 * Two conventions of the same number: ModelOpt stores the multiplier (value = code·(scale·g)), compressed-tensors the
 * divisor (value = code·(scale/G)). Each float operation is one IEEE f32 operation in the order of the specification.
 * Source: nvfp4-formats specification §1.3-§1.7, §2.3; golden/formats.h5 holds the tools' own bytes. */
#ifndef CORE_NUM_NVFP4_H
#define CORE_NUM_NVFP4_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NVFP4_BLOCK = 16 };

/* Which program's bytes an encoder makes. */
typedef enum Nvfp4Writer {
    NVFP4_MODELOPT,      /* scalars by reciprocal (as on CUDA), block scale clamped to [2^-9, 448] */
    NVFP4_MODELOPT_043,  /* the same without the clamp: ModelOpt up to 0.43 */
    NVFP4_MODELOPT_CPU,  /* scalars by true division, clamped */
    NVFP4_CT_BF16,       /* compressed-tensors with a bf16 model */
    NVFP4_CT_F32         /* compressed-tensors with an f32 model */
} Nvfp4Writer;

/* The tensor scalar for a given amax: a multiplier for ModelOpt writers, a divisor for compressed-tensors writers.
 * amax 0 gives the scalar of amax 1 (ModelOpt; its own all-zero tensors are NaN) or 1.0 (compressed-tensors). */
float nvfp4_tensor_scale(Nvfp4Writer writer, float amax);
/* Encodes x f32[k] (k % 16 == 0) with that writer's scalar g into codes u8[k/2] and scales u8[k/16]. */
void nvfp4_encode_row(Nvfp4Writer writer, const float *x, size_t k, float g, uint8_t *codes, uint8_t *scales);
/* One block's scale factor as f32: fl(scale·g), or fl(scale/g) when is_divisor. Scale byte 0 gives 0, also where the code is not
 * 0. */
float nvfp4_block_scale(uint8_t scale, float g, bool is_divisor);
/* Decodes k elements (k % 16 == 0): y[i] = fl(code · block scale), the exact f32 product of the specification. */
void nvfp4_decode_row(const uint8_t *codes, const uint8_t *scales, float g, bool is_divisor, size_t k, float *y);
/* Run-time quantization of an activation row (§2.3, exact build) with S = fl(1/input_scale) or the stored divisor.
 * codes as the conversion instruction makes them (-0.0 gives 8); scales saturate at 448. A block whose scale is 0 has only zeros
 * as codes, with the signs of x; its largest magnitude was 0 or underflowed. */
void nvfp4_quantize_activation(const float *x, size_t k, float s, uint8_t *codes, uint8_t *scales);

#endif
