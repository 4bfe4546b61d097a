/* What a launch list or a reference receives of one op: its signature, its arguments, its extents, the live step.
 * Kernels and references get the same OpCall, so they are interchangeable.
 *
 * A family's signature is a list of rows "name: direction type[extents]" in kernels/<family>/<family>.lua, for example
 *     "x: in act[rows,k]"   "w: weight any[n,k]"   "down: weights any[e][h,i]"   "state: state
 *     f32[slots,versions,hv,dk,dv]"
 *   direction  in · out · inout · weight (one matrix or vector) · weights (one per expert) · state (kept between steps);
 *              a trailing ? means the argument may be absent
 *   type       act = activation (bf16 on devices; f32 in references, rounded to bf16 under --round bf16) · nvfp4
 *   (codes, then
 *              block scales) · kv (cache storage: f32, bf16 or fp8) · f32 · i32 · u8 · any (weights: whatever the
 *              checkpoint holds); "act|nvfp4" accepts either
 *   extents    rows (tokens of this step), seqs, outs (rows whose logits are wanted) are live and come from Step; slots,
 *              versions, max_len are capacities of the plan; every other name is baked: it has one value in the
 *              whole call */
#ifndef CORE_TENSOR_OP_H
#define CORE_TENSOR_OP_H
#include <assert.h>

#include "core/base/err.h"
#include "core/tensor/weight.h"

enum { OP_ARGS_MAX = 16, OP_RANK_MAX = 5, OP_NAME_MAX = 24, OP_EXTENTS_MAX = 24, OP_NUMBERS_MAX = 8 };

typedef enum OpDirection { OP_IN, OP_OUT, OP_INOUT, OP_WEIGHT, OP_WEIGHTS, OP_STATE } OpDirection;

typedef enum OpType { OP_ACT, OP_NVFP4, OP_KV, OP_F32, OP_I32, OP_U8, OP_ANY, OP_TYPES } OpType;

typedef struct OpArgSpec {
    char name[OP_NAME_MAX];
    OpDirection direction;
    bool is_optional;
    unsigned types;                           /* set of 1u << OpType */
    int rank;
    char extents[OP_RANK_MAX][OP_NAME_MAX];   /* for weights the first one counts the matrices */
} OpArgSpec;

typedef struct OpSignature {
    char family[OP_NAME_MAX];
    int args_n;
    OpArgSpec args[OP_ARGS_MAX];
} OpSignature;

/* Parses one row of a signature; E_FORMAT names the row and the column. */
bool op_parse_arg(const char *row, OpArgSpec *out, Err *err);
/* Parses a whole signature; E_FORMAT also for two rows of one name, too many rows or too long a family name. */
bool op_parse_signature(const char *family, const char *const *rows, int rows_n, OpSignature *out, Err *err);

/* Storage of the KV cache. */
typedef enum KvType { KV_F32, KV_BF16, KV_FP8 } KvType;
/* Storage of activations between ops. */
typedef enum RoundTo { ROUND_F32, ROUND_BF16 } RoundTo;

/* The live part of a step. Rows of a sequence are adjacent and in order; sequence s has rows seq_start[s] ..
 * seq_start[s+1]-1. Versions: a state keeps its last `versions` values; version 0 is the newest. A step of a
 * sequence starts from version back[s] (the number of its newest rows that were rejected) and leaves version v =
 * the state after its row (count-1-v). */
typedef struct Step {
    int rows, seqs, outs;
    const int *seq_start; /* [seqs+1] */
    const int *slot;      /* [seqs] */
    const int *pos;       /* [rows] position of a row in its sequence = index of its KV entry */
    const int *back;      /* [seqs] */
    const int *out_row;   /* [outs] rows whose logits are wanted */
} Step;

typedef struct OpArg {
    const OpArgSpec *spec; /* NULL when absent */
    OpType type;
    size_t extent[OP_RANK_MAX]; /* live extents hold the capacity; use step for the live count */
    /* elements from one row to the next (first dimension of in/out); extents product unless a column view */
    size_t ld;
    void *data;            /* act and f32: float; kv: by KvType; nvfp4: u8 codes [rows,…,k/2] */
    uint8_t *scales;       /* nvfp4: e4m3 [rows,…,k/16]; NULL otherwise */
    /* nvfp4: whose input scale the values were divided by: one for the buffer, or one per expert */
    const Weight *quantizer;
    size_t quantizer_n;      /* 1 or the number of experts; then slot j of a row belongs to expert experts[row][j] */
    const Weight *weight;  /* weight: one; weights: extent[0] of them */
    /* outs and states, f32 of the extents without gaps, zeroed by the caller; NULL: not wanted. See below */
    float *magnitude;
} OpArg;

/* Magnitudes. Where an output has one, the reference fills it with M and leaves that output as it is before its
 * storage type, so that a kernel that computes in f32 from the same stored inputs (products of bf16 with f32 sums
 * included) leaves, before its one rounding,
 *     |kernel - reference| <= c * 2^-23 * M,   c from the kernel's order of sums (`accept` of the family's spec).
 * M is the sum of |x * w| behind the element; families with more than sums derive the factors in their _ref.c. M =
 * 0 says exact. */

typedef struct OpCall {
    const OpSignature *signature;
    OpArg args[OP_ARGS_MAX];        /* in the order of the signature */
    const Step *step;
    RoundTo round;
    KvType kv;
    int numbers_n;                  /* scalar parameters, e.g. eps, kv scales; names in the family's page */
    const char (*number_name)[OP_NAME_MAX];
    const double *number;
} OpCall;

/* The argument of that name; asserts that the signature has it. */
const OpArg *op_arg(const OpCall *call, const char *name);
/* Scalar parameter of that name; asserts that it is there. */
double op_number(const OpCall *call, const char *name);
/* Baked extent or capacity of that name, searched in the arguments' specs; asserts that it is there. */
size_t op_extent(const OpCall *call, const char *name);
/* Rounds n activations in place to the call's storage type. */
void op_round(const OpCall *call, float *x, size_t n);

/* Checks a call against its signature: what is absent may be absent, types are accepted ones, one extent name has
 * one value ("one" is 1), live extents fit their capacities, rows do not overlap, nvfp4 vectors are whole blocks,
 * the step is consistent and stays inside the state's slots and versions. E_SHAPE, E_VALUE: argument, expected,
 * found. */
bool op_check(const OpCall *call, Err *err);
/* Values of x̂ in f64: vector `idx` of row `row` of an act, f32 or nvfp4 argument, that is elements (row, idx, 0 ..
 * n-1) where n is the last extent and idx counts all middle ones. nvfp4: code · block scale · input scale of
 * quantizer[0], or of quantizer[expert] when there is one per expert. */
void op_read_vector(const OpArg *arg, size_t row, size_t idx, size_t expert, double *out);
/* Elements of one row (product of all extents but the first), of one vector (the last extent). */
size_t op_row_size(const OpArg *arg);
size_t op_vector_size(const OpArg *arg);
/* Row `row` of an act or f32 argument, of an i32 argument. */
static inline float *op_row(const OpArg *arg, size_t row)
{
    assert(arg->type == OP_ACT || arg->type == OP_F32);
    return (float *)arg->data + row * arg->ld;
}
static inline int32_t *op_row_i32(const OpArg *arg, size_t row)
{
    assert(arg->type == OP_I32);
    return (int32_t *)arg->data + row * arg->ld;
}
/* Vector `idx` of row `row` of an nvfp4 output: NVFP4 of x f32[n], with the input scale of its one quantizer or of the
 * expert's. */
void op_quantize(const OpArg *out, size_t row, size_t idx, size_t expert, const float *x);
/* Rounds n elements of an output, unless its magnitude is wanted. Every reference ends with it. */
void op_round_out(const OpCall *call, const OpArg *out, float *x, size_t n);
/* Row `row` of an output's magnitude; NULL when it is not wanted. */
static inline float *op_magnitude(const OpArg *out, size_t row)
{
    return out->magnitude ? out->magnitude + row * op_row_size(out) : NULL;
}
/* Rows of sequence `seq` that the step takes back: what `rejected` i32[slots] holds for its slot where the call has that
 * argument (OpArg of an absent one has no spec), else the step's back. */
int op_back(const OpCall *call, const OpArg *rejected, int seq);
/* Position of row `row` of sequence `seq`: behind what `taken` i32[slots] holds for its slot where the call has that argument
 * and the sequence does not start over (the step puts its first row at 0), else the step's. */
int op_pos(const OpCall *call, const OpArg *taken, int seq, int row);
/* x to its stored form: float, then the call's rounding. */
float op_store(const OpCall *call, double x);

/* A family's reference: computes every out, inout and state argument from the others, f32 storage, f64 sums.
 * Fails only for what a caller can cause (E_UNSUPPORTED, E_VALUE, E_MEMORY). */
typedef bool (*OpRef)(const OpCall *call, Err *err);

#endif
