/* An op on a device: the parameters its kernels get, and a whole run from host data for `try` and for checks.
 *
 * Every entry of a family takes the same parameters, in this order:
 *   one per argument of the signature, in its order; an argument that may be nvfp4: data or codes, scales, input
 *       scales; weight and weights: data, scales, row_scale (core/model/pack.h); an absent argument: null pointers.
 *       Input scales are float2 {scale, its inverse S} of the buffer's one quantizer, or of each expert's: S is what a
 *       quantizer multiplies by, scale what a reader does (weight_input_inverse, weight_input_scale)
 *   const int *step: rows, seqs, outs, 0, then seq_start[SEQS+1], slot[SEQS], back[SEQS], pos[ROWS], seq[ROWS], out_row[OUTS]
 *   one float per number, in the order of the spec's `numbers`
 *   void *scratch: as many bytes as the program asks for, or null
 * Activations are bf16, kv states bf16 or e4m3, other types as they are called. */
#ifndef CORE_MODEL_LAUNCH_H
#define CORE_MODEL_LAUNCH_H
#include "core/gpu/device.h"
#include "core/model/pack.h"
#include "core/tensor/op.h"

enum { LAUNCH_PARAMS_MAX = 3 * OP_ARGS_MAX + OP_NUMBERS_MAX + 2 };

/* Device memory behind one argument: a buffer's pointer, of nvfp4 its block scales and input scales too, or packed
 * weights. */
typedef struct LaunchArg {
    DevicePtr data, scales, row_scale; /* nvfp4: row_scale holds the input scales */
} LaunchArg;

/* Values and sizes of an entry's parameters; value[i] points into this struct. */
typedef struct LaunchParams {
    int n;
    const void *value[LAUNCH_PARAMS_MAX];
    size_t bytes[LAUNCH_PARAMS_MAX];
    uint64_t pointer[3 * OP_ARGS_MAX + 2];
    float number[OP_NUMBERS_MAX];
} LaunchParams;

/* number_order: names of the spec's `numbers`. Asserts that the call has them. */
void launch_params(const OpCall *call, const LaunchArg *args, DevicePtr step, const char (*number_order)[OP_NAME_MAX],
                   int numbers_n,
                   DevicePtr scratch, LaunchParams *out);

/* Ints of the device's step for capacities; and its filling from a host step. */
size_t launch_step_ints(int rows, int seqs, int outs);
void launch_step_fill(const Step *step, int rows, int seqs, int outs, int *to);

/* Input scales of n quantizers in fresh device memory, as kernels read them. */
bool launch_input_scales(Device *d, const Weight *quantizer, size_t n, DevicePtr *out, Err *err);

/* Bytes of one element of an argument on the device (nvfp4: 0, counted by the caller). */
size_t launch_element(const OpCall *call, const OpArg *arg);
/* Host elements ↔ the bytes a device holds, count elements: act float ↔ bf16, all else copied. */
void launch_to_device(const OpArg *arg, const void *host, void *device, size_t count);
void launch_from_device(const OpArg *arg, const void *device, void *host, size_t count);

typedef struct LaunchStage {
    DeviceModule *module;
    const char *entry;
    unsigned grid[3], block[3];
    size_t smem;
} LaunchStage;

typedef struct LaunchDesc {
    const LaunchStage *stages;
    int stages_n;
    size_t scratch;
    const char (*number_order)[OP_NAME_MAX];
    int numbers_n;
    int rows, seqs, outs;     /* capacities that the constants were made with */
    int rounds, repeats;      /* > 0: also time it (CUDA only) */
} LaunchDesc;

/* Runs the stages on fresh device memory holding the call's inputs; outputs are poisoned first, inout and states uploaded;
 * afterwards outs, inouts and states are downloaded into the call's host memory. call->kv must not be KV_F32 and call->round is
 * bf16 by nature.
 * time may be NULL. */
bool launch_run(Device *d, const OpCall *call, const LaunchDesc *desc, DeviceTime *time, Err *err);

#endif
