/* Picks a token from a row of logits: greedy, or temperature with top-k and top-p. */
#ifndef CORE_MODEL_SAMPLE_H
#define CORE_MODEL_SAMPLE_H
#include <stddef.h>

#include "core/base/err.h"
#include "core/base/prng.h"

typedef struct SampleDesc {
    double temperature; /* 0: greedy */
    int top_k;          /* 0: all */
    double top_p;       /* 1: all; the smallest set of most likely tokens with at least this much probability */
} SampleDesc;

/* Token index into *token. Greedy and ties take the lowest index. One draw from *prng when temperature > 0.
 * E_VALUE when a logit is NaN or all are -inf; E_MEMORY. */
bool sample_pick(const SampleDesc *desc, const float *logits, size_t n, Prng *prng, int *token, Err *err);

#endif
