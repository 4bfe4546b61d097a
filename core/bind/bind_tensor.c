/* nibble.tensor: host tensors. t:get(i) and t:set(i, v) count elements from 0 in row-major order; shapes are Lua lists. */
#include <stdlib.h>
#include <string.h>

#include "core/bind/bind.h"

#define TENSOR_TYPE "nibble.Tensor"

typedef struct TensorBox {
    Tensor *t; /* NULL once closed */
} TensorBox;

void bind_push_tensor(lua_State *L, Tensor *t)
{
    /* The box is made by a protected caller (nibble_main runs scripts in pcall); an out-of-memory here would leak t only. */
    TensorBox *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->t = t;
    luaL_setmetatable(L, TENSOR_TYPE);
}

Tensor *check_tensor(lua_State *L, int arg)
{
    TensorBox *box = luaL_checkudata(L, arg, TENSOR_TYPE);
    luaL_argcheck(L, box->t, arg, "tensor is closed");
    return box->t;
}

static size_t check_index(lua_State *L, const Tensor *t, int arg)
{
    lua_Integer i = luaL_checkinteger(L, arg);
    luaL_argcheck(L, i >= 0 && (lua_Unsigned)i < tensor_count(t), arg, "index outside the tensor");
    return (size_t)i;
}

/* The list at arg into shape; returns its length. */
static int check_shape(lua_State *L, int arg, size_t shape[TENSOR_RANK_MAX])
{
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_Integer rank = luaL_len(L, arg);
    luaL_argcheck(L, rank <= TENSOR_RANK_MAX, arg, "too many dimensions");
    for (int i = 0; i < (int)rank; i++) {
        lua_geti(L, arg, i + 1);
        lua_Integer n = luaL_checkinteger(L, -1);
        luaL_argcheck(L, n >= 0, arg, "negative extent");
        shape[i] = (size_t)n;
        lua_pop(L, 1);
    }
    return (int)rank;
}

/* nb.tensor(dtype, {shape…} [, {values…}]) */
static int tensor_create(lua_State *L)
{
    DType dtype = dtype_from_name(luaL_checkstring(L, 1));
    luaL_argcheck(L, dtype != DTYPE_NONE, 1, "unknown type");
    size_t shape[TENSOR_RANK_MAX] = {0};
    lua_settop(L, 3); /* an absent third argument must not be what is pushed next */
    int rank = check_shape(L, 2, shape);
    Err err;
    Tensor *t = tensor_new(dtype, rank, shape, &err);
    if (!t)
        return bind_fail(L, &err);
    bind_push_tensor(L, t);
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        luaL_argcheck(L, (size_t)luaL_len(L, 3) == tensor_count(t), 3, "as many values as the shape says");
        for (size_t i = 0; i < tensor_count(t); i++) {
            lua_geti(L, 3, (lua_Integer)i + 1);
            tensor_set(t, i, luaL_checknumber(L, -1));
            lua_pop(L, 1);
        }
    }
    return 1;
}

static int tensor_lget(lua_State *L)
{
    const Tensor *t = check_tensor(L, 1);
    lua_pushnumber(L, tensor_get(t, check_index(L, t, 2)));
    return 1;
}

static int tensor_lset(lua_State *L)
{
    Tensor *t = check_tensor(L, 1);
    tensor_set(t, check_index(L, t, 2), luaL_checknumber(L, 3));
    return 0;
}

static int tensor_lshape(lua_State *L)
{
    const Tensor *t = check_tensor(L, 1);
    lua_createtable(L, t->rank, 0);
    for (int i = 0; i < t->rank; i++) {
        lua_pushinteger(L, (lua_Integer)t->shape[i]);
        lua_seti(L, -2, i + 1);
    }
    return 1;
}

static int tensor_ldtype(lua_State *L)
{
    lua_pushstring(L, dtype_name(check_tensor(L, 1)->dtype));
    return 1;
}

/* t:list() as Lua numbers; integers for integer types. */
static int tensor_list(lua_State *L)
{
    const Tensor *t = check_tensor(L, 1);
    size_t n = tensor_count(t);
    bool is_int = t->dtype >= DTYPE_U8;
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        if (t->dtype == DTYPE_I64)
            lua_pushinteger(L, ((const int64_t *)t->data)[i]);
        else if (is_int)
            lua_pushinteger(L, (lua_Integer)tensor_get(t, i));
        else
            lua_pushnumber(L, tensor_get(t, i));
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* t:rows(first, n): copy of n rows of the first dimension, counted from 0. */
static int tensor_rows(lua_State *L)
{
    const Tensor *t = check_tensor(L, 1);
    luaL_argcheck(L, t->rank > 0, 1, "a scalar has no rows");
    lua_Integer first = luaL_checkinteger(L, 2), n = luaL_checkinteger(L, 3);
    luaL_argcheck(L, first >= 0 && n >= 0 && (size_t)(first + n) <= t->shape[0], 3, "rows outside the tensor");
    size_t shape[TENSOR_RANK_MAX];
    memcpy(shape, t->shape, sizeof shape);
    size_t row = t->shape[0] ? tensor_bytes(t) / t->shape[0] : 0;
    shape[0] = (size_t)n;
    Err err;
    Tensor *part = tensor_new(t->dtype, t->rank, shape, &err);
    if (!part)
        return bind_fail(L, &err);
    memcpy(part->data, (const char *)t->data + (size_t)first * row, (size_t)n * row);
    bind_push_tensor(L, part);
    return 1;
}

/* t:reshape{shape…}: copy of the same elements under another shape. */
static int tensor_reshape(lua_State *L)
{
    const Tensor *t = check_tensor(L, 1);
    size_t shape[TENSOR_RANK_MAX], count = 1;
    int rank = check_shape(L, 2, shape);
    for (int i = 0; i < rank; i++)
        count *= shape[i];
    luaL_argcheck(L, count == tensor_count(t), 2, "as many elements as before");
    Err err;
    Tensor *same = tensor_new(t->dtype, rank, shape, &err);
    if (!same)
        return bind_fail(L, &err);
    memcpy(same->data, t->data, tensor_bytes(t));
    bind_push_tensor(L, same);
    return 1;
}

/* nb.concat{tensors…}: joins along the first dimension. */
static int tensor_concat(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    int n = (int)luaL_len(L, 1);
    luaL_argcheck(L, n > 0, 1, "at least one tensor");
    size_t shape[TENSOR_RANK_MAX], rows = 0;
    lua_geti(L, 1, 1);
    const Tensor *first = check_tensor(L, -1); /* tensors stay alive in the table */
    for (int i = 1; i <= n; i++) {
        lua_geti(L, 1, i);
        const Tensor *t = check_tensor(L, -1);
        luaL_argcheck(L, t->rank > 0 && t->rank == first->rank && t->dtype == first->dtype &&
                         memcmp(t->shape + 1, first->shape + 1, (size_t)(t->rank - 1) * sizeof *t->shape) == 0,
                      1, "tensors of one type and row shape");
        rows += t->shape[0];
        lua_pop(L, 1);
    }
    memcpy(shape, first->shape, sizeof shape);
    shape[0] = rows;
    Err err;
    Tensor *all = tensor_new(first->dtype, first->rank, shape, &err);
    if (!all)
        return bind_fail(L, &err);
    bind_push_tensor(L, all);
    char *to = all->data;
    for (int i = 1; i <= n; i++) {
        lua_geti(L, 1, i);
        const Tensor *t = check_tensor(L, -1);
        memcpy(to, t->data, tensor_bytes(t));
        to += tensor_bytes(t);
        lua_pop(L, 1);
    }
    return 1;
}

static int tensor_raw(lua_State *L)
{
    const Tensor *t = check_tensor(L, 1);
    lua_pushlstring(L, t->data, tensor_bytes(t));
    return 1;
}

static int tensor_close(lua_State *L)
{
    TensorBox *box = luaL_checkudata(L, 1, TENSOR_TYPE);
    tensor_free(box->t);
    box->t = NULL;
    return 0;
}

static int tensor_tostring(lua_State *L)
{
    TensorBox *box = luaL_checkudata(L, 1, TENSOR_TYPE);
    char text[160];
    lua_pushfstring(L, "tensor %s", box->t ? tensor_describe(box->t, text, sizeof text) : "(closed)");
    return 1;
}

static int tensor_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tensor_count(check_tensor(L, 1)));
    return 1;
}

void bind_tensor(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"get", tensor_lget},   {"set", tensor_lset},   {"shape", tensor_lshape}, {"dtype", tensor_ldtype},
        {"list", tensor_list},  {"rows", tensor_rows},  {"raw", tensor_raw},      {"reshape", tensor_reshape},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", tensor_close}, {"__close", tensor_close}, {"__tostring", tensor_tostring}, {"__len", tensor_len}, {NULL, NULL},
    };
    bind_type(L, TENSOR_TYPE, methods, meta);
    lua_pushcfunction(L, tensor_create);
    lua_setfield(L, -2, "tensor");
    lua_pushcfunction(L, tensor_concat);
    lua_setfield(L, -2, "concat");
}
