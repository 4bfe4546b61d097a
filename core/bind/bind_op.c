/* nibble.op: one op by itself, outside a plan.
 *   nb.op.run(spec, { args = { name = value }, numbers = { name = number }, step = {…}, round = "f32"|"bf16",
 *                     kv = "f32"|"bf16"|"fp8" })
 * spec is the table of kernels/<family>/<family>.lua. Outputs and states are written into the tensors given for them.
 * An argument's value:
 *   Tensor                                        act, f32 (F32), i32 (I32), u8 (U8), kv (F32, BF16, F8_E4M3 by `kv`), a
 *                                                 plain weight
 *   { tensor =, first =, shape =, ld = }          a view: elements from `first` on, rows `ld` apart
 *   { codes =, scales =, input_scale = x | {x,…}, is_divisor = }
 *                                                 nvfp4 activations; one input scale or one per expert
 *   { format = "nvfp4"|"fp8"|"fp8_block"|"plain", data =, scales =, tensor_scale =, is_divisor =, input_scale =, block = {n,k} }
 *                                                 a weight
 *   { checkpoint =, name = }                      a logical weight
 *   nb.weights(…)                                 as a plan's op takes them
 *   { weight, weight, … }, or a Tensor [e,n,k]    weights, one per expert
 * step: rows (default: all of the first argument), seq_start (default one sequence), slot, pos, back, out_row; missing ones count up from 0.
 * magnitudes: a table that gets a tensor per float output and state, of its extents (core/tensor/op.h); these outputs are then not rounded.
 * Returns true, or nil, message, code; E_SHAPE says argument, expected, found. */
#include <string.h>

#include "core/bind/bind.h"

#define TENSOR_TYPE "nibble.Tensor"

typedef struct OpBox {
    OpSignature signature;
    OpCall call;
    Step step;
    char number_name[OP_NUMBERS_MAX][OP_NAME_MAX];
    double number[OP_NUMBERS_MAX];
} OpBox;

/* Zeroed memory that lives as long as the caller's stack slot. */
static void *scratch(lua_State *L, size_t bytes)
{
    void *p = lua_newuserdatauv(L, bytes + 1, 0);
    memset(p, 0, bytes + 1);
    return p;
}

/* Field `key` of the table at `at` as a tensor (closed ones raise), NULL when nil. The value stays reachable through the
 * table. */
static Tensor *field_tensor(lua_State *L, int at, const char *key)
{
    Tensor *t = NULL;
    if (lua_getfield(L, at, key) != LUA_TNIL)
        t = check_tensor(L, lua_gettop(L));
    lua_pop(L, 1);
    return t;
}

static double field_number(lua_State *L, int at, const char *key, double missing)
{
    double x = missing;
    if (lua_getfield(L, at, key) != LUA_TNIL)
        x = luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return x;
}

static bool field_boolean(lua_State *L, int at, const char *key)
{
    lua_getfield(L, at, key);
    bool x = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return x;
}

static bool has_field(lua_State *L, int at, const char *key)
{
    bool has = lua_getfield(L, at, key) != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

static bool fail_type(Err *err, const char *expected, const Tensor *t)
{
    char text[160];
    return fail(err, E_SHAPE, "expected %s, found %s", expected, t ? tensor_describe(t, text, sizeof text) : "none");
}

/* A plain matrix: the last extent is k, the others are rows; one dimension is a vector. */
static bool plain_weight(const Tensor *t, Weight *w, Err *err)
{
    if ((t->dtype != DTYPE_F32 && t->dtype != DTYPE_BF16 && t->dtype != DTYPE_F16) || t->rank < 1 || t->rank > 2)
        return fail_type(err, "a weight of type F32, BF16 or F16 with 1 or 2 dimensions", t);
    *w = (Weight){.format = WEIGHT_PLAIN, .dtype = t->dtype, .n = t->rank == 2 ? t->shape[0] : 1, .k = t->shape[t->rank - 1],
                  .data = t->data};
    return true;
}

static bool packed_weight(const Tensor *data, const Tensor *scales, Weight *w, Err *err)
{
    size_t per_byte = w->format == WEIGHT_NVFP4 ? 2 : 1;
    if (!data || data->rank != 2 || dtype_bytes(data->dtype) != 1)
        return fail_type(err, "bytes with 2 dimensions as data", data);
    w->dtype = data->dtype;
    w->n = data->shape[0];
    w->k = data->shape[1] * per_byte;
    w->data = data->data;
    if (w->format == WEIGHT_FP8)
        return true;
    if (w->format == WEIGHT_NVFP4)
        w->block_n = 1, w->block_k = 16;
    if (w->block_n == 0 || w->block_k == 0)
        return fail(err, E_SHAPE, "expected block = {n, k}");
    size_t n = (w->n + w->block_n - 1) / w->block_n, k = (w->k + w->block_k - 1) / w->block_k;
    if (!scales || scales->rank != 2 || scales->shape[0] != n || scales->shape[1] != k ||
        (w->format == WEIGHT_NVFP4 && (dtype_bytes(scales->dtype) != 1 || w->k % 16)))
        return fail_type(err, "one scale per block", scales);
    w->scales = scales->data;
    w->scale_dtype = scales->dtype;
    return true;
}

static bool table_weight(lua_State *L, int at, Weight *w, Err *err)
{
    static const char *const formats[] = {"plain", "nvfp4", "fp8", "fp8_block", NULL};
    lua_getfield(L, at, "format");
    int format = luaL_checkoption(L, lua_gettop(L), NULL, formats);
    lua_pop(L, 1);
    *w = (Weight){0};
    if (format == WEIGHT_PLAIN) {
        const Tensor *t = field_tensor(L, at, "data");
        if (!t)
            return fail_type(err, "a tensor as data", t);
        if (!plain_weight(t, w, err))
            return false;
    } else {
        w->format = (WeightFormat)format;
        if (lua_getfield(L, at, "block") == LUA_TTABLE) {
            lua_rawgeti(L, -1, 1);
            lua_rawgeti(L, -2, 2);
            w->block_n = (size_t)luaL_checkinteger(L, -2);
            w->block_k = (size_t)luaL_checkinteger(L, -1);
            lua_pop(L, 2);
        }
        lua_pop(L, 1);
        if (!packed_weight(field_tensor(L, at, "data"), field_tensor(L, at, "scales"), w, err))
            return false;
    }
    w->tensor_scale = (float)field_number(L, at, "tensor_scale", 1);
    w->is_divisor = field_boolean(L, at, "is_divisor");
    w->has_input_scale = has_field(L, at, "input_scale");
    w->input_scale = (float)field_number(L, at, "input_scale", 0);
    return true;
}

/* The weight at stack index `at`. */
static bool get_weight(lua_State *L, int at, Weight *w, Err *err)
{
    if (luaL_testudata(L, at, TENSOR_TYPE))
        return plain_weight(check_tensor(L, at), w, err);
    if (!lua_istable(L, at))
        return fail(err, E_SHAPE, "expected a weight, found a %s", luaL_typename(L, at));
    if (lua_getfield(L, at, "checkpoint") == LUA_TNIL) {
        lua_pop(L, 1);
        return table_weight(L, at, w, err);
    }
    const Checkpoint *c = check_checkpoint(L, lua_gettop(L));
    lua_getfield(L, at, "name");
    bool ok = checkpoint_weight(c, luaL_checkstring(L, -1), w, err);
    lua_pop(L, 2);
    return ok;
}

/* A stack [e,n,k] as e plain weights. */
static bool split_weights(lua_State *L, const Tensor *t, OpArg *arg, Err *err)
{
    if (t->rank != 3)
        return fail_type(err, "a list of weights, or a tensor with 3 dimensions", t);
    arg->extent[0] = t->shape[0];
    Weight *w = scratch(L, t->shape[0] * sizeof *w);
    size_t bytes = t->shape[0] ? tensor_bytes(t) / t->shape[0] : 0;
    for (size_t e = 0; e < t->shape[0]; e++) {
        Tensor part = {t->dtype, 2, {t->shape[1], t->shape[2]}, (char *)t->data + e * bytes};
        if (!plain_weight(&part, &w[e], err))
            return false;
    }
    arg->weight = w;
    return true;
}

static bool get_weights(lua_State *L, int at, OpArg *arg, Err *err)
{
    arg->type = OP_ANY;
    size_t n = 1;
    const Weight *listed = bind_test_weights(L, at, &n);
    if (listed) {
        if (arg->spec->direction == OP_WEIGHT && n != 1)
            return fail(err, E_SHAPE, "expected one weight, found %zu", n);
        arg->weight = listed;
        arg->extent[0] = n;
    } else if (arg->spec->direction == OP_WEIGHT) {
        Weight *w = scratch(L, sizeof *w);
        arg->weight = w;
        if (!get_weight(L, at, w, err))
            return false;
    } else if (luaL_testudata(L, at, TENSOR_TYPE)) {
        if (!split_weights(L, check_tensor(L, at), arg, err))
            return false;
    } else {
        luaL_checktype(L, at, LUA_TTABLE);
        n = (size_t)luaL_len(L, at);
        Weight *w = scratch(L, n * sizeof *w);
        arg->weight = w;
        arg->extent[0] = n;
        for (size_t e = 0; e < n; e++) {
            lua_geti(L, at, (lua_Integer)e + 1);
            if (!get_weight(L, lua_gettop(L), &w[e], err))
                return err_in(err, "weight %zu", e);
            lua_pop(L, 1);
        }
    }
    size_t first = arg->spec->direction == OP_WEIGHTS ? 1 : 0;
    if (first && arg->extent[0] == 0)
        return fail(err, E_SHAPE, "expected at least one weight");
    arg->extent[first] = arg->weight->n;
    arg->extent[first + 1] = arg->weight->k;
    return true;
}

static bool get_shape(const OpArgSpec *spec, const Tensor *t, const char *what, OpArg *arg, Err *err)
{
    char text[160];
    if (t->rank != spec->rank)
        return fail(err, E_SHAPE, "expected %d dimensions of %s, found %s", spec->rank, what,
                    tensor_describe(t, text, sizeof text));
    memcpy(arg->extent, t->shape, (size_t)t->rank * sizeof *arg->extent);
    arg->data = t->data;
    return true;
}

/* nvfp4: codes [rows,…,k/2], scales [rows,…,k/16]; input_scale a number, or a list with one per expert. */
static bool get_nvfp4(lua_State *L, int at, OpArg *arg, Err *err)
{
    const Tensor *codes = field_tensor(L, at, "codes"), *scales = field_tensor(L, at, "scales");
    if (!codes || dtype_bytes(codes->dtype) != 1 || !scales || dtype_bytes(scales->dtype) != 1)
        return fail_type(err, "byte tensors codes and scales", codes);
    if (!get_shape(arg->spec, codes, "codes", arg, err))
        return false;
    size_t *k = &arg->extent[arg->spec->rank - 1];
    *k *= 2;
    if (tensor_count(scales) * 16 != tensor_count(codes) * 2 || *k % 16)
        return fail_type(err, "one scale per 16 codes", scales);
    arg->type = OP_NVFP4;
    arg->scales = scales->data;
    bool is_list = lua_getfield(L, at, "input_scale") == LUA_TTABLE;
    arg->quantizer_n = is_list ? (size_t)luaL_len(L, -1) : 1;
    Weight *w = scratch(L, arg->quantizer_n * sizeof *w);
    arg->quantizer = w;
    lua_insert(L, -2);
    for (size_t i = 0; i < arg->quantizer_n; i++) {
        if (is_list)
            lua_geti(L, -1, (lua_Integer)i + 1);
        else
            lua_pushvalue(L, -1);
        w[i] = (Weight){.is_divisor = field_boolean(L, at, "is_divisor"), .has_input_scale = true,
                        .input_scale = (float)luaL_checknumber(L, -1)};
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return true;
}

/* Field `key` of a view: 0 to `most`, which keeps every product of them below overflow. */
static size_t view_field(lua_State *L, int at, const char *key, size_t missing, size_t most)
{
    size_t n = missing;
    if (lua_getfield(L, at, key) != LUA_TNIL) {
        lua_Integer i = luaL_checkinteger(L, -1);
        if (i < 0 || (lua_Unsigned)i > most)
            luaL_error(L, "view: expected %s from 0 to %d, found %d", key, (int)most, (int)i);
        n = (size_t)i;
    }
    lua_pop(L, 1);
    return n;
}

/* A view's shape, start and row distance; it must stay inside its tensor. */
static bool get_view(lua_State *L, int at, const Tensor *t, OpArg *arg, Err *err)
{
    char text[160];
    size_t count = tensor_count(t), row = 1, first = view_field(L, at, "first", 0, count);
    if (lua_getfield(L, at, "shape") != LUA_TTABLE || luaL_len(L, -1) != arg->spec->rank)
        return fail(err, E_SHAPE, "expected %d dimensions of the view", arg->spec->rank);
    for (int d = 0; d < arg->spec->rank; d++) {
        lua_geti(L, -1, d + 1);
        lua_Integer n = luaL_checkinteger(L, -1);
        lua_pop(L, 1);
        if (n < 0 || (size_t)n > count || (d > 0 && (row *= (size_t)n) > count))
            return fail(err, E_SHAPE, "expected a view inside %s", tensor_describe(t, text, sizeof text));
        arg->extent[d] = (size_t)n;
    }
    lua_pop(L, 1);
    arg->ld = view_field(L, at, "ld", row, count);
    size_t rows = arg->extent[0];
    if (rows && (row > count - first || (arg->ld && rows - 1 > (count - first - row) / arg->ld)))
        return fail(err, E_SHAPE, "expected a view inside %s", tensor_describe(t, text, sizeof text));
    arg->data = (char *)t->data + first * dtype_bytes(t->dtype);
    return true;
}

static OpType buffer_type(const Tensor *t, unsigned types, KvType kv)
{
    static const DType kv_dtype[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F8_E4M3};
    if (types & 1u << OP_KV)
        return t->dtype == kv_dtype[kv] ? OP_KV : OP_TYPES;
    switch (t->dtype) {
    case DTYPE_F32: return types & 1u << OP_ACT ? OP_ACT : OP_F32;
    case DTYPE_I32: return OP_I32;
    case DTYPE_U8: return OP_U8;
    default: return OP_TYPES;
    }
}

static bool get_buffer(lua_State *L, int at, KvType kv, OpArg *arg, Err *err)
{
    bool is_view = lua_istable(L, at);
    const Tensor *t = is_view ? field_tensor(L, at, "tensor") : luaL_testudata(L, at, TENSOR_TYPE) ? check_tensor(L, at) : NULL;
    if (!t)
        return fail(err, E_SHAPE, "expected a tensor, found a %s", luaL_typename(L, at));
    arg->type = buffer_type(t, arg->spec->types, kv);
    if (arg->type == OP_TYPES || !(arg->spec->types >> arg->type & 1))
        return fail_type(err, arg->spec->types & 1u << OP_KV ? "the cache's type" : "F32 activations or the signature's type", t);
    return is_view ? get_view(L, at, t, arg, err) : get_shape(arg->spec, t, "data", arg, err);
}

/* The argument whose value is on top of the stack; what it needs stays on the stack. */
static bool get_arg(lua_State *L, OpBox *box, int i, Err *err)
{
    OpArg *arg = &box->call.args[i];
    const OpArgSpec *spec = &box->signature.args[i];
    int at = lua_gettop(L);
    luaL_checkstack(L, 20, "too many arguments");
    if (lua_isnil(L, at))
        return true;
    arg->spec = spec;
    if (spec->direction == OP_WEIGHT || spec->direction == OP_WEIGHTS)
        return get_weights(L, at, arg, err);
    bool ok = lua_istable(L, at) && has_field(L, at, "codes") ? get_nvfp4(L, at, arg, err)
                                                              : get_buffer(L, at, box->call.kv, arg, err);
    if (ok && arg->ld == 0)
        arg->ld = op_row_size(arg);
    return ok;
}

static bool get_args(lua_State *L, int at, OpBox *box, Err *err)
{
    lua_getfield(L, at, "args");
    luaL_checktype(L, -1, LUA_TTABLE);
    int args = lua_gettop(L);
    for (int i = 0; i < box->signature.args_n; i++) {
        lua_getfield(L, args, box->signature.args[i].name);
        if (!get_arg(L, box, i, err))
            return err_in(err, "%s: argument %s", box->signature.family, box->signature.args[i].name);
    }
    lua_pushnil(L);
    while (lua_next(L, args)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        bool is_known = false;
        for (int i = 0; i < box->signature.args_n; i++)
            is_known = is_known || strcmp(box->signature.args[i].name, name) == 0;
        if (!is_known)
            return fail(err, E_USAGE, "%s has no argument \"%s\"", box->signature.family, name);
        lua_pop(L, 1);
    }
    return true;
}

/* The spec's name, args and the numbers it lists, their values from the call's table. */
static bool get_signature(lua_State *L, int spec, int at, OpBox *box, Err *err)
{
    if (!bind_signature(L, spec, &box->signature, err))
        return false;
    lua_getfield(L, at, "numbers");
    if (lua_getfield(L, spec, "numbers") == LUA_TNIL) {
        lua_pop(L, 2);
        return true;
    }
    box->call.numbers_n = (int)luaL_len(L, -1);
    luaL_argcheck(L, box->call.numbers_n <= OP_NUMBERS_MAX, 1, "too many numbers in the signature");
    for (int i = 0; i < box->call.numbers_n; i++) {
        lua_geti(L, -1, i + 1);
        const char *name = luaL_checkstring(L, -1);
        luaL_argcheck(L, strlen(name) < OP_NAME_MAX, 1, "too long a number's name in the signature");
        strcpy(box->number_name[i], name);
        if (!lua_istable(L, -3) || lua_getfield(L, -3, name) == LUA_TNIL)
            return fail(err, E_MISSING, "%s: number \"%s\" is absent", box->signature.family, name);
        box->number[i] = luaL_checknumber(L, -1);
        lua_pop(L, 2);
    }
    lua_pop(L, 2);
    return true;
}

/* Field `key` of the table at `at` as n ints; counting from 0 (missing) when absent. */
static const int *get_ints(lua_State *L, int at, const char *key, int n, bool counts)
{
    int *out = scratch(L, (size_t)n * sizeof *out);
    bool has = lua_istable(L, at) && lua_getfield(L, at, key) != LUA_TNIL;
    if (has && luaL_len(L, -1) != n)
        luaL_error(L, "step.%s: expected %d values, found %d", key, n, (int)luaL_len(L, -1));
    for (int i = 0; i < n; i++) {
        out[i] = counts ? i : 0;
        if (has) {
            lua_geti(L, -1, i + 1);
            out[i] = (int)luaL_checkinteger(L, -1);
            lua_pop(L, 1);
        }
    }
    if (lua_istable(L, at))
        lua_pop(L, 1);
    return out;
}

static int count_ints(lua_State *L, int at, const char *key, int missing)
{
    int n = missing;
    if (lua_istable(L, at)) {
        if (lua_getfield(L, at, key) != LUA_TNIL)
            n = (int)luaL_len(L, -1);
        lua_pop(L, 1);
    }
    return n;
}

static void get_step(lua_State *L, int at, OpBox *box)
{
    lua_getfield(L, at, "step");
    int step = lua_gettop(L), rows = (int)box->call.args[0].extent[0];
    if (lua_istable(L, step))
        rows = (int)field_number(L, step, "rows", rows);
    luaL_argcheck(L, rows >= 0, 2, "step.rows is negative");
    int seqs = count_ints(L, step, "seq_start", 2) - 1;
    luaL_argcheck(L, seqs >= 0, 2, "step.seq_start is empty");
    int outs = count_ints(L, step, "out_row", 0);
    box->step = (Step){.rows = rows, .seqs = seqs, .outs = outs};
    if (count_ints(L, step, "seq_start", 0) == 0) {
        int *start = scratch(L, 2 * sizeof *start);
        start[1] = rows;
        box->step.seq_start = start;
    } else {
        box->step.seq_start = get_ints(L, step, "seq_start", seqs + 1, true);
    }
    box->step.slot = get_ints(L, step, "slot", seqs, true);
    box->step.pos = get_ints(L, step, "pos", rows, true);
    box->step.back = get_ints(L, step, "back", seqs, false);
    box->step.out_row = get_ints(L, step, "out_row", outs, true);
    box->call.step = &box->step;
}

static int get_option(lua_State *L, int at, const char *key, const char *const *names)
{
    lua_getfield(L, at, key);
    int i = luaL_checkoption(L, lua_gettop(L), names[0], names);
    lua_pop(L, 1);
    return i;
}

/* A zeroed f32 tensor for every float output and state, into the call's table `magnitudes`, which keeps them. */
static bool add_magnitudes(lua_State *L, int at, OpBox *box, Err *err)
{
    if (lua_getfield(L, at, "magnitudes") == LUA_TNIL)
        return true;
    luaL_checktype(L, -1, LUA_TTABLE);
    for (int i = 0; i < box->signature.args_n; i++) {
        OpArg *arg = &box->call.args[i];
        bool is_float = arg->type == OP_ACT || arg->type == OP_F32 || arg->type == OP_KV;
        if (!arg->spec || arg->weight || arg->spec->direction == OP_IN || !is_float)
            continue;
        Tensor *t = tensor_new(DTYPE_F32, arg->spec->rank, arg->extent, err);
        if (!t)
            return err_in(err, "%s: magnitudes of %s", box->signature.family, arg->spec->name);
        bind_push_tensor(L, t);
        lua_setfield(L, -2, arg->spec->name);
        arg->magnitude = t->data;
    }
    return true;
}

const OpCall *bind_op_call(lua_State *L, Err *err)
{
    static const char *const rounds[] = {"f32", "bf16", NULL}, *const kvs[] = {"f32", "bf16", "fp8", NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    OpBox *box = scratch(L, sizeof *box);
    box->call.signature = &box->signature;
    box->call.number_name = (const char (*)[OP_NAME_MAX])box->number_name;
    box->call.number = box->number;
    box->call.round = (RoundTo)get_option(L, 2, "round", rounds);
    box->call.kv = (KvType)get_option(L, 2, "kv", kvs);
    if (!get_signature(L, 1, 2, box, err) || !get_args(L, 2, box, err))
        return NULL;
    get_step(L, 2, box);
    if (!add_magnitudes(L, 2, box, err))
        return NULL;
    return op_check(&box->call, err) ? &box->call : NULL;
}

static int op_lrun(lua_State *L)
{
    Err err;
    lua_settop(L, 2);
    const OpCall *call = bind_op_call(L, &err);
    if (!call)
        return bind_fail(L, &err);
    OpRef ref = bind_find_ref(call->signature->family);
    if (!ref)
        fail(&err, E_UNSUPPORTED, "there is no family \"%s\"", call->signature->family);
    if (!ref || !ref(call, &err))
        return bind_fail(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

/* nb.op.families() → names, in the order of kernels/families.def */
static int op_lfamilies(lua_State *L)
{
    lua_newtable(L);
    for (int i = 0; op_families[i].name; i++) {
        lua_pushstring(L, op_families[i].name);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

void bind_op(lua_State *L)
{
    static const luaL_Reg functions[] = {{"run", op_lrun}, {"families", op_lfamilies}, {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "op");
}
