/* Barriers of the block, fences. A barrier counts threads; whoever completes it lets all its waiters go on.
 * Slots: barrier number, count (aux bit 0), predicate of a reduction, destination of the reading record. */
#include <assert.h>

#include "core/emu/emu_check.h"
#include "core/emu/emu_op.h"

enum { HAS_COUNT = EMU_BAR_HAS_COUNT, IS_ALIGNED = EMU_BAR_IS_ALIGNED, IS_REDUCTION = EMU_BAR_IS_REDUCTION };

/* Other lanes of the warp that wait at the same barrier from elsewhere: no aligned barrier may be reached so. */
static void check_aligned(EmuWarp *w, const EmuRec *r, uint32_t barrier)
{
    uint32_t pc = (uint32_t)(r - w->code->recs) + 1;
    for (uint32_t i = 0; i < w->splits_n; i++) {
        const EmuSplit *s = w->splits + i;
        if (i != w->current && s->state == EMU_STATE_BARRIER && (s->barrier != barrier || s->pc != pc))
            emu_check_finding(w, r, EMU_BARRIER_DIVERGENT, w->active, "lanes %08X of the same warp wait at another barrier (PTX line %u)",
                              s->mask, w->code->sites[w->code->recs[s->pc - 1].insn].in->line);
    }
}

/* A warp arrives as one, with the first lane's operands. */
static void check_lanes_agree(EmuWarp *w, const EmuRec *r, uint32_t on, uint32_t id, uint32_t count)
{
    for (uint32_t m = on; m; m &= m - 1) {
        const uint32_t l = (uint32_t)__builtin_ctz(m), own = r->aux & HAS_COUNT ? SLOT(U32, 1)[l] : 0;
        if (SLOT(U32, 0)[l] != id || own != count)
            emu_check_finding(w, r, EMU_BAD_OPERAND, 1u << l, "barrier %u with count %u, other lanes of the warp: barrier %u with count %u",
                              SLOT(U32, 0)[l], own, id, count);
    }
}

/* Threads that a count sees arrive: with the last living lanes of a warp its others, which have ended or never were, for a barrier
 * counts warps (PTX ISA, barrier: the value is a multiple of the warp size). */
static uint32_t arrivals(const EmuWarp *w, uint32_t on, uint32_t barrier)
{
    uint32_t there = on;
    for (uint32_t i = 0; i < w->splits_n; i++)
        if (w->splits[i].state == EMU_STATE_BARRIER && w->splits[i].barrier == barrier)
            there |= w->splits[i].mask;
    return (uint32_t)__builtin_popcount((there | w->dead) == 0xFFFFFFFF ? on | w->dead : on);
}

static const EmuRec *arrive(EmuWarp *w, const EmuRec *r, uint32_t mask, bool waits)
{
    uint32_t on = mask & ~w->dead, lane = (uint32_t)__builtin_ctz(on), id = SLOT(U32, 0)[lane];
    uint32_t count = r->aux & HAS_COUNT ? SLOT(U32, 1)[lane] : 0;
    if (id >= EMU_BARRIERS || count % 32 || (!waits && !count)) {
        emu_check_finding(w, r, EMU_BAD_OPERAND, on, "barrier %u with count %u: numbers go to %d, counts are multiples of 32", id, count,
                          EMU_BARRIERS - 1);
        return r + 1;
    }
    EmuBlock *b = w->block;
    EmuBarrier *barrier = b->barriers + id;
    if (b->shadow)
        check_lanes_agree(w, r, on, id, count);
    if (barrier->arrived && barrier->expected != count)
        emu_check_finding(w, r, EMU_BAD_OPERAND, on, "barrier %u is waited for with counts %u and %u", id, barrier->expected, count);
    if (r->aux & IS_ALIGNED && w->worker->run->is_checked)
        check_aligned(w, r, id);
    if (r->aux & IS_ALIGNED && b->shadow && on != w->active)
        emu_check_finding(w, r, EMU_BARRIER_DIVERGENT, on, "lanes %08X of the same warp do not arrive with these", w->active & ~on);
    barrier->expected = count;
    barrier->arrived += count ? arrivals(w, on, id) : (uint32_t)__builtin_popcount(on);
    if (r->aux & IS_REDUCTION) {
        uint32_t p = PRED_OF(2) & on;
        barrier->red_count += (uint32_t)__builtin_popcount(p);
        barrier->red_or |= p != 0;
        barrier->red_and &= p == on;
    }
    if (b->shadow)
        emu_check_barrier_arrive(w, barrier);
    if (!waits) {
        if (emu_exec_is_complete(b, id))
            emu_exec_release(b, id);
        return r + 1;
    }
    w->splits[w->current].barrier = (uint8_t)id;
    if (!emu_exec_is_complete(b, id))
        return emu_exec_park(w, EMU_STATE_BARRIER, (uint32_t)(r - w->code->recs) + 1);
    w->splits[w->current].state = EMU_STATE_BARRIER; /* so that it is released with the others */
    w->splits[w->current].pc = (uint32_t)(r - w->code->recs) + 1;
    emu_exec_release(b, id);
    return r + 1;
}

static const EmuRec *bar_sync(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    return arrive(w, r, mask, true);
}

static const EmuRec *bar_arrive(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    return arrive(w, r, mask, false);
}

/* Behind a reduction's bar_sync: imm says which result; it stands until all have arrived again, hence until all have read it.
 * A number that no barrier has was a finding there. */
static const EmuRec *bar_red_read(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    uint32_t id = SLOT(U32, 0)[__builtin_ctz(mask & ~w->dead)];
    uint32_t result = id < EMU_BARRIERS ? w->block->barriers[id].red_result : 0;
    if (r->imm == PTX_MOD_POPC) {
        U32 *d = SLOT(U32, 1);
        for (uint32_t l = 0; l < 32; l++)
            d[l] = mask >> l & 1 ? result & 0xFFFF : d[l];
    } else {
        put_pred(w, r->o[1], result >> (r->imm == PTX_MOD_AND ? 16 : 17) & 1 ? 0xFFFFFFFF : 0, mask);
    }
    return r + 1;
}

/* Fences order what is in order here anyway. */
static const EmuRec *fence(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    (void)w;
    (void)mask;
    return r + 1;
}

static const EmuRec *sleep_a_turn(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    (void)mask;
    w->slice = 0;
    return r + 1;
}

/* FENCE and GRIDDEPCONTROL may come with any of their modifiers: all mean nothing here, and ptx_ops.def lists them. The read
 * record of a reduction is asked for with the modifier of its instruction and form BAR_RED. */
static const EmuBind binds[] = {
    {PTX_OP_BAR_SYNC, NULL, NULL, "", bar_sync}, {PTX_OP_BARRIER_SYNC, NULL, NULL, "", bar_sync},
    {PTX_OP_BAR_ARRIVE, NULL, NULL, "arrive", bar_arrive}, {PTX_OP_BARRIER_ARRIVE, NULL, NULL, "arrive", bar_arrive},
    {PTX_OP_BAR_RED_POPC, NULL, NULL, "red popc", bar_sync}, {PTX_OP_BAR_RED, NULL, NULL, "red and", bar_sync},
    {PTX_OP_BAR_RED, NULL, NULL, "red or", bar_sync}, {PTX_OP_BAR_RED, NULL, NULL, "read", bar_red_read},
    {PTX_OP_MEMBAR, NULL, NULL, "", fence}, {PTX_OP_FENCE, NULL, NULL, "", fence}, {PTX_OP_FENCE_PROXY, NULL, NULL, "", fence},
    {PTX_OP_FENCE_MBARRIER, NULL, NULL, "", fence}, {PTX_OP_GRIDDEPCONTROL, NULL, NULL, "", fence},
    {PTX_OP_SETMAXNREG, NULL, NULL, "", fence}, {PTX_OP_NANOSLEEP, NULL, NULL, "", sleep_a_turn},
};

EmuBinds emu_op_sync(EmuIsa isa, EmuMode mode)
{
    (void)isa;
    (void)mode;
    return (EmuBinds){binds, sizeof binds / sizeof *binds};
}
