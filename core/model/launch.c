#include "core/model/launch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/nvfp4.h"

static void push(LaunchParams *p, const void *value, size_t bytes)
{
    assert(p->n < LAUNCH_PARAMS_MAX);
    p->value[p->n] = value;
    p->bytes[p->n++] = bytes;
}

/* Device pointers an argument's row stands for. */
static int pointers_of(const OpArgSpec *spec)
{
    if (spec->direction == OP_WEIGHT || spec->direction == OP_WEIGHTS)
        return 3;
    /* An argument that may be nvfp4 always has all of them, so that one source serves both. */
    return spec->types >> OP_NVFP4 & 1 ? 3 : 1;
}

void launch_params(const OpCall *call, const LaunchArg *args, DevicePtr step, const char (*number_order)[OP_NAME_MAX],
                   int numbers_n,
                   DevicePtr scratch, LaunchParams *out)
{
    int pointers = 0;
    out->n = 0;
    for (int i = 0; i < call->signature->args_n; i++) {
        const DevicePtr all[3] = {args[i].data, args[i].scales, args[i].row_scale};
        for (int k = 0; k < pointers_of(&call->signature->args[i]); k++) {
            out->pointer[pointers] = all[k];
            push(out, &out->pointer[pointers++], sizeof(uint64_t));
        }
    }
    out->pointer[pointers] = step;
    push(out, &out->pointer[pointers++], sizeof(uint64_t));
    for (int i = 0; i < numbers_n; i++) {
        out->number[i] = (float)op_number(call, number_order[i]);
        push(out, &out->number[i], sizeof(float));
    }
    out->pointer[pointers] = scratch;
    push(out, &out->pointer[pointers], sizeof(uint64_t));
}

size_t launch_step_ints(int rows, int seqs, int outs)
{
    return (size_t)(4 + (seqs + 1) + 2 * seqs + 2 * rows + outs);
}

void launch_step_fill(const Step *step, int rows, int seqs, int outs, int *to)
{
    memset(to, 0, launch_step_ints(rows, seqs, outs) * sizeof *to);
    int *seq_start = to + 4, *slot = seq_start + seqs + 1, *back = slot + seqs, *pos = back + seqs, *seq = pos + rows,
        *out_row = seq + rows;
    to[0] = step->rows;
    to[1] = step->seqs;
    to[2] = step->outs;
    for (int s = 0; s < step->seqs; s++) {
        slot[s] = step->slot[s];
        back[s] = step->back[s];
        for (int r = step->seq_start[s]; r < step->seq_start[s + 1]; r++)
            seq[r] = s;
    }
    for (int s = 0; s <= seqs; s++)
        seq_start[s] = step->seq_start[s < step->seqs ? s : step->seqs];
    memcpy(pos, step->pos, (size_t)step->rows * sizeof *pos);
    if (step->outs)
        memcpy(out_row, step->out_row, (size_t)step->outs * sizeof *out_row);
}

size_t launch_element(const OpCall *call, const OpArg *arg)
{
    switch (arg->type) {
    case OP_ACT: return 2;
    case OP_F32:
    case OP_I32: return 4;
    case OP_U8: return 1;
    case OP_KV: return call->kv == KV_FP8 ? 1 : 2;
    default: return 0;
    }
}

void launch_to_device(const OpArg *arg, const void *host, void *device, size_t count)
{
    if (arg->type != OP_ACT) {
        memcpy(device, host, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        ((uint16_t *)device)[i] = bf16_from_f32(((const float *)host)[i]);
}

void launch_from_device(const OpArg *arg, const void *device, void *host, size_t count)
{
    if (arg->type != OP_ACT) {
        memcpy(host, device, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        ((float *)host)[i] = bf16_to_f32(((const uint16_t *)device)[i]);
}

bool launch_input_scales(Device *d, const Weight *quantizer, size_t n, DevicePtr *out, Err *err)
{
    float(*pair)[2] = malloc(n * sizeof *pair);
    if (!pair)
        return fail(err, E_MEMORY, "no memory for %zu input scales", n);
    for (size_t i = 0; i < n; i++) {
        pair[i][0] = (float)weight_input_scale(&quantizer[i]);
        pair[i][1] = weight_input_inverse(&quantizer[i]);
    }
    bool is_ok = device_alloc(d, "input scales", n * sizeof *pair, out, err) &&
                 device_upload(d, *out, pair, n * sizeof *pair, err);
    free(pair);
    return is_ok;
}

/* One run's device memory. */
typedef struct Run {
    Device *device;
    const OpCall *call;
    LaunchArg arg[OP_ARGS_MAX];
    PackedWeight packed[OP_ARGS_MAX];
    DevicePtr step, scratch;
} Run;

static size_t elements(const OpArg *arg)
{
    return arg->extent[0] * arg->ld;
}

/* Host elements through a staging copy of the device's bytes. */
static bool upload_arg(Run *run, int i, const OpArg *arg, Err *err)
{
    size_t n = elements(arg), size = launch_element(run->call, arg);
    if (!device_alloc(run->device, arg->spec->name, n * size, &run->arg[i].data, err))
        return false;
    if (arg->spec->direction == OP_OUT)
        return device_poison(run->device, run->arg[i].data, n * size, err);
    void *stage = malloc(n * size + 1);
    if (!stage)
        return fail(err, E_MEMORY, "no memory for argument %s", arg->spec->name);
    launch_to_device(arg, arg->data, stage, arg->type == OP_ACT ? n : n * size);
    bool is_ok = device_upload(run->device, run->arg[i].data, stage, n * size, err);
    free(stage);
    return is_ok;
}

static bool upload_nvfp4(Run *run, int i, const OpArg *arg, Err *err)
{
    size_t n = elements(arg);
    LaunchArg *to = &run->arg[i];
    if (!device_alloc(run->device, arg->spec->name, n / 2, &to->data, err) ||
        !device_alloc(run->device, arg->spec->name, n / NVFP4_BLOCK, &to->scales, err) ||
        !launch_input_scales(run->device, arg->quantizer, arg->quantizer_n, &to->row_scale, err))
        return false;
    if (arg->spec->direction == OP_OUT)
        return device_poison(run->device, to->data, n / 2, err) && device_poison(run->device, to->scales, n / NVFP4_BLOCK, err);
    return device_upload(run->device, to->data, arg->data, n / 2, err) &&
           device_upload(run->device, to->scales, arg->scales, n / NVFP4_BLOCK, err);
}

static bool place_arg(Run *run, int i, Err *err)
{
    const OpArg *arg = &run->call->args[i];
    if (!arg->spec)
        return true;
    if (!arg->weight)
        return arg->type == OP_NVFP4 ? upload_nvfp4(run, i, arg, err) : upload_arg(run, i, arg, err);
    bool is_many = arg->spec->direction == OP_WEIGHTS;
    bool is_vector = !is_many && strcmp(arg->spec->extents[0], "one") == 0;
    PackedWeight *p = &run->packed[i];
    if (!pack_weights(run->device, arg->weight, is_many ? arg->extent[0] : 1, is_vector, p, err))
        return err_in(err, "argument %s", arg->spec->name);
    run->arg[i] = (LaunchArg){p->data, p->scales, p->row_scale};
    return true;
}

static bool fetch_arg(Run *run, int i, Err *err)
{
    const OpArg *arg = &run->call->args[i];
    if (!arg->spec || arg->weight || arg->spec->direction == OP_IN)
        return true;
    size_t n = elements(arg), size = launch_element(run->call, arg);
    if (arg->type == OP_NVFP4)
        return device_download(run->device, arg->data, run->arg[i].data, n / 2, err) &&
               device_download(run->device, arg->scales, run->arg[i].scales, n / NVFP4_BLOCK, err);
    void *stage = malloc(n * size + 1);
    if (!stage)
        return fail(err, E_MEMORY, "no memory for argument %s", arg->spec->name);
    bool is_ok = device_download(run->device, stage, run->arg[i].data, n * size, err);
    if (is_ok)
        launch_from_device(arg, stage, arg->data, arg->type == OP_ACT ? n : n * size);
    free(stage);
    return is_ok;
}

static bool place_step(Run *run, const LaunchDesc *desc, Err *err)
{
    size_t n = launch_step_ints(desc->rows, desc->seqs, desc->outs);
    int *ints = malloc(n * sizeof *ints);
    if (!ints)
        return fail(err, E_MEMORY, "no memory for a step");
    launch_step_fill(run->call->step, desc->rows, desc->seqs, desc->outs, ints);
    bool is_ok = device_alloc(run->device, "step", n * sizeof *ints, &run->step, err) &&
                 device_upload(run->device, run->step, ints, n * sizeof *ints, err);
    free(ints);
    return is_ok && (!desc->scratch || (device_alloc(run->device, "scratch", desc->scratch, &run->scratch, err) &&
                                        device_poison(run->device, run->scratch, desc->scratch, err)));
}

static void drop_run(Run *run)
{
    for (int i = 0; i < run->call->signature->args_n; i++) {
        if (run->call->args[i].weight) {
            pack_free(run->device, &run->packed[i]);
        } else {
            device_free(run->device, run->arg[i].data);
            device_free(run->device, run->arg[i].scales);
            device_free(run->device, run->arg[i].row_scale);
        }
    }
    device_free(run->device, run->step);
    device_free(run->device, run->scratch);
}

static bool run_stages(Run *run, const LaunchDesc *desc, DeviceTime *time, Err *err)
{
    LaunchParams params;
    DeviceLaunch launches[16];
    assert(desc->stages_n <= 16);
    launch_params(run->call, run->arg, run->step, desc->number_order, desc->numbers_n, run->scratch, &params);
    for (int i = 0; i < desc->stages_n; i++) {
        const LaunchStage *s = &desc->stages[i];
        launches[i] = (DeviceLaunch){.module = s->module, .entry = s->entry, .smem = s->smem, .args = params.value,
                                     .arg_bytes = params.bytes, .args_n = params.n};
        memcpy(launches[i].grid, s->grid, sizeof s->grid);
        memcpy(launches[i].block, s->block, sizeof s->block);
        if (!device_launch(run->device, &launches[i], err))
            return false;
    }
    if (!device_sync(run->device, err))
        return false;
    for (int i = 0; i < run->call->signature->args_n; i++)
        if (!fetch_arg(run, i, err))
            return false;
    if (!time || desc->rounds <= 0)
        return true;
    DeviceGraph *g = device_graph_new(run->device, launches, desc->stages_n, err);
    bool is_ok = g && device_time(run->device, g, desc->rounds, desc->repeats, time, err);
    device_graph_free(run->device, g);
    return is_ok;
}

bool launch_run(Device *d, const OpCall *call, const LaunchDesc *desc, DeviceTime *time, Err *err)
{
    assert(call->step && call->kv != KV_F32);
    Run run = {.device = d, .call = call};
    bool is_ok = place_step(&run, desc, err);
    for (int i = 0; is_ok && i < call->signature->args_n; i++)
        is_ok = place_arg(&run, i, err);
    is_ok = is_ok && run_stages(&run, desc, time, err);
    drop_run(&run);
    return is_ok || err_in(err, "%s on %s", call->signature->family, device_name(d));
}
