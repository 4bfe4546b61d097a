#include "core/emu/emu_race.h"

#include <stdlib.h>
#include <string.h>

#include "core/emu/emu_check.h"

/* Last write and the reads since. Stamps of blocks grow from launch to launch: those below the launch's first are history. */
struct EmuRaceCell {
    uint32_t write_block, write_clock, read_block, read_clock; /* blocks as stamps; read_clock: the newest of the reads */
    uint8_t write_warp, write_lane, write_bytes, read_warp, read_lane, read_bytes; /* MANY: several */
    bool is_atomic, is_mixed;
};

/* Lanes: each with bytes of its own, or all at the same. */
enum { MANY = 255, SEVERAL = 254, BLOCKS_MAX = 1 << 30 };

static bool has_form(const EmuCode *code, bool (*is_it)(const PtxInsn *in))
{
    for (uint32_t i = 0; i < code->sites_n; i++)
        if (code->sites[i].in && is_it(code->sites[i].in))
            return true;
    return false;
}

static bool is_fence(const PtxInsn *in)
{
    return in->form == PTX_OP_MEMBAR || in->form == PTX_OP_FENCE;
}

static bool is_atomic(const PtxInsn *in)
{
    return in->form == PTX_OP_ATOM || in->form == PTX_OP_ATOM_CAS || in->form == PTX_OP_RED;
}

bool emu_race_begin(Emu *emu, EmuRun *run)
{
    const uint64_t blocks = (uint64_t)run->grid[0] * run->grid[1] * run->grid[2];
    run->has_races = blocks < BLOCKS_MAX;
    if (!run->has_races)
        return false;
    if (emu->race_first + emu->race_blocks + blocks + 2 > UINT32_MAX) {
        for (size_t i = 0; i < emu->allocs_n; i++) { /* stamps have run out */
            free(emu->allocs[i].cells);
            emu->allocs[i].cells = NULL;
        }
        emu->race_first = emu->race_blocks = 0;
    }
    emu->race_first += emu->race_blocks + 1; /* the stamp behind the last block's: several blocks */
    emu->race_blocks = blocks;
    return !(has_form(run->code, is_fence) && has_form(run->code, is_atomic));
}

static uint32_t many_blocks(const Emu *emu)
{
    return (uint32_t)(emu->race_first + emu->race_blocks);
}

static void race_of_blocks(EmuWarp *w, const EmuRec *r, uint32_t lanes, const EmuAlloc *a, uint64_t at, const char *what, uint32_t block)
{
    if (block == many_blocks(w->worker->emu))
        emu_check_finding(w, r, EMU_RACE_BLOCKS, lanes, "byte %llu of \"%s\": %s several blocks of this launch", (unsigned long long)(at - a->lo),
                          a->name, what);
    else
        emu_check_finding(w, r, EMU_RACE_BLOCKS, lanes, "byte %llu of \"%s\": %s another block of this launch",
                          (unsigned long long)(at - a->lo), a->name, what);
}

static void race_in_block(EmuWarp *w, const EmuRec *r, uint32_t lanes, const EmuAlloc *a, uint64_t at, const char *what, uint32_t warp)
{
    if (warp != w->idx)
        emu_check_finding(w, r, EMU_RACE, lanes, "byte %llu of \"%s\": %s warp %u, with no barrier between", (unsigned long long)(at - a->lo),
                          a->name, what, warp);
    else
        emu_check_finding(w, r, EMU_RACE_LANES, lanes, "byte %llu of \"%s\": %s another lane of the same warp, with no bar.warp.sync between",
                          (unsigned long long)(at - a->lo), a->name, what);
}

static bool follows(const EmuWarp *w, uint32_t lane, uint32_t warp, uint32_t other, uint32_t clock)
{
    if (warp == w->idx && (lane == MANY || other == MANY))
        return true;
    return emu_check_follows(w, lane, warp, other == SEVERAL ? EMU_ANY_LANE : other, clock);
}

/* Whose bytes are when a lane does the same to some as another before it. */
static uint8_t joined(uint32_t lane, uint32_t other, bool same_bytes)
{
    return lane == other ? (uint8_t)lane : lane != MANY && other != MANY && same_bytes ? SEVERAL : MANY;
}

static void note_read(EmuRaceCell *c, uint32_t me, const EmuWarp *w, uint32_t lane, uint8_t bytes)
{
    const uint32_t now = w->clock[w->idx];
    if (c->read_block != me && c->read_bytes) {
        c->is_mixed |= c->read_bytes != bytes;
        c->read_block = many_blocks(w->worker->emu);
        return;
    }
    const bool is_after = !c->read_bytes || c->read_clock <= w->safe;
    c->is_mixed |= !is_after && c->read_bytes != bytes && c->read_warp != w->idx;
    const bool is_mine = c->read_warp == w->idx, joins = !is_after && !(is_mine && c->read_clock < w->synced);
    c->read_lane = !joins ? (uint8_t)lane : is_mine ? joined(lane, c->read_lane, c->read_bytes == bytes) : MANY;
    c->read_warp = is_after || is_mine ? (uint8_t)w->idx : MANY;
    c->read_bytes = joins ? c->read_bytes | bytes : bytes;
    c->read_block = me;
    c->read_clock = now;
}

static void touch_cell(EmuWarp *w, const EmuTouch *t, uint32_t lane, const EmuAlloc *a, uint64_t at, EmuRaceCell *c, uint8_t bytes)
{
    const uint32_t first = (uint32_t)w->worker->emu->race_first, me = first + (uint32_t)w->block->idx, now = w->clock[w->idx];
    const uint32_t lanes = lane == MANY ? w->active : 1u << lane;
    if (c->write_block < first)
        c->write_bytes = 0;
    if (c->read_block < first)
        c->read_bytes = 0;
    if (!c->write_bytes && !c->read_bytes)
        c->is_mixed = false;
    if (c->is_mixed)
        return;
    const bool is_same_insn = t->is_write && c->write_block == me && c->write_warp == w->idx && c->write_clock == now;
    if (c->write_bytes & bytes && !(t->is_atomic && c->is_atomic) && !is_same_insn) {
        const char *what = t->is_write ? "written here and by" : "read here, written by";
        if (c->write_block != me && w->worker->run->judges_blocks)
            race_of_blocks(w, t->rec, lanes, a, at, what, c->write_block);
        else if (c->write_block == me && !follows(w, lane, c->write_warp, c->write_lane, c->write_clock))
            race_in_block(w, t->rec, lanes, a, at, what, c->write_warp);
    }
    if (!t->is_write) {
        note_read(c, me, w, lane, bytes);
        return;
    }
    if (c->read_bytes & bytes) {
        if (c->read_block != me && w->worker->run->judges_blocks)
            race_of_blocks(w, t->rec, lanes, a, at, "written here, read by", c->read_block);
        else if (c->read_block == me && c->read_warp != MANY && !follows(w, lane, c->read_warp, c->read_lane, c->read_clock))
            race_in_block(w, t->rec, lanes, a, at, "written here, read by", c->read_warp);
    }
    const bool is_mine = c->write_block == me && c->write_warp == w->idx;
    c->is_mixed = (c->write_bytes && !is_mine && (c->write_bytes & ~bytes)) || (c->read_bytes & ~bytes);
    /* bytes from before the warp has synchronised are dropped: they must not look newer than they are */
    const bool joins = is_mine && c->write_clock >= w->synced && (c->write_clock == now || c->write_bytes & ~bytes);
    c->write_lane = joins ? joined(lane, c->write_lane, c->write_bytes == bytes) : (uint8_t)lane;
    c->write_bytes = joins ? c->write_bytes | bytes : bytes;
    c->write_block = me;
    c->write_clock = now;
    c->write_warp = (uint8_t)w->idx;
    c->is_atomic = t->is_atomic;
    c->read_bytes = 0;
}

static void touch_range(EmuWarp *w, const EmuTouch *t, uint32_t lane, uint64_t at, uint64_t bytes)
{
    EmuAlloc *a = (EmuAlloc *)emu_mem_find(w->worker->emu, at);
    if (!a || a->is_read_only || a->hi - a->lo > RACE_BYTES_MAX)
        return;
    if (!a->cells)
        a->cells = calloc((a->hi - a->lo) / 4 + 1, sizeof *a->cells);
    if (!a->cells) {
        w->worker->is_memory_out = true;
        return;
    }
    const uint64_t from = at - a->lo, to = from + bytes;
    for (uint64_t word = from / 4; word * 4 < to; word++) {
        uint32_t lo = word * 4 > from ? 0 : (uint32_t)(from - word * 4), hi = to - word * 4 > 4 ? 4 : (uint32_t)(to - word * 4);
        touch_cell(w, t, lane, a, a->lo + word * 4 + lo, a->cells + word, (uint8_t)(((1u << hi) - 1) & ~((1u << lo) - 1)));
    }
}

void emu_race_touch(EmuWarp *w, const EmuTouch *t, uint32_t on, const uint64_t *at)
{
    if (t->is_write)
        emu_check_tick(w);
    if (t->shape == EMU_SHAPE_RUN && t->bytes < 4 && on & (on - 1)) {
        touch_range(w, t, MANY, at[__builtin_ctz(on)], t->bytes * (uint64_t)__builtin_popcount(on));
        return;
    }
    for (uint32_t m = on; m; m &= m - 1)
        touch_range(w, t, (uint32_t)__builtin_ctz(m), at[__builtin_ctz(m)], t->bytes);
}
