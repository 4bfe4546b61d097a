/* Matrices. Fragments (lane l, g = l / 4, t = l % 4; the spec's tables, checked against index maps in tests/emu/emu_cases_test.c):
 *   A register i: row g + 8 * (i & 1), k from E * t + 4 * E * (i >> 1), E elements of it side by side (2 halves, 4 bytes, 8 nibbles)
 *   B register i: column g, k from E * t + 4 * E * i         D, C register i: row g + 8 * (i >> 1), column 2 * t + (i & 1)
 * A register's 32 lanes are thus an 8 x 4 matrix of words, and a transposition of it puts rows side by side: all that follows runs
 * over 16 rows at once. Slots of operands are in the pool from o[0]: d, a, b, c, and the scales with their selectors. */
#ifndef FN
#pragma GCC optimize("no-trapping-math") /* nobody looks at exception flags; without it conditions stay branches */
#include <assert.h>
#include <immintrin.h>

#include "core/emu/emu_check.h"
#include "core/emu/emu_op.h"

#define EMU_SELF "core/emu/emu_op_mma.c"
#define EMU_BOTH
#include "core/emu/emu_isa.h"
EMU_TABLES(emu_op_mma)

#else

#define TOGETHER                                                                        \
    const uint32_t on = mask & ~w->dead;                                                \
    {                                                                                   \
        const EmuRec *next;                                                             \
        if (!emu_exec_together(w, r, on, 0xFFFFFFFF, &next))                            \
            return next;                                                                \
    }
#define POOL(i) ((U32 *)(void *)(w->regs + w->code->pool[r->o[0] + (i)]))

#if EMU_LEVEL > 0
/* 32 words as 8 rows of 4 become 4 rows of 8. */
INLINE void FN(rows_of_8)(const U32 *from, __m256i x[4])
{
    const __m256i *s = (const void *)from;
    const __m256i s0 = _mm256_load_si256(s), s1 = _mm256_load_si256(s + 1), s2 = _mm256_load_si256(s + 2), s3 = _mm256_load_si256(s + 3);
    const __m256i r04 = _mm256_permute2x128_si256(s0, s2, 0x20), r15 = _mm256_permute2x128_si256(s0, s2, 0x31);
    const __m256i r26 = _mm256_permute2x128_si256(s1, s3, 0x20), r37 = _mm256_permute2x128_si256(s1, s3, 0x31);
    const __m256i a = _mm256_unpacklo_epi32(r04, r15), b = _mm256_unpacklo_epi32(r26, r37);
    const __m256i c = _mm256_unpackhi_epi32(r04, r15), e = _mm256_unpackhi_epi32(r26, r37);
    x[0] = _mm256_unpacklo_epi64(a, b);
    x[1] = _mm256_unpackhi_epi64(a, b);
    x[2] = _mm256_unpacklo_epi64(c, e);
    x[3] = _mm256_unpackhi_epi64(c, e);
}

/* And back, into the lanes of mask. */
INLINE void FN(put_rows_of_8)(const __m256i x[4], U32 *to, uint32_t mask)
{
    const __m256i a = _mm256_unpacklo_epi32(x[0], x[1]), b = _mm256_unpacklo_epi32(x[2], x[3]);
    const __m256i c = _mm256_unpackhi_epi32(x[0], x[1]), e = _mm256_unpackhi_epi32(x[2], x[3]);
    const __m256i r04 = _mm256_unpacklo_epi64(a, b), r15 = _mm256_unpackhi_epi64(a, b);
    const __m256i r26 = _mm256_unpacklo_epi64(c, e), r37 = _mm256_unpackhi_epi64(c, e);
    const __m256i y[4] = {_mm256_permute2x128_si256(r04, r15, 0x20), _mm256_permute2x128_si256(r26, r37, 0x20),
                          _mm256_permute2x128_si256(r04, r15, 0x31), _mm256_permute2x128_si256(r26, r37, 0x31)};
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    for (uint32_t i = 0; i < 4; i++) {
        __m256i *d = (__m256i *)(void *)(to + 8 * i);
        const __m256i on = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int32_t)(mask >> (8 * i))), bits), bits);
        _mm256_store_si256(d, mask == 0xFFFFFFFF ? y[i] : _mm256_blendv_epi8(_mm256_load_si256(d), y[i], on));
    }
}
#endif

/* 32 words as 8 rows of 4 become 4 rows of 8, `ld` words apart. */
INLINE void FN(transpose)(const U32 *from, U32 *to, uint32_t ld)
{
#if EMU_LEVEL > 0
    __m256i x[4];
    FN(rows_of_8)(from, x);
    for (uint32_t t = 0; t < 4; t++)
        _mm256_storeu_si256((void *)(to + t * ld), x[t]);
#else
    for (uint32_t half = 0; half < 2; half++) {
        const U32 *s = from + 16 * half;
        __m128 x0 = _mm_loadu_ps((const void *)s), x1 = _mm_loadu_ps((const void *)(s + 4));
        __m128 x2 = _mm_loadu_ps((const void *)(s + 8)), x3 = _mm_loadu_ps((const void *)(s + 12));
        _MM_TRANSPOSE4_PS(x0, x1, x2, x3);
        _mm_storeu_ps((void *)(to + 4 * half), x0);
        _mm_storeu_ps((void *)(to + ld + 4 * half), x1);
        _mm_storeu_ps((void *)(to + 2 * ld + 4 * half), x2);
        _mm_storeu_ps((void *)(to + 3 * ld + 4 * half), x3);
    }
#endif
}

INLINE void FN(transpose_back)(const U32 *from, uint32_t ld, U32 *to)
{
#if EMU_LEVEL > 0
    __m256i x[4];
    for (uint32_t t = 0; t < 4; t++)
        x[t] = _mm256_loadu_si256((const void *)(from + t * ld));
    FN(put_rows_of_8)(x, to, 0xFFFFFFFF);
#else
    for (uint32_t half = 0; half < 2; half++) {
        U32 *d = to + 16 * half;
        const U32 *s = from + 4 * half;
        __m128 x0 = _mm_loadu_ps((const void *)s), x1 = _mm_loadu_ps((const void *)(s + ld));
        __m128 x2 = _mm_loadu_ps((const void *)(s + 2 * ld)), x3 = _mm_loadu_ps((const void *)(s + 3 * ld));
        _MM_TRANSPOSE4_PS(x0, x1, x2, x3);
        _mm_storeu_ps((void *)d, x0);
        _mm_storeu_ps((void *)(d + 4), x1);
        _mm_storeu_ps((void *)(d + 8), x2);
        _mm_storeu_ps((void *)(d + 12), x3);
    }
#endif
}

/* The accumulator by columns: tile[column][row]. */
typedef float FN(Tile)[8][16];

INLINE void FN(get_tile)(EmuWarp *w, const EmuRec *r, uint32_t first, FN(Tile) tile)
{
    for (uint32_t i = 0; i < 4; i++)
        FN(transpose)(POOL(first + i), (U32 *)(void *)&tile[i & 1][8 * (i >> 1)], 32);
}

INLINE void FN(put_tile)(EmuWarp *w, const EmuRec *r, uint32_t mask, FN(Tile) tile)
{
    for (uint32_t i = 0; i < 4; i++) {
        U32 x[32] __attribute__((aligned(64))), *d = POOL(i);
        if (mask == 0xFFFFFFFF) {
            FN(transpose_back)((U32 *)(void *)&tile[i & 1][8 * (i >> 1)], 32, d);
        } else {
            FN(transpose_back)((U32 *)(void *)&tile[i & 1][8 * (i >> 1)], 32, x);
            LANES { d[l] = mask >> l & 1 ? x[l] : d[l]; }
        }
    }
}

/* acc += sum over k of a[k][row] * b[k][column], k after k. Not inlined: the rounding mode around it must stay around it. */
static __attribute__((noinline)) void FN(products)(FN(Tile) acc, float (*a)[16], float (*b)[8], uint32_t k_n)
{
    for (uint32_t n = 0; n < 8; n++) {
        float x[16];
        memcpy(x, acc[n], sizeof x);
        for (uint32_t k = 0; k < k_n; k++)
            for (uint32_t i = 0; i < 16; i++)
                x[i] = __builtin_fmaf(a[k][i], b[k][n], x[i]);
        memcpy(acc[n], x, sizeof x);
    }
}

static __attribute__((noinline)) void FN(products_exact)(FN(Tile) acc, float (*a)[16], float (*b)[8], uint32_t k_n)
{
    for (uint32_t n = 0; n < 8; n++)
        for (uint32_t i = 0; i < 16; i++) {
            double x = 0;
            for (uint32_t k = 0; k < k_n; k++)
                x += (double)a[k][i] * (double)b[k][n];
            acc[n][i] = (float)(x + (double)acc[n][i]);
        }
}

static void FN(accumulate)(EmuWarp *w, FN(Tile) acc, float (*a)[16], float (*b)[8], uint32_t k_n)
{
    EmuAccumulate how = w->worker->run->launch->accumulate;
    unsigned before = _mm_getcsr();
    if (how == EMU_ACCUMULATE_EXACT) {
        FN(products_exact)(acc, a, b, k_n);
        return;
    }
    if (how == EMU_ACCUMULATE_TRUNCATE)
        _mm_setcsr(before | 0x6000);
    FN(products)(acc, a, b, k_n);
    _mm_setcsr(before);
}

/* Elements of a register as words [t][g], then each element j of the word of lane (g, t) to row k = E * t + j. */
INLINE void FN(halves)(const U32 *reg, float *to, uint32_t ld, bool is_bf16)
{
    U32 x[4][8];
    FN(transpose)(reg, x[0], 8);
    for (uint32_t t = 0; t < 4; t++)
        for (uint32_t g = 0; g < 8; g++) {
            uint32_t u = x[t][g];
            to[2 * t * ld + g] = is_bf16 ? bf16_widen(u & 0xFFFF) : f16_widen(u & 0xFFFF);
            to[(2 * t + 1) * ld + g] = is_bf16 ? bf16_widen(u >> 16) : f16_widen(u >> 16);
        }
}

INLINE const EmuRec *FN(mma_half)(EmuWarp *w, const EmuRec *r, uint32_t mask, bool is_bf16, uint32_t k_n)
{
    TOGETHER
    float a[16][16] __attribute__((aligned(64))), b[16][8] __attribute__((aligned(64)));
    FN(Tile) acc __attribute__((aligned(64)));
    const uint32_t an = k_n / 4, bn = k_n / 8;
    for (uint32_t i = 0; i < an; i++)
        FN(halves)(POOL(4 + i), &a[8 * (i >> 1)][8 * (i & 1)], 16, is_bf16);
    for (uint32_t i = 0; i < bn; i++)
        FN(halves)(POOL(4 + an + i), b[8 * i], 8, is_bf16);
    FN(get_tile)(w, r, 4 + an + bn, acc);
    FN(accumulate)(w, acc, a, b, k_n);
    FN(put_tile)(w, r, mask, acc);
    (void)on;
    return r + 1;
}
HANDLER(mma_f16)
{
    return FN(mma_half)(w, r, mask, false, 16);
}
HANDLER(mma_bf16)
{
    return FN(mma_half)(w, r, mask, true, 16);
}
HANDLER(mma_f16_k8)
{
    return FN(mma_half)(w, r, mask, false, 8);
}
HANDLER(mma_bf16_k8)
{
    return FN(mma_half)(w, r, mask, true, 8);
}

/* tf32: one element a register, 13 bits of it ignored; register i of A at k = t + 4 * (i >> 1) */
HANDLER(mma_tf32)
{
    TOGETHER
    float a[8][16], b[8][8];
    FN(Tile) acc;
    for (uint32_t i = 0; i < 4; i++)
        FN(transpose)(POOL(4 + i), (U32 *)(void *)&a[4 * (i >> 1)][8 * (i & 1)], 16);
    for (uint32_t i = 0; i < 2; i++)
        FN(transpose)(POOL(8 + i), (U32 *)(void *)b[4 * i], 8);
    for (uint32_t k = 0; k < 8; k++) {
        for (uint32_t i = 0; i < 16; i++)
            a[k][i] = f32_of(f32_bits(a[k][i]) & 0xFFFFE000);
        for (uint32_t i = 0; i < 8; i++)
            b[k][i] = f32_of(f32_bits(b[k][i]) & 0xFFFFE000);
    }
    FN(get_tile)(w, r, 10, acc);
    FN(accumulate)(w, acc, a, b, 8);
    FN(put_tile)(w, r, mask, acc);
    (void)on;
    return r + 1;
}

HANDLER(mma_s8)
{
    TOGETHER
    int32_t a[32][16], b[32][8];
    const bool sa = w->code->sites[r->insn].in->types[1] == PTX_S8, sb = w->code->sites[r->insn].in->types[2] == PTX_S8;
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t l = 0; l < 32; l++)
            for (uint32_t j = 0; j < 4; j++) {
                uint32_t u = POOL(4 + i)[l] >> (8 * j) & 0xFF, is_signed = i < 4 ? sa : sb;
                int32_t x = is_signed ? (int8_t)u : (int32_t)u;
                if (i < 4)
                    a[4 * (l & 3) + j + 16 * (i >> 1)][(l >> 2) + 8 * (i & 1)] = x;
                else
                    b[4 * (l & 3) + j + 16 * (i - 4)][l >> 2] = x;
            }
    uint32_t y[4][32];
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t l = 0; l < 32; l++) {
            y[i][l] = POOL(10 + i)[l];
            for (uint32_t k = 0; k < 32; k++)
                y[i][l] += (uint32_t)(a[k][(l >> 2) + 8 * (i >> 1)] * b[k][2 * (l & 3) + (i & 1)]);
        }
    for (uint32_t i = 0; i < 4; i++)
        LANES { POOL(i)[l] = mask >> l & 1 ? y[i][l] : POOL(i)[l]; }
    (void)on;
    return r + 1;
}

INLINE float FN(e4m3_value)(uint32_t code)
{
    uint32_t low = code & 0x7F;
    float small = (float)(int32_t)low * 0x1p-9f, normal = f32_of((low << 20) + (120u << 23));
    float x = low < 8 ? small : normal;
    x = low == 0x7F ? f32_of(0x7FC00000) : x;
    return f32_of(f32_bits(x) | (code & 0x80) << 24);
}

/* Elements of one byte each; FP6 in the low six bits, FP4 in bits 2 to 5. */
INLINE float FN(byte_value)(uint32_t u, PtxType type)
{
    uint32_t sign, low;
    switch (type) {
    case PTX_E4M3: return FN(e4m3_value)(u);
    case PTX_E5M2: return f16_widen(u << 8);
    case PTX_E3M2:
        sign = u >> 5 & 1, low = u & 31;
        return f32_of(f32_bits(low < 4 ? (float)(int32_t)low * 0x1p-4f : f32_of((low << 21) + (124u << 23))) | sign << 31);
    case PTX_E2M3:
        sign = u >> 5 & 1, low = u & 31;
        return f32_of(f32_bits((low < 8 ? (float)(int32_t)low * 0x1p-3f : f32_of((low << 20) + (126u << 23)))) | sign << 31);
    default:
        sign = u >> 5 & 1, low = u >> 2 & 7;
        return f32_of(f32_bits(low < 2 ? (float)(int32_t)low * 0.5f : f32_of((low << 22) + (126u << 23))) | sign << 31);
    }
}

static void FN(bytes)(const U32 *reg, float *to, uint32_t ld, PtxType type)
{
    float value[256];
    for (uint32_t u = 0; u < 256; u++)
        value[u] = FN(byte_value)(u, type);
    for (uint32_t l = 0; l < 32; l++)
        for (uint32_t j = 0; j < 4; j++)
            to[(4 * (l & 3) + j) * ld + (l >> 2)] = value[reg[l] >> (8 * j) & 0xFF];
}

/* Scale words: of row i from lane 4 * (i & 7) + 2 * thread + (i >> 3), of column n from lane 4 * n + thread. Selectors are uniform. */
INLINE bool FN(selectors)(EmuWarp *w, const EmuRec *r, uint32_t on, uint32_t at, uint32_t threads, uint32_t bytes_step, uint32_t *byte,
                          uint32_t *thread)
{
    uint32_t lane = (uint32_t)__builtin_ctz(on);
    *byte = ((const U16 *)(void *)POOL(at))[lane];
    *thread = ((const U16 *)(void *)POOL(at + 1))[lane];
    if (*byte < 4 && *byte % bytes_step == 0 && *thread < threads)
        return true;
    emu_check_finding(w, r, EMU_BAD_OPERAND, on, "scale selectors {%u, %u}: bytes are multiples of %u below 4, threads below %u", *byte,
                      *thread, bytes_step, threads);
    return false;
}

INLINE void FN(scale_words)(EmuWarp *w, const EmuRec *r, uint32_t at_a, uint32_t ta, uint32_t at_b, uint32_t tb, uint32_t a[16], uint32_t b[8])
{
    const U32 *sa = POOL(at_a), *sb = POOL(at_b);
    for (uint32_t i = 0; i < 16; i++)
        a[i] = sa[4 * (i & 7) + 2 * ta + (i >> 3)];
    for (uint32_t n = 0; n < 8; n++)
        b[n] = sb[4 * n + tb];
}

/* Block sums times scales: sum[block][column][row]; the scales of a block by row and by column. */
typedef struct FN(Blocks) {
    float sum[4][8][16] __attribute__((aligned(64)));
    float sa[4][16] __attribute__((aligned(64)));
    float sb[4][8];
} FN(Blocks);

/* Each product of sum and row scale is exact in f32 for e2m1 with ue4m3; C comes last. */
static __attribute__((noinline)) void FN(scaled)(FN(Tile) acc, const FN(Blocks) *x, uint32_t blocks)
{
    for (uint32_t n = 0; n < 8; n++) {
        float y[16] = {0};
        for (uint32_t block = 0; block < blocks; block++)
            for (uint32_t i = 0; i < 16; i++)
                y[i] = __builtin_fmaf(x->sum[block][n][i] * x->sa[block][i], x->sb[block][n], y[i]);
        for (uint32_t i = 0; i < 16; i++)
            acc[n][i] += y[i];
    }
}

static void FN(accumulate_scaled)(EmuWarp *w, FN(Tile) acc, const FN(Blocks) *x, uint32_t blocks)
{
    EmuAccumulate how = w->worker->run->launch->accumulate;
    unsigned before = _mm_getcsr();
    if (how == EMU_ACCUMULATE_EXACT) {
        for (uint32_t n = 0; n < 8; n++)
            for (uint32_t i = 0; i < 16; i++) {
                double y = 0;
                for (uint32_t block = 0; block < blocks; block++)
                    y += (double)x->sum[block][n][i] * (double)x->sa[block][i] * (double)x->sb[block][n];
                acc[n][i] = (float)(y + (double)acc[n][i]);
            }
        return;
    }
    if (how == EMU_ACCUMULATE_TRUNCATE)
        _mm_setcsr(before | 0x6000);
    FN(scaled)(acc, x, blocks);
    _mm_setcsr(before);
}

#if EMU_LEVEL > 0
/* Doubled, so that they are whole numbers. */
INLINE __m128i FN(e2m1_values)(void)
{
    return _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
}

/* Of B: values of the words of lanes, even and odd nibbles apart: b[h][odd][lane]; and bias, -12 times the sum of a word's elements
 * and its neighbour's, hence of a block, because A is biased by 12 to be unsigned. */
INLINE void FN(e2m1_b)(EmuWarp *w, const EmuRec *r, U32 (*b)[2][32], int32_t (*bias)[32])
{
    const __m256i values = _mm256_broadcastsi128_si256(FN(e2m1_values)()), low = _mm256_set1_epi8(15), twelve = _mm256_set1_epi8(12);
    for (uint32_t h = 0; h < 2; h++)
        for (uint32_t l = 0; l < 32; l += 8) {
            __m256i x = V32(POOL(8 + h));
            __m256i even = _mm256_shuffle_epi8(values, _mm256_and_si256(x, low));
            __m256i odd = _mm256_shuffle_epi8(values, _mm256_and_si256(_mm256_srli_epi16(x, 4), low));
            PUT32(b[h][0], even);
            PUT32(b[h][1], odd);
            __m256i pairs = _mm256_maddubs_epi16(twelve, _mm256_add_epi8(even, odd));
            pairs = _mm256_madd_epi16(pairs, _mm256_set1_epi16(-1));
            pairs = _mm256_add_epi32(pairs, _mm256_shuffle_epi32(pairs, 0xB1)); /* lanes t and t ^ 1 */
            PUT32(bias[h], pairs);
        }
}

/* The ue4m3 bytes of 8 words, times factor / 256, by byte. As bits of an f16 they are 256 times too small. */
INLINE void FN(ue4m3_8)(__m256i words, float factor, __m256 x[4])
{
    const __m256i by_byte = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m256i codes = _mm256_shuffle_epi8(_mm256_and_si256(words, _mm256_set1_epi8(0x7F)), by_byte);
    codes = _mm256_permutevar8x32_epi32(codes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    for (uint32_t i = 0; i < 2; i++) {
        __m256i h = _mm256_slli_epi16(_mm256_cvtepu8_epi16(i ? _mm256_extracti128_si256(codes, 1) : _mm256_castsi256_si128(codes)), 7);
        const __m256i is_nan = _mm256_cmpeq_epi16(h, _mm256_set1_epi16(0x7F << 7));
        h = _mm256_or_si256(h, _mm256_and_si256(is_nan, _mm256_set1_epi16(0x7E00)));
        x[2 * i] = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(h)), _mm256_set1_ps(factor));
        x[2 * i + 1] = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)), _mm256_set1_ps(factor));
    }
}

/* The mma with e2m1 and ue4m3 runs over the lanes as they lie: 8 of a C register are rows 2 v and 2 v + 1 in columns p, p + 2, p + 4,
 * p + 6, where v counts pairs of rows and p is the register's parity. Block 2 h + t / 2 of k is words t and t + 1 of A's and B's
 * registers of half h. Each of two factors is doubled to be a whole number, which the scales of rows take back; A is biased by 12
 * to be unsigned.
 * A sum becomes a number by the bits of 1.5 * 2^23, of whose last place it is a multiple: what is then taken away times the scale is
 * exact, as the product of sum and scale is.
 * A: a register's words, even and odd nibbles apart: x[v][h][odd]; scales. */
typedef struct FN(Fp4A) {
    __m256i x[8][2][2];
    __m256 scale[8][4];
} FN(Fp4A);

/* B: the words of four columns, twice: x[block][p][2 (t & 1) + odd]; what to add to a sum: those bits less what A's bias gave; scales. */
typedef struct FN(Fp4B) {
    __m256i x[4][2][4], bias[4][2];
    __m256 scale[4][2];
} FN(Fp4B);

static void FN(fp4_a)(EmuWarp *w, const EmuRec *r, uint32_t thread, FN(Fp4A) *a)
{
    const __m256i values = _mm256_broadcastsi128_si256(_mm_add_epi8(FN(e2m1_values)(), _mm_set1_epi8(12))), low = _mm256_set1_epi8(15);
    __m256i words[4];
    __m256 scales[2][4];
    FN(rows_of_8)(POOL(14), words);
    FN(ue4m3_8)(words[2 * thread], 64, scales[0]);
    FN(ue4m3_8)(words[2 * thread + 1], 64, scales[1]);
    for (uint32_t i = 0; i < 4; i++) {
        const U32 *reg = POOL(4 + i);
        for (uint32_t l = 0; l < 32; l += 8) {
            __m256i *to = a->x[4 * (i & 1) + l / 8][i >> 1];
            to[0] = _mm256_shuffle_epi8(values, _mm256_and_si256(V32(reg), low));
            to[1] = _mm256_shuffle_epi8(values, _mm256_and_si256(_mm256_srli_epi16(V32(reg), 4), low));
        }
    }
    for (uint32_t v = 0; v < 8; v++) {
        const __m256i pair = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), at = _mm256_add_epi32(pair, _mm256_set1_epi32((int32_t)(2 * (v & 3))));
        for (uint32_t block = 0; block < 4; block++)
            a->scale[v][block] = _mm256_permutevar8x32_ps(scales[v >> 2][block], at);
    }
}

/* A register's words of rows 0, 2, 4, 6 and 1, 3, 5, 7, by word of a row. */
INLINE void FN(even_and_odd_rows)(const U32 *from, __m256i x[4])
{
    const __m256i *s = (const void *)from;
    const __m256i a = _mm256_unpacklo_epi32(s[0], s[1]), b = _mm256_unpacklo_epi32(s[2], s[3]);
    const __m256i c = _mm256_unpackhi_epi32(s[0], s[1]), e = _mm256_unpackhi_epi32(s[2], s[3]);
    x[0] = _mm256_unpacklo_epi64(a, b);
    x[1] = _mm256_unpackhi_epi64(a, b);
    x[2] = _mm256_unpacklo_epi64(c, e);
    x[3] = _mm256_unpackhi_epi64(c, e);
}

#define BOTH_HALVES(to, x) ((to)[0] = _mm256_permute2x128_si256(x, x, 0x00), (to)[1] = _mm256_permute2x128_si256(x, x, 0x11))
static void FN(fp4_b)(EmuWarp *w, const EmuRec *r, uint32_t thread, FN(Fp4B) *b)
{
    const __m256i values = _mm256_broadcastsi128_si256(FN(e2m1_values)()), low = _mm256_set1_epi8(15), twelve = _mm256_set1_epi8(12);
    __m256i words[4], y[2];
    __m256 scales[4];
    FN(even_and_odd_rows)(POOL(17), words);
    FN(ue4m3_8)(words[thread], 256, scales);
    for (uint32_t block = 0; block < 4; block++) {
        if (!(block & 1))
            FN(even_and_odd_rows)(POOL(8 + block / 2), words);
        __m256i sum = _mm256_setzero_si256();
        for (uint32_t i = 0; i < 4; i++) {
            const __m256i codes = words[2 * (block & 1) + i / 2];
            const __m256i x = _mm256_shuffle_epi8(values, _mm256_and_si256(i & 1 ? _mm256_srli_epi16(codes, 4) : codes, low));
            sum = _mm256_add_epi8(sum, x);
            BOTH_HALVES(y, x);
            b->x[block][0][i] = y[0];
            b->x[block][1][i] = y[1];
        }
        sum = _mm256_madd_epi16(_mm256_maddubs_epi16(twelve, sum), _mm256_set1_epi16(-1));
        sum = _mm256_add_epi32(sum, _mm256_set1_epi32(0x4B400000));
        BOTH_HALVES(b->bias[block], sum);
        BOTH_HALVES(y, _mm256_castps_si256(scales[block]));
        b->scale[block][0] = _mm256_castsi256_ps(y[0]);
        b->scale[block][1] = _mm256_castsi256_ps(y[1]);
    }
}
#undef BOTH_HALVES

/* y[j][2 v + p] = A B of n B: block sums times scales, in the order and with the roundings of `scaled`. HELD: in a register from here
 * on: the loop has as many loads as it can. */
#define HELD(x) __asm__("" : "+x"(x))
INLINE void FN(fp4_products)(const FN(Fp4A) *a, const FN(Fp4B) *const *b, uint32_t n, __m256 (*y)[16])
{
    for (uint32_t v = 0; v < 8; v++) {
        const FN(Fp4B) *own[EMU_MMA_GROUP];
        __m256 sums[2 * EMU_MMA_GROUP];
        _Pragma("GCC unroll 4") for (uint32_t j = 0; j < n; j++) {
            own[j] = b[j];
            __asm__("" : "+r"(own[j])); /* not what the last round read: it would be copied to the stack first */
        }
        _Pragma("GCC unroll 8") for (uint32_t k = 0; k < 2 * n; k++)
            sums[k] = _mm256_setzero_ps();
        _Pragma("GCC unroll 4") for (uint32_t block = 0; block < 4; block++) {
            const __m256i *words = a->x[v][block >> 1];
            __m256i x0 = block & 1 ? _mm256_shuffle_epi32(words[0], 0xAA) : _mm256_shuffle_epi32(words[0], 0x00);
            __m256i x1 = block & 1 ? _mm256_shuffle_epi32(words[1], 0xAA) : _mm256_shuffle_epi32(words[1], 0x00);
            __m256i x2 = block & 1 ? _mm256_shuffle_epi32(words[0], 0xFF) : _mm256_shuffle_epi32(words[0], 0x55);
            __m256i x3 = block & 1 ? _mm256_shuffle_epi32(words[1], 0xFF) : _mm256_shuffle_epi32(words[1], 0x55);
            __m256 scale = a->scale[v][block], offset = _mm256_mul_ps(scale, _mm256_set1_ps(-0x1.8p23f));
            HELD(x0);
            HELD(x1);
            HELD(x2);
            HELD(x3);
            HELD(scale);
            HELD(offset);
            _Pragma("GCC unroll 8") for (uint32_t k = 0; k < 2 * n; k++) {
                const __m256i *q = own[k >> 1]->x[block][k & 1];
                __m256i s = own[k >> 1]->bias[block][k & 1];
#if EMU_LEVEL == 2
                s = _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(s, x0, q[0]), x1, q[1]);
                s = _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(s, x2, q[2]), x3, q[3]);
#else
                __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(x0, q[0]), _mm256_maddubs_epi16(x1, q[1]));
                HELD(pairs);
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(x2, q[2]));
                HELD(pairs);
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(x3, q[3]));
                s = _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
                sums[k] = _mm256_fmadd_ps(_mm256_fmadd_ps(_mm256_castsi256_ps(s), scale, offset), own[k >> 1]->scale[block][k & 1], sums[k]);
                HELD(sums[k]);
            }
        }
        _Pragma("GCC unroll 8") for (uint32_t k = 0; k < 2 * n; k++)
            y[k >> 1][2 * v + (k & 1)] = sums[k];
    }
}
#undef HELD

/* n records from r on, which share A: D = C + A B one after the other. Not inlined: the rounding mode around it must stay around it. */
static __attribute__((noinline)) void FN(fp4_group)(EmuWarp *w, const EmuRec *r, uint32_t mask, const FN(Fp4A) *a, const FN(Fp4B) *const *b,
                                                    uint32_t n)
{
    __m256 y[4][16];
    switch (n) {
    case 1: FN(fp4_products)(a, b, 1, y); break;
    case 2: FN(fp4_products)(a, b, 2, y); break;
    case 3: FN(fp4_products)(a, b, 3, y); break;
    default: FN(fp4_products)(a, b, 4, y);
    }
    for (uint32_t j = 0; j < n; j++, r++) {
        const bool is_in_place = r->o[5] && mask == 0xFFFFFFFF;
        for (uint32_t i = 0; i < 4; i++) {
            F32 *c = (F32 *)POOL(10 + i);
            __m256 *from = y[j] + 8 * (i >> 1) + (i & 1);
            for (uint32_t l = 0; l < 32; l += 8)
                _mm256_store_ps(is_in_place ? c + l : (float *)(from + l / 4), _mm256_add_ps(_mm256_load_ps(c + l), from[l / 4]));
        }
        for (uint32_t i = 0; i < 4 && !is_in_place; i++) { /* all is read: D may be another register of C */
            U32 *const to = POOL(i);
            const __m256 *from = y[j] + 8 * (i >> 1) + (i & 1);
            for (uint32_t l = 0; l < 32; l += 8) {
                const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128), x = _mm256_castps_si256(from[l / 4]);
                const __m256i is_on = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int32_t)(mask >> l)), bits), bits);
                PUT32(to, _mm256_blendv_epi8(V32(to), x, is_on));
            }
        }
    }
}

/* The mma at r and, in fast mode, those behind it, group after group of those that share A. What note_kept of emu_decode found out says
 * which operands may be kept. */
static const EmuRec *FN(nvf4)(EmuWarp *w, const EmuRec *r, uint32_t mask, uint32_t on)
{
    enum { KEPT = 8 };
    const bool truncates = w->worker->run->launch->accumulate == EMU_ACCUMULATE_TRUNCATE;
    const unsigned before = truncates ? _mm_getcsr() : 0; /* it waits for all that is under way */
    FN(Fp4A) a;
    FN(Fp4B) b[KEPT];
    uint32_t made_at[KEPT] = {0}, uses[KEPT] = {0}, next = 0; /* entries of b: by which record, and which that of a record is */
    for (uint32_t done = 0;;) {
        const FN(Fp4B) *group[EMU_MMA_GROUP];
        const bool is_alone = EMU_IS_CHECKED || w->is_stepwise;
        uint32_t n = 0, taken = 0, byte, thread;
        if (!FN(selectors)(w, r, on, 15, 2, 4, &byte, &thread))
            return r + 1;
        FN(fp4_a)(w, r, thread, &a);
        do {
            const uint32_t i = done + n, back = r[n].o[4];
            if (!FN(selectors)(w, r + n, on, 18, 4, 4, &byte, &thread))
                break;
            uint32_t use = uses[(i - back) % KEPT];
            if (!back || back > i || made_at[use] > i - back) {
                while (taken >> next % KEPT & 1)
                    next++;
                use = next++ % KEPT;
                made_at[use] = i;
                FN(fp4_b)(w, r + n, thread, b + use);
            }
            uses[i % KEPT] = use;
            taken |= 1u << use;
            group[n++] = b + use;
        } while (!is_alone && n < EMU_MMA_GROUP && r[n].fn == r->fn && r[n].o[3] == n);
        if (truncates)
            _mm_setcsr(before | 0x6000);
        if (n)
            FN(fp4_group)(w, r, mask, &a, group, n);
        if (truncates)
            _mm_setcsr(before);
        r += n ? n : 1;
        done += n;
        if (is_alone || !n || r->fn != r[-1].fn)
            return r;
    }
}
#endif

/* Sums of 16 products of e2m1 codes, exact. Values are doubled to be whole numbers; words of A are [h][t][row], of B lanes.
 * k = 32 h + 8 t + j, so block 2 h + t / 2 has the words (h, t) and (h, t + 1); even and odd nibbles apart, in A and B alike. */
static void FN(e2m1_sums)(EmuWarp *w, const EmuRec *r, float (*sum)[8][16])
{
    U32 a[2][4][16] __attribute__((aligned(64))), b[2][2][32] __attribute__((aligned(64)));
    for (uint32_t i = 0; i < 4; i++)
        FN(transpose)(POOL(4 + i), &a[i >> 1][0][8 * (i & 1)], 16);
#if EMU_LEVEL > 0
    int32_t bias[2][32];
    const __m128i signed_values = FN(e2m1_values)();
    FN(e2m1_b)(w, r, b, bias);
#endif
#if EMU_LEVEL == 2
    /* A is biased by 12 to be unsigned */
    const __m512i a_values = _mm512_broadcast_i32x4(_mm_add_epi8(signed_values, _mm_set1_epi8(12))), nibble = _mm512_set1_epi8(15);
    const __m512 quarter = _mm512_set1_ps(0.25f);
    for (uint32_t block = 0; block < 4; block++) {
        const uint32_t h = block >> 1, t = 2 * (block & 1);
        __m512i x0 = _mm512_load_si512(a[h][t]), x1 = _mm512_load_si512(a[h][t + 1]);
        __m512i e0 = _mm512_shuffle_epi8(a_values, _mm512_and_si512(x0, nibble));
        __m512i o0 = _mm512_shuffle_epi8(a_values, _mm512_and_si512(_mm512_srli_epi16(x0, 4), nibble));
        __m512i e1 = _mm512_shuffle_epi8(a_values, _mm512_and_si512(x1, nibble));
        __m512i o1 = _mm512_shuffle_epi8(a_values, _mm512_and_si512(_mm512_srli_epi16(x1, 4), nibble));
        for (uint32_t n = 0; n < 8; n++) {
            const uint32_t l = 4 * n + t;
            __m512i y = _mm512_set1_epi32(bias[h][l]);
            y = _mm512_dpbusd_epi32(y, e0, _mm512_set1_epi32((int32_t)b[h][0][l]));
            y = _mm512_dpbusd_epi32(y, o0, _mm512_set1_epi32((int32_t)b[h][1][l]));
            y = _mm512_dpbusd_epi32(y, e1, _mm512_set1_epi32((int32_t)b[h][0][l + 1]));
            y = _mm512_dpbusd_epi32(y, o1, _mm512_set1_epi32((int32_t)b[h][1][l + 1]));
            _mm512_store_ps(sum[block][n], _mm512_mul_ps(_mm512_cvtepi32_ps(y), quarter));
        }
    }
#elif EMU_LEVEL == 1
    const __m256i a_values = _mm256_broadcastsi128_si256(_mm_add_epi8(signed_values, _mm_set1_epi8(12)));
    const __m256i ones = _mm256_set1_epi16(1), low = _mm256_set1_epi8(15);
    const __m256 quarter = _mm256_set1_ps(0.25f);
    for (uint32_t block = 0; block < 4; block++)
        for (uint32_t half = 0; half < 2; half++) {
            const uint32_t h = block >> 1, t = 2 * (block & 1);
            __m256i x0 = _mm256_load_si256((const void *)(a[h][t] + 8 * half)), x1 = _mm256_load_si256((const void *)(a[h][t + 1] + 8 * half));
            __m256i e0 = _mm256_shuffle_epi8(a_values, _mm256_and_si256(x0, low));
            __m256i o0 = _mm256_shuffle_epi8(a_values, _mm256_and_si256(_mm256_srli_epi16(x0, 4), low));
            __m256i e1 = _mm256_shuffle_epi8(a_values, _mm256_and_si256(x1, low));
            __m256i o1 = _mm256_shuffle_epi8(a_values, _mm256_and_si256(_mm256_srli_epi16(x1, 4), low));
            for (uint32_t n = 0; n < 8; n++) {
                const uint32_t l = 4 * n + t;
                __m256i y = _mm256_maddubs_epi16(e0, _mm256_set1_epi32((int32_t)b[h][0][l]));
                y = _mm256_add_epi16(y, _mm256_maddubs_epi16(o0, _mm256_set1_epi32((int32_t)b[h][1][l])));
                y = _mm256_add_epi16(y, _mm256_maddubs_epi16(e1, _mm256_set1_epi32((int32_t)b[h][0][l + 1])));
                y = _mm256_add_epi16(y, _mm256_maddubs_epi16(o1, _mm256_set1_epi32((int32_t)b[h][1][l + 1])));
                y = _mm256_add_epi32(_mm256_madd_epi16(y, ones), _mm256_set1_epi32(bias[h][l]));
                _mm256_store_ps(sum[block][n] + 8 * half, _mm256_mul_ps(_mm256_cvtepi32_ps(y), quarter));
            }
        }
#else
    static const int8_t value[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    for (uint32_t block = 0; block < 4; block++)
        for (uint32_t n = 0; n < 8; n++) {
            const uint32_t h = block >> 1, t = 2 * (block & 1);
            int32_t y[16] = {0};
            for (uint32_t j = 0; j < 16; j++) {
                const uint32_t shift = 4 * (j & 7), tj = t + (j >> 3);
                const int32_t q = value[POOL(8 + h)[4 * n + tj] >> shift & 15];
                for (uint32_t i = 0; i < 16; i++)
                    y[i] += value[a[h][tj][i] >> shift & 15] * q;
            }
            for (uint32_t i = 0; i < 16; i++)
                sum[block][n][i] = (float)y[i] * 0.25f;
        }
    (void)b;
#endif
}

HANDLER(mma_nvf4)
{
    TOGETHER
    FN(Blocks) x;
    FN(Tile) acc __attribute__((aligned(64)));
    uint32_t ba, ta, bb, tb, wa[16], wb[8];
#if EMU_LEVEL > 0
    if (w->worker->run->launch->accumulate != EMU_ACCUMULATE_EXACT)
        return FN(nvf4)(w, r, mask, on);
#endif
    if (!FN(selectors)(w, r, on, 15, 2, 4, &ba, &ta) || !FN(selectors)(w, r, on, 18, 4, 4, &bb, &tb))
        return r + 1;
    FN(scale_words)(w, r, 14, ta, 17, tb, wa, wb);
    for (uint32_t block = 0; block < 4; block++) {
        for (uint32_t i = 0; i < 16; i++)
            x.sa[block][i] = FN(e4m3_value)(wa[i] >> (8 * block) & 0x7F);
        for (uint32_t n = 0; n < 8; n++)
            x.sb[block][n] = FN(e4m3_value)(wb[n] >> (8 * block) & 0x7F);
    }
    FN(e2m1_sums)(w, r, x.sum);
    FN(get_tile)(w, r, 10, acc);
    FN(accumulate_scaled)(w, acc, &x, 4);
    FN(put_tile)(w, r, mask, acc);
    return r + 1;
}

INLINE float FN(ue8m0_value)(uint32_t code)
{
    return code == 0xFF ? f32_of(0x7FC00000) : code == 0 ? 0x1p-127f : f32_of(code << 23);
}

/* Two scales a row, of 32 elements each: bytes byte and byte + 1 of the word. */
HANDLER(mma_mxf4)
{
    TOGETHER
    FN(Blocks) x;
    FN(Tile) acc;
    uint32_t ba, ta, bb, tb, wa[16], wb[8];
    if (!FN(selectors)(w, r, on, 15, 2, 2, &ba, &ta) || !FN(selectors)(w, r, on, 18, 4, 2, &bb, &tb))
        return r + 1;
    FN(scale_words)(w, r, 14, ta, 17, tb, wa, wb);
    FN(e2m1_sums)(w, r, x.sum);
    for (uint32_t block = 0; block < 2; block++) {
        for (uint32_t n = 0; n < 8; n++)
            for (uint32_t i = 0; i < 16; i++)
                x.sum[block][n][i] = x.sum[2 * block][n][i] + x.sum[2 * block + 1][n][i];
        for (uint32_t i = 0; i < 16; i++)
            x.sa[block][i] = FN(ue8m0_value)(wa[i] >> (8 * (ba + block)) & 0xFF);
        for (uint32_t n = 0; n < 8; n++)
            x.sb[block][n] = FN(ue8m0_value)(wb[n] >> (8 * (bb + block)) & 0xFF);
    }
    FN(get_tile)(w, r, 10, acc);
    FN(accumulate_scaled)(w, acc, &x, 2);
    FN(put_tile)(w, r, mask, acc);
    return r + 1;
}

INLINE void FN(get_bytes)(EmuWarp *w, const EmuRec *r, float (*a)[16], float (*b)[8])
{
    const PtxInsn *in = w->code->sites[r->insn].in;
    for (uint32_t i = 0; i < 4; i++)
        FN(bytes)(POOL(4 + i), &a[16 * (i >> 1)][8 * (i & 1)], 16, (PtxType)in->types[1]);
    for (uint32_t i = 0; i < 2; i++)
        FN(bytes)(POOL(8 + i), b[16 * i], 8, (PtxType)in->types[2]);
}

HANDLER(mma_f8)
{
    TOGETHER
    float a[32][16], b[32][8];
    FN(Tile) acc;
    FN(get_bytes)(w, r, a, b);
    FN(get_tile)(w, r, 10, acc);
    FN(accumulate)(w, acc, a, b, 32);
    FN(put_tile)(w, r, mask, acc);
    (void)on;
    return r + 1;
}

HANDLER(mma_mxf8)
{
    TOGETHER
    float a[32][16], b[32][8];
    FN(Blocks) x;
    FN(Tile) acc;
    uint32_t ba, ta, bb, tb, wa[16], wb[8];
    if (!FN(selectors)(w, r, on, 15, 2, 1, &ba, &ta) || !FN(selectors)(w, r, on, 18, 4, 1, &bb, &tb))
        return r + 1;
    FN(scale_words)(w, r, 14, ta, 17, tb, wa, wb);
    FN(get_bytes)(w, r, a, b);
    memset(x.sum[0], 0, sizeof x.sum[0]);
    FN(accumulate)(w, x.sum[0], a, b, 32);
    for (uint32_t i = 0; i < 16; i++)
        x.sa[0][i] = FN(ue8m0_value)(wa[i] >> (8 * ba) & 0xFF);
    for (uint32_t n = 0; n < 8; n++)
        x.sb[0][n] = FN(ue8m0_value)(wb[n] >> (8 * bb) & 0xFF);
    FN(get_tile)(w, r, 10, acc);
    FN(accumulate_scaled)(w, acc, &x, 1);
    FN(put_tile)(w, r, mask, acc);
    return r + 1;
}

/* ldmatrix, stmatrix: lane l gives the address of row l % 8 of matrix l / 8; register i of lane (g, t) is word t of row g of
 * matrix i. Pool: registers; o[1] address, o[2] how many; imm offset, aux bit 0: 32-bit address. Returns the lanes that may access. */
INLINE uint32_t FN(rows)(EmuWarp *w, const EmuRec *r, uint32_t on, U64 *at, bool is_write)
{
    uint32_t lanes = on & (r->o[2] == 4 ? 0xFFFFFFFF : (1u << (8 * r->o[2])) - 1), bad = 0;
    const uint64_t base = (uint64_t)w->block->smem;
    if (r->aux & 1) {
        const U32 *p = SLOT(U32, 1);
        LANES { at[l] = base + (uint32_t)(p[l] + (uint32_t)r->imm); }
    } else {
        const U64 *p = SLOT(U64, 1);
        LANES { at[l] = base + (uint32_t)(p[l] + (uint64_t)r->imm); }
    }
    const uint64_t lo = base + EMU_SMEM_BASE, size = w->block->smem_bytes;
    /* sizes are below 2^63: the upper bit shows what lies below lo, or behind the last place */
    uint64_t outside = size - 16;
    for (uint32_t l = 0; l < 32; l++)
        outside |= (at[l] - lo) | (size - 16 - (at[l] - lo));
    for (uint32_t l = 0; outside >> 63 && l < 32; l++)
        bad |= (uint32_t)(size < 16 || at[l] - lo > size - 16 ? 1 : 0) << l;
    if (bad & lanes)
        lanes = emu_check_bounds(w, r, lanes, at, 16, PTX_SPACE_SHARED, is_write);
#if EMU_IS_CHECKED
    lanes = emu_check_access(w, r, lanes, at, 16, PTX_SPACE_SHARED, is_write);
#endif
    return lanes;
}

HANDLER(ldmatrix)
{
    TOGETHER
    U64 at[32] __attribute__((aligned(64)));
    const uint32_t lanes = FN(rows)(w, r, on, at, false), n = r->o[2];
    const bool is_whole = mask == 0xFFFFFFFF && !(~lanes & (n == 4 ? 0xFFFFFFFF : (1u << (8 * n)) - 1));
    for (uint32_t i = 0; i < n; i++) {
        U32 x[32] __attribute__((aligned(64))), *d = POOL(i), *to = is_whole ? d : x;
        for (uint32_t g = 0; g < 8; g++) {
            if (is_whole || lanes >> (8 * i + g) & 1)
                memcpy(to + 4 * g, (const void *)at[8 * i + g], 16);
            else
                memset(to + 4 * g, 0, 16);
        }
        if (!is_whole)
            LANES { d[l] = mask >> l & 1 ? x[l] : d[l]; }
    }
    return r + 1;
}

/* Transposed: lane (g, t) gets elements (2 t, g) and (2 t + 1, g). */
HANDLER(ldmatrix_trans)
{
    TOGETHER
    U64 at[32] __attribute__((aligned(64)));
    const uint32_t lanes = FN(rows)(w, r, on, at, false), n = r->o[2];
    for (uint32_t i = 0; i < n; i++) {
        uint16_t x[8][8] = {{0}};
        U32 *d = POOL(i);
        for (uint32_t g = 0; g < 8; g++)
            if (lanes >> (8 * i + g) & 1)
                memcpy(x[g], (const void *)at[8 * i + g], 16);
        for (uint32_t l = 0; l < 32; l++)
            if (mask >> l & 1)
                d[l] = x[2 * (l & 3)][l >> 2] | (uint32_t)x[2 * (l & 3) + 1][l >> 2] << 16;
    }
    return r + 1;
}

INLINE const EmuRec *FN(store_matrix)(EmuWarp *w, const EmuRec *r, uint32_t mask, bool is_trans)
{
    TOGETHER
    U64 at[32] __attribute__((aligned(64)));
    const uint32_t lanes = FN(rows)(w, r, on, at, true), n = r->o[2];
    for (uint32_t i = 0; i < n; i++) {
        const U32 *s = POOL(i);
        uint16_t x[8][8];
        for (uint32_t l = 0; l < 32; l++)
            for (uint32_t j = 0; j < 2; j++) {
                uint16_t y = (uint16_t)(s[l] >> (16 * j));
                if (is_trans)
                    x[2 * (l & 3) + j][l >> 2] = y;
                else
                    x[l >> 2][2 * (l & 3) + j] = y;
            }
        for (uint32_t g = 0; g < 8; g++)
            if (lanes >> (8 * i + g) & 1)
                memcpy((void *)at[8 * i + g], x[g], 16);
    }
    return r + 1;
}
HANDLER(stmatrix)
{
    return FN(store_matrix)(w, r, mask, false);
}
HANDLER(stmatrix_trans)
{
    return FN(store_matrix)(w, r, mask, true);
}

/* An 8 x 8 matrix of halves in a register, transposed. Pool: destination, source. */
HANDLER(movmatrix)
{
    TOGETHER
    uint16_t x[8][8];
    const U32 *s = POOL(1);
    U32 *d = POOL(0);
    for (uint32_t l = 0; l < 32; l++) {
        x[l >> 2][2 * (l & 3)] = (uint16_t)s[l];
        x[l >> 2][2 * (l & 3) + 1] = (uint16_t)(s[l] >> 16);
    }
    for (uint32_t l = 0; l < 32; l++)
        if (mask >> l & 1)
            d[l] = x[2 * (l & 3)][l >> 2] | (uint32_t)x[2 * (l & 3) + 1][l >> 2] << 16;
    (void)on;
    return r + 1;
}
#undef TOGETHER
#undef POOL

static const EmuBind FN(binds)[] = {
    {PTX_OP_MMA_HALF, NULL, "f16", "", FN(mma_f16)}, {PTX_OP_MMA_HALF, NULL, "bf16", "", FN(mma_bf16)},
    {PTX_OP_MMA_HALF_K8, NULL, "f16", "", FN(mma_f16_k8)}, {PTX_OP_MMA_HALF_K8, NULL, "bf16", "", FN(mma_bf16_k8)},
    {PTX_OP_MMA_TF32, NULL, NULL, "", FN(mma_tf32)}, {PTX_OP_MMA_S8, NULL, NULL, "", FN(mma_s8)},
    {PTX_OP_MMA_F8, NULL, NULL, "", FN(mma_f8)}, {PTX_OP_MMA_F8F6F4, NULL, NULL, "", FN(mma_f8)},
    {PTX_OP_MMA_NVF4, NULL, NULL, "", FN(mma_nvf4)}, {PTX_OP_MMA_NVF4_SHAPE, NULL, NULL, "", FN(mma_nvf4)},
    {PTX_OP_MMA_MXF4, NULL, NULL, "", FN(mma_mxf4)}, {PTX_OP_MMA_MXF8, NULL, NULL, "", FN(mma_mxf8)},
    {PTX_OP_LDMATRIX, NULL, NULL, "", FN(ldmatrix)}, {PTX_OP_LDMATRIX, NULL, NULL, "trans", FN(ldmatrix_trans)},
    {PTX_OP_STMATRIX, NULL, NULL, "", FN(stmatrix)}, {PTX_OP_STMATRIX, NULL, NULL, "trans", FN(stmatrix_trans)},
    {PTX_OP_MOVMATRIX, NULL, NULL, "", FN(movmatrix)},
};
#endif
