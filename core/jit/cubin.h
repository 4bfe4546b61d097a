/* What a cubin says about its kernels: registers, static shared memory, stack, code. Reads the ELF sections itself,
 * so that no tool is needed; every offset is checked against the file's size.
 *   .nv.info          attributes per symbol: 0x2f registers of a thread, 0x11 bytes of its stack frame
 *   .nv.shared.NAME   as large as the static shared memory, from sm_90 on with the 1 KiB of the system in front of it
 *   .text.NAME        the code, 16 bytes an instruction          e_flags bits 8..15   the architecture
 *   .nv.constant0.NAME   parameters and what the driver puts in front of them
 * Source: sections of cubins that CUDA 13.0 made for sm_80 to sm_121a, held against ptxas -v. */
#ifndef CORE_JIT_CUBIN_H
#define CORE_JIT_CUBIN_H
#include <stddef.h>

#include "core/base/err.h"

enum { CUBIN_KERNELS_MAX = 32, CUBIN_NAME_MAX = 128, CUBIN_OPCODES = 512 };

typedef struct CubinKernel {
    char name[CUBIN_NAME_MAX];
    int registers;
    size_t shared, stack, constants; /* bytes; a stack means spilled registers or arrays that are indexed at run time */
    const unsigned char *code;       /* inside the cubin */
    size_t code_bytes;
} CubinKernel;

/* Returns how many kernels there are, up to CUBIN_KERNELS_MAX, -1 with err: E_FORMAT. Borrows bytes. */
int cubin_read(const void *bytes, size_t n, CubinKernel out[CUBIN_KERNELS_MAX], Err *err);
/* Instructions by the lower nine bits of their opcode, which leave out the kinds of operands. */
void cubin_count(const CubinKernel *kernel, unsigned counts[CUBIN_OPCODES]);

#endif
