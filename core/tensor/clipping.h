/* What the NVFP4 quantization of an activation cannot hold: values beyond the largest one that the input scale allows, and values
 * lost because a block's scale, or their own quotient, rounds to zero. */
#ifndef CORE_TENSOR_CLIPPING_H
#define CORE_TENSOR_CLIPPING_H
#include <stddef.h>

typedef struct Clipping {
    size_t n, nonzero;   /* elements; those that are not 0 (NaN among them) */
    size_t clipped;      /* |x| > 6 · 448 input scales */
    size_t underflowed;  /* not 0, in a block whose scale became 0 */
    size_t zeroed;       /* not 0, code 0; underflowed ones included */
    float amax;          /* largest |x|, NaN if there is one */
} Clipping;

/* Adds vector x f32[k] (k a multiple of 16), quantized with the inverse input scale s as at run time. */
void clipping_add(const float *x, size_t k, float s, Clipping *c);

#endif
