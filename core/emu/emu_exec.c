/* Control flow. A warp is a small table of splits (lanes that run together), and of nodes (places where lanes that parted meet
 * again: the branch's immediate post-dominator). A split that waits is parked and another runs, so lanes of one warp may wait for
 * each other, as hardware since sm_70 promises; nothing here is a stack.
 *
 * A branch whose join is the join of the running split's node adds no node, and lanes that go to the join at once just arrive
 * there: loops stay flat. Lanes that end leave all nodes; a node whose last missing lanes ended is complete. */
#include <assert.h>
#include <immintrin.h>
#include <stdio.h>

#include "core/emu/emu_check.h"
#include "core/emu/emu_state.h"

enum { SLICE = 20000, IDLE_ROUNDS_MAX = 2000 };

static uint32_t pc_of(const EmuWarp *w, const EmuRec *r)
{
    return (uint32_t)(r - w->code->recs);
}

static uint32_t random_below(EmuWorker *worker, uint32_t n)
{
    worker->random = worker->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((worker->random >> 33) % n);
}

/* Without the instruction, which not every CPU has, the builtin is a call. */
static uint32_t lanes_in(uint32_t x)
{
    x -= x >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    return ((x + (x >> 4)) & 0x0F0F0F0F) * 0x01010101u >> 24;
}

static void make_current(EmuWarp *w, uint32_t i)
{
    w->current = i;
    w->active = w->splits[i].mask;
    w->lanes = lanes_in(w->active);
    w->wmask = w->active | w->dead;
}

/* The next runnable split after `after`, round about; false when none is. */
static bool next_runnable(EmuWarp *w, uint32_t after, uint32_t *i)
{
    for (uint32_t k = 1; k <= w->splits_n; k++) {
        *i = (after + k) % w->splits_n;
        if (w->splits[*i].state == EMU_STATE_RUN)
            return true;
    }
    return false;
}

/* What the warp runs when its running split cannot go on: the newest runnable one, or a drawn one when the order is to be mixed. */
static const EmuRec *switch_split(EmuWarp *w)
{
    uint32_t i, after = w->splits_n ? w->splits_n - 1 : 0;
    if (w->worker->random && w->splits_n > 1)
        after = random_below(w->worker, w->splits_n);
    else if (w->splits_n)
        for (uint32_t k = w->splits_n; k-- > 0;)
            if (w->splits[k].state == EMU_STATE_RUN) {
                make_current(w, k);
                return w->code->recs + w->splits[k].pc;
            }
    if (w->block->is_stopped || !w->splits_n || !next_runnable(w, after, &i)) {
        w->active = 0;
        w->wmask = w->dead;
        return NULL;
    }
    make_current(w, i);
    return w->code->recs + w->splits[i].pc;
}

static void remove_split(EmuWarp *w, uint32_t i)
{
    w->splits[i] = w->splits[--w->splits_n];
}

static void add_split(EmuWarp *w, uint32_t mask, uint32_t pc, uint8_t node)
{
    assert(w->splits_n < 32);
    w->splits[w->splits_n++] = (EmuSplit){.mask = mask, .pc = pc, .node = node, .state = EMU_STATE_RUN};
}

const EmuRec *emu_exec_park(EmuWarp *w, EmuState state, uint32_t pc)
{
    w->splits[w->current].state = (uint8_t)state;
    w->splits[w->current].pc = pc;
    return switch_split(w);
}

static uint8_t new_node(EmuWarp *w, uint32_t expected, uint32_t pc, uint8_t parent)
{
    assert(~w->nodes_used);
    uint8_t i = (uint8_t)__builtin_ctzll(~w->nodes_used);
    w->nodes_used |= 1ull << i;
    w->nodes[i] = (EmuNode){expected, 0, pc, parent};
    return i;
}

/* All lanes of a node are at its join: they go on there as one split of the parent, unless that joins at the same place. */
static void complete_node(EmuWarp *w, uint8_t i)
{
    EmuNode *n = w->nodes + i;
    while (n->pc != EMU_NO_PC && n->arrived && n->arrived == n->expected) {
        EmuNode *parent = w->nodes + n->parent;
        uint32_t mask = n->arrived, pc = n->pc;
        w->nodes_used &= ~(1ull << i);
        if (parent->pc != pc) {
            add_split(w, mask, pc, n->parent);
            return;
        }
        parent->arrived |= mask;
        i = n->parent;
        n = parent;
    }
}

const EmuRec *emu_exec_guarded(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    uint32_t p = *(const uint32_t *)(const void *)(w->regs + (r->guard & ~1u)) ^ (0u - (r->guard & 1));
    mask &= p;
    if (!(mask & w->active))
        EMU_GO(r + 1)
    return w->code->inner[r->inner](w, r, mask);
}

const EmuRec *emu_exec_rounded(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    unsigned before = _mm_getcsr();
    const bool is_stepwise = w->is_stepwise;
    w->is_stepwise = true;
    _mm_setcsr((before & ~0x6000u) | (unsigned)r->imm);
    const EmuRec *next = w->code->inner[r->inner + (r->guard ? 1 : 0)](w, r, mask);
    _mm_setcsr(before);
    w->is_stepwise = is_stepwise;
    return next;
}

static const EmuRec *yield(EmuWarp *w, const EmuRec *next)
{
    w->splits[w->current].pc = pc_of(w, next);
    w->active = 0;
    w->wmask = w->dead;
    return NULL;
}

const EmuRec *emu_exec_head(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    EmuWorker *worker = w->worker;
    (void)mask;
    worker->block_execs[r->aux]++;
    worker->block_lanes[r->aux] += w->lanes;
    w->slice -= r->imm;
    if (w->slice < 0)
        return yield(w, r + 1);
    EMU_GO(r + 1)
}

const EmuRec *emu_exec_head_join(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    uint8_t i = w->splits[w->current].node;
    EmuNode *n = w->nodes + i;
    if (n->pc != pc_of(w, r))
        return emu_exec_head(w, r, mask);
    n->arrived |= w->active;
    if (n->arrived == n->expected && w->nodes[n->parent].pc != n->pc && !w->worker->random) {
        /* the last to arrive goes on for all */
        w->splits[w->current].mask = n->arrived;
        w->splits[w->current].node = n->parent;
        w->nodes_used &= ~(1ull << i);
        make_current(w, w->current);
        return emu_exec_head(w, r, mask);
    }
    remove_split(w, w->current);
    complete_node(w, i);
    return switch_split(w);
}

const EmuRec *emu_exec_goto(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    const EmuRec *to = w->code->recs + r->aux;
    (void)mask;
    EMU_GO(to)
}

/* guard: the predicate. aux: where its lanes go; o[0]: the join's record, EMU_NO_PC when lanes do not meet again; o[1]: whether
 * the side that goes elsewhere is to run first because it only ends. o[2]: 0, or the record of straight code for both sides, blocks
 * o[3] (not taken) and o[4] (taken, o[3] again if there is none) of imm instructions. */
const EmuRec *emu_exec_branch(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    uint32_t p = *(const uint32_t *)(const void *)(w->regs + (r->guard & ~1u)) ^ (0u - (r->guard & 1));
    uint32_t taken = p & w->active, stay = w->active & ~taken;
    const EmuRec *to = w->code->recs + r->aux;
    (void)mask;
    if (!stay)
        EMU_GO(to)
    if (!taken)
        EMU_GO(r + 1)
    EmuWorker *worker = w->worker;
    if (r->o[2] && !worker->random) {
        const uint32_t lanes = lanes_in(stay);
        worker->block_execs[r->o[3]]++;
        worker->block_lanes[r->o[3]] += lanes;
        if (r->o[4] != r->o[3]) {
            worker->block_execs[r->o[4]]++;
            worker->block_lanes[r->o[4]] += w->lanes - lanes;
        }
        w->slice -= r->imm;
        EMU_GO(w->code->recs + r->o[2])
    }
    EmuSplit *s = w->splits + w->current;
    const uint32_t join = r->o[0], next = pc_of(w, r) + 1;
    uint8_t node = s->node;
    if (join != EMU_NO_PC && w->nodes[node].pc != join)
        node = new_node(w, w->active, join, node);
    s->node = node;
    if (join == r->aux) {
        w->nodes[node].arrived |= taken;
        s->mask = stay;
        make_current(w, w->current);
        EMU_GO(r + 1)
    }
    if (join == next) {
        w->nodes[node].arrived |= stay;
        s->mask = taken;
        make_current(w, w->current);
        EMU_GO(to)
    }
    bool taken_first = r->o[1];
    if (worker->random)
        taken_first = random_below(w->worker, 2);
    s->mask = taken_first ? stay : taken;
    s->pc = taken_first ? next : r->aux;
    add_split(w, taken_first ? taken : stay, taken_first ? r->aux : next, node);
    make_current(w, w->splits_n - 1);
    return w->code->recs + w->splits[w->current].pc;
}

/* Lanes that wait at a barrier. */
static uint32_t lanes_at(const EmuWarp *w, uint32_t barrier)
{
    uint32_t lanes = 0;
    for (uint32_t i = 0; i < w->splits_n; i++)
        if (w->splits[i].state == EMU_STATE_BARRIER && w->splits[i].barrier == barrier)
            lanes |= w->splits[i].mask;
    return lanes;
}

/* Lanes of the running split end. */
const EmuRec *emu_exec_end(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    uint32_t ended = w->active;
    EmuBlock *b = w->block;
    (void)r;
    (void)mask;
    remove_split(w, w->current);
    w->dead |= ended;
    b->live -= (uint32_t)__builtin_popcount(ended);
    b->events++;
    for (uint64_t m = w->nodes_used & ~1ull; m; m &= m - 1) {
        uint8_t i = (uint8_t)__builtin_ctzll(m);
        if (!(w->nodes_used >> i & 1))
            continue;
        w->nodes[i].expected &= ~ended;
        if (!w->nodes[i].expected)
            w->nodes_used &= ~(1ull << i);
        else
            complete_node(w, i);
    }
    for (uint32_t i = 0; i < w->splits_n; i++)
        if (w->splits[i].state == EMU_STATE_SYNC)
            w->splits[i].state = EMU_STATE_RUN; /* it looks again whether all are there */
    for (uint32_t i = 0; i < EMU_BARRIERS; i++) {
        if (b->barriers[i].arrived && b->barriers[i].expected && lanes_at(w, i) && (lanes_at(w, i) | w->dead) == 0xFFFFFFFF)
            b->barriers[i].arrived += lanes_in(w->dead); /* the last of the warp are there: emu_op_sync */
        if (b->barriers[i].arrived && emu_exec_is_complete(b, i))
            emu_exec_release(b, i);
    }
    return switch_split(w);
}

const EmuRec *emu_exec_trap(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    emu_check_finding(w, r, EMU_TRAP, w->active, "the kernel stops itself");
    return emu_exec_end(w, r, mask);
}

bool emu_exec_is_complete(const EmuBlock *b, uint32_t barrier)
{
    const EmuBarrier *x = b->barriers + barrier;
    return x->arrived >= (x->expected ? x->expected : b->live);
}

void emu_exec_release(EmuBlock *b, uint32_t barrier)
{
    EmuBarrier *x = b->barriers + barrier;
    if (b->shadow)
        emu_check_barrier_release(b, barrier);
    for (uint32_t i = 0; i < b->warps_n; i++) {
        EmuWarp *w = b->worker->warps + i;
        for (uint32_t k = 0; k < w->splits_n; k++)
            if (w->splits[k].state == EMU_STATE_BARRIER && w->splits[k].barrier == barrier)
                w->splits[k].state = EMU_STATE_RUN;
    }
    x->red_result = x->red_count | (x->red_and ? 1u << 16 : 0) | (x->red_or ? 1u << 17 : 0);
    x->arrived = x->red_count = 0;
    x->red_or = false;
    x->red_and = true;
    b->events++;
}

/* Parks the running split for lanes of member that are elsewhere. When its coming completes the set, the instruction is executed
 * once for all, and each split goes on behind it. */
static const EmuRec *wait_for_lanes(EmuWarp *w, const EmuRec *r, uint32_t member)
{
    const uint32_t pc = pc_of(w, r);
    uint32_t there = 0;
    w->splits[w->current].state = EMU_STATE_SYNC;
    w->splits[w->current].pc = pc;
    w->splits[w->current].member = member;
    for (uint32_t i = 0; i < w->splits_n; i++)
        if (w->splits[i].state == EMU_STATE_SYNC && w->splits[i].pc == pc && w->splits[i].mask & member)
            there |= w->splits[i].mask;
    if (member & ~there & ~w->dead)
        return switch_split(w);
    w->active = there;
    w->wmask = there | w->dead;
    const EmuRec *next = r->fn(w, r, w->wmask);
    assert(next == r + 1);
    for (uint32_t i = 0; i < w->splits_n; i++)
        if (w->splits[i].state == EMU_STATE_SYNC && w->splits[i].pc == pc && w->splits[i].mask & member) {
            w->splits[i].state = EMU_STATE_RUN;
            w->splits[i].pc = pc_of(w, next);
        }
    return switch_split(w);
}

uint32_t emu_exec_some(EmuWarp *w, const EmuRec *r)
{
    EmuWorker *worker = w->worker;
    if (!worker->random || w->lanes < 2 || !random_below(worker, 4))
        return w->active;
    const uint32_t low = random_below(worker, 1 << 16), some = w->active & (random_below(worker, 1 << 16) << 16 | low);
    EmuSplit *s = w->splits + w->current;
    if (!some || some == w->active)
        return w->active;
    add_split(w, w->active & ~some, pc_of(w, r), s->node);
    s->mask = some;
    make_current(w, w->current);
    return some;
}

bool emu_exec_together(EmuWarp *w, const EmuRec *r, uint32_t mask, uint32_t member, const EmuRec **next)
{
    if (mask & ~member)
        emu_check_finding(w, r, EMU_SYNC_MASK, mask & ~member, "lanes execute it that their own mask %08X leaves out", member);
    else if (w->block->shadow)
        emu_check_members(w, r, mask, member);
    if (!(member & ~mask & ~w->dead))
        return true;
    *next = wait_for_lanes(w, r, member);
    return false;
}

static void run_warp(EmuWarp *w)
{
    uint32_t i;
    if (!next_runnable(w, w->current, &i))
        return;
    if (w->worker->random)
        next_runnable(w, random_below(w->worker, w->splits_n), &i);
    w->slice = SLICE;
    w->waited = false;
    make_current(w, i);
    const EmuRec *r = w->code->recs + w->splits[i].pc;
    while (r)
        r = r->fn(w, r, w->wmask);
    EmuBlock *b = w->block;
    uint64_t used = w->waited ? 1 : (uint64_t)(SLICE - w->slice);
    b->fuel = b->fuel > used ? b->fuel - used : 0;
}

static void describe_waiters(const EmuBlock *b, char *text, size_t n, EmuWarp **first)
{
    size_t at = 0;
    *first = NULL;
    text[0] = 0;
    for (uint32_t i = 0; i < b->warps_n; i++) {
        EmuWarp *w = b->worker->warps + i;
        for (uint32_t k = 0; k < w->splits_n && at < n; k++) {
            const EmuSplit *s = w->splits + k;
            uint32_t pc = s->state == EMU_STATE_BARRIER ? s->pc - 1 : s->pc;
            const PtxInsn *in = w->code->sites[w->code->recs[pc].insn].in;
            if (!*first)
                *first = w;
            int length = snprintf(text + at, n - at, "%swarp %u lanes %08X at line %u (%.40s)", at ? ", " : "", i, s->mask, in ? in->line : 0,
                                  in ? in->opcode : "");
            at += length > 0 ? (size_t)length : 0;
        }
    }
}

static void stop(EmuBlock *b, EmuFindingKind kind, const char *what)
{
    char text[300];
    EmuWarp *w;
    describe_waiters(b, text, sizeof text, &w);
    if (w && w->splits_n) {
        uint32_t pc = w->splits[0].state == EMU_STATE_BARRIER ? w->splits[0].pc - 1 : w->splits[0].pc;
        emu_check_finding(w, w->code->recs + pc, kind, w->splits[0].mask, "%s: %s", what, text);
    }
    b->is_stopped = true;
}

void emu_exec_block(EmuBlock *b)
{
    uint32_t idle = 0;
    while (b->live && !b->is_stopped) {
        uint64_t events = b->events;
        bool ran = false, all_waited = true;
        uint32_t shift = b->worker->random ? random_below(b->worker, b->warps_n) : 0;
        for (uint32_t i = 0; i < b->warps_n && !b->is_stopped; i++) {
            EmuWarp *w = b->worker->warps + (i + shift) % b->warps_n;
            uint32_t k;
            if (!w->splits_n || !next_runnable(w, w->current, &k))
                continue;
            ran = true;
            run_warp(w);
            all_waited &= w->waited;
        }
        if (b->is_stopped)
            return;
        if (!ran && b->live)
            stop(b, EMU_DEADLOCK, "no thread can go on");
        else if (!b->fuel)
            stop(b, EMU_HANG, "the block does not end within its instruction limit");
        idle = events == b->events && all_waited ? idle + 1 : 0;
        if (idle > IDLE_ROUNDS_MAX)
            stop(b, EMU_DEADLOCK, "every thread waits at an mbarrier that nobody completes");
    }
}
