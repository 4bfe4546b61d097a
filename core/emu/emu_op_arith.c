/* Integers, logic, comparison, selection. Shift amounts clamp, division by zero gives all ones, signed overflow wraps. */
#ifndef FN
#pragma GCC optimize("no-trapping-math") /* nobody looks at exception flags; without it conditions stay branches */
#include <assert.h>

#include "core/emu/emu_op.h"

#define EMU_SELF "core/emu/emu_op_arith.c"
#include "core/emu/emu_isa.h"
EMU_TABLES(emu_op_arith)
#else

/* name, the type as unsigned and as signed number, and one in which a product fits */
MAP2(add16, U16, U16, U16, a + b)
MAP2(add32, U32, U32, U32, a + b)
MAP2(add64, U64, U64, U64, a + b)
MAP2(sub16, U16, U16, U16, a - b)
MAP2(sub32, U32, U32, U32, a - b)
MAP2(sub64, U64, U64, U64, a - b)
MAP2(mul16, U16, U16, U16, (uint32_t)a * (uint32_t)b)
MAP2(mul32, U32, U32, U32, a * b)
MAP2(mul64, U64, U64, U64, a * b)
MAP3(mad16, U16, U16, U16, U16, (uint32_t)a * (uint32_t)b + (uint32_t)c)
MAP3(mad32, U32, U32, U32, U32, a * b + c)
MAP3(mad64, U64, U64, U64, U64, a * b + c)

INLINE int32_t FN(clamp32)(int64_t x)
{
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}
MAP2(add_sat, S32, S32, S32, FN(clamp32)((int64_t)a + b))
MAP2(sub_sat, S32, S32, S32, FN(clamp32)((int64_t)a - b))

INLINE uint64_t FN(high_u64)(uint64_t a, uint64_t b)
{
    uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
    uint64_t mid = ah * bl + (al * bl >> 32), mid2 = al * bh + (uint32_t)mid;
    return ah * bh + (mid >> 32) + (mid2 >> 32);
}

INLINE uint64_t FN(high_s64)(int64_t a, int64_t b)
{
    return FN(high_u64)((uint64_t)a, (uint64_t)b) - (a < 0 ? (uint64_t)b : 0) - (b < 0 ? (uint64_t)a : 0);
}
MAP2(mulhi_u16, U16, U16, U16, (uint32_t)a * (uint32_t)b >> 16)
MAP2(mulhi_s16, U16, S16, S16, (uint32_t)((int32_t)a * b) >> 16)
MAP2(mulhi_u32, U32, U32, U32, (uint64_t)a * b >> 32)
MAP2(mulhi_s32, U32, S32, S32, (uint64_t)((int64_t)a * b) >> 32)
MAP2(mulhi_u64, U64, U64, U64, FN(high_u64)(a, b))
MAP2(mulhi_s64, U64, S64, S64, FN(high_s64)(a, b))
MAP3(madhi_u32, U32, U32, U32, U32, ((uint64_t)a * b >> 32) + c)
MAP3(madhi_s32, U32, S32, S32, U32, ((uint64_t)((int64_t)a * b) >> 32) + c)
MAP3(madhi_u64, U64, U64, U64, U64, FN(high_u64)(a, b) + c)
MAP3(madhi_s64, U64, S64, S64, U64, FN(high_s64)(a, b) + c)
MAP2(wide_u16, U32, U16, U16, (uint32_t)a * (uint32_t)b)
MAP2(wide_s16, S32, S16, S16, (int32_t)a * b)
VMAP2(wide_u32, U64, U32, U32, (uint64_t)a * b, 4, PUT32(d, _mm256_mul_epu32(_mm256_cvtepu32_epi64(V16(pa)), _mm256_cvtepu32_epi64(V16(pb))));)
VMAP2(wide_s32, S64, S32, S32, (int64_t)a * b, 4, PUT32(d, _mm256_mul_epi32(_mm256_cvtepu32_epi64(V16(pa)), _mm256_cvtepu32_epi64(V16(pb))));)
MAP3(madwide_u16, U32, U16, U16, U32, (uint32_t)a * (uint32_t)b + c)
MAP3(madwide_s16, U32, S16, S16, U32, (uint32_t)((int32_t)a * b) + c)
MAP3(madwide_u32, U64, U32, U32, U64, (uint64_t)a * b + c)
MAP3(madwide_s32, U64, S32, S32, U64, (uint64_t)((int64_t)a * b) + c)

/* The smallest number over -1 wraps like hardware does instead of trapping. */
MAP2(div_u16, U16, U16, U16, b ? (uint32_t)a / (uint32_t)(b ? b : 1) : 0xFFFF)
MAP2(div_s16, S16, S16, S16, b ? a / (b ? b : 1) : -1)
MAP2(div_u32, U32, U32, U32, b ? a / (b ? b : 1) : 0xFFFFFFFF)
MAP2(div_s32, S32, S32, S32, b ? (int64_t)a / (b ? b : 1) : -1)
MAP2(div_u64, U64, U64, U64, b ? a / (b ? b : 1) : UINT64_MAX)
MAP2(div_s64, S64, S64, S64, b == 0 ? -1 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b)
MAP2(rem_u16, U16, U16, U16, b ? (uint32_t)a % (uint32_t)(b ? b : 1) : UINT32_MAX)
MAP2(rem_s16, S16, S16, S16, b ? a % (b ? b : 1) : -1)
MAP2(rem_u32, U32, U32, U32, b ? a % (b ? b : 1) : UINT32_MAX)
MAP2(rem_s32, S32, S32, S32, b ? (int64_t)a % (b ? b : 1) : -1)
MAP2(rem_u64, U64, U64, U64, b ? a % (b ? b : 1) : UINT64_MAX)
MAP2(rem_s64, S64, S64, S64, b == 0 ? -1 : b == -1 ? 0 : a % b)

#define MIN_MAX(T, suffix)                              \
    MAP2(min_##suffix, T, T, T, a < b ? a : b)          \
    MAP2(max_##suffix, T, T, T, a > b ? a : b)
MIN_MAX(U16, u16) MIN_MAX(S16, s16) MIN_MAX(U32, u32) MIN_MAX(S32, s32) MIN_MAX(U64, u64) MIN_MAX(S64, s64)
#undef MIN_MAX

MAP1(neg16, U16, U16, -a)
MAP1(neg32, U32, U32, 0 - a)
MAP1(neg64, U64, U64, 0 - a)
MAP1(abs16, U16, S16, a < 0 ? -a : a)
MAP1(abs32, U32, S32, a < 0 ? 0 - (uint32_t)a : (uint32_t)a)
MAP1(abs64, U64, S64, a < 0 ? 0 - (uint64_t)a : (uint64_t)a)
MAP3(sad_u16, U16, U16, U16, U16, (a > b ? a - b : b - a) + c)
MAP3(sad_s16, U16, S16, S16, U16, (a > b ? a - b : b - a) + c)
MAP3(sad_u32, U32, U32, U32, U32, (a > b ? a - b : b - a) + c)
MAP3(sad_s32, U32, S32, S32, U32, (a > b ? (uint32_t)a - (uint32_t)b : (uint32_t)b - (uint32_t)a) + c)

#define LOGIC(T, suffix)                                \
    MAP2(and##suffix, T, T, T, a & b)                   \
    MAP2(or##suffix, T, T, T, a | b)                    \
    MAP2(xor##suffix, T, T, T, a ^ b)                   \
    MAP1(not##suffix, T, T, ~a)                         \
    MAP1(cnot##suffix, T, T, a == 0)
LOGIC(U16, 16) LOGIC(U32, 32) LOGIC(U64, 64)
#undef LOGIC

#define SHIFT(T, S, suffix, bits)                                                               \
    MAP2(shl##suffix, T, T, U32, b < bits ? (uint64_t)a << (b & (bits - 1)) : 0)                \
    MAP2(shr_u##suffix, T, T, U32, b < bits ? a >> (b & (bits - 1)) : 0)                        \
    MAP2(shr_s##suffix, S, S, U32, a >> (b < bits ? b : bits - 1))
SHIFT(U16, S16, 16, 16)
#undef SHIFT
VMAP2(shl64, U64, U64, U32, b < 64 ? a << (b & 63) : 0, 4, PUT32(d, _mm256_sllv_epi64(V32(pa), _mm256_cvtepu32_epi64(V16(pb))));)
VMAP2(shr_u64, U64, U64, U32, b < 64 ? a >> (b & 63) : 0, 4, PUT32(d, _mm256_srlv_epi64(V32(pa), _mm256_cvtepu32_epi64(V16(pb))));)
MAP2(shr_s64, S64, S64, U32, a >> (b < 64 ? b : 63))
/* the vector instructions clamp as PTX does */
VMAP2(shl32, U32, U32, U32, b < 32 ? a << (b & 31) : 0, 8, PUT32(d, _mm256_sllv_epi32(V32(pa), V32(pb)));)
VMAP2(shr_u32, U32, U32, U32, b < 32 ? a >> (b & 31) : 0, 8, PUT32(d, _mm256_srlv_epi32(V32(pa), V32(pb)));)
VMAP2(shr_s32, S32, S32, U32, a >> (b < 32 ? b : 31), 8, PUT32(d, _mm256_srav_epi32(V32(pa), V32(pb)));)

/* b above a: the funnel */
MAP3(shf_l_wrap, U32, U32, U32, U32, ((uint64_t)b << 32 | a) << (c & 31) >> 32)
MAP3(shf_r_wrap, U32, U32, U32, U32, ((uint64_t)b << 32 | a) >> (c & 31))
MAP3(shf_l_clamp, U32, U32, U32, U32, ((uint64_t)b << 32 | a) << (c < 32 ? c : 32) >> 32)
MAP3(shf_r_clamp, U32, U32, U32, U32, ((uint64_t)b << 32 | a) >> (c < 32 ? c : 32))

/* Byte i of the result: the byte of (b, a) that nibble i of c names, or its sign repeated. */
INLINE uint32_t FN(permute)(uint32_t a, uint32_t b, uint32_t c)
{
    uint64_t both = (uint64_t)b << 32 | a;
    uint32_t d = 0;
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t nibble = c >> (4 * i), byte = (uint32_t)(both >> (8 * (nibble & 7))) & 0xFF;
        byte = nibble & 8 ? (byte & 0x80 ? 0xFF : 0) : byte;
        d |= byte << (8 * i);
    }
    return d;
}

/* The fixed selections as a permutation. */
INLINE uint32_t FN(permute_mode)(uint32_t mode, uint32_t c)
{
    c &= 3;
    switch (mode) {
    case PTX_MOD_F4E: return 0x3210 + 0x1111 * c;
    case PTX_MOD_B4E: return (c << 0 | ((c + 7) & 7) << 4 | ((c + 6) & 7) << 8 | ((c + 5) & 7) << 12);
    case PTX_MOD_RC8: return 0x1111 * c;
    case PTX_MOD_ECL: return c << 0 | (c > 1 ? c : 1) << 4 | (c > 2 ? c : 2) << 8 | 3 << 12;
    case PTX_MOD_ECR: return 0 | (c < 1 ? c : 1) << 4 | (c < 2 ? c : 2) << 8 | c << 12;
    default: return c & 1 ? 0x3232 : 0x1010;
    }
}
MAP3(prmt, U32, U32, U32, U32, FN(permute)(a, b, c))
MAP3(prmt_mode, U32, U32, U32, U32, FN(permute)(a, b, FN(permute_mode)((uint32_t)r->imm, c)))

/* Fields: position and length modulo 256; what lies above the word reads as 0, or as the sign. */
INLINE uint64_t FN(field)(uint64_t a, uint32_t at, uint32_t n, uint32_t width, bool is_signed)
{
    at &= 255;
    n &= 255;
    if (!n)
        return 0;
    uint32_t top = at + n - 1 < width - 1 ? at + n - 1 : width - 1;
    uint64_t sign = is_signed && a >> top & 1 ? ~0ull : 0;
    uint64_t v = at < width ? a >> at : 0;
    uint32_t have = at < width ? (n < width - at ? n : width - at) : 0;
    uint64_t keep = have >= 64 ? ~0ull : (1ull << have) - 1;
    return (v & keep) | (sign & ~keep);
}

INLINE uint64_t FN(insert)(uint64_t a, uint64_t b, uint32_t at, uint32_t n, uint32_t width)
{
    at &= 255;
    n &= 255;
    if (at >= width || !n)
        return b;
    n = n < width - at ? n : width - at;
    uint64_t keep = (n >= 64 ? ~0ull : (1ull << n) - 1) << at;
    return (a << at & keep) | (b & ~keep);
}
MAP3(bfe_u32, U32, U32, U32, U32, FN(field)(a, b, c, 32, false))
MAP3(bfe_s32, U32, U32, U32, U32, FN(field)(a, b, c, 32, true))
MAP3(bfe_u64, U64, U64, U32, U32, FN(field)(a, b, c, 64, false))
MAP3(bfe_s64, U64, U64, U32, U32, FN(field)(a, b, c, 64, true))
MAP4(bfi32, U32, U32, U32, U32, U32, FN(insert)(a, b, c, e, 32))
MAP4(bfi64, U64, U64, U64, U32, U32, FN(insert)(a, b, c, e, 64))

/* Bit i of imm is the result for a, b, c = bits 2, 1, 0 of i. */
INLINE uint32_t FN(table3)(uint32_t a, uint32_t b, uint32_t c, uint32_t table)
{
    uint32_t d = 0;
    for (uint32_t i = 0; i < 8; i++)
        d |= (0u - (table >> i & 1)) & (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return d;
}
MAP3(lop3, U32, U32, U32, U32, FN(table3)(a, b, c, (uint32_t)r->imm))

INLINE uint32_t FN(ones)(uint64_t x)
{
    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    return (uint32_t)(((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F) * 0x0101010101010101 >> 56);
}

INLINE uint64_t FN(reverse)(uint64_t x)
{
    x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
    x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
    x = (x >> 4 & 0x0F0F0F0F0F0F0F0F) | (x & 0x0F0F0F0F0F0F0F0F) << 4;
    return __builtin_bswap64(x);
}

/* Position of the highest one, ~0 when there is none. */
INLINE uint32_t FN(highest)(uint64_t x)
{
    return x ? 63u - (uint32_t)__builtin_clzll(x) : 0xFFFFFFFFu;
}
#define SIGN_FOLD(x) ((x) < 0 ? ~(x) : (x))
MAP1(popc32, U32, U32, FN(ones)(a))
MAP1(popc64, U32, U64, FN(ones)(a))
MAP1(clz32, U32, U32, a ? (uint32_t)__builtin_clz(a) : 32)
MAP1(clz64, U32, U64, a ? (uint32_t)__builtin_clzll(a) : 64)
MAP1(brev32, U32, U32, FN(reverse)(a) >> 32)
MAP1(brev64, U64, U64, FN(reverse)(a))
MAP1(bfind_u32, U32, U32, FN(highest)(a))
MAP1(bfind_s32, U32, S32, FN(highest)((uint32_t)SIGN_FOLD(a)))
MAP1(bfind_u64, U32, U64, FN(highest)(a))
MAP1(bfind_s64, U32, S64, FN(highest)((uint64_t)SIGN_FOLD(a)))
#define SHIFT_TO(width, x) ((x) == 0xFFFFFFFFu ? (x) : (width) - 1 - (x))
MAP1(bfind_shift_u32, U32, U32, SHIFT_TO(32, FN(highest)(a)))
MAP1(bfind_shift_s32, U32, S32, SHIFT_TO(32, FN(highest)((uint32_t)SIGN_FOLD(a))))
MAP1(bfind_shift_u64, U32, U64, SHIFT_TO(64, FN(highest)(a)))
MAP1(bfind_shift_s64, U32, S64, SHIFT_TO(64, FN(highest)((uint64_t)SIGN_FOLD(a))))
#undef SIGN_FOLD
#undef SHIFT_TO

/* Byte i, or half i, of x as a number. */
#define BYTE(x, i, is_signed) ((is_signed) ? (int32_t)(int8_t)((x) >> (8 * (i))) : (int32_t)(uint8_t)((x) >> (8 * (i))))
#define HALF(x, i, is_signed) ((is_signed) ? (int32_t)(int16_t)((x) >> (16 * (i))) : (int32_t)(uint16_t)((x) >> (16 * (i))))
#define DP4A(name, sa, sb)                                                                                              \
    MAP3(name, U32, U32, U32, U32,                                                                                      \
         c + (uint32_t)(BYTE(a, 0, sa) * BYTE(b, 0, sb) + BYTE(a, 1, sa) * BYTE(b, 1, sb) +                             \
                        BYTE(a, 2, sa) * BYTE(b, 2, sb) + BYTE(a, 3, sa) * BYTE(b, 3, sb)))
DP4A(dp4a_uu, 0, 0) DP4A(dp4a_us, 0, 1) DP4A(dp4a_su, 1, 0) DP4A(dp4a_ss, 1, 1)
#define DP2A(name, sa, sb, at)                                                                                          \
    MAP3(name, U32, U32, U32, U32,                                                                                      \
         c + (uint32_t)HALF(a, 0, sa) * (uint32_t)BYTE(b, at, sb) + (uint32_t)HALF(a, 1, sa) * (uint32_t)BYTE(b, at + 1, sb))
DP2A(dp2a_lo_uu, 0, 0, 0) DP2A(dp2a_lo_us, 0, 1, 0) DP2A(dp2a_lo_su, 1, 0, 0) DP2A(dp2a_lo_ss, 1, 1, 0)
DP2A(dp2a_hi_uu, 0, 0, 2) DP2A(dp2a_hi_us, 0, 1, 2) DP2A(dp2a_hi_su, 1, 0, 2) DP2A(dp2a_hi_ss, 1, 1, 2)
#undef DP4A
#undef DP2A
#undef BYTE
#undef HALF

/* Predicates: whole masks. */
#define LOGIC(name, expr)                               \
    HANDLER(name)                                       \
    {                                                   \
        put_pred(w, r->o[0], expr, mask);               \
        NEXT                                   \
    }
LOGIC(and_pred, PRED_OF(1) & PRED_OF(2))
LOGIC(or_pred, PRED_OF(1) | PRED_OF(2))
LOGIC(xor_pred, PRED_OF(1) ^ PRED_OF(2))
LOGIC(not_pred, ~PRED_OF(1))
LOGIC(mov_pred, PRED_OF(1))
#undef LOGIC

/* setp: p in slot 0, its complement in slot 1, then a, b and the predicate of a combination, which imm names (0: none). */
INLINE const EmuRec *FN(put_compare)(EmuWarp *w, const EmuRec *r, uint32_t mask, uint32_t bits)
{
    uint32_t other = ~bits;
    if (r->imm) {
        uint32_t c = PRED_OF(4);
        switch (r->imm) {
        case PTX_MOD_AND: bits &= c; other &= c; break;
        case PTX_MOD_OR: bits |= c; other |= c; break;
        default: bits ^= c; other ^= c; break;
        }
    }
    put_pred(w, r->o[0], bits, mask);
    put_pred(w, r->o[1], other, mask);
    NEXT
}
/* Bits of the lanes where expr of a and b holds (is_not: does not). `vector` is the same for 32 bytes of each, lanes as T; it gives
 * its bits to the lowest places. */
#define COMPARE_WITH(name, T, expr, is_not, vector_code)                \
    HANDLER(name)                                                       \
    {                                                                   \
        const T *pa = SLOT(T, 2), *pb = SLOT(T, 3);                     \
        uint32_t bits = 0;                                              \
        vector_code                                                     \
        for (uint32_t l = 0; l < 32; l++) {                             \
            const T a = pa[l], b = pb[l];                               \
            bits |= (uint32_t)((expr) ? 1 : 0) << l;                    \
        }                                                               \
        return FN(put_compare)(w, r, mask, is_not ? ~bits : bits);      \
    }
#define COMPARE(name, T, expr) COMPARE_WITH(name, T, expr, 0, )
#define VCOMPARE(name, T, expr, is_not, lanes, vector)                                          \
    COMPARE_WITH(name, T, expr, is_not, IF_VECTOR(                                              \
        _Pragma("GCC unroll 8") for (uint32_t l = 0; l < 32; l += lanes)                        \
            bits |= (uint32_t)(vector) << l;                                                    \
        return FN(put_compare)(w, r, mask, is_not ? ~bits : bits);))
#define BITS4(x) _mm256_movemask_ps(x)
#define BITS4I(x) _mm256_movemask_ps(_mm256_castsi256_ps(x))
#define BITS8I(x) _mm256_movemask_pd(_mm256_castsi256_pd(x))
#define TOP4(p) _mm256_xor_si256(V32(p), _mm256_set1_epi32(INT32_MIN))
#define TOP8(p) _mm256_xor_si256(V32(p), _mm256_set1_epi64x(INT64_MIN))
#define COMPARES(T, suffix)                             \
    COMPARE(eq_##suffix, T, a == b)                     \
    COMPARE(ne_##suffix, T, a != b)                     \
    COMPARE(lt_##suffix, T, a < b)                      \
    COMPARE(le_##suffix, T, a <= b)                     \
    COMPARE(gt_##suffix, T, a > b)                      \
    COMPARE(ge_##suffix, T, a >= b)
/* by equality and greater-than alone; A, B: the operands so that signed comparison is right */
#define VCOMPARES(T, suffix, lanes, bits_of, bits_n, A, B)                                              \
    VCOMPARE(eq_##suffix, T, a == b, 0, lanes, bits_of(_mm256_cmpeq_epi##bits_n(V32(pa), V32(pb))))     \
    VCOMPARE(ne_##suffix, T, a == b, 1, lanes, bits_of(_mm256_cmpeq_epi##bits_n(V32(pa), V32(pb))))     \
    VCOMPARE(lt_##suffix, T, a < b, 0, lanes, bits_of(_mm256_cmpgt_epi##bits_n(B, A)))                  \
    VCOMPARE(le_##suffix, T, a > b, 1, lanes, bits_of(_mm256_cmpgt_epi##bits_n(A, B)))                  \
    VCOMPARE(gt_##suffix, T, a > b, 0, lanes, bits_of(_mm256_cmpgt_epi##bits_n(A, B)))                  \
    VCOMPARE(ge_##suffix, T, a < b, 1, lanes, bits_of(_mm256_cmpgt_epi##bits_n(B, A)))
COMPARES(U16, u16) COMPARES(S16, s16)
VCOMPARES(U32, u32, 8, BITS4I, 32, TOP4(pa), TOP4(pb)) VCOMPARES(S32, s32, 8, BITS4I, 32, V32(pa), V32(pb))
VCOMPARES(U64, u64, 4, BITS8I, 64, TOP8(pa), TOP8(pb)) VCOMPARES(S64, s64, 4, BITS8I, 64, V32(pa), V32(pb))
/* ordered: false on NaN, ne included; unordered: true */
#define FLOAT_COMPARES(T, suffix, A, B)                                 \
    COMPARE(eq_##suffix, T, A == B)                                     \
    COMPARE(ne_##suffix, T, A < B || A > B)                             \
    COMPARE(lt_##suffix, T, A < B)                                      \
    COMPARE(le_##suffix, T, A <= B)                                     \
    COMPARE(gt_##suffix, T, A > B)                                      \
    COMPARE(ge_##suffix, T, A >= B)                                     \
    COMPARE(equ_##suffix, T, !(A < B || A > B))                         \
    COMPARE(neu_##suffix, T, A != B)                                    \
    COMPARE(ltu_##suffix, T, !(A >= B))                                 \
    COMPARE(leu_##suffix, T, !(A > B))                                  \
    COMPARE(gtu_##suffix, T, !(A <= B))                                 \
    COMPARE(geu_##suffix, T, !(A < B))                                  \
    COMPARE(num_##suffix, T, A == A && B == B)                          \
    COMPARE(nan_##suffix, T, A != A || B != B)
#define COMPARE_F32(name, expr, how)                                    \
    VCOMPARE(name##_f32, F32, expr, 0, 8, BITS4(_mm256_cmp_ps(_mm256_load_ps(pa + l), _mm256_load_ps(pb + l), how)))
COMPARE_F32(eq, a == b, _CMP_EQ_OQ)
COMPARE_F32(ne, a < b || a > b, _CMP_NEQ_OQ)
COMPARE_F32(lt, a < b, _CMP_LT_OQ)
COMPARE_F32(le, a <= b, _CMP_LE_OQ)
COMPARE_F32(gt, a > b, _CMP_GT_OQ)
COMPARE_F32(ge, a >= b, _CMP_GE_OQ)
COMPARE_F32(equ, !(a < b || a > b), _CMP_EQ_UQ)
COMPARE_F32(neu, a != b, _CMP_NEQ_UQ)
COMPARE_F32(ltu, !(a >= b), _CMP_NGE_UQ)
COMPARE_F32(leu, !(a > b), _CMP_NGT_UQ)
COMPARE_F32(gtu, !(a <= b), _CMP_NLE_UQ)
COMPARE_F32(geu, !(a < b), _CMP_NLT_UQ)
COMPARE_F32(num, a == a && b == b, _CMP_ORD_Q)
COMPARE_F32(nan, a != a || b != b, _CMP_UNORD_Q)
#undef COMPARE_F32
FLOAT_COMPARES(F32, f32z, flush(a), flush(b))
FLOAT_COMPARES(F64, f64, a, b)
FLOAT_COMPARES(U16, f16, f16_widen(a), f16_widen(b))
FLOAT_COMPARES(U16, bf16, bf16_widen(a), bf16_widen(b))
#undef FLOAT_COMPARES
#undef COMPARES
#undef VCOMPARES
#undef COMPARE_WITH
#undef COMPARE
#undef VCOMPARE
#undef BITS4
#undef BITS4I
#undef BITS8I
#undef TOP4
#undef TOP8

/* set: imm is what a true lane gets, after a setp into slot 2's place: the comparison left its mask in predicate slot 1. */
HANDLER(set)
{
    U32 *d = SLOT(U32, 0);
    uint32_t bits = PRED(1), one = (uint32_t)r->imm;
    LANES { d[l] = mask >> l & 1 ? (bits >> l & 1 ? one : 0) : d[l]; }
    NEXT
}

#define SELECT(name, T)                                                                 \
    HANDLER(name)                                                                       \
    {                                                                                   \
        T *d = SLOT(T, 0);                                                              \
        const T *pa = SLOT(T, 1), *pb = SLOT(T, 2);                                     \
        uint32_t p = PRED_OF(3);                                                        \
        if (mask == 0xFFFFFFFFu) {                                                      \
            LANES { d[l] = p >> l & 1 ? pa[l] : pb[l]; }                                \
        } else {                                                                        \
            LANES                                                                       \
            {                                                                           \
                const T x = p >> l & 1 ? pa[l] : pb[l];                                 \
                d[l] = mask >> l & 1 ? x : d[l];                                        \
            }                                                                           \
        }                                                                               \
        NEXT                                                                   \
    }
SELECT(selp16, U16) SELECT(selp32, U32) SELECT(selp64, U64)
#undef SELECT

MAP1(mov16, U16, U16, a)
MAP1(mov32, U32, U32, a)
MAP1(mov64, U64, U64, a)
/* packing and unpacking: everything is read before anything is written */
MAP2(pack32, U32, U16, U16, (uint32_t)a | (uint32_t)b << 16)
MAP2(pack64, U64, U32, U32, (uint64_t)a | (uint64_t)b << 32)
MAP4(pack64_16, U64, U16, U16, U16, U16, (uint64_t)a | (uint64_t)b << 16 | (uint64_t)c << 32 | (uint64_t)e << 48)
MAP2(pack16, U16, U16, U16, (a & 0xFF) | (b & 0xFF) << 8)
#define UNPACK(name, T, D, bits, limit)                                                 \
    HANDLER(name)                                                                       \
    {                                                                                   \
        const T *a = SLOT(T, 4);                                                        \
        D *d0 = SLOT(D, 0), *d1 = SLOT(D, 1);                                           \
        if (mask == 0xFFFFFFFFu) {                                                      \
            LANES                                                                       \
            {                                                                           \
                const T x = a[l];                                                       \
                d0[l] = (D)(x & limit);                                                 \
                d1[l] = (D)(x >> bits & limit);                                         \
            }                                                                           \
        } else {                                                                        \
            LANES                                                                       \
            {                                                                           \
                const T x = a[l];                                                       \
                d0[l] = mask >> l & 1 ? (D)(x & limit) : d0[l];                         \
                d1[l] = mask >> l & 1 ? (D)(x >> bits & limit) : d1[l];                 \
            }                                                                           \
        }                                                                               \
        NEXT                                                                   \
    }
UNPACK(unpack16, U16, U16, 8, 0xFF)
UNPACK(unpack32, U32, U16, 16, 0xFFFF)
UNPACK(unpack64, U64, U32, 32, 0xFFFFFFFF)
#undef UNPACK
HANDLER(unpack64_16)
{
    const U64 *a = SLOT(U64, 4);
    for (uint32_t l = 0; l < 32; l++) {
        const uint64_t x = a[l];
        if (mask >> l & 1)
            for (uint32_t i = 0; i < 4; i++)
                SLOT(U16, i)[l] = (uint16_t)(x >> (16 * i));
    }
    NEXT
}

#define COMPARE_ROWS(T, type)                                                                                       \
    {PTX_OP_SETP, type, NULL, "eq", FN(eq_##T)}, {PTX_OP_SETP, type, NULL, "ne", FN(ne_##T)},                       \
    {PTX_OP_SETP, type, NULL, "lt", FN(lt_##T)}, {PTX_OP_SETP, type, NULL, "le", FN(le_##T)},                       \
    {PTX_OP_SETP, type, NULL, "gt", FN(gt_##T)}, {PTX_OP_SETP, type, NULL, "ge", FN(ge_##T)}
#define UNSIGNED_ROWS(T, type)                                                                                      \
    {PTX_OP_SETP, type, NULL, "lo", FN(lt_##T)}, {PTX_OP_SETP, type, NULL, "ls", FN(le_##T)},                       \
    {PTX_OP_SETP, type, NULL, "hi", FN(gt_##T)}, {PTX_OP_SETP, type, NULL, "hs", FN(ge_##T)}
#define FLOAT_ROWS(form, T, type, ftz)                                                                              \
    {form, type, NULL, "eq" ftz, FN(eq_##T)}, {form, type, NULL, "ne" ftz, FN(ne_##T)},                             \
    {form, type, NULL, "lt" ftz, FN(lt_##T)}, {form, type, NULL, "le" ftz, FN(le_##T)},                             \
    {form, type, NULL, "gt" ftz, FN(gt_##T)}, {form, type, NULL, "ge" ftz, FN(ge_##T)},                             \
    {form, type, NULL, "equ" ftz, FN(equ_##T)}, {form, type, NULL, "neu" ftz, FN(neu_##T)},                         \
    {form, type, NULL, "ltu" ftz, FN(ltu_##T)}, {form, type, NULL, "leu" ftz, FN(leu_##T)},                         \
    {form, type, NULL, "gtu" ftz, FN(gtu_##T)}, {form, type, NULL, "geu" ftz, FN(geu_##T)},                         \
    {form, type, NULL, "num" ftz, FN(num_##T)}, {form, type, NULL, "nan" ftz, FN(nan_##T)}
#define SIZED(op, name) {op, "b16 u16 s16", NULL, "", FN(name##16)}, {op, "b32 u32 s32", NULL, "", FN(name##32)}, \
    {op, "b64 u64 s64", NULL, "", FN(name##64)}
#define TYPED(op, name, mods) {op, "u16", NULL, mods, FN(name##_u16)}, {op, "s16", NULL, mods, FN(name##_s16)},     \
    {op, "u32", NULL, mods, FN(name##_u32)}, {op, "s32", NULL, mods, FN(name##_s32)},                               \
    {op, "u64", NULL, mods, FN(name##_u64)}, {op, "s64", NULL, mods, FN(name##_s64)}

static const EmuBind FN(binds)[] = {
    SIZED(PTX_OP_ADD, add), SIZED(PTX_OP_SUB, sub), {PTX_OP_ADD_SAT, NULL, NULL, "sat", FN(add_sat)},
    {PTX_OP_SUB_SAT, NULL, NULL, "sat", FN(sub_sat)},
    {PTX_OP_MUL_LO, "u16 s16", NULL, "lo", FN(mul16)}, {PTX_OP_MUL_LO, "u32 s32", NULL, "lo", FN(mul32)},
    {PTX_OP_MUL_LO, "u64 s64", NULL, "lo", FN(mul64)}, TYPED(PTX_OP_MUL_HI, mulhi, "hi"),
    {PTX_OP_MAD_LO, "u16 s16", NULL, "lo", FN(mad16)}, {PTX_OP_MAD_LO, "u32 s32", NULL, "lo", FN(mad32)},
    {PTX_OP_MAD_LO, "u64 s64", NULL, "lo", FN(mad64)},
    {PTX_OP_MAD_HI, "u32", NULL, "hi", FN(madhi_u32)}, {PTX_OP_MAD_HI, "s32", NULL, "hi", FN(madhi_s32)},
    {PTX_OP_MAD_HI, "u64", NULL, "hi", FN(madhi_u64)}, {PTX_OP_MAD_HI, "s64", NULL, "hi", FN(madhi_s64)},
    {PTX_OP_MUL_WIDE, "u16", NULL, "wide", FN(wide_u16)}, {PTX_OP_MUL_WIDE, "s16", NULL, "wide", FN(wide_s16)},
    {PTX_OP_MUL_WIDE, "u32", NULL, "wide", FN(wide_u32)}, {PTX_OP_MUL_WIDE, "s32", NULL, "wide", FN(wide_s32)},
    {PTX_OP_MAD_WIDE, "u16", NULL, "wide", FN(madwide_u16)}, {PTX_OP_MAD_WIDE, "s16", NULL, "wide", FN(madwide_s16)},
    {PTX_OP_MAD_WIDE, "u32", NULL, "wide", FN(madwide_u32)}, {PTX_OP_MAD_WIDE, "s32", NULL, "wide", FN(madwide_s32)},
    TYPED(PTX_OP_DIV, div, ""), TYPED(PTX_OP_REM, rem, ""), TYPED(PTX_OP_MIN, min, ""), TYPED(PTX_OP_MAX, max, ""),
    SIZED(PTX_OP_NEG, neg), SIZED(PTX_OP_ABS, abs),
    {PTX_OP_SAD, "u16", NULL, "", FN(sad_u16)}, {PTX_OP_SAD, "s16", NULL, "", FN(sad_s16)},
    {PTX_OP_SAD, "u32", NULL, "", FN(sad_u32)}, {PTX_OP_SAD, "s32", NULL, "", FN(sad_s32)},
    SIZED(PTX_OP_AND, and), SIZED(PTX_OP_OR, or), SIZED(PTX_OP_XOR, xor), SIZED(PTX_OP_NOT, not), SIZED(PTX_OP_CNOT, cnot),
    SIZED(PTX_OP_SHL, shl),
    {PTX_OP_SHR, "b16 u16", NULL, "", FN(shr_u16)}, {PTX_OP_SHR, "s16", NULL, "", FN(shr_s16)},
    {PTX_OP_SHR, "b32 u32", NULL, "", FN(shr_u32)}, {PTX_OP_SHR, "s32", NULL, "", FN(shr_s32)},
    {PTX_OP_SHR, "b64 u64", NULL, "", FN(shr_u64)}, {PTX_OP_SHR, "s64", NULL, "", FN(shr_s64)},
    {PTX_OP_SHF, NULL, NULL, "l wrap", FN(shf_l_wrap)}, {PTX_OP_SHF, NULL, NULL, "r wrap", FN(shf_r_wrap)},
    {PTX_OP_SHF, NULL, NULL, "l clamp", FN(shf_l_clamp)}, {PTX_OP_SHF, NULL, NULL, "r clamp", FN(shf_r_clamp)},
    {PTX_OP_PRMT, NULL, NULL, "", FN(prmt)},
    {PTX_OP_PRMT, NULL, NULL, "f4e", FN(prmt_mode)}, {PTX_OP_PRMT, NULL, NULL, "b4e", FN(prmt_mode)},
    {PTX_OP_PRMT, NULL, NULL, "rc8", FN(prmt_mode)}, {PTX_OP_PRMT, NULL, NULL, "ecl", FN(prmt_mode)},
    {PTX_OP_PRMT, NULL, NULL, "ecr", FN(prmt_mode)}, {PTX_OP_PRMT, NULL, NULL, "rc16", FN(prmt_mode)},
    {PTX_OP_BFE, "u32", NULL, "", FN(bfe_u32)}, {PTX_OP_BFE, "s32", NULL, "", FN(bfe_s32)},
    {PTX_OP_BFE, "u64", NULL, "", FN(bfe_u64)}, {PTX_OP_BFE, "s64", NULL, "", FN(bfe_s64)},
    {PTX_OP_BFI, "b32", NULL, "", FN(bfi32)}, {PTX_OP_BFI, "b64", NULL, "", FN(bfi64)},
    {PTX_OP_LOP3, NULL, NULL, "", FN(lop3)},
    {PTX_OP_POPC, "b32", NULL, "", FN(popc32)}, {PTX_OP_POPC, "b64", NULL, "", FN(popc64)},
    {PTX_OP_CLZ, "b32", NULL, "", FN(clz32)}, {PTX_OP_CLZ, "b64", NULL, "", FN(clz64)},
    {PTX_OP_BREV, "b32", NULL, "", FN(brev32)}, {PTX_OP_BREV, "b64", NULL, "", FN(brev64)},
    {PTX_OP_BFIND, "u32", NULL, "", FN(bfind_u32)}, {PTX_OP_BFIND, "s32", NULL, "", FN(bfind_s32)},
    {PTX_OP_BFIND, "u64", NULL, "", FN(bfind_u64)}, {PTX_OP_BFIND, "s64", NULL, "", FN(bfind_s64)},
    {PTX_OP_BFIND, "u32", NULL, "shiftamt", FN(bfind_shift_u32)}, {PTX_OP_BFIND, "s32", NULL, "shiftamt", FN(bfind_shift_s32)},
    {PTX_OP_BFIND, "u64", NULL, "shiftamt", FN(bfind_shift_u64)}, {PTX_OP_BFIND, "s64", NULL, "shiftamt", FN(bfind_shift_s64)},
    {PTX_OP_DP4A, "u32", "u32", "", FN(dp4a_uu)}, {PTX_OP_DP4A, "u32", "s32", "", FN(dp4a_us)},
    {PTX_OP_DP4A, "s32", "u32", "", FN(dp4a_su)}, {PTX_OP_DP4A, "s32", "s32", "", FN(dp4a_ss)},
    {PTX_OP_DP2A, "u32", "u32", "lo", FN(dp2a_lo_uu)}, {PTX_OP_DP2A, "u32", "s32", "lo", FN(dp2a_lo_us)},
    {PTX_OP_DP2A, "s32", "u32", "lo", FN(dp2a_lo_su)}, {PTX_OP_DP2A, "s32", "s32", "lo", FN(dp2a_lo_ss)},
    {PTX_OP_DP2A, "u32", "u32", "hi", FN(dp2a_hi_uu)}, {PTX_OP_DP2A, "u32", "s32", "hi", FN(dp2a_hi_us)},
    {PTX_OP_DP2A, "s32", "u32", "hi", FN(dp2a_hi_su)}, {PTX_OP_DP2A, "s32", "s32", "hi", FN(dp2a_hi_ss)},
    {PTX_OP_AND_PRED, NULL, NULL, "", FN(and_pred)},
    {PTX_OP_OR_PRED, NULL, NULL, "", FN(or_pred)}, {PTX_OP_XOR_PRED, NULL, NULL, "", FN(xor_pred)},
    {PTX_OP_NOT_PRED, NULL, NULL, "", FN(not_pred)}, {PTX_OP_MOV_PRED, NULL, NULL, "", FN(mov_pred)},
    COMPARE_ROWS(u16, "u16 b16"), COMPARE_ROWS(s16, "s16"), COMPARE_ROWS(u32, "u32 b32"), COMPARE_ROWS(s32, "s32"),
    COMPARE_ROWS(u64, "u64 b64"), COMPARE_ROWS(s64, "s64"), UNSIGNED_ROWS(u16, "u16"), UNSIGNED_ROWS(u32, "u32"),
    UNSIGNED_ROWS(u64, "u64"), FLOAT_ROWS(PTX_OP_SETP, f32, "f32", ""), FLOAT_ROWS(PTX_OP_SETP, f32z, "f32", " ftz"),
    FLOAT_ROWS(PTX_OP_SETP, f64, "f64", ""), FLOAT_ROWS(PTX_OP_SETP_HALF, f16, "f16", ""),
    FLOAT_ROWS(PTX_OP_SETP_HALF, bf16, "bf16", ""),
    {PTX_OP_SET, NULL, NULL, "", FN(set)},
    {PTX_OP_SELP, "b16 u16 s16", NULL, "", FN(selp16)}, {PTX_OP_SELP, "b32 u32 s32 f32", NULL, "", FN(selp32)},
    {PTX_OP_SELP, "b64 u64 s64 f64", NULL, "", FN(selp64)},
    /* mov: the decoder names the shape by types that stand for sizes, packing by modifiers of our own choice */
    {PTX_OP_MOV, "b16", NULL, "", FN(mov16)}, {PTX_OP_MOV, "b32", NULL, "", FN(mov32)}, {PTX_OP_MOV, "b64", NULL, "", FN(mov64)},
    {PTX_OP_MOV, "b16", NULL, "lo v2", FN(pack16)}, {PTX_OP_MOV, "b32", NULL, "lo v2", FN(pack32)},
    {PTX_OP_MOV, "b64", NULL, "lo v2", FN(pack64)}, {PTX_OP_MOV, "b64", NULL, "lo v4", FN(pack64_16)},
    {PTX_OP_MOV, "b16", NULL, "hi v2", FN(unpack16)}, {PTX_OP_MOV, "b32", NULL, "hi v2", FN(unpack32)},
    {PTX_OP_MOV, "b64", NULL, "hi v2", FN(unpack64)}, {PTX_OP_MOV, "b64", NULL, "hi v4", FN(unpack64_16)},
};
#undef COMPARE_ROWS
#undef UNSIGNED_ROWS
#undef FLOAT_ROWS
#undef SIZED
#undef TYPED
#endif
