-- nb.op.run: every form an argument may take, and what it says to a wrong one. What the ops compute is tested beside them.
local lu, op = require "luaunit", require "tests.lib.op"
local nb = require "nibble"
TestBindOp = {}

local linear, rmsnorm, moe_fc2 = op.family "linear", op.family "rmsnorm", op.family "moe_fc2"

local function product(w, x, rows, n)
  local y = op.poison(rows, n)
  op.run(linear, { args = { x = x, w = w, y = y } })
  return y:list()
end

function TestBindOp:test_forms_of_a_weight_that_mean_the_same()
  local x, plain = op.f32({ 2, 3 }, op.random(1)), op.f32({ 1, 3 }, { 1, 2, 3 })
  local want = product(plain, x, 2, 1)
  lu.assertEquals(product(op.f32({ 3 }, { 1, 2, 3 }), x, 2, 1), want, "one dimension is one row")
  lu.assertEquals(product({ format = "plain", data = plain }, x, 2, 1), want)
  local stack, y = op.f32({ 2, 1, 3 }, { 0, 0, 0, 1, 2, 3 }), op.poison(2, 1, 1)
  local call = { x = op.f32({ 2, 1, 3 }, x:list()), experts = op.i32({ 2, 1 }, 1), down = stack, y = y }
  op.run(moe_fc2, { args = call })
  lu.assertEquals(y:list(), want)
  call.down = { op.f32({ 1, 3 }, 0), plain }
  op.run(moe_fc2, { args = call })
  lu.assertEquals(y:list(), want)
end

function TestBindOp:test_a_divisor_divides()
  local weight, values = op.nvfp4_weight(2, 16, 2, { is_divisor = true, tensor_scale = 80.0 })
  local x, g = op.f32({ 1, 16 }, 1), op.nvfp4_weight(2, 16, 2)
  g.tensor_scale = 1 / 80
  op.same(product(weight, x, 1, 2), product(g, x, 1, 2), "y", 1e-6)
  lu.assertEquals(#values, 32)
end

function TestBindOp:test_weights_of_a_checkpoint()
  local checkpoint <close> = assert(nb.checkpoint(NIBBLE_ROOT .. "/build/golden/tiny/bf16"))
  local spec, y = op.family "embed_gather", op.poison(1, 128)
  op.run(spec, { args = { ids = op.i32({ 1 }, { 3 }), w = { checkpoint = checkpoint, name = "embed" }, y = y } })
  local entry = assert(checkpoint:tensor "model.language_model.embed_tokens.weight")
  op.same(y, entry:rows(3, 1):list(), "row", 0, 0)
  op.fails(spec, { args = { ids = op.i32({ 1 }, { 3 }), w = { checkpoint = checkpoint, name = "no.such" }, y = y } }, "E_MISSING", "no.such")
end

function TestBindOp:test_the_step_counts_from_zero_when_it_is_not_given()
  local spec = op.family "attention"
  local keys = op.f32({ 1, 1, 4, 2 }, op.random(3))
  local q, gate = op.f32({ 3, 1, 2 }, op.random(4)), op.f32({ 3, 1, 4 }, 0)
  local a, b = op.poison(3, 1, 2), op.poison(3, 1, 2)
  local numbers = { k_scale = 1, v_scale = 1 }
  op.run(spec, { args = { q = q, gate = gate, keys = keys, values = keys, y = a }, numbers = numbers })
  op.run(spec, { args = { q = q, gate = gate, keys = keys, values = keys, y = b }, numbers = numbers,
                 step = { rows = 3, seq_start = { 0, 3 }, slot = { 0 }, pos = { 0, 1, 2 }, back = { 0 }, out_row = {} } })
  op.equal(a, b)
end

function TestBindOp:test_no_rows()
  local y = op.poison(2, 4)
  op.run(linear, { args = { x = op.f32 { 2, 3 }, w = op.f32 { 4, 3 }, y = y }, step = { rows = 0, seq_start = { 0 } } })
  for _, v in ipairs(y:list()) do lu.assertNotEquals(v, v) end
end

function TestBindOp:test_every_family_is_listed_and_has_its_spec()
  local names = nb.op.families()
  lu.assertEquals(#names, 17)
  for _, name in ipairs(names) do lu.assertEquals(op.family(name).name, name) end
end

-- Wrong calls that are answered: what was expected, what was found, in which argument.
function TestBindOp:test_wrong_arguments()
  local x, w, y = op.f32 { 2, 16 }, op.f32 { 4, 16 }, op.f32 { 2, 4 }
  local function call(o)
    local args = { x = x, w = w, y = y }
    for name, value in pairs(o) do args[name] = value or nil end
    return { args = args }
  end
  local byte, few = op.tensor("U8", { 4, 8 }, 0), op.tensor("U8", { 4, 2 }, 0)
  local rows = {
    { { y = false }, "E_MISSING", "argument y is absent" },
    { { z = y }, "E_USAGE", "no argument \"z\"" },
    { { x = op.f32 { 2, 4, 4 } }, "E_SHAPE", "argument x: expected 2 dimensions of data, found f32[2,4,4]" },
    { { x = op.i32 { 2, 16 } }, "E_SHAPE", "argument x: expected F32" },
    { { x = 7 }, "E_SHAPE", "argument x: expected a tensor, found a number" },
    { { w = 7 }, "E_SHAPE", "argument w: expected a weight, found a number" },
    { { w = op.i32 { 4, 16 } }, "E_SHAPE", "argument w: expected a weight of type F32, BF16 or F16" },
    { { w = { format = "nvfp4", data = byte, scales = few } }, "E_SHAPE", "argument w: expected one scale per block, found" },
    { { w = { format = "nvfp4", data = byte } }, "E_SHAPE", "expected one scale per block, found none" },
    { { w = { format = "nvfp4" } }, "E_SHAPE", "expected bytes with 2 dimensions as data" },
    { { w = { format = "fp8_block", data = byte, scales = few } }, "E_SHAPE", "expected block" },
    { { x = { codes = byte } }, "E_SHAPE", "argument x: expected byte tensors codes and scales" },
    { { x = { codes = byte, scales = few, input_scale = 1 } }, "E_SHAPE", "expected one scale per 16 codes" },
    { { x = { tensor = x, shape = { 2, 16 }, first = 1 } }, "E_SHAPE", "expected a view inside f32[2,16]" },
    { { x = { tensor = x, shape = { 2, 16 }, ld = 17 } }, "E_SHAPE", "expected a view inside" },
    { { x = { tensor = x, shape = { 2, 16 }, ld = 8 } }, "E_SHAPE", "at least 16 elements apart" },
    { { x = { tensor = x, shape = { 3, 16 } } }, "E_SHAPE", "expected a view inside" },
    { { x = { tensor = x, shape = { -1, 16 } } }, "E_SHAPE", "expected a view inside" },
    { { x = { tensor = x, shape = { 2, 1 << 62 } } }, "E_SHAPE", "expected a view inside" },
    { { x = { tensor = x, shape = { 2, 0 }, first = 32 } }, "E_SHAPE", "expected k = 0 as in argument x, found 16" },
    { { x = { tensor = x, shape = { 32 } } }, "E_SHAPE", "expected 2 dimensions of the view" },
  }
  for i, row in ipairs(rows) do
    local ok, message, code = nb.op.run(linear, call(row[1]))
    lu.assertNil(ok, "case " .. i)
    lu.assertEquals(code, row[2], ("case %d: %s"):format(i, message))
    lu.assertStrContains(message, row[3])
  end
  op.fails(rmsnorm, { args = { x = op.f32 { 1, 1, 2 }, w = op.f32 { 2 }, y = op.f32 { 1, 1, 2 } }, numbers = { eps = 1 } }, "E_MISSING",
    "number \"plus\" is absent")
  op.fails(moe_fc2, { args = { x = op.f32 { 1, 1, 3 }, experts = op.i32 { 1, 1 }, down = {}, y = op.f32 { 1, 1, 2 } } }, "E_SHAPE",
    "at least one weight")
  op.fails({ name = "no_such_family", args = { "x: in act[rows,h]" } }, { args = { x = x } }, "E_UNSUPPORTED", "no_such_family")
  op.fails({ name = "linear", args = { "x: nonsense" } }, { args = { x = x } }, "E_FORMAT", "x: nonsense")
end

-- Wrong use that raises.
function TestBindOp:test_misuse_raises()
  local closed = op.f32 { 2, 3 }
  do local _ <close> = closed end
  local args = { x = op.f32 { 2, 3 }, w = op.f32 { 4, 3 }, y = op.f32 { 2, 4 } }
  local function raises(pattern, f, ...)
    local ok, message = pcall(f, ...)
    lu.assertFalse(ok)
    lu.assertStrContains(tostring(message), pattern)
  end
  raises("closed", nb.op.run, linear, { args = { x = closed, w = args.w, y = args.y } })
  raises("table expected", nb.op.run, linear)
  raises("table expected", nb.op.run, linear, {})
  raises("f64", nb.op.run, linear, { args = args, round = "f64" })
  raises("step.pos: expected 2 values, found 1", nb.op.run, linear, { args = args, step = { pos = { 0 } } })
  raises("view: expected first from 0 to 6", nb.op.run, linear,
    { args = { x = { tensor = args.x, shape = { 2, 3 }, first = -1 }, w = args.w, y = args.y } })
  raises("view: expected ld from 0 to 6", nb.op.run, linear,
    { args = { x = { tensor = args.x, shape = { 2, 3 }, ld = 1 << 61 }, w = args.w, y = args.y } })
  raises("negative", nb.op.run, linear, { args = args, step = { rows = -1 } })
  raises("seq_start is empty", nb.op.run, linear, { args = args, step = { seq_start = {} } })
end

os.exit(lu.LuaUnit.run())
