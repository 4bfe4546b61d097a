/* nibble.json: text ↔ Lua values through jansson. Arrays become lists, objects tables, null becomes nibble.null.
 * encode writes a table as an array when its keys are 1..n (an empty table is {}; nb.json.array(t) marks it as []). */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/bind/bind.h"

enum { JSON_DEPTH_MAX = 100 };

static const char array_mark = 0, null_mark = 0;

static void push_value(lua_State *L, const json_t *v)
{
    luaL_checkstack(L, 8, "JSON nests too deep");
    switch (json_typeof(v)) {
    case JSON_OBJECT: {
        const char *key;
        json_t *item;
        lua_createtable(L, 0, (int)json_object_size(v));
        json_object_foreach((json_t *)(uintptr_t)v, key, item) {
            push_value(L, item);
            lua_setfield(L, -2, key);
        }
        break;
    }
    case JSON_ARRAY:
        lua_createtable(L, (int)json_array_size(v), 0);
        for (size_t i = 0; i < json_array_size(v); i++) {
            push_value(L, json_array_get(v, i));
            lua_seti(L, -2, (lua_Integer)i + 1);
        }
        lua_rawgetp(L, LUA_REGISTRYINDEX, &array_mark);
        lua_setmetatable(L, -2);
        break;
    case JSON_STRING: lua_pushlstring(L, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER: lua_pushinteger(L, json_integer_value(v)); break;
    case JSON_REAL: lua_pushnumber(L, json_real_value(v)); break;
    case JSON_TRUE: lua_pushboolean(L, 1); break;
    case JSON_FALSE: lua_pushboolean(L, 0); break;
    default: lua_pushlightuserdata(L, (void *)(uintptr_t)&null_mark); break;
    }
}

/* nb.json.decode(text) → value | nil, message, code */
static int json_decode(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    json_error_t at;
    json_t *v = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &at);
    if (!v) {
        Err err;
        fail(&err, E_FORMAT, "JSON line %d column %d: %s", at.line, at.column, at.text);
        return bind_fail(L, &err);
    }
    push_value(L, v); /* raises only when Lua's memory ends */
    json_decref(v);
    return 1;
}

static json_t *take_value(lua_State *L, int i, int depth)
{
    if (depth > JSON_DEPTH_MAX)
        luaL_error(L, "a value nests deeper than %d levels", JSON_DEPTH_MAX);
    i = lua_absindex(L, i);
    luaL_checkstack(L, 8, "a value nests too deep");
    switch (lua_type(L, i)) {
    case LUA_TBOOLEAN: return json_boolean(lua_toboolean(L, i));
    case LUA_TNUMBER:
        if (lua_isinteger(L, i))
            return json_integer(lua_tointeger(L, i));
        return isfinite(lua_tonumber(L, i)) ? json_real(lua_tonumber(L, i)) : json_null();
    case LUA_TSTRING: {
        size_t n;
        const char *s = lua_tolstring(L, i, &n);
        json_t *v = json_stringn(s, n);
        return v ? v : json_string("(not UTF-8)");
    }
    case LUA_TTABLE: {
        bool is_array = lua_getmetatable(L, i);
        if (is_array) {
            lua_rawgetp(L, LUA_REGISTRYINDEX, &array_mark);
            is_array = lua_rawequal(L, -1, -2);
            lua_pop(L, 2);
        }
        size_t n = lua_rawlen(L, i);
        json_t *v = n || is_array ? json_array() : json_object();
        if (n || is_array) {
            for (size_t j = 1; j <= n; j++) {
                lua_rawgeti(L, i, (lua_Integer)j);
                json_array_append_new(v, take_value(L, -1, depth + 1));
                lua_pop(L, 1);
            }
            return v;
        }
        for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1)) {
            lua_pushvalue(L, -2);
            json_object_set_new(v, lua_tostring(L, -1), take_value(L, -2, depth + 1));
            lua_pop(L, 1);
        }
        return v;
    }
    default: return json_null();
    }
}

/* nb.json.encode(value [, indent]) → text with sorted keys; NaN and infinities become null */
static int json_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    size_t indent = (size_t)luaL_optinteger(L, 2, 0);
    json_t *v = take_value(L, 1, 0);
    char *text = json_dumps(v, JSON_SORT_KEYS | JSON_ENCODE_ANY | JSON_INDENT(indent) | JSON_REAL_PRECISION(17));
    json_decref(v);
    if (!text)
        return luaL_error(L, "a value cannot be written as JSON");
    lua_pushstring(L, text);
    free(text);
    return 1;
}

/* nb.json.array(t): marks t as an array, also when empty; returns t */
static int json_mark_array(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &array_mark);
    lua_setmetatable(L, 1);
    return 1;
}

void bind_json(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"decode", json_decode}, {"encode", json_encode}, {"array", json_mark_array}, {NULL, NULL}};
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &array_mark);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "json");
    lua_pushlightuserdata(L, (void *)(uintptr_t)&null_mark);
    lua_setfield(L, -2, "null");
}
