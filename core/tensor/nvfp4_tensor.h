/* Whole tensors to NVFP4 and back, by rows of core/num/nvfp4.h. Any leading dimensions; the last one, k, is a multiple of 16
 * (else E_SHAPE).
 * Codes are U8 [...,k/2], block scales F8_E4M3 [...,k/16]; what is made belongs to the caller. E_MEMORY. */
#ifndef CORE_TENSOR_NVFP4_TENSOR_H
#define CORE_TENSOR_NVFP4_TENSOR_H
#include "core/num/nvfp4.h"
#include "core/tensor/tensor.h"

/* The writer of a name of the specification, §10.2: "modelopt", "modelopt-0.43", "modelopt-cpu", "ct-bf16", "ct-fp32"; false if
 * none. */
bool nvfp4_tensor_writer(const char *name, Nvfp4Writer *writer);

typedef struct Nvfp4Tensor {
    Tensor *codes, *scales;
    float g; /* the tensor's scalar: multiplies, or divides with compressed-tensors writers */
} Nvfp4Tensor;

/* Frees both and forgets them; takes an empty one. */
void nvfp4_tensor_deinit(Nvfp4Tensor *t);
/* Encodes w. The scalar follows from *amax, or from w's own largest magnitude when amax is NULL. E_VALUE: w or amax is not
 * finite, amax is negative. */
bool nvfp4_tensor_encode(Nvfp4Writer writer, const Tensor *w, const float *amax, Nvfp4Tensor *out, Err *err);
/* Quantizes activations x with S, the inverse input scale (§2.3). out->g is S. E_VALUE: s is not finite and positive. */
bool nvfp4_tensor_quantize(const Tensor *x, float s, Nvfp4Tensor *out, Err *err);
/* F32 [...,k]: the exact products. E_SHAPE also when scales do not fit codes or types are others. */
Tensor *nvfp4_tensor_decode(const Nvfp4Tensor *t, bool is_divisor, Err *err);

#endif
