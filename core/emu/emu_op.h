/* What handler files share: lane types, loops over lanes, masked writes, exact small-float conversions in a form that the
 * compiler turns into vector code. A handler is one type wide; in-place operands (d the same slot as a) are allowed, slots of
 * different sizes never overlap. */
#ifndef CORE_EMU_EMU_OP_H
#define CORE_EMU_EMU_OP_H
#include <immintrin.h>
#include <string.h>

#include "core/emu/emu_state.h"

typedef uint8_t __attribute__((may_alias)) U8;
typedef uint16_t __attribute__((may_alias)) U16;
typedef int16_t __attribute__((may_alias)) S16;
typedef uint32_t __attribute__((may_alias)) U32;
typedef int32_t __attribute__((may_alias)) S32;
typedef uint64_t __attribute__((may_alias)) U64;
typedef int64_t __attribute__((may_alias)) S64;
typedef float __attribute__((may_alias)) F32;
typedef double __attribute__((may_alias)) F64;

#define SLOT(T, i) ((T *)__builtin_assume_aligned(w->regs + r->o[i], 32))
#define PRED(i) (*(U32 *)(void *)(w->regs + r->o[i]))
/* A loop over lanes whose iterations are independent, which operands in place would hide from the compiler. */
#define LANES _Pragma("GCC ivdep") for (uint32_t l = 0; l < 32; l++)
#define HANDLER(name) static const EmuRec *FN(name)(EmuWarp * w, const EmuRec *r, uint32_t mask)
#define INLINE static inline __attribute__((always_inline))

#define NEXT EMU_GO(r + 1)

/* Handlers of one to four sources: d in slot 0, sources a b c e in slots 1 to 4, one expression. */
#define MAP1(name, T, A, expr)                          \
    HANDLER(name)                                       \
    {                                                   \
        T *d = SLOT(T, 0);                              \
        const A *pa = SLOT(A, 1);                       \
        WRITE1(T, expr)                                 \
    }
#define MAP2(name, T, A, B, expr)                       \
    HANDLER(name)                                       \
    {                                                   \
        T *d = SLOT(T, 0);                              \
        const A *pa = SLOT(A, 1);                       \
        const B *pb = SLOT(B, 2);                       \
        WRITE2(T, expr)                                 \
    }
#define MAP3(name, T, A, B, C, expr)                    \
    HANDLER(name)                                       \
    {                                                   \
        T *d = SLOT(T, 0);                              \
        const A *pa = SLOT(A, 1);                       \
        const B *pb = SLOT(B, 2);                       \
        const C *pc = SLOT(C, 3);                       \
        WRITE3(T, expr)                                 \
    }
#define MAP4(name, T, A, B, C, E, expr)                 \
    HANDLER(name)                                       \
    {                                                   \
        T *d = SLOT(T, 0);                              \
        const A *pa = SLOT(A, 1);                       \
        const B *pb = SLOT(B, 2);                       \
        const C *pc = SLOT(C, 3);                       \
        const E *pe = SLOT(E, 4);                       \
        WRITE4(T, expr)                                 \
    }
/* With vector code by hand for the full mask: `vector` writes d of `lanes` lanes from lane l on. Partial masks take expr. */
#define BY_VECTOR(lanes, vector)                                                                \
    IF_VECTOR(if (mask == 0xFFFFFFFFu) {                                                        \
        _Pragma("GCC unroll 8") for (uint32_t l = 0; l < 32; l += lanes) { vector }             \
        NEXT                                                                                    \
    })
#define VMAP1(name, T, A, expr, lanes, vector)          \
    HANDLER(name)                                       \
    {                                                   \
        T *d = SLOT(T, 0);                              \
        const A *pa = SLOT(A, 1);                       \
        BY_VECTOR(lanes, vector)                        \
        WRITE1(T, expr)                                 \
    }
#define VMAP2(name, T, A, B, expr, lanes, vector)       \
    HANDLER(name)                                       \
    {                                                   \
        T *d = SLOT(T, 0);                              \
        const A *pa = SLOT(A, 1);                       \
        const B *pb = SLOT(B, 2);                       \
        BY_VECTOR(lanes, vector)                        \
        WRITE2(T, expr)                                 \
    }
/* for `vector`: 16 or 32 bytes of a slot from lane l on */
#define V16(p) _mm_load_si128((const __m128i *)(const void *)((p) + l))
#define V32(p) _mm256_load_si256((const __m256i *)(const void *)((p) + l))
#define PUT16(p, x) _mm_store_si128((__m128i *)(void *)((p) + l), x)
#define PUT32(p, x) _mm256_store_si256((__m256i *)(void *)((p) + l), x)
#define WRITE_WITH(T, load, expr)                       \
    if (mask == 0xFFFFFFFFu) {                          \
        LANES                                           \
        {                                               \
            load d[l] = (T)(expr);                      \
        }                                               \
    } else {                                            \
        LANES                                           \
        {                                               \
            load const T x = (T)(expr);                 \
            d[l] = mask >> l & 1 ? x : d[l];            \
        }                                               \
    }                                                   \
    NEXT
#define LOAD1 const __typeof__(*pa + 0) a = pa[l];
#define LOAD2 LOAD1 const __typeof__(*pb + 0) b = pb[l];
#define LOAD3 LOAD2 const __typeof__(*pc + 0) c = pc[l];
#define LOAD4 LOAD3 const __typeof__(*pe + 0) e = pe[l];
#define WRITE1(T, expr) WRITE_WITH(T, LOAD1, expr)
#define WRITE2(T, expr) WRITE_WITH(T, LOAD2, expr)
#define WRITE3(T, expr) WRITE_WITH(T, LOAD3, expr)
#define WRITE4(T, expr) WRITE_WITH(T, LOAD4, expr)

INLINE uint32_t f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

INLINE float f32_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

INLINE uint64_t f64_bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

INLINE double f64_of(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* .ftz: a subnormal number becomes the zero of its sign. */
INLINE float flush(float x)
{
    uint32_t u = f32_bits(x);
    return f32_of(u & 0x7F800000 ? u : u & 0x80000000);
}

/* .sat: [0, 1], NaN is 0. */
INLINE float saturate(float x)
{
    float y = x > 0.0f ? x : 0.0f;
    return y < 1.0f ? y : 1.0f;
}

/* min and max of f32: a NaN gives way to a number, -0 < +0. */
INLINE float least(float a, float b)
{
    float x = a < b ? a : b, equal = f32_of(f32_bits(a) | f32_bits(b));
    x = a == b ? equal : x;
    x = b != b ? a : x;
    return a != a ? b : x;
}

INLINE float most(float a, float b)
{
    float x = a > b ? a : b, equal = f32_of(f32_bits(a) & f32_bits(b));
    x = a == b ? equal : x;
    x = b != b ? a : x;
    return a != a ? b : x;
}

INLINE float f16_widen(uint32_t h)
{
    uint32_t low = h & 0x7FFF, sign = (h & 0x8000) << 16;
    uint32_t u = (low << 13) + (112u << 23);
    float small = f32_of((low << 13) + (113u << 23)) - f32_of(113u << 23);
    u = low < 0x400 ? f32_bits(small) : low >= 0x7C00 ? (low << 13) + (224u << 23) : u;
    u |= low > 0x7C00 ? 0x400000 : 0;
    return f32_of(u | sign);
}

INLINE uint16_t f16_narrow(float x)
{
    uint32_t u = f32_bits(x), sign = u >> 16 & 0x8000;
    u &= 0x7FFFFFFF;
    uint32_t normal = (u - (112u << 23) + 0xFFF + (u >> 13 & 1)) >> 13;
    uint32_t small = f32_bits(f32_of(u < 0x38800000 ? u : 0) + 0.5f) - 0x3F000000;
    uint32_t y = u < 0x38800000 ? small : normal;
    y = u >= 0x477FF000 ? 0x7C00 : y;
    y = u > 0x7F800000 ? 0x7FFF : y;
    return (uint16_t)(y | (u > 0x7F800000 ? 0 : sign));
}

INLINE float bf16_widen(uint32_t h)
{
    return f32_of(h << 16);
}

INLINE uint16_t bf16_narrow(float x)
{
    uint32_t u = f32_bits(x), y = (u + 0x7FFF + (u >> 16 & 1)) >> 16;
    return (uint16_t)((u & 0x7FFFFFFF) > 0x7F800000 ? 0x7FFF : y);
}

/* e2m1, nearest even, at most 6, NaN too: by additions whose last places are its steps, 1/2 up to 2, then 1 up to 4, then 2. */
INLINE uint32_t e2m1_narrow(float x)
{
    uint32_t u = f32_bits(x), m = u & 0x7FFFFFFF;
    uint32_t half = f32_bits(f32_of(m) + 0x1p22f) - 0x4A800000, one = f32_bits(f32_of(m) + 0x1p23f) - 0x4AFFFFFE;
    uint32_t two = f32_bits(f32_of(m) + 0x1p24f) - 0x4B7FFFFC;
    uint32_t y = half < one ? half : one;
    y = y < two ? y : two;
    y = y < 7 ? y : 7;
    return m > 0x7F800000 ? 7 : y | (u >> 28 & 8);
}

/* x rounded towards zero with the last bit set where that lost something: a second rounding to f16 or bf16 is then right. */
INLINE float f64_to_odd(double x)
{
    float y = (float)x;
    double back = (double)y;
    uint32_t u = f32_bits(y);
    /* y went away from zero: one step back. An overflow to infinity goes back to the largest number, which is odd. */
    u -= (back > x && x > 0) || (back < x && x < 0) ? 1 : 0;
    u |= back != x && x == x ? 1 : 0;
    return f32_of(u);
}

/* a * b + c with a * b exact in f64, rounded to odd in f64. */
INLINE double fma_to_odd(double a, double b, double c)
{
    double p = a * b, s = p + c, t = s - p;
    double lost = (p - (s - t)) + (c - t);
    uint64_t u = f64_bits(s);
    uint64_t is_even = ~u & 1, finite = (u & 0x7FF0000000000000) != 0x7FF0000000000000;
    /* s is even and something was lost: the odd neighbour on that side */
    int64_t away = (lost > 0) == (s > 0) ? 1 : -1;
    u += lost != 0 && is_even && finite ? (uint64_t)away : 0;
    return f64_of(u);
}

/* A set predicate for the lanes of mask. */
INLINE void put_pred(EmuWarp *w, uint32_t slot, uint32_t bits, uint32_t mask)
{
    U32 *p = (U32 *)(void *)(w->regs + slot);
    *p = (*p & ~mask) | (bits & mask);
}

/* Operand i as a mask, negated where bit i of aux says so. */
#define PRED_OF(i) (PRED(i) ^ (0u - (r->aux >> (i) & 1)))

#endif
