local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "gated_norm"
TestGatedNorm = {}

local function run(x, z, w, round)
  local shape = x:shape()
  local y = op.poison(table.unpack(shape))
  op.run(spec, { args = { x = x, z = z, w = w, y = y }, numbers = { eps = 1e-6 }, round = round })
  return y
end

local function define(x, z, w, dv)
  local y = {}
  for first = 0, #x - 1, dv do
    local squares = 0
    for i = first + 1, first + dv do squares = squares + x[i] ^ 2 end
    for i = 1, dv do y[first + i] = x[first + i] / math.sqrt(squares / dv + 1e-6) * w[i] * op.silu(z[first + i]) end
  end
  return y
end

function TestGatedNorm:test_definition()
  for _, shape in ipairs { { 1, 1, 1 }, { 2, 3, 8 }, { 5, 4, 33 } } do
    local rng = op.random(shape[3])
    local x, z, w = op.f32(shape, rng), op.f32(shape, rng), op.f32({ shape[3] }, rng)
    op.same(run(x, z, w), define(x:list(), z:list(), w:list(), shape[3]), "y")
  end
end

-- Rounded once: the product of the rounded parts would differ in some element.
function TestGatedNorm:test_rounds_once()
  local rng = op.random(8)
  local x, z, w = op.f32({ 4, 2, 32 }, rng), op.f32({ 4, 2, 32 }, rng), op.f32({ 32 }, rng)
  local want = define(x:list(), z:list(), w:list(), 32)
  for i = 1, #want do want[i] = op.to_bf16(want[i]) end
  op.same(run(x, z, w, "bf16"), want, "y", 0, 0)
end

function TestGatedNorm:test_gate()
  local x, w = op.f32({ 1, 1, 4 }, { 1, -1, 1, -1 }), op.f32({ 4 }, 1)
  lu.assertEquals(run(x, op.f32({ 1, 1, 4 }, 0), w):list(), { 0, 0, 0, 0 })
  op.same(run(x, op.f32({ 1, 1, 4 }, -1000), w), { 0, 0, 0, 0 }, "closed gate", 0, 0)
  local open = 1000 / math.sqrt(1 + 1e-6)
  op.same(run(x, op.f32({ 1, 1, 4 }, 1000), w), { open, -open, open, -open }, "open gate")
end

function TestGatedNorm:test_eps_is_inside_the_root()
  local root = 1e-3 / math.sqrt(1e-6 + 1e-6) * op.silu(1)
  op.same(run(op.f32({ 1, 1, 3 }, 1e-3), op.f32({ 1, 1, 3 }, 1), op.f32({ 3 }, 1)), { root, root, root }, "y", 1.2e-7)
end

-- Norm first, gate after: a gate of equal values scales the result, it is not normed away.
function TestGatedNorm:test_norm_before_gate()
  local x, w = op.f32({ 1, 1, 4 }, { 3, 4, 5, 6 }), op.f32({ 4 }, 1)
  local one, two = run(x, op.f32({ 1, 1, 4 }, 1), w):list(), run(x, op.f32({ 1, 1, 4 }, 2), w):list()
  for i = 1, 4 do lu.assertAlmostEquals(two[i] / one[i], op.silu(2) / op.silu(1), 1e-6) end
end

os.exit(lu.LuaUnit.run())
