/* Shared memory of a block as checked mode sees it: per word, or per byte where bytes of a word have parted, who wrote it last and
 * who has read it since, as (warp, lane, clock). An access that does not follow the others (emu_check_follows) is a race, whatever
 * order the emulator ran them in. Arrays side by side, so that a warp's access to consecutive words is judged as vectors.
 * Source: epochs as in FastTrack (Flanagan, Freund 2009). */
#ifndef CORE_EMU_EMU_SHADOW_H
#define CORE_EMU_EMU_SHADOW_H
#include "core/emu/emu_state.h"

/* How the lanes of an access lie: one after the other without a gap, all at one place, any other way. */
typedef enum EmuShape { EMU_SHAPE_RUN, EMU_SHAPE_SAME, EMU_SHAPE_OTHER } EmuShape;

typedef struct EmuTouch {
    const EmuRec *rec;
    uint32_t bytes;
    EmuShape shape;
    bool is_write, is_atomic; /* an atomic reads and writes */
    bool overlaps;            /* lanes that write may share bytes: all are judged before any is noted */
} EmuTouch;

/* Room for that many bytes and warps; frees old when that has not. NULL: out of memory. */
EmuShadow *emu_shadow_reserve(EmuShadow *old, uint32_t smem_bytes, uint32_t warps);
void emu_shadow_free(EmuShadow *s);
/* A block starts: nothing is written. */
void emu_shadow_begin(EmuBlock *b);
/* Lanes of `on` access bytes that are in bounds, at host addresses. */
void emu_shadow_touch(EmuWarp *w, const EmuTouch *t, uint32_t on, const uint64_t *at);
/* The same for all 32 lanes, `step` bytes apart from byte `first` of the block's shared memory on. */
void emu_shadow_run(EmuWarp *w, const EmuTouch *t, uint32_t first, int64_t step);
/* Lanes of `on` write 4, 8 or 16 bytes by cp.async: as emu_shadow_touch, and the bytes are on their way. */
void emu_shadow_copy(EmuWarp *w, const EmuTouch *t, uint32_t on, const uint64_t *at);
/* The 8 bytes are an mbarrier from here on, which plain accesses must leave alone; or are none any more, and nothing else either. */
void emu_shadow_mbar(EmuBlock *b, uint32_t offset, bool is_mbar);
/* Whole words on their way: nobody may see them. owner: a warp, or an mbarrier's offset | 1 << 31. */
void emu_shadow_pend(EmuBlock *b, uint32_t offset, uint32_t bytes, uint32_t owner);
/* They have landed, as written by warp `writer` at its clock. */
void emu_shadow_land(EmuBlock *b, uint32_t offset, uint32_t bytes, uint32_t writer, uint32_t clock);
/* All that wait for this owner land. */
void emu_shadow_land_all(EmuBlock *b, uint32_t owner, uint32_t writer, uint32_t clock);

#endif
