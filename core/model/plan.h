/* Plan: buffers, states and ops of a model bound together, built once per capacity and run step by step without a script.
 * A plan knows ops, buffers and sequences but no layer names: those come from the graph (scripts/lib/qwen3_5_moe.lua).
 *
 * Buffers hold activations of one step; states are kept between steps, one slot a sequence. Ops stand in programs ("main", "mtp")
 * and run in the order they were added. An output may carry a tap: a name under which its live rows are copied out after the op,
 * when selected.
 * Without a device every op runs as its reference. On a device an op runs as its launches where it has them (plan_launch) and as
 * a host op where not: its arguments are then copied in and out around it. */
#ifndef CORE_MODEL_PLAN_H
#define CORE_MODEL_PLAN_H
#include "core/model/launch.h"
#include "core/tensor/op.h"
#include "core/tensor/tensor.h"

/* Capacities: rows of a step, sequences of a step, rows whose logits are wanted, slots (sequences alive), versions of a state
 * (1 + most rows that may be rejected), positions per slot. All at least 1. */
enum { PLAN_CAPACITIES_MAX = 4 };

typedef struct PlanDesc {
    int rows, seqs, outs, slots, versions, max_len;
    RoundTo round;
    KvType kv;
    /* of launches: row counts, ascending, the last is rows; a step takes the first that holds it */
    int capacities[PLAN_CAPACITIES_MAX];
    int capacities_n;                    /* 0: rows alone */
} PlanDesc;

/* An extent of a buffer: a fixed number > 0 or one of these capacities. */
enum { PLAN_ROWS = -1, PLAN_OUTS = -2, PLAN_SLOTS = -3, PLAN_VERSIONS = -4, PLAN_MAX_LEN = -5 };

typedef struct Plan Plan;

/* device: NULL for a host plan; outlives the plan. E_VALUE for a capacity below 1, E_MEMORY. The caller owns it; checkpoints
 * whose weights it uses must outlive it. A device plan stores activations in bf16 (desc->round must say so) and its cache in bf16
 * or fp8. */
Plan *plan_new(const PlanDesc *desc, Device *device, Err *err);
/* Takes NULL. */
void plan_free(Plan *p);
const PlanDesc *plan_desc(const Plan *p);

/* A buffer (act, f32, i32, or nvfp4 with its quantizers, copied) or a state (act, f32, kv). */
typedef struct PlanStorage {
    const char *name; /* new in the plan */
    OpType type;
    int rank;
    long extent[OP_RANK_MAX];
    bool is_state;
    const Weight *quantizer;
    size_t quantizer_n;
} PlanStorage;

/* Adds it, zeroed; *id gets its number. E_USAGE for a name that is taken, E_SHAPE, E_MEMORY. */
bool plan_storage(Plan *p, const PlanStorage *storage, int *id, Err *err);
/* A window [rows, columns] of a buffer of activations: elements first .. first+columns-1 of each flattened row. */
bool plan_view(Plan *p, const char *name, const char *of, size_t first, size_t columns, int *id, Err *err);
/* Number of the buffer or state of that name, -1 if there is none. */
int plan_find(const Plan *p, const char *name);

typedef struct PlanArg {
    const char *name;       /* of the signature's row */
    int buffer;             /* number of a buffer; unused with weights */
    const Weight *weight;   /* copied; NULL for a buffer */
    size_t weight_n;
    const char *tap;        /* NULL: none */
} PlanArg;

typedef struct PlanOp {
    const char *program;
    const OpSignature *signature; /* copied */
    OpRef ref;
    const PlanArg *args;          /* any order; optional ones may be absent */
    int args_n;
    int numbers_n;
    const char (*number_name)[OP_NAME_MAX];
    const double *number;
} PlanOp;

/* Appends an op; *id gets its number. E_USAGE or E_SHAPE when the arguments do not fit the signature. */
bool plan_op(Plan *p, const PlanOp *op, int *id, Err *err);
/* The bound call of an op, without a step; what a variant's constants are made from. */
const OpCall *plan_call(const Plan *p, int op);
/* Number of ops. */
int plan_ops(const Plan *p);

/* Launches of an op for one capacity. Packs its weights on the device at the first call that needs them. */
typedef struct PlanLaunch {
    int op, capacity;          /* numbers; capacity is an index into desc.capacities */
    const LaunchStage *stages; /* modules must outlive the plan */
    int stages_n;
    size_t scratch;
    const char (*number_order)[OP_NAME_MAX];
    int numbers_n;
} PlanLaunch;
bool plan_launch(Plan *p, const PlanLaunch *launch, Err *err);

/* Selects the taps that match one of the n glob patterns ("*" matches "/" too); replaces the former selection. */
bool plan_select(Plan *p, const char *const *globs, int n, Err *err);
/* Number of taps, in graph order, and what is known of tap i. */
int plan_taps(const Plan *p);
const char *plan_tap_name(const Plan *p, int i);
bool plan_tap_is_selected(const Plan *p, int i);
/* Type of its elements (DTYPE_F32 or DTYPE_I32), shape of one row into extent; returns the rank of a row. */
int plan_tap_shape(const Plan *p, int i, DType *dtype, size_t extent[OP_RANK_MAX]);
/* What the last run left under tap i: [live rows, …], owned by the plan until the next run; NULL if not selected or not run. */
const Tensor *plan_tap(const Plan *p, int i);

/* Runs a program for one step. E_VALUE when the step exceeds a capacity; an op's error with its tap or family in front. */
bool plan_run(Plan *p, const char *program, const Step *step, Err *err);

/* One op of the plan for one step, its selected taps taken, as plan_run runs it in its turn. */
bool plan_run_op(Plan *p, int op, const Step *step, Err *err);
/* What argument `arg` of an op (a buffer or state) holds at this moment, of the rows that a step of `rows` rows has capacity
 * for: F32 (activations too), I32, or a cache's own type, shaped as the signature says; nvfp4: codes U8 [rows,…,k/2] and
 * scales U8 [rows,…,k/16], else *scales is NULL. The caller owns both. */
bool plan_peek(Plan *p, int op, int arg, int rows, Tensor **data, Tensor **scales, Err *err);
/* Fills those rows of the op's outputs with what no kernel may leave: NaN, -1, bytes of 255. */
bool plan_poison(Plan *p, int op, int rows, Err *err);

/* Copies n rows between host memory and a buffer (f32 or i32 elements), from row `first` on. E_VALUE when outside. */
bool plan_write(Plan *p, int id, size_t first, size_t n, const void *from, Err *err);
bool plan_read(Plan *p, int id, size_t first, size_t n, void *to, Err *err);
/* One slot of a state as F32 (kv states decoded, fp8 without its scale): shape is the state's without slots. The caller owns
 * it. */
Tensor *plan_read_state(Plan *p, int id, size_t slot, Err *err);
/* Elements of a row of buffer id, and its type. */
size_t plan_row(const Plan *p, int id);
OpType plan_type(const Plan *p, int id);
/* Bytes of all buffers, of all states, and of the weights the ops read. */
void plan_bytes(const Plan *p, size_t *buffers, size_t *states, size_t *weights);

#endif
