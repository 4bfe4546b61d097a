/* Plans on a device: mirrored buffers, packed weights, launch lists. A host op between launches gets its arguments copied in and
 * out; a run of launches without selected taps becomes one graph, made at its first use and replayed. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/plan_parts.h"
#include "core/num/nvfp4.h"

/* An argument as launch_element and the conversions want it. */
static OpArg as_arg(const Buffer *b)
{
    return (OpArg){.type = b->type};
}

static size_t device_bytes(const Plan *p, const Buffer *b)
{
    OpArg arg = as_arg(b);
    OpCall call = {.kv = p->desc.kv};
    size_t count = b->ld * b->extent[0];
    return b->type == OP_NVFP4 ? count / 2 : count * launch_element(&call, &arg);
}

bool plan_device_storage(Plan *p, Buffer *b, Err *err)
{
    return device_alloc(p->device, b->name, device_bytes(p, b), &b->dev, err) &&
           (b->type != OP_NVFP4 ||
            (device_alloc(p->device, b->name, b->ld * b->extent[0] / NVFP4_BLOCK, &b->dev_scales, err) &&
             launch_input_scales(p->device, b->quantizer, b->quantizer_n, &b->dev_input, err)));
}

/* The buffer that owns a view's memory: views are moved row by row with their base. */
static const Buffer *owner_of(const Plan *p, const Buffer *b)
{
    if (!b->is_view)
        return b;
    for (int i = 0; i < p->buffers_n; i++) {
        const Buffer *o = &p->buffers[i];
        size_t bytes = device_bytes(p, o);
        if (!o->is_view && b->dev >= o->dev && b->dev < o->dev + bytes)
            return o;
    }
    assert(!"a view has a base");
    return b;
}

bool plan_device_to(Plan *p, const Buffer *view, Err *err)
{
    const Buffer *b = owner_of(p, view);
    OpArg arg = as_arg(b);
    size_t bytes = device_bytes(p, b);
    if (b->type != OP_ACT)
        return device_upload(p->device, b->dev, b->data, bytes, err) &&
               (b->type != OP_NVFP4 || device_upload(p->device, b->dev_scales, b->scales, bytes / 8, err));
    void *stage = malloc(bytes + 1);
    if (!stage)
        return fail(err, E_MEMORY, "no memory to move buffer \"%s\"", b->name);
    launch_to_device(&arg, b->data, stage, bytes / 2);
    bool is_ok = device_upload(p->device, b->dev, stage, bytes, err);
    free(stage);
    return is_ok;
}

bool plan_device_from(Plan *p, const Buffer *view, Err *err)
{
    const Buffer *b = owner_of(p, view);
    OpArg arg = as_arg(b);
    size_t bytes = device_bytes(p, b);
    if (b->type != OP_ACT)
        return device_download(p->device, b->data, b->dev, bytes, err) &&
               (b->type != OP_NVFP4 || device_download(p->device, b->scales, b->dev_scales, bytes / 8, err));
    void *stage = malloc(bytes + 1);
    if (!stage)
        return fail(err, E_MEMORY, "no memory to move buffer \"%s\"", b->name);
    bool is_ok = device_download(p->device, stage, b->dev, bytes, err);
    if (is_ok)
        launch_from_device(&arg, stage, b->data, bytes / 2);
    free(stage);
    return is_ok;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

bool plan_device_step(Plan *p, const Step *step, int capacity, Err *err)
{
    const PlanDesc *d = &p->desc;
    if (!p->step_host) {
        size_t most = launch_step_ints(d->rows, d->seqs, d->outs);
        p->step_host = malloc(most * sizeof *p->step_host);
        if (!p->step_host)
            return fail(err, E_MEMORY, "no memory for a step");
    }
    int rows = d->capacities[capacity];
    int seqs = least(d->seqs, rows), outs = least(d->outs, rows);
    launch_step_fill(step, rows, seqs, outs, p->step_host);
    return device_upload(p->device, p->step, p->step_host, launch_step_ints(rows, seqs, outs) * sizeof *p->step_host, err);
}

static bool share_weight(Plan *p, const OpArg *arg, PackedWeight *out, Err *err)
{
    size_t n = arg->spec->direction == OP_WEIGHTS ? arg->extent[0] : 1;
    bool is_vector = arg->spec->direction == OP_WEIGHT && strcmp(arg->spec->extents[0], "one") == 0;
    for (int i = 0; i < p->shared_n; i++)
        if (p->shared[i].data == arg->weight->data && p->shared[i].n == n) {
            *out = p->shared[i].packed;
            return true;
        }
    if (!plan_grow(&p->shared, p->shared_n, &p->shared_cap, sizeof *p->shared, err) ||
        !pack_weights(p->device, arg->weight, n, is_vector, out, err))
        return err_in(err, "argument %s", arg->spec->name);
    p->shared[p->shared_n++] = (SharedWeight){arg->weight->data, n, *out};
    return true;
}

static bool fill_args(Plan *p, const BoundOp *b, LaunchArg *args, Err *err)
{
    for (int i = 0; i < b->signature.args_n; i++) {
        const OpArg *arg = &b->call.args[i];
        PackedWeight packed;
        args[i] = (LaunchArg){0};
        if (arg->weight) {
            if (!share_weight(p, arg, &packed, err))
                return false;
            args[i] = (LaunchArg){packed.data, packed.scales, packed.row_scale};
        } else if (arg->spec) {
            const Buffer *from = &p->buffers[b->buffer[i]];
            args[i] = (LaunchArg){from->dev, from->dev_scales, from->dev_input};
        }
    }
    return true;
}

bool plan_launch(Plan *p, const PlanLaunch *from, Err *err)
{
    assert(p->device && from->op >= 0 && from->op < p->ops_n && from->capacity >= 0 && from->capacity < p->desc.capacities_n);
    assert(from->stages_n >= 1 && from->stages_n <= PLAN_STAGES_MAX);
    BoundOp *b = p->ops[from->op];
    OpLaunches *l = arena_alloc(&p->arena, sizeof *l);
    LaunchArg args[OP_ARGS_MAX];
    if (!l)
        return fail(err, E_MEMORY, "no memory for launches");
    size_t step_bytes = launch_step_ints(p->desc.rows, p->desc.seqs, p->desc.outs) * sizeof(int);
    if (!p->step && !device_alloc(p->device, "step", step_bytes, &p->step, err))
        return false;
    if (from->scratch && !device_alloc(p->device, "scratch", from->scratch, &l->scratch, err))
        return false;
    if (!fill_args(p, b, args, err))
        return err_in(err, "op %s", b->signature.family);
    memcpy(l->stages, from->stages, (size_t)from->stages_n * sizeof *from->stages);
    l->stages_n = from->stages_n;
    launch_params(&b->call, args, p->step, from->number_order, from->numbers_n, l->scratch, &l->params);
    b->launches[from->capacity] = l;
    return true;
}

static DeviceLaunch launch_of(const OpLaunches *l, int stage)
{
    const LaunchStage *s = &l->stages[stage];
    DeviceLaunch out = {.module = s->module, .entry = s->entry, .smem = s->smem, .args = l->params.value,
        .arg_bytes = l->params.bytes,
                        .args_n = l->params.n};
    memcpy(out.grid, s->grid, sizeof out.grid);
    memcpy(out.block, s->block, sizeof out.block);
    return out;
}

/* A host op in a device plan: inputs come down, outputs go up. */
static bool run_copied(Plan *p, BoundOp *b, const Step *step, Err *err)
{
    for (int i = 0; i < b->signature.args_n; i++)
        if (b->buffer[i] >= 0 && b->signature.args[i].direction != OP_OUT &&
            !plan_device_from(p, &p->buffers[b->buffer[i]], err))
            return false;
    if (!plan_run_host_op(p, b, step, err))
        return false;
    for (int i = 0; i < b->signature.args_n; i++)
        if (b->buffer[i] >= 0 && b->signature.args[i].direction != OP_IN && !plan_device_to(p, &p->buffers[b->buffer[i]], err))
            return false;
    return true;
}

static bool fetch_taps(Plan *p, BoundOp *b, const Step *step, Err *err)
{
    if (!plan_has_selected_tap(p, b))
        return true;
    for (int i = 0; i < b->signature.args_n; i++)
        if (b->tap[i] >= 0 && p->taps[b->tap[i]].is_selected && !plan_device_from(p, &p->buffers[b->buffer[i]], err))
            return false;
    return plan_take_taps(p, b, step, err);
}

/* One op by itself, with its taps. */
static bool run_alone(Plan *p, BoundOp *b, const Step *step, int capacity, Err *err)
{
    const OpLaunches *l = b->launches[capacity];
    for (int s = 0; l && s < l->stages_n; s++) {
        DeviceLaunch launch = launch_of(l, s);
        if (!device_launch(p->device, &launch, err))
            return err_in(err, "%s", b->signature.family);
    }
    return (l || run_copied(p, b, step, err)) && fetch_taps(p, b, step, err);
}

/* One op after the other, with taps. */
static bool run_traced(Plan *p, int program, const Step *step, int capacity, Err *err)
{
    for (int i = 0; i < p->ops_n; i++)
        if (p->ops[i]->program == program && !run_alone(p, p->ops[i], step, capacity, err))
            return false;
    return device_sync(p->device, err);
}

bool plan_device_run_op(Plan *p, BoundOp *b, const Step *step, Err *err)
{
    int capacity = plan_capacity(p, step->rows);
    return (!p->step || plan_device_step(p, step, capacity, err)) && run_alone(p, b, step, capacity, err) &&
           device_sync(p->device, err);
}

static Segment *find_segment(Plan *p, int program, int capacity, int first)
{
    for (int i = 0; i < p->segments_n; i++) {
        Segment *s = &p->segments[i];
        if (s->program == program && s->capacity == capacity && s->first_op == first)
            return s;
    }
    return NULL;
}

/* The graph of the launches from op `first` up to the next host op of the program. */
static Segment *make_segment(Plan *p, int program, int capacity, int first, Err *err)
{
    if (!plan_grow(&p->segments, p->segments_n, &p->segments_cap, sizeof *p->segments, err))
        return NULL;
    DeviceLaunch *launches = calloc((size_t)(p->ops_n - first) * PLAN_STAGES_MAX, sizeof *launches);
    if (!launches)
        return fail(err, E_MEMORY, "no memory for a segment"), NULL;
    Segment s = {.program = program, .capacity = capacity, .first_op = first, .last_op = first};
    int n = 0;
    for (int i = first; i < p->ops_n; i++) {
        const BoundOp *b = p->ops[i];
        if (b->program != program)
            continue;
        if (!b->launches[capacity])
            break;
        for (int k = 0; k < b->launches[capacity]->stages_n; k++)
            launches[n++] = launch_of(b->launches[capacity], k);
        s.last_op = i;
    }
    s.graph = device_graph_new(p->device, launches, n, err);
    free(launches);
    if (!s.graph)
        return NULL;
    p->segments[p->segments_n] = s;
    return &p->segments[p->segments_n++];
}

static bool run_segments(Plan *p, int program, const Step *step, int capacity, Err *err)
{
    for (int i = 0; i < p->ops_n; i++) {
        BoundOp *b = p->ops[i];
        if (b->program != program)
            continue;
        if (!b->launches[capacity]) {
            if (!run_copied(p, b, step, err))
                return false;
            continue;
        }
        Segment *s = find_segment(p, program, capacity, i);
        if (!s)
            s = make_segment(p, program, capacity, i, err);
        if (!s || !device_graph_run(p->device, s->graph, err))
            return false;
        i = s->last_op;
    }
    return device_sync(p->device, err);
}

bool plan_device_run(Plan *p, int program, const Step *step, bool has_taps, Err *err)
{
    int capacity = plan_capacity(p, step->rows);
    if (p->step && !plan_device_step(p, step, capacity, err))
        return false;
    return has_taps ? run_traced(p, program, step, capacity, err) : run_segments(p, program, step, capacity, err);
}

void plan_device_free(Plan *p)
{
    for (int i = 0; i < p->segments_n; i++)
        device_graph_free(p->device, p->segments[i].graph);
    for (int i = 0; i < p->shared_n; i++)
        pack_free(p->device, &p->shared[i].packed);
    for (int i = 0; i < p->ops_n; i++)
        for (int c = 0; c < p->desc.capacities_n; c++)
            if (p->ops[i]->launches[c])
                device_free(p->device, p->ops[i]->launches[c]->scratch);
    for (int i = 0; i < p->buffers_n; i++)
        if (!p->buffers[i].is_view) {
            device_free(p->device, p->buffers[i].dev);
            device_free(p->device, p->buffers[i].dev_scales);
            device_free(p->device, p->buffers[i].dev_input);
        }
    device_free(p->device, p->step);
    free(p->segments);
    free(p->shared);
    free(p->step_host);
}
