/* Checks; see emu_check.h for what is kept and what is not seen. */
#include "core/emu/emu_check.h"
#include "core/emu/emu_race.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASYNC_PROXY = EMU_WARPS_MAX };
#define IS_MBAR (1u << 31)

const char *emu_finding_name(EmuFindingKind kind)
{
    static const char *const names[EMU_FINDING_KINDS] = {
        [EMU_OUT_OF_BOUNDS] = "out of bounds", [EMU_MISALIGNED] = "misaligned", [EMU_READ_ONLY] = "write to read-only memory",
        [EMU_UNINITIALISED_GLOBAL] = "read of unwritten global memory", [EMU_UNINITIALISED_SHARED] = "read of unwritten shared memory",
        [EMU_RACE] = "race", [EMU_ASYNC_PENDING] = "asynchronous copy not waited for", [EMU_BARRIER_DIVERGENT] = "divergent barrier",
        [EMU_DEADLOCK] = "deadlock", [EMU_HANG] = "hang", [EMU_TRAP] = "trap", [EMU_SYNC_MASK] = "lane mask",
        [EMU_BAD_OPERAND] = "operand", [EMU_RACE_LANES] = "race of lanes",
        [EMU_RACE_BLOCKS] = "race of blocks", [EMU_UNINITIALISED_REGISTER] = "use of an unwritten register"};
    return names[kind];
}

/* The sentence ends with the lanes. */
static void add_lanes(EmuFinding *f, uint32_t lanes)
{
    char digits[9];
    f->lanes |= lanes;
    snprintf(digits, sizeof digits, "%08X", f->lanes);
    memcpy(f->text + strlen(f->text) - 8, digits, 8);
}

void emu_check_finding(EmuWarp *w, const EmuRec *r, EmuFindingKind kind, uint32_t lanes, const char *format, ...)
{
    EmuWorker *worker = w->worker;
    const PtxInsn *in = w->code->sites[r->insn].in;
    const EmuBlock *b = w->block;
    va_list ap;
    char text[260], source[80] = "";
    if (!worker->run->is_checked) {
        w->block->is_stopped = true;
        w->slice = 0;
    }
    for (uint32_t i = 0; i < worker->findings_n; i++)
        if (worker->findings[i].kind == kind && worker->findings[i].ptx_line == in->line && worker->findings[i].block <= b->idx) {
            /* one a kind and instruction and worker: that of the first block; other lanes of its warp join it */
            if (worker->findings[i].block == b->idx && worker->findings[i].warp == w->idx)
                add_lanes(worker->findings + i, lanes);
            return;
        }
    if (worker->findings_n == EMU_FINDINGS_MAX)
        return;
    EmuFinding *f = worker->findings + worker->findings_n++;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (in->loc_line) {
        const char *file = ptx_file_name(w->code->ptx, in->loc_file);
        const char *slash = file ? strrchr(file, '/') : NULL;
        snprintf(source, sizeof source, " (%.50s:%u)", slash ? slash + 1 : file ? file : "?", in->loc_line);
    }
    *f = (EmuFinding){.kind = kind, .ptx_line = in->line, .source_line = in->loc_line, .block = b->idx, .warp = w->idx, .lanes = lanes};
    snprintf(f->text, sizeof f->text, "%s: %.200s; kernel %.40s, PTX line %u%s, %.40s, block (%u,%u,%u), warp %u, lanes %08X", emu_finding_name(kind),
             text, w->code->name, in->line, source, in->opcode, b->coord[0], b->coord[1], b->coord[2], w->idx, lanes);
}

/* bounds */

static uint32_t global_bounds(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes, bool is_write)
{
    EmuCache *cache = w->worker->caches + w->code->sites[r->insn].cache;
    uint32_t ok = 0;
    for (uint32_t m = on; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        char text[200];
        if (at[l] >= cache->lo && at[l] < cache->hi && cache->hi - at[l] >= bytes) {
            ok |= 1u << l;
            continue;
        }
        EmuCache found;
        if (!emu_mem_cache(w->worker->emu, &found, at[l], bytes)) {
            emu_mem_describe(w->worker->emu, at[l], text, sizeof text);
            emu_check_finding(w, r, EMU_OUT_OF_BOUNDS, 1u << l, "%s of %u bytes at %s", is_write ? "write" : "read", bytes, text);
        } else if (is_write && found.is_read_only) {
            emu_check_finding(w, r, EMU_READ_ONLY, 1u << l, "\"%s\"", found.alloc->name);
        } else {
            *cache = found;
            ok |= 1u << l;
        }
    }
    return ok;
}

uint32_t emu_check_bounds(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes, PtxSpace space, bool is_write)
{
    if (space != PTX_SPACE_SHARED && space != PTX_SPACE_LOCAL)
        return global_bounds(w, r, on, at, bytes, is_write);
    uint32_t ok = 0;
    const uint64_t lo = space == PTX_SPACE_SHARED ? (uint64_t)w->block->smem + EMU_SMEM_BASE : (uint64_t)w->local;
    for (uint32_t m = on; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        uint64_t size = space == PTX_SPACE_SHARED ? w->block->smem_bytes : w->code->local_bytes;
        uint64_t start = space == PTX_SPACE_SHARED ? lo : lo + l * size;
        if (at[l] >= start && size >= bytes && at[l] - start <= size - bytes)
            ok |= 1u << l;
        else
            emu_check_finding(w, r, EMU_OUT_OF_BOUNDS, 1u << l, "%s of %u bytes at byte %lld of the block's %llu bytes of %s memory",
                              is_write ? "write" : "read", bytes, (long long)(at[l] - start), (unsigned long long)size,
                              space == PTX_SPACE_SHARED ? "shared" : "local");
    }
    return ok;
}

/* order between warps */

static void join(uint32_t *to, const uint32_t *from)
{
    for (uint32_t i = 0; i < EMU_CLOCKS; i++)
        to[i] = to[i] > from[i] ? to[i] : from[i];
}

static void update_safe(EmuWarp *w)
{
    uint32_t safe = w->synced - 1;
    for (uint32_t v = 0; v < w->block->warps_n; v++)
        safe = v != w->idx && w->clock[v] < safe ? w->clock[v] : safe;
    w->safe = safe;
}

void emu_check_tick(EmuWarp *w)
{
    w->clock[w->idx] = ++w->block->clock;
}

bool emu_check_follows(const EmuWarp *w, uint32_t lane, uint32_t warp, uint32_t other, uint32_t clock)
{
    if (warp != w->idx)
        return w->clock[warp] >= clock;
    if (other == EMU_ANY_LANE)
        return clock < w->synced || w->has_seen; /* where lanes have synchronised in parts, nobody knows */
    return clock < w->synced || other == lane || (w->has_seen && w->seen[lane][other] > clock);
}

void emu_check_warp_sync(EmuWarp *w, uint32_t lanes)
{
    emu_check_tick(w);
    const uint32_t now = w->clock[w->idx];
    if ((lanes | w->dead) == 0xFFFFFFFF) {
        w->synced = now;
        w->has_seen = false;
        update_safe(w);
        return;
    }
    if (!w->has_seen)
        memset(w->seen, 0, sizeof *w->seen * 32);
    w->has_seen = true;
    uint32_t all[32] = {0};
    for (uint32_t m = lanes; m; m &= m - 1)
        for (uint32_t k = 0; k < 32; k++)
            all[k] = w->seen[__builtin_ctz(m)][k] > all[k] ? w->seen[__builtin_ctz(m)][k] : all[k];
    for (uint32_t k = 0; k < 32; k++)
        all[k] = lanes >> k & 1 ? now : all[k];
    for (uint32_t m = lanes; m; m &= m - 1)
        memcpy(w->seen[__builtin_ctz(m)], all, sizeof all);
}

void emu_check_members(EmuWarp *w, const EmuRec *r, uint32_t on, uint32_t member)
{
    if (ptx_op[w->code->sites[r->insn].in->form].group != PTX_GROUP_WARP)
        return;
    const uint32_t *members = (const uint32_t *)(const void *)(w->regs + r->o[5]), pc = (uint32_t)(r - w->code->recs);
    for (uint32_t m = on; m; m &= m - 1) {
        const uint32_t l = (uint32_t)__builtin_ctz(m);
        if (members[l] != member)
            emu_check_finding(w, r, EMU_SYNC_MASK, 1u << l, "its mask is %08X, that of others that take part %08X", members[l], member);
    }
    for (uint32_t i = 0; i < w->splits_n; i++) {
        const EmuSplit *s = w->splits + i;
        if (s->state == EMU_STATE_SYNC && s->pc == pc && s->member != member && (s->mask & member || on & s->member))
            emu_check_finding(w, r, EMU_SYNC_MASK, on, "their mask is %08X, that of lanes %08X, which wait here, %08X", member, s->mask, s->member);
    }
}

void emu_check_barrier_arrive(EmuWarp *w, EmuBarrier *b)
{
    join(b->clock, w->clock);
    emu_check_tick(w); /* what an arriving warp that does not wait does next is not covered by the barrier */
}

void emu_check_barrier_release(EmuBlock *b, uint32_t barrier)
{
    EmuBarrier *x = b->barriers + barrier;
    uint32_t lanes[EMU_WARPS_MAX] = {0};
    const uint32_t now = ++b->clock;
    for (uint32_t i = 0; i < b->warps_n; i++) {
        EmuWarp *w = b->worker->warps + i;
        for (uint32_t k = 0; k < w->splits_n; k++)
            if (w->splits[k].state == EMU_STATE_BARRIER && w->splits[k].barrier == barrier)
                lanes[i] |= w->splits[k].mask;
        if (lanes[i])
            x->clock[i] = now; /* it does nothing between its arrival and this, so one number does for all that wait */
    }
    for (uint32_t i = 0; i < b->warps_n; i++) {
        EmuWarp *w = b->worker->warps + i;
        if (!lanes[i])
            continue;
        join(w->clock, x->clock);
        emu_check_warp_sync(w, lanes[i]);
        update_safe(w);
    }
    memset(x->clock, 0, sizeof x->clock);
}

static EmuMbar *mbar_of(EmuBlock *b, uint32_t offset)
{
    for (uint32_t i = 0; i < b->mbars_n; i++)
        if (b->mbars[i].offset == offset)
            return b->mbars + i;
    if (b->mbars_n == b->mbars_cap) {
        uint32_t cap = b->mbars_cap ? 2 * b->mbars_cap : 16;
        EmuMbar *grown = realloc(b->mbars, cap * sizeof *grown);
        if (!grown)
            return NULL;
        b->mbars = grown;
        b->mbars_cap = cap;
    }
    b->mbars[b->mbars_n] = (EmuMbar){.offset = offset};
    return b->mbars + b->mbars_n++;
}

static void touch_mbar(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t mbar)
{
    uint64_t at[32];
    at[lane] = (uint64_t)w->block->smem + mbar;
    emu_shadow_touch(w, &(EmuTouch){.rec = r, .bytes = 8, .shape = EMU_SHAPE_OTHER, .is_write = true}, 1u << lane, at);
}

void emu_check_mbar_init(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t mbar)
{
    EmuMbar *x = mbar_of(w->block, mbar);
    if (!x)
        return;
    if (x->is_live)
        emu_check_finding(w, r, EMU_BAD_OPERAND, 1u << lane, "there is an mbarrier already, of warp %u lane %u, that nobody has invalidated",
                          x->init_warp, x->init_lane);
    else
        touch_mbar(w, r, lane, mbar);
    emu_check_tick(w);
    *x = (EmuMbar){.offset = mbar, .init_warp = w->idx, .init_lane = lane, .init_clock = w->clock[w->idx], .is_live = true};
    emu_shadow_mbar(w->block, mbar, true);
    emu_check_mbar_arrive(w, lane, mbar);
}

void emu_check_mbar_inval(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t mbar)
{
    EmuMbar *x = mbar_of(w->block, mbar);
    if (!x)
        return;
    x->is_live = false;
    emu_shadow_mbar(w->block, mbar, false);
    touch_mbar(w, r, lane, mbar);
    emu_shadow_mbar(w->block, mbar, false);
}

bool emu_check_mbar_use(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t mbar)
{
    const EmuMbar *x = mbar_of(w->block, mbar);
    if (!x || !x->is_live) {
        emu_check_finding(w, r, EMU_BAD_OPERAND, 1u << lane, "there is no initialised mbarrier at this address");
        return false;
    }
    if (!emu_check_follows(w, lane, x->init_warp, x->init_lane, x->init_clock))
        emu_check_finding(w, r, x->init_warp != w->idx ? EMU_RACE : EMU_RACE_LANES, 1u << lane,
                          "an mbarrier that warp %u lane %u initialised, with no barrier between", x->init_warp, x->init_lane);
    return true;
}

void emu_check_mbar_arrive(EmuWarp *w, uint32_t lane, uint32_t mbar)
{
    EmuMbar *x = mbar_of(w->block, mbar);
    if (x) {
        join(x->clock, w->clock);
        x->lanes[w->idx] |= 1u << lane;
    }
    emu_check_tick(w);
}

void emu_check_mbar_pass(EmuWarp *w, uint32_t lane, uint32_t mbar)
{
    EmuBlock *b = w->block;
    EmuMbar *x = mbar_of(b, mbar);
    if (x) {
        join(w->clock, x->clock);
        if (x->lanes[w->idx]) /* lanes of one warp that met here */
            emu_check_warp_sync(w, x->lanes[w->idx] | 1u << lane);
    }
    emu_shadow_land_all(b, mbar | IS_MBAR, ASYNC_PROXY, w->clock[ASYNC_PROXY]); /* the bulk copies that it announced */
    emu_check_tick(w);
    update_safe(w);
}

/* shared memory */

void emu_check_async(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *to, uint32_t bytes)
{
    /* it may land at once, so it must not race with anyone now */
    emu_shadow_copy(w, &(EmuTouch){.rec = r, .bytes = bytes, .shape = EMU_SHAPE_OTHER, .is_write = true}, on, to);
    if (w->pending_n + 32 > w->pending_cap) {
        uint32_t cap = w->pending_cap ? 2 * w->pending_cap : 256;
        EmuPending *grown = realloc(w->pending, cap * sizeof *grown);
        if (!grown) {
            w->worker->is_memory_out = true;
            return;
        }
        w->pending = grown;
        w->pending_cap = cap;
    }
    for (uint32_t m = on; m; m &= m - 1)
        w->pending[w->pending_n++] = (EmuPending){(uint32_t)(to[__builtin_ctz(m)] - (uint64_t)w->block->smem), bytes, w->group};
}

void emu_check_async_done(EmuWarp *w, uint32_t group)
{
    uint32_t kept = 0;
    emu_check_tick(w);
    for (uint32_t i = 0; i < w->pending_n; i++) {
        EmuPending p = w->pending[i];
        if (p.group >= group)
            w->pending[kept++] = p;
        else
            emu_shadow_land(w->block, p.offset, p.bytes, w->idx, w->clock[w->idx]);
    }
    w->pending_n = kept;
}

void emu_check_bulk(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t to, uint32_t bytes, uint32_t mbar)
{
    uint64_t at[32];
    at[lane] = (uint64_t)w->block->smem + to;
    emu_shadow_touch(w, &(EmuTouch){.rec = r, .bytes = bytes, .shape = EMU_SHAPE_OTHER, .is_write = true}, 1u << lane, at);
    emu_shadow_pend(w->block, to, bytes, mbar | IS_MBAR);
}

/* Bytes that the lanes of a store write. */
static void stored_bytes(const EmuWarp *w, const EmuRec *r, uint32_t on, uint32_t bytes, uint8_t (*to)[32])
{
    const uint32_t vec = w->code->sites[r->insn].in->vec, size = bytes / vec, step = size == 1 ? 2 : size;
    for (uint32_t i = 0; i < vec; i++) {
        const uint8_t *s = w->regs + (vec > 4 ? w->code->pool[r->o[1] + i] : r->o[1 + i]);
        for (uint32_t m = on; m; m &= m - 1)
            memcpy(to[__builtin_ctz(m)] + i * size, s + (uint32_t)__builtin_ctz(m) * step, size);
    }
}

/* May lanes that write share bytes? A finding when lanes of one store write different values to one place. */
static bool check_lanes(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes)
{
    uint8_t value[32][32];
    bool has_value = false, rises = true;
    uint64_t end = 0;
    for (uint32_t m = on; m; m &= m - 1) {
        rises &= at[__builtin_ctz(m)] >= end;
        end = at[__builtin_ctz(m)] + bytes;
    }
    if (rises || w->code->sites[r->insn].in->form != PTX_OP_ST)
        return !rises;
    for (uint32_t m = on; m; m &= m - 1)
        for (uint32_t n = m & (m - 1); n; n &= n - 1) {
            uint32_t l = (uint32_t)__builtin_ctz(m), k = (uint32_t)__builtin_ctz(n);
            uint64_t lo = at[l] > at[k] ? at[l] : at[k], hi = (at[l] < at[k] ? at[l] : at[k]) + bytes;
            if (lo >= hi)
                continue;
            if (!has_value)
                stored_bytes(w, r, on, bytes, value);
            has_value = true;
            if (memcmp(value[l] + (lo - at[l]), value[k] + (lo - at[k]), hi - lo) != 0) {
                emu_check_finding(w, r, EMU_RACE_LANES, 1u << l | 1u << k, "two lanes write different values to one place");
                return true;
            }
        }
    return has_value;
}

/* global memory */

/* The map's words of 64 bits; other workers may be at them, bits of one word may belong to different blocks. */
static uint64_t *valid_word(const EmuAlloc *a, uint64_t byte)
{
    return (uint64_t *)(void *)a->valid + byte / 64;
}

/* Bits of [i, end) that lie in the word of byte i. */
static uint64_t valid_mask(uint64_t i, uint64_t end)
{
    const uint64_t n = end - i < 64 - i % 64 ? end - i : 64 - i % 64;
    return (n == 64 ? ~0ull : (1ull << n) - 1) << (i % 64);
}

static bool is_valid(const EmuAlloc *a, uint64_t at, uint64_t bytes)
{
    uint64_t lost = 0;
    const uint64_t end = at - a->lo + bytes;
    for (uint64_t i = at - a->lo; i < end; i = (i | 63) + 1)
        lost |= ~__atomic_load_n(valid_word(a, i), __ATOMIC_RELAXED) & valid_mask(i, end);
    return !lost;
}

static void set_valid(const EmuAlloc *a, uint64_t at, uint64_t bytes)
{
    const uint64_t end = at - a->lo + bytes;
    for (uint64_t i = at - a->lo; i < end; i = (i | 63) + 1) {
        uint64_t *word = valid_word(a, i), mask = valid_mask(i, end);
        if ((__atomic_load_n(word, __ATOMIC_RELAXED) & mask) != mask)
            __atomic_fetch_or(word, mask, __ATOMIC_RELAXED);
    }
}

void emu_check_mark_valid(Emu *emu, uint64_t address, uint64_t bytes)
{
    EmuAlloc *a = (EmuAlloc *)emu_mem_find(emu, address);
    if (!a || !a->valid)
        return;
    set_valid(a, address, bytes);
    a->is_written |= address == a->lo && bytes == a->hi - a->lo;
}

/* counters */

#define CLONES __attribute__((target_clones("avx2", "default")))

CLONES static EmuShape shape_of_all(const uint64_t *at, uint32_t bytes)
{
    uint64_t runs = 0, same = 0;
    for (uint32_t l = 0; l < 32; l++) {
        runs |= at[l] ^ (at[0] + l * (uint64_t)bytes);
        same |= at[l] ^ at[0];
    }
    return !runs ? EMU_SHAPE_RUN : !same ? EMU_SHAPE_SAME : EMU_SHAPE_OTHER;
}

static EmuShape shape_of(uint32_t on, const uint64_t *at, uint32_t bytes)
{
    if (on == 0xFFFFFFFF)
        return shape_of_all(at, bytes);
    const uint32_t first = (uint32_t)__builtin_ctz(on);
    uint64_t runs = on >> first & ((on >> first) + 1), same = 0; /* a gap in the lanes */
    for (uint32_t m = on; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        runs |= at[l] ^ (at[first] + (l - first) * (uint64_t)bytes);
        same |= at[l] ^ at[first];
    }
    return !runs ? EMU_SHAPE_RUN : !same ? EMU_SHAPE_SAME : EMU_SHAPE_OTHER;
}

/* Different sectors of 32 bytes; sectors that lanes side by side share are found first. */
static uint32_t sectors_of(uint32_t on, const uint64_t *at, uint32_t bytes, EmuShape shape)
{
    const uint64_t first = at[__builtin_ctz(on)];
    if (shape != EMU_SHAPE_OTHER)
        return (uint32_t)((first + (shape == EMU_SHAPE_RUN ? (uint32_t)__builtin_popcount(on) * (uint64_t)bytes : bytes) - 1) / 32 - first / 32) + 1;
    uint64_t sectors[32 * 2], newest = 0;
    uint32_t n = 0;
    for (uint32_t m = on; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        for (uint64_t s = at[l] / 32; s <= (at[l] + bytes - 1) / 32 && n < 64; s++) {
            uint32_t i = s <= newest ? n : 0;
            while (i && sectors[i - 1] != s)
                i--;
            if (i)
                continue;
            sectors[n++] = s;
            newest = s > newest ? s : newest;
        }
    }
    return n;
}

static void count_global(EmuWarp *w, uint32_t on, const uint64_t *at, uint32_t bytes, EmuShape shape)
{
    w->worker->counts.global_requests++;
    w->worker->counts.global_sectors += sectors_of(on, at, bytes, shape);
    w->worker->counts.global_bytes += shape == EMU_SHAPE_SAME ? bytes : (uint64_t)bytes * (uint32_t)__builtin_popcount(on);
}

/* Wavefronts of one part of a request: as many as the fullest bank has different words. */
static uint32_t wavefronts(uint32_t on, const uint64_t *at, uint32_t words)
{
    uint32_t in_bank[32] = {0}, most = 0, word_of[32][32];
    for (uint32_t m = on; m; m &= m - 1)
        for (uint32_t k = 0; k < words; k++) {
            uint32_t word = (uint32_t)(at[__builtin_ctz(m)] / 4) + k, bank = word % 32, i = 0;
            while (i < in_bank[bank] && word_of[bank][i] != word)
                i++;
            if (i == in_bank[bank] && i < 32) {
                word_of[bank][i] = word;
                most = ++in_bank[bank] > most ? in_bank[bank] : most;
            }
        }
    return most;
}

/* The same for aligned accesses of a power of two of bytes, at most 16, where no bank has two different words; else 0. */
static uint32_t one_wavefront(uint32_t on, const uint64_t *at, uint32_t bytes)
{
    const uint32_t shift = bytes <= 4 ? 2 : bytes == 8 ? 3 : 4, ways = (128u >> shift) - 1;
    uint32_t first[32], seen = 0;
    for (uint32_t m = on; m; m &= m - 1) {
        const uint32_t piece = (uint32_t)(at[__builtin_ctz(m)] >> shift), way = piece & ways;
        if (seen >> way & 1 && first[way] != piece)
            return 0;
        seen |= 1u << way;
        first[way] = piece;
    }
    return 1;
}

/* 32 banks of 4 bytes. Requests of 8 bytes a lane go in half warps, of 16 in quarters. Folklore of the trade, unverified on sm_120. */
static uint32_t wavefronts_of(uint32_t on, const uint64_t *at, uint32_t bytes, EmuShape shape)
{
    const uint32_t parts = bytes >= 16 ? 4 : bytes == 8 ? 2 : 1, per = 32 / parts, quarter = parts == 1 ? 0xFFFFFFFF : (1u << per) - 1;
    uint32_t total = 0;
    for (uint32_t p = 0; p < parts; p++) {
        uint32_t part = on & quarter << p * per;
        if (!part)
            continue;
        uint32_t one = bytes > 16 ? 0 : shape != EMU_SHAPE_OTHER && bytes >= 4 ? 1 : one_wavefront(part, at, bytes);
        total += one ? one : wavefronts(part, at, (bytes + 3) / 4);
    }
    return total;
}

static void count_shared(EmuWarp *w, uint32_t on, const uint64_t *at, uint32_t bytes, EmuShape shape)
{
    w->worker->counts.shared_requests++;
    w->worker->counts.shared_wavefronts += wavefronts_of(on, at, bytes, shape);
}

/* In progression: where they start only turns the banks. */
static void count_shared_run(EmuWorker *worker, int64_t step, uint32_t bytes)
{
    EmuWave *wave = worker->waves + ((uint64_t)step / 4 + bytes) % EMU_WAVES;
    if (wave->bytes != bytes || wave->step != step) {
        uint64_t at[32];
        for (uint32_t l = 0; l < 32; l++)
            at[l] = (1u << 20) + l * (uint64_t)step;
        *wave = (EmuWave){step, bytes, wavefronts_of(0xFFFFFFFF, at, bytes, EMU_SHAPE_OTHER)};
    }
    worker->counts.shared_requests++;
    worker->counts.shared_wavefronts += wave->wavefronts;
}

/* Aligned and in progression: a lane is in one sector; lanes less than a sector apart leave none out. */
static void count_global_run(EmuWorker *worker, uint64_t lo, int64_t step, uint64_t apart, uint32_t bytes)
{
    const uint64_t sectors = apart < 32 ? (lo + 31 * apart + bytes - 1) / 32 - lo / 32 + 1 : 32;
    worker->counts.global_requests++;
    worker->counts.global_sectors += sectors;
    worker->counts.global_bytes += step ? 32 * (uint64_t)bytes : bytes;
}

/* Returns the lanes that are aligned; the others are findings. */
static uint32_t aligned_lanes(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes, PtxSpace space)
{
    const uint64_t origin = space == PTX_SPACE_SHARED ? (uint64_t)w->block->smem : 0;
    uint64_t odd = 0;
    for (uint32_t m = on; m; m &= m - 1)
        odd |= at[__builtin_ctz(m)] - origin;
    if (!(odd & (bytes - 1)))
        return on;
    for (uint32_t m = on; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        if (!((at[l] - origin) & (bytes - 1)))
            continue;
        emu_check_finding(w, r, EMU_MISALIGNED, 1u << l, "%u bytes at a %s address that is %u above a multiple of %u", bytes,
                          space == PTX_SPACE_SHARED ? "shared" : "global", (uint32_t)((at[l] - origin) & (bytes - 1)), bytes);
        on &= ~(1u << l);
    }
    return on;
}

static bool is_in(const EmuCache *cache, uint32_t on, const uint64_t *at)
{
    bool is = true;
    for (uint32_t m = on; m; m &= m - 1)
        is &= at[__builtin_ctz(m)] >= cache->lo && at[__builtin_ctz(m)] < cache->hi;
    return is;
}

static void access_global(EmuWarp *w, const EmuTouch *t, uint32_t on, const uint64_t *at)
{
    const EmuCache *cache = w->worker->caches + w->code->sites[t->rec->insn].cache;
    const uint64_t first = at[__builtin_ctz(on)], run = t->bytes * (uint64_t)(t->shape == EMU_SHAPE_RUN ? __builtin_popcount(on) : 1);
    const EmuAlloc *a = cache->alloc;
    if (t->shape != EMU_SHAPE_OTHER && first >= cache->lo && first + run <= cache->hi &&
        (!a->valid || (t->is_write && !t->is_atomic) || is_valid(a, first, run))) {
        if (a->valid && t->is_write)
            set_valid(a, first, run);
        return;
    }
    if (a && (!a->valid || a->is_written) && is_in(cache, on, at))
        return;
    for (uint32_t m = on; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        a = at[l] >= cache->lo && at[l] < cache->hi ? cache->alloc : emu_mem_find(w->worker->emu, at[l]);
        if (!a || !a->valid)
            continue;
        if ((!t->is_write || t->is_atomic) && !is_valid(a, at[l], t->bytes))
            emu_check_finding(w, t->rec, EMU_UNINITIALISED_GLOBAL, 1u << l, "byte %llu of \"%s\"", (unsigned long long)(at[l] - a->lo), a->name);
        if (t->is_write)
            set_valid(a, at[l], t->bytes);
    }
}

/* false: some of the bytes read are not written, perhaps */
static bool run_global(const EmuAlloc *a, uint64_t lo, uint64_t apart, uint32_t bytes, bool is_write)
{
    const uint64_t span = 31 * apart + bytes;
    if (!a->valid || a->is_written || (!is_write && span <= 128 * (uint64_t)bytes && is_valid(a, lo, span)))
        return true;
    if (is_write && apart == bytes) {
        set_valid(a, lo, span);
        return true;
    }
    bool ok = true;
    for (uint64_t l = 0; l < 32; l++) {
        if (is_write)
            set_valid(a, lo + l * apart, bytes);
        else
            ok &= is_valid(a, lo + l * apart, bytes);
    }
    return ok;
}

bool emu_check_run(EmuWarp *w, const EmuRec *r, const uint8_t *first, int64_t step, uint32_t bytes, bool is_write)
{
    const bool is_shared = (r->aux >> 4 & 15) == PTX_SPACE_SHARED;
    const uint64_t apart = (uint64_t)(step < 0 ? -step : step), lo = (uint64_t)first - (step < 0 ? 31 * apart : 0);
    if (((uint64_t)first | apart) & (bytes - 1) || (is_write && apart < bytes) || (w->worker->run->has_races && !is_shared))
        return false;
    if (is_shared) {
        const EmuTouch t = {.rec = r, .bytes = bytes, .is_write = is_write,
                            .shape = step == bytes ? EMU_SHAPE_RUN : step == 0 ? EMU_SHAPE_SAME : EMU_SHAPE_OTHER};
        count_shared_run(w->worker, step, bytes);
        emu_shadow_run(w, &t, (uint32_t)(first - w->block->smem) - EMU_SMEM_BASE, step);
        return true;
    }
    if (!run_global(w->worker->caches[r->aux >> 8].alloc, lo, apart, bytes, is_write))
        return false;
    count_global_run(w->worker, lo, step, apart, bytes);
    return true;
}

uint32_t emu_check_access(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes, PtxSpace space, bool is_write)
{
    const PtxForm form = w->code->sites[r->insn].in->form;
    const bool is_copy = form == PTX_OP_CP_ASYNC || form == PTX_OP_CP_BULK;
    if (!on || space == PTX_SPACE_LOCAL)
        return on;
    if (!is_copy && !(on = aligned_lanes(w, r, on, at, bytes, space)))
        return 0;
    EmuTouch t = {.rec = r, .bytes = bytes, .shape = shape_of(on, at, bytes), .is_write = is_write,
                  .is_atomic = form == PTX_OP_ATOM || form == PTX_OP_ATOM_CAS || form == PTX_OP_RED};
    t.overlaps = is_write && t.shape != EMU_SHAPE_RUN && check_lanes(w, r, on, at, bytes);
    if (space == PTX_SPACE_SHARED) {
        count_shared(w, on, at, bytes, t.shape);
        emu_shadow_touch(w, &t, on, at);
    } else {
        if (!is_copy)
            count_global(w, on, at, bytes, t.shape);
        access_global(w, &t, on, at);
        if (w->worker->run->has_races && space != PTX_SPACE_CONST)
            emu_race_touch(w, &t, on, at);
    }
    return on;
}

void emu_check_begin(EmuBlock *b)
{
    b->clock = 1;
    b->mbars_n = 0;
    emu_shadow_begin(b);
    for (uint32_t i = 0; i < b->warps_n; i++) {
        EmuWarp *w = b->worker->warps + i;
        memset(w->clock, 0, sizeof w->clock);
        w->clock[i] = w->synced = 1;
        w->has_seen = false;
        w->pending_n = 0;
        update_safe(w);
    }
    for (uint32_t i = 0; i < EMU_BARRIERS; i++)
        memset(b->barriers[i].clock, 0, sizeof b->barriers[i].clock);
}
