local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "quantize_nvfp4"
TestQuantizeNvfp4 = {}

-- The nearest e2m1 code by search, ties to the even code, sign copied.
local function to_e2m1(x)
  local best, best_distance
  for code = 0, 7 do
    local distance = math.abs(math.abs(x) - op.e2m1[code])
    if not best or distance < best_distance or (distance == best_distance and code % 2 == 0) then
      best, best_distance = code, distance
    end
  end
  return best + ((x < 0 or 1 / x < 0) and 8 or 0)
end

-- The run-time quantization of one block: every line one float operation, as the format's specification orders them.
local function define_block(x, s)
  local f, a = op.to_f32, 0
  for _, v in ipairs(x) do a = math.max(a, math.abs(v)) end
  local scale = op.to_e4m3(f(s * f(a * f(1 / 6))))
  local m = (a == 0 or scale == 0) and 0 or f(1 / f(op.e4m3(scale) * f(1 / s)))
  local codes = {}
  for i, v in ipairs(x) do codes[i] = to_e2m1(f(v * m)) end
  return scale, codes
end

local outputs = op.codes

-- Codes of vector v of the output against the definition.
local function check(y, v, x, s, k)
  local codes, scales = y.codes:list(), y.scales:list()
  for block = 0, k // 16 - 1 do
    local scale, want = define_block(op.slice(x, block * 16, 16), s)
    lu.assertEquals(scales[v * (k // 16) + block + 1], scale, "scale")
    for i = 0, 15 do
      local byte = codes[(v * k + block * 16 + i) // 2 + 1]
      lu.assertEquals(i % 2 == 0 and byte % 16 or byte // 16, want[i + 1], "code")
    end
  end
end

function TestQuantizeNvfp4:test_definition()
  local rng, k = op.random(1), 64
  local x = op.f32({ 3, 1, k }, function(i) return rng() * 2 ^ (i % 7 - 3) end)
  local y = outputs(3, 1, k, op.to_f32(0.0021))
  op.run(spec, { args = { x = x, y = y } })
  for row = 0, 2 do check(y, row, op.slice(x:list(), row * k, k), op.to_f32(1 / op.to_f32(0.0021)), k) end
end

function TestQuantizeNvfp4:test_zero_block_and_saturation()
  local y = outputs(1, 1, 32, op.to_f32(0.001))
  op.run(spec, { args = { x = op.f32({ 1, 1, 32 }, function(i) return i < 16 and 0 or i == 20 and -1e6 or 1 end), y = y } })
  local scales = y.scales:list()
  lu.assertEquals(scales, { 0, 0x7E })
  lu.assertEquals(op.slice(y.codes:list(), 0, 8), { 0, 0, 0, 0, 0, 0, 0, 0 })
  lu.assertEquals(y.codes:list()[11] % 16, 15)
end

function TestQuantizeNvfp4:test_a_divisor_is_used_as_stored()
  local x, y, z = op.f32({ 1, 1, 16 }, op.random(3)), outputs(1, 1, 16, 256.0), outputs(1, 1, 16, 1 / 256)
  y.is_divisor = true
  op.run(spec, { args = { x = x, y = y } })
  op.run(spec, { args = { x = x, y = z } })
  lu.assertTrue(y.codes:raw() == z.codes:raw() and y.scales:raw() == z.scales:raw())
end

-- One input vector, quantized for every chosen expert with that expert's scale.
function TestQuantizeNvfp4:test_slots_take_their_experts_scale()
  local rng, k = op.random(4), 32
  local scales = { op.to_f32(0.001), op.to_f32(0.002), op.to_f32(0.0037) }
  local x = op.f32({ 2, 1, k }, rng)
  local experts = { 2, 0, 1, 2 }
  local y = outputs(2, 2, k, scales)
  op.run(spec, { args = { x = x, experts = op.i32({ 2, 2 }, experts), y = y } })
  for v = 0, 3 do check(y, v, op.slice(x:list(), v // 2 * k, k), op.to_f32(1 / scales[experts[v + 1] + 1]), k) end
  local own = op.f32({ 2, 2, k }, rng)
  op.run(spec, { args = { x = own, experts = op.i32({ 2, 2 }, experts), y = y } })
  for v = 0, 3 do check(y, v, op.slice(own:list(), v * k, k), op.to_f32(1 / scales[experts[v + 1] + 1]), k) end
end

-- What the quantizer writes, the readers take for x: identity weights give the values back.
function TestQuantizeNvfp4:test_linear_reads_what_was_written()
  local k, input_scale = 32, op.to_f32(0.004)
  local x, y = op.f32({ 2, 1, k }, op.random(5)), outputs(2, 1, k, input_scale)
  op.run(spec, { args = { x = x, y = y } })
  local out = op.poison(2, k)
  local flat = { codes = op.tensor("U8", { 2, k // 2 }, y.codes:list()),
    scales = op.tensor("U8", { 2, k // 16 }, y.scales:list()),
                 input_scale = input_scale }
  op.run(op.family "linear", { args = { x = flat, w = op.f32({ k, k }, function(i) return i // k == i % k and 1 or 0 end),
    y = out } })
  local got, want = out:list(), x:list()
  for i = 1, #want do lu.assertTrue(math.abs(got[i] - want[i]) <= 0.6, "off by more than the coarsest step") end
  local squares, errors = 0, 0
  for i = 1, #want do squares, errors = squares + want[i] ^ 2, errors + (got[i] - want[i]) ^ 2 end
  lu.assertTrue(errors / squares < 0.02, "relative error of NVFP4")
end

function TestQuantizeNvfp4:test_wrong_calls()
  op.fails(spec, { args = { x = op.f32 { 1, 1, 24 }, y = outputs(1, 1, 16, 1.0) } }, "E_SHAPE", "k")
  op.fails(spec, { args = { x = op.f32 { 1, 2, 16 }, y = outputs(1, 3, 16, 1.0) } }, "E_SHAPE", "slots")
  op.fails(spec, { args = { x = op.f32 { 1, 1, 16 }, y = outputs(1, 2, 16, { 1.0, 1.0 }) } }, "E_MISSING", "experts")
  op.fails(spec, { args = { x = op.f32 { 1, 1, 16 }, experts = op.i32({ 1, 2 }, { 0, 2 }),
    y = outputs(1, 2, 16, { 1.0, 1.0 }) } },
    "E_VALUE", "below 2")
end

os.exit(lu.LuaUnit.run())
