/* Which lanes of a register hold a value that somebody wrote. Decode gives a cell to each register that may be read before it is
 * written, and to those that may be computed from one; most kernels have none and pay nothing.
 *
 * The rule is memcheck's: a value without definition may be moved, selected and computed with, and makes undefined what comes of it,
 * for compilers do that with values they drop later. It is a finding, once, where it begins to matter: as an address, as the predicate
 * of a branch, as the guard or an operand of what reaches memory, a barrier, a copy or an mbarrier. Known without it: `and` with a
 * false predicate, `or` with a true one, selp by a defined predicate; of mma the rows and columns that it is in; of shfl the lanes that
 * take it. vote, match, redux and movmatrix need all lanes. Numbers are defined or not as a whole, not bit by bit.
 * Source: valgrind's memcheck (Seward, Nethercote 2005), the rule only. */
#ifndef CORE_EMU_EMU_DEFINED_H
#define CORE_EMU_EMU_DEFINED_H
#include "core/emu/emu_state.h"

/* A record in front of an instruction's own: judges what it reads, notes what it writes. */
const EmuRec *emu_defined_note(EmuWarp *w, const EmuRec *r, uint32_t mask);
/* Around the record of an instruction that needs its lanes together: the same when it is executed. */
const EmuRec *emu_defined_around(EmuWarp *w, const EmuRec *r, uint32_t mask);
/* A warp begins: nothing is written. */
void emu_defined_begin(EmuWarp *w);

#endif
