#include "core/base/prng.h"

#include <math.h>

uint64_t prng_next(Prng *p)
{
    uint64_t z = p->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

double prng_uniform(Prng *p)
{
    return (double)(prng_next(p) >> 11) * 0x1p-53;
}

double prng_normal(Prng *p)
{
    double radius = sqrt(-2 * log(1 - prng_uniform(p)));
    return radius * cos(2 * 3.14159265358979323846 * prng_uniform(p));
}
