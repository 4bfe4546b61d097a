/* splitmix64: a small deterministic generator for sampling, fuzzing and perturbation. Not for secrets.
 * Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
#ifndef CORE_BASE_PRNG_H
#define CORE_BASE_PRNG_H
#include <stdint.h>

typedef struct Prng {
    uint64_t state; /* any seed */
} Prng;

uint64_t prng_next(Prng *p);
/* Uniform in [0, 1). */
double prng_uniform(Prng *p);
/* Standard normal. */
double prng_normal(Prng *p);

#endif
