/* The emulator from inside: decoded code, warps, blocks, workers, memory. All state is explicit; a warp can stop at any
 * instruction and go on later, so there are no fibers.
 *
 * A decoded instruction (EmuRec) is a function and byte offsets (slots) into its warp's register file: 32 lanes of a register lie
 * side by side, a predicate is one 32-bit mask. Constants, special registers and parameters are slots too, filled beforehand, so
 * that no operand has a kind at run time. Records of a basic block follow each other, a head record first. */
#ifndef CORE_EMU_EMU_STATE_H
#define CORE_EMU_EMU_STATE_H
#include <pthread.h>
#include <stdatomic.h>

#include "core/emu/emu.h"
#include "core/ptx/ptx_ir.h"

/* Bytes inside of our own heap blocks that no kernel may touch: the address sanitizer, where built in, stops whoever does. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define EMU_CLOSE(at, bytes) __asan_poison_memory_region(at, bytes)
#define EMU_REOPEN(at, bytes) __asan_unpoison_memory_region(at, bytes)
#else
#define EMU_CLOSE(at, bytes) ((void)0)
#define EMU_REOPEN(at, bytes) ((void)0)
#endif

typedef struct EmuRec EmuRec;
typedef struct EmuWarp EmuWarp;
typedef struct EmuBlock EmuBlock;
typedef struct EmuWorker EmuWorker;
typedef struct EmuCode EmuCode;
typedef struct EmuTable EmuTable; /* all binds of an instruction set and mode, compiled for look-up */

/* Executes r for the lanes of mask (active lanes, and dead ones, whose values nobody reads), and maybe records behind it unless
 * w->is_stepwise, and returns what comes next, NULL when the warp has nothing to run. */
typedef const EmuRec *(*EmuExec)(EmuWarp *w, const EmuRec *r, uint32_t mask);

enum { EMU_SLOTS = 8 };

struct EmuRec {
    EmuExec fn;
    int64_t imm;          /* address offset, or what the handler says */
    uint32_t o[EMU_SLOTS];
    uint32_t guard;       /* slot of the guard; 0: none. The lowest bit says that it is negated */
    uint32_t insn;        /* index of its EmuSite */
    uint32_t aux;
    uint32_t inner;       /* guarded or rounded: index in code->inner of what comes next, the handler proper last */
};

/* Where an instruction comes from, and what the counters need. */
typedef struct EmuSite {
    const PtxInsn *in;
    uint32_t cache; /* of memory instructions: index of their bounds cache */
    uint32_t use;   /* index in code->uses, plus 1; 0: none */
} EmuSite;

/* Checked mode: registers of an instruction that reads or writes some that have a cell (emu_defined). */
#define EMU_NO_CELL UINT32_MAX
typedef struct EmuUseReg {
    uint32_t cell, slot; /* slot 0: no register */
    uint8_t operand;
    bool is_negated, is_address;
} EmuUseReg;

typedef enum EmuUseKind {
    EMU_USE_PLAIN, EMU_USE_BRANCH, EMU_USE_SINK, EMU_USE_SELECT, EMU_USE_DECIDED, EMU_USE_SHUFFLE, EMU_USE_ALL_LANES, EMU_USE_MMA
} EmuUseKind;

typedef struct EmuUse {
    EmuUseKind kind;
    uint32_t first, reads_n, writes_n; /* in code->use_regs: those read, one for each operand or element, then those written */
    EmuUseReg guard;
    bool has_guard;
} EmuUse;

typedef struct EmuCell {
    uint32_t lanes, origin; /* that hold a value; the cell of the register that was not written */
} EmuCell;

typedef struct EmuParam {
    uint32_t offset, bytes; /* in the parameter block */
} EmuParam;

/* A slot filled from the parameter block at launch: bytes at offset, broadcast. */
typedef struct EmuParamSlot {
    uint32_t slot, offset, bytes;
} EmuParamSlot;

typedef struct EmuConst {
    uint32_t slot, bytes;
    uint64_t bits;
} EmuConst;

typedef struct EmuRange {
    uint32_t slot, bytes;
} EmuRange;

typedef struct EmuSregSlot {
    uint32_t slot;
    PtxSreg sreg;
} EmuSregSlot;

struct EmuCode {
    const char *name;
    const PtxModule *ptx;
    EmuRec *recs;
    uint32_t recs_n, recs_cap;
    EmuExec *inner;
    uint32_t inner_n, inner_cap;
    uint32_t *pool;        /* operand lists longer than a record holds */
    uint32_t pool_n, pool_cap;
    EmuSite *sites;
    uint32_t sites_n, caches_n;
    EmuUse *uses;
    EmuUseReg *use_regs;
    const char **cell_names;  /* registers */
    uint32_t uses_n, use_regs_n, cells_n;
    uint32_t regs_bytes, smem_bytes, smem_align, local_bytes, params_bytes;
    EmuConst *consts;
    uint32_t consts_n;
    EmuParamSlot *param_slots;
    uint32_t param_slots_n;
    EmuSregSlot *sregs;
    uint32_t sregs_n;
    EmuRange *zeros;       /* registers that may be read before they are written */
    uint32_t zeros_n;
    EmuParam *params;
    uint32_t params_n;
    uint32_t blocks_n;     /* basic blocks */
    uint32_t (*classes)[EMU_CLASSES]; /* instructions of each basic block by class */
    uint32_t threads_max, insns_n;
    bool is_ordered, has_async, has_clusters;
};

/* How a handler of warp w ends: with record `to` at once, unless something has to happen between records. A jump, never a call: only
 * for functions whose locals nobody has the address of, and in builds that make jumps of such calls. */
#if defined __OPTIMIZE__ && !defined __SANITIZE_ADDRESS__
#define EMU_GO(to) return w->is_stepwise ? (to) : (to)->fn(w, (to), w->wmask);
#else
#define EMU_GO(to) return (to);
#endif

/* Where split lanes meet again: lanes of `expected` come to record pc, `arrived` are there. */
typedef struct EmuNode {
    uint32_t expected, arrived, pc;
    uint8_t parent;
} EmuNode;

typedef enum EmuState { EMU_STATE_RUN, EMU_STATE_BARRIER, EMU_STATE_SYNC } EmuState;

/* Lanes that run together. */
typedef struct EmuSplit {
    uint32_t mask, pc;
    uint32_t member;    /* SYNC: lanes it waits for */
    uint8_t node, state, barrier;
} EmuSplit;

enum { EMU_NODES = 64, EMU_BARRIERS = 16, EMU_WARPS_MAX = 32, EMU_CLOCKS = EMU_WARPS_MAX + 1 };

/* Bytes of a cp.async that its warp has not waited for. */
typedef struct EmuPending {
    uint32_t offset, bytes, group;
} EmuPending;

struct EmuWarp {
    uint8_t *regs;
    uint32_t wmask, active, dead; /* wmask = active | dead */
    bool is_stepwise;             /* handlers return after each record instead of going on with the next themselves */
    uint32_t lanes;               /* how many are active */
    const EmuCode *code;
    EmuBlock *block;
    EmuWorker *worker;
    uint8_t *local;
    int64_t slice;                /* instructions until it must let others run */
    uint32_t idx, current, splits_n;
    EmuSplit splits[32];
    EmuNode nodes[EMU_NODES];     /* 0 is the root, which nobody reaches */
    uint64_t nodes_used;
    uint32_t group;               /* cp.async groups committed */
    bool waited;                  /* since it ran last, a wait of it failed */
    EmuPending *pending;
    uint32_t pending_n, pending_cap;
    EmuCell *cells;               /* checked mode: code->cells_n */
    /* Checked mode. Behind another means: what that one did before happened before what this one does now. */
    uint32_t clock[EMU_CLOCKS];   /* up to which event of each warp this one is behind it; its own: the present */
    uint32_t synced;              /* each lane is behind all others for events below this */
    uint32_t safe;                /* each lane is behind everybody for events up to this */
    uint32_t (*seen)[32];         /* lane by lane: below which event the first is behind the second; counts when has_seen */
    bool has_seen;                /* lanes have synchronised in parts */
};

typedef struct EmuBarrier {
    uint32_t arrived, expected;   /* threads; expected 0: all that live */
    uint32_t red_count, red_result;
    bool red_and, red_or;
    uint32_t clock[EMU_CLOCKS];
} EmuBarrier;

typedef struct EmuShadow EmuShadow; /* shared memory as checked mode sees it */

typedef struct EmuMbar {
    uint32_t offset, clock[EMU_CLOCKS];
    uint32_t init_warp, init_lane, init_clock;
    bool is_live;                  /* initialised, not invalidated */
    uint32_t lanes[EMU_WARPS_MAX]; /* that arrived, by warp */
} EmuMbar;

struct EmuBlock {
    EmuWorker *worker;
    uint64_t idx;
    uint32_t coord[3];
    uint32_t warps_n, live;       /* threads that have not ended */
    uint32_t smem_bytes;
    uint8_t *smem;                /* host address of shared address 0: only [EMU_SMEM_BASE, EMU_SMEM_BASE + smem_bytes) is there */
    EmuBarrier barriers[EMU_BARRIERS];
    uint64_t fuel;
    uint64_t events;              /* barriers passed, arrivals, exits: what shows that a block makes progress */
    uint32_t clock;               /* checked: the newest event */
    EmuShadow *shadow;            /* NULL in fast mode */
    EmuMbar *mbars;
    uint32_t mbars_n, mbars_cap;
    bool is_stopped;
};

enum { EMU_SMEM_BASE = 1024 };
#define EMU_NO_PC 0xFFFFFFFFu
#define EMU_SHARED_WINDOW 0x100000000ull
#define EMU_LOCAL_WINDOW 0x200000000ull
#define EMU_WINDOW_BYTES 0x100000000ull

typedef struct EmuAlloc {
    uint64_t lo, hi;
    char *name;
    void *base;          /* what to free; NULL for a loan */
    uint8_t *valid;      /* a bit a byte, NULL: all are */
    struct EmuRaceCell *cells; /* emu_race: by word, NULL before the first use */
    bool is_read_only;
    bool is_written;     /* by the host, all of it: valid need not be looked at */
} EmuAlloc;

/* Bounds of the allocation that an instruction touched last. */
typedef struct EmuCache {
    uint64_t lo, hi;
    const EmuAlloc *alloc;
    bool is_read_only;
} EmuCache;

typedef struct EmuRun EmuRun;

/* Wavefronts of a warp's request whose addresses are in progression. */
typedef struct EmuWave {
    int64_t step;
    uint32_t bytes, wavefronts; /* bytes 0: empty */
} EmuWave;

enum { EMU_WAVES = 64 };

struct EmuWorker {
    Emu *emu;
    EmuRun *run;
    EmuWarp *warps;
    uint8_t *memory;      /* register files, local memory, shared memory of its block */
    size_t memory_bytes, open_bytes; /* open: the part in use, the rest is closed */
    EmuBlock block;
    EmuCache *caches;
    uint64_t *block_execs, *block_lanes; /* by basic block */
    EmuCounts counts;
    EmuFinding *findings;
    uint32_t findings_n;
    uint64_t random;
    EmuShadow *shadow;
    EmuCell *cells;               /* of all warps */
    EmuWave waves[EMU_WAVES];     /* computed so far */
    uint32_t (*seen)[32][32];     /* by warp: see EmuWarp.seen */
    bool is_memory_out;
};

/* One launch, shared by its workers. */
struct EmuRun {
    Emu *emu;
    const EmuLaunch *launch;
    const EmuCode *code;
    uint32_t grid[3], block[3], threads, warps, smem_bytes;
    uint8_t *params;
    uint32_t *order;         /* NULL, or in which order positions are drawn */
    atomic_ullong next;      /* position in the block list */
    atomic_ullong stop_at;   /* lowest position whose block faulted */
    uint64_t blocks_n, fuel;
    bool is_checked, has_races, judges_blocks; /* emu_race */
};

struct Emu {
    char arch[16];
    EmuIsa isa;
    unsigned workers_n;
    EmuWorker *workers;
    pthread_t *threads;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    uint64_t generation;
    unsigned busy;
    bool is_closing;
    EmuRun *run;
    EmuTable *tables[2];     /* by mode */
    EmuAlloc *allocs;        /* by address */
    size_t allocs_n, allocs_cap;
    uint64_t race_first, race_blocks; /* stamps of the running launch's blocks: the first, how many */
};

struct EmuFunc {
    EmuCode code[2]; /* by mode */
    bool has_code[2];
    EmuModule *module;
    const PtxFunc *ptx;
    EmuFunc *next;
};

struct EmuModule {
    Emu *emu;
    PtxModule *ptx;
    EmuPtr *vars;   /* by PtxVar.id: address of .global and .const ones */
    EmuFunc *funcs;
};

/* Handlers by what they do. mods and types are lists of names; an instruction fits when its types are in the lists (NULL: any) and
 * its modifiers, those left out that never change a result, are exactly mods. */
typedef struct EmuBind {
    PtxForm form;
    const char *type0, *type1, *mods;
    EmuExec fn;
} EmuBind;

typedef struct EmuBinds {
    const EmuBind *rows;
    size_t n;
} EmuBinds;

/* Two handlers in one: what `first` writes as its destination `element` is only read by `second`, as the sources of the set `at`.
 * Slots of the one for both: destinations of second, sources of first, the other sources of second. A handler is named by itself
 * or as an instruction; fn NULL: second does it alone. */
typedef struct EmuFusion {
    const EmuBind *first, *second;
    uint32_t element, at;
    EmuExec fn;
} EmuFusion;

typedef struct EmuFusions {
    const EmuFusion *rows;
    size_t n;
} EmuFusions;

/* Bits of aux in records of barriers and of asynchronous copies; low bits of barriers' say that predicate i is negated. */
enum { EMU_SHFL_IS_CONSTANT = 1 << 8 }; /* in aux of shfl: b and c are constants */
enum { EMU_MMA_BACK = 7, EMU_MMA_GROUP = 4 }; /* of mma that follow each other: see note_kept in emu_decode */
enum { EMU_BAR_HAS_COUNT = 1 << 8, EMU_BAR_IS_ALIGNED = 1 << 9, EMU_BAR_IS_REDUCTION = 1 << 10 };
enum { EMU_ASYNC_DST_IS_32 = 1, EMU_ASYNC_SRC_IS_32 = 2, EMU_ASYNC_HAS_SIZE = 4, EMU_ASYNC_HAS_COUNT = 8, EMU_ASYNC_IS_INC = 16 };

/* Tables of a handler file for an instruction set and mode. */
EmuBinds emu_op_arith(EmuIsa isa, EmuMode mode);
EmuBinds emu_op_float(EmuIsa isa, EmuMode mode);
EmuBinds emu_op_cvt(EmuIsa isa, EmuMode mode);
EmuBinds emu_op_mem(EmuIsa isa, EmuMode mode);
EmuBinds emu_op_warp(EmuIsa isa, EmuMode mode);
EmuBinds emu_op_sync(EmuIsa isa, EmuMode mode);
EmuBinds emu_op_async(EmuIsa isa, EmuMode mode);
EmuBinds emu_op_mma(EmuIsa isa, EmuMode mode);
/* Fast mode only: checked mode looks at each instruction. */
EmuFusions emu_op_fuse(EmuIsa isa);

/* emu_decode.c */
EmuTable *emu_decode_table(EmuIsa isa, EmuMode mode);
/* Code of a kernel; deinit frees it, also after a failure. E_UNSUPPORTED names the line. */
bool emu_decode(const EmuModule *module, const PtxFunc *func, const EmuTable *table, EmuMode mode, EmuCode *code, Err *err);
void emu_decode_deinit(EmuCode *code);

/* emu_exec.c: control flow of warps */
const EmuRec *emu_exec_head(EmuWarp *w, const EmuRec *r, uint32_t mask);
const EmuRec *emu_exec_head_join(EmuWarp *w, const EmuRec *r, uint32_t mask);
const EmuRec *emu_exec_goto(EmuWarp *w, const EmuRec *r, uint32_t mask);
const EmuRec *emu_exec_branch(EmuWarp *w, const EmuRec *r, uint32_t mask);
const EmuRec *emu_exec_end(EmuWarp *w, const EmuRec *r, uint32_t mask);
const EmuRec *emu_exec_trap(EmuWarp *w, const EmuRec *r, uint32_t mask);
const EmuRec *emu_exec_guarded(EmuWarp *w, const EmuRec *r, uint32_t mask);
const EmuRec *emu_exec_rounded(EmuWarp *w, const EmuRec *r, uint32_t mask);
/* Parks the running split in a state, to go on at record pc, and returns what the warp runs now. */
const EmuRec *emu_exec_park(EmuWarp *w, EmuState state, uint32_t pc);
/* Called by an instruction that needs all lanes of member: NULL in *next when they are together and it may execute, else what runs. */
bool emu_exec_together(EmuWarp *w, const EmuRec *r, uint32_t mask, uint32_t member, const EmuRec **next);
/* In a launch with a seed, some of the running lanes, drawn: they go on by themselves, the others execute r again, later. Else all. */
uint32_t emu_exec_some(EmuWarp *w, const EmuRec *r);
/* Runs a block to its end, a fault, or a deadlock. */
void emu_exec_block(EmuBlock *b);
/* Lets every split of the block that waits at the barrier go on. */
void emu_exec_release(EmuBlock *b, uint32_t barrier);
bool emu_exec_is_complete(const EmuBlock *b, uint32_t barrier);

/* emu_check.c */
/* Notes a finding at r; in fast mode it is a fault and stops the block. */
__attribute__((format(printf, 5, 6))) void emu_check_finding(EmuWarp *w, const EmuRec *r, EmuFindingKind kind, uint32_t lanes,
                                                              const char *format, ...);

/* emu_mem.c */
const EmuAlloc *emu_mem_find(const Emu *emu, uint64_t address);
/* Fills the cache with the allocation that holds [address, address + bytes); false when none does. */
bool emu_mem_cache(const Emu *emu, EmuCache *cache, uint64_t address, uint64_t bytes);
/* "8 bytes behind the end of \"w\" (1024 bytes)" and the like. */
void emu_mem_describe(const Emu *emu, uint64_t address, char *text, size_t n);
/* After a launch that kept no book: every byte counts as written. */
void emu_mem_mark_all_valid(Emu *emu);
void emu_mem_deinit(Emu *emu);

#endif
