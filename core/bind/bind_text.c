/* nibble.tokenizer: text ↔ token ids. ids are Lua lists of integers; texts are UTF-8 strings.
 *   local tok <close> = assert(nb.tokenizer(DIR or FILE))
 *   tok:encode(text [, {special=false}]) → ids     special tokens in the text are tokens unless special is false
 *   tok:decode(ids [, skip_special]) → text        tok:stream([skip_special]) → s; s:put(id) → text, s:flush() → text
 *   tok:id("<|im_end|>") → id | nil                tok:piece(id) → bytes | nil          tok:is_special(id) → boolean
 *   tok:size() → tokens                            tok:id_end() → one more than the largest id */
#include <string.h>

#include "core/bind/bind.h"
#include "core/text/tokenizer.h"

#define TOKENIZER_TYPE "nibble.Tokenizer"
#define STREAM_TYPE "nibble.TokenStream"

/* Buffers live in the box, so that a Lua error while results are pushed leaks nothing. */
typedef struct TokenizerBox {
    Tokenizer *t; /* NULL once closed */
    Buf ids, text;
} TokenizerBox;

typedef struct StreamBox {
    TokenizerStream stream; /* its tokenizer is user value 1 */
    TokenizerShow show;
} StreamBox;

static TokenizerBox *check_tokenizer(lua_State *L, int arg)
{
    TokenizerBox *box = luaL_checkudata(L, arg, TOKENIZER_TYPE);
    luaL_argcheck(L, box->t, arg, "tokenizer is closed");
    return box;
}

static TokenizerShow check_show(lua_State *L, int arg)
{
    return lua_toboolean(L, arg) ? TOKENIZER_SKIP_SPECIAL : TOKENIZER_SHOW_ALL;
}

/* Appends the integer at the top of the stack, which it pops, to ids. */
static void take_id(lua_State *L, int arg, Buf *ids)
{
    Err err;
    int is_integer;
    lua_Integer id = lua_tointegerx(L, -1, &is_integer);
    luaL_argcheck(L, is_integer && id >= 0 && id <= UINT32_MAX, arg, "expected token ids, integers from 0");
    lua_pop(L, 1);
    if (!buf_append(ids, &(uint32_t){(uint32_t)id}, sizeof(uint32_t), &err))
        luaL_error(L, "%s", err.text);
}

/* nb.tokenizer(path) → tokenizer | nil, message, code */
static int text_tokenizer(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    Err err;
    TokenizerBox *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (TokenizerBox){0};
    luaL_setmetatable(L, TOKENIZER_TYPE);
    box->t = tokenizer_open(path, &err);
    return box->t ? 1 : bind_fail(L, &err);
}

static int tokenizer_lencode(lua_State *L)
{
    TokenizerBox *box = check_tokenizer(L, 1);
    size_t n;
    const char *text = luaL_checklstring(L, 2, &n);
    TokenizerSpecial special = TOKENIZER_SPECIAL;
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        if (lua_getfield(L, 3, "special") != LUA_TNIL && !lua_toboolean(L, -1))
            special = TOKENIZER_PLAIN;
    }
    Err err;
    box->ids.n = 0;
    if (!tokenizer_encode(box->t, text, n, special, &box->ids, &err))
        return bind_fail(L, &err);
    const uint32_t *ids = (const uint32_t *)(const void *)box->ids.data;
    size_t ids_n = box->ids.n / sizeof *ids;
    lua_createtable(L, (int)ids_n, 0);
    for (size_t i = 0; i < ids_n; i++) {
        lua_pushinteger(L, ids[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int tokenizer_ldecode(lua_State *L)
{
    TokenizerBox *box = check_tokenizer(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    box->ids.n = box->text.n = 0;
    for (lua_Integer i = 1, n = luaL_len(L, 2); i <= n; i++) {
        lua_geti(L, 2, i);
        take_id(L, 2, &box->ids);
    }
    Err err;
    const uint32_t *ids = (const uint32_t *)(const void *)box->ids.data;
    if (!tokenizer_decode(box->t, ids, box->ids.n / sizeof *ids, check_show(L, 3), &box->text, &err))
        return bind_fail(L, &err);
    lua_pushlstring(L, box->text.n ? box->text.data : "", box->text.n);
    return 1;
}

static int tokenizer_lid(lua_State *L)
{
    TokenizerBox *box = check_tokenizer(L, 1);
    size_t n;
    const char *text = luaL_checklstring(L, 2, &n);
    int64_t id = tokenizer_id(box->t, text, n);
    if (id < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, id);
    return 1;
}

static int tokenizer_lpiece(lua_State *L)
{
    TokenizerBox *box = check_tokenizer(L, 1);
    lua_Integer id = luaL_checkinteger(L, 2);
    size_t n;
    const char *bytes = id >= 0 && id <= UINT32_MAX ? tokenizer_bytes(box->t, (uint32_t)id, &n) : NULL;
    if (bytes)
        lua_pushlstring(L, bytes, n);
    else
        lua_pushnil(L);
    return 1;
}

static int tokenizer_lis_special(lua_State *L)
{
    TokenizerBox *box = check_tokenizer(L, 1);
    lua_Integer id = luaL_checkinteger(L, 2);
    lua_pushboolean(L, id >= 0 && id <= UINT32_MAX && tokenizer_is_special(box->t, (uint32_t)id));
    return 1;
}

static int tokenizer_lsize(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tokenizer_size(check_tokenizer(L, 1)->t));
    return 1;
}

static int tokenizer_lid_end(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tokenizer_id_end(check_tokenizer(L, 1)->t));
    return 1;
}

static int tokenizer_lstream(lua_State *L)
{
    check_tokenizer(L, 1);
    TokenizerShow show = check_show(L, 2); /* before anything is pushed at this place */
    StreamBox *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (StreamBox){.show = show};
    luaL_setmetatable(L, STREAM_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

static int tokenizer_lclose(lua_State *L)
{
    TokenizerBox *box = luaL_checkudata(L, 1, TOKENIZER_TYPE);
    tokenizer_close(box->t);
    buf_deinit(&box->ids);
    buf_deinit(&box->text);
    box->t = NULL;
    return 0;
}

static int tokenizer_tostring(lua_State *L)
{
    TokenizerBox *box = luaL_checkudata(L, 1, TOKENIZER_TYPE);
    if (box->t)
        lua_pushfstring(L, "tokenizer of %I tokens", (lua_Integer)tokenizer_size(box->t));
    else
        lua_pushliteral(L, "tokenizer (closed)");
    return 1;
}

/* The stream at argument 1 and, in *owner, its tokenizer. */
static StreamBox *check_stream(lua_State *L, TokenizerBox **owner)
{
    StreamBox *box = luaL_checkudata(L, 1, STREAM_TYPE);
    lua_getiuservalue(L, 1, 1);
    *owner = lua_touserdata(L, -1);
    luaL_argcheck(L, *owner && (*owner)->t, 1, "the stream or its tokenizer is closed");
    lua_pop(L, 1);
    (*owner)->text.n = 0;
    return box;
}

static int stream_put(lua_State *L)
{
    TokenizerBox *owner;
    StreamBox *box = check_stream(L, &owner);
    lua_Integer id = luaL_checkinteger(L, 2);
    luaL_argcheck(L, id >= 0 && id <= UINT32_MAX, 2, "expected a token id, an integer from 0");
    Err err;
    if (!tokenizer_stream_put(owner->t, &box->stream, (uint32_t)id, box->show, &owner->text, &err))
        return bind_fail(L, &err);
    lua_pushlstring(L, owner->text.n ? owner->text.data : "", owner->text.n);
    return 1;
}

static int stream_flush(lua_State *L)
{
    TokenizerBox *owner;
    StreamBox *box = check_stream(L, &owner);
    Err err;
    if (!tokenizer_stream_flush(&box->stream, &owner->text, &err))
        return bind_fail(L, &err);
    lua_pushlstring(L, owner->text.n ? owner->text.data : "", owner->text.n);
    return 1;
}

static int stream_close(lua_State *L)
{
    luaL_checkudata(L, 1, STREAM_TYPE);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 1);
    return 0;
}

static int stream_tostring(lua_State *L)
{
    StreamBox *box = luaL_checkudata(L, 1, STREAM_TYPE);
    lua_pushfstring(L, "token stream, %d bytes held back", (int)box->stream.tail_n);
    return 1;
}

void bind_text(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"encode", tokenizer_lencode}, {"decode", tokenizer_ldecode},         {"stream", tokenizer_lstream},
        {"id", tokenizer_lid},
        {"piece", tokenizer_lpiece},   {"is_special", tokenizer_lis_special}, {"size", tokenizer_lsize},
        {"id_end", tokenizer_lid_end},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", tokenizer_lclose}, {"__close", tokenizer_lclose}, {"__tostring", tokenizer_tostring}, {NULL, NULL}};
    static const luaL_Reg stream_methods[] = {{"put", stream_put}, {"flush", stream_flush}, {NULL, NULL}};
    static const luaL_Reg stream_meta[] = {
        {"__gc", stream_close}, {"__close", stream_close}, {"__tostring", stream_tostring}, {NULL, NULL}};
    bind_type(L, TOKENIZER_TYPE, methods, meta);
    bind_type(L, STREAM_TYPE, stream_methods, stream_meta);
    lua_pushcfunction(L, text_tokenizer);
    lua_setfield(L, -2, "tokenizer");
}
