#include "core/num/fp16.h"

#include <string.h>

/* With masks and without f32 subnormals, as in fp8.c. */
static inline float widen(uint16_t bits)
{
    uint32_t low = bits & 0x7FFF, sign = (uint32_t)(bits & 0x8000) << 16;
    uint32_t small = 0u - ((low - 0x400) >> 31), infinite = 0u - ((low + 0x400) >> 15), nan = 0u - ((0x7C00 - low) >> 31);
    uint32_t u = (low << 13) + (112u << 23) + (small & 1u << 23), one = small & 113u << 23;
    float x, leading;
    memcpy(&x, &u, sizeof x);
    memcpy(&leading, &one, sizeof leading);
    x -= leading;
    memcpy(&u, &x, sizeof u);
    u |= sign | (infinite & 0x7F800000) | (nan & 0x400000);
    memcpy(&x, &u, sizeof x);
    return x;
}

float fp16_to_f32(uint16_t bits)
{
    return widen(bits);
}

__attribute__((target_clones("avx2", "default")))
void fp16_row_to_f32(const void *bits, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t b;
        memcpy(&b, (const char *)bits + 2 * i, sizeof b);
        y[i] = widen(b);
    }
}

uint16_t fp16_from_f32(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t sign = u >> 16 & 0x8000;
    u &= 0x7FFFFFFF;
    if (u > 0x7F800000)
        return (uint16_t)(sign | 0x7E00 | (u >> 13 & 0x1FF));
    if (u >= 0x477FF000) /* 65520, the tie between the largest value and 2^16 */
        return (uint16_t)(sign | 0x7C00);
    if (u < 0x38800000) { /* below 2^-14: whole multiples of 2^-24, rounded by an addition whose last place that is */
        float a;
        memcpy(&a, &u, sizeof a);
        a += 0.5f;
        memcpy(&u, &a, sizeof u);
        return (uint16_t)(sign | (u - 0x3F000000));
    }
    u -= 112u << 23;
    return (uint16_t)(sign | (u + 0xFFF + (u >> 13 & 1)) >> 13);
}

float fp16_round(float x)
{
    return fp16_to_f32(fp16_from_f32(x));
}
