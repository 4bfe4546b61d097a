local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "rmsnorm"
TestRmsnorm = {}

-- The definition, for rows · groups vectors of h.
local function define(x, delta, w, h, eps, plus, round)
  local sum, y = {}, {}
  for first = 0, #x - 1, h do
    local squares = 0
    for i = first + 1, first + h do
      sum[i] = delta and round(op.to_f32(x[i] + delta[i])) or x[i]
      squares = squares + sum[i] ^ 2
    end
    for i = 1, h do y[first + i] = sum[first + i] / math.sqrt(squares / h + eps) * (plus + w[i]) end
  end
  return sum, y
end

local function case(rows, groups, h, plus, has_delta, round)
  local rng = op.random(rows * 100 + groups * 10 + h)
  local shape = { rows, groups, h }
  local x, delta, w = op.f32(shape, rng), op.f32(shape, rng), op.bf16({ h }, rng)
  local sum, y = op.poison(rows, groups, h), op.poison(rows, groups, h)
  op.run(spec, { args = { x = x, delta = has_delta and delta or nil, w = w, sum = sum, y = y }, round = round,
                 numbers = { eps = 1e-6, plus = plus } })
  local to = round == "bf16" and op.to_bf16 or function(v) return v end
  local want_sum, want_y = define(x:list(), has_delta and delta:list(), w:list(), h, 1e-6, plus, to)
  op.same(sum, want_sum, "sum", 0, 0)
  if round == "bf16" then
    for i = 1, #want_y do want_y[i] = op.to_bf16(want_y[i]) end
    op.same(y, want_y, "y", 0, 0)
  else
    op.same(y, want_y, "y")
  end
end

function TestRmsnorm:test_definition()
  case(1, 1, 1, 1, false)
  case(3, 1, 37, 1, true)
  case(2, 4, 16, 1, false)
  case(5, 1, 130, 0, true)
  case(3, 2, 24, 1, true, "bf16")
end

function TestRmsnorm:test_zero_vector_stays_zero_and_eps_is_inside_the_root()
  local y = op.poison(1, 1, 4)
  op.run(spec, { args = { x = op.f32({ 1, 1, 4 }, 0), w = op.f32({ 4 }, 1), y = y }, numbers = { eps = 1e-6, plus = 1 } })
  lu.assertEquals(y:list(), { 0, 0, 0, 0 })
  op.run(spec, { args = { x = op.f32({ 1, 1, 4 }, 1e-3), w = op.f32({ 4 }, 0), y = y }, numbers = { eps = 1e-6, plus = 1 } })
  op.same(y, { math.sqrt(0.5), math.sqrt(0.5), math.sqrt(0.5), math.sqrt(0.5) }, "y", 1e-7)
end

function TestRmsnorm:test_weight_zero_is_the_plain_norm()
  local x, a, b = op.f32({ 2, 1, 8 }, op.random(5)), op.poison(2, 1, 8), op.poison(2, 1, 8)
  op.run(spec, { args = { x = x, w = op.f32({ 8 }, 0), y = a }, numbers = { eps = 1e-6, plus = 1 } })
  op.run(spec, { args = { x = x, w = op.f32({ 8 }, 1), y = b }, numbers = { eps = 1e-6, plus = 0 } })
  op.equal(a, b)
end

-- The residual stream is updated in place by the plan.
function TestRmsnorm:test_sum_may_be_x()
  local rng = op.random(6)
  local x, delta, w = op.f32({ 3, 1, 9 }, rng), op.f32({ 3, 1, 9 }, rng), op.f32({ 9 }, rng)
  local want_sum, want_y = define(x:list(), delta:list(), w:list(), 9, 1e-6, 1, op.to_f32)
  local y = op.poison(3, 1, 9)
  op.run(spec, { args = { x = x, delta = delta, w = w, sum = x, y = y }, numbers = { eps = 1e-6, plus = 1 } })
  op.same(x, want_sum, "x", 0, 0)
  op.same(y, want_y, "y")
end

function TestRmsnorm:test_column_views()
  local rng = op.random(7)
  local wide, out, w = op.f32({ 3, 10 }, rng), op.f32({ 3, 7 }, 5), op.f32({ 4 }, rng)
  op.run(spec, { args = { x = { tensor = wide, first = 3, shape = { 3, 1, 4 }, ld = 10 }, w = w,
                          y = { tensor = out, first = 2, shape = { 3, 1, 4 }, ld = 7 } }, numbers = { eps = 1e-6, plus = 1 } })
  local x, got, list = {}, {}, out:list()
  for row = 0, 2 do
    for i = 1, 4 do
      x[row * 4 + i], got[row * 4 + i] = wide:list()[row * 10 + 3 + i], list[row * 7 + 2 + i]
    end
    lu.assertEquals({ list[row * 7 + 1], list[row * 7 + 2], list[row * 7 + 7] }, { 5, 5, 5 })
  end
  local _, want = define(x, nil, w:list(), 4, 1e-6, 1)
  op.same(got, want, "y")
end

function TestRmsnorm:test_shapes_must_agree()
  op.fails(spec, { args = { x = op.f32 { 1, 1, 4 }, w = op.f32 { 3 }, y = op.f32 { 1, 1, 4 } }, numbers = { eps = 0, plus = 1 } },
    "E_SHAPE", "expected h = 4")
  op.fails(spec, { args = { x = op.f32 { 1, 1, 4 }, w = op.f32 { 2, 4 }, y = op.f32 { 1, 1, 4 } },
    numbers = { eps = 0, plus = 1 } },
    "E_SHAPE", "expected extent 1")
end

-- The quantized form is that of y as it is stored.
function TestRmsnorm:test_codes_of_y()
  for _, round in ipairs { "f32", "bf16" } do
    local y, codes = op.poison(3, 2, 48), op.codes(3, 2, 48, 0.003)
    op.run(spec, { args = { x = op.f32({ 3, 2, 48 }, op.random(11)), w = op.bf16({ 48 }, op.random(12)), y = y, y_codes = codes },
                   round = round, numbers = { eps = 1e-6, plus = 1 } })
    op.same_codes(y, codes)
  end
end

os.exit(lu.LuaUnit.run())
