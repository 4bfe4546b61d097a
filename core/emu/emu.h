/* A CUDA device in software: runs the kernels of a PTX module on the CPU, in order, with the same result on every run.
 * The interface mirrors the driver's: memory, module from text, function by entry, launch. Fast mode computes; checked mode
 * also says what is undefined (findings) and counts memory traffic. It never tells time.
 *
 * What it means by "the same result": threads of a warp in lockstep between divergence and reconvergence, warps of a block in
 * turn, blocks independent of each other. Kernels with atomics whose order shows (floats, or a value returned) run their blocks
 * one after another; all others use every worker. mma: see EmuAccumulate. Results of approx instructions are the correctly
 * rounded ones (f64 functions rounded to f32), closer than hardware promises; a NaN's bits are not the hardware's.
 * Source: PTX ISA 9.0; the block-scaled mma after spec sm120-kernels §2. */
#ifndef CORE_EMU_EMU_H
#define CORE_EMU_EMU_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

typedef struct Emu Emu;
typedef struct EmuModule EmuModule;
typedef struct EmuFunc EmuFunc;
/* An address in global memory. It is a host address, but nobody except the emulator may use it as one. */
typedef uint64_t EmuPtr;

/* Which vector code runs. AUTO: the best this CPU has, or what NIBBLE_EMU_ISA names. All give the same bits, but for mma with
 * EMU_ACCUMULATE_FAST. */
typedef enum EmuIsa { EMU_ISA_AUTO, EMU_ISA_PLAIN, EMU_ISA_AVX2, EMU_ISA_AVX512, EMU_ISAS } EmuIsa;

typedef enum EmuMode { EMU_FAST, EMU_CHECKED } EmuMode;

/* How mma adds its products to C; hardware's order and width are unknown, so a right kernel does not depend on it.
 * FAST: block by block (mma with scales) or k by k, each addition rounded to f32. EXACT: the sum in f64, rounded once.
 * TRUNCATE: as FAST, but each addition rounded towards zero. */
typedef enum EmuAccumulate { EMU_ACCUMULATE_FAST, EMU_ACCUMULATE_EXACT, EMU_ACCUMULATE_TRUNCATE, EMU_ACCUMULATES } EmuAccumulate;

typedef struct EmuDesc {
    const char *arch;  /* "sm_120a", "sm_121a", "sm_90": modules for a newer or another specific one are refused. NULL: sm_120a */
    unsigned workers;  /* threads; 0: as many as the machine has CPUs, at most 64 */
    EmuIsa isa;
} EmuDesc;

/* emu_free releases. E_UNSUPPORTED: an arch or instruction set that is not to be had. */
Emu *emu_new(const EmuDesc *desc, Err *err);
void emu_free(Emu *emu);
const char *emu_arch(const Emu *emu);
const char *emu_isa_name(EmuIsa isa);
/* The one that runs, never AUTO. */
EmuIsa emu_isa(const Emu *emu);
unsigned emu_workers(const Emu *emu);

/* Memory. Allocations are aligned to 256 bytes, lie apart by guard zones, hold unspecified bytes and keep `name` (copied) for
 * messages. Reads of bytes that neither host nor kernel wrote are findings of checked mode. */
bool emu_alloc(Emu *emu, size_t bytes, const char *name, EmuPtr *ptr, Err *err);
/* E_VALUE when ptr is not what emu_alloc or emu_map gave; 0 is fine. */
bool emu_release(Emu *emu, EmuPtr ptr, Err *err);
/* Lends host memory that kernels may read but not write, without copying; it must outlive the loan. Aligned to 16 (E_VALUE). */
bool emu_map(Emu *emu, const void *host, size_t bytes, const char *name, EmuPtr *ptr, Err *err);
/* Copies and fills inside of one allocation; E_VALUE outside. */
bool emu_write(Emu *emu, EmuPtr to, const void *from, size_t bytes, Err *err);
bool emu_read(Emu *emu, void *to, EmuPtr from, size_t bytes, Err *err);
bool emu_fill(Emu *emu, EmuPtr to, uint8_t value, size_t bytes, Err *err);
/* As a fill, but for checked mode the bytes count as unwritten. */
bool emu_poison(Emu *emu, EmuPtr to, uint8_t value, size_t bytes, Err *err);
/* From allocation to allocation. */
bool emu_copy(Emu *emu, EmuPtr to, EmuPtr from, size_t bytes, Err *err);

/* Parses and checks n bytes of PTX. E_FORMAT, E_UNSUPPORTED: as ptx_parse_module, and a target this device has not. */
EmuModule *emu_module_load(Emu *emu, const char *ptx, size_t n, Err *err);
void emu_module_unload(EmuModule *module);
/* A kernel, decoded at the first call; lives as long as its module. E_MISSING: no such entry; E_UNSUPPORTED: an instruction that
 * the emulator does not execute, names the line. */
const EmuFunc *emu_func(EmuModule *module, const char *entry, Err *err);
/* A .global or .const variable of the module. E_MISSING. */
bool emu_global(EmuModule *module, const char *name, EmuPtr *ptr, size_t *bytes, Err *err);

typedef struct EmuFuncInfo {
    const char *name;
    unsigned params_n;
    uint32_t smem_static_bytes, local_bytes;
    uint32_t register_file_bytes; /* of one warp in the emulator, constants included: not the hardware's registers */
    uint32_t instructions_n, blocks_n;
    uint32_t threads_max;         /* .maxntid or .reqntid, 1024 if not given */
    bool is_ordered;              /* has atomics whose order shows: blocks run one after another */
} EmuFuncInfo;
EmuFuncInfo emu_func_info(const EmuFunc *func);
uint32_t emu_func_param_bytes(const EmuFunc *func, unsigned i);

typedef struct EmuArg {
    const void *data; /* bytes of them, as cuLaunchKernel's kernelParams */
    size_t bytes;
} EmuArg;

typedef struct EmuLaunch {
    const EmuFunc *func;
    uint32_t grid[3], block[3]; /* 0 counts as 1 */
    uint32_t smem_bytes;        /* dynamic */
    const EmuArg *args;
    unsigned args_n;
    const uint64_t *blocks;     /* linear numbers x + grid.x * (y + grid.y * z) of those to run; NULL: all */
    size_t blocks_n;
    EmuMode mode;
    EmuAccumulate accumulate;
    uint64_t fuel;              /* warp-instructions a block may execute before it counts as hanging; 0: 2e8, seconds */
    bool races;                 /* checked mode: also judge who meets whom in global memory; blocks run one after another */
    uint64_t seed;              /* not 0: blocks, warps and splits run in an order drawn from it, which activemask shows too, to expose
                                   what depends on the order */
} EmuLaunch;

typedef enum EmuFindingKind {
    EMU_OUT_OF_BOUNDS, EMU_MISALIGNED, EMU_READ_ONLY, EMU_UNINITIALISED_GLOBAL, EMU_UNINITIALISED_SHARED, EMU_RACE,
    EMU_ASYNC_PENDING, EMU_BARRIER_DIVERGENT, EMU_DEADLOCK, EMU_HANG, EMU_TRAP, EMU_SYNC_MASK, EMU_BAD_OPERAND, EMU_RACE_LANES,
    EMU_RACE_BLOCKS, EMU_UNINITIALISED_REGISTER, EMU_FINDING_KINDS
} EmuFindingKind;
const char *emu_finding_name(EmuFindingKind kind);

typedef struct EmuFinding {
    EmuFindingKind kind;
    uint32_t ptx_line, source_line; /* source_line 0: unknown */
    uint64_t block;                 /* linear */
    uint32_t warp, lanes;           /* lanes: mask */
    char text[400];                 /* the whole sentence, with kernel, lines, block, warp, lanes */
} EmuFinding;

enum { EMU_FINDINGS_MAX = 32, EMU_CLASSES = 10 };

/* "arith", "mem", "mma", …: what counts[].by_class are. */
const char *emu_class_name(int i);
typedef struct EmuCounts {
    uint64_t blocks, instructions;         /* warp-instructions */
    uint64_t lanes;                        /* thread-instructions */
    uint64_t by_class[EMU_CLASSES];        /* warp-instructions by PtxGroup */
    /* checked mode only: requests of a warp, the 32-byte sectors they touch, bytes asked for (once where all lanes ask for the
     * same), the wavefronts of shared memory they take */
    uint64_t global_requests, global_sectors, global_bytes, shared_requests, shared_wavefronts;
} EmuCounts;

typedef struct EmuReport {
    EmuCounts counts;
    unsigned findings_n;                   /* one for each kind and instruction, in order of block */
    EmuFinding findings[EMU_FINDINGS_MAX];
} EmuReport;

/* Runs a launch and returns when it is done. report may be NULL in fast mode.
 * E_VALUE: extents or arguments that do not fit the entry (count and sizes are compared with its .param list).
 * Fast mode ends at the first fault (out of bounds, deadlock, hang, trap) with E_KERNEL and the sentence of the finding, that of
 * the lowest block. Checked mode goes on where it can, returns true, and the findings are the result. */
bool emu_launch(Emu *emu, const EmuLaunch *launch, EmuReport *report, Err *err);

#endif
