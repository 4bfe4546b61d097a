/* nibble.ptx_print(text) → the text as the parser understood it (core/ptx/ptx_ir.h, ptx_print); what is not PTX, or not known,
 * as nil, message, code. */
#include <stdlib.h>

#include "core/bind/bind.h"
#include "core/ptx/ptx_parse.h"

static int ptx_lprint(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    Err err;
    PtxModule *module = ptx_parse_module(text, n, &err);
    if (!module)
        return bind_fail(L, &err);
    char *printed = ptx_print(module);
    ptx_free(module);
    if (!printed) {
        fail(&err, E_MEMORY, "no memory for a module of %zu bytes as text", n);
        return bind_fail(L, &err);
    }
    lua_pushstring(L, printed);
    free(printed);
    return 1;
}

void bind_ptx(lua_State *L)
{
    lua_pushcfunction(L, ptx_lprint);
    lua_setfield(L, -2, "ptx_print");
}
