/* Floats. f32 and f64 are IEEE operations; half types are computed in f32 or f64 so that the one rounding that shows is right.
 * approx functions are computed in f64 and rounded to f32. min and max drop a NaN and know that -0 < +0. */
#ifndef FN
#pragma GCC optimize("no-trapping-math") /* nobody looks at exception flags; without it conditions stay branches */
#include <assert.h>
#include <math.h>

#include "core/emu/emu_op.h"

#define EMU_SELF "core/emu/emu_op_float.c"
#include "core/emu/emu_isa.h"
EMU_TABLES(emu_op_float)
#else

/* f32: plain, .ftz, .sat, both */
#define ARITH2(name, expr)                                                      \
    INLINE float FN(name##_of)(float a, float b)                                \
    {                                                                           \
        return expr;                                                            \
    }                                                                           \
    MAP2(name, F32, F32, F32, FN(name##_of)(a, b))                              \
    MAP2(name##_sat, F32, F32, F32, saturate(FN(name##_of)(a, b)))              \
    MAP2(name##_ftz, F32, F32, F32, flush(FN(name##_of)(flush(a), flush(b))))   \
    MAP2(name##_ftz_sat, F32, F32, F32, saturate(flush(FN(name##_of)(flush(a), flush(b)))))
ARITH2(add, a + b)
ARITH2(sub, a - b)
ARITH2(mul, a * b)
MAP3(fma, F32, F32, F32, F32, __builtin_fmaf(a, b, c))
MAP3(fma_sat, F32, F32, F32, F32, saturate(__builtin_fmaf(a, b, c)))
MAP3(fma_ftz, F32, F32, F32, F32, flush(__builtin_fmaf(flush(a), flush(b), flush(c))))
MAP3(fma_ftz_sat, F32, F32, F32, F32, saturate(flush(__builtin_fmaf(flush(a), flush(b), flush(c)))))
#undef ARITH2
MAP2(add64, F64, F64, F64, a + b)
MAP2(sub64, F64, F64, F64, a - b)
MAP2(mul64, F64, F64, F64, a * b)
MAP3(fma64, F64, F64, F64, F64, __builtin_fma(a, b, c))

/* pairs of f32 in a 64-bit register: twice as many lanes; a pair is written where its lane is */
#define PAIRS(name, sources, expr)                                              \
    HANDLER(name)                                                               \
    {                                                                           \
        const F32 *pa = SLOT(F32, 1), *pb = SLOT(F32, 2), *pc = SLOT(F32, sources);     \
        F32 *d = SLOT(F32, 0);                                                  \
        _Pragma("GCC ivdep") for (uint32_t l = 0; l < 64; l++)                  \
        {                                                                       \
            const float a = pa[l], b = pb[l], c = pc[l], x = expr;              \
            d[l] = mask >> (l / 2) & 1 ? x : d[l];                              \
            (void)c;                                                            \
        }                                                                       \
        NEXT                                                           \
    }
PAIRS(add_pair, 2, a + b)
PAIRS(mul_pair, 2, a *b)
PAIRS(fma_pair, 3, __builtin_fmaf(a, b, c))
PAIRS(add_pair_ftz, 2, flush(flush(a) + flush(b)))
PAIRS(mul_pair_ftz, 2, flush(flush(a) * flush(b)))
PAIRS(fma_pair_ftz, 3, flush(__builtin_fmaf(flush(a), flush(b), flush(c))))
#undef PAIRS

INLINE double FN(least64)(double a, double b)
{
    double x = a < b ? a : b, equal = f64_of(f64_bits(a) | f64_bits(b));
    x = a == b ? equal : x;
    x = b != b ? a : x;
    return a != a ? b : x;
}

INLINE double FN(most64)(double a, double b)
{
    double x = a > b ? a : b, equal = f64_of(f64_bits(a) & f64_bits(b));
    x = a == b ? equal : x;
    x = b != b ? a : x;
    return a != a ? b : x;
}
#define OR_NAN(a, b, x) ((a) != (a) || (b) != (b) ? f32_of(0x7FFFFFFF) : (x))
MAP2(min, F32, F32, F32, least(a, b))
MAP2(max, F32, F32, F32, most(a, b))
MAP2(min_ftz, F32, F32, F32, least(flush(a), flush(b)))
MAP2(max_ftz, F32, F32, F32, most(flush(a), flush(b)))
MAP2(min_nan, F32, F32, F32, OR_NAN(a, b, least(a, b)))
MAP2(max_nan, F32, F32, F32, OR_NAN(a, b, most(a, b)))
MAP2(min_ftz_nan, F32, F32, F32, OR_NAN(a, b, least(flush(a), flush(b))))
MAP2(max_ftz_nan, F32, F32, F32, OR_NAN(a, b, most(flush(a), flush(b))))
MAP2(min64, F64, F64, F64, FN(least64)(a, b))
MAP2(max64, F64, F64, F64, FN(most64)(a, b))

MAP1(neg, U32, U32, a ^ 0x80000000)
MAP1(neg_ftz, F32, F32, -flush(a))
MAP1(abs, U32, U32, a & 0x7FFFFFFF)
MAP1(abs_ftz, F32, F32, __builtin_fabsf(flush(a)))
MAP1(neg64, U64, U64, a ^ 0x8000000000000000)
MAP1(abs64, U64, U64, a & 0x7FFFFFFFFFFFFFFF)
/* copysign d, a, b: magnitude of b, sign of a */
MAP2(copysign, U32, U32, U32, (a & 0x80000000) | (b & 0x7FFFFFFF))
MAP2(copysign64, U64, U64, U64, (a & 0x8000000000000000) | (b & 0x7FFFFFFFFFFFFFFF))

MAP2(div, F32, F32, F32, a / b)
MAP2(div_ftz, F32, F32, F32, flush(flush(a) / flush(b)))
/* div.approx gives 0 for |b| beyond 2^126, and so do we: a kernel must not rely on more */
INLINE float FN(fast_div)(float a, float b)
{
    float x = a / b, m = __builtin_fabsf(b);
    float zero = __builtin_fabsf(a) < __builtin_inff() ? f32_of((f32_bits(a) ^ f32_bits(b)) & 0x80000000) : f32_of(0x7FFFFFFF);
    return m > 0x1p126f && m < __builtin_inff() && a == a ? zero : x;
}
MAP2(div_approx, F32, F32, F32, FN(fast_div)(a, b))
MAP2(div_approx_ftz, F32, F32, F32, flush(FN(fast_div)(flush(a), flush(b))))
MAP2(div64, F64, F64, F64, a / b)
MAP1(rcp, F32, F32, 1.0f / a)
MAP1(rcp_ftz, F32, F32, flush(1.0f / flush(a)))
MAP1(rcp64, F64, F64, 1.0 / a)
MAP1(sqrt, F32, F32, __builtin_sqrtf(a))
MAP1(sqrt_ftz, F32, F32, __builtin_sqrtf(flush(a)))
MAP1(sqrt64, F64, F64, __builtin_sqrt(a))

/* 2^x: 2^n by the exponent, 2^f for |f| <= 1/2 by the exponential series, whose rest is below 1e-13 */
INLINE double FN(exp2_of)(double x)
{
    double y = x < -200 ? -200 : x > 200 ? 200 : x;
    y = x != x ? 0 : y;
    double n = __builtin_floor(y + 0.5), t = (y - n) * 0.69314718055994530942;
    double p = 1.0 / 39916800;
    p = p * t + 1.0 / 3628800;
    p = p * t + 1.0 / 362880;
    p = p * t + 1.0 / 40320;
    p = p * t + 1.0 / 5040;
    p = p * t + 1.0 / 720;
    p = p * t + 1.0 / 120;
    p = p * t + 1.0 / 24;
    p = p * t + 1.0 / 6;
    p = p * t + 0.5;
    p = p * t + 1.0;
    p = p * t + 1.0;
    /* n as an integer by the addition of 1.5 * 2^52; into the exponent */
    uint64_t e = f64_bits(n + 0x1.8p52) + 1023;
    double z = p * f64_of(e << 52);
    return x != x ? x : z;
}

/* log2 x: the mantissa in [sqrt 1/2, sqrt 2), then the series of the area tangent */
INLINE double FN(log2_of)(double x)
{
    uint64_t u = f64_bits(x), shifted = u - 0x3FE6A09E667F3BCD;
    int64_t n = (int64_t)shifted >> 52;
    double m = f64_of(u - ((uint64_t)n << 52)), s = (m - 1) / (m + 1), z = s * s, p = 1.0 / 19;
    p = p * z + 1.0 / 17;
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    p = p * z + 1.0;
    double k = f64_of((uint64_t)n + 0x4338000000000000) - 0x1.8p52;
    double y = k + 2.8853900817779268147 * s * p;
    y = x == 0 ? -__builtin_inf() : y;
    y = x < 0 ? __builtin_nan("") : y;
    return x != x || x == __builtin_inf() ? x : y;
}

INLINE double FN(tanh_of)(double x)
{
    double m = __builtin_fabs(x), e = FN(exp2_of)(m * 2.8853900817779268147), y = 1 - 2 / (e + 1);
    y = m < 1e-4 ? m - m * m * m / 3 : y;
    y = x != x ? x : y;
    return f64_of(f64_bits(y) | (f64_bits(x) & 0x8000000000000000));
}
MAP1(ex2, F32, F32, FN(exp2_of)(a))
MAP1(ex2_ftz, F32, F32, flush((float)FN(exp2_of)(flush(a))))
MAP1(lg2, F32, F32, FN(log2_of)(a))
MAP1(lg2_ftz, F32, F32, flush((float)FN(log2_of)(flush(a))))
MAP1(rsqrt, F32, F32, 1.0 / __builtin_sqrt(a))
MAP1(rsqrt_ftz, F32, F32, 1.0 / __builtin_sqrt(flush(a)))
MAP1(tanh, F32, F32, FN(tanh_of)(a))
MAP1(sin, F32, F32, sin(a))
MAP1(cos, F32, F32, cos(a))
MAP1(sin_ftz, F32, F32, flush((float)sin(flush(a))))
MAP1(cos_ftz, F32, F32, flush((float)cos(flush(a))))

#define TEST(name, T, B, width, expo, hidden, expr)                             \
    HANDLER(name)                                                               \
    {                                                                           \
        const T *a = SLOT(T, 1);                                                \
        uint32_t bits = 0;                                                      \
        for (uint32_t l = 0; l < 32; l++) {                                     \
            const T m = a[l] & (T)~((T)1 << (width - 1)), top = expo, least = hidden;   \
            bits |= (uint32_t)((expr) ? 1 : 0) << l;                            \
            (void)top;                                                          \
            (void)least;                                                        \
        }                                                                       \
        put_pred(w, r->o[0], bits, mask);                                       \
        NEXT                                                           \
    }
#define TESTS(T, B, width, expo, hidden)                                        \
    TEST(finite##B, T, B, width, expo, hidden, m < top)                         \
    TEST(infinite##B, T, B, width, expo, hidden, m == top)                      \
    TEST(number##B, T, B, width, expo, hidden, m <= top)                        \
    TEST(notanumber##B, T, B, width, expo, hidden, m > top)                     \
    TEST(normal##B, T, B, width, expo, hidden, m < top && (m >= least || m == 0)) \
    TEST(subnormal##B, T, B, width, expo, hidden, m < least && m > 0)
TESTS(U32, 32, 32, 0x7F800000, 0x00800000)
TESTS(U64, 64, 64, 0x7FF0000000000000, 0x0010000000000000)
#undef TEST
#undef TESTS

/* Half types. Sums, differences and products in f32 need no care (24 >= 2 * 11 + 2 digits); fma goes through rounding to odd.
 * Packed forms are the same over 64 halves of 32 registers. */
#define HALVES(name, sources, expr)                                                     \
    INLINE uint16_t FN(name##_f16_of)(uint16_t xa, uint16_t xb, uint16_t xc)            \
    {                                                                                   \
        const float a = f16_widen(xa), b = f16_widen(xb), c = f16_widen(xc);            \
        (void)b;                                                                        \
        (void)c;                                                                        \
        return f16_narrow(expr);                                                        \
    }                                                                                   \
    INLINE uint16_t FN(name##_bf16_of)(uint16_t xa, uint16_t xb, uint16_t xc)           \
    {                                                                                   \
        const float a = bf16_widen(xa), b = bf16_widen(xb), c = bf16_widen(xc);         \
        (void)b;                                                                        \
        (void)c;                                                                        \
        return bf16_narrow(expr);                                                       \
    }                                                                                   \
    HALF_HANDLERS(name##_f16, sources) HALF_HANDLERS(name##_bf16, sources)
#define HALF_HANDLERS(name, sources)                                                    \
    HANDLER(name)                                                                       \
    {                                                                                   \
        const U16 *a = SLOT(U16, 1), *b = SLOT(U16, sources > 1 ? 2 : 1), *c = SLOT(U16, sources);      \
        U16 *d = SLOT(U16, 0);                                                          \
        LANES                                                                           \
        {                                                                               \
            const uint16_t x = FN(name##_of)(a[l], b[l], c[l]);                         \
            d[l] = mask >> l & 1 ? x : d[l];                                            \
        }                                                                               \
        NEXT                                                                   \
    }                                                                                   \
    HANDLER(name##x2)                                                                   \
    {                                                                                   \
        const U32 *a = SLOT(U32, 1), *b = SLOT(U32, sources > 1 ? 2 : 1), *c = SLOT(U32, sources);      \
        U32 *d = SLOT(U32, 0);                                                          \
        LANES                                                                           \
        {                                                                               \
            const uint32_t xa = a[l], xb = b[l], xc = c[l];                             \
            const uint32_t lo = FN(name##_of)((uint16_t)xa, (uint16_t)xb, (uint16_t)xc);        \
            const uint32_t hi = FN(name##_of)((uint16_t)(xa >> 16), (uint16_t)(xb >> 16), (uint16_t)(xc >> 16));        \
            d[l] = mask >> l & 1 ? lo | hi << 16 : d[l];                                \
        }                                                                               \
        NEXT                                                                   \
    }
#define FMA_ODD f64_to_odd(fma_to_odd(a, b, c))
HALVES(h_add, 2, a + b)
HALVES(h_sub, 2, a - b)
HALVES(h_mul, 2, a *b)
HALVES(h_fma, 3, FMA_ODD)
HALVES(h_fma_relu, 3, OR_NAN(FMA_ODD, 0.0f, FMA_ODD > 0 ? FMA_ODD : 0.0f))
HALVES(h_min, 2, least(a, b))
HALVES(h_max, 2, most(a, b))
HALVES(h_min_nan, 2, OR_NAN(a, b, least(a, b)))
HALVES(h_max_nan, 2, OR_NAN(a, b, most(a, b)))
HALVES(h_neg, 1, -a)
HALVES(h_abs, 1, __builtin_fabsf(a))
HALVES(h_ex2, 1, (float)FN(exp2_of)(a))
HALVES(h_tanh, 1, (float)FN(tanh_of)(a))
#undef HALVES
#undef HALF_HANDLERS
#undef FMA_ODD

#define FTZ_SAT(form, name) {form, "f32", NULL, "", FN(name)}, {form, "f32", NULL, "ftz", FN(name##_ftz)}, \
    {form, "f32", NULL, "sat", FN(name##_sat)}, {form, "f32", NULL, "ftz sat", FN(name##_ftz_sat)}
#define FTZ(form, mods, name) {form, "f32", NULL, mods, FN(name)}, {form, "f32", NULL, mods " ftz", FN(name##_ftz)}
#define HALF4(form, mods, name) {form, "f16", NULL, mods, FN(name##_f16)}, {form, "f16x2", NULL, mods, FN(name##_f16x2)}, \
    {form, "bf16", NULL, mods, FN(name##_bf16)}, {form, "bf16x2", NULL, mods, FN(name##_bf16x2)}
#define TESTS(type, B) {PTX_OP_TESTP, type, NULL, "finite", FN(finite##B)}, {PTX_OP_TESTP, type, NULL, "infinite", FN(infinite##B)}, \
    {PTX_OP_TESTP, type, NULL, "number", FN(number##B)}, {PTX_OP_TESTP, type, NULL, "notanumber", FN(notanumber##B)}, \
    {PTX_OP_TESTP, type, NULL, "normal", FN(normal##B)}, {PTX_OP_TESTP, type, NULL, "subnormal", FN(subnormal##B)}

static const EmuBind FN(binds)[] = {
    FTZ_SAT(PTX_OP_ADD_F32, add), FTZ_SAT(PTX_OP_SUB_F32, sub), FTZ_SAT(PTX_OP_MUL_F32, mul), FTZ_SAT(PTX_OP_FMA_F32, fma),
    {PTX_OP_ADD_F64, NULL, NULL, "", FN(add64)}, {PTX_OP_SUB_F64, NULL, NULL, "", FN(sub64)},
    {PTX_OP_MUL_F64, NULL, NULL, "", FN(mul64)}, {PTX_OP_FMA_F64, NULL, NULL, "", FN(fma64)},
    {PTX_OP_ADD_F32X2, NULL, NULL, "", FN(add_pair)}, {PTX_OP_ADD_F32X2, NULL, NULL, "ftz", FN(add_pair_ftz)},
    {PTX_OP_MUL_F32X2, NULL, NULL, "", FN(mul_pair)}, {PTX_OP_MUL_F32X2, NULL, NULL, "ftz", FN(mul_pair_ftz)},
    {PTX_OP_FMA_F32X2, NULL, NULL, "", FN(fma_pair)}, {PTX_OP_FMA_F32X2, NULL, NULL, "ftz", FN(fma_pair_ftz)},
    FTZ(PTX_OP_MIN_F32, "", min), FTZ(PTX_OP_MAX_F32, "", max),
    {PTX_OP_MIN_F32, NULL, NULL, "NaN", FN(min_nan)}, {PTX_OP_MAX_F32, NULL, NULL, "NaN", FN(max_nan)},
    {PTX_OP_MIN_F32, NULL, NULL, "ftz NaN", FN(min_ftz_nan)}, {PTX_OP_MAX_F32, NULL, NULL, "ftz NaN", FN(max_ftz_nan)},
    {PTX_OP_MIN_F64, NULL, NULL, "", FN(min64)}, {PTX_OP_MAX_F64, NULL, NULL, "", FN(max64)},
    FTZ(PTX_OP_NEG_F32, "", neg), FTZ(PTX_OP_ABS_F32, "", abs),
    {PTX_OP_NEG_F64, NULL, NULL, "", FN(neg64)}, {PTX_OP_ABS_F64, NULL, NULL, "", FN(abs64)},
    {PTX_OP_COPYSIGN, "f32", NULL, "", FN(copysign)}, {PTX_OP_COPYSIGN, "f64", NULL, "", FN(copysign64)},
    FTZ(PTX_OP_DIV_F32, "", div), FTZ(PTX_OP_DIV_F32, "full", div), FTZ(PTX_OP_DIV_F32, "approx", div_approx),
    {PTX_OP_DIV_F64, NULL, NULL, "", FN(div64)}, FTZ(PTX_OP_RCP_F32, "", rcp), FTZ(PTX_OP_RCP_F32, "approx", rcp),
    {PTX_OP_RCP_F64, NULL, NULL, "", FN(rcp64)}, FTZ(PTX_OP_SQRT_F32, "", sqrt), FTZ(PTX_OP_SQRT_F32, "approx", sqrt),
    {PTX_OP_SQRT_F64, NULL, NULL, "", FN(sqrt64)}, FTZ(PTX_OP_RSQRT_F32, "approx", rsqrt), FTZ(PTX_OP_SIN, "approx", sin),
    FTZ(PTX_OP_COS, "approx", cos), FTZ(PTX_OP_LG2, "approx", lg2), FTZ(PTX_OP_EX2, "approx", ex2),
    {PTX_OP_TANH, NULL, NULL, "approx", FN(tanh)}, HALF4(PTX_OP_TANH_HALF, "approx", h_tanh),
    HALF4(PTX_OP_EX2_HALF, "approx", h_ex2), {PTX_OP_EX2_HALF, "bf16", NULL, "approx ftz", FN(h_ex2_bf16)},
    {PTX_OP_EX2_HALF, "bf16x2", NULL, "approx ftz", FN(h_ex2_bf16x2)},
    TESTS("f32", 32), TESTS("f64", 64),
    HALF4(PTX_OP_ADD_HALF, "", h_add), HALF4(PTX_OP_SUB_HALF, "", h_sub), HALF4(PTX_OP_MUL_HALF, "", h_mul),
    HALF4(PTX_OP_FMA_HALF, "", h_fma), HALF4(PTX_OP_FMA_HALF, "relu", h_fma_relu),
    HALF4(PTX_OP_MIN_HALF, "", h_min), HALF4(PTX_OP_MAX_HALF, "", h_max),
    HALF4(PTX_OP_MIN_HALF, "NaN", h_min_nan), HALF4(PTX_OP_MAX_HALF, "NaN", h_max_nan),
    HALF4(PTX_OP_NEG_HALF, "", h_neg), HALF4(PTX_OP_ABS_HALF, "", h_abs),
};
#undef FTZ_SAT
#undef FTZ
#undef HALF4
#undef TESTS
#undef OR_NAN
#endif
