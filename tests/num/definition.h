/* Binary float formats by their definition: value = (1 + mantissa/2^m) · 2^(exponent - bias), subnormals below, nearest code by
 * search among the values. Doubles hold every value and every difference exactly; no bit is moved anywhere. */
#ifndef TESTS_NUM_DEFINITION_H
#define TESTS_NUM_DEFINITION_H
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct FloatDefinition {
    int exponent_bits, mantissa_bits, bias;
    uint32_t largest; /* the largest finite magnitude's code */
} FloatDefinition;

static const FloatDefinition BF16 = {8, 7, 127, 0x7F7F}, FP16 = {5, 10, 15, 0x7BFF}, E4M3 = {4, 3, 7, 0x7E},
    E5M2 = {5, 2, 15, 0x7B},
                             E2M1 = {2, 1, 1, 7};

/* Value of a magnitude's code; largest + 1 gives the value that a wider exponent field would continue with. */
static inline double definition_value(FloatDefinition f, uint32_t code)
{
    uint32_t per_exponent = 1;
    for (int i = 0; i < f.mantissa_bits; i++)
        per_exponent *= 2;
    double mantissa = (double)(code % per_exponent) / (double)per_exponent;
    int exponent = (int)(code / per_exponent);
    return exponent == 0 ? ldexp(mantissa, 1 - f.bias) : ldexp(1.0 + mantissa, exponent - f.bias);
}

/* Code nearest to magnitude, ties to the even code; largest + 1 for what lies beyond the tie above largest. */
static inline uint32_t definition_nearest(FloatDefinition f, double magnitude)
{
    uint32_t low = 0, high = f.largest + 1; /* value(low) <= magnitude < value(high) */
    if (magnitude >= definition_value(f, high))
        return high;
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (definition_value(f, middle) <= magnitude)
            low = middle;
        else
            high = middle;
    }
    double below = magnitude - definition_value(f, low), above = definition_value(f, high) - magnitude;
    return below < above || (below == above && low % 2 == 0) ? low : high;
}

static inline uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* A fixed sequence of numbers without visible order (an LCG's upper half). */
static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* Calls check(x) for every value of the format, its neighbours in f32, every tie and its neighbours, both signs; and for n random
 * patterns of 32 bits, NaN and infinities left out. */
static inline void definition_probe(FloatDefinition f, int n, void (*check)(float x))
{
    for (uint32_t code = 0; code <= f.largest; code++) {
        double value = definition_value(f, code), next = definition_value(f, code + 1);
        const double at[2] = {value, (value + next) / 2};
        for (int i = 0; i < 2; i++)
            for (float sign = 1; sign >= -1; sign -= 2) {
                float x = sign * (float)at[i];
                check(x);
                check(nextafterf(x, -INFINITY));
                check(nextafterf(x, INFINITY));
            }
    }
    uint64_t state = 1;
    for (int i = 0; i < n; i++) {
        float x = float_of(next_random(&state));
        if (isfinite(x))
            check(x);
    }
}

#endif
