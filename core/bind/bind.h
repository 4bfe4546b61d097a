/* What the binding files share. One bind_<module>.c per module: argument checks, one call into core, push results; no logic.
 * Wrong use raises (luaL_argerror); what may fail returns nil, message, code ("E_IO"). */
#ifndef CORE_BIND_BIND_H
#define CORE_BIND_BIND_H
#include <lauxlib.h>
#include <lua.h>

#include "core/base/err.h"
#include "core/file/checkpoint.h"
#include "core/tensor/op.h"
#include "core/gpu/device.h"
#include "core/model/launch.h"
#include "core/tensor/tensor.h"

struct H5Attr;
struct H5File;

/* Pushes nil, message, code; returns 3. */
int bind_fail(lua_State *L, const Err *err);
/* Wraps t (takes ownership, also on a Lua error) as a Tensor userdata and pushes it. */
void bind_push_tensor(lua_State *L, Tensor *t);
Tensor *check_tensor(lua_State *L, int arg);
Checkpoint *check_checkpoint(lua_State *L, int arg);
/* Raises err as assert(nil, message, code) would: the program ends with the status of its kind. */
int bind_raise(lua_State *L, const Err *err);
/* The Lua value at index `value` (boolean, number, string, or a list of one of them) as an HDF5 attribute that the caller
 * frees; anything else is an error of argument `arg`. false when memory is exhausted. */
bool bind_check_attr(lua_State *L, int value, int arg, struct H5Attr *attr);
/* Pushes a table of the attributes of object p (those that are neither numbers nor text are left out), or as bind_fail. */
int bind_push_attrs(lua_State *L, struct H5File *f, const char *p);
/* Registers a userdata type: methods go to __index, meta into the metatable. */
void bind_type(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);

/* The kernel families of kernels/families.def; a name of NULL ends the list. */
typedef struct OpFamily {
    const char *name;
    OpRef ref;
} OpFamily;
extern const OpFamily op_families[];
/* The reference of a family, NULL when there is no such family. */
OpRef bind_find_ref(const char *family);
/* Signature of the family's spec table {name=, args={rows}} at stack index `spec`; E_FORMAT. */
bool bind_signature(lua_State *L, int spec, OpSignature *out, Err *err);
/* The checked call that the spec at stack index 1 and the call's table at 2 describe (bind_op.c says how); it lives as long as
 * the stack slots pushed here. NULL with the error otherwise. */
const OpCall *bind_op_call(lua_State *L, Err *err);
/* The weights of the nibble.Weights at stack index `at`, *n of them; NULL for anything else. */
const Weight *bind_test_weights(lua_State *L, int at, size_t *n);
/* An open device; raises otherwise. */
Device *check_device(lua_State *L, int arg);
/* A launch stage {module=, entry=, grid=, block=, smem=} from the table at stack index t. */
void bind_get_stage(lua_State *L, int t, LaunchStage *out);
/* Pushes what scripts/lib/variant.lua needs to know of a call. */
void bind_push_description(lua_State *L, const OpCall *call);

/* Each adds its functions to the `nibble` table at the top of the stack. The list is bind.def: BIND(module). */
#define BIND(module) void bind_##module(lua_State *L);
#include "core/bind/bind.def"
#undef BIND

#endif
