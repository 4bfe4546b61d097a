/* nibble.accept and nibble.synth: judging what a kernel made, and making what it is tried on. What may fail returns
 * nil, message, code.
 *   nb.accept(got, want, magnitude|nil, { ulp=, sums=, store="bf16"|"f32"|"e4m3", scale=, rows= })
 *       → { n=, outside=, not_finite=, ratio=, at={coordinates from 0}, got=, want=, bound=, error_squares=,
 *         squares= }                                                                       core/tensor/accept.h
 *   nb.accept_nvfp4(x, s, codes, scales, delta) → { blocks=, outside=, codes_differ=, scales_differ=, at= }
 *       x F32, s its inverse input scale
 *   nb.clipping(x, s) → { n=, nonzero=, clipped=, underflowed=, zeroed=, amax= }        core/tensor/clipping.h
 *       x F32 [rows, k], s its inverse input scale
 *   nb.synth_normal(dtype, shape, seed [, scale [, outliers]]) → Tensor
 *   nb.synth_uniform(dtype, shape, seed, low, high) → Tensor */
#include <string.h>

#include "core/bind/bind.h"
#include "core/tensor/accept.h"
#include "core/tensor/clipping.h"
#include "core/tensor/synth.h"

static double number_field(lua_State *L, int t, const char *name, double missing)
{
    lua_getfield(L, t, name);
    double x = luaL_optnumber(L, -1, missing);
    lua_pop(L, 1);
    return x;
}

static void set_field(lua_State *L, const char *name, double x)
{
    lua_pushnumber(L, x);
    lua_setfield(L, -2, name);
}

static void set_count(lua_State *L, const char *name, size_t n)
{
    lua_pushinteger(L, (lua_Integer)n);
    lua_setfield(L, -2, name);
}

/* Coordinates of element i as field `at`. */
static void set_place(lua_State *L, const Tensor *t, size_t i)
{
    lua_createtable(L, t->rank, 0);
    for (int d = t->rank - 1; d >= 0; d--) {
        lua_pushinteger(L, (lua_Integer)(t->shape[d] ? i % t->shape[d] : 0));
        lua_rawseti(L, -2, d + 1);
        i /= t->shape[d] ? t->shape[d] : 1;
    }
    lua_setfield(L, -2, "at");
}

static int accept_lcompare(lua_State *L)
{
    static const char *const stores[] = {"bf16", "f32", "e4m3", NULL};
    const Tensor *got = check_tensor(L, 1), *want = check_tensor(L, 2);
    const Tensor *magnitude = lua_isnoneornil(L, 3) ? NULL : check_tensor(L, 3);
    luaL_checktype(L, 4, LUA_TTABLE);
    lua_getfield(L, 4, "store");
    AcceptRule rule = {.ulp = number_field(L, 4, "ulp", 0.5), .sums = number_field(L, 4, "sums", 0),
                       .store = (AcceptStore)luaL_checkoption(L, lua_gettop(L), "bf16", stores),
                       .scale = (float)number_field(L, 4, "scale", 1)};
    double rows = number_field(L, 4, "rows", 1e15);
    luaL_argcheck(L, rows >= 0, 4, "rows is negative");
    luaL_argcheck(L, rule.scale > 0, 4, "scale is not positive");
    Accept a;
    Err err;
    if (!accept_compare(got, want, magnitude, (size_t)rows, &rule, &a, &err))
        return bind_fail(L, &err);
    lua_createtable(L, 0, 8);
    set_count(L, "n", a.n);
    set_count(L, "outside", a.outside);
    set_count(L, "not_finite", a.not_finite);
    set_field(L, "ratio", a.ratio);
    set_field(L, "got", a.got);
    set_field(L, "want", a.want);
    set_field(L, "bound", a.bound);
    set_field(L, "error_squares", a.error_squares);
    set_field(L, "squares", a.squares);
    set_place(L, got, a.at);
    return 1;
}

static int accept_lnvfp4(lua_State *L)
{
    const Tensor *x = check_tensor(L, 1), *codes = check_tensor(L, 3), *scales = check_tensor(L, 4);
    float s = (float)luaL_checknumber(L, 2);
    size_t n = tensor_count(x);
    luaL_argcheck(L, x->dtype == DTYPE_F32 && n % 16 == 0, 1, "F32, whole blocks of 16");
    luaL_argcheck(L, tensor_bytes(codes) * 2 == n, 3, "half a byte a value");
    luaL_argcheck(L, tensor_bytes(scales) * 16 == n, 4, "a byte for 16 values");
    AcceptCodes a;
    accept_nvfp4(x->data, n, s, codes->data, scales->data, luaL_checknumber(L, 5), &a);
    lua_createtable(L, 0, 4);
    set_count(L, "blocks", a.blocks);
    set_count(L, "outside", a.blocks_outside);
    set_count(L, "codes_differ", a.codes_differ);
    set_count(L, "scales_differ", a.scales_differ);
    set_count(L, "at", a.at);
    return 1;
}

static int clipping_lmeasure(lua_State *L)
{
    const Tensor *x = check_tensor(L, 1);
    float s = (float)luaL_checknumber(L, 2);
    size_t n = tensor_count(x);
    luaL_argcheck(L, x->dtype == DTYPE_F32 && x->rank && x->shape[x->rank - 1] % 16 == 0, 1, "F32, rows of whole blocks of 16");
    Clipping c = {0};
    clipping_add(x->data, n, s, &c);
    lua_createtable(L, 0, 6);
    set_count(L, "n", c.n);
    set_count(L, "nonzero", c.nonzero);
    set_count(L, "clipped", c.clipped);
    set_count(L, "underflowed", c.underflowed);
    set_count(L, "zeroed", c.zeroed);
    set_field(L, "amax", (double)c.amax);
    return 1;
}

/* A fresh tensor of the type and shape at arguments 1 and 2, pushed; NULL with err. */
static Tensor *push_fresh(lua_State *L, Err *err)
{
    DType dtype = dtype_from_name(luaL_checkstring(L, 1));
    size_t shape[TENSOR_RANK_MAX] = {0};
    luaL_argcheck(L, dtype != DTYPE_NONE, 1, "unknown type");
    luaL_checktype(L, 2, LUA_TTABLE);
    int rank = (int)luaL_len(L, 2);
    luaL_argcheck(L, rank <= TENSOR_RANK_MAX, 2, "too many dimensions");
    for (int d = 0; d < rank; d++) {
        lua_geti(L, 2, d + 1);
        lua_Integer n = luaL_checkinteger(L, -1);
        luaL_argcheck(L, n >= 0, 2, "negative extent");
        shape[d] = (size_t)n;
        lua_pop(L, 1);
    }
    Tensor *t = tensor_new(dtype, rank, shape, err);
    if (t)
        bind_push_tensor(L, t);
    return t;
}

static int synth_lnormal(lua_State *L)
{
    SynthDesc desc = {.scale = luaL_optnumber(L, 4, 1), .outliers = luaL_optnumber(L, 5, 0),
        .seed = (uint64_t)luaL_checkinteger(L, 3)};
    Err err;
    Tensor *t = push_fresh(L, &err);
    return t && synth_normal(t, &desc, &err) ? 1 : bind_fail(L, &err);
}

static int synth_luniform(lua_State *L)
{
    lua_Integer seed = luaL_checkinteger(L, 3);
    double low = luaL_checknumber(L, 4), high = luaL_checknumber(L, 5);
    Err err;
    Tensor *t = push_fresh(L, &err);
    return t && synth_uniform(t, low, high, (uint64_t)seed, &err) ? 1 : bind_fail(L, &err);
}

void bind_accept(lua_State *L)
{
    static const luaL_Reg functions[] = {{"accept", accept_lcompare},
                                         {"accept_nvfp4", accept_lnvfp4},
                                         {"clipping", clipping_lmeasure},
                                         {"synth_normal", synth_lnormal},
                                         {"synth_uniform", synth_luniform},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
