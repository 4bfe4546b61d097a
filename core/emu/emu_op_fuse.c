/* Pairs and chains of instructions in one handler: what lies between them stays in a register of the CPU. Each gives the bits that
 * the instructions one after the other give, since nothing here is rounded in another place. A chain is a pair whose first or
 * second part is a pair. Slots: the destination, then sources (EmuFusion says in which order). */
#ifndef FN
#pragma GCC optimize("no-trapping-math") /* nobody looks at exception flags; without it conditions stay branches */
#include <assert.h>

#include "core/emu/emu_op.h"

#define EMU_SELF "core/emu/emu_op_fuse.c"
#include "core/emu/emu_isa.h"

EmuFusions emu_op_fuse(EmuIsa isa)
{
    static const EmuFusions tables[EMU_ISAS] = {
        [EMU_ISA_PLAIN] = EMU_TABLE_ROW(fusions_plain),
        [EMU_ISA_AVX2] = EMU_TABLE_ROW(fusions_avx2),
        [EMU_ISA_AVX512] = EMU_TABLE_ROW(fusions_avx512),
    };
    return tables[isa];
}
#else

/* Words of as many lanes as a step has: operations on them in both ways. */
#if EMU_LEVEL > 0
typedef __m256i FN(Words);
#define STEP 8
#define OP1(name, scalar, vector) INLINE FN(Words) FN(name)(FN(Words) a) { return vector; }
#define OP2(name, scalar, vector) INLINE FN(Words) FN(name)(FN(Words) a, FN(Words) b) { return vector; }
#define FLOATS(x) _mm256_castsi256_ps(x)
#define WORDS(x) _mm256_castps_si256(x)
INLINE __m256i FN(bits_of)(uint32_t bits)
{
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int32_t)bits), each), each);
}
INLINE __m256i FN(get)(const U32 *p)
{
    return _mm256_load_si256((const void *)p);
}
INLINE void FN(put)(U32 *p, __m256i x)
{
    _mm256_store_si256((void *)p, x);
}
INLINE void FN(put_some)(U32 *p, __m256i x, uint32_t bits)
{
    _mm256_store_si256((void *)p, _mm256_blendv_epi8(_mm256_load_si256((const void *)p), x, FN(bits_of)(bits)));
}
/* The low halves of words whose upper ones are 0. */
INLINE __m128i FN(low_halves)(__m256i x)
{
    return _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}
/* `most` */
INLINE __m256i FN(most_of)(__m256i x, __m256i y)
{
    const __m256 a = _mm256_castsi256_ps(x), b = _mm256_castsi256_ps(y);
    __m256 m = _mm256_max_ps(b, a); /* a where they are equal, or one is NaN */
    m = _mm256_blendv_ps(m, _mm256_and_ps(a, b), _mm256_cmp_ps(a, b, _CMP_EQ_OQ));
    return _mm256_castps_si256(_mm256_blendv_ps(m, b, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
}
INLINE __m256i FN(fma)(__m256i a, __m256i b, __m256i c)
{
    return _mm256_castps_si256(_mm256_fmadd_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), _mm256_castsi256_ps(c)));
}
/* yes where p is all ones, no where it is 0 */
INLINE __m256i FN(choose)(__m256i p, __m256i yes, __m256i no)
{
    return _mm256_blendv_epi8(no, yes, p);
}
#else
typedef uint32_t FN(Words);
#define STEP 1
#define OP1(name, scalar, vector) INLINE uint32_t FN(name)(uint32_t a) { return scalar; }
#define OP2(name, scalar, vector) INLINE uint32_t FN(name)(uint32_t a, uint32_t b) { return scalar; }
INLINE uint32_t FN(bits_of)(uint32_t bits)
{
    return 0u - (bits & 1);
}
INLINE uint32_t FN(get)(const U32 *p)
{
    return *p;
}
INLINE void FN(put)(U32 *p, uint32_t x)
{
    *p = x;
}
INLINE void FN(put_some)(U32 *p, uint32_t x, uint32_t bits)
{
    *p = bits & 1 ? x : *p;
}
INLINE uint32_t FN(most_of)(uint32_t a, uint32_t b)
{
    return f32_bits(most(f32_of(a), f32_of(b)));
}
INLINE uint32_t FN(fma)(uint32_t a, uint32_t b, uint32_t c)
{
    return f32_bits(__builtin_fmaf(f32_of(a), f32_of(b), f32_of(c)));
}
INLINE uint32_t FN(choose)(uint32_t p, uint32_t yes, uint32_t no)
{
    return (yes & p) | (no & ~p);
}
#endif

OP2(add, a + b, _mm256_add_epi32(a, b))
OP2(and, a & b, _mm256_and_si256(a, b))
OP2(or, a | b, _mm256_or_si256(a, b))
OP2(xor, a ^ b, _mm256_xor_si256(a, b))
OP2(shl, b < 32 ? a << (b & 31) : 0, _mm256_sllv_epi32(a, b))
OP2(shr, b < 32 ? a >> (b & 31) : 0, _mm256_srlv_epi32(a, b))
OP2(eq, 0u - (a == b), _mm256_cmpeq_epi32(a, b))
OP2(lt, 0u - ((int32_t)a < (int32_t)b), _mm256_cmpgt_epi32(b, a))
OP1(not, ~a, _mm256_xor_si256(a, _mm256_set1_epi32(-1)))
OP1(neg, a ^ 0x80000000, _mm256_xor_si256(a, _mm256_set1_epi32(INT32_MIN)))
OP2(mul, f32_bits(f32_of(a) * f32_of(b)), WORDS(_mm256_mul_ps(FLOATS(a), FLOATS(b))))

/* Slot i of the lanes of a step, or the predicate there; a handler of n slots that writes the words `expr`. */
#define S(i) FN(get)(s##i + l)
#define P(i) FN(bits_of)(p##i >> l)
#define FROM(i) const U32 *s##i = SLOT(U32, i);
#define PRED_FROM(i) const uint32_t p##i = PRED_OF(i);
#define FUSED(name, sources, expr)                                                                      \
    HANDLER(name)                                                                                       \
    {                                                                                                   \
        U32 *d = SLOT(U32, 0);                                                                          \
        sources                                                                                         \
        if (mask == 0xFFFFFFFFu) {                                                                      \
            _Pragma("GCC ivdep") _Pragma("GCC unroll 4") for (uint32_t l = 0; l < 32; l += STEP)        \
                FN(put)(d + l, expr);                                                                   \
        } else {                                                                                        \
            _Pragma("GCC ivdep") _Pragma("GCC unroll 4") for (uint32_t l = 0; l < 32; l += STEP)        \
                FN(put_some)(d + l, expr, mask >> l);                                                   \
        }                                                                                               \
        NEXT                                                                                            \
    }
#define FROM1 FROM(1)
#define FROM2 FROM1 FROM(2)
#define FROM3 FROM2 FROM(3)
#define FROM4 FROM3 FROM(4)
#define FROM5 FROM4 FROM(5)
#define FROM6 FROM5 FROM(6)

/* integers: any of six, then any of six */
#define AFTER(first, second) FUSED(first##_##second, FROM3, FN(second)(FN(first)(S(1), S(2)), S(3)))
#define AFTER_ALL(first) AFTER(first, add) AFTER(first, and) AFTER(first, or) AFTER(first, xor) AFTER(first, shl) AFTER(first, shr)
AFTER_ALL(add) AFTER_ALL(and) AFTER_ALL(or) AFTER_ALL(xor) AFTER_ALL(shl) AFTER_ALL(shr)
#undef AFTER
#undef AFTER_ALL
/* fields put together: a << b | ((c << e) + f), the usual way to a float's bits */
FUSED(shl_add_or, FROM4, FN(or)(FN(add)(FN(shl)(S(1), S(2)), S(3)), S(4)))
FUSED(shl_shl_add_or, FROM5, FN(or)(FN(add)(FN(shl)(S(3), S(4)), S(5)), FN(shl)(S(1), S(2))))

/* a comparison and what it selects, one side negated, the result multiplied */
#define CHOICES(name, test)                                                                             \
    FUSED(name##_selp, FROM4, FN(choose)(test, S(3), S(4)))                                             \
    FUSED(name##_selp_neg, FROM4, FN(choose)(test, S(4), FN(neg)(S(3))))                                \
    FUSED(name##_selp_neg_mul, FROM5, FN(mul)(FN(choose)(test, S(4), FN(neg)(S(3))), S(5)))
CHOICES(eq, FN(eq)(S(1), S(2)))
CHOICES(ne, FN(not)(FN(eq)(S(1), S(2))))
CHOICES(lt, FN(lt)(S(1), S(2)))
CHOICES(le, FN(not)(FN(lt)(S(2), S(1))))
CHOICES(gt, FN(lt)(S(2), S(1)))
CHOICES(ge, FN(not)(FN(lt)(S(1), S(2))))
#undef CHOICES
FUSED(selp_neg, FROM2 PRED_FROM(3), FN(choose)(P(3), S(2), FN(neg)(S(1))))
FUSED(selp_neg_mul, FROM2 PRED_FROM(3) FROM(4), FN(mul)(FN(choose)(P(3), S(2), FN(neg)(S(1))), S(4)))

/* a & b compared with c, the same */
INLINE uint32_t FN(equal_bits)(const U32 *a, const U32 *b, const U32 *c)
{
    uint32_t bits = 0;
#if EMU_LEVEL > 0
    _Pragma("GCC unroll 4") for (uint32_t l = 0; l < 32; l += STEP)
        bits |= (uint32_t)_mm256_movemask_ps(FLOATS(FN(eq)(FN(and)(FN(get)(a + l), FN(get)(b + l)), FN(get)(c + l)))) << l;
#else
    for (uint32_t l = 0; l < 32; l++)
        bits |= (uint32_t)((a[l] & b[l]) == c[l] ? 1 : 0) << l;
#endif
    return bits;
}
#define CHOICES(name, test, flip)                                                                       \
    FUSED(name##_selp, FROM5, FN(choose)(test, S(4), S(5)))                                             \
    FUSED(name##_selp_neg, FROM5, FN(choose)(test, S(5), FN(neg)(S(4))))                                \
    FUSED(name##_selp_neg_mul, FROM6, FN(mul)(FN(choose)(test, S(5), FN(neg)(S(4))), S(6)))             \
    HANDLER(name##_setp)                                                                                \
    {                                                                                                   \
        const uint32_t bits = FN(equal_bits)(SLOT(U32, 2), SLOT(U32, 3), SLOT(U32, 4)) ^ flip;          \
        put_pred(w, r->o[0], bits, mask);                                                               \
        put_pred(w, r->o[1], ~bits, mask);                                                              \
        NEXT                                                                                            \
    }
CHOICES(and_eq, FN(eq)(FN(and)(S(1), S(2)), S(3)), 0)
CHOICES(and_ne, FN(not)(FN(eq)(FN(and)(S(1), S(2)), S(3))), 0xFFFFFFFF)
#undef CHOICES

/* halves of a word as numbers, multiplied, squared into a sum, times another half */
#define LOW_BF16(x) f32_of((x) << 16)
#define HIGH_BF16(x) f32_of((x) & 0xFFFF0000)
#define HALF_OF(name, number)                                                                           \
    MAP1(name, F32, U32, number(a))                                                                     \
    MAP2(name##_mul, F32, U32, F32, number(a) * b)                                                      \
    MAP3(name##_mul_mul, F32, U32, F32, U32, number(c) * (number(a) * b))                               \
    MAP3(name##_fma, F32, U32, F32, F32, __builtin_fmaf(number(a), b, c))                               \
    MAP2(name##_square, F32, U32, F32, __builtin_fmaf(number(a), number(a), b))
HALF_OF(low_bf16, LOW_BF16)
HALF_OF(high_bf16, HIGH_BF16)
#undef HALF_OF
MAP3(bf16_squares, F32, U32, F32, U32, __builtin_fmaf(HIGH_BF16(c), HIGH_BF16(c), __builtin_fmaf(LOW_BF16(a), LOW_BF16(a), b)))
#undef LOW_BF16
#undef HIGH_BF16
OP1(low_half, f32_bits(f16_widen(a & 0xFFFF)), WORDS(_mm256_cvtph_ps(FN(low_halves)(_mm256_and_si256(a, _mm256_set1_epi32(0xFFFF))))))
OP1(high_half, f32_bits(f16_widen(a >> 16)), WORDS(_mm256_cvtph_ps(FN(low_halves)(_mm256_srli_epi32(a, 16)))))
FUSED(low_f16, FROM1, FN(low_half)(S(1)))
FUSED(high_f16, FROM1, FN(high_half)(S(1)))
FUSED(low_f16_mul, FROM2, FN(mul)(FN(low_half)(S(1)), S(2)))
FUSED(high_f16_mul, FROM2, FN(mul)(FN(high_half)(S(1)), S(2)))
FUSED(low_f16_fma, FROM3, FN(fma)(FN(low_half)(S(1)), S(2), S(3)))
FUSED(high_f16_fma, FROM3, FN(fma)(FN(high_half)(S(1)), S(2), S(3)))

/* largest magnitudes */
OP1(magnitude, a & 0x7FFFFFFF, _mm256_and_si256(a, _mm256_set1_epi32(INT32_MAX)))
FUSED(abs_max, FROM2, FN(most_of)(FN(magnitude)(S(1)), S(2)))
FUSED(abs_abs_max, FROM2, FN(most_of)(FN(magnitude)(S(1)), FN(magnitude)(S(2))))
FUSED(abs_abs_max_max, FROM3, FN(most_of)(FN(most_of)(FN(magnitude)(S(1)), FN(magnitude)(S(2))), S(3)))

MAP2(number_mul, F32, U32, F32, (float)a * b)

/* products to e2m1, the high nibble's first */
#define NIBBLES(hi, lo) (e2m1_narrow(hi) << 4 | e2m1_narrow(lo))
MAP2(e2m1x2_word, U32, F32, F32, NIBBLES(a, b))
MAP3(mul_e2m1x2, U16, F32, F32, F32, NIBBLES(a * b, c))
MAP4(mul_mul_e2m1x2, U16, F32, F32, F32, F32, NIBBLES(c * e, a * b))
MAP4(mul_mul_e2m1x2_word, U32, F32, F32, F32, F32, NIBBLES(c * e, a * b))
#undef NIBBLES

/* addresses */
MAP2(u32_add64, U64, U32, U64, (uint64_t)a + b)
MAP2(s32_add64, U64, S32, U64, (uint64_t)(int64_t)a + b)
MAP3(add64_add64, U64, U64, U64, U64, a + b + c)
MAP2(add64_cut, U32, U64, U64, a + b)
MAP2(cut_add, U32, U64, U32, a + b)
#define WIDE(name, A, expr, vector)                                                                     \
    HANDLER(name)                                                                                       \
    {                                                                                                   \
        U64 *d = SLOT(U64, 0);                                                                          \
        const A *pa = SLOT(A, 1);                                                                       \
        const U32 *pb = SLOT(U32, 2);                                                                   \
        const U64 *pc = SLOT(U64, 3);                                                                   \
        BY_VECTOR(4, PUT32(d, _mm256_add_epi64(vector, V32(pc)));)                                      \
        WRITE3(U64, expr)                                                                               \
    }
WIDE(wide_u32_add64, U32, (uint64_t)a * b + c, _mm256_mul_epu32(_mm256_cvtepu32_epi64(V16(pa)), _mm256_cvtepu32_epi64(V16(pb))))
WIDE(wide_s32_add64, U32, (uint64_t)((int64_t)(int32_t)a * (int32_t)b) + c,
     _mm256_mul_epi32(_mm256_cvtepu32_epi64(V16(pa)), _mm256_cvtepu32_epi64(V16(pb))))
WIDE(shl64_add64, U64, (b < 64 ? a << (b & 63) : 0) + c, _mm256_sllv_epi64(V32(pa), _mm256_cvtepu32_epi64(V16(pb))))
WIDE(shr64_add64, U64, (b < 64 ? a >> (b & 63) : 0) + c, _mm256_srlv_epi64(V32(pa), _mm256_cvtepu32_epi64(V16(pb))))
#undef WIDE

/* instructions and handlers as parts of a fusion; where the first's result goes: sources of the second, by place */
#define I(form, type, mods) (&(const EmuBind){PTX_OP_##form, type, NULL, mods, NULL})
#define CVT(form, to, from, mods) (&(const EmuBind){PTX_OP_CVT_##form, to, from, mods, NULL})
#define H(name) (&(const EmuBind){.fn = FN(name)})
#define AT(i) (1u << (i))
#define TO(first, second, at, name) {first, second, 0, at, FN(name)}
#define TO_ANY(first, second, name) TO(first, second, AT(1), name), TO(first, second, AT(2), name)
#define I_add I(ADD, "u32", "")
#define I_and I(AND, "b32", "")
#define I_or I(OR, "b32", "")
#define I_xor I(XOR, "b32", "")
#define I_shl I(SHL, "b32", "")
#define I_shr I(SHR, "u32", "")
#define I_add64 I(ADD, "u64", "")
#define I_selp I(SELP, "b32", "")
#define I_mul I(MUL_F32, "f32", "")
#define I_neg I(NEG_F32, "f32", "")
#define I_abs I(ABS_F32, "f32", "")
#define I_max I(MAX_F32, "f32", "")
#define I_fma I(FMA_F32, "f32", "")
#define AFTER(first) TO_ANY(I_##first, I_add, first##_add), TO_ANY(I_##first, I_and, first##_and), TO_ANY(I_##first, I_or, first##_or), \
    TO_ANY(I_##first, I_xor, first##_xor), TO(I_##first, I_shl, AT(1), first##_shl), TO(I_##first, I_shr, AT(1), first##_shr)
#define CHOICES(compare, name) TO(compare, I_selp, AT(3), name##_selp), TO(compare, H(selp_neg), AT(3), name##_selp_neg), \
    TO_ANY(H(name##_selp_neg), I_mul, name##_selp_neg_mul)
#define COMPARED(name) CHOICES(I(SETP, "s32", #name), name)
#define ANDED(name) TO(I_and, I(SETP, "s32", #name), AT(1), and_##name##_setp), CHOICES(H(and_##name##_setp), and_##name)
#define UNPACKED(element, type, name) {I_unpack, CVT(F2F, "f32", type, ""), element, AT(1), FN(name)}, \
    TO_ANY(H(name), I_mul, name##_mul), TO_ANY(H(name), I_fma, name##_fma)
#define I_unpack I(MOV, "b32", "hi v2")
#define SQUARED(name) TO(H(name), I_fma, AT(1) | AT(2), name##_square), TO(H(name##_mul), H(name##_mul), AT(2), name##_mul_mul)
#define I_e2m1x2 CVT(E4, "e2m1x2", "f32", "")
#define I_word_of_byte CVT(INT, "u32", "u8", "")

static const EmuFusion FN(fusions)[] = {
    AFTER(add), AFTER(and), AFTER(or), AFTER(xor), AFTER(shl), AFTER(shr),
    TO_ANY(H(shl_add), I_or, shl_add_or), TO(I_shl, H(shl_add_or), AT(4), shl_shl_add_or),
    TO(I_neg, I_selp, AT(2), selp_neg), TO_ANY(H(selp_neg), I_mul, selp_neg_mul),
    COMPARED(eq), COMPARED(ne), COMPARED(lt), COMPARED(le), COMPARED(gt), COMPARED(ge), ANDED(eq), ANDED(ne),
    UNPACKED(0, "bf16", low_bf16), UNPACKED(1, "bf16", high_bf16), UNPACKED(0, "f16", low_f16), UNPACKED(1, "f16", high_f16),
    SQUARED(low_bf16), SQUARED(high_bf16), TO(H(low_bf16_square), H(high_bf16_square), AT(2), bf16_squares),
    {I(MOV, "b16", "hi v2"), CVT(F16_E4, "f16x2", "e2m1x2", ""), 0, AT(1), NULL}, /* which looks at the low byte alone */
    TO_ANY(I_abs, I_max, abs_max), TO(I_abs, H(abs_max), AT(2), abs_abs_max), TO_ANY(H(abs_abs_max), I_max, abs_abs_max_max),
    TO_ANY(CVT(I2F, "f32", "u32", ""), I_mul, number_mul),
    TO(I_mul, I_e2m1x2, AT(1), mul_e2m1x2), TO(I_mul, H(mul_e2m1x2), AT(3), mul_mul_e2m1x2),
    TO(H(mul_mul_e2m1x2), I_word_of_byte, AT(1), mul_mul_e2m1x2_word), TO(I_e2m1x2, I_word_of_byte, AT(1), e2m1x2_word),
    TO_ANY(CVT(INT, "u64", "u32", ""), I_add64, u32_add64), TO_ANY(CVT(INT, "u64", "s32", ""), I_add64, s32_add64),
    TO_ANY(I(MUL_WIDE, "u32", "wide"), I_add64, wide_u32_add64), TO_ANY(I(MUL_WIDE, "s32", "wide"), I_add64, wide_s32_add64),
    TO_ANY(I(SHL, "b64", ""), I_add64, shl64_add64), TO_ANY(I(SHR, "u64", ""), I_add64, shr64_add64),
    TO_ANY(I_add64, I_add64, add64_add64), TO(I_add64, CVT(INT, "u32", "u64", ""), AT(1), add64_cut),
    TO_ANY(CVT(INT, "u32", "u64", ""), I_add, cut_add),
};
#undef OP1
#undef OP2
#undef STEP
#undef FLOATS
#undef WORDS
#undef S
#undef P
#undef FROM
#undef PRED_FROM
#undef FUSED
#undef FROM1
#undef FROM2
#undef FROM3
#undef FROM4
#undef FROM5
#undef FROM6
#undef I
#undef CVT
#undef H
#undef AT
#undef TO
#undef TO_ANY
#undef I_add
#undef I_and
#undef I_or
#undef I_xor
#undef I_shl
#undef I_shr
#undef I_add64
#undef I_selp
#undef I_mul
#undef I_neg
#undef I_abs
#undef I_max
#undef I_fma
#undef AFTER
#undef CHOICES
#undef COMPARED
#undef ANDED
#undef UNPACKED
#undef I_unpack
#undef SQUARED
#undef I_e2m1x2
#undef I_word_of_byte
#endif
