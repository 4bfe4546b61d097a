/* nibble.plan and nibble.weights. A plan keeps the weights it uses alive, weights keep their checkpoint alive.
 *   w = nb.weights(ckpt, {"layers.0.experts.0.gate", …})      #w · w:formats() · w:input_scales() → {S or false, …} · w:shape()
 *   p = nb.plan{ rows=, seqs=, outs=, slots=, versions=, max_len=, round="f32"|"bf16", kv="f32"|"bf16"|"fp8", device=d|nil,
 *               capacities={8,256}|nil }
 *   p:storage{ name=, type="act"|"f32"|"i32"|"nvfp4"|"kv", extents={"rows", 128}, state=true|nil, quantizers=w|nil }
 *   p:view(name, of, first, columns)
 *   p:op{ program=, spec={name=, args={rows}}, args={x="buffer", w=weights}, numbers={eps=}, taps={y="layer00/mixer"} } → op
 *   p:describe(op, capacity) → what scripts/lib/variant.lua needs · p:launch(op, capacity, spec, { stages={…}, scratch=bytes })
 *   both count from 0
 *   p:run_op(op, step) · p:poison(op, rows) · p:peek(op, rows) → { name = tensor | { codes =, scales =, input_scale =,
 *   is_divisor = } } of every buffer and state of the op, as nb.op.run takes them (core/model/plan.h)
 *   p:run(program, { seqs={ {slot=, pos=, n=, back=}, … }, outs={row, …} })                 rows count from 0
 *   p:write(buffer, tensor [, first]) · p:read(buffer, first, n) · p:state(name, slot) · p:select{globs} · p:taps()
 *   p:tap(name) · p:bytes() */
#include <stdlib.h>
#include <string.h>

#include "core/bind/bind.h"
#include "core/file/checkpoint.h"
#include "core/model/plan.h"

#define PLAN_TYPE "nibble.Plan"
#define WEIGHTS_TYPE "nibble.Weights"

typedef struct PlanBox {
    Plan *plan;
    int kept; /* objects kept alive in the user value */
} PlanBox;

typedef struct WeightsBox {
    size_t n;
    Weight weight[];
} WeightsBox;

static PlanBox *check_box(lua_State *L, int arg)
{
    PlanBox *box = luaL_checkudata(L, arg, PLAN_TYPE);
    luaL_argcheck(L, box->plan, arg, "plan is closed");
    return box;
}

static Plan *check_plan(lua_State *L, int arg)
{
    return check_box(L, arg)->plan;
}

static int done(lua_State *L, bool is_ok, const Err *err)
{
    if (!is_ok)
        return bind_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}

const Weight *bind_test_weights(lua_State *L, int at, size_t *n)
{
    const WeightsBox *box = luaL_testudata(L, at, WEIGHTS_TYPE);
    *n = box ? box->n : 0;
    return box ? box->weight : NULL;
}

static int weights_create(lua_State *L)
{
    const Checkpoint *c = check_checkpoint(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    size_t n = (size_t)luaL_len(L, 2);
    luaL_argcheck(L, n > 0, 2, "at least one name");
    WeightsBox *box = lua_newuserdatauv(L, sizeof *box + n * sizeof *box->weight, 1);
    box->n = n;
    luaL_setmetatable(L, WEIGHTS_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    for (size_t i = 0; i < n; i++) {
        Err err;
        lua_geti(L, 2, (lua_Integer)i + 1);
        if (!checkpoint_weight(c, luaL_checkstring(L, -1), &box->weight[i], &err))
            return bind_fail(L, &err);
        lua_pop(L, 1);
    }
    return 1;
}

static int weights_len(lua_State *L)
{
    const WeightsBox *box = luaL_checkudata(L, 1, WEIGHTS_TYPE);
    lua_pushinteger(L, (lua_Integer)box->n);
    return 1;
}

static int weights_formats(lua_State *L)
{
    const WeightsBox *box = luaL_checkudata(L, 1, WEIGHTS_TYPE);
    lua_createtable(L, (int)box->n, 0);
    for (size_t i = 0; i < box->n; i++) {
        lua_pushstring(L, weight_format_name(&box->weight[i]));
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* Inverse input scales S (what a value is multiplied by before rounding); false where the file has none. */
static int weights_input_scales(lua_State *L)
{
    const WeightsBox *box = luaL_checkudata(L, 1, WEIGHTS_TYPE);
    lua_createtable(L, (int)box->n, 0);
    for (size_t i = 0; i < box->n; i++) {
        if (box->weight[i].has_input_scale)
            lua_pushnumber(L, (double)weight_input_inverse(&box->weight[i]));
        else
            lua_pushboolean(L, 0);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int weights_shape(lua_State *L)
{
    const WeightsBox *box = luaL_checkudata(L, 1, WEIGHTS_TYPE);
    lua_pushinteger(L, (lua_Integer)box->weight[0].n);
    lua_pushinteger(L, (lua_Integer)box->weight[0].k);
    return 2;
}

static int weights_tostring(lua_State *L)
{
    const WeightsBox *box = luaL_checkudata(L, 1, WEIGHTS_TYPE);
    lua_pushfstring(L, "weights %d × %s [%d,%d]", (int)box->n, weight_format_name(&box->weight[0]), (int)box->weight[0].n,
                    (int)box->weight[0].k);
    return 1;
}

static int field_int(lua_State *L, int t, const char *name, int fallback)
{
    lua_getfield(L, t, name);
    lua_Integer v = lua_isnil(L, -1) ? fallback : luaL_checkinteger(L, -1);
    luaL_argcheck(L, v >= INT32_MIN && v <= INT32_MAX, t, name);
    lua_pop(L, 1);
    return (int)v;
}

static const char *field_string(lua_State *L, int t, const char *name)
{
    if (lua_getfield(L, t, name) != LUA_TSTRING)
        luaL_error(L, "expected a string in field \"%s\"", name);
    return lua_tostring(L, -1); /* stays on the stack */
}

/* Position of a field's string in a list of choices. */
static int field_choice(lua_State *L, int t, const char *name, const char *const *choices)
{
    const char *word = field_string(L, t, name);
    for (int i = 0; choices[i]; i++)
        if (strcmp(word, choices[i]) == 0)
            return i;
    return luaL_error(L, "field \"%s\": \"%s\" is not a choice", name, word);
}

static int plan_create(lua_State *L)
{
    static const char *const rounds[] = {"f32", "bf16", NULL}, *const kvs[] = {"f32", "bf16", "fp8", NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    PlanDesc desc = {
        .rows = field_int(L, 1, "rows", 1),   .seqs = field_int(L, 1, "seqs", 1),
        .outs = field_int(L, 1, "outs", 1),   .slots = field_int(L, 1, "slots", 1),
        .versions = field_int(L, 1, "versions", 1), .max_len = field_int(L, 1, "max_len", 1),
        .round = (RoundTo)field_choice(L, 1, "round", rounds), .kv = (KvType)field_choice(L, 1, "kv", kvs),
    };
    if (lua_getfield(L, 1, "capacities") != LUA_TNIL) {
        desc.capacities_n = (int)luaL_len(L, -1);
        luaL_argcheck(L, desc.capacities_n <= PLAN_CAPACITIES_MAX, 1, "too many capacities");
        for (int i = 0; i < desc.capacities_n; i++) {
            lua_geti(L, -1, i + 1);
            desc.capacities[i] = (int)luaL_checkinteger(L, -1);
            luaL_argcheck(L, desc.capacities[i] > (i ? desc.capacities[i - 1] : 0), 1, "capacities must ascend");
            lua_pop(L, 1);
        }
        luaL_argcheck(L, desc.capacities_n == 0 || desc.capacities[desc.capacities_n - 1] == desc.rows, 1,
                      "the last capacity must be rows");
    }
    PlanBox *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (PlanBox){0};
    luaL_setmetatable(L, PLAN_TYPE);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    Device *device = NULL;
    if (lua_getfield(L, 1, "device") != LUA_TNIL) {
        device = check_device(L, lua_gettop(L));
        lua_getiuservalue(L, -2, 1); /* the device outlives the plan */
        lua_pushvalue(L, -2);
        lua_rawseti(L, -2, ++box->kept);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    Err err;
    box->plan = plan_new(&desc, device, &err);
    return box->plan ? 1 : bind_fail(L, &err);
}

static long check_extent(lua_State *L, int i)
{
    static const char *const names[] = {"rows", "outs", "slots", "versions", "max_len"};
    if (lua_type(L, i) == LUA_TSTRING) {
        for (int k = 0; k < 5; k++)
            if (strcmp(lua_tostring(L, i), names[k]) == 0)
                return -(k + 1);
        luaL_error(L, "unknown extent \"%s\"", lua_tostring(L, i));
    }
    lua_Integer n = luaL_checkinteger(L, i);
    if (n < 1)
        luaL_error(L, "an extent must be at least 1");
    return (long)n;
}

/* Keeps the object on top of the stack alive as long as the plan at index 1. */
static void keep(lua_State *L, PlanBox *box)
{
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, ++box->kept);
    lua_pop(L, 1);
}

static int plan_lstorage(lua_State *L)
{
    static const char *const types[] = {"act", "nvfp4", "kv", "f32", "i32", "u8", NULL};
    PlanBox *box = check_box(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    PlanStorage s = {.name = field_string(L, 2, "name"), .type = (OpType)field_choice(L, 2, "type", types)};
    lua_getfield(L, 2, "extents");
    luaL_checktype(L, -1, LUA_TTABLE);
    s.rank = (int)luaL_len(L, -1);
    luaL_argcheck(L, s.rank >= 1 && s.rank <= OP_RANK_MAX, 2, "number of extents");
    for (int d = 0; d < s.rank; d++) {
        lua_geti(L, -1, d + 1);
        s.extent[d] = check_extent(L, -1);
        lua_pop(L, 1);
    }
    lua_getfield(L, 2, "state");
    s.is_state = lua_toboolean(L, -1);
    if (lua_getfield(L, 2, "quantizers") != LUA_TNIL) {
        const WeightsBox *w = luaL_checkudata(L, -1, WEIGHTS_TYPE);
        s.quantizer = w->weight;
        s.quantizer_n = w->n;
        keep(L, box);
    }
    int id;
    Err err;
    return done(L, plan_storage(box->plan, &s, &id, &err), &err);
}

static int plan_lview(lua_State *L)
{
    int id;
    Err err;
    return done(L, plan_view(check_plan(L, 1), luaL_checkstring(L, 2), luaL_checkstring(L, 3), (size_t)luaL_checkinteger(L, 4),
                             (size_t)luaL_checkinteger(L, 5), &id, &err), &err);
}

/* Reads the table of arguments on top of the stack into args; returns their number. Strings stay alive in the table. */
static int read_args(lua_State *L, PlanBox *box, int taps, PlanArg args[OP_ARGS_MAX])
{
    int n = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (n == OP_ARGS_MAX)
            return luaL_error(L, "an op has at most %d arguments", OP_ARGS_MAX);
        PlanArg *a = &args[n++];
        *a = (PlanArg){.name = luaL_checkstring(L, -2), .buffer = -1};
        const WeightsBox *w = luaL_testudata(L, -1, WEIGHTS_TYPE);
        if (w) {
            a->weight = w->weight;
            a->weight_n = w->n;
            keep(L, box);
        } else {
            const char *name = luaL_checkstring(L, -1);
            a->buffer = plan_find(box->plan, name);
            if (a->buffer < 0)
                return luaL_error(L, "the plan has no buffer \"%s\"", name);
        }
        if (!lua_isnil(L, taps) && lua_getfield(L, taps, a->name) != LUA_TNIL)
            a->tap = luaL_checkstring(L, -1);
        if (!lua_isnil(L, taps))
            lua_pop(L, 1);
    }
    return n;
}

static int plan_lop(lua_State *L)
{
    PlanBox *box = check_box(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    OpSignature signature;
    Err err;
    PlanOp op = {.program = field_string(L, 2, "program"), .signature = &signature};
    lua_getfield(L, 2, "spec");
    if (!bind_signature(L, -1, &signature, &err))
        return bind_fail(L, &err);
    op.ref = bind_find_ref(signature.family);
    if (!op.ref)
        return luaL_error(L, "family \"%s\" is not in families.def", signature.family);
    lua_getfield(L, 2, "taps");
    int taps = lua_gettop(L);
    char names[OP_NUMBERS_MAX][OP_NAME_MAX];
    double numbers[OP_NUMBERS_MAX];
    if (lua_getfield(L, 2, "numbers") != LUA_TNIL)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            const char *name = luaL_checkstring(L, -2);
            if (op.numbers_n == OP_NUMBERS_MAX || strlen(name) >= OP_NAME_MAX)
                return luaL_error(L, "an op has at most %d numbers with short names", OP_NUMBERS_MAX);
            strcpy(names[op.numbers_n], name);
            numbers[op.numbers_n++] = luaL_checknumber(L, -1);
        }
    op.number_name = (const char (*)[OP_NAME_MAX])names;
    op.number = numbers;
    PlanArg args[OP_ARGS_MAX];
    lua_getfield(L, 2, "args");
    luaL_checktype(L, -1, LUA_TTABLE);
    op.args = args;
    op.args_n = read_args(L, box, taps, args);
    int id;
    if (!plan_op(box->plan, &op, &id, &err))
        return bind_fail(L, &err);
    lua_pushinteger(L, id);
    return 1;
}

static void set_int(lua_State *L, const char *name, int value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static int check_capacity(lua_State *L, const Plan *p, int arg)
{
    lua_Integer c = luaL_checkinteger(L, arg);
    luaL_argcheck(L, c >= 0 && c < plan_desc(p)->capacities_n, arg, "the plan has no such capacity");
    return (int)c;
}

static int plan_ldescribe(lua_State *L)
{
    const Plan *p = check_plan(L, 1);
    const PlanDesc *d = plan_desc(p);
    int rows = d->capacities[check_capacity(L, p, 3)];
    bind_push_description(L, plan_call(p, (int)luaL_checkinteger(L, 2)));
    set_int(L, "rows", rows);
    set_int(L, "seqs", d->seqs < rows ? d->seqs : rows);
    set_int(L, "outs", d->outs < rows ? d->outs : rows);
    set_int(L, "slots", d->slots);
    set_int(L, "versions", d->versions);
    set_int(L, "max_len", d->max_len);
    return 1;
}

static int plan_llaunch(lua_State *L)
{
    PlanBox *box = check_box(L, 1);
    PlanLaunch launch = {.op = (int)luaL_checkinteger(L, 2), .capacity = check_capacity(L, box->plan, 3)};
    LaunchStage stages[8];
    char names[OP_NUMBERS_MAX][OP_NAME_MAX];
    luaL_checktype(L, 5, LUA_TTABLE);
    if (lua_getfield(L, 4, "numbers") != LUA_TNIL) {
        launch.numbers_n = (int)luaL_len(L, -1);
        luaL_argcheck(L, launch.numbers_n <= OP_NUMBERS_MAX, 4, "too many numbers");
        for (int i = 0; i < launch.numbers_n; i++) {
            lua_geti(L, -1, i + 1);
            luaL_argcheck(L, strlen(luaL_checkstring(L, -1)) < OP_NAME_MAX, 4, "too long a number's name");
            strcpy(names[i], lua_tostring(L, -1));
            lua_pop(L, 1);
        }
    }
    lua_getfield(L, 5, "stages");
    int at = lua_gettop(L), n = (int)luaL_len(L, -1);
    luaL_argcheck(L, n >= 1 && n <= 8, 5, "1 to 8 stages");
    for (int i = 0; i < n; i++) {
        lua_geti(L, at, i + 1);
        bind_get_stage(L, lua_gettop(L), &stages[i]);
        lua_getfield(L, -1, "module");
        keep(L, box);
        lua_pop(L, 2);
    }
    launch.stages = stages;
    launch.stages_n = n;
    launch.scratch = (size_t)field_int(L, 5, "scratch", 0);
    launch.number_order = (const char (*)[OP_NAME_MAX])names;
    Err err;
    return done(L, plan_launch(box->plan, &launch, &err), &err);
}

/* The live part of a step from { seqs = {…}, outs = {…} }; arrays come from one userdata that stays on the stack. */
static Step read_step(lua_State *L, int t)
{
    luaL_checktype(L, t, LUA_TTABLE);
    lua_getfield(L, t, "seqs");
    luaL_checktype(L, -1, LUA_TTABLE);
    int seqs_at = lua_gettop(L), seqs = (int)luaL_len(L, -1), rows = 0;
    for (int s = 0; s < seqs; s++) {
        lua_geti(L, seqs_at, s + 1);
        luaL_checktype(L, -1, LUA_TTABLE);
        int n = field_int(L, lua_gettop(L), "n", 1);
        luaL_argcheck(L, n >= 1 && n <= 1 << 24 && rows <= 1 << 28, t, "rows of a sequence");
        rows += n;
        lua_pop(L, 1);
    }
    lua_getfield(L, t, "outs");
    int outs_at = lua_gettop(L), outs = lua_isnil(L, -1) ? 0 : (int)luaL_len(L, -1);
    int *room = lua_newuserdatauv(L, sizeof(int) * (size_t)(3 * seqs + 1 + rows + outs), 0);
    int *seq_start = room, *slot = seq_start + seqs + 1, *back = slot + seqs, *pos = back + seqs, *out_row = pos + rows;
    for (int s = 0, row = 0; s < seqs; s++) {
        lua_geti(L, seqs_at, s + 1);
        int at = lua_gettop(L), n = field_int(L, at, "n", 1), first = field_int(L, at, "pos", 0);
        seq_start[s] = row;
        slot[s] = field_int(L, at, "slot", 0);
        back[s] = field_int(L, at, "back", 0);
        for (int i = 0; i < n; i++)
            pos[row++] = first + i;
        lua_pop(L, 1);
    }
    seq_start[seqs] = rows;
    for (int o = 0; o < outs; o++) {
        lua_geti(L, outs_at, o + 1);
        out_row[o] = (int)luaL_checkinteger(L, -1);
        lua_pop(L, 1);
    }
    return (Step){.rows = rows, .seqs = seqs, .outs = outs, .seq_start = seq_start, .slot = slot, .pos = pos, .back = back,
                  .out_row = out_row};
}

static int plan_lrun(lua_State *L)
{
    Plan *p = check_plan(L, 1);
    const char *program = luaL_checkstring(L, 2);
    Step step = read_step(L, 3);
    Err err;
    return done(L, plan_run(p, program, &step, &err), &err);
}

static int check_op(lua_State *L, const Plan *p, int arg)
{
    lua_Integer op = luaL_checkinteger(L, arg);
    luaL_argcheck(L, op >= 0 && op < plan_ops(p), arg, "the plan has no such op");
    return (int)op;
}

static int plan_lrun_op(lua_State *L)
{
    Plan *p = check_plan(L, 1);
    int op = check_op(L, p, 2);
    Step step = read_step(L, 3);
    Err err;
    return done(L, plan_run_op(p, op, &step, &err), &err);
}

static int check_live(lua_State *L, const Plan *p, int arg)
{
    lua_Integer rows = luaL_checkinteger(L, arg);
    luaL_argcheck(L, rows >= 1 && rows <= plan_desc(p)->rows, arg, "rows of a step");
    return (int)rows;
}

static int plan_lpoison(lua_State *L)
{
    Plan *p = check_plan(L, 1);
    Err err;
    return done(L, plan_poison(p, check_op(L, p, 2), check_live(L, p, 3), &err), &err);
}

/* Turns the tensor on top of the stack, the codes, into the table of an nvfp4 argument. */
static void wrap_nvfp4(lua_State *L, const OpArg *arg, Tensor *scales)
{
    lua_createtable(L, 0, 4);
    lua_insert(L, -2);
    lua_setfield(L, -2, "codes");
    bind_push_tensor(L, scales);
    lua_setfield(L, -2, "scales");
    lua_pushboolean(L, arg->quantizer->is_divisor);
    lua_setfield(L, -2, "is_divisor");
    if (arg->quantizer_n == 1) {
        lua_pushnumber(L, (double)arg->quantizer->input_scale);
    } else {
        lua_createtable(L, (int)arg->quantizer_n, 0);
        for (size_t i = 0; i < arg->quantizer_n; i++) {
            lua_pushnumber(L, (double)arg->quantizer[i].input_scale);
            lua_seti(L, -2, (lua_Integer)i + 1);
        }
    }
    lua_setfield(L, -2, "input_scale");
}

static int plan_lpeek(lua_State *L)
{
    Plan *p = check_plan(L, 1);
    int op = check_op(L, p, 2), rows = check_live(L, p, 3);
    const OpCall *call = plan_call(p, op);
    lua_newtable(L);
    for (int i = 0; i < call->signature->args_n; i++) {
        const OpArg *arg = &call->args[i];
        Tensor *data, *scales;
        Err err;
        if (!arg->spec || arg->weight)
            continue;
        if (!plan_peek(p, op, i, rows, &data, &scales, &err))
            return bind_fail(L, &err);
        bind_push_tensor(L, data);
        if (scales)
            wrap_nvfp4(L, arg, scales);
        lua_setfield(L, -2, arg->spec->name);
    }
    return 1;
}

static int check_buffer(lua_State *L, const Plan *p, int arg)
{
    int id = plan_find(p, luaL_checkstring(L, arg));
    luaL_argcheck(L, id >= 0, arg, "the plan has no such buffer");
    return id;
}

/* p:write(buffer, tensor F32 or I32 | list of numbers [, first row]) */
static int plan_lwrite(lua_State *L)
{
    Plan *p = check_plan(L, 1);
    int id = check_buffer(L, p, 2);
    size_t first = (size_t)luaL_optinteger(L, 4, 0), row = plan_row(p, id);
    DType want = plan_type(p, id) == OP_I32 ? DTYPE_I32 : DTYPE_F32;
    Err err;
    if (lua_istable(L, 3)) {
        size_t n = (size_t)luaL_len(L, 3);
        Tensor *t = tensor_new(want, 1, &n, &err);
        if (!t)
            return bind_fail(L, &err);
        bind_push_tensor(L, t);
        for (size_t i = 0; i < n; i++) {
            lua_geti(L, 3, (lua_Integer)i + 1);
            tensor_set(t, i, luaL_checknumber(L, -1));
            lua_pop(L, 1);
        }
        lua_replace(L, 3);
    }
    const Tensor *t = check_tensor(L, 3);
    luaL_argcheck(L, t->dtype == want && tensor_count(t) % row == 0, 3, "whole rows of the buffer's type");
    return done(L, plan_write(p, id, first, tensor_count(t) / row, t->data, &err), &err);
}

static int plan_lread(lua_State *L)
{
    Plan *p = check_plan(L, 1);
    int id = check_buffer(L, p, 2);
    size_t first = (size_t)luaL_checkinteger(L, 3), n = (size_t)luaL_checkinteger(L, 4);
    Err err;
    Tensor *t = tensor_new(plan_type(p, id) == OP_I32 ? DTYPE_I32 : DTYPE_F32, 2, (size_t[]){n, plan_row(p, id)}, &err);
    if (!t)
        return bind_fail(L, &err);
    bind_push_tensor(L, t);
    return plan_read(p, id, first, n, t->data, &err) ? 1 : bind_fail(L, &err);
}

static int plan_lstate(lua_State *L)
{
    Plan *p = check_plan(L, 1);
    Err err;
    Tensor *t = plan_read_state(p, check_buffer(L, p, 2), (size_t)luaL_checkinteger(L, 3), &err);
    if (!t)
        return bind_fail(L, &err);
    bind_push_tensor(L, t);
    return 1;
}

static int plan_lselect(lua_State *L)
{
    Plan *p = check_plan(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    int n = (int)luaL_len(L, 2);
    const char **globs = lua_newuserdatauv(L, sizeof *globs * (size_t)(n + 1), 0);
    for (int i = 0; i < n; i++) {
        lua_geti(L, 2, i + 1);
        globs[i] = luaL_checkstring(L, -1); /* alive in the table */
        lua_pop(L, 1);
    }
    Err err;
    return done(L, plan_select(p, globs, n, &err), &err);
}

/* p:taps() → {{name=, dtype=, shape={…}, selected=}, …} in graph order */
static int plan_ltaps(lua_State *L)
{
    const Plan *p = check_plan(L, 1);
    lua_createtable(L, plan_taps(p), 0);
    for (int i = 0; i < plan_taps(p); i++) {
        DType dtype;
        size_t extent[OP_RANK_MAX];
        int rank = plan_tap_shape(p, i, &dtype, extent);
        lua_createtable(L, 0, 4);
        lua_pushstring(L, plan_tap_name(p, i));
        lua_setfield(L, -2, "name");
        lua_pushstring(L, dtype_name(dtype));
        lua_setfield(L, -2, "dtype");
        lua_pushboolean(L, plan_tap_is_selected(p, i));
        lua_setfield(L, -2, "selected");
        lua_createtable(L, rank, 0);
        for (int d = 0; d < rank; d++) {
            lua_pushinteger(L, (lua_Integer)extent[d]);
            lua_seti(L, -2, d + 1);
        }
        lua_setfield(L, -2, "shape");
        lua_seti(L, -2, i + 1);
    }
    return 1;
}

/* p:tap(name) → copy of what the last run left | nil */
static int plan_ltap(lua_State *L)
{
    const Plan *p = check_plan(L, 1);
    const char *name = luaL_checkstring(L, 2);
    for (int i = 0; i < plan_taps(p); i++) {
        const Tensor *t = plan_tap(p, i);
        if (!t || strcmp(plan_tap_name(p, i), name) != 0)
            continue;
        Err err;
        Tensor *copy = tensor_new(t->dtype, t->rank, t->shape, &err);
        if (!copy)
            return bind_fail(L, &err);
        memcpy(copy->data, t->data, tensor_bytes(t));
        bind_push_tensor(L, copy);
        return 1;
    }
    return 0;
}

static int plan_lbytes(lua_State *L)
{
    size_t buffers, states, weights;
    plan_bytes(check_plan(L, 1), &buffers, &states, &weights);
    lua_pushinteger(L, (lua_Integer)buffers);
    lua_pushinteger(L, (lua_Integer)states);
    lua_pushinteger(L, (lua_Integer)weights);
    return 3;
}

static int plan_close(lua_State *L)
{
    PlanBox *box = luaL_checkudata(L, 1, PLAN_TYPE);
    plan_free(box->plan);
    box->plan = NULL;
    return 0;
}

static int plan_tostring(lua_State *L)
{
    const PlanBox *box = luaL_checkudata(L, 1, PLAN_TYPE);
    if (!box->plan)
        lua_pushliteral(L, "plan (closed)");
    else
        lua_pushfstring(L, "plan of %d rows, %d slots, %d taps", plan_desc(box->plan)->rows, plan_desc(box->plan)->slots,
                        plan_taps(box->plan));
    return 1;
}

void bind_plan(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"storage", plan_lstorage}, {"view", plan_lview}, {"op", plan_lop},         {"run", plan_lrun},
        {"run_op", plan_lrun_op},   {"poison", plan_lpoison}, {"peek", plan_lpeek},
        {"write", plan_lwrite},     {"read", plan_lread}, {"state", plan_lstate},   {"select", plan_lselect},
        {"taps", plan_ltaps},       {"tap", plan_ltap},   {"bytes", plan_lbytes},   {"close", plan_close},
        {"describe", plan_ldescribe}, {"launch", plan_llaunch},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", plan_close}, {"__close", plan_close}, {"__tostring", plan_tostring}, {NULL, NULL}};
    static const luaL_Reg weights_methods[] = {
        {"formats", weights_formats}, {"input_scales", weights_input_scales}, {"shape", weights_shape}, {NULL, NULL}};
    static const luaL_Reg weights_meta[] = {{"__len", weights_len}, {"__tostring", weights_tostring}, {NULL, NULL}};
    bind_type(L, PLAN_TYPE, methods, meta);
    bind_type(L, WEIGHTS_TYPE, weights_methods, weights_meta);
    lua_pushcfunction(L, plan_create);
    lua_setfield(L, -2, "plan");
    lua_pushcfunction(L, weights_create);
    lua_setfield(L, -2, "weights");
}
