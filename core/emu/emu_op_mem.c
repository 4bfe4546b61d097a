/* Loads, stores, atomics. Addresses of every space become host addresses first, then one code path moves the bytes: lanes side by
 * side, all lanes at one place, or each lane for itself. Fast mode checks bounds only (a wild kernel must not take the process
 * down); checked mode hands every access to emu_check.
 * imm is the offset, slot 0 the base (bit 0 of aux: 32 bits wide), bits 4 to 7 of aux the space, those above the bounds cache.
 * All lanes at addresses in arithmetic progression (side by side, all at one, rows apart) have a path of their own: two comparisons
 * are their bounds check, emu_check_run is the rest. */
#ifndef FN
#pragma GCC optimize("no-trapping-math") /* nobody looks at exception flags; without it conditions stay branches */
#include <assert.h>
#include <immintrin.h>

#include "core/emu/emu_check.h"
#include "core/emu/emu_op.h"

#define EMU_SELF "core/emu/emu_op_mem.c"
#define EMU_BOTH
#include "core/emu/emu_isa.h"
EMU_TABLES(emu_op_mem)
#else

/* Generic addresses of shared and local memory become host addresses; lanes in a window are returned. */
INLINE void FN(addresses)(EmuWarp *w, const EmuRec *r, U64 *at)
{
    if (r->aux & 1) {
        const U32 *base = SLOT(U32, 0);
        LANES { at[l] = base[l] + (uint64_t)r->imm; }
    } else {
        const U64 *base = SLOT(U64, 0);
        LANES { at[l] = base[l] + (uint64_t)r->imm; }
    }
}

/* Host addresses of the lanes in on, which are all of one space; *on loses lanes that must not access. */
INLINE void FN(locate)(EmuWarp *w, const EmuRec *r, U64 *at, uint32_t *on, PtxSpace space, uint32_t bytes, bool is_write)
{
    uint64_t lo, size, bad = 0;
    if (space == PTX_SPACE_SHARED) {
        /* 32 bits count: a 64-bit register may hold what a 32-bit sum left above them */
        const uint64_t base = (uint64_t)w->block->smem;
        LANES { at[l] = base + (uint32_t)at[l]; }
        lo = base + EMU_SMEM_BASE;
        size = w->block->smem_bytes;
    } else if (space == PTX_SPACE_LOCAL) {
        const uint64_t base = (uint64_t)w->local, stride = w->code->local_bytes;
        for (uint32_t l = 0; l < 32; l++)
            if (*on >> l & 1 && ((uint32_t)at[l] > stride || stride - (uint32_t)at[l] < bytes))
                bad |= 1u << l;
        LANES { at[l] = base + l * stride + (uint32_t)at[l]; }
        if (bad) {
            emu_check_bounds(w, r, *on & (uint32_t)bad, at, bytes, space, is_write);
            *on &= ~(uint32_t)bad;
        }
        return;
    } else {
        const EmuCache *cache = w->worker->caches + (r->aux >> 8);
        lo = cache->lo;
        size = cache->hi - cache->lo;
    }
    const uint64_t last = size - bytes, fits = size >= bytes;
    if (*on == 0xFFFFFFFF) {
        /* sizes are below 2^63: the upper bit shows what lies below lo, or behind last */
        for (uint32_t l = 0; l < 32; l++)
            bad |= (at[l] - lo) | (last - (at[l] - lo));
        bad >>= 63;
    } else {
        for (uint32_t m = *on; m; m &= m - 1)
            bad |= at[__builtin_ctz(m)] - lo > last ? 1 : 0;
    }
    if (bad || !fits)
        *on = emu_check_bounds(w, r, *on, at, bytes, space, is_write);
#if EMU_IS_CHECKED
    *on = emu_check_access(w, r, *on, at, bytes, space, is_write);
#endif
}

INLINE uint32_t FN(active)(const EmuWarp *w, uint32_t mask)
{
    return mask & ~w->dead;
}

/* One element of size bytes from p into lane l of the register at d; 8-bit values go to 16-bit slots, sign: extended. */
INLINE void FN(load_one)(uint8_t *d, uint32_t l, const uint8_t *p, uint32_t size, bool sign)
{
    uint8_t x1;
    uint16_t x2;
    uint32_t x4;
    uint64_t x8;
    switch (size) {
    case 1: memcpy(&x1, p, 1); x2 = sign ? (uint16_t)(int8_t)x1 : x1; memcpy(d + 2 * l, &x2, 2); break;
    case 2: memcpy(&x2, p, 2); memcpy(d + 2 * l, &x2, 2); break;
    case 4: memcpy(&x4, p, 4); memcpy(d + 4 * l, &x4, 4); break;
    default: memcpy(&x8, p, 8); memcpy(d + 8 * l, &x8, 8); break;
    }
}

INLINE void FN(store_one)(uint8_t *p, const uint8_t *s, uint32_t l, uint32_t size)
{
    memcpy(p, s + (size == 1 ? 2 : size) * l, size);
}

/* The 16-byte pieces of lanes l to l + 3, transposed. */
INLINE void FN(load_quad)(uint8_t *const *d, uint32_t l, const void *p0, const void *p1, const void *p2, const void *p3)
{
    __m128 x0 = _mm_loadu_ps(p0), x1 = _mm_loadu_ps(p1), x2 = _mm_loadu_ps(p2), x3 = _mm_loadu_ps(p3);
    _MM_TRANSPOSE4_PS(x0, x1, x2, x3);
    _mm_storeu_ps((void *)(d[0] + 4 * l), x0);
    _mm_storeu_ps((void *)(d[1] + 4 * l), x1);
    _mm_storeu_ps((void *)(d[2] + 4 * l), x2);
    _mm_storeu_ps((void *)(d[3] + 4 * l), x3);
}

INLINE void FN(store_quad)(uint8_t *const *s, uint32_t l, void *p0, void *p1, void *p2, void *p3)
{
    __m128 x0 = _mm_loadu_ps((const void *)(s[0] + 4 * l)), x1 = _mm_loadu_ps((const void *)(s[1] + 4 * l));
    __m128 x2 = _mm_loadu_ps((const void *)(s[2] + 4 * l)), x3 = _mm_loadu_ps((const void *)(s[3] + 4 * l));
    _MM_TRANSPOSE4_PS(x0, x1, x2, x3);
    _mm_storeu_ps(p0, x0);
    _mm_storeu_ps(p1, x1);
    _mm_storeu_ps(p2, x2);
    _mm_storeu_ps(p3, x3);
}

/* The element at p into all lanes. */
INLINE void FN(spread)(uint8_t *d, const uint8_t *p, uint32_t size, bool sign)
{
    uint64_t x = 0;
    memcpy(&x, p, size);
    x = size == 1 && sign ? (uint64_t)(int8_t)x : x;
    if (size <= 2) {
        LANES { ((U16 *)(void *)d)[l] = (uint16_t)x; }
    } else if (size == 4) {
        LANES { ((U32 *)(void *)d)[l] = (uint32_t)x; }
    } else {
        LANES { ((U64 *)(void *)d)[l] = x; }
    }
}

/* Registers of a vector: in the record, or in the pool when there are more than it holds. */
INLINE void FN(elements)(EmuWarp *w, const EmuRec *r, uint32_t n, uint8_t **to)
{
    for (uint32_t i = 0; i < n; i++)
        to[i] = w->regs + (n > 4 ? w->code->pool[r->o[1] + i] : r->o[1 + i]);
}

INLINE void FN(load_located)(EmuWarp *w, const EmuRec *r, uint32_t on, const U64 *at, uint32_t size, bool sign, uint32_t vec)
{
    uint8_t *d[8];
    FN(elements)(w, r, vec, d);
    if (on != 0xFFFFFFFF) {
        for (uint32_t m = on; m; m &= m - 1) {
            uint32_t l = (uint32_t)__builtin_ctz(m);
            for (uint32_t i = 0; i < vec; i++)
                FN(load_one)(d[i], l, (const uint8_t *)at[l] + i * size, size, sign);
        }
        return;
    }
    if (vec == 4 && size == 4) {
        for (uint32_t l = 0; l < 32; l += 4)
            FN(load_quad)(d, l, (const void *)at[l], (const void *)at[l + 1], (const void *)at[l + 2], (const void *)at[l + 3]);
        return;
    }
    for (uint32_t i = 0; i < vec; i++)
        for (uint32_t l = 0; l < 32; l++)
            FN(load_one)(d[i], l, (const uint8_t *)at[l] + i * size, size, sign);
}

INLINE void FN(store_located)(EmuWarp *w, const EmuRec *r, uint32_t on, const U64 *at, uint32_t size, uint32_t vec)
{
    uint8_t *s[8];
    FN(elements)(w, r, vec, s);
    if (on != 0xFFFFFFFF) {
        for (uint32_t m = on; m; m &= m - 1) {
            uint32_t l = (uint32_t)__builtin_ctz(m);
            for (uint32_t i = 0; i < vec; i++)
                FN(store_one)((uint8_t *)at[l] + i * size, s[i], l, size);
        }
        return;
    }
    if (vec == 4 && size == 4) {
        for (uint32_t l = 0; l < 32; l += 4)
            FN(store_quad)(s, l, (void *)at[l], (void *)at[l + 1], (void *)at[l + 2], (void *)at[l + 3]);
        return;
    }
    for (uint32_t l = 0; l < 32; l++)
        for (uint32_t i = 0; i < vec; i++)
            FN(store_one)((uint8_t *)at[l] + i * size, s[i], l, size);
}

/* A generic access, one space after the other. */
INLINE uint32_t FN(windows)(U64 *at, uint32_t on, PtxSpace space)
{
    uint64_t base = space == PTX_SPACE_SHARED ? EMU_SHARED_WINDOW : EMU_LOCAL_WINDOW;
    uint32_t in = 0;
    for (uint32_t m = on; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        in |= at[l] - base < EMU_WINDOW_BYTES ? 1u << l : 0;
    }
    return in;
}

#define FOR_SPACES(is_write, bytes, move)                                                       \
    U64 at[32] __attribute__((aligned(64)));                                                    \
    uint32_t on = FN(active)(w, mask);                                                          \
    const PtxSpace space = (PtxSpace)(r->aux >> 4 & 15);                                        \
    FN(addresses)(w, r, at);                                                                    \
    if (space != PTX_SPACE_GENERIC) {                                                           \
        FN(locate)(w, r, at, &on, space, bytes, is_write);                                      \
        move;                                                                                   \
        return r + 1;                                                                           \
    }                                                                                           \
    const uint32_t shared = FN(windows)(at, on, PTX_SPACE_SHARED), local = FN(windows)(at, on, PTX_SPACE_LOCAL), all = on;      \
    for (int i = 0; i < 3; i++) {                                                               \
        on = i == 0 ? shared : i == 1 ? local : all & ~(shared | local);                        \
        if (!on)                                                                                \
            continue;                                                                           \
        FN(locate)(w, r, at, &on, i == 0 ? PTX_SPACE_SHARED : i == 1 ? PTX_SPACE_LOCAL : PTX_SPACE_GLOBAL, bytes, is_write);    \
        move;                                                                                   \
    }                                                                                           \
    return r + 1;

/* Addresses of all 32 lanes in arithmetic progression, *step apart, all of bytes bytes inside of one allocation or of shared memory:
 * the host address of lane 0. NULL: not so, or lanes are missing, or the space is another. */
INLINE uint8_t *FN(progression)(EmuWarp *w, const EmuRec *r, uint32_t mask, uint32_t bytes, int64_t *step)
{
    const bool is_shared = (r->aux >> 4 & 15) == PTX_SPACE_SHARED;
    if ((mask & ~w->dead) != 0xFFFFFFFF || (!is_shared && (r->aux >> 4 & 15) != PTX_SPACE_GLOBAL))
        return NULL;
    uint64_t first, origin, size;
    if (r->aux & 1) {
        const U32 *base = SLOT(U32, 0);
        const uint32_t s = base[1] - base[0];
        uint32_t differs = 0;
        for (uint32_t l = 0; l < 32; l++)
            differs |= base[l] ^ (base[0] + l * s);
        if (differs || !is_shared)
            return NULL;
        first = base[0];
        *step = (int32_t)s;
    } else {
        const U64 *base = SLOT(U64, 0);
        const uint64_t s = base[1] - base[0];
        if (base[31] - base[0] != 31 * s)
            return NULL;
#if EMU_LEVEL > 0
            const __m256i b = _mm256_set1_epi64x((int64_t)base[0]), by = _mm256_set1_epi64x((int64_t)(4 * s));
            __m256i k = _mm256_setr_epi64x(0, (int64_t)s, (int64_t)(2 * s), (int64_t)(3 * s)), differs = _mm256_setzero_si256();
            k = _mm256_add_epi64(k, b);
            for (uint32_t l = 0; l < 32; l += 4) {
                differs = _mm256_or_si256(differs, _mm256_xor_si256(V32(base), k));
                k = _mm256_add_epi64(k, by);
            }
            if (!_mm256_testz_si256(differs, differs))
                return NULL;
#else
            uint64_t differs = 0;
            for (uint32_t l = 0; l < 32; l++)
                differs |= base[l] ^ (base[0] + l * s);
            if (differs)
                return NULL;
#endif
        first = base[0];
        *step = (int64_t)s;
    }
    first += (uint64_t)r->imm;
    if (is_shared) {
        first = (uint32_t)first - (uint64_t)EMU_SMEM_BASE;
        origin = (uint64_t)w->block->smem + EMU_SMEM_BASE;
        size = w->block->smem_bytes;
    } else {
        const EmuCache *cache = w->worker->caches + (r->aux >> 8);
        origin = cache->lo;
        size = cache->hi - cache->lo;
        first -= origin;
    }
    /* no step that keeps lane 31 inside is larger than the memory */
    const uint64_t last = first + 31 * (uint64_t)*step, most = size - bytes;
    if (size < bytes || first > most || last > most || *step > INT32_MAX || *step < INT32_MIN)
        return NULL;
    return (uint8_t *)(origin + first);
}

/* The same as load_located for a progression. */
INLINE void FN(load_run)(EmuWarp *w, const EmuRec *r, const uint8_t *p, int64_t step, uint32_t size, bool sign, uint32_t vec)
{
    uint8_t *d[8];
    FN(elements)(w, r, vec, d);
    if (vec == 1 && step == size) {
        if (size == 1) {
            LANES { ((U16 *)(void *)d[0])[l] = sign ? (uint16_t)(int8_t)p[l] : p[l]; }
        } else {
            memcpy(d[0], p, 32 * size);
        }
        return;
    }
    if (vec == 4 && size == 4) {
        for (uint32_t l = 0; l < 32; l += 4)
            FN(load_quad)(d, l, p + (int64_t)l * step, p + (int64_t)(l + 1) * step, p + (int64_t)(l + 2) * step, p + (int64_t)(l + 3) * step);
        return;
    }
    if (step == 0) {
        for (uint32_t i = 0; i < vec; i++)
            FN(spread)(d[i], p + i * size, size, sign);
        return;
    }
    for (uint32_t l = 0; l < 32; l++, p += step)
        for (uint32_t i = 0; i < vec; i++)
            FN(load_one)(d[i], l, p + i * size, size, sign);
}

INLINE void FN(store_run)(EmuWarp *w, const EmuRec *r, uint8_t *p, int64_t step, uint32_t size, uint32_t vec)
{
    uint8_t *s[8];
    FN(elements)(w, r, vec, s);
    if (vec == 1 && size > 1 && step == size) {
        memcpy(p, s[0], 32 * size);
        return;
    }
    if (vec == 4 && size == 4) {
        for (uint32_t l = 0; l < 32; l += 4)
            FN(store_quad)(s, l, p + (int64_t)l * step, p + (int64_t)(l + 1) * step, p + (int64_t)(l + 2) * step, p + (int64_t)(l + 3) * step);
        return;
    }
    for (uint32_t l = 0; l < 32; l++, p += step)
        for (uint32_t i = 0; i < vec; i++)
            FN(store_one)(p + i * size, s[i], l, size);
}

#define LOAD_AS(name, size, sign, vec)                                                          \
    static __attribute__((noinline)) const EmuRec *FN(name##_any)(EmuWarp *w, const EmuRec *r, uint32_t mask)   \
    {                                                                                           \
        FOR_SPACES(false, (size) * (vec), FN(load_located)(w, r, on, at, size, sign, vec))      \
    }                                                                                           \
    HANDLER(name)                                                                               \
    {                                                                                           \
        int64_t step;                                                                           \
        const uint8_t *p = FN(progression)(w, r, mask, (size) * (vec), &step);                  \
        if (!p || (EMU_IS_CHECKED && !emu_check_run(w, r, p, step, (size) * (vec), false)))     \
            return FN(name##_any)(w, r, mask);                                                  \
        FN(load_run)(w, r, p, step, size, sign, vec);                                           \
        NEXT                                                                           \
    }
#define STORE_AS(name, size, vec)                                                               \
    static __attribute__((noinline)) const EmuRec *FN(name##_any)(EmuWarp *w, const EmuRec *r, uint32_t mask)   \
    {                                                                                           \
        FOR_SPACES(true, (size) * (vec), FN(store_located)(w, r, on, at, size, vec))            \
    }                                                                                           \
    HANDLER(name)                                                                               \
    {                                                                                           \
        int64_t step;                                                                           \
        uint8_t *p = FN(progression)(w, r, mask, (size) * (vec), &step);                        \
        if (!p || (EMU_IS_CHECKED && !emu_check_run(w, r, p, step, (size) * (vec), true)))      \
            return FN(name##_any)(w, r, mask);                                                  \
        FN(store_run)(w, r, p, step, size, vec);                                                \
        NEXT                                                                           \
    }
LOAD_AS(ld_u8, 1, false, 1) LOAD_AS(ld_s8, 1, true, 1) LOAD_AS(ld_16, 2, false, 1) LOAD_AS(ld_32, 4, false, 1) LOAD_AS(ld_64, 8, false, 1)
LOAD_AS(ld_u8_v2, 1, false, 2) LOAD_AS(ld_s8_v2, 1, true, 2) LOAD_AS(ld_16_v2, 2, false, 2) LOAD_AS(ld_32_v2, 4, false, 2)
LOAD_AS(ld_64_v2, 8, false, 2)
LOAD_AS(ld_u8_v4, 1, false, 4) LOAD_AS(ld_s8_v4, 1, true, 4) LOAD_AS(ld_16_v4, 2, false, 4) LOAD_AS(ld_32_v4, 4, false, 4)
LOAD_AS(ld_64_v4, 8, false, 4) LOAD_AS(ld_32_v8, 4, false, 8)
STORE_AS(st_8, 1, 1) STORE_AS(st_16, 2, 1) STORE_AS(st_32, 4, 1) STORE_AS(st_64, 8, 1)
STORE_AS(st_8_v2, 1, 2) STORE_AS(st_16_v2, 2, 2) STORE_AS(st_32_v2, 4, 2) STORE_AS(st_64_v2, 8, 2)
STORE_AS(st_8_v4, 1, 4) STORE_AS(st_16_v4, 2, 4) STORE_AS(st_32_v4, 4, 4) STORE_AS(st_64_v4, 8, 4) STORE_AS(st_32_v8, 4, 8)
#undef LOAD_AS
#undef STORE_AS

/* Atomics: lane after lane, in order. T is the word in memory, expr its new value from old x and operands a, b. Blocks of other
 * workers may do the same (only where the order does not show), hence the exchange loop. */
#define ATOMIC(name, T, expr)                                                                   \
    INLINE void FN(name##_located)(EmuWarp *w, const EmuRec *r, uint32_t on, const U64 *at)     \
    {                                                                                           \
        T *d = SLOT(T, 1);                                                                      \
        const T *pa = SLOT(T, 2), *pb = SLOT(T, 3);                                             \
        for (uint32_t m = on; m; m &= m - 1) {                                                  \
            const uint32_t l = (uint32_t)__builtin_ctz(m);                                      \
            T *p = (T *)at[l];                                                                  \
            const T a = pa[l], b = pb[l];                                                       \
            T x = __atomic_load_n(p, __ATOMIC_RELAXED), y;                                      \
            do {                                                                                \
                y = (T)(expr);                                                                  \
            } while (!__atomic_compare_exchange_n(p, &x, y, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)); \
            d[l] = x;                                                                           \
            (void)a;                                                                            \
            (void)b;                                                                            \
        }                                                                                       \
    }                                                                                           \
    HANDLER(name)                                                                               \
    {                                                                                           \
        FOR_SPACES(true, sizeof(T), FN(name##_located)(w, r, on, at))                           \
    }
ATOMIC(add32, U32, x + a) ATOMIC(add64, U64, x + a)
ATOMIC(and32, U32, x &a) ATOMIC(and64, U64, x &a)
ATOMIC(or32, U32, x | a) ATOMIC(or64, U64, x | a)
ATOMIC(xor32, U32, x ^ a) ATOMIC(xor64, U64, x ^ a)
ATOMIC(exch32, U32, a) ATOMIC(exch64, U64, a)
ATOMIC(cas32, U32, x == a ? b : x) ATOMIC(cas64, U64, x == a ? b : x)
ATOMIC(inc32, U32, x >= a ? 0 : x + 1) ATOMIC(dec32, U32, x == 0 || x > a ? a : x - 1)
ATOMIC(min_u32, U32, x < a ? x : a) ATOMIC(max_u32, U32, x > a ? x : a)
ATOMIC(min_s32, U32, (int32_t)x < (int32_t)a ? x : a) ATOMIC(max_s32, U32, (int32_t)x > (int32_t)a ? x : a)
ATOMIC(min_u64, U64, x < a ? x : a) ATOMIC(max_u64, U64, x > a ? x : a)
ATOMIC(min_s64, U64, (int64_t)x < (int64_t)a ? x : a) ATOMIC(max_s64, U64, (int64_t)x > (int64_t)a ? x : a)
ATOMIC(add_f32, U32, f32_bits(f32_of(x) + f32_of(a)))
ATOMIC(add_f64, U64, f64_bits(f64_of(x) + f64_of(a)))
#define EACH_HALF(widen, narrow)                                                                \
    ((uint32_t)narrow(widen(x >> 16) + widen(a >> 16)) << 16 | narrow(widen(x & 0xFFFF) + widen(a & 0xFFFF)))
ATOMIC(add_f16x2, U32, EACH_HALF(f16_widen, f16_narrow))
ATOMIC(add_bf16x2, U32, EACH_HALF(bf16_widen, bf16_narrow))
#undef EACH_HALF
#undef ATOMIC
#undef FOR_SPACES

/* isspacep: is the generic address in the window? Global is what is in none. */
#define IN_SPACE(name, expr)                                                                    \
    HANDLER(name)                                                                               \
    {                                                                                           \
        const U64 *pa = SLOT(U64, 1);                                                           \
        uint32_t bits = 0;                                                                      \
        for (uint32_t l = 0; l < 32; l++) {                                                     \
            const uint64_t a = pa[l];                                                           \
            bits |= (uint32_t)((expr) ? 1 : 0) << l;                                            \
        }                                                                                       \
        put_pred(w, r->o[0], bits, mask);                                                       \
        return r + 1;                                                                           \
    }
IN_SPACE(is_shared, a - EMU_SHARED_WINDOW < EMU_WINDOW_BYTES)
IN_SPACE(is_local, a - EMU_LOCAL_WINDOW < EMU_WINDOW_BYTES)
IN_SPACE(is_global, a - EMU_SHARED_WINDOW >= EMU_WINDOW_BYTES && a - EMU_LOCAL_WINDOW >= EMU_WINDOW_BYTES)
#undef IN_SPACE

/* cvta: between an address and its generic form; imm is the window's start, 0 where both are the same */
MAP1(cvta, U64, U64, a + (uint64_t)r->imm)
MAP1(cvta_to, U64, U64, a - (uint64_t)r->imm)

HANDLER(nothing)
{
    (void)w;
    (void)mask;
    return r + 1;
}

#define VECS(form, type, name) {form, type, NULL, "", FN(name)}, {form, type, NULL, "v2", FN(name##_v2)}, \
    {form, type, NULL, "v4", FN(name##_v4)}
#define ATOMIC_ROWS(form)                                                                                               \
    {form, "u32 s32 b32", NULL, "add", FN(add32)}, {form, "u64 s64 b64", NULL, "add", FN(add64)},                       \
    {form, "f32", NULL, "add", FN(add_f32)}, {form, "f64", NULL, "add", FN(add_f64)},                                   \
    {form, "f16x2", NULL, "add", FN(add_f16x2)}, {form, "bf16x2", NULL, "add", FN(add_bf16x2)},                         \
    {form, "b32", NULL, "and", FN(and32)}, {form, "b64", NULL, "and", FN(and64)},                                       \
    {form, "b32", NULL, "or", FN(or32)}, {form, "b64", NULL, "or", FN(or64)},                                           \
    {form, "b32", NULL, "xor", FN(xor32)}, {form, "b64", NULL, "xor", FN(xor64)},                                       \
    {form, "u32", NULL, "inc", FN(inc32)}, {form, "u32", NULL, "dec", FN(dec32)},                                       \
    {form, "u32", NULL, "min", FN(min_u32)}, {form, "u32", NULL, "max", FN(max_u32)},                                   \
    {form, "s32", NULL, "min", FN(min_s32)}, {form, "s32", NULL, "max", FN(max_s32)},                                   \
    {form, "u64", NULL, "min", FN(min_u64)}, {form, "u64", NULL, "max", FN(max_u64)},                                   \
    {form, "s64", NULL, "min", FN(min_s64)}, {form, "s64", NULL, "max", FN(max_s64)}
/* ld and st: the decoder asks with the types b8 s8 b16 b32 b64 that stand for what is moved */
static const EmuBind FN(binds)[] = {
    VECS(PTX_OP_LD, "b8", ld_u8), VECS(PTX_OP_LD, "s8", ld_s8), VECS(PTX_OP_LD, "b16", ld_16), VECS(PTX_OP_LD, "b32", ld_32),
    VECS(PTX_OP_LD, "b64", ld_64), {PTX_OP_LD, "b32", NULL, "v8", FN(ld_32_v8)},
    VECS(PTX_OP_ST, "b8", st_8), VECS(PTX_OP_ST, "b16", st_16), VECS(PTX_OP_ST, "b32", st_32), VECS(PTX_OP_ST, "b64", st_64),
    {PTX_OP_ST, "b32", NULL, "v8", FN(st_32_v8)},
    ATOMIC_ROWS(PTX_OP_ATOM), ATOMIC_ROWS(PTX_OP_RED),
    {PTX_OP_ATOM, "b32", NULL, "exch", FN(exch32)}, {PTX_OP_ATOM, "b64", NULL, "exch", FN(exch64)},
    {PTX_OP_ATOM_CAS, "b32", NULL, "cas", FN(cas32)}, {PTX_OP_ATOM_CAS, "b64", NULL, "cas", FN(cas64)},
    {PTX_OP_ISSPACEP, NULL, NULL, "shared", FN(is_shared)}, {PTX_OP_ISSPACEP, NULL, NULL, "local", FN(is_local)},
    {PTX_OP_ISSPACEP, NULL, NULL, "global", FN(is_global)},
    {PTX_OP_CVTA, "u64", NULL, "", FN(cvta)}, {PTX_OP_CVTA, "u64", NULL, "to", FN(cvta_to)},
    {PTX_OP_PREFETCH, NULL, NULL, "", FN(nothing)}, {PTX_OP_CP_BULK_PREFETCH, NULL, NULL, "", FN(nothing)},
};
#undef VECS
#undef ATOMIC_ROWS
#endif
