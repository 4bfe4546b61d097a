/* The program: `nibble SCRIPT.lua …` runs a script, `nibble NAME …` runs scripts/NAME.lua, `nibble` alone is a REPL.
 * Scripts find `require "nibble"` (the bindings), `require "scripts.lib.x"`, `require "tuner.x"` from the root of the tree.
 * The only place that turns an error into a message and an exit status: a script that raises {code=, message=} or whose
 * assert(nil, message, code) fails ends with the status of that kind; any other Lua error ends with 70. */
#include <errno.h>
#include <limits.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bind/bind.h"

enum { STATUS_SCRIPT_FAULT = 70 };

int bind_fail(lua_State *L, const Err *err)
{
    lua_pushnil(L);
    lua_pushstring(L, err->text);
    lua_pushstring(L, err_name(err->kind));
    return 3;
}

void bind_type(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, meta, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

static int open_nibble(lua_State *L)
{
    lua_newtable(L);
#define BIND(module) bind_##module(L);
#include "core/bind/bind.def"
#undef BIND
    return 1;
}

/* assert that keeps the error's kind: assert(nil, message, "E_IO") raises a table the program turns into an exit status. */
static int kind_assert(lua_State *L)
{
    if (lua_toboolean(L, 1))
        return lua_gettop(L);
    luaL_checkany(L, 1);
    if (lua_type(L, 3) != LUA_TSTRING || err_kind(lua_tostring(L, 3)) == E_NONE) {
        lua_remove(L, 1);
        lua_pushliteral(L, "assertion failed!");
        lua_settop(L, 1);
        return lua_error(L);
    }
    lua_newtable(L);
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "message");
    lua_pushvalue(L, 3);
    lua_setfield(L, -2, "code");
    lua_newtable(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "nibble.error_text");
    lua_setfield(L, -2, "__tostring");
    lua_setmetatable(L, -2);
    return lua_error(L);
}

/* print, but lost output is an error. */
static int kind_print(lua_State *L)
{
    int n = lua_gettop(L);
    errno = 0;
    for (int i = 1; i <= n; i++) {
        size_t len;
        const char *s = luaL_tolstring(L, i, &len);
        if (i > 1)
            putchar('\t');
        fwrite(s, 1, len, stdout);
        lua_pop(L, 1);
    }
    putchar('\n');
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    Err err;
    fail_errno(&err, "cannot write to stdout");
    lua_settop(L, 0);
    bind_fail(L, &err);
    return kind_assert(L);
}

static int error_text(lua_State *L)
{
    lua_getfield(L, 1, "message");
    return 1;
}

static int on_error(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING)
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

/* The folder that holds scripts/: where the program was built, or where it stands. */
static bool find_root(char *root, size_t n)
{
    ssize_t len = readlink("/proc/self/exe", root, n - 1);
    if (len <= 0)
        return false;
    root[len] = 0;
    for (char *cut = strrchr(root, '/'); cut; cut = strrchr(root, '/')) {
        char probe[PATH_MAX + 16];
        *cut = 0;
        snprintf(probe, sizeof probe, "%s/scripts/lib", root);
        if (access(probe, R_OK) == 0)
            return true;
    }
    return false;
}

static void set_paths(lua_State *L, const char *root)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s", root, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 1);
    lua_getfield(L, -1, "cpath");
    lua_pushfstring(L, "%s/lib/?.so;%s", root, lua_tostring(L, -1)); /* a bundle's modules */
    lua_setfield(L, -3, "cpath");
    lua_pop(L, 2);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open_nibble);
    lua_setfield(L, -2, "nibble");
    lua_pop(L, 1);
    lua_pushcfunction(L, error_text);
    lua_setfield(L, LUA_REGISTRYINDEX, "nibble.error_text");
    lua_pushcfunction(L, kind_assert);
    lua_setglobal(L, "assert");
    lua_pushcfunction(L, kind_print);
    lua_setglobal(L, "print");
    lua_pushstring(L, root);
    lua_setglobal(L, "NIBBLE_ROOT");
}

static bool is_reported;

/* Output that got lost behind io.write is an error too, whichever way the script ends. Runs at exit. */
static void flush_stdout(void)
{
    errno = 0;
    bool is_lost = fflush(stdout) != 0 || ferror(stdout);
    if (!is_lost || is_reported)
        return;
    Err err;
    if (errno == 0)
        errno = EIO; /* an earlier write failed, its reason is gone */
    fail_errno(&err, "cannot write to stdout");
    fprintf(stderr, "nibble: %s\n", err.text);
    _exit(err_status(err.kind));
}

static int report(lua_State *L)
{
    is_reported = true;
    if (lua_type(L, -1) == LUA_TTABLE && lua_getfield(L, -1, "code") == LUA_TSTRING) {
        const char *code = lua_tostring(L, -1);
        lua_getfield(L, -2, "message");
        fprintf(stderr, "nibble: %s\n", luaL_tolstring(L, -1, NULL));
        return err_kind(code) != E_NONE ? err_status(err_kind(code)) : STATUS_SCRIPT_FAULT;
    }
    fprintf(stderr, "nibble: %s\n", luaL_tolstring(L, -1, NULL));
    return STATUS_SCRIPT_FAULT;
}

/* Path of the script that the first argument names; NULL when there is none. */
static const char *script_path(const char *root, const char *name, char *buf, size_t n)
{
    if (strlen(name) > 4 && strcmp(name + strlen(name) - 4, ".lua") == 0)
        return name;
    snprintf(buf, n, "%s/scripts/%s.lua", root, name);
    bool is_plain = name[strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789")] == 0;
    return is_plain && access(buf, R_OK) == 0 ? buf : NULL;
}

static int repl(lua_State *L)
{
    char line[4096];
    bool tty = isatty(0);
    if (luaL_dostring(L, "nb = require 'nibble'") != LUA_OK)
        return report(L);
    for (;;) {
        if (tty)
            fputs("> ", stdout), fflush(stdout);
        if (!fgets(line, sizeof line, stdin))
            return 0;
        lua_settop(L, 0);
        lua_pushfstring(L, "return %s", line);
        if (luaL_loadstring(L, lua_tostring(L, 1)) != LUA_OK) {
            lua_settop(L, 0);
            if (luaL_loadstring(L, line) != LUA_OK) {
                report(L);
                continue;
            }
        } else {
            lua_remove(L, 1);
        }
        if (lua_pcall(L, 0, LUA_MULTRET, 0) != LUA_OK) {
            report(L);
            continue;
        }
        for (int i = 1; i <= lua_gettop(L); i++)
            printf("%s%s", luaL_tolstring(L, i, NULL), (lua_pop(L, 1), i == lua_gettop(L) ? "\n" : "\t"));
    }
}

/* Threads that wait for work by spinning slow a shared machine down several times over, and only the environment tells OpenMP's
 * library not to, before the program starts: so it starts once more. Going on without is only slower. */
static void wait_asleep(char **argv)
{
    char self[PATH_MAX] = "";
    if (!getenv("OMP_WAIT_POLICY") && setenv("OMP_WAIT_POLICY", "passive", 0) == 0 &&
        readlink("/proc/self/exe", self, sizeof self - 1) > 0)
        execv(self, argv);
}

int main(int argc, char **argv)
{
    wait_asleep(argv);
    atexit(flush_stdout);
    char root[PATH_MAX] = ".", path[PATH_MAX + 64];
    find_root(root, sizeof root);
    lua_State *L = luaL_newstate();
    if (!L)
        return err_status(E_MEMORY);
    luaL_openlibs(L);
    set_paths(L, root);
    int status = 0;
    if (argc < 2) {
        status = repl(L);
        lua_close(L);
        return status;
    }
    const char *name = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ? "help" : argv[1];
    const char *script = script_path(root, name, path, sizeof path);
    if (!script) {
        fprintf(stderr, "nibble: no command \"%s\"; `nibble --help` lists them\n", name);
        lua_close(L);
        return err_status(E_USAGE);
    }
    if (!lua_checkstack(L, argc + LUA_MINSTACK)) {
        fprintf(stderr, "nibble: %d arguments are too many\n", argc);
        lua_close(L);
        return err_status(E_USAGE);
    }
    lua_createtable(L, argc, 0);
    for (int i = 1; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - 1);
    }
    lua_setglobal(L, "arg");
    lua_pushcfunction(L, on_error);
    if (luaL_loadfile(L, script) != LUA_OK)
        status = report(L);
    else {
        for (int i = 2; i < argc; i++)
            lua_pushstring(L, argv[i]);
        if (lua_pcall(L, argc - 2, 1, 1) != LUA_OK)
            status = report(L);
        else if (lua_isinteger(L, -1))
            status = (int)lua_tointeger(L, -1);
    }
    lua_close(L);
    return status;
}
