#include "core/emu/emu_shadow.h"

#include <stdlib.h>
#include <string.h>

#include "core/emu/emu_check.h"

/* Cells: the block's words, then four a word for its bytes, which count while the word IS_SPLIT. */
struct EmuShadow {
    uint32_t words, warps;   /* room */
    uint32_t *write_clock;   /* 0: not written */
    uint32_t *read_clock;    /* the newest read since */
    uint32_t *readers;       /* warps that read since */
    uint32_t *owner;         /* of a copy on its way */
    uint8_t *state, *writer, *write_lane;
    uint32_t *reader_clock, *reader_lanes; /* by warp and cell; count for those in readers */
};

enum { IS_VALID = 1, IS_SPLIT = 2, IS_PENDING = 4, IS_ATOMIC = 8, IS_MBARRIER = 16, IS_ODD = IS_SPLIT | IS_PENDING | IS_MBARRIER };
#define IS_MBAR (1u << 31)
#define CLONES __attribute__((target_clones("avx2", "default")))

void emu_shadow_free(EmuShadow *s)
{
    if (!s)
        return;
    free(s->write_clock);
    free(s->state);
    free(s->reader_clock);
    free(s);
}

EmuShadow *emu_shadow_reserve(EmuShadow *old, uint32_t smem_bytes, uint32_t warps)
{
    uint32_t words = smem_bytes / 4 + 4;
    if (old && old->words >= words && old->warps >= warps)
        return old;
    emu_shadow_free(old);
    EmuShadow *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    size_t cells = 5 * (size_t)words;
    s->words = words;
    s->warps = warps;
    s->write_clock = calloc(4 * cells, sizeof *s->write_clock);
    s->state = calloc(3 * cells, 1);
    s->reader_clock = calloc(2 * cells * warps, sizeof *s->reader_clock);
    if (!s->write_clock || !s->state || !s->reader_clock) {
        emu_shadow_free(s);
        return NULL;
    }
    s->read_clock = s->write_clock + cells;
    s->readers = s->read_clock + cells;
    s->owner = s->readers + cells;
    s->writer = s->state + cells;
    s->write_lane = s->writer + cells;
    s->reader_lanes = s->reader_clock + cells * warps;
    return s;
}

void emu_shadow_begin(EmuBlock *b)
{
    EmuShadow *s = b->shadow;
    size_t words = (b->smem_bytes + 3) / 4;
    memset(s->write_clock, 0, words * sizeof *s->write_clock);
    memset(s->read_clock, 0, words * sizeof *s->read_clock);
    memset(s->readers, 0, words * sizeof *s->readers);
    memset(s->state, 0, words);
}

static size_t reader_at(const EmuShadow *s, uint32_t warp, uint32_t cell)
{
    return (size_t)warp * 5 * s->words + cell;
}

/* one cell */

static void race(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t byte, const char *what, uint32_t warp, uint32_t other)
{
    if (warp != w->idx)
        emu_check_finding(w, r, EMU_RACE, 1u << lane, "shared byte %u: %s warp %u, with no barrier between", byte, what, warp);
    else if (other < 32)
        emu_check_finding(w, r, EMU_RACE_LANES, 1u << lane, "shared byte %u: %s lane %u of the same warp, with no bar.warp.sync between", byte,
                          what, other);
    else
        emu_check_finding(w, r, EMU_RACE_LANES, 1u << lane, "shared byte %u: %s other lanes of the same warp, with no bar.warp.sync between",
                          byte, what);
}

static void note_read(EmuShadow *s, uint32_t warp, uint32_t cell, uint32_t lanes, uint32_t now, uint32_t synced)
{
    size_t at = reader_at(s, warp, cell);
    bool joins = s->readers[cell] >> warp & 1 && s->reader_clock[at] >= synced;
    s->reader_lanes[at] = (joins ? s->reader_lanes[at] : 0) | lanes;
    s->reader_clock[at] = now;
    s->readers[cell] |= 1u << warp;
    s->read_clock[cell] = s->read_clock[cell] > now ? s->read_clock[cell] : now;
}

static void check_readers(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t cell, uint32_t byte)
{
    const EmuShadow *s = w->block->shadow;
    for (uint32_t m = s->readers[cell]; m; m &= m - 1) {
        uint32_t v = (uint32_t)__builtin_ctz(m), clock = s->reader_clock[reader_at(s, v, cell)];
        if (v != w->idx) {
            if (!emu_check_follows(w, lane, v, 0, clock)) {
                race(w, r, lane, byte, "written here, read by", v, 0);
                return;
            }
            continue;
        }
        for (uint32_t lanes = s->reader_lanes[reader_at(s, v, cell)] & ~(1u << lane); lanes; lanes &= lanes - 1) {
            uint32_t k = (uint32_t)__builtin_ctz(lanes);
            if (!emu_check_follows(w, lane, v, k, clock)) {
                race(w, r, lane, byte, "written here, read by", v, k);
                return;
            }
        }
    }
}

/* What is wrong with the access; false: nobody may make it. */
static bool judge_cell(EmuWarp *w, const EmuTouch *t, uint32_t lane, uint32_t cell, uint32_t byte)
{
    const EmuShadow *s = w->block->shadow;
    const EmuRec *r = t->rec;
    const uint32_t me = w->idx, now = w->clock[me], state = s->state[cell];
    if (state & IS_PENDING) {
        if (s->owner[cell] & IS_MBAR)
            emu_check_finding(w, r, EMU_ASYNC_PENDING, 1u << lane, "shared byte %u: a bulk copy whose mbarrier nobody has waited at", byte);
        else
            emu_check_finding(w, r, EMU_ASYNC_PENDING, 1u << lane, "shared byte %u: a cp.async of warp %u that it has not waited for", byte,
                              s->owner[cell]);
        return false;
    }
    if (state & IS_MBARRIER) {
        emu_check_finding(w, r, EMU_BAD_OPERAND, 1u << lane, "shared byte %u belongs to an mbarrier, which only mbarrier instructions may use", byte);
        return false;
    }
    const bool is_same_insn = t->is_write && s->writer[cell] == me && s->write_clock[cell] == now;
    if (s->write_clock[cell] && !is_same_insn && !(t->is_atomic && state & IS_ATOMIC) &&
        !emu_check_follows(w, lane, s->writer[cell], s->write_lane[cell], s->write_clock[cell]))
        race(w, r, lane, byte, t->is_write ? "written here and by" : "read here, written by", s->writer[cell], s->write_lane[cell]);
    if ((!t->is_write || t->is_atomic) && !(state & IS_VALID))
        emu_check_finding(w, r, EMU_UNINITIALISED_SHARED, 1u << lane, "shared byte %u", byte);
    if (t->is_write)
        check_readers(w, r, lane, cell, byte);
    return true;
}

static void note_cell(EmuWarp *w, const EmuTouch *t, uint32_t lane, uint32_t cell)
{
    EmuShadow *s = w->block->shadow;
    const uint32_t me = w->idx, now = w->clock[me];
    if (s->state[cell] & (IS_PENDING | IS_MBARRIER))
        return;
    if (!t->is_write) {
        note_read(s, me, cell, 1u << lane, now, w->synced);
        return;
    }
    s->write_lane[cell] = s->writer[cell] == me && s->write_clock[cell] == now && s->write_lane[cell] != lane ? EMU_ANY_LANE : (uint8_t)lane;
    s->write_clock[cell] = now;
    s->writer[cell] = (uint8_t)me;
    s->state[cell] = (uint8_t)((s->state[cell] & IS_SPLIT) | IS_VALID | (t->is_atomic ? IS_ATOMIC : 0));
    s->readers[cell] = s->read_clock[cell] = 0;
}

/* From here on the bytes of the word have histories of their own. */
static void split_word(EmuShadow *s, uint32_t word)
{
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t cell = s->words + 4 * word + i;
        s->write_clock[cell] = s->write_clock[word];
        s->read_clock[cell] = s->read_clock[word];
        s->readers[cell] = s->readers[word];
        s->state[cell] = s->state[word];
        s->writer[cell] = s->writer[word];
        s->write_lane[cell] = s->write_lane[word];
        for (uint32_t m = s->readers[word]; m; m &= m - 1) {
            uint32_t v = (uint32_t)__builtin_ctz(m);
            s->reader_clock[reader_at(s, v, cell)] = s->reader_clock[reader_at(s, v, word)];
            s->reader_lanes[reader_at(s, v, cell)] = s->reader_lanes[reader_at(s, v, word)];
        }
    }
    s->state[word] |= IS_SPLIT;
}

/* All bytes were just written: the word has one history again. */
static void merge_word(EmuShadow *s, uint32_t word)
{
    uint32_t cell = s->words + 4 * word;
    s->write_clock[word] = s->write_clock[cell];
    s->writer[word] = s->writer[cell];
    s->write_lane[word] = s->write_lane[cell];
    s->state[word] = s->state[cell];
    s->readers[word] = s->read_clock[word] = 0;
}

typedef enum Pass { JUDGE = 1, NOTE = 2 } Pass;

static void touch_cell(EmuWarp *w, const EmuTouch *t, uint32_t lane, uint32_t cell, uint32_t byte, Pass pass)
{
    const bool may = !(pass & JUDGE) || judge_cell(w, t, lane, cell, byte);
    if (pass & NOTE && may)
        note_cell(w, t, lane, cell);
}

static void touch_word(EmuWarp *w, const EmuTouch *t, uint32_t lane, uint32_t word, uint32_t first, uint32_t n, Pass pass)
{
    EmuShadow *s = w->block->shadow;
    if ((n == 4 && !(s->state[word] & IS_SPLIT)) || s->state[word] & (IS_PENDING | IS_MBARRIER)) {
        touch_cell(w, t, lane, word, 4 * word, pass);
        return;
    }
    if (!(s->state[word] & IS_SPLIT))
        split_word(s, word);
    for (uint32_t i = first; i < first + n; i++)
        touch_cell(w, t, lane, s->words + 4 * word + i, 4 * word + i, pass);
    if (n == 4 && t->is_write && pass & NOTE)
        merge_word(s, word);
}

static void touch_lane(EmuWarp *w, const EmuTouch *t, uint32_t lane, uint32_t offset, Pass pass)
{
    EmuShadow *s = w->block->shadow;
    const uint32_t end = offset + t->bytes, now = w->clock[w->idx];
    for (uint32_t word = offset / 4; word * 4 < end; word++) {
        uint32_t first = word * 4 > offset ? 0 : offset - word * 4, last = end - word * 4 > 4 ? 4 : end - word * 4;
        if (last - first == 4 && !t->is_write && s->write_clock[word] <= w->safe && s->state[word] == IS_VALID)
            note_read(s, w->idx, word, 1u << lane, now, w->synced);
        else
            touch_word(w, t, lane, word, first, last - first, pass);
    }
}

/* runs of words, n of them, `per` a lane from lane `lane0` on; false: something in them needs a closer look, nothing was noted */

CLONES static bool read_run(EmuShadow *s, const EmuWarp *w, uint32_t first, uint32_t n, uint32_t per, uint32_t lane0)
{
    const uint32_t safe = w->safe, now = w->clock[w->idx], synced = w->synced, me = 1u << w->idx;
    const uint32_t *write_clock = s->write_clock + first;
    uint32_t *read_clock = s->read_clock + first, *readers = s->readers + first;
    uint32_t *clock = s->reader_clock + reader_at(s, w->idx, first), *lanes = s->reader_lanes + reader_at(s, w->idx, first);
    const uint8_t *state = s->state + first;
    uint32_t bad = 0, shift = per == 4 ? 2 : per == 2 ? 1 : 0, odd = 0;
    for (uint32_t i = 0; i < n; i++)
        bad |= write_clock[i] > safe ? 1 : 0;
    for (uint32_t i = 0; i < n; i++)
        odd |= state[i] ^ IS_VALID;
    if (bad | odd)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t joins = readers[i] & me && clock[i] >= synced ? 0xFFFFFFFF : 0;
        lanes[i] = (lanes[i] & joins) | 1u << (lane0 + (i >> shift));
        clock[i] = now;
        readers[i] |= me;
        read_clock[i] = read_clock[i] > now ? read_clock[i] : now;
    }
    return true;
}

CLONES static bool write_run(EmuShadow *s, const EmuWarp *w, uint32_t first, uint32_t n, uint32_t per, uint32_t lane0)
{
    const uint32_t safe = w->safe, now = w->clock[w->idx];
    uint32_t *write_clock = s->write_clock + first, *read_clock = s->read_clock + first, *readers = s->readers + first;
    uint8_t *state = s->state + first, *writer = s->writer + first, *write_lane = s->write_lane + first;
    uint32_t bad = 0, odd = 0, shift = per == 4 ? 2 : per == 2 ? 1 : 0;
    for (uint32_t i = 0; i < n; i++)
        bad |= write_clock[i] > safe || read_clock[i] > safe ? 1 : 0;
    for (uint32_t i = 0; i < n; i++)
        odd |= state[i] & IS_ODD;
    if (bad | odd)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        write_clock[i] = now;
        read_clock[i] = readers[i] = 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        state[i] = IS_VALID;
        writer[i] = (uint8_t)w->idx;
        write_lane[i] = (uint8_t)(lane0 + (i >> shift));
    }
    return true;
}

/* All lanes read the same words. */
static bool read_same(EmuShadow *s, const EmuWarp *w, uint32_t first, uint32_t n, uint32_t on)
{
    for (uint32_t i = first; i < first + n; i++)
        if (s->write_clock[i] > w->safe || s->state[i] != IS_VALID)
            return false;
    for (uint32_t i = first; i < first + n; i++)
        note_read(s, w->idx, i, on, w->clock[w->idx], w->synced);
    return true;
}

/* words of lanes anywhere: `per` of them a lane, 1, 2 or a multiple of 4 */

typedef int32_t Quad __attribute__((vector_size(16), aligned(4), may_alias));
#define QUAD(array, at) (*(Quad *)(void *)((array) + (at)))
#define ALL(x) ((Quad){(int32_t)(x), (int32_t)(x), (int32_t)(x), (int32_t)(x)})
#define INLINE static inline __attribute__((always_inline))

/* Clocks are below 2^31: a block's fuel ends before. */
INLINE bool may_read(const EmuShadow *s, uint32_t at, uint32_t per, uint32_t safe)
{
    uint32_t odd = 0, state;
    if (per % 4 == 0) {
        Quad bad = ALL(0);
        for (uint32_t k = at; k < at + per; k += 4) {
            memcpy(&state, s->state + k, 4);
            odd |= state ^ 0x01010101 * IS_VALID;
            bad |= QUAD(s->write_clock, k) > ALL(safe);
        }
        return !(odd | (uint32_t)(bad[0] | bad[1] | bad[2] | bad[3]));
    }
    for (uint32_t k = at; k < at + per; k++)
        odd |= (uint32_t)(s->state[k] ^ IS_VALID) | (s->write_clock[k] > safe ? 1 : 0);
    return !odd;
}

INLINE void note_reads(EmuShadow *s, const EmuWarp *w, uint32_t at, uint32_t per, uint32_t lane)
{
    const uint32_t now = w->clock[w->idx], me = 1u << w->idx;
    if (per % 4 == 0) {
        uint32_t *clock = s->reader_clock + reader_at(s, w->idx, 0), *lanes = s->reader_lanes + reader_at(s, w->idx, 0);
        for (uint32_t k = at; k < at + per; k += 4) {
            const Quad joins = ((QUAD(s->readers, k) & ALL(me)) != ALL(0)) & (QUAD(clock, k) >= ALL(w->synced));
            const Quad newer = QUAD(s->read_clock, k) > ALL(now);
            QUAD(lanes, k) = (QUAD(lanes, k) & joins) | ALL(1u << lane);
            QUAD(clock, k) = ALL(now);
            QUAD(s->readers, k) |= ALL(me);
            QUAD(s->read_clock, k) = (QUAD(s->read_clock, k) & newer) | (ALL(now) & ~newer);
        }
        return;
    }
    for (uint32_t k = at; k < at + per; k++)
        note_read(s, w->idx, k, 1u << lane, now, w->synced);
}

INLINE bool may_write(const EmuShadow *s, uint32_t at, uint32_t per, uint32_t safe)
{
    uint32_t odd = 0, state;
    if (per % 4 == 0) {
        Quad bad = ALL(0);
        for (uint32_t k = at; k < at + per; k += 4) {
            memcpy(&state, s->state + k, 4);
            odd |= state & 0x01010101 * IS_ODD;
            bad |= (QUAD(s->write_clock, k) > ALL(safe)) | (QUAD(s->read_clock, k) > ALL(safe));
        }
        return !(odd | (uint32_t)(bad[0] | bad[1] | bad[2] | bad[3]));
    }
    for (uint32_t k = at; k < at + per; k++)
        odd |= (s->state[k] & IS_ODD) | (s->write_clock[k] > safe || s->read_clock[k] > safe ? 1 : 0);
    return !odd;
}

INLINE void note_writes(EmuShadow *s, const EmuWarp *w, uint32_t at, uint32_t per, uint32_t lane, uint32_t state)
{
    const uint32_t now = w->clock[w->idx];
    if (per % 4 == 0) {
        for (uint32_t k = at; k < at + per; k += 4) {
            const uint32_t states = 0x01010101 * state, writers = 0x01010101 * w->idx, lanes = 0x01010101 * lane;
            QUAD(s->write_clock, k) = ALL(now);
            QUAD(s->read_clock, k) = QUAD(s->readers, k) = ALL(0);
            memcpy(s->state + k, &states, 4);
            memcpy(s->writer + k, &writers, 4);
            memcpy(s->write_lane + k, &lanes, 4);
        }
        return;
    }
    for (uint32_t k = at; k < at + per; k++) {
        s->write_clock[k] = now;
        s->read_clock[k] = s->readers[k] = 0;
        s->state[k] = (uint8_t)state;
        s->writer[k] = (uint8_t)w->idx;
        s->write_lane[k] = (uint8_t)lane;
    }
}

/* Lane after lane; words in which nothing needs a closer look are judged here. */
INLINE void touch_lanes_of(EmuWarp *w, const EmuTouch *t, uint32_t on, const uint32_t *offsets, uint32_t per, bool is_write)
{
    EmuShadow *s = w->block->shadow;
    const uint32_t safe = w->safe;
    for (uint32_t m = on; m; m &= m - 1) {
        const uint32_t lane = (uint32_t)__builtin_ctz(m), word = offsets[lane] / 4;
        if (is_write ? !may_write(s, word, per, safe) : !may_read(s, word, per, safe))
            touch_lane(w, t, lane, offsets[lane], JUDGE | NOTE);
        else if (is_write)
            note_writes(s, w, word, per, lane, IS_VALID);
        else
            note_reads(s, w, word, per, lane);
    }
}

CLONES static void touch_lanes(EmuWarp *w, const EmuTouch *t, uint32_t on, const uint32_t *offsets)
{
    switch (t->is_atomic || t->overlaps || t->bytes % 4 ? 0 : t->is_write ? t->bytes + 1 : t->bytes) {
    case 4: touch_lanes_of(w, t, on, offsets, 1, false); return;
    case 5: touch_lanes_of(w, t, on, offsets, 1, true); return;
    case 8: touch_lanes_of(w, t, on, offsets, 2, false); return;
    case 9: touch_lanes_of(w, t, on, offsets, 2, true); return;
    case 16: touch_lanes_of(w, t, on, offsets, 4, false); return;
    case 17: touch_lanes_of(w, t, on, offsets, 4, true); return;
    case 32: touch_lanes_of(w, t, on, offsets, 8, false); return;
    case 33: touch_lanes_of(w, t, on, offsets, 8, true); return;
    default: break;
    }
    for (uint32_t m = t->overlaps ? on : 0; m; m &= m - 1)
        touch_lane(w, t, (uint32_t)__builtin_ctz(m), offsets[__builtin_ctz(m)], JUDGE);
    for (uint32_t m = on; m; m &= m - 1)
        touch_lane(w, t, (uint32_t)__builtin_ctz(m), offsets[__builtin_ctz(m)], t->overlaps ? NOTE : JUDGE | NOTE);
}

/* As a whole, where lanes lie side by side or all at one place; false: they do not, or something needs a closer look. */
static bool touch_row(EmuWarp *w, const EmuTouch *t, uint32_t on, uint32_t first)
{
    EmuShadow *s = w->block->shadow;
    const uint32_t lane0 = (uint32_t)__builtin_ctz(on), per = t->bytes / 4, n = per * (uint32_t)__builtin_popcount(on);
    if (!per || t->is_atomic)
        return false;
    if (t->shape == EMU_SHAPE_RUN && per <= 4)
        return t->is_write ? write_run(s, w, first / 4, n, per, lane0) : read_run(s, w, first / 4, n, per, lane0);
    return t->shape == EMU_SHAPE_SAME && !t->is_write && read_same(s, w, first / 4, per, on);
}

void emu_shadow_run(EmuWarp *w, const EmuTouch *t, uint32_t first, int64_t step)
{
    uint32_t offsets[32];
    if (t->is_write)
        emu_check_tick(w); /* so that a write of this clock is one of this instruction */
    if (touch_row(w, t, 0xFFFFFFFF, first))
        return;
    for (uint32_t l = 0; l < 32; l++)
        offsets[l] = first + l * (uint32_t)step;
    touch_lanes(w, t, 0xFFFFFFFF, offsets);
}

void emu_shadow_touch(EmuWarp *w, const EmuTouch *t, uint32_t on, const uint64_t *at)
{
    const uint64_t base = (uint64_t)w->block->smem + EMU_SMEM_BASE;
    uint32_t offsets[32];
    if (t->is_write)
        emu_check_tick(w);
    if (touch_row(w, t, on, (uint32_t)(at[__builtin_ctz(on)] - base)))
        return;
    for (uint32_t m = on; m; m &= m - 1)
        offsets[__builtin_ctz(m)] = (uint32_t)(at[__builtin_ctz(m)] - base);
    touch_lanes(w, t, on, offsets);
}

void emu_shadow_copy(EmuWarp *w, const EmuTouch *t, uint32_t on, const uint64_t *at)
{
    EmuShadow *s = w->block->shadow;
    const uint64_t base = (uint64_t)w->block->smem + EMU_SMEM_BASE;
    const uint32_t per = t->bytes / 4;
    emu_check_tick(w);
    for (uint32_t m = on; m; m &= m - 1) {
        const uint32_t lane = (uint32_t)__builtin_ctz(m), offset = (uint32_t)(at[lane] - base), word = offset / 4;
        if (per == 4 ? may_write(s, word, 4, w->safe) : may_write(s, word, per == 2 ? 2 : 1, w->safe)) {
            if (per == 4)
                note_writes(s, w, word, 4, lane, IS_VALID | IS_PENDING);
            else
                note_writes(s, w, word, per == 2 ? 2 : 1, lane, IS_VALID | IS_PENDING);
        } else {
            touch_lane(w, t, lane, offset, JUDGE | NOTE);
            for (uint32_t k = word; k < word + per; k++)
                s->state[k] |= IS_PENDING;
        }
        for (uint32_t k = word; k < word + per; k++)
            s->owner[k] = w->idx;
    }
}

void emu_shadow_mbar(EmuBlock *b, uint32_t offset, bool is_mbar)
{
    const uint32_t word = (offset - EMU_SMEM_BASE) / 4;
    b->shadow->state[word] = b->shadow->state[word + 1] = is_mbar ? IS_VALID | IS_MBARRIER : 0;
}

/* copies on their way; offsets count from shared address 0 */

void emu_shadow_pend(EmuBlock *b, uint32_t offset, uint32_t bytes, uint32_t owner)
{
    for (uint32_t word = (offset - EMU_SMEM_BASE) / 4; word < (offset - EMU_SMEM_BASE + bytes) / 4; word++) {
        b->shadow->state[word] |= IS_PENDING;
        b->shadow->owner[word] = owner;
    }
}

void emu_shadow_land(EmuBlock *b, uint32_t offset, uint32_t bytes, uint32_t writer, uint32_t clock)
{
    EmuShadow *s = b->shadow;
    for (uint32_t word = (offset - EMU_SMEM_BASE) / 4; word < (offset - EMU_SMEM_BASE + bytes) / 4; word++) {
        if (!(s->state[word] & IS_PENDING))
            continue;
        s->state[word] = IS_VALID;
        s->writer[word] = (uint8_t)writer;
        s->write_clock[word] = clock;
    }
}

void emu_shadow_land_all(EmuBlock *b, uint32_t owner, uint32_t writer, uint32_t clock)
{
    for (uint32_t word = 0; word < (b->smem_bytes + 3) / 4; word++)
        if (b->shadow->state[word] & IS_PENDING && b->shadow->owner[word] == owner)
            emu_shadow_land(b, 4 * word + EMU_SMEM_BASE, 4, writer, clock);
}
