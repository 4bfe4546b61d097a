/* nibble.sampler{ temperature=, top_k=, top_p=, seed= } → s; s:pick(logits tensor [, row]) → token id.
 * nibble.jitter(tensor F32, epsilon, seed): multiplies every element by 1 + epsilon · normal, in place. */
#include "core/bind/bind.h"
#include "core/model/sample.h"

#define SAMPLER_TYPE "nibble.Sampler"

typedef struct Sampler {
    SampleDesc desc;
    Prng prng;
} Sampler;

static double number_field(lua_State *L, const char *name, double fallback)
{
    lua_getfield(L, 1, name);
    double v = luaL_optnumber(L, -1, fallback);
    lua_pop(L, 1);
    return v;
}

static int sampler_create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    Sampler *s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (Sampler){{number_field(L, "temperature", 0), (int)number_field(L, "top_k", 0), number_field(L, "top_p", 1)},
                   {(uint64_t)number_field(L, "seed", 1)}};
    luaL_argcheck(L, s->desc.temperature >= 0 && s->desc.top_k >= 0 && s->desc.top_p > 0 && s->desc.top_p <= 1, 1,
                  "temperature ≥ 0, top_k ≥ 0, 0 < top_p ≤ 1");
    luaL_setmetatable(L, SAMPLER_TYPE);
    return 1;
}

static int sampler_pick(lua_State *L)
{
    Sampler *s = luaL_checkudata(L, 1, SAMPLER_TYPE);
    const Tensor *t = check_tensor(L, 2);
    lua_Integer row = luaL_optinteger(L, 3, 0);
    luaL_argcheck(L, t->dtype == DTYPE_F32 && t->rank == 2, 2, "logits F32 [rows, vocabulary]");
    luaL_argcheck(L, row >= 0 && (size_t)row < t->shape[0], 3, "row outside the tensor");
    int token;
    Err err;
    if (!sample_pick(&s->desc, (const float *)t->data + (size_t)row * t->shape[1], t->shape[1], &s->prng, &token, &err))
        return bind_fail(L, &err);
    lua_pushinteger(L, token);
    return 1;
}

static int sampler_tostring(lua_State *L)
{
    const Sampler *s = luaL_checkudata(L, 1, SAMPLER_TYPE);
    lua_pushfstring(L, "sampler temperature %f top_k %d top_p %f", s->desc.temperature, s->desc.top_k, s->desc.top_p);
    return 1;
}

static int jitter(lua_State *L)
{
    Tensor *t = check_tensor(L, 1);
    double epsilon = luaL_checknumber(L, 2);
    Prng prng = {(uint64_t)luaL_checkinteger(L, 3)};
    luaL_argcheck(L, t->dtype == DTYPE_F32, 1, "F32");
    float *x = t->data;
    for (size_t i = 0; i < tensor_count(t); i++)
        x[i] = (float)((double)x[i] * (1 + epsilon * prng_normal(&prng)));
    return 0;
}

void bind_sample(lua_State *L)
{
    static const luaL_Reg methods[] = {{"pick", sampler_pick}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__tostring", sampler_tostring}, {NULL, NULL}};
    bind_type(L, SAMPLER_TYPE, methods, meta);
    lua_pushcfunction(L, sampler_create);
    lua_setfield(L, -2, "sampler");
    lua_pushcfunction(L, jitter);
    lua_setfield(L, -2, "jitter");
}
