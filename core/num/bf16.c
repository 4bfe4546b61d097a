#include "core/num/bf16.h"

#include <string.h>

static inline float widen(uint16_t bits)
{
    uint32_t u = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline uint16_t narrow(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t nearest = (u + 0x7FFF + (u >> 16 & 1)) >> 16;
    uint32_t quiet = u >> 16 | 0x40; /* a NaN whose upper bits alone would read as infinity */
    return (uint16_t)((u & 0x7FFFFFFF) > 0x7F800000 ? quiet : nearest);
}

float bf16_to_f32(uint16_t bits)
{
    return widen(bits);
}

void bf16_row_to_f32(const void *bits, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t b;
        memcpy(&b, (const char *)bits + 2 * i, sizeof b);
        y[i] = widen(b);
    }
}

uint16_t bf16_from_f32(float x)
{
    return narrow(x);
}

float bf16_round(float x)
{
    return widen(narrow(x));
}

void bf16_round_row(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = widen(narrow(x[i]));
}
