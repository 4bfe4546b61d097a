/* nibble.checkpoint(folder) and nibble.safetensors(path): what is stored, as Lua tables, and
 * logical weights as tensors. Tensors of a file are read by copy, so nothing in Lua points into a
 * mapping. */
#include <stdlib.h>
#include <string.h>

#include "core/bind/bind.h"
#include "core/file/checkpoint.h"

#define CHECKPOINT_TYPE "nibble.Checkpoint"
#define SAFETENSORS_TYPE "nibble.Safetensors"

typedef struct CheckpointBox {
    Checkpoint *c; /* NULL once closed */
} CheckpointBox;

typedef struct SafetensorsBox {
    Safetensors *f; /* NULL once closed */
} SafetensorsBox;

Checkpoint *check_checkpoint(lua_State *L, int arg)
{
    CheckpointBox *box = luaL_checkudata(L, arg, CHECKPOINT_TYPE);
    luaL_argcheck(L, box->c, arg, "checkpoint is closed");
    return box->c;
}

static Safetensors *check_safetensors(lua_State *L, int arg)
{
    SafetensorsBox *box = luaL_checkudata(L, arg, SAFETENSORS_TYPE);
    luaL_argcheck(L, box->f, arg, "file is closed");
    return box->f;
}

static void set_integer(lua_State *L, const char *key, uint64_t v)
{
    lua_pushinteger(L, (lua_Integer)v);
    lua_setfield(L, -2, key);
}

static void set_string(lua_State *L, const char *key, const char *v)
{
    lua_pushstring(L, v);
    lua_setfield(L, -2, key);
}

/* {name, dtype, shape, bytes, offset, file}; file is the base name. */
static void push_entry(lua_State *L, const SafetensorsEntry *e, const Safetensors *f)
{
    const char *path = safetensors_path(f), *slash = strrchr(path, '/');
    lua_createtable(L, 0, 6);
    set_string(L, "name", e->name);
    set_string(L, "dtype", dtype_name(e->dtype));
    lua_createtable(L, e->rank, 0);
    for (int i = 0; i < e->rank; i++) {
        lua_pushinteger(L, (lua_Integer)e->shape[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "shape");
    set_integer(L, "bytes", e->bytes);
    set_integer(L, "offset", e->offset);
    set_string(L, "file", slash ? slash + 1 : path);
}

/* Pushes a copy of the stored tensor, or nil, message, code. */
static int push_copy(lua_State *L, const SafetensorsEntry *e, const Safetensors *f)
{
    Err err;
    if (e->rank > TENSOR_RANK_MAX) {
        fail(&err, E_UNSUPPORTED, "tensor %s has %d dimensions, a Tensor at most %d", e->name,
             e->rank, TENSOR_RANK_MAX);
        return bind_fail(L, &err);
    }
    Tensor *t = tensor_new(e->dtype, e->rank, e->shape, &err);
    if (!t)
        return bind_fail(L, &err);
    memcpy(t->data, safetensors_data(f, e), (size_t)e->bytes);
    bind_push_tensor(L, t);
    return 1;
}

static int push_absent(lua_State *L, const char *where, const char *name)
{
    Err err;
    fail(&err, E_MISSING, "%s: no tensor is called %s", where, name);
    return bind_fail(L, &err);
}

/* nb.checkpoint(folder) → Checkpoint | nil, message, code */
static int checkpoint_create(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    CheckpointBox *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->c = NULL;
    luaL_setmetatable(L, CHECKPOINT_TYPE);
    Err err;
    box->c = checkpoint_open(path, &err);
    return box->c ? 1 : bind_fail(L, &err);
}

static int checkpoint_lpath(lua_State *L)
{
    lua_pushstring(L, checkpoint_path(check_checkpoint(L, 1)));
    return 1;
}

static int checkpoint_lconfig(lua_State *L)
{
    lua_pushstring(L, checkpoint_config(check_checkpoint(L, 1)));
    return 1;
}

static int checkpoint_lquant_config(lua_State *L)
{
    lua_pushstring(L, checkpoint_quant_config(check_checkpoint(L, 1)));
    return 1;
}

static int checkpoint_lformat(lua_State *L)
{
    lua_pushstring(L, checkpoint_format_name(checkpoint_format(check_checkpoint(L, 1))));
    return 1;
}

static int checkpoint_lprefix(lua_State *L)
{
    lua_pushstring(L, checkpoint_prefix(check_checkpoint(L, 1)));
    return 1;
}

static int checkpoint_lid(lua_State *L)
{
    char hex[33];
    checkpoint_id(check_checkpoint(L, 1), hex);
    lua_pushstring(L, hex);
    return 1;
}

static int checkpoint_lcount(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)checkpoint_count(check_checkpoint(L, 1)));
    return 1;
}

static int checkpoint_lentries(lua_State *L)
{
    const Checkpoint *c = check_checkpoint(L, 1);
    size_t n = checkpoint_count(c);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        push_entry(L, checkpoint_entry(c, i), checkpoint_entry_file(c, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* c:find(name) → entry | nil */
static int checkpoint_lfind(lua_State *L)
{
    const Safetensors *f;
    const SafetensorsEntry *e = checkpoint_find(check_checkpoint(L, 1), luaL_checkstring(L, 2), &f);
    if (e)
        push_entry(L, e, f);
    else
        lua_pushnil(L);
    return 1;
}

/* c:tensor(name) → Tensor | nil, message, code */
static int checkpoint_ltensor(lua_State *L)
{
    const Checkpoint *c = check_checkpoint(L, 1);
    const char *name = luaL_checkstring(L, 2);
    const Safetensors *f;
    const SafetensorsEntry *e = checkpoint_find(c, name, &f);
    return e ? push_copy(L, e, f) : push_absent(L, checkpoint_path(c), name);
}

static int checkpoint_lhas(lua_State *L)
{
    lua_pushboolean(L, checkpoint_has(check_checkpoint(L, 1), luaL_checkstring(L, 2)));
    return 1;
}

/* c:weight(logical) → {format, dtype, n, k, …} | nil, message, code */
static int checkpoint_lweight(lua_State *L)
{
    Weight w;
    Err err;
    if (!checkpoint_weight(check_checkpoint(L, 1), luaL_checkstring(L, 2), &w, &err))
        return bind_fail(L, &err);
    lua_createtable(L, 0, 10);
    set_string(L, "format", weight_format_name(&w));
    set_string(L, "dtype", dtype_name(w.dtype));
    set_integer(L, "n", w.n);
    set_integer(L, "k", w.k);
    if (w.format == WEIGHT_NVFP4 || w.format == WEIGHT_FP8) {
        lua_pushnumber(L, (lua_Number)w.tensor_scale);
        lua_setfield(L, -2, "tensor_scale");
        lua_pushboolean(L, w.is_divisor);
        lua_setfield(L, -2, "is_divisor");
    }
    if (w.scales)
        set_string(L, "scale_dtype", dtype_name(w.scale_dtype));
    if (w.has_input_scale) {
        lua_pushnumber(L, (lua_Number)w.input_scale);
        lua_setfield(L, -2, "input_scale");
    }
    if (w.format == WEIGHT_FP8_BLOCK) {
        set_integer(L, "block_n", w.block_n);
        set_integer(L, "block_k", w.block_k);
    }
    return 1;
}

/* c:dequant(logical) → Tensor F32 [n,k] | nil, message, code */
static int checkpoint_ldequant(lua_State *L)
{
    Weight w;
    Err err;
    if (!checkpoint_weight(check_checkpoint(L, 1), luaL_checkstring(L, 2), &w, &err))
        return bind_fail(L, &err);
    Tensor *t = tensor_new(DTYPE_F32, 2, (size_t[]){w.n, w.k}, &err);
    if (!t)
        return bind_fail(L, &err);
    for (size_t row = 0; row < w.n; row++)
        weight_row(&w, row, (float *)t->data + row * w.k);
    bind_push_tensor(L, t);
    return 1;
}

/* c:kv_scales(layer) → k, v | nil, message, code */
static int checkpoint_lkv_scales(lua_State *L)
{
    float k, v;
    Err err;
    if (!checkpoint_kv_scales(check_checkpoint(L, 1), luaL_checkstring(L, 2), &k, &v, &err))
        return bind_fail(L, &err);
    lua_pushnumber(L, (lua_Number)k);
    lua_pushnumber(L, (lua_Number)v);
    return 2;
}

static int checkpoint_lkv_is_fp8(lua_State *L)
{
    lua_pushboolean(L, checkpoint_kv_is_fp8(check_checkpoint(L, 1)));
    return 1;
}

static int checkpoint_lclose(lua_State *L)
{
    CheckpointBox *box = luaL_checkudata(L, 1, CHECKPOINT_TYPE);
    checkpoint_close(box->c);
    box->c = NULL;
    return 0;
}

static int checkpoint_tostring(lua_State *L)
{
    const CheckpointBox *box = luaL_checkudata(L, 1, CHECKPOINT_TYPE);
    if (box->c)
        lua_pushfstring(L, "checkpoint %s (%s, %I tensors)", checkpoint_path(box->c),
                        checkpoint_format_name(checkpoint_format(box->c)),
                        (lua_Integer)checkpoint_count(box->c));
    else
        lua_pushliteral(L, "checkpoint (closed)");
    return 1;
}

/* nb.safetensors(path) → Safetensors | nil, message, code */
static int safetensors_create(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    SafetensorsBox *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->f = NULL;
    luaL_setmetatable(L, SAFETENSORS_TYPE);
    Err err;
    box->f = safetensors_open(path, &err);
    return box->f ? 1 : bind_fail(L, &err);
}

static int safetensors_lpath(lua_State *L)
{
    lua_pushstring(L, safetensors_path(check_safetensors(L, 1)));
    return 1;
}

/* f:bytes() → size of the file, size of the header */
static int safetensors_lbytes(lua_State *L)
{
    uint64_t header;
    const Safetensors *f = check_safetensors(L, 1);
    safetensors_header(f, &header);
    lua_pushinteger(L, (lua_Integer)safetensors_file_bytes(f));
    lua_pushinteger(L, (lua_Integer)header);
    return 2;
}

static int safetensors_lcount(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)safetensors_count(check_safetensors(L, 1)));
    return 1;
}

/* f:entries() → list in the order of the header */
static int safetensors_lentries(lua_State *L)
{
    const Safetensors *f = check_safetensors(L, 1);
    size_t n = safetensors_count(f);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        push_entry(L, safetensors_entry(f, i), f);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int safetensors_lfind(lua_State *L)
{
    const Safetensors *f = check_safetensors(L, 1);
    const SafetensorsEntry *e = safetensors_find(f, luaL_checkstring(L, 2));
    if (e)
        push_entry(L, e, f);
    else
        lua_pushnil(L);
    return 1;
}

static int safetensors_ltensor(lua_State *L)
{
    const Safetensors *f = check_safetensors(L, 1);
    const char *name = luaL_checkstring(L, 2);
    const SafetensorsEntry *e = safetensors_find(f, name);
    return e ? push_copy(L, e, f) : push_absent(L, safetensors_path(f), name);
}

static int safetensors_lclose(lua_State *L)
{
    SafetensorsBox *box = luaL_checkudata(L, 1, SAFETENSORS_TYPE);
    safetensors_close(box->f);
    box->f = NULL;
    return 0;
}

static int safetensors_tostring(lua_State *L)
{
    const SafetensorsBox *box = luaL_checkudata(L, 1, SAFETENSORS_TYPE);
    if (box->f)
        lua_pushfstring(L, "safetensors %s (%I tensors)", safetensors_path(box->f),
                        (lua_Integer)safetensors_count(box->f));
    else
        lua_pushliteral(L, "safetensors (closed)");
    return 1;
}

void bind_checkpoint(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"path", checkpoint_lpath},
        {"config", checkpoint_lconfig},
        {"quant_config", checkpoint_lquant_config},
        {"format", checkpoint_lformat},
        {"prefix", checkpoint_lprefix},
        {"id", checkpoint_lid},
        {"count", checkpoint_lcount},
        {"entries", checkpoint_lentries},
        {"find", checkpoint_lfind},
        {"tensor", checkpoint_ltensor},
        {"has", checkpoint_lhas},
        {"weight", checkpoint_lweight},
        {"dequant", checkpoint_ldequant},
        {"kv_scales", checkpoint_lkv_scales},
        {"kv_is_fp8", checkpoint_lkv_is_fp8},
        {"close", checkpoint_lclose},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {{"__gc", checkpoint_lclose},
                                    {"__close", checkpoint_lclose},
                                    {"__tostring", checkpoint_tostring},
                                    {NULL, NULL}};
    static const luaL_Reg file_methods[] = {
        {"path", safetensors_lpath},   {"bytes", safetensors_lbytes},
        {"count", safetensors_lcount}, {"entries", safetensors_lentries},
        {"find", safetensors_lfind},   {"tensor", safetensors_ltensor},
        {"close", safetensors_lclose}, {NULL, NULL},
    };
    static const luaL_Reg file_meta[] = {{"__gc", safetensors_lclose},
                                         {"__close", safetensors_lclose},
                                         {"__tostring", safetensors_tostring},
                                         {NULL, NULL}};
    bind_type(L, CHECKPOINT_TYPE, methods, meta);
    bind_type(L, SAFETENSORS_TYPE, file_methods, file_meta);
    lua_pushcfunction(L, checkpoint_create);
    lua_setfield(L, -2, "checkpoint");
    lua_pushcfunction(L, safetensors_create);
    lua_setfield(L, -2, "safetensors");
}
