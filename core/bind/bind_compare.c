/* nibble.compare and its like. Coordinates and rows count from 0; differing shapes and the like return nil, message, code.
 *   nb.compare(got, want) → { n=, finite=, bad_got=, bad_want=, nmse=, sqnr_db=, cosine=, max_abs=, at={i,…}, got=, want=,
 *                             ulp={ count, … }, ulp_max={ 0, 1, 2, 4, …, inf } }      at, got, want: absent when n is 0
 *   nb.compare_logits(other, base, k) → { kl = Tensor f64[rows], top1 = share, topk = share }
 *   nb.nll(logits, targets: list or tensor of integers) → Tensor f64[rows]
 *   nb.compare_sets(a, b) → { rows=, equal_rows=, first_bad_row= or nil }
 *   nb.summary(tensor) → { n=, bad=, mean=, median=, p99=, min=, max= } */
#include <math.h>

#include "core/bind/bind.h"
#include "core/tensor/compare.h"

static void set_number(lua_State *L, const char *key, double v)
{
    lua_pushnumber(L, v);
    lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, size_t v)
{
    lua_pushinteger(L, (lua_Integer)v);
    lua_setfield(L, -2, key);
}

static void set_place(lua_State *L, const Tensor *t, size_t flat)
{
    lua_createtable(L, t->rank, 0);
    for (int d = t->rank - 1; d >= 0; d--) {
        lua_pushinteger(L, (lua_Integer)(flat % t->shape[d]));
        lua_seti(L, -2, d + 1);
        flat /= t->shape[d];
    }
    lua_setfield(L, -2, "at");
}

static void set_ulps(lua_State *L, const Compare *c)
{
    lua_createtable(L, COMPARE_ULP_BINS, 0);
    lua_createtable(L, COMPARE_ULP_BINS, 0);
    for (int bin = 0; bin < COMPARE_ULP_BINS; bin++) {
        lua_pushinteger(L, (lua_Integer)c->ulps[bin]);
        lua_seti(L, -3, bin + 1);
        lua_pushnumber(L, bin == 0 ? 0.0 : bin == COMPARE_ULP_BINS - 1 ? INFINITY : ldexp(1.0, bin - 1));
        lua_seti(L, -2, bin + 1);
    }
    lua_setfield(L, -3, "ulp_max");
    lua_setfield(L, -2, "ulp");
}

static int compare_lcompare(lua_State *L)
{
    const Tensor *got = check_tensor(L, 1), *want = check_tensor(L, 2);
    Compare c;
    Err err;
    if (!compare_tensors(got, want, &c, &err))
        return bind_fail(L, &err);
    lua_createtable(L, 0, 13);
    set_integer(L, "n", c.n);
    set_integer(L, "bad_got", c.bad_got);
    set_integer(L, "bad_want", c.bad_want);
    lua_pushboolean(L, c.bad_got == 0 && c.bad_want == 0);
    lua_setfield(L, -2, "finite");
    set_number(L, "nmse", c.nmse);
    set_number(L, "sqnr_db", c.sqnr_db);
    set_number(L, "cosine", c.cosine);
    set_number(L, "max_abs", c.max_abs);
    if (c.n) {
        set_number(L, "got", c.got);
        set_number(L, "want", c.want);
        set_place(L, got, c.at);
    }
    set_ulps(L, &c);
    return 1;
}

/* A new f64 tensor with an element for each row of the logits, on the stack. */
static Tensor *push_per_row(lua_State *L, const Tensor *logits, Err *err)
{
    size_t v = logits->rank ? logits->shape[logits->rank - 1] : 0;
    size_t rows = v ? tensor_count(logits) / v : 0;
    Tensor *t = tensor_new(DTYPE_F64, 1, &rows, err);
    if (t)
        bind_push_tensor(L, t);
    return t;
}

static int compare_llogits(lua_State *L)
{
    const Tensor *other = check_tensor(L, 1), *base = check_tensor(L, 2);
    lua_Integer k = luaL_optinteger(L, 3, 1);
    luaL_argcheck(L, k >= 1, 3, "at least 1");
    Err err;
    double top1, topk;
    lua_createtable(L, 0, 3);
    Tensor *kl = push_per_row(L, base, &err);
    if (!kl || !compare_logits(other, base, (size_t)k, kl->data, &top1, &topk, &err))
        return bind_fail(L, &err);
    lua_setfield(L, -2, "kl");
    set_number(L, "top1", top1);
    set_number(L, "topk", topk);
    return 1;
}

/* The integers of the list or tensor at arg, n of them, as a userdata on the stack. */
static int32_t *check_targets(lua_State *L, int arg, size_t n)
{
    bool is_list = lua_istable(L, arg);
    const Tensor *t = is_list ? NULL : check_tensor(L, arg);
    size_t count = is_list ? (size_t)luaL_len(L, arg) : tensor_count(t);
    luaL_argcheck(L, count == n, arg, "as many targets as rows of logits");
    int32_t *targets = lua_newuserdatauv(L, (n + 1) * sizeof *targets, 0);
    for (size_t i = 0; i < n; i++) {
        double v = 0;
        if (is_list) {
            lua_geti(L, arg, (lua_Integer)i + 1);
            v = luaL_checknumber(L, -1);
            lua_pop(L, 1);
        } else {
            v = tensor_get(t, i);
        }
        luaL_argcheck(L, v == floor(v) && fabs(v) <= INT32_MAX, arg, "targets are integers of 32 bits");
        targets[i] = (int32_t)v;
    }
    return targets;
}

static int compare_lnll(lua_State *L)
{
    const Tensor *logits = check_tensor(L, 1);
    Err err;
    Tensor *nll = push_per_row(L, logits, &err);
    if (!nll)
        return bind_fail(L, &err);
    const int32_t *targets = check_targets(L, 2, tensor_count(nll));
    if (!compare_nll(logits, targets, nll->data, &err))
        return bind_fail(L, &err);
    lua_pop(L, 1);
    return 1;
}

static int compare_lsets(lua_State *L)
{
    CompareSets sets;
    Err err;
    if (!compare_sets(check_tensor(L, 1), check_tensor(L, 2), &sets, &err))
        return bind_fail(L, &err);
    lua_createtable(L, 0, 3);
    set_integer(L, "rows", sets.rows);
    set_integer(L, "equal_rows", sets.equal_rows);
    if (sets.first_bad_row < sets.rows)
        set_integer(L, "first_bad_row", sets.first_bad_row);
    return 1;
}

static int compare_lsummary(lua_State *L)
{
    Summary s;
    Err err;
    if (!compare_summary(check_tensor(L, 1), &s, &err))
        return bind_fail(L, &err);
    lua_createtable(L, 0, 7);
    set_integer(L, "n", s.n);
    set_integer(L, "bad", s.bad);
    set_number(L, "mean", s.mean);
    set_number(L, "median", s.median);
    set_number(L, "p99", s.p99);
    set_number(L, "min", s.min);
    set_number(L, "max", s.max);
    return 1;
}

void bind_compare(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"compare", compare_lcompare}, {"compare_logits", compare_llogits}, {"nll", compare_lnll},
        {"compare_sets", compare_lsets}, {"summary", compare_lsummary}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
