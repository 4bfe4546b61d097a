/* nibble.h5: HDF5 files. Rows are counted from 0; what may fail returns nil, message, code.
 *   local f <close> = assert(nb.h5.open(path))
 *   f:list(group) → { {name=, kind="group"|"dataset"|"other"}, … }   f:exists(p) → boolean   f:shape(p) → list
 *   f:dtype(p) → "F32"   f:read(p [, first_row, rows_n [, as]]) → Tensor   f:attr(p, name) → value | list   f:attrs(p) → table
 *   local f <close> = assert(nb.h5.create(path))      path.part until f:close(), which renames it
 *   f:group(p)   f:write(p, tensor [, {attribute = value}])   f:set_attr(p, name, value)   assert(f:close())
 * A file being written that an error or the collector closes is removed. */
#include <stdlib.h>
#include <string.h>

#include "core/bind/bind.h"
#include "core/file/h5.h"

#define H5_TYPE "nibble.H5File"

typedef struct H5Box {
    H5File *f; /* NULL once closed */
    bool is_written;
} H5Box;

int bind_raise(lua_State *L, const Err *err)
{
    lua_getglobal(L, "assert");
    bind_fail(L, err);
    lua_call(L, 3, 0);
    return 0;
}

static H5Box *check_box(lua_State *L, bool is_written)
{
    H5Box *box = luaL_checkudata(L, 1, H5_TYPE);
    luaL_argcheck(L, box->f, 1, "the file is closed");
    luaL_argcheck(L, !is_written || box->is_written, 1, "the file is open for reading only");
    return box;
}

static H5File *check_file(lua_State *L)
{
    return check_box(L, false)->f;
}

static int open_with(lua_State *L, H5File *(*open)(const char *, Err *), bool is_written)
{
    const char *path = luaL_checkstring(L, 1);
    H5Box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (H5Box){NULL, is_written};
    luaL_setmetatable(L, H5_TYPE);
    Err err;
    box->f = open(path, &err);
    return box->f ? 1 : bind_fail(L, &err);
}

static int h5_lopen(lua_State *L)
{
    return open_with(L, h5_open, false);
}

static int h5_lcreate(lua_State *L)
{
    return open_with(L, h5_create, true);
}

static int h5_lopen_objects(lua_State *L)
{
    lua_pushinteger(L, h5_open_objects());
    return 1;
}

static int h5_llist(lua_State *L)
{
    static const char *const kinds[] = {[H5_GROUP] = "group", [H5_DATASET] = "dataset", [H5_OTHER] = "other"};
    H5File *f = check_file(L);
    H5List list;
    Err err;
    if (!h5_list(f, luaL_optstring(L, 2, "/"), &list, &err))
        return bind_fail(L, &err);
    lua_createtable(L, (int)list.n, 0);
    for (size_t i = 0; i < list.n; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, list.entries[i].name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, kinds[list.entries[i].kind]);
        lua_setfield(L, -2, "kind");
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    h5_list_free(&list);
    return 1;
}

static int h5_lexists(lua_State *L)
{
    H5File *f = check_file(L);
    H5Kind kind;
    Err err;
    if (!h5_kind(f, luaL_checkstring(L, 2), &kind, &err))
        return bind_fail(L, &err);
    lua_pushboolean(L, kind != H5_ABSENT);
    return 1;
}

static int h5_lshape(lua_State *L)
{
    H5File *f = check_file(L);
    H5Info info;
    Err err;
    if (!h5_info(f, luaL_checkstring(L, 2), &info, &err))
        return bind_fail(L, &err);
    lua_createtable(L, info.rank, 0);
    for (int i = 0; i < info.rank; i++) {
        lua_pushinteger(L, (lua_Integer)info.shape[i]);
        lua_seti(L, -2, i + 1);
    }
    return 1;
}

static int h5_ldtype(lua_State *L)
{
    H5File *f = check_file(L);
    H5Info info;
    Err err;
    if (!h5_info(f, luaL_checkstring(L, 2), &info, &err))
        return bind_fail(L, &err);
    lua_pushstring(L, dtype_name(info.dtype));
    return 1;
}

static int h5_lread(lua_State *L)
{
    H5File *f = check_file(L);
    const char *p = luaL_checkstring(L, 2);
    H5Part part = {0, SIZE_MAX, DTYPE_NONE};
    lua_Integer first = luaL_optinteger(L, 3, 0), n = luaL_optinteger(L, 4, -1);
    luaL_argcheck(L, first >= 0, 3, "rows are counted from 0");
    luaL_argcheck(L, lua_isnoneornil(L, 4) || n >= 0, 4, "negative number of rows");
    part.first_row = (size_t)first;
    if (n >= 0)
        part.rows_n = (size_t)n;
    if (!lua_isnoneornil(L, 5)) {
        part.as = dtype_from_name(luaL_checkstring(L, 5));
        luaL_argcheck(L, part.as != DTYPE_NONE, 5, "unknown type");
    }
    Err err;
    Tensor *t = h5_read_part(f, p, part, &err);
    if (!t)
        return bind_fail(L, &err);
    bind_push_tensor(L, t);
    return 1;
}

static void push_item(lua_State *L, const H5Attr *attr, size_t i)
{
    switch (attr->kind) {
    case H5_ATTR_INT: lua_pushinteger(L, attr->ints[i]); break;
    case H5_ATTR_BOOL: lua_pushboolean(L, attr->ints[i] != 0); break;
    case H5_ATTR_REAL: lua_pushnumber(L, attr->reals[i]); break;
    case H5_ATTR_STRING: lua_pushstring(L, attr->strings[i]); break;
    }
}

static void push_attr(lua_State *L, const H5Attr *attr)
{
    if (!attr->is_list) {
        push_item(L, attr, 0);
        return;
    }
    lua_createtable(L, (int)attr->n, 0);
    for (size_t i = 0; i < attr->n; i++) {
        push_item(L, attr, i);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
}

static int h5_lattr(lua_State *L)
{
    H5File *f = check_file(L);
    H5Attr attr;
    Err err;
    if (!h5_attr(f, luaL_checkstring(L, 2), luaL_checkstring(L, 3), &attr, &err))
        return bind_fail(L, &err);
    push_attr(L, &attr);
    h5_attr_free(&attr);
    return 1;
}

int bind_push_attrs(lua_State *L, H5File *f, const char *p)
{
    H5List names;
    Err err;
    if (!h5_attr_names(f, p, &names, &err))
        return bind_fail(L, &err);
    lua_createtable(L, 0, (int)names.n);
    for (size_t i = 0; i < names.n; i++) {
        H5Attr attr;
        if (h5_attr(f, p, names.entries[i].name, &attr, &err)) {
            push_attr(L, &attr);
            lua_setfield(L, -2, names.entries[i].name);
            h5_attr_free(&attr);
        } else if (err.kind != E_UNSUPPORTED) {
            h5_list_free(&names);
            return bind_fail(L, &err);
        }
    }
    h5_list_free(&names);
    return 1;
}

static int h5_lattrs(lua_State *L)
{
    H5File *f = check_file(L);
    return bind_push_attrs(L, f, luaL_checkstring(L, 2));
}

static H5AttrKind kind_at(lua_State *L, int value, int arg)
{
    switch (lua_type(L, value)) {
    case LUA_TBOOLEAN: return H5_ATTR_BOOL;
    case LUA_TNUMBER: return lua_isinteger(L, value) ? H5_ATTR_INT : H5_ATTR_REAL;
    case LUA_TSTRING: {
        size_t n;
        const char *s = lua_tolstring(L, value, &n);
        luaL_argcheck(L, strlen(s) == n, arg, "text with a NUL cannot be an attribute");
        return H5_ATTR_STRING;
    }
    default: return (H5AttrKind)luaL_argerror(L, arg, "an attribute is a boolean, a number, a string or a list of one of them");
    }
}

bool bind_check_attr(lua_State *L, int value, int arg, H5Attr *attr)
{
    value = lua_absindex(L, value);
    bool is_list = lua_istable(L, value);
    size_t n = is_list ? (size_t)luaL_len(L, value) : 1;
    H5AttrKind kind = is_list ? H5_ATTR_STRING : kind_at(L, value, arg);
    for (size_t i = 0; is_list && i < n; i++) { /* one pass to check, so that nothing raises once memory is taken */
        lua_geti(L, value, (lua_Integer)i + 1);
        H5AttrKind k = kind_at(L, -1, arg);
        bool is_widened = (kind == H5_ATTR_REAL && k == H5_ATTR_INT) || (kind == H5_ATTR_INT && k == H5_ATTR_REAL);
        luaL_argcheck(L, i == 0 || k == kind || is_widened, arg, "the items of a list have one type");
        kind = is_widened ? H5_ATTR_REAL : k;
        lua_pop(L, 1);
    }
    *attr = (H5Attr){.kind = kind, .is_list = is_list, .n = n};
    attr->ints = calloc(n + 1, sizeof *attr->ints);
    attr->reals = calloc(n + 1, sizeof *attr->reals);
    attr->strings = calloc(n + 1, sizeof *attr->strings);
    bool ok = attr->ints && attr->reals && attr->strings;
    for (size_t i = 0; ok && i < n; i++) {
        if (is_list)
            lua_geti(L, value, (lua_Integer)i + 1);
        else
            lua_pushvalue(L, value);
        attr->ints[i] = kind == H5_ATTR_BOOL ? lua_toboolean(L, -1) : lua_tointeger(L, -1);
        attr->reals[i] = kind == H5_ATTR_REAL ? lua_tonumber(L, -1) : 0;
        attr->strings[i] = kind == H5_ATTR_STRING ? strdup(lua_tostring(L, -1)) : NULL;
        ok = kind != H5_ATTR_STRING || attr->strings[i];
        lua_pop(L, 1);
    }
    if (!ok)
        h5_attr_free(attr);
    return ok;
}

static int no_memory(lua_State *L)
{
    Err err;
    fail(&err, E_MEMORY, "no memory for an attribute");
    return bind_fail(L, &err);
}

static int h5_lset_attr(lua_State *L)
{
    H5Box *box = check_box(L, true);
    const char *p = luaL_checkstring(L, 2), *name = luaL_checkstring(L, 3);
    H5Attr attr;
    Err err;
    luaL_checkany(L, 4);
    if (!bind_check_attr(L, 4, 4, &attr))
        return no_memory(L);
    bool ok = h5_set_attr(box->f, p, name, &attr, &err);
    h5_attr_free(&attr);
    lua_pushboolean(L, 1);
    return ok ? 1 : bind_fail(L, &err);
}

static int h5_lwrite(lua_State *L)
{
    H5Box *box = check_box(L, true);
    const char *p = luaL_checkstring(L, 2);
    const Tensor *t = check_tensor(L, 3);
    Err err;
    if (!h5_write(box->f, p, t, &err))
        return bind_fail(L, &err);
    if (!lua_isnoneornil(L, 4)) {
        luaL_checktype(L, 4, LUA_TTABLE);
        for (lua_pushnil(L); lua_next(L, 4); lua_pop(L, 1)) {
            luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING, 4, "attributes have names");
            H5Attr attr;
            if (!bind_check_attr(L, -1, 4, &attr))
                return no_memory(L);
            bool ok = h5_set_attr(box->f, p, lua_tostring(L, -2), &attr, &err);
            h5_attr_free(&attr);
            if (!ok)
                return bind_fail(L, &err);
        }
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int h5_lgroup(lua_State *L)
{
    H5Box *box = check_box(L, true);
    Err err;
    lua_pushboolean(L, 1);
    return h5_make_group(box->f, luaL_checkstring(L, 2), &err) ? 1 : bind_fail(L, &err);
}

static int h5_lclose(lua_State *L)
{
    H5Box *box = luaL_checkudata(L, 1, H5_TYPE);
    H5File *f = box->f;
    box->f = NULL;
    Err err;
    lua_pushboolean(L, 1);
    return !f || h5_close(f, &err) ? 1 : bind_fail(L, &err);
}

/* End of a <close> local: with an error under way what is being written is dropped, else it must be complete. */
static int h5_lscope(lua_State *L)
{
    H5Box *box = luaL_checkudata(L, 1, H5_TYPE);
    H5File *f = box->f;
    box->f = NULL;
    Err err;
    if (f && !lua_isnoneornil(L, 2))
        h5_discard(f);
    else if (f && !h5_close(f, &err))
        return bind_raise(L, &err);
    return 0;
}

static int h5_lgc(lua_State *L)
{
    H5Box *box = luaL_checkudata(L, 1, H5_TYPE);
    h5_discard(box->f);
    box->f = NULL;
    return 0;
}

static int h5_ltostring(lua_State *L)
{
    H5Box *box = luaL_checkudata(L, 1, H5_TYPE);
    lua_pushfstring(L, "h5 %s", box->f ? h5_path(box->f) : "(closed)");
    return 1;
}

void bind_h5(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"list", h5_llist}, {"exists", h5_lexists}, {"shape", h5_lshape},       {"dtype", h5_ldtype},
        {"read", h5_lread}, {"attr", h5_lattr},     {"attrs", h5_lattrs},       {"group", h5_lgroup},
        {"write", h5_lwrite}, {"set_attr", h5_lset_attr}, {"close", h5_lclose}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", h5_lgc}, {"__close", h5_lscope}, {"__tostring", h5_ltostring}, {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"open", h5_lopen}, {"create", h5_lcreate}, {"open_objects", h5_lopen_objects}, {NULL, NULL}};
    bind_type(L, H5_TYPE, methods, meta);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "h5");
}
