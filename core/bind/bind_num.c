/* nibble.num: codecs on tensors. What may fail returns nil, message, code.
 *   num.nvfp4_encode(writer, w [, amax]) → codes, scales, g     writer: modelopt, modelopt-0.43, modelopt-cpu, ct-bf16, ct-fp32
 *   num.nvfp4_decode(codes, scales, g, is_divisor) → Tensor F32
 *   num.quantize_activation(x, s) → codes, scales               s: the inverse input scale
 *   num.tensor_scale(writer, amax) → g
 *   num.from_bits(dtype, integers) → Tensor: every element of the tensor is the bits of one element of BF16, F16, F8_… or F32
 *   num.cast(tensor, dtype) → Tensor, each element rounded to nearest even (F8_E4M3 saturates) */
#include <math.h>
#include <string.h>

#include "core/bind/bind.h"
#include "core/tensor/nvfp4_tensor.h"

static Nvfp4Writer check_writer(lua_State *L, int arg)
{
    Nvfp4Writer writer;
    luaL_argcheck(L, nvfp4_tensor_writer(luaL_checkstring(L, arg), &writer), arg, "no writer of that name");
    return writer;
}

static DType check_dtype(lua_State *L, int arg)
{
    DType dtype = dtype_from_name(luaL_checkstring(L, arg));
    luaL_argcheck(L, dtype != DTYPE_NONE, arg, "unknown type");
    return dtype;
}

static int num_nvfp4_encode(lua_State *L)
{
    Nvfp4Writer writer = check_writer(L, 1);
    const Tensor *w = check_tensor(L, 2);
    float amax = (float)luaL_optnumber(L, 3, 0);
    Nvfp4Tensor t;
    Err err;
    if (!nvfp4_tensor_encode(writer, w, lua_isnoneornil(L, 3) ? NULL : &amax, &t, &err))
        return bind_fail(L, &err);
    bind_push_tensor(L, t.codes);
    bind_push_tensor(L, t.scales);
    lua_pushnumber(L, t.g);
    return 3;
}

static int num_nvfp4_decode(lua_State *L)
{
    Nvfp4Tensor t = {check_tensor(L, 1), check_tensor(L, 2), (float)luaL_checknumber(L, 3)};
    Err err;
    Tensor *y = nvfp4_tensor_decode(&t, lua_toboolean(L, 4), &err);
    if (!y)
        return bind_fail(L, &err);
    bind_push_tensor(L, y);
    return 1;
}

static int num_quantize_activation(lua_State *L)
{
    const Tensor *x = check_tensor(L, 1);
    Nvfp4Tensor t;
    Err err;
    if (!nvfp4_tensor_quantize(x, (float)luaL_checknumber(L, 2), &t, &err))
        return bind_fail(L, &err);
    bind_push_tensor(L, t.codes);
    bind_push_tensor(L, t.scales);
    return 2;
}

static int num_tensor_scale(lua_State *L)
{
    lua_pushnumber(L, nvfp4_tensor_scale(check_writer(L, 1), (float)luaL_checknumber(L, 2)));
    return 1;
}

static int num_from_bits(lua_State *L)
{
    DType dtype = check_dtype(L, 1);
    const Tensor *from = check_tensor(L, 2);
    Err err;
    Tensor *t = tensor_new(dtype, from->rank, from->shape, &err);
    if (!t)
        return bind_fail(L, &err);
    bind_push_tensor(L, t);
    size_t bytes = dtype_bytes(dtype);
    double limit = ldexp(1.0, 8 * (int)bytes);
    luaL_argcheck(L, bytes <= 4, 1, "a type of at most 32 bits");
    for (size_t i = 0; i < tensor_count(from); i++) {
        double v = tensor_get(from, i);
        luaL_argcheck(L, v == floor(v) && v >= 0 && v < limit, 2, "bits are whole numbers that fit the type");
        uint32_t bits = (uint32_t)v;
        memcpy((char *)t->data + i * bytes, &bits, bytes); /* the low bytes come first on every machine this runs on */
    }
    return 1;
}

static int num_cast(lua_State *L)
{
    const Tensor *from = check_tensor(L, 1);
    DType dtype = check_dtype(L, 2);
    luaL_argcheck(L, dtype != DTYPE_F8_E5M2, 2, "F8_E5M2 is only read");
    Err err;
    Tensor *t = tensor_new(dtype, from->rank, from->shape, &err);
    if (!t)
        return bind_fail(L, &err);
    for (size_t i = 0; i < tensor_count(from); i++)
        tensor_set(t, i, tensor_get(from, i));
    bind_push_tensor(L, t);
    return 1;
}

void bind_num(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"nvfp4_encode", num_nvfp4_encode}, {"nvfp4_decode", num_nvfp4_decode}, {"quantize_activation", num_quantize_activation},
        {"tensor_scale", num_tensor_scale}, {"from_bits", num_from_bits},       {"cast", num_cast},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "num");
}
