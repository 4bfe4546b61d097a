/* What checked mode knows: which bytes of memory are written, who did what before whom, what is still on its way.
 *
 * Order: a clock is the number of the block's newest event (barrier passed, lanes synchronised, mbarrier arrived or waited for,
 * store); w->clock[v] says up to which clock of warp v everything happened before what w does now, w->synced and w->seen the same
 * for its own lanes: running in lockstep orders nothing. Who touched shared memory when, and hence what races: emu_shadow.
 * Source: vector clocks (Lamport, Mattern). */
#ifndef CORE_EMU_EMU_CHECK_H
#define CORE_EMU_EMU_CHECK_H
#include "core/emu/emu_state.h"

/* Bounds and write permission of lanes that left the cached allocation: refills the cache; returns the lanes that may access, the
 * others are findings. at: host addresses; of shared and local memory too. */
uint32_t emu_check_bounds(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes, PtxSpace space, bool is_write);
/* Everything else about lanes that are in bounds: alignment, unwritten bytes, races, counters. Returns the lanes that may access. */
uint32_t emu_check_access(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes, PtxSpace space, bool is_write);
/* Both for all 32 lanes of a load or store whose addresses lie `step` apart from `first` on, global or shared and in bounds. False:
 * nothing was noted, and emu_check_access must look. */
bool emu_check_run(EmuWarp *w, const EmuRec *r, const uint8_t *first, int64_t step, uint32_t bytes, bool is_write);
/* A cp.async of the lanes of `on` wrote bytes of shared memory at these host addresses, of which nobody may see anything until it is
 * waited for. */
void emu_check_async(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *to, uint32_t bytes);
/* The warp has waited for its groups below `group`. */
void emu_check_async_done(EmuWarp *w, uint32_t group);
/* A bulk copy announced at the mbarrier at shared offset mbar; and: a lane makes one there, ends it, arrived, saw the phase complete. */
void emu_check_bulk(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t to, uint32_t bytes, uint32_t mbar);
void emu_check_mbar_init(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t mbar);
void emu_check_mbar_inval(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t mbar);
/* Is there an mbarrier that this lane may use? A finding when not, or when its initialisation is not known to be done. */
bool emu_check_mbar_use(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t mbar);
void emu_check_mbar_arrive(EmuWarp *w, uint32_t lane, uint32_t mbar);
void emu_check_mbar_pass(EmuWarp *w, uint32_t lane, uint32_t mbar);
/* A warp arrives at barrier b; all that wait at it are about to go on. */
void emu_check_barrier_arrive(EmuWarp *w, EmuBarrier *b);
void emu_check_barrier_release(EmuBlock *b, uint32_t barrier);
/* These lanes of the warp have met at a bar.warp.sync. shfl and the like exchange registers and order nothing in memory. */
void emu_check_warp_sync(EmuWarp *w, uint32_t lanes);
/* Lanes `on` are at an instruction within the warp for the lanes of member: all that take part must say the same. */
void emu_check_members(EmuWarp *w, const EmuRec *r, uint32_t on, uint32_t member);
/* A new event of the warp: what it does from here on is after it. */
void emu_check_tick(EmuWarp *w);
/* Does what lane does now follow what lane `other` (EMU_ANY_LANE: several) of a warp did at that clock of the warp? */
enum { EMU_ANY_LANE = 255 };
bool emu_check_follows(const EmuWarp *w, uint32_t lane, uint32_t warp, uint32_t other, uint32_t clock);
/* A block starts: nothing written, no order. */
void emu_check_begin(EmuBlock *b);
/* Global memory written by the emulator itself, as by a store. */
void emu_check_mark_valid(Emu *emu, uint64_t address, uint64_t bytes);

#endif
