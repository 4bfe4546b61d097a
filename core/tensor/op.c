#include "core/tensor/op.h"

#include <assert.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/fp4.h"
#include "core/num/fp8.h"
#include "core/num/nvfp4.h"

static const char *const direction_names[] = {"in", "out", "inout", "weight", "weights", "state"};
static const char *const type_names[OP_TYPES] = {"act", "nvfp4", "kv", "f32", "i32", "u8", "any"};

/* Reads letters, digits and _ into word; returns the place behind, NULL when there is none or it is too long. */
static const char *read_word(const char *at, char word[OP_NAME_MAX])
{
    size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyz_0123456789");
    if (n == 0 || n >= OP_NAME_MAX)
        return NULL;
    memcpy(word, at, n);
    word[n] = 0;
    return at + n;
}

static int find_word(const char *word, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    return -1;
}

/* "[a,b][c]" into extents; brackets join, so experts read as one more extent in front. */
static const char *read_extents(const char *at, OpArgSpec *out)
{
    while (at && *at == '[') {
        do {
            if (out->rank == OP_RANK_MAX)
                return NULL;
            at = read_word(at + 1, out->extents[out->rank++]);
        } while (at && *at == ',');
        if (!at || *at != ']')
            return NULL;
        at++;
    }
    return at;
}

bool op_parse_arg(const char *row, OpArgSpec *out, Err *err)
{
    char word[OP_NAME_MAX];
    *out = (OpArgSpec){0};
    const char *at = read_word(row, out->name);
    if (!at || strncmp(at, ": ", 2) != 0)
        return fail(err, E_FORMAT, "signature row \"%s\": expected \"name: direction type[extents]\"", row);
    at = read_word(at + 2, word);
    int direction = at ? find_word(word, direction_names, 6) : -1;
    if (direction < 0)
        return fail(err, E_FORMAT, "signature row \"%s\": expected in, out, inout, weight, weights or state", row);
    out->direction = (OpDirection)direction;
    if (*at == '?') {
        out->is_optional = true;
        at++;
    }
    char separator = ' ';
    do {
        at = *at == separator ? read_word(at + 1, word) : NULL;
        separator = '|';
        int type = at ? find_word(word, type_names, OP_TYPES) : -1;
        if (type < 0)
            return fail(err, E_FORMAT, "signature row \"%s\": expected act, nvfp4, kv, f32, i32, u8 or any", row);
        out->types |= 1u << type;
    } while (*at == '|');
    at = read_extents(at, out);
    if (!at || *at)
        return fail(err, E_FORMAT, "signature row \"%s\": expected extents as [rows,k], at most %d", row, OP_RANK_MAX);
    return true;
}

const OpArg *op_arg(const OpCall *call, const char *name)
{
    for (int i = 0; i < call->signature->args_n; i++)
        if (strcmp(call->signature->args[i].name, name) == 0)
            return &call->args[i];
    assert(!"the signature has no argument of that name");
    return NULL;
}

double op_number(const OpCall *call, const char *name)
{
    for (int i = 0; i < call->numbers_n; i++)
        if (strcmp(call->number_name[i], name) == 0)
            return call->number[i];
    assert(!"the call has no number of that name");
    return 0;
}

size_t op_extent(const OpCall *call, const char *name)
{
    for (int i = 0; i < call->signature->args_n; i++) {
        const OpArgSpec *spec = call->args[i].spec;
        for (int d = 0; spec && d < spec->rank; d++)
            if (strcmp(spec->extents[d], name) == 0)
                return call->args[i].extent[d];
    }
    assert(!"no argument has an extent of that name");
    return 0;
}

void op_round(const OpCall *call, float *x, size_t n)
{
    if (call->round == ROUND_BF16)
        bf16_round_row(x, n);
}

void op_round_out(const OpCall *call, const OpArg *out, float *x, size_t n)
{
    if (!out->magnitude)
        op_round(call, x, n);
}

float op_store(const OpCall *call, double x)
{
    float y = (float)x;
    op_round(call, &y, 1);
    return y;
}

bool op_parse_signature(const char *family, const char *const *rows, int rows_n, OpSignature *out, Err *err)
{
    *out = (OpSignature){0};
    if (strlen(family) >= OP_NAME_MAX)
        return fail(err, E_FORMAT, "family \"%s\": the name is longer than %d letters", family, OP_NAME_MAX - 1);
    strcpy(out->family, family);
    if (rows_n > OP_ARGS_MAX)
        return fail(err, E_FORMAT, "%s: expected at most %d arguments, found %d", family, OP_ARGS_MAX, rows_n);
    for (int i = 0; i < rows_n; i++) {
        if (!op_parse_arg(rows[i], &out->args[i], err))
            return err_in(err, "%s", family);
        for (int j = 0; j < i; j++)
            if (strcmp(out->args[j].name, out->args[i].name) == 0)
                return fail(err, E_FORMAT, "%s: two arguments are named \"%s\"", family, out->args[i].name);
    }
    out->args_n = rows_n;
    return true;
}

size_t op_row_size(const OpArg *arg)
{
    size_t n = 1;
    for (int d = 1; d < arg->spec->rank; d++)
        n *= arg->extent[d];
    return n;
}

int op_back(const OpCall *call, const OpArg *rejected, int seq)
{
    return rejected->spec ? op_row_i32(rejected, (size_t)call->step->slot[seq])[0] : call->step->back[seq];
}

int op_pos(const OpCall *call, const OpArg *taken, int seq, int row)
{
    const Step *step = call->step;
    int first = step->seq_start[seq];
    if (!taken->spec || step->pos[first] == 0)
        return step->pos[row];
    return op_row_i32(taken, (size_t)step->slot[seq])[0] + row - first;
}

size_t op_vector_size(const OpArg *arg) { return arg->extent[arg->spec->rank - 1]; }

static void read_nvfp4(const OpArg *arg, size_t first, size_t n, double input_scale, double *out)
{
    double value[16];
    for (uint8_t code = 0; code < 16; code++)
        value[code] = fp4_to_f32(code);
    const uint8_t *codes = (const uint8_t *)arg->data + first / 2, *scales = arg->scales + first / NVFP4_BLOCK;
    for (size_t i = 0; i < n; i += 2) {
        double scale = (double)fp8_e4m3_to_f32(scales[i / NVFP4_BLOCK]);
        out[i] = value[codes[i / 2] & 15] * scale * input_scale;
        out[i + 1] = value[codes[i / 2] >> 4] * scale * input_scale;
    }
}

void op_read_vector(const OpArg *arg, size_t row, size_t idx, size_t expert, double *out)
{
    size_t n = op_vector_size(arg), first = row * arg->ld + idx * n;
    if (arg->type == OP_NVFP4) {
        assert(arg->quantizer_n == 1 || expert < arg->quantizer_n);
        read_nvfp4(arg, first, n, weight_input_scale(&arg->quantizer[arg->quantizer_n == 1 ? 0 : expert]), out);
        return;
    }
    assert(arg->type == OP_ACT || arg->type == OP_F32);
    const float *x = (const float *)arg->data + first;
    for (size_t i = 0; i < n; i++)
        out[i] = (double)x[i];
}

void op_quantize(const OpArg *out, size_t row, size_t idx, size_t expert, const float *x)
{
    assert(out->type == OP_NVFP4);
    size_t n = op_vector_size(out), at = row * out->ld + idx * n;
    const Weight *quantizer = out->quantizer + (out->quantizer_n == 1 ? 0 : expert);
    nvfp4_quantize_activation(x, n, weight_input_inverse(quantizer), (uint8_t *)out->data + at / 2,
                              out->scales + at / NVFP4_BLOCK);
}

/* Extents a call has bound so far. */
typedef struct Bound {
    const OpCall *call;
    int n;
    const char *name[OP_ARGS_MAX * OP_RANK_MAX];
    size_t value[OP_ARGS_MAX * OP_RANK_MAX];
    const char *arg[OP_ARGS_MAX * OP_RANK_MAX];
} Bound;

/* Live rows of an extent's name; -1 when the name is not live. */
static int live_count(const Step *step, const char *name)
{
    if (strcmp(name, "rows") == 0)
        return step->rows;
    if (strcmp(name, "seqs") == 0)
        return step->seqs;
    return strcmp(name, "outs") == 0 ? step->outs : -1;
}

static bool is_live(const char *name)
{
    return live_count(&(Step){.rows = 0, .seqs = 0, .outs = 0}, name) == 0;
}

static bool bind_extent(Bound *bound, const OpArgSpec *spec, const char *name, size_t value, Err *err)
{
    const char *family = bound->call->signature->family;
    if (is_live(name)) {
        const Step *step = bound->call->step;
        if (step && (size_t)live_count(step, name) > value)
            return fail(err, E_SHAPE, "%s: argument %s: expected room for %d %s, found %zu", family, spec->name,
                        live_count(step, name),
                        name, value);
        return true;
    }
    if (strcmp(name, "one") == 0) {
        if (value != 1)
            return fail(err, E_SHAPE, "%s: argument %s: expected extent 1, found %zu", family, spec->name, value);
        return true;
    }
    for (int i = 0; i < bound->n; i++)
        if (strcmp(bound->name[i], name) == 0) {
            if (bound->value[i] != value)
                return fail(err, E_SHAPE, "%s: argument %s: expected %s = %zu as in argument %s, found %zu", family, spec->name,
                            name,
                            bound->value[i], bound->arg[i], value);
            return true;
        }
    bound->name[bound->n] = name;
    bound->value[bound->n] = value;
    bound->arg[bound->n++] = spec->name;
    return true;
}

static bool check_weights(Bound *bound, const OpArgSpec *spec, const OpArg *arg, Err *err)
{
    size_t n = spec->direction == OP_WEIGHTS ? arg->extent[0] : 1;
    int d = spec->direction == OP_WEIGHTS ? 1 : 0;
    assert(spec->rank == d + 2);
    if (d && !bind_extent(bound, spec, spec->extents[0], n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!bind_extent(bound, spec, spec->extents[d], arg->weight[i].n, err) ||
            !bind_extent(bound, spec, spec->extents[d + 1], arg->weight[i].k, err))
            return false;
    return true;
}

static bool check_nvfp4(const OpCall *call, const OpArg *arg, Err *err)
{
    const char *family = call->signature->family, *name = arg->spec->name;
    size_t k = op_vector_size(arg);
    if (k % NVFP4_BLOCK || arg->ld % NVFP4_BLOCK)
        return fail(err, E_SHAPE, "%s: argument %s: nvfp4 expects whole blocks of %d, found %zu elements, rows %zu apart",
                    family, name,
                    NVFP4_BLOCK, k, arg->ld);
    if (!arg->scales || !arg->quantizer || arg->quantizer_n == 0)
        return fail(err, E_MISSING, "%s: argument %s: nvfp4 needs block scales and an input scale", family, name);
    for (size_t i = 0; i < arg->quantizer_n; i++)
        if (!arg->quantizer[i].has_input_scale)
            return fail(err, E_MISSING, "%s: argument %s: weight %zu has no input scale", family, name, i);
    return true;
}

static bool check_arg(Bound *bound, const OpArgSpec *spec, const OpArg *arg, Err *err)
{
    const char *family = bound->call->signature->family;
    if (!arg->spec)
        return spec->is_optional || fail(err, E_MISSING, "%s: argument %s is absent", family, spec->name);
    if (!(spec->types >> arg->type & 1))
        return fail(err, E_SHAPE, "%s: argument %s: type %s is not one its signature accepts", family, spec->name,
                    type_names[arg->type]);
    if (spec->direction == OP_WEIGHT || spec->direction == OP_WEIGHTS)
        return check_weights(bound, spec, arg, err);
    for (int d = 0; d < spec->rank; d++)
        if (!bind_extent(bound, spec, spec->extents[d], arg->extent[d], err))
            return false;
    if (spec->direction != OP_STATE && arg->ld < op_row_size(arg) && arg->extent[0] > 1)
        return fail(err, E_SHAPE, "%s: argument %s: expected rows at least %zu elements apart, found %zu", family, spec->name,
                    op_row_size(arg), arg->ld);
    return arg->type != OP_NVFP4 || check_nvfp4(bound->call, arg, err);
}

/* Sequences partition the rows, own different slots, and what they take back exists. */
static bool check_step(const OpCall *call, const Bound *bound, Err *err)
{
    const Step *step = call->step;
    const char *family = call->signature->family;
    int slots = -1, versions = -1;
    for (int i = 0; i < call->signature->args_n; i++)
        if (call->args[i].spec && call->signature->args[i].direction == OP_STATE)
            slots = (int)call->args[i].extent[0];
    for (int i = 0; i < bound->n; i++)
        if (strcmp(bound->name[i], "versions") == 0)
            versions = (int)bound->value[i];
    if (step->seq_start[0] != 0 || step->seq_start[step->seqs] != step->rows)
        return fail(err, E_VALUE, "%s: expected sequences over rows 0 to %d, found %d to %d", family, step->rows,
                    step->seq_start[0],
                    step->seq_start[step->seqs]);
    for (int s = 0; s < step->seqs; s++) {
        if (step->seq_start[s] > step->seq_start[s + 1])
            return fail(err, E_VALUE, "%s: sequence %d ends before it starts", family, s);
        if (slots >= 0 && (step->slot[s] < 0 || step->slot[s] >= slots))
            return fail(err, E_VALUE, "%s: sequence %d: expected a slot below %d, found %d", family, s, slots, step->slot[s]);
        if (versions >= 0 && (step->back[s] < 0 || step->back[s] >= versions))
            return fail(err, E_VALUE, "%s: sequence %d: expected to go back less than %d rows, found %d", family, s, versions,
                        step->back[s]);
        for (int t = 0; slots >= 0 && t < s; t++)
            if (step->slot[s] == step->slot[t])
                return fail(err, E_VALUE, "%s: sequences %d and %d share slot %d", family, t, s, step->slot[s]);
    }
    for (int i = 0; i < step->outs; i++)
        if (step->out_row[i] < 0 || step->out_row[i] >= step->rows)
            return fail(err, E_VALUE, "%s: output %d: expected a row below %d, found %d", family, i, step->rows,
                        step->out_row[i]);
    return true;
}

bool op_check(const OpCall *call, Err *err)
{
    Bound bound = {.call = call};
    for (int i = 0; i < call->signature->args_n; i++)
        if (!check_arg(&bound, &call->signature->args[i], &call->args[i], err))
            return false;
    return !call->step || check_step(call, &bound, err);
}
