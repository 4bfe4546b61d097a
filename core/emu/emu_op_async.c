/* Asynchronous copies and mbarriers. Copies are made at once; checked mode keeps the copied bytes pending until the wait that
 * hardware needs. An mbarrier is 8 bytes of shared memory in a layout of our own: phase, arrivals still missing, arrivals a phase,
 * bytes still to come. A wait that fails gives the other warps a turn. */
#include <assert.h>

#include "core/emu/emu_check.h"
#include "core/emu/emu_op.h"

enum { DST_IS_32 = EMU_ASYNC_DST_IS_32, SRC_IS_32 = EMU_ASYNC_SRC_IS_32, HAS_SRC_SIZE = EMU_ASYNC_HAS_SIZE,
       HAS_COUNT = EMU_ASYNC_HAS_COUNT, IS_INC = EMU_ASYNC_IS_INC };
enum { TX_BITS = 23, COUNT_BITS = 20, TX_MAX = (1 << 20) - 1, LINE_BYTES = 64 };
#define TX_ZERO (1ull << (TX_BITS - 1))
#define COUNT_MAX ((1u << COUNT_BITS) - 1)

typedef struct Mbar {
    uint32_t phase, pending, expected;
    int64_t tx;
} Mbar;

static Mbar mbar_of(uint64_t bits)
{
    return (Mbar){(uint32_t)(bits >> 63), (uint32_t)(bits >> (TX_BITS + COUNT_BITS)) & COUNT_MAX, (uint32_t)(bits >> TX_BITS) & COUNT_MAX,
                  (int64_t)(bits & (2 * TX_ZERO - 1)) - (int64_t)TX_ZERO};
}

static uint64_t mbar_bits(Mbar m)
{
    return (uint64_t)m.phase << 63 | (uint64_t)(m.pending & COUNT_MAX) << (TX_BITS + COUNT_BITS) | (uint64_t)m.expected << TX_BITS |
           ((uint64_t)(m.tx + (int64_t)TX_ZERO) & (2 * TX_ZERO - 1));
}

static uint64_t address(EmuWarp *w, const EmuRec *r, uint32_t slot, bool is_32, uint32_t lane)
{
    return is_32 ? SLOT(U32, slot)[lane] : SLOT(U64, slot)[lane];
}

/* Host address of shared bytes of a lane, NULL and a finding when they are not there. */
static uint8_t *shared_at(EmuWarp *w, const EmuRec *r, uint32_t lane, uint64_t at, uint32_t bytes, uint32_t align, bool is_write)
{
    uint32_t offset = (uint32_t)at; /* also of a generic address in the window */
    uint64_t host[32] = {0};
    if (offset < EMU_SMEM_BASE || (uint64_t)offset + bytes > (uint64_t)EMU_SMEM_BASE + w->block->smem_bytes) {
        host[lane] = (uint64_t)w->block->smem + offset;
        emu_check_bounds(w, r, 1u << lane, host, bytes, PTX_SPACE_SHARED, is_write);
        return NULL;
    }
    if (offset % align) {
        emu_check_finding(w, r, EMU_MISALIGNED, 1u << lane, "shared address %u is not a multiple of %u", offset, align);
        return NULL;
    }
    return w->block->smem + offset;
}

/* Global bytes of a lane to read; NULL and a finding when they are not there. */
static const uint8_t *global_at(EmuWarp *w, const EmuRec *r, uint32_t lane, uint64_t at, uint32_t bytes, uint32_t align)
{
    const EmuCache *cache = w->worker->caches + w->code->sites[r->insn].cache;
    uint64_t host[32];
    if (at < cache->lo || at + bytes > cache->hi) {
        host[lane] = at;
        if (!emu_check_bounds(w, r, 1u << lane, host, bytes, PTX_SPACE_GLOBAL, false))
            return NULL;
    }
    if (at % align) {
        emu_check_finding(w, r, EMU_MISALIGNED, 1u << lane, "global address is not a multiple of %u", align);
        return NULL;
    }
    if (w->block->shadow) {
        host[lane] = at;
        if (!emu_check_access(w, r, 1u << lane, host, bytes, PTX_SPACE_GLOBAL, false))
            return NULL;
    }
    return (const uint8_t *)at;
}

static uint64_t source_offset(const EmuRec *r)
{
    return r->o[4] | (uint64_t)r->o[5] << 32;
}

/* One lane of a cp.async, with everything that may be wrong with it. */
static void copy_lane(EmuWarp *w, const EmuRec *r, uint32_t lane)
{
    const uint32_t bytes = r->o[3], wanted = r->aux & HAS_SRC_SIZE ? SLOT(U32, 2)[lane] : bytes, n = wanted < bytes ? wanted : bytes;
    const uint64_t to = address(w, r, 0, r->aux & DST_IS_32, lane) + (uint64_t)r->imm;
    uint8_t *d = shared_at(w, r, lane, to, bytes, bytes, true);
    const uint8_t *s = n ? global_at(w, r, lane, address(w, r, 1, r->aux & SRC_IS_32, lane) + source_offset(r), n, bytes) : NULL;
    if (!d || (n && !s))
        return;
    if (n)
        memcpy(d, s, n);
    memset(d + n, 0, bytes - n);
    if (w->block->shadow) {
        uint64_t host[32];
        host[lane] = (uint64_t)d;
        emu_check_async(w, r, 1u << lane, host, bytes);
    }
}

/* Checked mode: whole copies in bounds and aligned are judged together, the others one by one. */
static void copy_judged(EmuWarp *w, const EmuRec *r, uint32_t on, uint32_t bytes)
{
    const EmuCache *cache = w->worker->caches + w->code->sites[r->insn].cache;
    const uint64_t size = cache->hi - cache->lo, smem = w->block->smem_bytes, offset = source_offset(r);
    const uint32_t *sizes = r->aux & HAS_SRC_SIZE ? SLOT(U32, 2) : NULL;
    uint64_t from[32], to[32];
    uint32_t whole = 0;
    for (uint32_t m = size >= bytes && smem >= bytes ? on : 0; m; m &= m - 1) {
        const uint32_t l = (uint32_t)__builtin_ctz(m);
        const uint64_t at = (uint32_t)(address(w, r, 0, r->aux & DST_IS_32, l) + (uint64_t)r->imm) - (uint64_t)EMU_SMEM_BASE;
        from[l] = address(w, r, 1, r->aux & SRC_IS_32, l) + offset;
        to[l] = (uint64_t)w->block->smem + EMU_SMEM_BASE + at;
        if ((!sizes || sizes[l] >= bytes) && at <= smem - bytes && from[l] - cache->lo <= size - bytes && (at | from[l]) % bytes == 0)
            whole |= 1u << l;
    }
    if (whole) {
        emu_check_access(w, r, whole, from, bytes, PTX_SPACE_GLOBAL, false);
        for (uint32_t m = whole; m; m &= m - 1)
            memcpy((void *)to[__builtin_ctz(m)], (const void *)from[__builtin_ctz(m)], bytes);
        emu_check_async(w, r, whole, to, bytes);
    }
    for (uint32_t m = on & ~whole; m; m &= m - 1)
        copy_lane(w, r, (uint32_t)__builtin_ctz(m));
}

/* Whole copies of `bytes` bytes into shared memory, for as many of the first lanes as have them from where the last ones came; how
 * many. Rows are many and far apart, and what lies behind is wanted next. */
static inline __attribute__((always_inline)) uint32_t copy_first(EmuWarp *w, const EmuRec *r, uint32_t bytes, bool has_sizes)
{
    const EmuCache *cache = w->worker->caches + w->code->sites[r->insn].cache;
    const uint64_t lo = cache->lo, last = cache->hi - lo - bytes, smem_last = w->block->smem_bytes - (uint64_t)bytes, offset = source_offset(r);
    uint8_t *const shared = w->block->smem + EMU_SMEM_BASE;
    const U32 *dst = SLOT(U32, 0), *sizes = SLOT(U32, 2);
    const U64 *src = SLOT(U64, 1);
    uint32_t lane = 0;
    for (; (last | smem_last) >> 63 == 0 && lane < 32; lane++) {
        const uint64_t from = src[lane] + offset, to = (uint64_t)(dst[lane] + (uint32_t)r->imm) - EMU_SMEM_BASE;
        if (from - lo > last || to > smem_last || (from | to) % bytes || (has_sizes && sizes[lane] < bytes))
            break;
        memcpy(shared + to, (const void *)from, bytes);
        if (bytes < 16 || lane % 4 == 0)
            __builtin_prefetch((const void *)(from + LINE_BYTES));
    }
    return lane;
}

static inline __attribute__((always_inline)) void copy_lanes(EmuWarp *w, const EmuRec *r, uint32_t on, uint32_t bytes)
{
    uint32_t done = 0;
    if (on == 0xFFFFFFFF && (r->aux & (DST_IS_32 | SRC_IS_32)) == DST_IS_32)
        done = r->aux & HAS_SRC_SIZE ? copy_first(w, r, bytes, true) : copy_first(w, r, bytes, false);
    for (uint32_t m = done < 32 ? on >> done << done : 0; m; m &= m - 1)
        copy_lane(w, r, (uint32_t)__builtin_ctz(m));
}

/* Slots: destination, source, size of the source. o[3] bytes; imm offset of the destination; o[4], o[5] that of the source. */
static const EmuRec *cp_async(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    const uint32_t on = mask & ~w->dead, bytes = r->o[3];
    if (w->block->shadow)
        copy_judged(w, r, on, bytes);
    else if (bytes == 16)
        copy_lanes(w, r, on, 16);
    else if (bytes == 8)
        copy_lanes(w, r, on, 8);
    else
        copy_lanes(w, r, on, 4);
    return r + 1;
}

static const EmuRec *cp_async_commit(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    (void)mask;
    w->group++;
    return r + 1;
}

/* All but the newest imm groups are done. */
static const EmuRec *cp_async_wait(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    (void)mask;
    if (w->block->shadow && (uint64_t)r->imm < w->group)
        emu_check_async_done(w, w->group - (uint32_t)r->imm);
    return r + 1;
}

static const EmuRec *cp_async_wait_all(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    (void)mask;
    if (w->block->shadow)
        emu_check_async_done(w, w->group + 1);
    return r + 1;
}

/* Takes part in what a lane does to the mbarrier at slot 0 (or `slot`); false: there is none. */
static bool mbar_at(EmuWarp *w, const EmuRec *r, uint32_t slot, bool is_32, int64_t offset, uint32_t lane, uint8_t **at, Mbar *m)
{
    uint64_t bits;
    *at = shared_at(w, r, lane, address(w, r, slot, is_32, lane) + (uint64_t)offset, 8, 8, true);
    if (!*at || (w->block->shadow && !emu_check_mbar_use(w, r, lane, (uint32_t)(*at - w->block->smem))))
        return false;
    memcpy(&bits, *at, sizeof bits);
    *m = mbar_of(bits);
    if (!m->expected) {
        emu_check_finding(w, r, EMU_BAD_OPERAND, 1u << lane, "there is no initialised mbarrier at this address");
        return false;
    }
    return true;
}

static void mbar_put(EmuWarp *w, uint8_t *at, Mbar m)
{
    if (m.pending == 0 && m.tx == 0) {
        m.phase ^= 1;
        m.pending = m.expected;
    }
    uint64_t bits = mbar_bits(m);
    memcpy(at, &bits, sizeof bits);
    w->block->events++;
}

static uint32_t mbar_offset(const EmuWarp *w, const uint8_t *at)
{
    return (uint32_t)(at - w->block->smem);
}

/* Would announcing tx bytes more be beyond what an mbarrier counts? Then it is a finding, and nothing is announced. */
static bool is_tx_beyond(EmuWarp *w, const EmuRec *r, uint32_t lane, const Mbar *m, uint32_t tx)
{
    if (m->tx + (int64_t)tx <= TX_MAX)
        return false;
    emu_check_finding(w, r, EMU_BAD_OPERAND, 1u << lane, "%u bytes announced at an mbarrier that waits for %lld: it counts up to %d", tx,
                      (long long)m->tx, TX_MAX);
    return true;
}

static void mbar_arrive_one(EmuWarp *w, const EmuRec *r, uint32_t lane, uint8_t *at, Mbar m, uint32_t count, uint32_t tx)
{
    if (count > m.pending || !count) {
        emu_check_finding(w, r, EMU_BAD_OPERAND, 1u << lane, "%u arrivals at an mbarrier that waits for %u more in this phase", count, m.pending);
        return;
    }
    if (is_tx_beyond(w, r, lane, &m, tx))
        return;
    if (w->block->shadow)
        emu_check_mbar_arrive(w, lane, mbar_offset(w, at));
    m.tx += tx;
    m.pending -= count;
    mbar_put(w, at, m);
}

static const EmuRec *mbar_init(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    for (uint32_t s = mask & ~w->dead; s; s &= s - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(s), count = SLOT(U32, 1)[lane];
        uint8_t *at = shared_at(w, r, lane, address(w, r, 0, r->aux & DST_IS_32, lane) + (uint64_t)r->imm, 8, 8, true);
        if (!at)
            continue;
        if (!count || count > COUNT_MAX) {
            emu_check_finding(w, r, EMU_BAD_OPERAND, 1u << lane, "an mbarrier for %u arrivals", count);
            continue;
        }
        uint64_t bits = mbar_bits((Mbar){0, count, count, 0});
        memcpy(at, &bits, sizeof bits);
        w->block->events++;
        if (w->block->shadow)
            emu_check_mbar_init(w, r, lane, mbar_offset(w, at));
    }
    return r + 1;
}

static const EmuRec *mbar_inval(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    for (uint32_t s = mask & ~w->dead; s; s &= s - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(s);
        Mbar m;
        uint8_t *at;
        if (!mbar_at(w, r, 0, r->aux & DST_IS_32, r->imm, lane, &at, &m))
            continue;
        memset(at, 0, 8);
        if (w->block->shadow)
            emu_check_mbar_inval(w, r, lane, mbar_offset(w, at));
    }
    return r + 1;
}

/* Slots: mbarrier, count or bytes, state written. imm2 of arrive.expect_tx is the count 1. */
static const EmuRec *mbar_arrive(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    for (uint32_t s = mask & ~w->dead; s; s &= s - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(s), count = r->aux & HAS_COUNT ? SLOT(U32, 1)[lane] : 1;
        Mbar m;
        uint8_t *at;
        if (!mbar_at(w, r, 0, r->aux & DST_IS_32, r->imm, lane, &at, &m))
            continue;
        SLOT(U64, 2)[lane] = mbar_bits(m);
        mbar_arrive_one(w, r, lane, at, m, count, 0);
    }
    return r + 1;
}

static const EmuRec *mbar_arrive_tx(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    for (uint32_t s = mask & ~w->dead; s; s &= s - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(s);
        Mbar m;
        uint8_t *at;
        if (!mbar_at(w, r, 0, r->aux & DST_IS_32, r->imm, lane, &at, &m))
            continue;
        SLOT(U64, 2)[lane] = mbar_bits(m);
        mbar_arrive_one(w, r, lane, at, m, 1, SLOT(U32, 1)[lane]);
    }
    return r + 1;
}

static const EmuRec *mbar_expect_tx(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    for (uint32_t s = mask & ~w->dead; s; s &= s - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(s);
        Mbar m;
        uint8_t *at;
        if (!mbar_at(w, r, 0, r->aux & DST_IS_32, r->imm, lane, &at, &m))
            continue;
        if (is_tx_beyond(w, r, lane, &m, SLOT(U32, 1)[lane]))
            continue;
        m.tx += SLOT(U32, 1)[lane];
        uint64_t bits = mbar_bits(m); /* announcing bytes completes nothing */
        memcpy(at, &bits, sizeof bits);
    }
    return r + 1;
}

/* Slots: mbarrier, parity or state, predicate. Has the phase of that parity, or of that state, ended? */
static const EmuRec *mbar_wait(EmuWarp *w, const EmuRec *r, uint32_t mask, bool by_parity)
{
    uint32_t done = 0, on = mask & ~w->dead;
    for (uint32_t s = on; s; s &= s - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(s);
        Mbar m;
        uint8_t *at;
        if (!mbar_at(w, r, 0, r->aux & DST_IS_32, r->imm, lane, &at, &m)) {
            done |= 1u << lane;
            continue;
        }
        uint32_t phase = by_parity ? SLOT(U32, 1)[lane] & 1 : (uint32_t)(SLOT(U64, 1)[lane] >> 63);
        if (phase == m.phase)
            continue;
        done |= 1u << lane;
        if (w->block->shadow)
            emu_check_mbar_pass(w, lane, mbar_offset(w, at));
    }
    put_pred(w, r->o[2], done, mask);
    if (done != on) { /* the others must get on first */
        w->slice = 0;
        w->waited = true;
    }
    return r + 1;
}

static const EmuRec *mbar_wait_parity(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    return mbar_wait(w, r, mask, true);
}

static const EmuRec *mbar_wait_state(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    return mbar_wait(w, r, mask, false);
}

/* The lane's copies so far will arrive at the mbarrier: they are made, so they arrive now; without noinc they count extra. */
static const EmuRec *cp_async_mbarrier(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    if (w->block->shadow)
        emu_check_async_done(w, w->group + 1);
    for (uint32_t s = mask & ~w->dead; s; s &= s - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(s);
        Mbar m;
        uint8_t *at;
        if (!mbar_at(w, r, 0, r->aux & DST_IS_32, r->imm, lane, &at, &m))
            continue;
        if (r->aux & IS_INC && m.pending == COUNT_MAX) {
            emu_check_finding(w, r, EMU_BAD_OPERAND, 1u << lane, "an mbarrier that waits for %u arrivals already", m.pending);
            continue;
        }
        if (r->aux & IS_INC)
            m.pending++;
        mbar_arrive_one(w, r, lane, at, m, 1, 0);
    }
    return r + 1;
}

/* Slots: destination, source, bytes, mbarrier; imm and o[4], o[5] their offsets as in cp_async, o[6] that of the mbarrier, whose
 * address is 32 bits wide when aux has HAS_COUNT. */
static const EmuRec *cp_bulk(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    const uint64_t src_offset = r->o[4] | (uint64_t)r->o[5] << 32;
    for (uint32_t s = mask & ~w->dead; s; s &= s - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(s), bytes = SLOT(U32, 2)[lane];
        Mbar m;
        uint8_t *at;
        if (!bytes || bytes % 16) {
            emu_check_finding(w, r, EMU_BAD_OPERAND, 1u << lane, "a bulk copy of %u bytes, which is no multiple of 16", bytes);
            continue;
        }
        uint8_t *d = shared_at(w, r, lane, address(w, r, 0, r->aux & DST_IS_32, lane) + (uint64_t)r->imm, bytes, 16, true);
        const uint8_t *from = global_at(w, r, lane, address(w, r, 1, r->aux & SRC_IS_32, lane) + src_offset, bytes, 16);
        if (!d || !from || !mbar_at(w, r, 3, r->aux & HAS_COUNT, (int32_t)r->o[6], lane, &at, &m))
            continue;
        memcpy(d, from, bytes);
        if (w->block->shadow)
            emu_check_bulk(w, r, lane, (uint32_t)(d - w->block->smem), bytes, mbar_offset(w, at));
        m.tx -= bytes;
        mbar_put(w, at, m);
    }
    return r + 1;
}

static const EmuBind binds[] = {
    {PTX_OP_CP_ASYNC, NULL, NULL, "", cp_async}, {PTX_OP_CP_ASYNC_COMMIT, NULL, NULL, "", cp_async_commit},
    {PTX_OP_CP_ASYNC_WAIT, NULL, NULL, "", cp_async_wait}, {PTX_OP_CP_ASYNC_WAIT_ALL, NULL, NULL, "", cp_async_wait_all},
    {PTX_OP_CP_ASYNC_MBARRIER, NULL, NULL, "", cp_async_mbarrier}, {PTX_OP_CP_BULK, NULL, NULL, "", cp_bulk},
    {PTX_OP_MBAR_INIT, NULL, NULL, "", mbar_init}, {PTX_OP_MBAR_INVAL, NULL, NULL, "", mbar_inval},
    {PTX_OP_MBAR_ARRIVE, NULL, NULL, "", mbar_arrive}, {PTX_OP_MBAR_ARRIVE_TX, NULL, NULL, "", mbar_arrive_tx},
    {PTX_OP_MBAR_EXPECT_TX, NULL, NULL, "", mbar_expect_tx}, {PTX_OP_MBAR_WAIT_PARITY, NULL, NULL, "", mbar_wait_parity},
    {PTX_OP_MBAR_WAIT, NULL, NULL, "", mbar_wait_state},
};

EmuBinds emu_op_async(EmuIsa isa, EmuMode mode)
{
    (void)isa;
    (void)mode;
    return (EmuBinds){binds, sizeof binds / sizeof *binds};
}
