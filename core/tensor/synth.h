/* Made-up data for trying kernels: never zeros, a few outliers, the same for a seed on every machine and with any
 * number of threads. */
#ifndef CORE_TENSOR_SYNTH_H
#define CORE_TENSOR_SYNTH_H
#include <stdint.h>

#include "core/tensor/tensor.h"

typedef struct SynthDesc {
    double scale;        /* standard deviation of what is neither an outlier nor rounded */
    double outliers;     /* share of elements that are eight times as large */
    uint64_t seed;
} SynthDesc;

/* Fills t: F32 (values are bf16 ones), BF16, F16, F8_E4M3 with normal numbers; U8 with two e2m1 codes a byte, of
 * normal numbers around `scale`. E_UNSUPPORTED for other types. */
bool synth_normal(Tensor *t, const SynthDesc *desc, Err *err);
/* Fills t with numbers evenly between low and high, rounded to its type. */
bool synth_uniform(Tensor *t, double low, double high, uint64_t seed, Err *err);

#endif
