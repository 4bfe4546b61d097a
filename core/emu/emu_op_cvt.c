/* Conversions. Small floats are vector forms of the codecs of core/num, checked by the cases in tests/ptx/cases.
 * Float to integer saturates; NaN becomes 0, or the highest bit alone where the source is f64 or the destination has 64 bits. In d, a, b forms a is the high half. */
#ifndef FN
#pragma GCC optimize("no-trapping-math") /* nobody looks at exception flags; without it conditions stay branches */
#include <assert.h>
#include <math.h>

#include "core/emu/emu_op.h"

#define EMU_SELF "core/emu/emu_op_cvt.c"
#include "core/emu/emu_isa.h"
EMU_TABLES(emu_op_cvt)
#else

/* Integers. 8-bit values live in 16-bit slots; the decoder hands narrow sources over as 16-bit slots holding more than their type. */
#define INTS(suffix, A, S)                              \
    MAP1(to_u8_##suffix, U16, A, (uint8_t)(S)a)         \
    MAP1(to_s8_##suffix, U16, A, (int8_t)(S)a)          \
    MAP1(to_16_##suffix, U16, A, (S)a)                  \
    MAP1(to_32_##suffix, U32, A, (uint32_t)(S)a)        \
    MAP1(to_64_##suffix, U64, A, (uint64_t)(S)a)
INTS(u8, U16, uint8_t) INTS(s8, U16, int8_t) INTS(u16, U16, uint16_t) INTS(s16, U16, int16_t)
INTS(u32, U32, uint32_t) INTS(s32, U32, int32_t) INTS(u64, U64, uint64_t) INTS(s64, U64, int64_t)
#undef INTS

/* .sat: clamped to the range of the destination; from unsigned sources only the upper bound counts. */
INLINE uint64_t FN(at_most)(uint64_t x, uint64_t hi)
{
    return x > hi ? hi : x;
}
INLINE int64_t FN(within)(int64_t x, int64_t lo, int64_t hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}
#define SAT_U(suffix, A, S)                                                     \
    MAP1(sat_u8_##suffix, U16, A, FN(at_most)((S)a, UINT8_MAX))                 \
    MAP1(sat_s8_##suffix, U16, A, FN(at_most)((S)a, INT8_MAX))                  \
    MAP1(sat_u16_##suffix, U16, A, FN(at_most)((S)a, UINT16_MAX))               \
    MAP1(sat_s16_##suffix, U16, A, FN(at_most)((S)a, INT16_MAX))                \
    MAP1(sat_u32_##suffix, U32, A, FN(at_most)((S)a, UINT32_MAX))               \
    MAP1(sat_s32_##suffix, U32, A, FN(at_most)((S)a, INT32_MAX))                \
    MAP1(sat_u64_##suffix, U64, A, (S)a)                                        \
    MAP1(sat_s64_##suffix, U64, A, FN(at_most)((S)a, INT64_MAX))
#define SAT_S(suffix, A, S)                                                     \
    MAP1(sat_u8_##suffix, U16, A, FN(within)((S)a, 0, UINT8_MAX))               \
    MAP1(sat_s8_##suffix, U16, A, FN(within)((S)a, INT8_MIN, INT8_MAX))         \
    MAP1(sat_u16_##suffix, U16, A, FN(within)((S)a, 0, UINT16_MAX))             \
    MAP1(sat_s16_##suffix, U16, A, FN(within)((S)a, INT16_MIN, INT16_MAX))      \
    MAP1(sat_u32_##suffix, U32, A, FN(within)((S)a, 0, UINT32_MAX))             \
    MAP1(sat_s32_##suffix, U32, A, FN(within)((S)a, INT32_MIN, INT32_MAX))      \
    MAP1(sat_u64_##suffix, U64, A, FN(within)((S)a, 0, INT64_MAX))              \
    MAP1(sat_s64_##suffix, U64, A, (S)a)
SAT_U(u8, U16, uint8_t) SAT_S(s8, U16, int8_t) SAT_U(u16, U16, uint16_t) SAT_S(s16, U16, int16_t)
SAT_U(u32, U32, uint32_t) SAT_S(s32, U32, int32_t) SAT_U(u64, U64, uint64_t) SAT_S(s64, U64, int64_t)
#undef SAT_U
#undef SAT_S

/* Integer to float; 64-bit ones reach f16 and bf16 through f64 rounded to odd so that they round once. */
#define I2F(suffix, A, S)                                                                       \
    MAP1(f32_##suffix, F32, A, (S)a)                                                            \
    MAP1(f64_##suffix, F64, A, (S)a)                                                            \
    MAP1(f16_##suffix, U16, A, f16_narrow(f64_to_odd((double)(S)a)))                            \
    MAP1(bf16_##suffix, U16, A, bf16_narrow(f64_to_odd((double)(S)a)))
I2F(u8, U16, uint8_t) I2F(s8, U16, int8_t) I2F(u16, U16, uint16_t) I2F(s16, U16, int16_t)
I2F(u32, U32, uint32_t) I2F(s32, U32, int32_t)
#undef I2F
MAP1(f32_u64, F32, U64, a)
MAP1(f32_s64, F32, S64, a)
MAP1(f64_u64, F64, U64, a)
MAP1(f64_s64, F64, S64, a)

/* Float to integer, rounded as imm says. The bounds are floats, so that the comparison is exact. */
INLINE double FN(integral)(double x, int64_t mode)
{
    switch (mode) {
    case PTX_MOD_RZI: return __builtin_trunc(x);
    case PTX_MOD_RMI: return __builtin_floor(x);
    case PTX_MOD_RPI: return __builtin_ceil(x);
    default: return __builtin_rint(x);
    }
}
INLINE int64_t FN(to_signed)(double x, double lo, double hi, int64_t least, int64_t most, bool nan_is_high)
{
    return x != x ? (nan_is_high ? least : 0) : x <= lo ? least : x >= hi ? most : (int64_t)x;
}
INLINE uint64_t FN(to_unsigned)(double x, double hi, uint64_t most, bool nan_is_high)
{
    return x != x ? (nan_is_high ? most / 2 + 1 : 0) : !(x > 0) ? 0 : x >= hi ? most : (uint64_t)x;
}
INLINE double FN(f16_value)(int bits)
{
    return f16_widen((uint32_t)bits);
}
INLINE double FN(bf16_value)(int bits)
{
    return bf16_widen((uint32_t)bits);
}
#define F2I(suffix, A, widen, nan_is_high)                                                                                     \
    MAP1(u8_##suffix, U16, A, FN(to_unsigned)(FN(integral)(widen(a), r->imm), 255.0, 255, nan_is_high)) \
    MAP1(s8_##suffix, U16, A, FN(to_signed)(FN(integral)(widen(a), r->imm), -128.0, 127.0, -128, 127, nan_is_high)) \
    MAP1(u16_##suffix, U16, A, FN(to_unsigned)(FN(integral)(widen(a), r->imm), 65535.0, 65535, nan_is_high)) \
    MAP1(s16_##suffix, U16, A, FN(to_signed)(FN(integral)(widen(a), r->imm), -32768.0, 32767.0, -32768, 32767, nan_is_high)) \
    MAP1(u32_##suffix, U32, A, FN(to_unsigned)(FN(integral)(widen(a), r->imm), 4294967295.0, 4294967295, nan_is_high)) \
    MAP1(u64_##suffix, U64, A, FN(to_unsigned)(FN(integral)(widen(a), r->imm), 0x1p64, UINT64_MAX, true)) \
    MAP1(s64_##suffix, U64, A, FN(to_signed)(FN(integral)(widen(a), r->imm), -0x1p63, 0x1p63, INT64_MIN, INT64_MAX, true)) \
    MAP1(s32_##suffix, U32, A, FN(to_signed)(FN(integral)(widen(a), r->imm), -2147483648.0, 2147483647.0, INT32_MIN, INT32_MAX, nan_is_high))
F2I(f32, F32, , false) F2I(f32z, F32, flush, false) F2I(f64, F64, , true) F2I(f16, U16, FN(f16_value), false) F2I(bf16, U16, FN(bf16_value), false)
#undef F2I
/* the common one without a switch in the loop */
MAP1(s32_f32_rzi, S32, F32, a != a ? 0 : a <= -2147483648.0f ? INT32_MIN : a >= 2147483648.0f ? INT32_MAX : (int32_t)a)

/* Float to float */
INLINE float FN(relu)(float x)
{
    return x != x ? f32_of(0x7FFFFFFF) : x > 0 ? x : 0.0f;
}
/* The largest f16 or bf16 value towards zero: cutting the bits that do not fit, subnormal results by the step they have. */
INLINE uint16_t FN(f16_cut)(float x)
{
    uint32_t u = f32_bits(x), m = u & 0x7FFFFFFF, sign = u >> 16 & 0x8000;
    float a = f32_of(m);
    uint32_t small = (uint32_t)(a * 0x1p24f < 1024.0f ? a * 0x1p24f : 0.0f);
    uint32_t y = m < 0x38800000 ? small : (m - (112u << 23)) >> 13;
    y = m >= 0x477FE000 ? 0x7BFF : y;
    y = m == 0x7F800000 ? 0x7C00 : y;
    return (uint16_t)(m > 0x7F800000 ? 0x7FFF : y | sign);
}
INLINE uint16_t FN(bf16_cut)(float x)
{
    uint32_t u = f32_bits(x);
    return (uint16_t)((u & 0x7FFFFFFF) > 0x7F800000 ? 0x7FFF : u >> 16);
}
VMAP1(f32_f16, F32, U16, f16_widen((uint32_t)a), 8, _mm256_store_ps(d + l, _mm256_cvtph_ps(V16(pa)));)
MAP1(f32_bf16, F32, U16, bf16_widen((uint32_t)a))
MAP1(f64_f32, F64, F32, a)
MAP1(f64_f16, F64, U16, f16_widen((uint32_t)a))
MAP1(f64_bf16, F64, U16, bf16_widen((uint32_t)a))
MAP1(f32_f64, F32, F64, a)
MAP1(f16_f32, U16, F32, f16_narrow(a))
MAP1(f16_f32_rz, U16, F32, FN(f16_cut)(a))
MAP1(f16_f32_relu, U16, F32, f16_narrow(FN(relu)(a)))
MAP1(f16_f64, U16, F64, f16_narrow(f64_to_odd(a)))
MAP1(bf16_f32, U16, F32, bf16_narrow(a))
MAP1(bf16_f32_rz, U16, F32, FN(bf16_cut)(a))
MAP1(bf16_f32_relu, U16, F32, bf16_narrow(FN(relu)(a)))
MAP1(bf16_f64, U16, F64, bf16_narrow(f64_to_odd(a)))
MAP1(f32_f32, F32, F32, a)
MAP1(f32_f32_sat, F32, F32, saturate(a))
MAP1(f32_f32_ftz, F32, F32, flush(a))
MAP1(f32_f32_ftz_sat, F32, F32, saturate(flush(a)))
MAP1(f32_round, F32, F32, FN(integral)(a, r->imm))
MAP1(f64_round, F64, F64, FN(integral)(a, r->imm))
/* tf32: 10 bits of mantissa; rna rounds ties away from zero */
MAP1(tf32_rna, U32, U32, (a & 0x7FFFFFFF) > 0x7F800000 ? 0x7FFFFFFF : (a & 0x7F800000) == 0x7F800000 ? a : (a + 0x1000) & 0xFFFFE000)
MAP1(tf32_rn, U32, U32, (a & 0x7FFFFFFF) > 0x7F800000 ? 0x7FFFFFFF : (a & 0x7F800000) == 0x7F800000 ? a :
     (a + 0xFFF + (a >> 13 & 1)) & 0xFFFFE000)

#define PAIR(hi, lo) ((uint32_t)(hi) << 16 | (uint32_t)(lo))
MAP2(f16x2, U32, F32, F32, PAIR(f16_narrow(a), f16_narrow(b)))
MAP2(f16x2_rz, U32, F32, F32, PAIR(FN(f16_cut)(a), FN(f16_cut)(b)))
MAP2(f16x2_relu, U32, F32, F32, PAIR(f16_narrow(FN(relu)(a)), f16_narrow(FN(relu)(b))))
MAP2(bf16x2, U32, F32, F32, PAIR(bf16_narrow(a), bf16_narrow(b)))
MAP2(bf16x2_rz, U32, F32, F32, PAIR(FN(bf16_cut)(a), FN(bf16_cut)(b)))
MAP2(bf16x2_relu, U32, F32, F32, PAIR(bf16_narrow(FN(relu)(a)), bf16_narrow(FN(relu)(b))))

/* e4m3, nearest even, at most 448: below 2^-6 in steps of 2^-9 by an addition whose last place that is */
INLINE uint32_t FN(e4m3)(float x)
{
    uint32_t u = f32_bits(x), m = u & 0x7FFFFFFF, sign = u >> 24 & 0x80;
    uint32_t small = f32_bits(f32_of(m < 0x3C800000 ? m : 0) + 16384.0f) - 0x46800000;
    uint32_t shifted = m - (120u << 23), y = (shifted + 0x7FFFF + (shifted >> 20 & 1)) >> 20;
    y = m < 0x3C800000 ? small : y;
    y = m >= 0x43E00000 || y > 0x7E ? 0x7E : y;
    return m > 0x7F800000 ? 0x7F : y | sign;
}
/* e5m2, at most 57344: the upper byte of an f16, rounded once */
INLINE uint32_t FN(e5m2)(float x)
{
    uint32_t u = f32_bits(x), m = u & 0x7FFFFFFF, sign = u >> 24 & 0x80;
    uint32_t small = f32_bits(f32_of(m < 0x38800000 ? m : 0) + 128.0f) - 0x43000000;
    uint32_t shifted = m - (112u << 23), y = (shifted + 0xFFFFF + (shifted >> 21 & 1)) >> 21;
    y = m < 0x38800000 ? small : y;
    y = m >= 0x47600000 || y > 0x7B ? 0x7B : y;
    return m > 0x7F800000 ? 0x7F : y | sign;
}
INLINE uint32_t FN(f16_of_e4m3)(uint32_t b)
{
    uint32_t low = b & 0x7F, sign = (b & 0x80) << 8;
    /* 4 bits of exponent become 5; a subnormal code is normalised by its value: low * 2^-9 */
    uint32_t small = f32_bits((float)(int32_t)low * 0x1p-9f);
    uint32_t normal = (low << 7) + (8u << 10);
    uint32_t y = low < 8 ? (low ? (small - (112u << 23)) >> 13 : 0) : normal;
    return (low == 0x7F ? 0x7FFF : y | sign);
}
INLINE uint32_t FN(f16_of_e5m2)(uint32_t b)
{
    return (b & 0x7F) > 0x7C ? 0x7FFF : (b & 0xFF) << 8;
}
/* 0 0.5 1 1.5 2 3 4 6: two bits of exponent, one of mantissa; 0.5 alone is subnormal */
INLINE uint32_t FN(f16_of_e2m1)(uint32_t c)
{
    uint32_t low = c & 7, y = low < 2 ? low * 0x3800 : (low << 9) + (14u << 10);
    return y | (c & 8) << 12;
}
/* 2^(code - 127) of the magnitude, as NVIDIA's header has it, rounded up or towards zero; never below 2^-127 */
INLINE uint32_t FN(ue8m0)(float x, bool up)
{
    uint32_t m = f32_bits(x) & 0x7FFFFFFF, y = m >> 23, rest = m & 0x7FFFFF;
    /* of subnormals only those above 2^-127 round up to 2^-126 */
    y += up && (y ? rest != 0 : m > 0x400000) ? 1 : 0;
    y = y > 0xFE ? 0xFE : y;
    return m > 0x7F800000 ? 0xFF : y;
}
#define BYTES(hi, lo) ((hi) << 8 | (lo))
MAP2(e4m3x2, U16, F32, F32, BYTES(FN(e4m3)(a), FN(e4m3)(b)))
MAP2(e4m3x2_relu, U16, F32, F32, BYTES(FN(e4m3)(FN(relu)(a)), FN(e4m3)(FN(relu)(b))))
MAP2(e5m2x2, U16, F32, F32, BYTES(FN(e5m2)(a), FN(e5m2)(b)))
MAP2(e5m2x2_relu, U16, F32, F32, BYTES(FN(e5m2)(FN(relu)(a)), FN(e5m2)(FN(relu)(b))))
MAP1(e4m3x2_f16, U16, U32, BYTES(FN(e4m3)(f16_widen(a >> 16)), FN(e4m3)(f16_widen(a & 0xFFFF))))
MAP1(e5m2x2_f16, U16, U32, BYTES(FN(e5m2)(f16_widen(a >> 16)), FN(e5m2)(f16_widen(a & 0xFFFF))))
MAP1(e4m3x2_f16_relu, U16, U32, BYTES(FN(e4m3)(FN(relu)(f16_widen(a >> 16))), FN(e4m3)(FN(relu)(f16_widen(a & 0xFFFF)))))
MAP1(e5m2x2_f16_relu, U16, U32, BYTES(FN(e5m2)(FN(relu)(f16_widen(a >> 16))), FN(e5m2)(FN(relu)(f16_widen(a & 0xFFFF)))))
MAP1(f16x2_e4m3, U32, U16, PAIR(FN(f16_of_e4m3)((uint32_t)a >> 8 & 0xFF), FN(f16_of_e4m3)((uint32_t)a & 0xFF)))
MAP1(f16x2_e5m2, U32, U16, PAIR(FN(f16_of_e5m2)((uint32_t)a >> 8 & 0xFF), FN(f16_of_e5m2)((uint32_t)a & 0xFF)))
MAP2(e2m1x2, U16, F32, F32, e2m1_narrow(a) << 4 | e2m1_narrow(b))
MAP2(e2m1x2_relu, U16, F32, F32, e2m1_narrow(FN(relu)(a)) << 4 | e2m1_narrow(FN(relu)(b)))
#if EMU_LEVEL > 0
/* Two nibbles a word; the lower byte of every value is 0, so a look-up of the upper bytes does it, with index 0 in bytes 0 and 2. */
INLINE __m256i FN(f16_of_nibbles)(__m256i x)
{
    const __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0x38, 0x3C, 0x3E, 0x40, 0x42, 0x44, 0x46, (char)0x80, (char)0xB8,
                                                                    (char)0xBC, (char)0xBE, (char)0xC0, (char)0xC2, (char)0xC4, (char)0xC6));
    const __m256i low = _mm256_and_si256(_mm256_slli_epi32(x, 8), _mm256_set1_epi32(0x0F00));
    const __m256i high = _mm256_and_si256(_mm256_slli_epi32(x, 20), _mm256_set1_epi32(0x0F000000));
    return _mm256_shuffle_epi8(table, _mm256_or_si256(low, high));
}
#endif
VMAP1(f16x2_e2m1, U32, U16, PAIR(FN(f16_of_e2m1)((uint32_t)a >> 4 & 15), FN(f16_of_e2m1)((uint32_t)a & 15)), 8,
      PUT32(d, FN(f16_of_nibbles)(_mm256_cvtepu16_epi32(V16(pa))));)
MAP2(ue8m0x2_rz, U16, F32, F32, BYTES(FN(ue8m0)(a, false), FN(ue8m0)(b, false)))
MAP2(ue8m0x2_rp, U16, F32, F32, BYTES(FN(ue8m0)(a, true), FN(ue8m0)(b, true)))
#define BF16_OF(code) ((code) == 0xFF ? 0x7FFF : (code) == 0 ? 0x0040 : (code) << 7)
MAP1(bf16x2_ue8m0, U32, U16, PAIR(BF16_OF((uint32_t)a >> 8 & 0xFF), BF16_OF((uint32_t)a & 0xFF)))
#undef BF16_OF
#undef BYTES
#undef PAIR

#define INT_ROWS(prefix, mods, source)                                                                                  \
    {PTX_OP_CVT_INT, "u8", #source, mods, FN(prefix##_u8_##source)}, {PTX_OP_CVT_INT, "s8", #source, mods, FN(prefix##_s8_##source)}
#define PLAIN_ROWS(source) INT_ROWS(to, "", source), {PTX_OP_CVT_INT, "u16 s16", #source, "", FN(to_16_##source)},      \
    {PTX_OP_CVT_INT, "u32 s32", #source, "", FN(to_32_##source)}, {PTX_OP_CVT_INT, "u64 s64", #source, "", FN(to_64_##source)}
#define SAT_ROWS(source) INT_ROWS(sat, "sat", source),                                                                  \
    {PTX_OP_CVT_INT, "u16", #source, "sat", FN(sat_u16_##source)}, {PTX_OP_CVT_INT, "s16", #source, "sat", FN(sat_s16_##source)}, \
    {PTX_OP_CVT_INT, "u32", #source, "sat", FN(sat_u32_##source)}, {PTX_OP_CVT_INT, "s32", #source, "sat", FN(sat_s32_##source)}, \
    {PTX_OP_CVT_INT, "u64", #source, "sat", FN(sat_u64_##source)}, {PTX_OP_CVT_INT, "s64", #source, "sat", FN(sat_s64_##source)}
#define I2F_ROWS(source) {PTX_OP_CVT_I2F, "f32", #source, "", FN(f32_##source)}, {PTX_OP_CVT_I2F, "f64", #source, "", FN(f64_##source)}, \
    {PTX_OP_CVT_I2F, "f16", #source, "", FN(f16_##source)}, {PTX_OP_CVT_I2F, "bf16", #source, "", FN(bf16_##source)}
#define F2I_ONE(dest, source, suffix, mode, extra) {PTX_OP_CVT_F2I, #dest, source, mode extra, FN(dest##_##suffix)},    \
    {PTX_OP_CVT_F2I, #dest, source, mode extra " sat", FN(dest##_##suffix)}
#define F2I_MODES(dest, source, suffix, extra) F2I_ONE(dest, source, suffix, "rni", extra), F2I_ONE(dest, source, suffix, "rzi", extra), \
    F2I_ONE(dest, source, suffix, "rmi", extra), F2I_ONE(dest, source, suffix, "rpi", extra)
#define F2I_ROWS(source, suffix, extra) F2I_MODES(u8, source, suffix, extra), F2I_MODES(s8, source, suffix, extra),     \
    F2I_MODES(u16, source, suffix, extra), F2I_MODES(s16, source, suffix, extra), F2I_MODES(u32, source, suffix, extra), \
    F2I_MODES(s32, source, suffix, extra), F2I_MODES(u64, source, suffix, extra), F2I_MODES(s64, source, suffix, extra)
#define ROUND_ROWS(type, name) {PTX_OP_CVT_F2F, type, type, "rni", FN(name)}, {PTX_OP_CVT_F2F, type, type, "rzi", FN(name)}, \
    {PTX_OP_CVT_F2F, type, type, "rmi", FN(name)}, {PTX_OP_CVT_F2F, type, type, "rpi", FN(name)}

static const EmuBind FN(binds)[] = {
    PLAIN_ROWS(u8), PLAIN_ROWS(s8), PLAIN_ROWS(u16), PLAIN_ROWS(s16), PLAIN_ROWS(u32), PLAIN_ROWS(s32), PLAIN_ROWS(u64), PLAIN_ROWS(s64),
    SAT_ROWS(u8), SAT_ROWS(s8), SAT_ROWS(u16), SAT_ROWS(s16), SAT_ROWS(u32), SAT_ROWS(s32), SAT_ROWS(u64), SAT_ROWS(s64),
    I2F_ROWS(u8), I2F_ROWS(s8), I2F_ROWS(u16), I2F_ROWS(s16), I2F_ROWS(u32), I2F_ROWS(s32),
    {PTX_OP_CVT_I2F, "f32", "u64", "", FN(f32_u64)}, {PTX_OP_CVT_I2F, "f32", "s64", "", FN(f32_s64)},
    {PTX_OP_CVT_I2F, "f64", "u64", "", FN(f64_u64)}, {PTX_OP_CVT_I2F, "f64", "s64", "", FN(f64_s64)},
    {PTX_OP_CVT_F2I, "s32", "f32", "rzi", FN(s32_f32_rzi)},
    F2I_ROWS("f32", f32, ""), F2I_ROWS("f32", f32z, " ftz"), F2I_ROWS("f64", f64, ""), F2I_ROWS("f16", f16, ""),
    F2I_ROWS("bf16", bf16, ""),
    {PTX_OP_CVT_F2F, "f32", "f16", "", FN(f32_f16)}, {PTX_OP_CVT_F2F, "f32", "f16", "ftz", FN(f32_f16)},
    {PTX_OP_CVT_F2F, "f32", "bf16", "", FN(f32_bf16)},
    {PTX_OP_CVT_F2F, "f64", "f32", "", FN(f64_f32)}, {PTX_OP_CVT_F2F, "f64", "f16", "", FN(f64_f16)},
    {PTX_OP_CVT_F2F, "f64", "bf16", "", FN(f64_bf16)},
    {PTX_OP_CVT_F2F, "f32", "f64", "rn", FN(f32_f64)},
    {PTX_OP_CVT_F2F, "f16", "f32", "rn", FN(f16_f32)}, {PTX_OP_CVT_F2F, "f16", "f32", "rn relu", FN(f16_f32_relu)},
    {PTX_OP_CVT_F2F, "f16", "f32", "rz", FN(f16_f32_rz)}, {PTX_OP_CVT_F2F, "f16", "f64", "rn", FN(f16_f64)},
    {PTX_OP_CVT_F2F, "bf16", "f32", "rn", FN(bf16_f32)}, {PTX_OP_CVT_F2F, "bf16", "f32", "rn relu", FN(bf16_f32_relu)},
    {PTX_OP_CVT_F2F, "bf16", "f32", "rz", FN(bf16_f32_rz)}, {PTX_OP_CVT_F2F, "bf16", "f64", "rn", FN(bf16_f64)},
    {PTX_OP_CVT_F2F, "f32", "f32", "", FN(f32_f32)}, {PTX_OP_CVT_F2F, "f32", "f32", "sat", FN(f32_f32_sat)},
    {PTX_OP_CVT_F2F, "f32", "f32", "ftz", FN(f32_f32_ftz)}, {PTX_OP_CVT_F2F, "f32", "f32", "ftz sat", FN(f32_f32_ftz_sat)},
    ROUND_ROWS("f32", f32_round), ROUND_ROWS("f64", f64_round),
    {PTX_OP_CVT_TF32, NULL, NULL, "rna", FN(tf32_rna)}, {PTX_OP_CVT_TF32, NULL, NULL, "rn", FN(tf32_rn)},
    {PTX_OP_CVT_HALF2, "f16x2", NULL, "rn", FN(f16x2)}, {PTX_OP_CVT_HALF2, "f16x2", NULL, "rz", FN(f16x2_rz)},
    {PTX_OP_CVT_HALF2, "f16x2", NULL, "rn relu", FN(f16x2_relu)},
    {PTX_OP_CVT_HALF2, "bf16x2", NULL, "rn", FN(bf16x2)}, {PTX_OP_CVT_HALF2, "bf16x2", NULL, "rz", FN(bf16x2_rz)},
    {PTX_OP_CVT_HALF2, "bf16x2", NULL, "rn relu", FN(bf16x2_relu)},
    {PTX_OP_CVT_E8, "e4m3x2", NULL, "", FN(e4m3x2)}, {PTX_OP_CVT_E8, "e4m3x2", NULL, "relu", FN(e4m3x2_relu)},
    {PTX_OP_CVT_E8, "e5m2x2", NULL, "", FN(e5m2x2)}, {PTX_OP_CVT_E8, "e5m2x2", NULL, "relu", FN(e5m2x2_relu)},
    {PTX_OP_CVT_E8_F16, "e4m3x2", NULL, "", FN(e4m3x2_f16)}, {PTX_OP_CVT_E8_F16, "e5m2x2", NULL, "", FN(e5m2x2_f16)},
    {PTX_OP_CVT_E8_F16, "e4m3x2", NULL, "relu", FN(e4m3x2_f16_relu)}, {PTX_OP_CVT_E8_F16, "e5m2x2", NULL, "relu", FN(e5m2x2_f16_relu)},
    {PTX_OP_CVT_F16_E8, NULL, "e4m3x2", "", FN(f16x2_e4m3)}, {PTX_OP_CVT_F16_E8, NULL, "e5m2x2", "", FN(f16x2_e5m2)},
    {PTX_OP_CVT_E4, NULL, NULL, "", FN(e2m1x2)}, {PTX_OP_CVT_E4, NULL, NULL, "relu", FN(e2m1x2_relu)},
    {PTX_OP_CVT_F16_E4, NULL, NULL, "", FN(f16x2_e2m1)},
    {PTX_OP_CVT_UE8M0, NULL, NULL, "rz", FN(ue8m0x2_rz)}, {PTX_OP_CVT_UE8M0, NULL, NULL, "rp", FN(ue8m0x2_rp)},
    {PTX_OP_CVT_BF16_UE8M0, NULL, NULL, "", FN(bf16x2_ue8m0)},
};
#undef INT_ROWS
#undef PLAIN_ROWS
#undef SAT_ROWS
#undef I2F_ROWS
#undef F2I_ONE
#undef F2I_MODES
#undef F2I_ROWS
#undef ROUND_ROWS
#endif
