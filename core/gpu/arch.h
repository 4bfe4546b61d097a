/* Compute architectures and their limits (arch.def). */
#ifndef CORE_GPU_ARCH_H
#define CORE_GPU_ARCH_H
#include <stddef.h>

/* Capabilities; device sources see them as the constants CAP_FP8_CVT, CAP_FP4_CVT, CAP_FP4_MMA, CAP_FP8_MMA. */
enum { ARCH_FP8_CVT = 1, ARCH_FP4_CVT = 2, ARCH_FP4_MMA = 4, ARCH_FP8_MMA = 8 };

typedef struct Arch {
    const char *name; /* "sm_120a" */
    int cc;           /* 120 */
    size_t smem_block_max, smem_sm;
    int registers_sm, threads_sm, blocks_sm, warps_sm;
    unsigned caps;
} Arch;

/* The architecture of that name, or of that compute capability; NULL when there is no row for it. */
const Arch *arch_find(const char *name);
const Arch *arch_of_cc(int cc);
/* Row i, NULL behind the last. */
const Arch *arch_at(int i);
/* Blocks that fit an SM: threads and registers per thread, shared memory per block (static and dynamic). 0 when one does not
 * fit. */
int arch_occupancy(const Arch *arch, int threads, int registers, size_t smem);

#endif
