local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "combine"
TestCombine = {}

local function run(y, weights, shared, gate, round)
  local rows, h = y:shape()[1], y:shape()[3]
  local routed, sum = op.poison(rows, h), op.poison(rows, h)
  op.run(spec, { args = { y = y, weights = weights, shared = shared, shared_gate = gate, routed = routed, sum = sum },
    round = round })
  return routed, sum
end

local function define(y, weights, shared, gate)
  local rows, top_k, h = table.unpack(y:shape())
  local routed, sum = {}, {}
  for row = 0, rows - 1 do
    for c = 0, h - 1 do
      local total = 0
      for j = 0, top_k - 1 do total = total + weights:get(row * top_k + j) * y:get((row * top_k + j) * h + c) end
      routed[#routed + 1] = total
      sum[#sum + 1] = total + op.sigmoid(gate:get(row)) * shared:get(row * h + c)
    end
  end
  return routed, sum
end

local function inputs(rows, top_k, h, seed)
  local rng = op.random(seed)
  return op.f32({ rows, top_k, h }, rng), op.f32({ rows, top_k }, rng), op.f32({ rows, h }, rng), op.f32({ rows, 1 }, rng)
end

function TestCombine:test_definition()
  for _, s in ipairs { { 1, 1, 1 }, { 4, 3, 17 } } do
    local y, weights, shared, gate = inputs(s[1], s[2], s[3], s[3])
    local routed, sum = run(y, weights, shared, gate)
    local want_routed, want_sum = define(y, weights, shared, gate)
    op.same(routed, want_routed, "routed")
    op.same(sum, want_sum, "sum")
  end
end

function TestCombine:test_rounds_once()
  local y, weights, shared, gate = inputs(5, 4, 33, 2)
  local routed, sum = run(y, weights, shared, gate, "bf16")
  local want_routed, want_sum = define(y, weights, shared, gate)
  for i = 1, #want_sum do want_routed[i], want_sum[i] = op.to_bf16(want_routed[i]), op.to_bf16(want_sum[i]) end
  op.same(routed, want_routed, "routed", 0, 0)
  op.same(sum, want_sum, "sum", 0, 0)
end

function TestCombine:test_gate_scales_the_shared_expert_alone()
  local y, weights, shared = inputs(1, 2, 6, 3)
  local routed, sum = run(y, weights, shared, op.f32({ 1, 1 }, -1e4))
  op.equal(routed, sum)
  local zero = op.f32 { 1, 2, 6 }
  local _, half = run(zero, weights, shared, op.f32({ 1, 1 }, 0))
  for i = 0, 5 do lu.assertEquals(half:get(i), shared:get(i) / 2) end
end

-- Permuting a row's experts with their weights changes nothing but the order of a sum.
function TestCombine:test_permuted_slots()
  local y, weights, shared, gate = inputs(2, 3, 8, 4)
  local function slot(i, n, size) return i // (n * size) * n * size + (i // size % n + 1) % n * size + i % size end
  local moved_y = op.f32({ 2, 3, 8 }, function(i) return y:get(slot(i, 3, 8)) end)
  local moved_weights = op.f32({ 2, 3 }, function(i) return weights:get(slot(i, 3, 1)) end)
  local _, sum = run(y, weights, shared, gate)
  local _, moved = run(moved_y, moved_weights, shared, gate)
  op.same(moved, sum:list(), "sum", 1.3e-7)
end

os.exit(lu.LuaUnit.run())
