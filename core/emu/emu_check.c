/* Checks; see emu_check.h for what is kept and what is not seen. */
#include "core/emu/emu_check.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOBODY = EMU_WARPS_MAX + 1, ASYNC_PROXY = EMU_WARPS_MAX };
#define IS_MBAR (1u << 31)

const char *emu_finding_name(EmuFindingKind kind)
{
    static const char *const names[EMU_FINDING_KINDS] = {
        [EMU_OUT_OF_BOUNDS] = "out of bounds", [EMU_MISALIGNED] = "misaligned", [EMU_READ_ONLY] = "write to read-only memory",
        [EMU_UNINITIALISED_GLOBAL] = "read of unwritten global memory", [EMU_UNINITIALISED_SHARED] = "read of unwritten shared memory",
        [EMU_RACE] = "race", [EMU_ASYNC_PENDING] = "asynchronous copy not waited for", [EMU_BARRIER_DIVERGENT] = "divergent barrier",
        [EMU_DEADLOCK] = "deadlock", [EMU_HANG] = "hang", [EMU_TRAP] = "trap", [EMU_SYNC_MASK] = "lane mask",
        [EMU_BAD_OPERAND] = "operand"};
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

/* A new event of the block: what the warp does from here on is after it. */
static void tick(EmuWarp *w)
{
    w->clock[w->idx] = ++w->block->clock;
}

void emu_check_barrier_arrive(EmuWarp *w, EmuBarrier *b)
{
    join(b->clock, w->clock);
    tick(w); /* what an arriving warp that does not wait does next is not covered by the barrier */
}

void emu_check_barrier_pass(EmuWarp *w, EmuBarrier *b)
{
    join(w->clock, b->clock);
    tick(w);
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

void emu_check_mbar_arrive(EmuWarp *w, uint32_t mbar)
{
    EmuMbar *x = mbar_of(w->block, mbar);
    if (x)
        join(x->clock, w->clock);
    tick(w);
}

void emu_check_mbar_pass(EmuWarp *w, uint32_t mbar)
{
    EmuBlock *b = w->block;
    EmuMbar *x = mbar_of(b, mbar);
    if (x)
        join(w->clock, x->clock);
    /* bulk copies that this mbarrier announced have landed */
    for (uint32_t i = 0; i < (b->smem_bytes + 3) / 4; i++)
        if (b->shadow[i].pending && b->shadow[i].pending_owner == (mbar | IS_MBAR)) {
            b->shadow[i].pending = 0;
            b->shadow[i].writer = ASYNC_PROXY;
            b->shadow[i].write_clock = w->clock[ASYNC_PROXY];
        }
    tick(w);
}

/* shared memory */

static uint8_t byte_mask(uint32_t offset, uint32_t bytes, uint32_t word)
{
    uint32_t lo = word * 4 > offset ? 0 : offset - word * 4, hi = offset + bytes - word * 4;
    return (uint8_t)(((1u << (hi > 4 ? 4 : hi)) - 1) & ~((1u << lo) - 1));
}

static void race(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t word, const char *what, uint32_t other)
{
    emu_check_finding(w, r, EMU_RACE, 1u << lane, "shared byte %u: %s warp %u, with no barrier between", 4 * word, what, other);
}

static void touch_word(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t word, uint8_t mask, bool is_write, bool is_atomic)
{
    EmuShadow *s = w->block->shadow + word;
    uint32_t *reads = w->block->reads + (size_t)word * EMU_WARPS_MAX;
    const uint32_t me = w->idx;
    if (s->pending & mask) {
        if (s->pending_owner & IS_MBAR)
            emu_check_finding(w, r, EMU_ASYNC_PENDING, 1u << lane, "shared byte %u: a bulk copy whose mbarrier nobody has waited at", 4 * word);
        else
            emu_check_finding(w, r, EMU_ASYNC_PENDING, 1u << lane, "shared byte %u: a cp.async of warp %u that it has not waited for", 4 * word,
                              s->pending_owner);
        return;
    }
    const bool follows_writer = s->writer == NOBODY || s->writer == me || w->clock[s->writer] >= s->write_clock;
    if (!follows_writer && s->write_bytes & mask && !(is_atomic && s->is_atomic))
        race(w, r, lane, word, is_write ? "written here and by" : "read here, written by", s->writer);
    if (!is_write) {
        if (mask & ~s->valid)
            emu_check_finding(w, r, EMU_UNINITIALISED_SHARED, 1u << lane, "shared byte %u", 4 * word);
        s->readers |= 1u << me;
        reads[me] = w->clock[me];
        return;
    }
    for (uint32_t m = s->readers & ~(1u << me); m; m &= m - 1) {
        uint32_t v = (uint32_t)__builtin_ctz(m);
        if (w->clock[v] < reads[v]) {
            race(w, r, lane, word, "written here, read by", v);
            break;
        }
    }
    s->write_bytes = follows_writer || s->writer != me ? mask : s->write_bytes;
    s->write_bytes |= mask;
    s->writer = (uint8_t)me;
    s->write_clock = w->clock[me];
    s->valid |= mask;
    s->readers = 0;
    s->is_atomic = is_atomic;
}

static void touch(EmuWarp *w, const EmuRec *r, uint32_t lane, uint64_t at, uint32_t bytes, bool is_write, bool is_atomic)
{
    uint32_t offset = (uint32_t)(at - (uint64_t)w->block->smem - EMU_SMEM_BASE);
    for (uint32_t word = offset / 4; word * 4 < offset + bytes; word++)
        touch_word(w, r, lane, word, byte_mask(offset, bytes, word), is_write, is_atomic);
}

void emu_check_async(EmuWarp *w, const EmuRec *r, uint32_t lane, const uint8_t *to, uint32_t bytes)
{
    uint32_t offset = (uint32_t)(to - w->block->smem) - EMU_SMEM_BASE;
    touch(w, r, lane, (uint64_t)to, bytes, true, false); /* it may land at once, so it must not race with anyone now */
    for (uint32_t word = offset / 4; word * 4 < offset + bytes; word++) {
        w->block->shadow[word].pending |= byte_mask(offset, bytes, word);
        w->block->shadow[word].pending_owner = w->idx;
    }
    if (w->pending_n == w->pending_cap) {
        uint32_t cap = w->pending_cap ? 2 * w->pending_cap : 256;
        EmuPending *grown = realloc(w->pending, cap * sizeof *grown);
        if (!grown) {
            w->worker->is_memory_out = true;
            return;
        }
        w->pending = grown;
        w->pending_cap = cap;
    }
    w->pending[w->pending_n++] = (EmuPending){offset, bytes, w->group};
}

void emu_check_async_done(EmuWarp *w, uint32_t group)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->pending_n; i++) {
        EmuPending p = w->pending[i];
        if (p.group >= group) {
            w->pending[kept++] = p;
            continue;
        }
        for (uint32_t word = p.offset / 4; word * 4 < p.offset + p.bytes; word++) {
            EmuShadow *s = w->block->shadow + word;
            s->pending &= (uint8_t)~byte_mask(p.offset, p.bytes, word);
            s->writer = (uint8_t)w->idx;
            s->write_clock = w->clock[w->idx];
        }
    }
    w->pending_n = kept;
}

void emu_check_bulk(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t to, uint32_t bytes, uint32_t mbar)
{
    touch(w, r, lane, (uint64_t)w->block->smem + to, bytes, true, false);
    for (uint32_t word = (to - EMU_SMEM_BASE) / 4; word < (to - EMU_SMEM_BASE + bytes) / 4; word++) {
        w->block->shadow[word].pending = 15;
        w->block->shadow[word].pending_owner = mbar | IS_MBAR;
    }
}

/* Two lanes of one store that write different values to one place. The values are those of the registers, so this looks at
 * addresses only, and only when the lanes' ranges meet. */
static void check_lanes(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes)
{
    const PtxInsn *in = w->code->sites[r->insn].in;
    if (in->form != PTX_OP_ST || bytes > 8 || in->vec != 1)
        return;
    uint8_t *s = w->regs + r->o[1];
    uint32_t step = bytes == 1 ? 2 : bytes;
    for (uint32_t m = on; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m), k = l + 1 < 32 ? l + 1 : 0;
        if (k && on >> k & 1 && at[l] == at[k] && memcmp(s + step * l, s + step * k, bytes) != 0) {
            emu_check_finding(w, r, EMU_RACE, 1u << l | 1u << k, "two lanes write different values to one place");
            return;
        }
    }
}

/* global memory */

static bool is_valid(const EmuAlloc *a, uint64_t at, uint32_t bytes)
{
    for (uint64_t i = at - a->lo; i < at - a->lo + bytes; i++)
        if (!(a->valid[i / 8] >> (i % 8) & 1))
            return false;
    return true;
}

/* Bits are set by several workers at once; bytes of a word of bits may belong to different blocks. */
static void set_valid(const EmuAlloc *a, uint64_t at, uint64_t bytes)
{
    for (uint64_t i = at - a->lo, end = i + bytes; i < end;) {
        if (i % 8 == 0 && end - i >= 8) {
            __atomic_store_n(a->valid + i / 8, 0xFF, __ATOMIC_RELAXED);
            i += 8;
        } else {
            if (!(a->valid[i / 8] >> (i % 8) & 1))
                __atomic_fetch_or(a->valid + i / 8, (uint8_t)(1u << (i % 8)), __ATOMIC_RELAXED);
            i++;
        }
    }
}

void emu_check_mark_valid(Emu *emu, uint64_t address, uint64_t bytes)
{
    const EmuAlloc *a = emu_mem_find(emu, address);
    if (a && a->valid)
        set_valid(a, address, bytes);
}

/* counters */

static void count_global(EmuWarp *w, uint32_t on, const uint64_t *at, uint32_t bytes)
{
    uint64_t sectors[32 * 4];
    uint32_t n = 0;
    for (uint32_t m = on; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        for (uint64_t s = at[l] / 32; s <= (at[l] + bytes - 1) / 32 && n < 128; s++) {
            bool is_known = false;
            for (uint32_t i = n > 8 ? n - 8 : 0; i < n && !is_known; i++)
                is_known = sectors[i] == s;
            for (uint32_t i = 0; i + 8 < n && !is_known; i++)
                is_known = sectors[i] == s;
            if (!is_known)
                sectors[n++] = s;
        }
    }
    w->worker->counts.global_requests++;
    w->worker->counts.global_sectors += n;
    w->worker->counts.global_bytes += (uint64_t)bytes * (uint32_t)__builtin_popcount(on);
}

/* 32 banks of 4 bytes. Requests of 8 bytes a lane go in half warps, of 16 in quarters; a part takes as many wavefronts as the
 * fullest bank has different words. Folklore of the trade, unverified on sm_120. */
static void count_shared(EmuWarp *w, uint32_t on, const uint64_t *at, uint32_t bytes)
{
    uint32_t parts = bytes >= 16 ? 4 : bytes == 8 ? 2 : 1, per = 32 / parts, total = 0;
    for (uint32_t p = 0; p < parts; p++) {
        uint32_t words[32 * 8], n = 0, bank[32] = {0}, most = 0;
        for (uint32_t l = p * per; l < (p + 1) * per; l++)
            for (uint32_t k = 0; on >> l & 1 && k < (bytes + 3) / 4; k++) {
                uint32_t word = (uint32_t)(at[l] / 4) + k, i = 0;
                while (i < n && words[i] != word)
                    i++;
                if (i == n) {
                    words[n++] = word;
                    most = ++bank[word % 32] > most ? bank[word % 32] : most;
                }
            }
        total += most;
    }
    w->worker->counts.shared_requests++;
    w->worker->counts.shared_wavefronts += total;
}

static uint32_t alignment(const EmuWarp *w, const EmuRec *r, uint32_t bytes)
{
    const PtxInsn *in = w->code->sites[r->insn].in;
    return in->form == PTX_OP_CP_ASYNC || in->form == PTX_OP_CP_BULK ? 1 : bytes;
}

uint32_t emu_check_access(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes, PtxSpace space, bool is_write)
{
    const PtxInsn *in = w->code->sites[r->insn].in;
    const bool is_atomic = in->form == PTX_OP_ATOM || in->form == PTX_OP_ATOM_CAS || in->form == PTX_OP_RED;
    const uint64_t odd = alignment(w, r, bytes) - 1, origin = space == PTX_SPACE_SHARED ? (uint64_t)w->block->smem : 0;
    if (!on)
        return 0;
    for (uint32_t m = on; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        if (space != PTX_SPACE_LOCAL && (at[l] - origin) & odd) {
            emu_check_finding(w, r, EMU_MISALIGNED, 1u << l, "%u bytes at a %s address that is %u above a multiple of %u", bytes,
                              space == PTX_SPACE_SHARED ? "shared" : "global", (uint32_t)((at[l] - origin) & odd), bytes);
            on &= ~(1u << l);
        }
    }
    if (space == PTX_SPACE_SHARED) {
        count_shared(w, on, at, bytes);
        if (is_write && !is_atomic)
            check_lanes(w, r, on, at, bytes);
        for (uint32_t m = on; m; m &= m - 1) {
            uint32_t l = (uint32_t)__builtin_ctz(m);
            if (is_atomic) /* a read-modify-write reads first */
                touch(w, r, l, at[l], bytes, false, true);
            touch(w, r, l, at[l], bytes, is_write, is_atomic);
        }
    } else if (space != PTX_SPACE_LOCAL) {
        const EmuCache *cache = w->worker->caches + w->code->sites[r->insn].cache;
        if (in->form != PTX_OP_CP_ASYNC && in->form != PTX_OP_CP_BULK)
            count_global(w, on, at, bytes);
        if (is_write && !is_atomic)
            check_lanes(w, r, on, at, bytes);
        for (uint32_t m = on; m; m &= m - 1) {
            uint32_t l = (uint32_t)__builtin_ctz(m);
            const EmuAlloc *a = at[l] >= cache->lo && at[l] < cache->hi ? cache->alloc : emu_mem_find(w->worker->emu, at[l]);
            if (!a || !a->valid)
                continue;
            if ((!is_write || is_atomic) && !is_valid(a, at[l], bytes))
                emu_check_finding(w, r, EMU_UNINITIALISED_GLOBAL, 1u << l, "byte %llu of \"%s\"", (unsigned long long)(at[l] - a->lo), a->name);
            if (is_write)
                set_valid(a, at[l], bytes);
        }
    }
    return on;
}

void emu_check_begin(EmuBlock *b)
{
    b->clock = 1;
    b->mbars_n = 0;
    for (uint32_t i = 0; i < (b->smem_bytes + 3) / 4; i++)
        b->shadow[i] = (EmuShadow){.writer = NOBODY};
    for (uint32_t i = 0; i < b->warps_n; i++) {
        EmuWarp *w = b->worker->warps + i;
        memset(w->clock, 0, sizeof w->clock);
        w->clock[i] = 1;
        w->pending_n = 0;
    }
    for (uint32_t i = 0; i < EMU_BARRIERS; i++)
        memset(b->barriers[i].clock, 0, sizeof b->barriers[i].clock);
}
