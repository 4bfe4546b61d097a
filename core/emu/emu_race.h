/* Who wrote and read global memory in this launch, word by word, so that blocks, warps and lanes that meet there without order are
 * findings. Kept only for launches that ask (EmuLaunch.races), whose blocks then run one after another, and for allocations that
 * kernels may write, up to RACE_BYTES_MAX. Not judged: words whose bytes belong to different threads of several warps or blocks
 * (they are left alone, never wrong), and between blocks kernels that have both fences and atomics on global memory: they order
 * their blocks themselves. */
#ifndef CORE_EMU_EMU_RACE_H
#define CORE_EMU_EMU_RACE_H
#include "core/emu/emu_shadow.h"

enum { RACE_BYTES_MAX = 16 << 20 };

typedef struct EmuRaceCell EmuRaceCell;

/* A launch begins that asked; returns whether it is to be judged between blocks too. Grids of 2^30 blocks and more are not judged. */
bool emu_race_begin(Emu *emu, EmuRun *run);
/* Lanes of `on` access bytes of global memory at these addresses, all in bounds and aligned. */
void emu_race_touch(EmuWarp *w, const EmuTouch *t, uint32_t on, const uint64_t *at);

#endif
