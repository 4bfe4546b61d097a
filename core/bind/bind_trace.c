/* nibble.trace: traces of runs (traces/FORMAT.md). Rows are counted from 0; what may fail returns nil, message, code.
 *   local t <close> = assert(nb.trace.create(path, { capacity = rows, deflate = 1, meta = {…},
 *     taps = { { name = "layer00/mixer", dtype = "F32", shape = {128}, labels = {"hidden"}, unit = "1", partial = false },
 *              … } }))
 *   t:write(tap, first_row, tensor [, rows_n])       the tensor's first dimension counts rows
 *   t:rows(first_row, { seq = {…}, pos = {…}, step = {…}, token = {…} })   marks them done
 *   assert(t:close { name = value })                 compresses and ends; a <close> local that ends otherwise leaves the file
 *                                                    with its finished rows, or none when there are none
 *   local r <close> = assert(nb.trace.open(path))
 *   r:taps() → { { name=, dtype=, shape=, partial= }, … }
 *   r:rows() → { row={…}, seq={…}, pos={…}, step={…}, token={…} } of done rows
 *   r:read(tap [, {row, …}]) → Tensor   r:present(tap) → { row, … }   r:meta() → table   r:is_finished() → boolean */
#include <stdlib.h>
#include <string.h>

#include "core/bind/bind.h"
#include "core/file/trace.h"

#define WRITER_TYPE "nibble.TraceWriter"
#define READER_TYPE "nibble.TraceReader"

typedef struct WriterBox {
    TraceWriter *w; /* NULL once closed */
} WriterBox;

typedef struct ReaderBox {
    TraceReader *r;
} ReaderBox;

static TraceWriter *check_writer(lua_State *L)
{
    WriterBox *box = luaL_checkudata(L, 1, WRITER_TYPE);
    luaL_argcheck(L, box->w, 1, "the trace is closed");
    return box->w;
}

static TraceReader *check_reader(lua_State *L)
{
    ReaderBox *box = luaL_checkudata(L, 1, READER_TYPE);
    luaL_argcheck(L, box->r, 1, "the trace is closed");
    return box->r;
}

/* ---- from Lua to TraceDesc; memory comes from Lua (userdata left on the stack), so that a raise loses nothing ---- */

static void *scratch(lua_State *L, size_t n, size_t size)
{
    void *p = lua_newuserdatauv(L, n * size + 1, 0);
    memset(p, 0, n * size + 1);
    return p;
}

/* Reads {shape…} and {labels…} of the tap table on top of the stack. Strings stay alive in that table. */
static void take_extents(lua_State *L, TraceTap *tap)
{
    if (lua_getfield(L, -1, "shape") != LUA_TNIL) {
        luaL_argcheck(L, lua_istable(L, -1) && luaL_len(L, -1) <= TRACE_RANK_MAX, 2,
                      "a tap's shape is a list of at most 4 extents");
        tap->rank = (int)luaL_len(L, -1);
        for (int i = 0; i < tap->rank; i++) {
            lua_geti(L, -1, i + 1);
            luaL_argcheck(L, lua_isinteger(L, -1) && lua_tointeger(L, -1) > 0, 2, "a tap's extents are positive");
            tap->shape[i] = (size_t)lua_tointeger(L, -1);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    if (lua_getfield(L, -1, "labels") != LUA_TNIL) {
        luaL_argcheck(L, lua_istable(L, -1) && luaL_len(L, -1) <= tap->rank, 2, "a tap has at most one label an extent");
        for (int i = 0; i < tap->rank; i++) {
            luaL_argcheck(L, lua_geti(L, -1, i + 1) <= LUA_TNIL || lua_type(L, -1) == LUA_TSTRING, 2, "a label is a string");
            tap->labels[i] = lua_tostring(L, -1);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

static void take_tap(lua_State *L, TraceTap *tap)
{
    luaL_argcheck(L, lua_istable(L, -1), 2, "a tap is a table");
    luaL_argcheck(L, lua_getfield(L, -1, "name") == LUA_TSTRING, 2, "a tap has a name");
    tap->name = lua_tostring(L, -1);
    lua_pop(L, 1);
    luaL_argcheck(L, lua_getfield(L, -1, "dtype") == LUA_TSTRING, 2, "a tap has a dtype");
    tap->dtype = dtype_from_name(lua_tostring(L, -1));
    luaL_argcheck(L, tap->dtype != DTYPE_NONE, 2, "a tap's dtype is unknown");
    lua_pop(L, 1);
    luaL_argcheck(L, lua_getfield(L, -1, "unit") <= LUA_TNIL || lua_type(L, -1) == LUA_TSTRING, 2, "a unit is a string");
    tap->unit = lua_tostring(L, -1);
    lua_pop(L, 1);
    lua_getfield(L, -1, "partial");
    tap->is_partial = lua_toboolean(L, -1);
    lua_pop(L, 1);
    take_extents(L, tap);
}

static void free_meta(size_t n, TraceMeta *meta)
{
    for (size_t i = 0; i < n; i++)
        h5_attr_free(&meta[i].value);
}

/* The table at index `table` (or nothing) as *n attributes, freed by free_meta. Names stay alive in the table. */
static TraceMeta *take_meta(lua_State *L, int table, int arg, size_t *n)
{
    *n = 0;
    if (lua_isnoneornil(L, table))
        return NULL;
    luaL_argcheck(L, lua_istable(L, table), arg, "meta is a table");
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        H5Attr attr; /* a first pass raises what is to be raised before anything is kept */
        luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING && lua_rawlen(L, -2) > 0, arg, "attributes have names");
        if (bind_check_attr(L, -1, arg, &attr))
            h5_attr_free(&attr);
        count++;
    }
    TraceMeta *meta = scratch(L, count, sizeof *meta);
    for (lua_pushnil(L); lua_next(L, table) && *n < count; lua_pop(L, 1)) {
        meta[*n].name = lua_tostring(L, -2);
        if (!bind_check_attr(L, -1, arg, &meta[*n].value)) {
            free_meta(*n, meta);
            luaL_error(L, "not enough memory");
        }
        ++*n;
    }
    return meta;
}

/* nb.trace.create(path, {capacity, taps, meta, deflate}) */
static int trace_lcreate(lua_State *L)
{
    TraceDesc desc = {.path = luaL_checkstring(L, 1)};
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    WriterBox *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->w = NULL;
    luaL_setmetatable(L, WRITER_TYPE);
    lua_getfield(L, 2, "capacity");
    luaL_argcheck(L, lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 0, 2, "capacity is a number of rows");
    desc.capacity = (size_t)lua_tointeger(L, -1);
    lua_getfield(L, 2, "deflate");
    luaL_argcheck(L, lua_isnil(L, -1) || (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 0 && lua_tointeger(L, -1) <= 9), 2,
                  "deflate is 0 to 9");
    desc.deflate = lua_isnil(L, -1) ? 1 : (int)lua_tointeger(L, -1);
    luaL_argcheck(L, lua_getfield(L, 2, "taps") == LUA_TTABLE, 2, "taps is a list");
    int taps_at = lua_gettop(L);
    desc.taps_n = (size_t)luaL_len(L, taps_at);
    TraceTap *taps = scratch(L, desc.taps_n, sizeof *taps);
    for (size_t i = 0; i < desc.taps_n; i++) {
        lua_geti(L, taps_at, (lua_Integer)i + 1);
        take_tap(L, &taps[i]);
        lua_pop(L, 1);
    }
    lua_getfield(L, 2, "meta");
    TraceMeta *meta = take_meta(L, lua_gettop(L), 2, &desc.meta_n);
    desc.taps = taps;
    desc.meta = meta;
    Err err;
    box->w = trace_create(&desc, &err);
    free_meta(desc.meta_n, meta);
    if (!box->w)
        return bind_fail(L, &err);
    lua_pushvalue(L, 3);
    return 1;
}

static int trace_lwrite(lua_State *L)
{
    TraceWriter *w = check_writer(L);
    const char *name = luaL_checkstring(L, 2);
    lua_Integer first = luaL_checkinteger(L, 3);
    const Tensor *t = check_tensor(L, 4);
    int tap = trace_tap(w, name);
    luaL_argcheck(L, tap >= 0, 2, "the trace has no such tap");
    luaL_argcheck(L, first >= 0, 3, "rows are counted from 0");
    luaL_argcheck(L, t->rank > 0, 4, "a scalar has no rows");
    lua_Integer n = luaL_optinteger(L, 5, (lua_Integer)t->shape[0]);
    luaL_argcheck(L, n >= 0 && (size_t)n <= t->shape[0], 5, "more rows than the tensor has");
    Err err;
    size_t row_bytes = t->shape[0] ? tensor_bytes(t) / t->shape[0] : trace_row_bytes(w, tap);
    bool ok = t->dtype == trace_dtype(w, tap) && row_bytes == trace_row_bytes(w, tap);
    if (!ok) {
        char found[160];
        fail(&err, E_SHAPE, "tap %s: expected rows of %zu %s, found %s", name,
             trace_row_bytes(w, tap) / dtype_bytes(trace_dtype(w, tap)), dtype_name(trace_dtype(w, tap)),
             tensor_describe(t, found, sizeof found));
    }
    lua_pushboolean(L, 1);
    return ok && trace_put(w, tap, (size_t)first, (size_t)n, t->data, &err) ? 1 : bind_fail(L, &err);
}

/* t:rows(first_row, {seq=, pos=, step=, token=}) */
static int trace_lrows(lua_State *L)
{
    static const char *const fields[] = {"seq", "pos", "step", "token"};
    TraceWriter *w = check_writer(L);
    lua_Integer first = luaL_checkinteger(L, 2);
    luaL_argcheck(L, first >= 0, 2, "rows are counted from 0");
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    luaL_argcheck(L, lua_getfield(L, 3, "seq") == LUA_TTABLE, 3, "rows have lists seq, pos, step and token");
    size_t n = (size_t)luaL_len(L, -1);
    TraceRow *rows = scratch(L, n, sizeof *rows);
    for (int f = 0; f < 4; f++) {
        bool is_list = lua_getfield(L, 3, fields[f]) == LUA_TTABLE && (size_t)luaL_len(L, -1) == n;
        luaL_argcheck(L, is_list, 3, "rows have lists seq, pos, step and token of one length");
        for (size_t i = 0; i < n; i++) {
            lua_geti(L, -1, (lua_Integer)i + 1);
            lua_Integer v = lua_tointeger(L, -1);
            luaL_argcheck(L, lua_isinteger(L, -1) && v >= INT32_MIN && v <= INT32_MAX, 3, "rows hold 32-bit integers");
            int32_t *to[] = {&rows[i].seq, &rows[i].pos, &rows[i].step, &rows[i].token};
            *to[f] = (int32_t)v;
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    Err err;
    lua_pushboolean(L, 1);
    return trace_finish(w, (size_t)first, n, rows, &err) ? 1 : bind_fail(L, &err);
}

static int trace_lclose(lua_State *L)
{
    WriterBox *box = luaL_checkudata(L, 1, WRITER_TYPE);
    lua_settop(L, 2);
    size_t n;
    TraceMeta *meta = take_meta(L, 2, 2, &n);
    TraceWriter *w = box->w;
    box->w = NULL;
    Err err;
    bool ok = !w || trace_close(w, n, meta, &err);
    free_meta(n, meta);
    lua_pushboolean(L, 1);
    return ok ? 1 : bind_fail(L, &err);
}

static int writer_gc(lua_State *L)
{
    WriterBox *box = luaL_checkudata(L, 1, WRITER_TYPE);
    trace_discard(box->w);
    box->w = NULL;
    return 0;
}

static int writer_tostring(lua_State *L)
{
    WriterBox *box = luaL_checkudata(L, 1, WRITER_TYPE);
    lua_pushfstring(L, "trace writer%s", box->w ? "" : " (closed)");
    return 1;
}

/* ---- reading ---- */

static int trace_lopen(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    ReaderBox *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->r = NULL;
    luaL_setmetatable(L, READER_TYPE);
    Err err;
    box->r = trace_open(path, &err);
    return box->r ? 1 : bind_fail(L, &err);
}

static int reader_taps(lua_State *L)
{
    const TraceReader *r = check_reader(L);
    lua_createtable(L, (int)r->taps_n, 0);
    for (size_t i = 0; i < r->taps_n; i++) {
        const TraceTap *tap = &r->taps[i];
        lua_createtable(L, 0, 4);
        lua_pushstring(L, tap->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, dtype_name(tap->dtype));
        lua_setfield(L, -2, "dtype");
        lua_pushboolean(L, tap->is_partial);
        lua_setfield(L, -2, "partial");
        lua_createtable(L, tap->rank, 0);
        for (int d = 0; d < tap->rank; d++) {
            lua_pushinteger(L, (lua_Integer)tap->shape[d]);
            lua_seti(L, -2, d + 1);
        }
        lua_setfield(L, -2, "shape");
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int reader_rows(lua_State *L)
{
    static const char *const fields[] = {"row", "seq", "pos", "step", "token"};
    const TraceReader *r = check_reader(L);
    lua_createtable(L, 0, 5);
    for (int f = 0; f < 5; f++) {
        lua_Integer n = 0;
        lua_newtable(L);
        for (size_t i = 0; i < r->rows_n; i++) {
            if (!r->done[i])
                continue;
            const TraceRow *row = &r->rows[i];
            lua_pushinteger(L, (lua_Integer[]){(lua_Integer)i, row->seq, row->pos, row->step, row->token}[f]);
            lua_seti(L, -2, ++n);
        }
        lua_setfield(L, -2, fields[f]);
    }
    return 1;
}

static int check_tap(lua_State *L, const TraceReader *r)
{
    int tap = trace_find(r, luaL_checkstring(L, 2));
    luaL_argcheck(L, tap >= 0, 2, "the trace has no such tap");
    return tap;
}

/* r:read(tap [, {row, …}]): without a list every place for rows, done or not */
static int reader_read(lua_State *L)
{
    TraceReader *r = check_reader(L);
    int tap = check_tap(L, r);
    bool is_chosen = !lua_isnoneornil(L, 3);
    if (is_chosen)
        luaL_checktype(L, 3, LUA_TTABLE);
    size_t n = is_chosen ? (size_t)luaL_len(L, 3) : r->rows_n;
    size_t *rows = scratch(L, n, sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        rows[i] = i;
        if (!is_chosen)
            continue;
        lua_geti(L, 3, (lua_Integer)i + 1);
        lua_Integer row = lua_tointeger(L, -1);
        luaL_argcheck(L, lua_isinteger(L, -1) && row >= 0 && (size_t)row < r->rows_n, 3, "a row is outside the trace");
        rows[i] = (size_t)row;
        lua_pop(L, 1);
    }
    Err err;
    Tensor *t = trace_read(r, tap, n, rows, &err);
    if (!t)
        return bind_fail(L, &err);
    bind_push_tensor(L, t);
    return 1;
}

static int reader_present(lua_State *L)
{
    TraceReader *r = check_reader(L);
    int tap = check_tap(L, r);
    uint8_t *present;
    Err err;
    if (!trace_present(r, tap, &present, &err))
        return bind_fail(L, &err);
    lua_newtable(L);
    lua_Integer n = 0;
    for (size_t i = 0; i < r->rows_n; i++)
        if (present[i]) {
            lua_pushinteger(L, (lua_Integer)i);
            lua_seti(L, -2, ++n);
        }
    free(present);
    return 1;
}

static int reader_meta(lua_State *L)
{
    TraceReader *r = check_reader(L);
    return bind_push_attrs(L, r->file, "meta");
}

static int reader_is_finished(lua_State *L)
{
    lua_pushboolean(L, check_reader(L)->is_finished);
    return 1;
}

static int reader_gc(lua_State *L)
{
    ReaderBox *box = luaL_checkudata(L, 1, READER_TYPE);
    trace_free(box->r);
    box->r = NULL;
    return 0;
}

static int reader_tostring(lua_State *L)
{
    ReaderBox *box = luaL_checkudata(L, 1, READER_TYPE);
    lua_pushfstring(L, "trace %s", box->r ? h5_path(box->r->file) : "(closed)");
    return 1;
}

void bind_trace(lua_State *L)
{
    static const luaL_Reg writer[] = {{"write", trace_lwrite}, {"rows", trace_lrows}, {"close", trace_lclose}, {NULL, NULL}};
    static const luaL_Reg writer_meta[] = {
        {"__gc", writer_gc}, {"__close", writer_gc}, {"__tostring", writer_tostring}, {NULL, NULL}};
    static const luaL_Reg reader[] = {
        {"taps", reader_taps},       {"rows", reader_rows}, {"read", reader_read},
        {"present", reader_present}, {"meta", reader_meta}, {"is_finished", reader_is_finished},
        {"close", reader_gc},        {NULL, NULL},
    };
    static const luaL_Reg reader_type[] = {
        {"__gc", reader_gc}, {"__close", reader_gc}, {"__tostring", reader_tostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"create", trace_lcreate}, {"open", trace_lopen}, {NULL, NULL}};
    bind_type(L, WRITER_TYPE, writer, writer_meta);
    bind_type(L, READER_TYPE, reader, reader_type);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "trace");
}
