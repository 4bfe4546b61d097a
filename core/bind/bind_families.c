/* The table of kernel families. Only here do bindings meet kernels/: core is handed references, it knows no family. */
#include <string.h>

#include "core/bind/bind.h"
#include "kernels/families.h"

const OpFamily op_families[] = {
#define FAMILY(name) {#name, name##_ref},
#include "kernels/families.def"
#undef FAMILY
    {NULL, NULL},
};

OpRef bind_find_ref(const char *family)
{
    for (const OpFamily *f = op_families; f->name; f++)
        if (strcmp(f->name, family) == 0)
            return f->ref;
    return NULL;
}

bool bind_signature(lua_State *L, int spec, OpSignature *out, Err *err)
{
    const char *rows[OP_ARGS_MAX];
    spec = lua_absindex(L, spec);
    luaL_checktype(L, spec, LUA_TTABLE);
    lua_getfield(L, spec, "name");
    lua_getfield(L, spec, "args");
    const char *family = luaL_checkstring(L, -2);
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_Integer n = luaL_len(L, -1);
    if (n > OP_ARGS_MAX)
        return fail(err, E_FORMAT, "%s: expected at most %d arguments, found %d", family, OP_ARGS_MAX, (int)n);
    for (int i = 0; i < (int)n; i++) {
        lua_geti(L, -1, i + 1);
        rows[i] = luaL_checkstring(L, -1); /* alive in the spec's table */
        lua_pop(L, 1);
    }
    bool is_ok = op_parse_signature(family, rows, (int)n, out, err);
    lua_pop(L, 2);
    return is_ok;
}
