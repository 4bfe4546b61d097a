/* nibble.scan: what stored bytes hold, for files whose header may be broken.
 *   scan.open(path) → file: file:bytes(), file:read(offset, n) → string, file:scalars{offset, …} → list of f32
 *   scan.headers{path, …} → columns over the tensors of all files: lists names, dtypes, shapes, offsets, bytes, owner (number
 *     of the file), and at = name → place in them, twice = list of {name, first, second} (names that a second file has again),
 *     errors = number of a file → why it is refused; a shape is a string "512,1024" ("" for one element), so that shapes
 *     compare as values
 *   scan.index(text) → index of a sharded checkpoint: index:files(), index:map() → tensor → file name,
 *     index:fits(at, owner, count, { file name → owner }) → does it name exactly those tensors, each in its file?
 *   scan.run({ { file=, dtype=, offset=, bytes=, code_file=, code_offset= }, … }, label) → list of tables as ScanStats names them
 * What may fail returns nil, message, code. */
#include <stdlib.h>
#include <string.h>

#include "core/bind/bind.h"
#include "core/file/checkpoint_index.h"
#include "core/file/safetensors.h"
#include "core/file/scan.h"

#define SCAN_TYPE "nibble.ScanFile"
#define INDEX_TYPE "nibble.ShardIndex"

typedef struct ScanBox {
    ScanFile *file; /* NULL once closed */
} ScanBox;

static const ScanFile *check_scan(lua_State *L, int arg)
{
    ScanBox *box = luaL_checkudata(L, arg, SCAN_TYPE);
    luaL_argcheck(L, box->file, arg, "the file is closed");
    return box->file;
}

static int scan_lopen(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    ScanBox *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->file = NULL;
    luaL_setmetatable(L, SCAN_TYPE);
    Err err;
    box->file = scan_open(path, &err);
    return box->file ? 1 : bind_fail(L, &err);
}

static int scan_lbytes(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)scan_file_bytes(check_scan(L, 1)));
    return 1;
}

static int scan_lread(lua_State *L)
{
    const ScanFile *f = check_scan(L, 1);
    lua_Integer offset = luaL_checkinteger(L, 2), n = luaL_checkinteger(L, 3);
    luaL_argcheck(L, offset >= 0, 2, "an offset is not negative");
    luaL_argcheck(L, n >= 0, 3, "a count is not negative");
    Err err;
    if ((uint64_t)n > scan_file_bytes(f)) {
        fail(&err, E_IO, "%lld bytes wanted of a file of %llu", (long long)n, (unsigned long long)scan_file_bytes(f));
        return bind_fail(L, &err);
    }
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, (size_t)n);
    if (!scan_read(f, (uint64_t)offset, (size_t)n, out, &err))
        return bind_fail(L, &err);
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static int scan_lscalars(lua_State *L)
{
    const ScanFile *f = check_scan(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    size_t n = lua_rawlen(L, 2);
    /* the collector's, also when an element is no integer */
    uint64_t *offsets = lua_newuserdatauv(L, n * sizeof *offsets + 1, 0);
    float *values = lua_newuserdatauv(L, n * sizeof *values + 1, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        offsets[i] = (uint64_t)luaL_checkinteger(L, -1);
        lua_pop(L, 1);
    }
    Err err;
    if (!scan_read_f32(f, offsets, n, values, &err))
        return bind_fail(L, &err);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_pushnumber(L, (lua_Number)values[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int scan_lclose(lua_State *L)
{
    ScanBox *box = luaL_checkudata(L, 1, SCAN_TYPE);
    scan_close(box->file);
    box->file = NULL;
    return 0;
}

static int scan_ltostring(lua_State *L)
{
    ScanBox *box = luaL_checkudata(L, 1, SCAN_TYPE);
    if (box->file)
        lua_pushfstring(L, "scan file of %I bytes", (LUAI_UACINT)scan_file_bytes(box->file));
    else
        lua_pushliteral(L, "scan file (closed)");
    return 1;
}

/* By hand: printf takes a noticeable part of the time that a header of 125,000 tensors has. */
static size_t append_decimal(char *out, size_t v)
{
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[n - 1 - i];
    return n;
}

static void push_shape(lua_State *L, const SafetensorsEntry *e)
{
    char text[SAFETENSORS_RANK_MAX * 21];
    size_t at = 0;
    for (int d = 0; d < e->rank; d++) {
        if (d)
            text[at++] = ',';
        at += append_decimal(text + at, e->shape[d]);
    }
    lua_pushlstring(L, text, at);
}

enum { COLUMNS = 6 };

/* Files whose headers are read together. */
typedef struct Headers {
    size_t n;
    Safetensors **files; /* NULL where errs says why */
    Err *errs;
} Headers;

static void push_twice(lua_State *L, int list, const char *name, lua_Integer first, size_t second)
{
    lua_createtable(L, 0, 3);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_pushinteger(L, first);
    lua_setfield(L, -2, "first");
    lua_pushinteger(L, (lua_Integer)second);
    lua_setfield(L, -2, "second");
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

static int header_columns(lua_State *L)
{
    static const char *const names[COLUMNS] = {"names", "dtypes", "shapes", "offsets", "bytes", "owner"};
    const Headers *h = lua_touserdata(L, 1);
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++)
        n += h->files[i] ? safetensors_count(h->files[i]) : 0;
    luaL_checkstack(L, COLUMNS + 16, "no room for headers");
    lua_createtable(L, 0, COLUMNS + 3);
    int table = lua_gettop(L), at = table + COLUMNS + 1, twice = at + 1, errors = at + 2;
    for (int c = 0; c < COLUMNS; c++)
        lua_createtable(L, (int)n, 0);
    lua_createtable(L, 0, (int)n);
    lua_newtable(L);
    lua_newtable(L);
    lua_Integer row = 0;
    for (size_t file = 0; file < h->n; file++) {
        const Safetensors *f = h->files[file];
        if (!f) {
            lua_pushstring(L, h->errs[file].text);
            lua_rawseti(L, errors, (lua_Integer)file + 1);
        }
        for (size_t i = 0; f && i < safetensors_count(f); i++) {
            const SafetensorsEntry *e = safetensors_entry(f, i);
            lua_pushstring(L, e->name);
            lua_pushvalue(L, -1);
            if (lua_rawget(L, at) != LUA_TNIL) {
                lua_rawgeti(L, table + COLUMNS, lua_tointeger(L, -1));
                push_twice(L, twice, e->name, lua_tointeger(L, -1), file + 1);
                lua_pop(L, 3);
                continue;
            }
            lua_pop(L, 1);
            row++;
            lua_pushvalue(L, -1);
            lua_pushinteger(L, row);
            lua_rawset(L, at);
            lua_rawseti(L, table + 1, row);
            lua_pushstring(L, dtype_name(e->dtype));
            lua_rawseti(L, table + 2, row);
            push_shape(L, e);
            lua_rawseti(L, table + 3, row);
            lua_pushinteger(L, (lua_Integer)e->offset);
            lua_rawseti(L, table + 4, row);
            lua_pushinteger(L, (lua_Integer)e->bytes);
            lua_rawseti(L, table + 5, row);
            lua_pushinteger(L, (lua_Integer)file + 1);
            lua_rawseti(L, table + 6, row);
        }
    }
    lua_setfield(L, table, "errors");
    lua_setfield(L, table, "twice");
    lua_setfield(L, table, "at");
    for (int c = COLUMNS - 1; c >= 0; c--)
        lua_setfield(L, table, names[c]);
    return 1;
}

static int scan_lheaders(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    Headers h = {.n = lua_rawlen(L, 1)};
    h.files = lua_newuserdatauv(L, (h.n + 1) * sizeof *h.files, 0);
    h.errs = lua_newuserdatauv(L, (h.n + 1) * sizeof *h.errs, 0);
    const char **paths = lua_newuserdatauv(L, (h.n + 1) * sizeof *paths, 0);
    for (size_t i = 0; i < h.n; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        paths[i] = luaL_checkstring(L, -1); /* stays alive in the list */
        lua_pop(L, 1);
    }
#pragma omp parallel for schedule(dynamic, 1) if (h.n > 1)
    for (size_t i = 0; i < h.n; i++)
        h.files[i] = safetensors_open(paths[i], &h.errs[i]);
    lua_pushcfunction(L, header_columns);
    lua_pushlightuserdata(L, &h);
    int rc = lua_pcall(L, 1, 1, 0); /* the files must be closed also when Lua's memory ends */
    for (size_t i = 0; i < h.n; i++)
        safetensors_close(h.files[i]);
    return rc == LUA_OK ? 1 : lua_error(L);
}

static CheckpointIndex *check_index(lua_State *L, int arg) { return luaL_checkudata(L, arg, INDEX_TYPE); }

static int scan_lindex(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    CheckpointIndex *index = lua_newuserdatauv(L, sizeof *index, 0);
    *index = (CheckpointIndex){0};
    luaL_setmetatable(L, INDEX_TYPE);
    Err err;
    return checkpoint_index_parse(index, text, n, &err) ? 1 : bind_fail(L, &err);
}

static int index_lfiles(lua_State *L)
{
    const CheckpointIndex *index = check_index(L, 1);
    lua_createtable(L, (int)index->files_n, 0);
    for (size_t i = 0; i < index->files_n; i++) {
        lua_pushstring(L, index->files[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int index_lmap(lua_State *L)
{
    const CheckpointIndex *index = check_index(L, 1);
    index_lfiles(L);
    lua_createtable(L, 0, (int)index->rows_n);
    for (size_t i = 0; i < index->rows_n; i++) {
        lua_pushstring(L, index->rows[i].tensor);
        lua_rawgeti(L, -3, (lua_Integer)index->rows[i].file + 1);
        lua_rawset(L, -3);
    }
    return 1;
}

/* index:fits(at, owner, names_n, { file name → owner }): is every row a tensor of that file, and every tensor a row? */
static int index_lfits(lua_State *L)
{
    const CheckpointIndex *index = check_index(L, 1);
    for (int i = 2; i <= 5; i++)
        if (i != 4)
            luaL_checktype(L, i, LUA_TTABLE);
    bool fits = luaL_checkinteger(L, 4) == (lua_Integer)index->rows_n;
    lua_Integer *owners = lua_newuserdatauv(L, (index->files_n + 1) * sizeof *owners, 0);
    for (size_t i = 0; i < index->files_n; i++) {
        lua_getfield(L, 5, index->files[i]);
        owners[i] = lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    for (size_t i = 0; fits && i < index->rows_n; i++) {
        lua_pushstring(L, index->rows[i].tensor);
        fits = lua_rawget(L, 2) != LUA_TNIL;
        if (fits) {
            lua_rawgeti(L, 3, lua_tointeger(L, -1));
            fits = lua_tointeger(L, -1) == owners[index->rows[i].file];
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    lua_pushboolean(L, fits);
    return 1;
}

static int index_lclose(lua_State *L)
{
    CheckpointIndex *index = check_index(L, 1);
    checkpoint_index_deinit(index);
    *index = (CheckpointIndex){0};
    return 0;
}

static int index_ltostring(lua_State *L)
{
    lua_pushfstring(L, "shard index of %d tensors", (int)check_index(L, 1)->rows_n);
    return 1;
}

static uint64_t item_integer(lua_State *L, const char *key)
{
    lua_getfield(L, -1, key);
    lua_Integer v = luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return (uint64_t)v;
}

static void take_item(lua_State *L, ScanItem *item)
{
    lua_getfield(L, -1, "file");
    item->file = check_scan(L, -1);
    lua_pop(L, 1);
    lua_getfield(L, -1, "dtype");
    item->dtype = dtype_from_name(luaL_checkstring(L, -1));
    lua_pop(L, 1);
    item->offset = item_integer(L, "offset");
    item->bytes = item_integer(L, "bytes");
    if (item->dtype == DTYPE_NONE || item->bytes % dtype_bytes(item->dtype) != 0)
        luaL_error(L, "an item to scan is a whole number of elements of a known type");
    if (lua_getfield(L, -1, "code_file") != LUA_TNIL) {
        item->code_file = check_scan(L, -1);
        lua_pop(L, 1);
        item->code_offset = item_integer(L, "code_offset");
    } else {
        lua_pop(L, 1);
    }
}

static void push_stats(lua_State *L, const ScanStats *s)
{
    lua_createtable(L, 0, 10);
#define COUNT(name) (lua_pushinteger(L, (lua_Integer)s->name), lua_setfield(L, -2, #name))
#define VALUE(name) (lua_pushnumber(L, s->name), lua_setfield(L, -2, #name))
    COUNT(count), COUNT(zeros), COUNT(nans), COUNT(infs), COUNT(negatives), COUNT(saturated), COUNT(lost);
    VALUE(amax), VALUE(min), VALUE(mean);
#undef COUNT
#undef VALUE
}

static int scan_lrun(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *label = luaL_checkstring(L, 2);
    size_t n = lua_rawlen(L, 1);
    ScanItem *items = lua_newuserdatauv(L, (n + 1) * sizeof *items, 0);
    memset(items, 0, (n + 1) * sizeof *items);
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        luaL_checktype(L, -1, LUA_TTABLE);
        take_item(L, &items[i]);
        lua_pop(L, 1);
        total += items[i].bytes;
    }
    Progress progress;
    progress_init(&progress, label, PROGRESS_BYTES, total);
    Err err;
    bool ok = scan_run(items, n, &progress, &err);
    progress_deinit(&progress);
    if (!ok)
        return bind_fail(L, &err);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        push_stats(L, &items[i].stats);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

void bind_scan(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"bytes", scan_lbytes}, {"read", scan_lread}, {"scalars", scan_lscalars}, {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", scan_lclose}, {"__close", scan_lclose}, {"__tostring", scan_ltostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"open", scan_lopen}, {"headers", scan_lheaders}, {"index", scan_lindex}, {"run", scan_lrun}, {NULL, NULL}};
    static const luaL_Reg index_methods[] = {
        {"files", index_lfiles}, {"map", index_lmap}, {"fits", index_lfits}, {NULL, NULL}};
    static const luaL_Reg index_meta[] = {
        {"__gc", index_lclose}, {"__close", index_lclose}, {"__tostring", index_ltostring}, {NULL, NULL}};
    bind_type(L, SCAN_TYPE, methods, meta);
    bind_type(L, INDEX_TYPE, index_methods, index_meta);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "scan");
}
