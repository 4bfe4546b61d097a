/* What checked mode knows: which bytes of memory are written, who touched shared memory since whom, what is still on its way.
 *
 * Shared memory: per 4 bytes the last writer and the readers since, each as (warp, clock). A clock is the number of the block's
 * events (barrier passed, mbarrier arrived or waited for); w->clock[v] says up to which clock of warp v everything happened before
 * what w does now. An access that does not follow the other by that order is a race, whatever order the emulator ran them in.
 * Not seen: races between lanes of one warp other than two lanes storing different values by one instruction, races in global
 * memory. Source: vector clocks (Lamport, Mattern); epochs as in FastTrack (Flanagan, Freund 2009). */
#ifndef CORE_EMU_EMU_CHECK_H
#define CORE_EMU_EMU_CHECK_H
#include "core/emu/emu_state.h"

/* Bounds and write permission of lanes that left the cached allocation: refills the cache; returns the lanes that may access, the
 * others are findings. at: host addresses; of shared and local memory too. */
uint32_t emu_check_bounds(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes, PtxSpace space, bool is_write);
/* Everything else about lanes that are in bounds: alignment, unwritten bytes, races, counters. Returns the lanes that may access. */
uint32_t emu_check_access(EmuWarp *w, const EmuRec *r, uint32_t on, const uint64_t *at, uint32_t bytes, PtxSpace space, bool is_write);
/* A cp.async of a lane wrote bytes of shared memory at host address `to`, of which nobody may see anything until it is waited for. */
void emu_check_async(EmuWarp *w, const EmuRec *r, uint32_t lane, const uint8_t *to, uint32_t bytes);
/* The warp has waited for its groups below `group`. */
void emu_check_async_done(EmuWarp *w, uint32_t group);
/* A bulk copy announced at the mbarrier at shared offset mbar; and: a warp saw that mbarrier's phase complete. */
void emu_check_bulk(EmuWarp *w, const EmuRec *r, uint32_t lane, uint32_t to, uint32_t bytes, uint32_t mbar);
void emu_check_mbar_arrive(EmuWarp *w, uint32_t mbar);
void emu_check_mbar_pass(EmuWarp *w, uint32_t mbar);
/* A warp arrives at, then leaves, barrier b. */
void emu_check_barrier_arrive(EmuWarp *w, EmuBarrier *b);
void emu_check_barrier_pass(EmuWarp *w, EmuBarrier *b);
/* A block starts: nothing written, no order. */
void emu_check_begin(EmuBlock *b);
/* Global memory written by the emulator itself, as by a store. */
void emu_check_mark_valid(Emu *emu, uint64_t address, uint64_t bytes);

#endif
