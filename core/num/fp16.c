#include "core/num/fp16.h"

#include <string.h>

float fp16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    uint32_t u = (uint32_t)(bits & 0x7FFF) << 13;
    float x;
    if (u >= 0x0F800000) { /* exponent 31: infinity and NaN; a NaN becomes quiet */
        u |= 0x7F800000 | (u & 0x7FFFFF ? 0x400000 : 0);
        u |= sign;
        memcpy(&x, &u, sizeof x);
        return x;
    }
    memcpy(&x, &u, sizeof x);
    x *= 0x1p112f; /* from bias 15 to bias 127; exact, subnormals included */
    memcpy(&u, &x, sizeof u);
    u |= sign;
    memcpy(&x, &u, sizeof x);
    return x;
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
