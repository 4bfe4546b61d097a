/* Is a kernel's output within what rounding explains? Judged per element, against the reference's output before its
 * rounding (want) and the magnitude behind it (core/tensor/op.h). With E = sums · 2^-23 · magnitude + 2^-24 |want|
 * (the reference is kept as f32):
 *     |got - want| <= ulp · ulp_out(|want| + E) + E        ulp_out: distance of neighbours of the storage type at
 *     that size
 * A magnitude of 0 says that nothing is computed: got must be want, rounded to the storage type. */
#ifndef CORE_TENSOR_ACCEPT_H
#define CORE_TENSOR_ACCEPT_H
#include <stdbool.h>
#include <stdint.h>

#include "core/tensor/tensor.h"

/* What a kernel stores an output as. E4M3: values are rounded to bf16 first, divided by scale, and saturate. */
typedef enum AcceptStore { ACCEPT_BF16, ACCEPT_F32, ACCEPT_E4M3 } AcceptStore;

typedef struct AcceptRule {
    double ulp, sums;
    AcceptStore store;
    float scale; /* E4M3 only */
} AcceptRule;

typedef struct Accept {
    size_t n, outside, not_finite; /* elements; outside of their bound; of these, NaN or infinite on either side */
    /* largest |got - want| / bound, infinity where the bound is 0 or a side is not finite */
    double ratio;
    size_t at;                     /* where: flat index of that element */
    double got, want, bound;       /* there */
    double error_squares, squares; /* sums of (got - want)^2 and want^2: their quotient is the NMSE */
} Accept;

/* Distance from |x| to the next larger number of the type (its smallest one near 0). */
double accept_ulp(AcceptStore store, float scale, double x);
/* got holds values of the storage type in any tensor type (e4m3: codes, times scale); want f32; magnitude f32, NULL
 * for all zero. One shape: E_SHAPE otherwise. Rows from `rows` on are left out. */
bool accept_compare(const Tensor *got, const Tensor *want, const Tensor *magnitude, size_t rows, const AcceptRule *rule,
    Accept *out,
                    Err *err);

typedef struct AcceptCodes {
    size_t blocks, blocks_outside;
    size_t codes_differ, scales_differ; /* from the exact build's, NaN among x included */
    size_t at;            /* first block outside */
} AcceptCodes;

/* NVFP4 codes of x f32[n] (n a multiple of 16), quantized with the inverse input scale s: a block's scale may
 * differ from the exact build's only when its quotient lies within delta (relative) of the tie between the two, a
 * code only when x / scale does, given the block's own scale. */
void accept_nvfp4(const float *x, size_t n, float s, const uint8_t *codes, const uint8_t *scales, double delta,
    AcceptCodes *out);

#endif
