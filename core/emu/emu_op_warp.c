/* Exchange between the lanes of a warp. All of these wait until the lanes of their mask are together (emu_exec_together).
 * Slots: d, second d, a, b, c, member mask. */
#ifndef FN
#pragma GCC optimize("no-trapping-math") /* nobody looks at exception flags; without it conditions stay branches */
#include <assert.h>
#include <immintrin.h>

#include "core/emu/emu_check.h"
#include "core/emu/emu_op.h"

#define EMU_SELF "core/emu/emu_op_warp.c"
#include "core/emu/emu_isa.h"
EMU_TABLES(emu_op_warp)
#else

/* Leaves the handler when the lanes are not together; sets on. */
#define TOGETHER                                                                        \
    const uint32_t on = mask & ~w->dead;                                                \
    {                                                                                   \
        const EmuRec *next;                                                             \
        if (!emu_exec_together(w, r, on, SLOT(U32, 5)[__builtin_ctz(on)], &next))       \
            return next;                                                                \
    }

INLINE void FN(permute)(U32 *d, const U32 *a, const uint32_t *from)
{
#if EMU_LEVEL == 2
    __m512i lo = _mm512_loadu_si512(a), hi = _mm512_loadu_si512(a + 16);
    _mm512_storeu_si512(d, _mm512_permutex2var_epi32(lo, _mm512_loadu_si512(from), hi));
    _mm512_storeu_si512(d + 16, _mm512_permutex2var_epi32(lo, _mm512_loadu_si512(from + 16), hi));
#else
    for (uint32_t l = 0; l < 32; l++) /* d is no register */
        d[l] = a[from[l]];
#endif
}

#if EMU_LEVEL > 0
/* bfly and down by a constant over the whole warp, all lanes there. Reads of lanes behind the register are not used. */
INLINE void FN(shuffle_whole)(U32 *d, const U32 *a, uint32_t b, bool is_bfly)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), bits = _mm256_set1_epi32((int32_t)(b & 7));
    __m256i x[4];
    for (uint32_t i = 0; i < 4; i++) {
        const __m256i own = _mm256_load_si256((const void *)(a + 8 * i));
        const __m256i last = _mm256_set1_epi32((int32_t)(31 - b) - (int32_t)(8 * i));
        if (is_bfly)
            x[i] = _mm256_permutevar8x32_epi32(_mm256_load_si256((const void *)(a + 8 * (i ^ b >> 3))), _mm256_xor_si256(lane, bits));
        else
            x[i] = _mm256_blendv_epi8(_mm256_loadu_si256((const void *)(a + 8 * i + b)), own, _mm256_cmpgt_epi32(lane, last));
    }
    for (uint32_t i = 0; i < 4; i++)
        _mm256_store_si256((void *)(d + 8 * i), x[i]);
}
#endif

/* Source lane and whether it is in range, by mode; c: bits 0..4 the last lane, 8..12 the segment mask. */
INLINE const EmuRec *FN(shuffle)(EmuWarp *w, const EmuRec *r, uint32_t mask, PtxMod mode)
{
    TOGETHER
    uint32_t from[32] __attribute__((aligned(64))), x[32] __attribute__((aligned(64))), in_range[32];
    const U32 *pb = SLOT(U32, 3), *pc = SLOT(U32, 4);
    U32 *d = SLOT(U32, 0);
#if EMU_LEVEL > 0
    if ((mode == PTX_MOD_BFLY || mode == PTX_MOD_DOWN) && r->aux & EMU_SHFL_IS_CONSTANT && on == 0xFFFFFFFF && pc[0] == 31) {
        FN(shuffle_whole)(d, SLOT(U32, 2), pb[0] & 31, mode == PTX_MOD_BFLY);
        put_pred(w, r->o[1], mode == PTX_MOD_BFLY ? 0xFFFFFFFF : 0xFFFFFFFF >> (pb[0] & 31), mask);
        return r + 1;
    }
#endif
    LANES
    {
        const uint32_t b = pb[l] & 31, segment = pc[l] >> 8 & 31, last = (l & segment) | (pc[l] & 31 & ~segment);
        const int32_t j = (int32_t)(mode == PTX_MOD_UP ? l - b : mode == PTX_MOD_DOWN ? l + b : mode == PTX_MOD_BFLY ? l ^ b
                                                                                               : (l & segment) | (b & ~segment));
        const uint32_t ok = mode == PTX_MOD_UP ? j >= (int32_t)last : j <= (int32_t)last;
        from[l] = ok ? (uint32_t)j & 31 : l;
        in_range[l] = ok << l;
    }
    uint32_t ok = 0;
    for (uint32_t l = 0; l < 32; l++)
        ok |= in_range[l];
    if (on != 0xFFFFFFFF) {
        /* a lane that takes no part has no value to give */
        uint32_t lost = 0;
        for (uint32_t m = on; m; m &= m - 1) {
            uint32_t l = (uint32_t)__builtin_ctz(m);
            if (!(on >> from[l] & 1)) {
                lost |= 1u << l;
                from[l] = l;
            }
        }
        if (lost && w->worker->run->is_checked)
            emu_check_finding(w, r, EMU_SYNC_MASK, lost, "shfl reads the value of a lane that takes no part in it");
    }
    FN(permute)(x, SLOT(U32, 2), from);
    if (mask == 0xFFFFFFFF)
        memcpy(d, x, sizeof x);
    else
        LANES { d[l] = mask >> l & 1 ? x[l] : d[l]; }
    put_pred(w, r->o[1], ok, mask);
    return r + 1;
}
HANDLER(shfl_up)
{
    return FN(shuffle)(w, r, mask, PTX_MOD_UP);
}
HANDLER(shfl_down)
{
    return FN(shuffle)(w, r, mask, PTX_MOD_DOWN);
}
HANDLER(shfl_bfly)
{
    return FN(shuffle)(w, r, mask, PTX_MOD_BFLY);
}
HANDLER(shfl_idx)
{
    return FN(shuffle)(w, r, mask, PTX_MOD_IDX);
}

INLINE void FN(broadcast)(EmuWarp *w, uint32_t slot, uint32_t value, uint32_t mask)
{
    U32 *d = (U32 *)(void *)(w->regs + slot);
    LANES { d[l] = mask >> l & 1 ? value : d[l]; }
}

#define VOTE(name, expr)                                        \
    HANDLER(name)                                               \
    {                                                           \
        TOGETHER                                                \
        const uint32_t p = PRED_OF(2) & on;                     \
        put_pred(w, r->o[0], (expr) ? 0xFFFFFFFF : 0, mask);    \
        return r + 1;                                           \
    }
VOTE(vote_all, p == on)
VOTE(vote_any, p != 0)
VOTE(vote_uni, p == on || p == 0)
#undef VOTE
HANDLER(ballot)
{
    TOGETHER
    FN(broadcast)(w, r->o[0], PRED_OF(2) & on, mask);
    return r + 1;
}
HANDLER(activemask)
{
    const uint32_t on = mask & ~w->dead & emu_exec_some(w, r);
    FN(broadcast)(w, r->o[0], on, on);
    return r + 1;
}
HANDLER(elect)
{
    TOGETHER
    const uint32_t leader = (uint32_t)__builtin_ctz(on);
    FN(broadcast)(w, r->o[0], leader, mask);
    put_pred(w, r->o[1], 1u << leader, mask);
    return r + 1;
}
HANDLER(bar_warp)
{
    TOGETHER
    if (w->block->shadow)
        emu_check_warp_sync(w, on);
    return r + 1;
}

#define REDUX(name, T, start, expr)                             \
    HANDLER(name)                                               \
    {                                                           \
        TOGETHER                                                \
        const U32 *pa = SLOT(U32, 2);                           \
        T x = start;                                            \
        for (uint32_t m = on; m; m &= m - 1) {                  \
            const T a = (T)pa[__builtin_ctz(m)];                \
            x = expr;                                           \
        }                                                       \
        FN(broadcast)(w, r->o[0], (uint32_t)x, mask);           \
        return r + 1;                                           \
    }
REDUX(redux_add, uint32_t, 0, x + a)
REDUX(redux_and, uint32_t, 0xFFFFFFFF, x &a)
REDUX(redux_or, uint32_t, 0, x | a)
REDUX(redux_xor, uint32_t, 0, x ^ a)
REDUX(redux_min_u, uint32_t, UINT32_MAX, x < a ? x : a)
REDUX(redux_max_u, uint32_t, 0, x > a ? x : a)
REDUX(redux_min_s, int32_t, INT32_MAX, x < a ? x : a)
REDUX(redux_max_s, int32_t, INT32_MIN, x > a ? x : a)
#undef REDUX

#define MATCH(suffix, T)                                                                        \
    HANDLER(match_any_##suffix)                                                                 \
    {                                                                                           \
        TOGETHER                                                                                \
        const T *a = SLOT(T, 2);                                                                \
        uint32_t same[32];                                                                      \
        for (uint32_t l = 0; l < 32; l++) {                                                     \
            same[l] = 0;                                                                        \
            for (uint32_t k = 0; k < 32; k++)                                                   \
                same[l] |= (uint32_t)(a[k] == a[l] ? 1 : 0) << k;                               \
        }                                                                                       \
        U32 *d = SLOT(U32, 0);                                                                  \
        LANES { d[l] = mask >> l & 1 ? same[l] & on : d[l]; }                                   \
        return r + 1;                                                                           \
    }                                                                                           \
    HANDLER(match_all_##suffix)                                                                 \
    {                                                                                           \
        TOGETHER                                                                                \
        const T *a = SLOT(T, 2);                                                                \
        const T first = a[__builtin_ctz(on)];                                                   \
        bool same = true;                                                                       \
        for (uint32_t m = on; m; m &= m - 1)                                                    \
            same &= a[__builtin_ctz(m)] == first;                                               \
        FN(broadcast)(w, r->o[0], same ? on : 0, mask);                                         \
        put_pred(w, r->o[1], same ? 0xFFFFFFFF : 0, mask);                                      \
        return r + 1;                                                                           \
    }
MATCH(b32, U32)
MATCH(b64, U64)
#undef MATCH
#undef TOGETHER

static const EmuBind FN(binds)[] = {
    {PTX_OP_SHFL, NULL, NULL, "up", FN(shfl_up)}, {PTX_OP_SHFL, NULL, NULL, "down", FN(shfl_down)},
    {PTX_OP_SHFL, NULL, NULL, "bfly", FN(shfl_bfly)}, {PTX_OP_SHFL, NULL, NULL, "idx", FN(shfl_idx)},
    {PTX_OP_VOTE, NULL, NULL, "all", FN(vote_all)}, {PTX_OP_VOTE, NULL, NULL, "any", FN(vote_any)},
    {PTX_OP_VOTE, NULL, NULL, "uni", FN(vote_uni)}, {PTX_OP_BALLOT, NULL, NULL, "ballot", FN(ballot)},
    {PTX_OP_ACTIVEMASK, NULL, NULL, "", FN(activemask)}, {PTX_OP_ELECT, NULL, NULL, "", FN(elect)},
    {PTX_OP_BAR_WARP, NULL, NULL, "warp", FN(bar_warp)},
    {PTX_OP_REDUX, NULL, NULL, "add", FN(redux_add)}, {PTX_OP_REDUX, NULL, NULL, "and", FN(redux_and)},
    {PTX_OP_REDUX, NULL, NULL, "or", FN(redux_or)}, {PTX_OP_REDUX, NULL, NULL, "xor", FN(redux_xor)},
    {PTX_OP_REDUX, "u32", NULL, "min", FN(redux_min_u)}, {PTX_OP_REDUX, "u32", NULL, "max", FN(redux_max_u)},
    {PTX_OP_REDUX, "s32", NULL, "min", FN(redux_min_s)}, {PTX_OP_REDUX, "s32", NULL, "max", FN(redux_max_s)},
    {PTX_OP_MATCH_ANY, "b32", NULL, "any", FN(match_any_b32)}, {PTX_OP_MATCH_ANY, "b64", NULL, "any", FN(match_any_b64)},
    {PTX_OP_MATCH_ALL, "b32", NULL, "all", FN(match_all_b32)}, {PTX_OP_MATCH_ALL, "b64", NULL, "all", FN(match_all_b64)},
};
#endif
