#include "core/num/fp8.h"

#include <string.h>

#include "core/num/fp16.h"

/* Masks instead of conditions, so that the compiler makes vector code of a loop around it, and no f32 subnormals, which cost a
 * hundred cycles on many CPUs: below the smallest normal number 2^-6 the mantissa hangs behind a leading one, which is then taken
 * away again. */
static inline float widen(uint8_t bits)
{
    uint32_t low = bits & 0x7F, sign = (uint32_t)(bits & 0x80) << 24;
    uint32_t small = 0u - ((low - 8) >> 31), nan = 0u - ((low + 1) >> 7);
    uint32_t u = (low << 20) + (120u << 23) + (small & 1u << 23), one = small & 121u << 23;
    float x, leading;
    memcpy(&x, &u, sizeof x);
    memcpy(&leading, &one, sizeof leading);
    x -= leading;
    memcpy(&u, &x, sizeof u);
    u |= sign | (nan & 0x7FC00000);
    memcpy(&x, &u, sizeof x);
    return x;
}

float fp8_e4m3_to_f32(uint8_t bits)
{
    return widen(bits);
}

__attribute__((target_clones("avx2", "default")))
void fp8_e4m3_row_to_f32(const uint8_t *bits, size_t n, float scale, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = widen(bits[i]) * scale;
}

float fp8_e5m2_to_f32(uint8_t bits)
{
    return fp16_to_f32((uint16_t)(bits << 8)); /* the upper byte of an fp16 */
}

/* The magnitude's code before the decision what stands above 448; 0x7F and more is beyond the tie at 464. NaN is above all. */
static uint32_t round_magnitude(uint32_t u)
{
    if (u < 0x3C800000) { /* below 2^-6: whole multiples of 2^-9, rounded by an addition whose last place that is */
        float a;
        memcpy(&a, &u, sizeof a);
        a += 16384.0f;
        memcpy(&u, &a, sizeof u);
        return u - 0x46800000;
    }
    u -= 120u << 23; /* from bias 127 to bias 7 */
    return (u + 0x7FFFF + (u >> 20 & 1)) >> 20;
}

uint8_t fp8_e4m3_from_f32(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t sign = u >> 24 & 0x80, code = round_magnitude(u & 0x7FFFFFFF);
    return (uint8_t)(sign | (code < 0x7F ? code : 0x7F));
}

uint8_t fp8_e4m3_from_f32_sat(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    if (x != x)
        return 0x7F;
    uint32_t sign = u >> 24 & 0x80, code = round_magnitude(u & 0x7FFFFFFF);
    return (uint8_t)(sign | (code < 0x7E ? code : 0x7E));
}
