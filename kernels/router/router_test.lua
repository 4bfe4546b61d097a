local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "router"
TestRouter = {}

local function run(x, w, top_k, round)
  local rows, e = x:shape()[1], w:shape()[1]
  local out = { logits = op.poison(rows, e), weights = op.poison(rows, top_k), experts = op.i32({ rows, top_k }, -7) }
  op.run(spec, { args = { x = x, w = w, logits = out.logits, weights = out.weights, experts = out.experts }, round = round })
  return out
end

-- Softmax over all, sorted by probability then index, the first top_k renormalised.
local function define(logits, e, top_k)
  local weights, experts = {}, {}
  for first = 0, #logits - 1, e do
    local order, total, chosen = {}, 0, 0
    for i = 0, e - 1 do
      order[i + 1] = i
      total = total + math.exp(logits[first + i + 1])
    end
    local function p(i) return math.exp(logits[first + i + 1]) / total end
    table.sort(order, function(a, b) return p(a) > p(b) or (p(a) == p(b) and a < b) end)
    for j = 1, top_k do chosen = chosen + p(order[j]) end
    for j = 1, top_k do
      experts[#experts + 1] = order[j]
      weights[#weights + 1] = p(order[j]) / chosen
    end
  end
  return weights, experts
end

function TestRouter:test_definition()
  for _, s in ipairs { { 1, 1, 1, 1 }, { 5, 16, 4, 24 }, { 3, 7, 7, 9 } } do
    local rng = op.random(s[2])
    local rows, e, top_k, h = table.unpack(s)
    local x, w = op.f32({ rows, h }, rng), op.f32({ e, h }, rng)
    local out = run(x, w, top_k)
    local logits = {}
    for row = 0, rows - 1 do
      for i = 0, e - 1 do
        local sum = 0
        for j = 0, h - 1 do sum = sum + x:get(row * h + j) * w:get(i * h + j) end
        logits[#logits + 1] = sum
      end
    end
    op.same(out.logits, logits, "logits")
    local weights, experts = define(out.logits:list(), e, top_k)
    op.same(out.weights, weights, "weights", 1.3e-7)
    lu.assertEquals(out.experts:list(), experts)
  end
end

function TestRouter:test_weights_sum_to_one_and_descend()
  local rng = op.random(3)
  local got = run(op.f32({ 9, 8 }, rng), op.f32({ 12, 8 }, rng), 5).weights:list()
  for row = 0, 8 do
    local sum = 0
    for j = 1, 5 do
      sum = sum + got[row * 5 + j]
      lu.assertTrue(j == 1 or got[row * 5 + j] <= got[row * 5 + j - 1])
    end
    lu.assertAlmostEquals(sum, 1, 3e-7)
  end
end

function TestRouter:test_ties_go_to_the_lower_index()
  local w = op.f32({ 6, 1 }, { 1, 2, 1, 2, 2, 0 })
  local out = run(op.f32({ 1, 1 }, 1), w, 4)
  lu.assertEquals(out.experts:list(), { 1, 3, 4, 0 })
  out = run(op.f32({ 1, 1 }, 0), w, 3)
  lu.assertEquals(out.experts:list(), { 0, 1, 2 })
  op.same(out.weights, { 1 / 3, 1 / 3, 1 / 3 }, "weights")
end

function TestRouter:test_large_logits()
  local out = run(op.f32({ 1, 1 }, 1), op.f32({ 3, 1 }, { 1000, 999, -1000 }), 2)
  op.same(out.weights, { 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1)) }, "weights")
end

-- Permuting the experts permutes logits and ids and leaves the weights.
function TestRouter:test_permuted_experts()
  local rng, e, h = op.random(4), 8, 6
  local x, w = op.f32({ 4, h }, rng), op.f32({ e, h }, rng)
  local moved = op.f32({ e, h }, function(i) return w:get((i // h * 3 + 1) % e * h + i % h) end)
  local a, b = run(x, w, 3), run(x, moved, 3)
  op.equal(a.weights, b.weights)
  for i = 0, 11 do lu.assertEquals((b.experts:get(i) * 3 + 1) % e, a.experts:get(i)) end
end

-- Logits are f32 also where activations are bf16; weights are activations.
function TestRouter:test_rounding()
  local rng = op.random(5)
  local x, w = op.f32({ 3, 8 }, rng), op.f32({ 6, 8 }, rng)
  local plain, rounded = run(x, w, 2), run(x, w, 2, "bf16")
  op.equal(plain.logits, rounded.logits)
  local want = plain.weights:list()
  for i = 1, #want do want[i] = op.to_bf16(want[i]) end
  op.same(rounded.weights, want, "weights", 0, 0)
end

function TestRouter:test_wrong_calls()
  local function call(x, top_k)
    return { args = { x = x, w = op.f32({ 3, 2 }, 1), logits = op.f32 { 1, 3 }, weights = op.f32 { 1, top_k },
      experts = op.i32 { 1, top_k } } }
  end
  op.fails(spec, call(op.f32({ 1, 2 }, 0 / 0), 2), "E_VALUE", "not a number")
  op.fails(spec, call(op.f32({ 1, 2 }, 1), 4), "E_SHAPE", "1 to 3 experts")
end

os.exit(lu.LuaUnit.run())
