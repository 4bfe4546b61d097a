#include "core/model/plan.h"

#include <assert.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/plan_parts.h"
#include "core/num/bf16.h"
#include "core/num/fp8.h"
#include "core/num/nvfp4.h"

bool plan_grow(void *items, int n, int *cap, size_t bytes, Err *err)
{
    if (n < *cap)
        return true;
    int want = *cap ? *cap * 2 : 32;
    void *p = realloc(*(void **)items, (size_t)want * bytes);
    if (!p)
        return fail(err, E_MEMORY, "no memory for %d items of a plan", want);
    *(void **)items = p;
    *cap = want;
    return true;
}

Plan *plan_new(const PlanDesc *desc, Device *device, Err *err)
{
    const int limits[] = {desc->rows, desc->seqs, desc->outs, desc->slots, desc->versions, desc->max_len};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i] < 1)
            return fail(err, E_VALUE, "every capacity of a plan must be at least 1, found %d", limits[i]), NULL;
    Plan *p = calloc(1, sizeof *p);
    if (!p)
        return fail(err, E_MEMORY, "no memory for a plan"), NULL;
    p->desc = *desc;
    p->device = device;
    if (p->desc.capacities_n == 0)
        p->desc.capacities[p->desc.capacities_n++] = desc->rows;
    assert(p->desc.capacities_n <= PLAN_CAPACITIES_MAX && p->desc.capacities[p->desc.capacities_n - 1] == desc->rows);
    return p;
}

void plan_free(Plan *p)
{
    if (!p)
        return;
    if (p->device)
        plan_device_free(p);
    for (int i = 0; i < p->buffers_n; i++) {
        if (!p->buffers[i].is_view) {
            free(p->buffers[i].data);
            free(p->buffers[i].scales);
        }
    }
    for (int i = 0; i < p->taps_n; i++)
        tensor_free(p->taps[i].value);
    free(p->buffers);
    free(p->ops);
    free(p->taps);
    free(p->programs);
    arena_deinit(&p->arena);
    free(p);
}

const PlanDesc *plan_desc(const Plan *p)
{
    return &p->desc;
}

int plan_find(const Plan *p, const char *name)
{
    for (int i = p->buffers_n - 1; i >= 0; i--)
        if (strcmp(p->buffers[i].name, name) == 0)
            return i;
    return -1;
}

/* Bytes of one element in this plan's storage; nvfp4 is counted by the callers. */
static size_t element_bytes(const Plan *p, OpType type)
{
    switch (type) {
    case OP_ACT:
    case OP_F32: return sizeof(float);
    case OP_I32: return sizeof(int32_t);
    case OP_U8: return 1;
    case OP_KV: return p->desc.kv == KV_F32 ? 4 : p->desc.kv == KV_BF16 ? 2 : 1;
    default: assert(!"this type has no elements"); return 0;
    }
}

static size_t storage_bytes(const Plan *p, const Buffer *b)
{
    size_t count = b->ld * b->extent[0];
    return b->type == OP_NVFP4 ? count / 2 + count / NVFP4_BLOCK : count * element_bytes(p, b->type);
}

size_t plan_host_bytes(const Plan *p, const Buffer *b)
{
    size_t count = b->ld * b->extent[0];
    return b->type == OP_NVFP4 ? count / 2 : count * element_bytes(p, b->type);
}

static size_t capacity(const Plan *p, long extent)
{
    switch (extent) {
    case PLAN_ROWS: return (size_t)p->desc.rows;
    case PLAN_OUTS: return (size_t)p->desc.outs;
    case PLAN_SLOTS: return (size_t)p->desc.slots;
    case PLAN_VERSIONS: return (size_t)p->desc.versions;
    case PLAN_MAX_LEN: return (size_t)p->desc.max_len;
    default: assert(extent > 0); return (size_t)extent;
    }
}

/* The next free buffer, named; it counts only after p->buffers_n++. */
static Buffer *new_buffer(Plan *p, const char *name, Err *err)
{
    if (plan_find(p, name) >= 0)
        return fail(err, E_USAGE, "the plan already has a buffer \"%s\"", name), NULL;
    if (!plan_grow(&p->buffers, p->buffers_n, &p->buffers_cap, sizeof *p->buffers, err))
        return NULL;
    Buffer *b = &p->buffers[p->buffers_n];
    *b = (Buffer){.name = arena_strndup(&p->arena, name, strlen(name))};
    if (!b->name)
        return fail(err, E_MEMORY, "no memory for the name of buffer \"%s\"", name), NULL;
    return b;
}

/* Elements of the whole buffer, or 0 with an error. */
static size_t fill_extents(const Plan *p, Buffer *b, const PlanStorage *s, Err *err)
{
    size_t count = 1;
    if (s->rank < 1 || s->rank > OP_RANK_MAX)
        return fail(err, E_SHAPE, "buffer \"%s\": expected 1 to %d extents, found %d", s->name, OP_RANK_MAX, s->rank), 0;
    b->rank = s->rank;
    for (int d = 0; d < s->rank; d++) {
        b->extent[d] = capacity(p, s->extent[d]);
        if (__builtin_mul_overflow(count, b->extent[d], &count))
            return fail(err, E_SHAPE, "buffer \"%s\": its size overflows", s->name), 0;
    }
    b->ld = count / b->extent[0];
    return count;
}

bool plan_storage(Plan *p, const PlanStorage *s, int *id, Err *err)
{
    assert(!s->is_state || s->type == OP_ACT || s->type == OP_F32 || s->type == OP_KV);
    Buffer *b = new_buffer(p, s->name, err);
    size_t count = b ? fill_extents(p, b, s, err) : 0;
    if (!count)
        return false;
    b->type = s->type;
    b->is_state = s->is_state;
    bool is_nvfp4 = s->type == OP_NVFP4;
    if (is_nvfp4 && (b->extent[s->rank - 1] % NVFP4_BLOCK || s->quantizer_n == 0))
        return fail(err, E_SHAPE, "buffer \"%s\": nvfp4 needs rows of whole blocks of %d and a quantizer, found rows of %zu",
                    s->name, NVFP4_BLOCK, b->extent[s->rank - 1]);
    if (is_nvfp4) {
        Weight *copy = arena_alloc(&p->arena, s->quantizer_n * sizeof *copy);
        if (copy)
            memcpy(copy, s->quantizer, s->quantizer_n * sizeof *copy);
        b->quantizer = copy;
        b->quantizer_n = s->quantizer_n;
        b->scales = calloc(count / NVFP4_BLOCK, 1);
    }
    b->data = calloc(is_nvfp4 ? count / 2 : count, is_nvfp4 ? 1 : element_bytes(p, s->type));
    if (!b->data || (is_nvfp4 && (!b->scales || !b->quantizer))) {
        free(b->data);
        free(b->scales);
        return fail(err, E_MEMORY, "no memory for buffer \"%s\" of %zu elements", s->name, count);
    }
    *id = p->buffers_n++;
    return !p->device || plan_device_storage(p, b, err);
}

bool plan_view(Plan *p, const char *name, const char *of, size_t first, size_t columns, int *id, Err *err)
{
    int base_id = plan_find(p, of);
    if (base_id < 0)
        return fail(err, E_MISSING, "view \"%s\": the plan has no buffer \"%s\"", name, of);
    Buffer *b = new_buffer(p, name, err);
    if (!b)
        return false;
    const Buffer *base = &p->buffers[base_id];
    size_t row = plan_row(p, base_id);
    if (base->is_state || base->type != OP_ACT || first > row || columns > row - first)
        return fail(err, E_SHAPE, "view \"%s\": columns %zu to %zu are not inside activations \"%s\"", name, first,
                    first + columns, of);
    b->type = OP_ACT;
    b->rank = 2;
    b->extent[0] = base->extent[0];
    b->extent[1] = columns;
    b->ld = base->ld;
    b->is_view = true;
    b->data = (float *)base->data + first;
    b->dev = base->dev ? base->dev + first * 2 : 0; /* bf16 there */
    *id = p->buffers_n++;
    return true;
}

static int find_program(const Plan *p, const char *name)
{
    for (int i = 0; i < p->programs_n; i++)
        if (strcmp(p->programs[i], name) == 0)
            return i;
    return -1;
}

static bool add_program(Plan *p, const char *name, int *id, Err *err)
{
    *id = find_program(p, name);
    if (*id >= 0)
        return true;
    if (!plan_grow(&p->programs, p->programs_n, &p->programs_cap, sizeof *p->programs, err))
        return false;
    p->programs[p->programs_n] = arena_strndup(&p->arena, name, strlen(name));
    if (!p->programs[p->programs_n])
        return fail(err, E_MEMORY, "no memory for a program of a plan");
    *id = p->programs_n++;
    return true;
}

static bool add_tap(Plan *p, const char *name, int op, int arg, int *id, Err *err)
{
    if (!plan_grow(&p->taps, p->taps_n, &p->taps_cap, sizeof *p->taps, err))
        return false;
    const char *copy = arena_strndup(&p->arena, name, strlen(name));
    if (!copy)
        return fail(err, E_MEMORY, "no memory for tap \"%s\"", name);
    p->taps[p->taps_n] = (Tap){.name = copy, .op = op, .arg = arg};
    *id = p->taps_n++;
    return true;
}

static int find_arg(const OpSignature *s, const char *name)
{
    for (int i = 0; i < s->args_n; i++)
        if (strcmp(s->args[i].name, name) == 0)
            return i;
    return -1;
}

/* A buffer's dimensions need not be the row's: [rows,h] serves as [rows,1,h], and [rows,heads,d] as [rows,n]. */
static void fit_extents(OpArg *arg, const Buffer *b)
{
    int want = arg->spec->rank;
    memcpy(arg->extent, b->extent, sizeof arg->extent);
    if (b->rank < want) {
        int missing = want - b->rank;
        memmove(arg->extent + 1 + missing, arg->extent + 1, (size_t)(b->rank - 1) * sizeof *arg->extent);
        for (int d = 1; d <= missing; d++)
            arg->extent[d] = 1;
    } else if (b->rank > want) {
        for (int d = want; d < b->rank; d++)
            arg->extent[want - 1] *= b->extent[d];
    }
}

static bool bind_buffer(const Plan *p, OpArg *arg, int id, Err *err)
{
    if (id < 0 || id >= p->buffers_n)
        return fail(err, E_USAGE, "argument \"%s\" names no buffer", arg->spec->name);
    const Buffer *b = &p->buffers[id];
    bool is_weight = arg->spec->direction == OP_WEIGHT || arg->spec->direction == OP_WEIGHTS;
    if (is_weight || (arg->spec->direction == OP_STATE) != b->is_state)
        return fail(err, E_USAGE, "buffer \"%s\" cannot be argument \"%s\"", b->name, arg->spec->name);
    fit_extents(arg, b);
    arg->type = b->type;
    arg->ld = b->ld;
    arg->data = b->data;
    arg->scales = b->scales;
    arg->quantizer = b->quantizer;
    arg->quantizer_n = b->quantizer_n;
    return true;
}

static bool bind_weights(Plan *p, OpArg *arg, const PlanArg *from, Err *err)
{
    if (arg->spec->direction != OP_WEIGHT && arg->spec->direction != OP_WEIGHTS)
        return fail(err, E_USAGE, "argument \"%s\" takes a buffer, not weights", arg->spec->name);
    Weight *copy = arena_alloc(&p->arena, from->weight_n * sizeof *copy);
    if (!copy)
        return fail(err, E_MEMORY, "no memory for %zu weights", from->weight_n);
    memcpy(copy, from->weight, from->weight_n * sizeof *copy);
    arg->type = OP_ANY;
    arg->weight = copy;
    size_t *extent = arg->extent;
    if (arg->spec->direction == OP_WEIGHTS)
        *extent++ = from->weight_n;
    extent[0] = copy->n;
    extent[1] = copy->k;
    return true;
}

/* Copies the op's description into arena memory that the call points into. */
static BoundOp *copy_op(Plan *p, const PlanOp *op, Err *err)
{
    BoundOp *b = arena_alloc(&p->arena, sizeof *b);
    char (*names)[OP_NAME_MAX] = arena_alloc(&p->arena, (size_t)op->numbers_n * OP_NAME_MAX + 1);
    double *numbers = arena_alloc(&p->arena, (size_t)op->numbers_n * sizeof *numbers + 1);
    if (!b || !names || !numbers)
        return fail(err, E_MEMORY, "no memory for an op of a plan"), NULL;
    if (op->numbers_n) {
        memcpy(names, op->number_name, (size_t)op->numbers_n * OP_NAME_MAX);
        memcpy(numbers, op->number, (size_t)op->numbers_n * sizeof *numbers);
    }
    b->signature = *op->signature;
    b->ref = op->ref;
    b->call = (OpCall){.signature = &b->signature, .round = p->desc.round, .kv = p->desc.kv, .numbers_n = op->numbers_n,
                       .number_name = (const char (*)[OP_NAME_MAX])names, .number = numbers};
    for (int i = 0; i < OP_ARGS_MAX; i++)
        b->tap[i] = b->buffer[i] = -1;
    return b;
}

static bool bind_arg(Plan *p, BoundOp *b, const PlanArg *from, Err *err)
{
    int at = find_arg(&b->signature, from->name);
    if (at < 0)
        return fail(err, E_USAGE, "there is no argument \"%s\"", from->name);
    OpArg *arg = &b->call.args[at];
    arg->spec = &b->signature.args[at];
    if (from->weight ? !bind_weights(p, arg, from, err) : !bind_buffer(p, arg, from->buffer, err))
        return false;
    b->buffer[at] = from->weight ? -1 : from->buffer;
    return !from->tap || add_tap(p, from->tap, p->ops_n, at, &b->tap[at], err);
}

bool plan_op(Plan *p, const PlanOp *op, int *id, Err *err)
{
    BoundOp *b = copy_op(p, op, err);
    if (!b || !add_program(p, op->program, &b->program, err) ||
        !plan_grow(&p->ops, p->ops_n, &p->ops_cap, sizeof *p->ops, err))
        return false;
    for (int i = 0; i < op->args_n; i++)
        if (!bind_arg(p, b, &op->args[i], err))
            return err_in(err, "op %s", b->signature.family);
    if (!op_check(&b->call, err))
        return err_in(err, "op %s", b->signature.family);
    *id = p->ops_n;
    p->ops[p->ops_n++] = b;
    return true;
}

int plan_ops(const Plan *p)
{
    return p->ops_n;
}

const OpCall *plan_call(const Plan *p, int op)
{
    assert(op >= 0 && op < p->ops_n);
    return &p->ops[op]->call;
}

bool plan_select(Plan *p, const char *const *globs, int n, Err *err)
{
    for (int g = 0; g < n; g++) {
        bool is_used = false;
        for (int i = 0; i < p->taps_n; i++)
            is_used |= fnmatch(globs[g], p->taps[i].name, 0) == 0;
        if (!is_used)
            return fail(err, E_MISSING, "no tap matches \"%s\"; the plan has %d taps, the first is \"%s\"", globs[g], p->taps_n,
                        p->taps_n ? p->taps[0].name : "");
    }
    for (int i = 0; i < p->taps_n; i++) {
        Tap *t = &p->taps[i];
        t->is_selected = false;
        for (int g = 0; g < n; g++)
            t->is_selected |= fnmatch(globs[g], t->name, 0) == 0;
        tensor_free(t->value);
        t->value = NULL;
    }
    return true;
}

int plan_taps(const Plan *p)
{
    return p->taps_n;
}

const char *plan_tap_name(const Plan *p, int i)
{
    assert(i >= 0 && i < p->taps_n);
    return p->taps[i].name;
}

bool plan_tap_is_selected(const Plan *p, int i)
{
    assert(i >= 0 && i < p->taps_n);
    return p->taps[i].is_selected;
}

int plan_tap_shape(const Plan *p, int i, DType *dtype, size_t extent[OP_RANK_MAX])
{
    assert(i >= 0 && i < p->taps_n);
    const OpArg *arg = &p->ops[p->taps[i].op]->call.args[p->taps[i].arg];
    int rank = 0;
    for (int d = 1; d < arg->spec->rank; d++)
        if (arg->extent[d] != 1 || d == arg->spec->rank - 1)
            extent[rank++] = arg->extent[d];
    *dtype = arg->type == OP_I32 ? DTYPE_I32 : DTYPE_F32;
    return rank;
}

const Tensor *plan_tap(const Plan *p, int i)
{
    assert(i >= 0 && i < p->taps_n);
    return p->taps[i].value;
}

static bool take_tap(Plan *p, int i, const OpArg *arg, const Step *step, Err *err)
{
    Tap *t = &p->taps[i];
    DType dtype;
    size_t shape[TENSOR_RANK_MAX + 1], row = 1;
    int rank = plan_tap_shape(p, i, &dtype, shape + 1) + 1;
    shape[0] = (size_t)(strcmp(arg->spec->extents[0], "outs") == 0 ? step->outs : step->rows);
    for (int d = 1; d < rank; d++)
        row *= shape[d];
    tensor_free(t->value);
    t->value = tensor_new(dtype, rank, shape, err);
    if (!t->value)
        return err_in(err, "tap %s", t->name);
    for (size_t r = 0; r < shape[0]; r++)
        memcpy((char *)t->value->data + r * row * 4, (const char *)arg->data + r * arg->ld * 4, row * 4);
    return true;
}

static bool check_sequences(const PlanDesc *d, const Step *s, Err *err)
{
    if (s->seq_start[0] != 0 || s->seq_start[s->seqs] != s->rows)
        return fail(err, E_VALUE, "a step's sequences must cover its %d rows", s->rows);
    for (int i = 0; i < s->seqs; i++) {
        if (s->seq_start[i + 1] <= s->seq_start[i] || s->slot[i] < 0 || s->slot[i] >= d->slots || s->back[i] < 0 ||
            s->back[i] >= d->versions)
            return fail(err, E_VALUE, "sequence %d of a step: rows %d to %d, slot %d of %d, back %d of %d versions", i,
                        s->seq_start[i], s->seq_start[i + 1], s->slot[i], d->slots, s->back[i], d->versions);
        for (int j = 0; j < i; j++)
            if (s->slot[j] == s->slot[i])
                return fail(err, E_VALUE, "slot %d stands twice in a step", s->slot[i]);
    }
    return true;
}

static bool check_step(const PlanDesc *d, const Step *s, Err *err)
{
    if (s->rows < 1 || s->rows > d->rows || s->seqs < 1 || s->seqs > d->seqs || s->outs < 0 || s->outs > d->outs)
        return fail(err, E_VALUE, "a step of %d rows, %d sequences, %d outputs exceeds the plan's %d, %d, %d", s->rows, s->seqs,
                    s->outs, d->rows, d->seqs, d->outs);
    if (!check_sequences(d, s, err))
        return false;
    for (int r = 0; r < s->rows; r++)
        if (s->pos[r] < 0 || s->pos[r] >= d->max_len)
            return fail(err, E_VALUE, "row %d of a step has position %d; the plan holds %d positions", r, s->pos[r], d->max_len);
    for (int o = 0; o < s->outs; o++)
        if (s->out_row[o] < 0 || s->out_row[o] >= s->rows)
            return fail(err, E_VALUE, "output %d of a step asks for row %d of %d", o, s->out_row[o], s->rows);
    return true;
}

/* What to call an op in a message: its first tap, else its family. */
static const char *op_label(const Plan *p, const BoundOp *b)
{
    for (int i = 0; i < OP_ARGS_MAX; i++)
        if (b->tap[i] >= 0)
            return p->taps[b->tap[i]].name;
    return b->signature.family;
}

bool plan_has_selected_tap(const Plan *p, const BoundOp *b)
{
    for (int a = 0; a < b->signature.args_n; a++)
        if (b->tap[a] >= 0 && p->taps[b->tap[a]].is_selected)
            return true;
    return false;
}

bool plan_take_taps(Plan *p, BoundOp *b, const Step *step, Err *err)
{
    for (int a = 0; a < b->signature.args_n; a++)
        if (b->tap[a] >= 0 && p->taps[b->tap[a]].is_selected && !take_tap(p, b->tap[a], &b->call.args[a], step, err))
            return false;
    return true;
}

bool plan_run_host_op(Plan *p, BoundOp *b, const Step *step, Err *err)
{
    b->call.step = step;
    return b->ref(&b->call, err) || err_in(err, "%s", op_label(p, b));
}

static bool run_op(Plan *p, BoundOp *b, const Step *step, Err *err)
{
    return plan_run_host_op(p, b, step, err) && plan_take_taps(p, b, step, err);
}

static bool is_traced(const Plan *p, int program)
{
    for (int i = 0; i < p->ops_n; i++)
        if (p->ops[i]->program == program && plan_has_selected_tap(p, p->ops[i]))
            return true;
    return false;
}

bool plan_run(Plan *p, const char *program, const Step *step, Err *err)
{
    int id = find_program(p, program);
    if (id < 0)
        return fail(err, E_MISSING, "the plan has no program \"%s\"", program);
    if (!check_step(&p->desc, step, err))
        return false;
    if (p->device)
        return plan_device_run(p, id, step, is_traced(p, id), err);
    for (int i = 0; i < p->ops_n; i++)
        if (p->ops[i]->program == id && !run_op(p, p->ops[i], step, err))
            return false;
    return true;
}

int plan_capacity(const Plan *p, int rows)
{
    int i = 0;
    while (p->desc.capacities[i] < rows)
        i++;
    return i;
}

bool plan_run_op(Plan *p, int op, const Step *step, Err *err)
{
    assert(op >= 0 && op < p->ops_n);
    if (!check_step(&p->desc, step, err))
        return false;
    return p->device ? plan_device_run_op(p, p->ops[op], step, err) : run_op(p, p->ops[op], step, err);
}

/* Rows of an argument that a step of `rows` rows has capacity for; all of what does not live by rows. */
static size_t capacity_rows(const Plan *p, const OpArg *arg, int rows)
{
    int most = p->desc.capacities[plan_capacity(p, rows)];
    if (strcmp(arg->spec->extents[0], "rows") == 0)
        return (size_t)most;
    return strcmp(arg->spec->extents[0], "outs") == 0 ? (size_t)(p->desc.outs < most ? p->desc.outs : most) : arg->extent[0];
}

static DType host_type(const Plan *p, OpType type)
{
    static const DType cache[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F8_E4M3};
    switch (type) {
    case OP_I32: return DTYPE_I32;
    case OP_NVFP4:
    case OP_U8: return DTYPE_U8;
    case OP_KV: return cache[p->desc.kv];
    default: return DTYPE_F32;
    }
}

/* Rows of `row` bytes, `from` bytes apart, as a tensor whose last extent is `last`. */
static Tensor *peek_rows(const OpArg *arg, DType dtype, size_t rows, size_t last, const void *from, size_t apart, Err *err)
{
    size_t shape[OP_RANK_MAX];
    memcpy(shape, arg->extent, sizeof shape);
    shape[0] = rows;
    shape[arg->spec->rank - 1] = arg->spec->rank > 1 ? last : rows;
    Tensor *t = tensor_new(dtype, arg->spec->rank, shape, err);
    if (!t)
        return NULL;
    size_t row = rows ? tensor_bytes(t) / rows : 0;
    for (size_t r = 0; r < rows; r++)
        memcpy((char *)t->data + r * row, (const char *)from + r * apart, row);
    return t;
}

bool plan_peek(Plan *p, int op, int arg, int rows, Tensor **data, Tensor **scales, Err *err)
{
    const BoundOp *b = p->ops[op];
    const OpArg *a = &b->call.args[arg];
    assert(b->buffer[arg] >= 0 && rows >= 1 && rows <= p->desc.rows);
    *data = *scales = NULL;
    if (p->device && !plan_device_from(p, &p->buffers[b->buffer[arg]], err))
        return false;
    size_t n = capacity_rows(p, a, rows), last = a->extent[a->spec->rank - 1];
    DType dtype = host_type(p, a->type);
    if (a->type != OP_NVFP4)
        return (*data = peek_rows(a, dtype, n, last, a->data, a->ld * dtype_bytes(dtype), err)) != NULL;
    *data = peek_rows(a, dtype, n, last / 2, a->data, a->ld / 2, err);
    *scales = *data ? peek_rows(a, dtype, n, last / NVFP4_BLOCK, a->scales, a->ld / NVFP4_BLOCK, err) : NULL;
    if (*scales)
        return true;
    tensor_free(*data);
    *data = NULL;
    return false;
}

/* All bits set: NaN in f32 (and, from it, in bf16), -1 in whole numbers. */
static void poison(const OpArg *arg, size_t rows)
{
    size_t row = op_row_size(arg), bytes = arg->type == OP_NVFP4 ? 0 : arg->type == OP_U8 ? 1 : 4;
    for (size_t r = 0; r < rows; r++)
        if (bytes) {
            memset((char *)arg->data + r * arg->ld * bytes, 0xFF, row * bytes);
        } else {
            memset((char *)arg->data + r * arg->ld / 2, 0xFF, row / 2);
            memset(arg->scales + r * arg->ld / NVFP4_BLOCK, 0xFF, row / NVFP4_BLOCK);
        }
}

bool plan_poison(Plan *p, int op, int rows, Err *err)
{
    BoundOp *b = p->ops[op];
    for (int i = 0; i < b->signature.args_n; i++) {
        if (b->buffer[i] < 0 || b->signature.args[i].direction != OP_OUT)
            continue;
        const Buffer *to = &p->buffers[b->buffer[i]];
        if (p->device && !plan_device_from(p, to, err))
            return false;
        poison(&b->call.args[i], capacity_rows(p, &b->call.args[i], rows));
        if (p->device && !plan_device_to(p, to, err))
            return false;
    }
    return true;
}

static bool check_rows(const Buffer *b, size_t first, size_t n, Err *err)
{
    if (b->type != OP_ACT && b->type != OP_F32 && b->type != OP_I32)
        return fail(err, E_USAGE, "buffer \"%s\" is not read or written by rows", b->name);
    if (first > b->extent[0] || n > b->extent[0] - first)
        return fail(err, E_VALUE, "rows %zu to %zu are outside buffer \"%s\" of %zu rows", first, first + n, b->name,
                    b->extent[0]);
    return true;
}

size_t plan_row(const Plan *p, int id)
{
    assert(id >= 0 && id < p->buffers_n);
    size_t n = 1;
    for (int d = 1; d < p->buffers[id].rank; d++)
        n *= p->buffers[id].extent[d];
    return n;
}

OpType plan_type(const Plan *p, int id)
{
    assert(id >= 0 && id < p->buffers_n);
    return p->buffers[id].type;
}

bool plan_write(Plan *p, int id, size_t first, size_t n, const void *from, Err *err)
{
    size_t row = plan_row(p, id) * 4;
    const Buffer *b = &p->buffers[id];
    if (!check_rows(b, first, n, err))
        return false;
    for (size_t r = 0; r < n; r++)
        memcpy((char *)b->data + (first + r) * b->ld * 4, (const char *)from + r * row, row);
    return !p->device || plan_device_to(p, b, err);
}

bool plan_read(Plan *p, int id, size_t first, size_t n, void *to, Err *err)
{
    size_t row = plan_row(p, id) * 4;
    const Buffer *b = &p->buffers[id];
    if (!check_rows(b, first, n, err) || (p->device && !plan_device_from(p, b, err)))
        return false;
    for (size_t r = 0; r < n; r++)
        memcpy((char *)to + r * row, (const char *)b->data + (first + r) * b->ld * 4, row);
    return true;
}

Tensor *plan_read_state(Plan *p, int id, size_t slot, Err *err)
{
    assert(id >= 0 && id < p->buffers_n);
    const Buffer *b = &p->buffers[id];
    if (!b->is_state || slot >= b->extent[0])
        return fail(err, E_VALUE, "\"%s\" has no slot %zu", b->name, slot), NULL;
    if (p->device && !plan_device_from(p, b, err))
        return NULL;
    Tensor *t = tensor_new(DTYPE_F32, b->rank - 1, b->extent + 1, err);
    if (!t)
        return NULL;
    float *to = t->data;
    for (size_t i = 0, at = slot * b->ld; i < b->ld; i++, at++) {
        if (b->type != OP_KV || p->desc.kv == KV_F32)
            to[i] = ((const float *)b->data)[at];
        else if (p->desc.kv == KV_BF16)
            to[i] = bf16_to_f32(((const uint16_t *)b->data)[at]);
        else
            to[i] = fp8_e4m3_to_f32(((const uint8_t *)b->data)[at]);
    }
    return t;
}

static size_t weight_bytes(const Weight *w)
{
    size_t values = w->n * w->k;
    switch (w->format) {
    case WEIGHT_NVFP4: return values / 2 + values / NVFP4_BLOCK + sizeof(float);
    case WEIGHT_FP8: return values + sizeof(float);
    case WEIGHT_FP8_BLOCK:
        return values + (w->n + w->block_n - 1) / w->block_n * ((w->k + w->block_k - 1) / w->block_k) *
                            dtype_bytes(w->scale_dtype);
    default: return values * dtype_bytes(w->dtype);
    }
}

void plan_bytes(const Plan *p, size_t *buffers, size_t *states, size_t *weights)
{
    *buffers = *states = *weights = 0;
    for (int i = 0; i < p->buffers_n; i++)
        if (!p->buffers[i].is_view)
            *(p->buffers[i].is_state ? states : buffers) += storage_bytes(p, &p->buffers[i]);
    for (int i = 0; i < p->ops_n; i++)
        for (int a = 0; a < p->ops[i]->signature.args_n; a++) {
            const OpArg *arg = &p->ops[i]->call.args[a];
            size_t n = !arg->weight ? 0 : arg->spec->direction == OP_WEIGHTS ? arg->extent[0] : 1;
            for (size_t w = 0; w < n; w++)
                *weights += weight_bytes(&arg->weight[w]);
        }
}
