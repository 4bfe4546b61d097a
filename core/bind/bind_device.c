/* nibble.device, nibble.jit, nibble.op_launch and nibble.op_describe: kernels compiled and run outside a plan.
 *   d = nb.device("auto"|"cuda:0"|"emu:sm_120a")      d:name() · d:arch() → {name=, cc=, smem_block_max=, caps={fp4_mma=true,…},
 *                                                     …} · d:is_emulated() · d:set_checked(bool) · d:set_races(bool) · d:set_schedule(seed [, fuel])
 *                                                     d:take_counts() → {instructions=, lanes=, classes={mem=…}, global_sectors=, …}
 *                                                     d:set_blocks{n, …}: launches run only these; {}: all
 *                                                     d:findings() → sentences of the last failed run
 *   j = nb.jit{ cache=dir|nil, include=dir }          j:compiler() → version | nil, why · j:cache() → dir, note
 *   r = j:compile{ {name=, source=, constants=, arch=}, … }      a list of {ptx=, cubin=, key=, folder=,
 *                                                     seconds=, cached=, log=} or {error=, code=}
 *   m = d:load(label, ptx, cubin)                     on a GPU cubin may be PTX as well
 *   m:run(entry, threads, { bytes, … }) → { bytes, … }      one block whose arguments point to buffers with these bytes, and what
 *                                                     the buffers hold afterwards
 *   nb.cubin(bytes) → { {name=, registers=, shared=, stack=, constants=, code=bytes, machine=those, ops={[opcode]=count}}, … }   core/jit/cubin.h
 *   nb.occupancy(arch name, threads, registers, smem) → blocks an SM
 *   nb.op_describe(spec, call) → {extents={n=…}, ld={x=…}, types={x="act"}, quantizers={x=1},
 *       formats={w="nvfp4"}, blocks={w={n,k}}, has={delta=true}, rows=, seqs=, outs=, kv=}
 *   nb.op_launch(d, spec, call, { stages={ {module=, entry=, grid={x,y,z}, block={x,y,z}, smem=}, … }, scratch=bytes, rounds=, repeats=, rows=, seqs=, outs= })
 *       rows, seqs, outs: capacities, where larger than the step; writes outs and states into the call's tensors; returns true [, {ns_median=, ns_min=, ns_max=}] */
#include <string.h>

#include "core/bind/bind.h"
#include "core/emu/emu.h"
#include "core/gpu/device.h"
#include "core/jit/cubin.h"
#include "core/jit/jit.h"
#include "core/model/launch.h"

#define DEVICE_TYPE "nibble.Device"
#define MODULE_TYPE "nibble.Module"
#define JIT_TYPE "nibble.Jit"

typedef struct DeviceBox {
    Device *device;
} DeviceBox;

typedef struct ModuleBox {
    DeviceModule *module;
} ModuleBox;

typedef struct JitBox {
    Jit *jit;
} JitBox;

Device *check_device(lua_State *L, int arg)
{
    DeviceBox *box = luaL_checkudata(L, arg, DEVICE_TYPE);
    luaL_argcheck(L, box->device, arg, "device is closed");
    return box->device;
}

static int device_create(lua_State *L)
{
    const char *name = luaL_optstring(L, 1, "auto");
    DeviceBox *box = lua_newuserdatauv(L, sizeof *box, 0);
    Err err;
    box->device = NULL;
    luaL_setmetatable(L, DEVICE_TYPE);
    box->device = device_open(name, &err);
    return box->device ? 1 : bind_fail(L, &err);
}

static int device_lname(lua_State *L)
{
    lua_pushstring(L, device_name(check_device(L, 1)));
    return 1;
}

static int device_lis_emulated(lua_State *L)
{
    lua_pushboolean(L, device_is_emulated(check_device(L, 1)));
    return 1;
}

static int device_lset_checked(lua_State *L)
{
    device_set_checked(check_device(L, 1), lua_toboolean(L, 2));
    return 0;
}

static int device_lset_races(lua_State *L)
{
    device_set_races(check_device(L, 1), lua_toboolean(L, 2));
    return 0;
}

static int device_lset_schedule(lua_State *L)
{
    device_set_schedule(check_device(L, 1), (uint64_t)luaL_checkinteger(L, 2), (uint64_t)luaL_optinteger(L, 3, 0));
    return 0;
}

/* d:set_blocks{0, 5, …}; {}: all */
static int device_lset_blocks(lua_State *L)
{
    Device *d = check_device(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    size_t n = (size_t)luaL_len(L, 2);
    uint64_t *blocks = lua_newuserdatauv(L, n * sizeof *blocks + 1, 0);
    Err err;
    for (size_t i = 0; i < n; i++) {
        lua_geti(L, 2, (lua_Integer)i + 1);
        blocks[i] = (uint64_t)luaL_checkinteger(L, -1);
        lua_pop(L, 1);
    }
    if (!device_set_blocks(d, blocks, n, &err))
        return bind_fail(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t n)
{
    lua_pushinteger(L, (lua_Integer)n);
    lua_setfield(L, -2, name);
}

static int device_ltake_counts(lua_State *L)
{
    DeviceCounts c;
    device_take_counts(check_device(L, 1), &c);
    lua_createtable(L, 0, 12);
    set_count(L, "launches", c.launches);
    set_count(L, "blocks", c.blocks);
    set_count(L, "instructions", c.instructions);
    set_count(L, "lanes", c.lanes);
    set_count(L, "global_requests", c.global_requests);
    set_count(L, "global_sectors", c.global_sectors);
    set_count(L, "global_bytes", c.global_bytes);
    set_count(L, "shared_requests", c.shared_requests);
    set_count(L, "shared_wavefronts", c.shared_wavefronts);
    lua_createtable(L, 0, DEVICE_CLASSES);
    for (int i = 0; i < DEVICE_CLASSES; i++)
        set_count(L, emu_class_name(i), c.by_class[i]);
    lua_setfield(L, -2, "classes");
    return 1;
}

static int device_lfindings(lua_State *L)
{
    const Device *d = check_device(L, 1);
    lua_newtable(L);
    for (int i = 0; device_finding(d, i); i++) {
        lua_pushstring(L, device_finding(d, i));
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static void push_arch(lua_State *L, const Arch *a)
{
    static const struct {
        const char *name;
        unsigned bit;
    } caps[] = {{"fp8_cvt", ARCH_FP8_CVT}, {"fp4_cvt", ARCH_FP4_CVT}, {"fp4_mma", ARCH_FP4_MMA}, {"fp8_mma", ARCH_FP8_MMA}};
    lua_createtable(L, 0, 8);
    lua_pushstring(L, a->name);
    lua_setfield(L, -2, "name");
    lua_pushinteger(L, a->cc);
    lua_setfield(L, -2, "cc");
    lua_pushinteger(L, (lua_Integer)a->smem_block_max);
    lua_setfield(L, -2, "smem_block_max");
    lua_pushinteger(L, a->registers_sm);
    lua_setfield(L, -2, "registers_sm");
    lua_pushinteger(L, a->warps_sm);
    lua_setfield(L, -2, "warps_sm");
    lua_newtable(L);
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
        lua_pushboolean(L, (a->caps & caps[i].bit) != 0);
        lua_setfield(L, -2, caps[i].name);
    }
    lua_setfield(L, -2, "caps");
}

static int device_larch(lua_State *L)
{
    push_arch(L, device_arch(check_device(L, 1)));
    return 1;
}

/* nb.archs() → every row of arch.def */
static int archs(lua_State *L)
{
    lua_newtable(L);
    for (int i = 0; arch_at(i); i++) {
        push_arch(L, arch_at(i));
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int device_lload(lua_State *L)
{
    Device *d = check_device(L, 1);
    const char *label = luaL_checkstring(L, 2), *ptx = luaL_checkstring(L, 3), *cubin = luaL_checkstring(L, 4);
    ModuleBox *box = lua_newuserdatauv(L, sizeof *box, 1);
    Err err;
    box->module = NULL;
    luaL_setmetatable(L, MODULE_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    box->module = device_load(d, label, ptx, cubin, &err);
    return box->module ? 1 : bind_fail(L, &err);
}

static int device_lclose(lua_State *L)
{
    DeviceBox *box = luaL_checkudata(L, 1, DEVICE_TYPE);
    device_close(box->device);
    box->device = NULL;
    return 0;
}

static int device_tostring(lua_State *L)
{
    const DeviceBox *box = luaL_checkudata(L, 1, DEVICE_TYPE);
    lua_pushfstring(L, "device %s", box->device ? device_name(box->device) : "(closed)");
    return 1;
}

static int module_close(lua_State *L)
{
    ModuleBox *box = luaL_checkudata(L, 1, MODULE_TYPE);
    lua_getiuservalue(L, 1, 1);
    DeviceBox *owner = luaL_testudata(L, -1, DEVICE_TYPE);
    if (box->module && owner && owner->device)
        device_unload(owner->device, box->module);
    box->module = NULL;
    return 0;
}

/* Buffers 1 … n of the table at stack index 4, in ptrs: allocated and filled. */
static bool upload_buffers(lua_State *L, Device *d, DevicePtr *ptrs, int n, Err *err)
{
    for (int i = 0; i < n; i++) {
        size_t bytes;
        lua_geti(L, 4, i + 1);
        const char *from = lua_tolstring(L, -1, &bytes);
        lua_pop(L, 1); /* alive in the table */
        if (!device_alloc(d, "buffer", bytes, &ptrs[i], err) || !device_upload(d, ptrs[i], from, bytes, err))
            return false;
    }
    return true;
}

static bool launch_buffers(Device *d, const DeviceLaunch *launch, Err *err)
{
    return device_launch(d, launch, err) && device_sync(d, err);
}

/* Pushes the table of what the buffers hold. */
static bool download_buffers(lua_State *L, Device *d, const DevicePtr *ptrs, int n, Err *err)
{
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        luaL_Buffer b;
        lua_geti(L, 4, i + 1);
        size_t bytes = lua_rawlen(L, -1);
        lua_pop(L, 1);
        if (!device_download(d, luaL_buffinitsize(L, &b, bytes), ptrs[i], bytes, err))
            return false;
        luaL_pushresultsize(&b, bytes);
        lua_rawseti(L, -2, i + 1);
    }
    return true;
}

static int module_run(lua_State *L)
{
    const ModuleBox *box = luaL_checkudata(L, 1, MODULE_TYPE);
    const char *entry = luaL_checkstring(L, 2);
    lua_Integer threads = luaL_checkinteger(L, 3);
    luaL_checktype(L, 4, LUA_TTABLE);
    lua_settop(L, 4);
    lua_getiuservalue(L, 1, 1);
    Device *d = check_device(L, 5);
    luaL_argcheck(L, box->module, 1, "module is closed");
    luaL_argcheck(L, threads >= 1 && threads <= 1024, 3, "1 to 1024 threads");
    int n = (int)luaL_len(L, 4);
    for (int i = 1; i <= n; i++) {
        luaL_argcheck(L, lua_geti(L, 4, i) == LUA_TSTRING && lua_rawlen(L, -1) > 0, 4, "a buffer is a string that is not empty");
        lua_pop(L, 1);
    }
    DevicePtr *ptrs = lua_newuserdatauv(L, (size_t)n * sizeof *ptrs + 1, 0);
    const void **args = lua_newuserdatauv(L, (size_t)n * sizeof *args + 1, 0);
    size_t *sizes = lua_newuserdatauv(L, (size_t)n * sizeof *sizes + 1, 0);
    for (int i = 0; i < n; i++) {
        ptrs[i] = 0;
        args[i] = &ptrs[i];
        sizes[i] = sizeof *ptrs;
    }
    DeviceLaunch launch = {.module = box->module, .entry = entry, .grid = {1, 1, 1}, .block = {(unsigned)threads, 1, 1},
                           .args = args, .arg_bytes = sizes, .args_n = n};
    Err err;
    bool ok = upload_buffers(L, d, ptrs, n, &err) && launch_buffers(d, &launch, &err) && download_buffers(L, d, ptrs, n, &err);
    for (int i = 0; i < n; i++)
        if (ptrs[i])
            device_free(d, ptrs[i]);
    return ok ? 1 : bind_fail(L, &err);
}

static int module_tostring(lua_State *L)
{
    const ModuleBox *box = luaL_checkudata(L, 1, MODULE_TYPE);
    lua_pushstring(L, box->module ? "module" : "module (closed)");
    return 1;
}

static Jit *check_jit(lua_State *L, int arg)
{
    JitBox *box = luaL_checkudata(L, arg, JIT_TYPE);
    luaL_argcheck(L, box->jit, arg, "jit is closed");
    return box->jit;
}

static const char *field(lua_State *L, int t, const char *name)
{
    if (lua_getfield(L, t, name) != LUA_TSTRING)
        luaL_error(L, "expected a string in field \"%s\"", name);
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1); /* alive in the table */
    return text;
}

static int jit_create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "cache");
    const char *cache = lua_tostring(L, -1), *include = field(L, 1, "include");
    JitBox *box = lua_newuserdatauv(L, sizeof *box, 0);
    Err err;
    box->jit = NULL;
    luaL_setmetatable(L, JIT_TYPE);
    box->jit = jit_open(cache, include, &err);
    return box->jit ? 1 : bind_fail(L, &err);
}

static int jit_lcompiler(lua_State *L)
{
    char why[400];
    int version = jit_compiler(check_jit(L, 1), why);
    if (version == 0) {
        lua_pushnil(L);
        lua_pushstring(L, why);
        lua_pushstring(L, err_name(E_UNSUPPORTED));
        return 3;
    }
    lua_pushinteger(L, version);
    return 1;
}

static int jit_lcache(lua_State *L)
{
    const Jit *j = check_jit(L, 1);
    lua_pushstring(L, jit_cache_dir(j));
    lua_pushstring(L, jit_cache_note(j));
    return 2;
}

static void set_field_int(lua_State *L, const char *name, size_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void push_result(lua_State *L, const JitResult *r, const Err *err)
{
    lua_createtable(L, 0, 8);
    if (!r->ptx) {
        lua_pushstring(L, err->text);
        lua_setfield(L, -2, "error");
        lua_pushstring(L, err_name(err->kind));
        lua_setfield(L, -2, "code");
        return;
    }
    lua_pushlstring(L, r->ptx, r->ptx_bytes);
    lua_setfield(L, -2, "ptx");
    lua_pushlstring(L, (const char *)r->cubin, r->cubin_bytes);
    lua_setfield(L, -2, "cubin");
    lua_pushstring(L, r->key);
    lua_setfield(L, -2, "key");
    lua_pushstring(L, r->folder);
    lua_setfield(L, -2, "folder");
    lua_pushstring(L, r->log);
    lua_setfield(L, -2, "log");
    lua_pushnumber(L, r->seconds);
    lua_setfield(L, -2, "seconds");
    lua_pushboolean(L, r->is_cached);
    lua_setfield(L, -2, "cached");
}

static int jit_lcompile(lua_State *L)
{
    Jit *j = check_jit(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    int n = (int)luaL_len(L, 2);
    JitDesc *descs = lua_newuserdatauv(L, (size_t)n * sizeof *descs + 1, 0);
    JitResult *results = lua_newuserdatauv(L, (size_t)n * sizeof *results + 1, 0);
    Err *errs = lua_newuserdatauv(L, (size_t)n * sizeof *errs + 1, 0);
    for (int i = 0; i < n; i++) {
        lua_geti(L, 2, i + 1);
        int t = lua_gettop(L);
        descs[i] = (JitDesc){.name = field(L, t, "name"), .source = field(L, t, "source"), .constants = field(L, t, "constants"),
                             .arch = arch_find(field(L, t, "arch"))};
        luaL_argcheck(L, descs[i].arch, 2, "unknown architecture");
        lua_pop(L, 1);
    }
    jit_compile_many(j, descs, n, results, errs);
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        push_result(L, &results[i], &errs[i]);
        jit_result_deinit(&results[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static void push_kernel(lua_State *L, const CubinKernel *k)
{
    unsigned counts[CUBIN_OPCODES];
    lua_createtable(L, 0, 8);
    lua_pushstring(L, k->name);
    lua_setfield(L, -2, "name");
    set_field_int(L, "registers", (size_t)k->registers);
    set_field_int(L, "shared", k->shared);
    set_field_int(L, "stack", k->stack);
    set_field_int(L, "constants", k->constants);
    set_field_int(L, "code", k->code_bytes);
    lua_pushlstring(L, (const char *)k->code, k->code_bytes);
    lua_setfield(L, -2, "machine");
    cubin_count(k, counts);
    lua_newtable(L);
    for (int i = 0; i < CUBIN_OPCODES; i++)
        if (counts[i]) {
            lua_pushinteger(L, counts[i]);
            lua_rawseti(L, -2, i);
        }
    lua_setfield(L, -2, "ops");
}

static int cubin_kernels(lua_State *L)
{
    size_t n;
    const char *bytes = luaL_checklstring(L, 1, &n);
    CubinKernel kernels[CUBIN_KERNELS_MAX];
    Err err;
    int count = cubin_read(bytes, n, kernels, &err);
    if (count < 0)
        return bind_fail(L, &err);
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        push_kernel(L, &kernels[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int occupancy(lua_State *L)
{
    const Arch *arch = arch_find(luaL_checkstring(L, 1));
    luaL_argcheck(L, arch, 1, "unknown architecture");
    lua_Integer smem = luaL_checkinteger(L, 4);
    luaL_argcheck(L, smem >= 0, 4, "negative");
    lua_pushinteger(L, arch_occupancy(arch, (int)luaL_checkinteger(L, 2), (int)luaL_checkinteger(L, 3), (size_t)smem));
    return 1;
}

static int jit_lclose(lua_State *L)
{
    JitBox *box = luaL_checkudata(L, 1, JIT_TYPE);
    jit_close(box->jit);
    box->jit = NULL;
    return 0;
}

static int jit_tostring(lua_State *L)
{
    const JitBox *box = luaL_checkudata(L, 1, JIT_TYPE);
    lua_pushfstring(L, "jit %s", box->jit ? jit_cache_dir(box->jit) : "(closed)");
    return 1;
}

/* One argument's part of a description: tables at stack indices base+0 … of extents, ld, types, formats, blocks, has,
 * quantizers. */
static void describe_arg(lua_State *L, const OpArgSpec *spec, const OpArg *arg, int base)
{
    static const char *const types[] = {"act", "nvfp4", "kv", "f32", "i32", "u8", "any"};
    lua_pushboolean(L, arg->spec != NULL);
    lua_setfield(L, base + 5, spec->name);
    if (!arg->spec)
        return;
    for (int d = 0; d < spec->rank; d++) {
        lua_pushinteger(L, (lua_Integer)arg->extent[d]);
        lua_setfield(L, base, spec->extents[d]);
    }
    if (!arg->weight) {
        lua_pushinteger(L, (lua_Integer)arg->ld);
        lua_setfield(L, base + 1, spec->name);
        lua_pushstring(L, types[arg->type]);
        lua_setfield(L, base + 2, spec->name);
        if (arg->type == OP_NVFP4) {
            lua_pushinteger(L, (lua_Integer)arg->quantizer_n);
            lua_setfield(L, base + 6, spec->name);
        }
        return;
    }
    lua_pushstring(L, arg->weight->format == WEIGHT_PLAIN ? "bf16" : weight_format_name(arg->weight));
    lua_setfield(L, base + 3, spec->name);
    if (arg->weight->format == WEIGHT_FP8_BLOCK) {
        lua_createtable(L, 0, 2);
        set_field_int(L, "n", arg->weight->block_n);
        set_field_int(L, "k", arg->weight->block_k);
        lua_setfield(L, base + 4, spec->name);
    }
}

void bind_push_description(lua_State *L, const OpCall *call)
{
    static const char *const kinds[] = {"extents", "ld", "types", "formats", "blocks", "has", "quantizers"};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    static const char *const kvs[] = {"f32", "bf16", "fp8"};
    int base = lua_gettop(L) + 1;
    luaL_checkstack(L, 12, "too deep");
    for (int i = 0; i < KINDS; i++)
        lua_newtable(L);
    for (int i = 0; i < call->signature->args_n; i++)
        describe_arg(L, &call->signature->args[i], &call->args[i], base);
    lua_createtable(L, 0, 12);
    for (int i = 0; i < KINDS; i++) {
        lua_pushvalue(L, base + i);
        lua_setfield(L, -2, kinds[i]);
    }
    lua_pushstring(L, kvs[call->kv]);
    lua_setfield(L, -2, "kv");
    lua_replace(L, base);
    lua_settop(L, base);
}

static int op_ldescribe(lua_State *L)
{
    Err err;
    lua_settop(L, 2);
    const OpCall *call = bind_op_call(L, &err);
    if (!call)
        return bind_fail(L, &err);
    bind_push_description(L, call);
    set_field_int(L, "rows", (size_t)(call->step->rows > 0 ? call->step->rows : 1));
    set_field_int(L, "seqs", (size_t)(call->step->seqs > 0 ? call->step->seqs : 1));
    set_field_int(L, "outs", (size_t)(call->step->outs > 0 ? call->step->outs : 1));
    return 1;
}

static void get_dims(lua_State *L, int t, const char *name, unsigned out[3])
{
    out[0] = out[1] = out[2] = 1;
    int kind = lua_getfield(L, t, name);
    if (kind == LUA_TNUMBER) {
        out[0] = (unsigned)luaL_checkinteger(L, -1);
    } else {
        luaL_checktype(L, -1, LUA_TTABLE);
        for (int i = 0; i < 3 && i < (int)luaL_len(L, -1); i++) {
            lua_geti(L, -1, i + 1);
            out[i] = (unsigned)luaL_checkinteger(L, -1);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

static lua_Integer get_integer(lua_State *L, int t, const char *name)
{
    lua_getfield(L, t, name);
    lua_Integer n = luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    return n;
}

void bind_get_stage(lua_State *L, int t, LaunchStage *out)
{
    lua_getfield(L, t, "module");
    const ModuleBox *box = luaL_checkudata(L, -1, MODULE_TYPE);
    lua_pop(L, 1);
    if (!box->module)
        luaL_error(L, "module is closed");
    *out = (LaunchStage){.module = box->module, .entry = field(L, t, "entry"), .smem = (size_t)get_integer(L, t, "smem")};
    get_dims(L, t, "grid", out->grid);
    get_dims(L, t, "block", out->block);
}

/* What the program's constants were made for: its field, at least what the step needs. */
static int capacity(lua_State *L, const char *name, int live)
{
    int n = (int)get_integer(L, 3, name);
    n = n > live ? n : live;
    return n > 0 ? n : 1;
}

static int op_llaunch(lua_State *L)
{
    Device *d = check_device(L, 1);
    lua_settop(L, 4);
    lua_remove(L, 1); /* spec, call, program; the device stays reachable through its modules */
    luaL_checktype(L, 3, LUA_TTABLE);
    Err err;
    const OpCall *call = bind_op_call(L, &err);
    if (!call)
        return bind_fail(L, &err);
    LaunchStage stages[16];
    lua_getfield(L, 3, "stages");
    int n = (int)luaL_len(L, -1), at = lua_gettop(L);
    luaL_argcheck(L, n >= 1 && n <= 16, 3, "1 to 16 stages");
    for (int i = 0; i < n; i++) {
        lua_geti(L, at, i + 1);
        bind_get_stage(L, lua_gettop(L), &stages[i]);
        lua_pop(L, 1);
    }
    LaunchDesc desc = {.stages = stages, .stages_n = n, .scratch = (size_t)get_integer(L, 3, "scratch"),
                       .number_order = call->number_name, .numbers_n = call->numbers_n,
                       .rows = capacity(L, "rows", call->step->rows), .seqs = capacity(L, "seqs", call->step->seqs),
                       .outs = capacity(L, "outs", call->step->outs), .rounds = (int)get_integer(L, 3, "rounds"),
                       .repeats = (int)get_integer(L, 3, "repeats")};
    DeviceTime time;
    if (!launch_run(d, call, &desc, &time, &err))
        return bind_fail(L, &err);
    lua_pushboolean(L, 1);
    if (desc.rounds <= 0)
        return 1;
    lua_createtable(L, 0, 3);
    lua_pushnumber(L, time.ns_median);
    lua_setfield(L, -2, "ns_median");
    lua_pushnumber(L, time.ns_min);
    lua_setfield(L, -2, "ns_min");
    lua_pushnumber(L, time.ns_max);
    lua_setfield(L, -2, "ns_max");
    return 2;
}

void bind_device(lua_State *L)
{
    static const luaL_Reg device_methods[] = {{"name", device_lname},   {"arch", device_larch},
                                              {"is_emulated", device_lis_emulated},
                                              {"load", device_lload},   {"close", device_lclose},
                                              {"set_checked", device_lset_checked}, {"set_schedule", device_lset_schedule},
                                              {"set_races", device_lset_races},
                                              {"set_blocks", device_lset_blocks}, {"take_counts", device_ltake_counts}, {"findings", device_lfindings}, {NULL, NULL}};
    static const luaL_Reg device_meta[] = {
        {"__gc", device_lclose}, {"__close", device_lclose}, {"__tostring", device_tostring}, {NULL, NULL}};
    static const luaL_Reg module_methods[] = {{"close", module_close}, {"run", module_run}, {NULL, NULL}};
    static const luaL_Reg module_meta[] = {
        {"__gc", module_close}, {"__close", module_close}, {"__tostring", module_tostring}, {NULL, NULL}};
    static const luaL_Reg jit_methods[] = {
        {"compiler", jit_lcompiler}, {"cache", jit_lcache}, {"compile", jit_lcompile}, {"close", jit_lclose}, {NULL, NULL}};
    static const luaL_Reg jit_meta[] = {{"__gc", jit_lclose}, {"__close", jit_lclose}, {"__tostring", jit_tostring},
                                        {NULL, NULL}};
    static const luaL_Reg functions[] = {{"device", device_create},      {"archs", archs},           {"jit", jit_create},
                                         {"cubin", cubin_kernels},      {"occupancy", occupancy},
                                         {"op_describe", op_ldescribe}, {"op_launch", op_llaunch}, {NULL, NULL}};
    bind_type(L, DEVICE_TYPE, device_methods, device_meta);
    bind_type(L, MODULE_TYPE, module_methods, module_meta);
    bind_type(L, JIT_TYPE, jit_methods, jit_meta);
    luaL_setfuncs(L, functions, 0);
}
