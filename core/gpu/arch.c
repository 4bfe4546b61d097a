#include "core/gpu/arch.h"

#include <string.h>

static const Arch archs[] = {
#define ARCH(id, cc, smem_block, smem_sm, registers, threads, blocks, warps, caps) \
    {#id, cc, smem_block, smem_sm, registers, threads, blocks, warps, caps},
#include "core/gpu/arch.def"
#undef ARCH
};

enum { ARCHS = sizeof archs / sizeof *archs, WARP = 32, REGISTER_UNIT = 256, SMEM_UNIT = 128, SMEM_RESERVED = 1024 };

const Arch *arch_at(int i)
{
    return i >= 0 && i < ARCHS ? &archs[i] : NULL;
}

const Arch *arch_find(const char *name)
{
    for (int i = 0; i < ARCHS; i++)
        if (strcmp(archs[i].name, name) == 0)
            return &archs[i];
    return NULL;
}

const Arch *arch_of_cc(int cc)
{
    for (int i = 0; i < ARCHS; i++)
        if (archs[i].cc == cc)
            return &archs[i];
    return NULL;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

int arch_occupancy(const Arch *arch, int threads, int registers, size_t smem)
{
    int warps = (threads + WARP - 1) / WARP;
    if (warps < 1 || warps > 32 || smem > arch->smem_block_max)
        return 0;
    /* Registers go to warps in units of 256, shared memory in units of 128 bytes plus 1 KiB a block. */
    int per_warp = (registers * WARP + REGISTER_UNIT - 1) / REGISTER_UNIT * REGISTER_UNIT;
    int blocks = smaller(arch->blocks_sm, arch->warps_sm / warps);
    if (per_warp > 0)
        blocks = smaller(blocks, arch->registers_sm / per_warp / warps);
    size_t bytes = (smem + SMEM_UNIT - 1) / SMEM_UNIT * SMEM_UNIT + SMEM_RESERVED;
    return smaller(blocks, (int)(arch->smem_sm / bytes));
}
