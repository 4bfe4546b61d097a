local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "linear"
TestLinear = {}

local function define(x, w, rows, n, k)
  local y, bound = {}, 0
  for row = 0, rows - 1 do
    for i = 0, n - 1 do
      local sum = 0
      for j = 1, k do sum = sum + x[row * k + j] * w[i * k + j] end
      y[row * n + i + 1] = sum
      bound = math.max(bound, math.abs(sum))
    end
  end
  return y, bound
end

local function run(x, w, rows, n, round)
  local y = op.poison(rows, n)
  op.run(spec, { args = { x = x, w = w, y = y }, round = round })
  return y
end

function TestLinear:test_definition_on_ragged_sizes()
  for _, s in ipairs { { 1, 1, 1 }, { 2, 3, 5 }, { 4, 4, 4 }, { 5, 9, 33 }, { 7, 6, 130 }, { 13, 2, 64 } } do
    local rng = op.random(s[1] + s[3])
    local x, w = op.f32({ s[1], s[3] }, rng), op.f32({ s[2], s[3] }, rng)
    op.same(run(x, w, s[1], s[2]), define(x:list(), w:list(), s[1], s[2], s[3]), table.concat(s, "x"))
  end
end

function TestLinear:test_weight_formats()
  local rng, n, k = op.random(2), 5, 32
  local x = op.f32({ 3, k }, rng)
  for _, dtype in ipairs { "BF16", "F16" } do
    local w = op.tensor(dtype, { n, k }, rng)
    op.same(run(x, w, 3, n), define(x:list(), w:list(), 3, n, k), dtype)
  end
  local w, values = op.nvfp4_weight(n, k, 3)
  op.same(run(x, w, 3, n), define(x:list(), values, 3, n, k), "nvfp4")
  local bytes = op.tensor("F8_E4M3", { n, k }, rng)
  local scaled = {}
  for i, v in ipairs(bytes:list()) do scaled[i] = op.to_f32(v * op.to_f32(0.3)) end
  op.same(run(x, { format = "fp8", data = bytes, tensor_scale = op.to_f32(0.3) }, 3, n), define(x:list(), scaled, 3, n, k), "fp8")
  local blocks = op.f32({ 3, 2 }, function(i) return 0.5 + i / 4 end)
  for i, v in ipairs(bytes:list()) do
    scaled[i] = op.to_f32(v * blocks:list()[(i - 1) // k // 2 * 2 + (i - 1) % k // 20 + 1])
  end
  op.same(run(x, { format = "fp8_block", data = bytes, scales = blocks, block = { 2, 20 } }, 3, n),
    define(x:list(), scaled, 3, n, k),
    "fp8_block")
end

function TestLinear:test_quantized_x()
  local n, k, input_scale = 6, 48, op.to_f32(0.0123)
  for _, is_divisor in ipairs { false, true } do
    local codes, scales, values = op.nvfp4_act({ 3, k }, 9)
    local w = op.f32({ n, k }, op.random(4))
    for i = 1, #values do values[i] = values[i] * (is_divisor and 1 / input_scale or input_scale) end
    local y = run({ codes = codes, scales = scales, input_scale = input_scale, is_divisor = is_divisor }, w, 3, n)
    op.same(y, define(values, w:list(), 3, n, k), "y", nil, is_divisor and 1e-6 or 1e-10)
  end
end

function TestLinear:test_rounds_once()
  local rng = op.random(5)
  local x, w = op.f32({ 4, 40 }, rng), op.f32({ 7, 40 }, rng)
  local want = define(x:list(), w:list(), 4, 7, 40)
  for i = 1, #want do want[i] = op.to_bf16(want[i]) end
  op.same(run(x, w, 4, 7, "bf16"), want, "y", 0, 0)
end

-- Sums are f64: what cancels in f32 survives.
function TestLinear:test_cancellation()
  local x = op.f32({ 1, 6 }, { 1e8, 1, -1e8, 1e8, 2, -1e8 })
  op.same(run(x, op.f32({ 1, 6 }, 1), 1, 1), { 3 }, "y", 0, 0)
end

-- A row's bits do not depend on how many rows there are, on which others, or on its place; large enough for several threads.
function TestLinear:test_rows_are_independent()
  local rng, rows, n, k = op.random(6), 11, 130, 200
  local x, w = op.f32({ rows, k }, rng), op.bf16({ n, k }, rng)
  local all = run(x, w, rows, n)
  for row = 0, rows - 1 do op.equal(all:rows(row, 1), run(x:rows(row, 1), w, 1, n), "row " .. row) end
  for first = 0, rows - 6 do op.equal(all:rows(first, 6), run(x:rows(first, 6), w, 6, n), "rows from " .. first) end
end

-- Rows of w are outputs: permuting them permutes y, bit for bit.
function TestLinear:test_permuted_weight_rows()
  local rng, n, k = op.random(7), 9, 31
  local x, w = op.f32({ 3, k }, rng), op.f32({ n, k }, rng)
  local moved = op.f32({ n, k }, function(i) return w:get((i // k * 4 + 1) % n * k + i % k) end)
  local a, b = run(x, w, 3, n):list(), run(x, moved, 3, n):list()
  for row = 0, 2 do
    for i = 0, n - 1 do lu.assertEquals(b[row * n + i + 1], a[row * n + (i * 4 + 1) % n + 1]) end
  end
end

function TestLinear:test_nan_and_infinity_are_not_swallowed()
  local y = run(op.f32({ 2, 3 }, { 0 / 0, 0, 0, 1, 1, 1 }), op.f32({ 1, 3 }, 1), 2, 1):list()
  lu.assertNotEquals(y[1], y[1])
  lu.assertEquals(y[2], 3)
  lu.assertEquals(run(op.f32({ 1, 3 }, { 1 / 0, 0, 0 }), op.f32({ 1, 3 }, 1), 1, 1):list(), { 1 / 0 })
end

function TestLinear:test_views()
  local rng = op.random(8)
  local wide, w, out = op.f32({ 3, 11 }, rng), op.f32({ 2, 5 }, rng), op.f32({ 3, 4 }, 7)
  op.run(spec, { args = { x = { tensor = wide, first = 4, shape = { 3, 5 }, ld = 11 }, w = w,
                          y = { tensor = out, first = 1, shape = { 3, 2 }, ld = 4 } } })
  local x, got, list = {}, {}, out:list()
  for row = 0, 2 do
    for i = 1, 5 do x[row * 5 + i] = wide:list()[row * 11 + 4 + i] end
    for i = 1, 2 do got[row * 2 + i] = list[row * 4 + 1 + i] end
    lu.assertEquals({ list[row * 4 + 1], list[row * 4 + 4] }, { 7, 7 })
  end
  op.same(got, define(x, w:list(), 3, 2, 5), "y")
end

os.exit(lu.LuaUnit.run())
