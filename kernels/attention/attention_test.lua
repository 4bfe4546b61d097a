local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "attention"
TestAttention = {}

local HEADS, KV_HEADS, D, MAX_LEN = 6, 2, 5, 9

local function caches(seed)
  local rng = op.random(seed)
  return op.f32({ 3, KV_HEADS, MAX_LEN, D }, rng), op.f32({ 3, KV_HEADS, MAX_LEN, D }, rng)
end

local function inputs(rows, seed)
  local rng = op.random(seed)
  return op.f32({ rows, HEADS, D }, rng), op.f32({ rows, HEADS, 2 * D }, rng)
end

local function run(q, gate, keys, values, step, o)
  o = o or {}
  local y = op.poison(q:shape()[1], HEADS, D)
  op.run(spec, { args = { q = q, gate = gate, keys = keys, values = values, y = y, taken = o.taken }, step = step, kv = o.kv, round = o.round,
                 numbers = { k_scale = o.k_scale or 1, v_scale = o.v_scale or 1 } })
  return y
end

local function define(q, gate, keys, values, slots, pos)
  local y = {}
  for row = 1, #pos do
    for head = 0, HEADS - 1 do
      local base = (slots[row] * KV_HEADS + head // (HEADS // KV_HEADS)) * MAX_LEN
      local first = ((row - 1) * HEADS + head) * D
      local weights, total = {}, 0
      for t = 0, pos[row] do
        local score = 0
        for i = 1, D do score = score + q[first + i] * keys[(base + t) * D + i] end
        weights[t] = math.exp(score / math.sqrt(D))
        total = total + weights[t]
      end
      for i = 1, D do
        local sum = 0
        for t = 0, pos[row] do sum = sum + weights[t] / total * values[(base + t) * D + i] end
        y[first + i] = sum * op.sigmoid(gate[2 * first + D + i])
      end
    end
  end
  return y
end

function TestAttention:test_definition()
  local keys, values = caches(1)
  for _, pos in ipairs { { 0 }, { 8 }, { 0, 1, 2, 3, 4 }, { 5, 6, 7 } } do
    local q, gate = inputs(#pos, 2)
    local slots = {}
    for i = 1, #pos do slots[i] = 1 end
    op.same(run(q, gate, keys, values, { slot = { 1 }, pos = pos }),
      define(q:list(), gate:list(), keys:list(), values:list(), slots, pos), "y", nil, 1e-9)
  end
end

-- One position: the softmax is 1 and the value comes through; a gate of zero halves it.
function TestAttention:test_one_key_and_zero_gate()
  local keys, values = caches(3)
  local q = inputs(1, 4)
  local y = run(q, op.f32 { 1, HEADS, 2 * D }, keys, values, { slot = { 2 }, pos = { 0 } }):list()
  for head = 0, HEADS - 1 do
    for i = 1, D do
      lu.assertEquals(y[head * D + i], op.to_f32(values:get((2 * KV_HEADS + head // 3) * MAX_LEN * D + i - 1) / 2))
    end
  end
end

-- Only the second half of each head of the q projection gates; only positions up to a row's own are read.
function TestAttention:test_what_is_not_read()
  local keys, values = caches(5)
  local q, gate = inputs(2, 6)
  local want = run(q, gate, keys, values, { pos = { 3, 4 } })
  local other = op.f32({ 2, HEADS, 2 * D }, function(i) return i % (2 * D) < D and 0 / 0 or gate:get(i) end)
  for _, cache in ipairs { keys, values } do
    for i = 0, #cache - 1 do
      local pos, slot = i // D % MAX_LEN, i // (D * MAX_LEN * KV_HEADS)
      if slot > 0 or pos > 4 then cache:set(i, 0 / 0) end
    end
  end
  op.equal(run(q, other, keys, values, { pos = { 3, 4 } }), want)
  local first = run(q:rows(0, 1), gate:rows(0, 1), keys, values, { pos = { 3 } })
  for i = 0, KV_HEADS * MAX_LEN * D - 1 do if i // D % MAX_LEN == 4 then keys:set(i, 0 / 0) end end
  op.equal(run(q:rows(0, 1), gate:rows(0, 1), keys, values, { pos = { 3 } }), first)
end

function TestAttention:test_large_scores_do_not_overflow()
  local keys, values = caches(7)
  local q, gate = inputs(1, 8)
  for i = 0, #q - 1 do q:set(i, q:get(i) * 1e6) end
  local y = run(q, gate, keys, values, { pos = { 8 } })
  for _, v in ipairs(y:list()) do lu.assertTrue(v == v and math.abs(v) < 10) end
end

function TestAttention:test_sequences_and_rows_are_independent()
  local keys, values = caches(9)
  local q, gate = inputs(6, 10)
  local y = run(q, gate, keys, values, { seq_start = { 0, 3, 4, 6 }, slot = { 2, 0, 1 }, pos = { 0, 1, 2, 8, 6, 7 } })
  local where = { { 2, 0 }, { 2, 1 }, { 2, 2 }, { 0, 8 }, { 1, 6 }, { 1, 7 } }
  for row, place in ipairs(where) do
    op.equal(y:rows(row - 1, 1),
      run(q:rows(row - 1, 1), gate:rows(row - 1, 1), keys, values, { slot = { place[1] }, pos = { place[2] } }), "row " .. row)
  end
end

-- Exchanging cached positions under the last row (which sees all of them) leaves the sums as they are.
function TestAttention:test_order_of_positions_does_not_matter()
  local keys, values = caches(11)
  local q, gate = inputs(1, 12)
  local function reversed(t)
    return op.f32({ 3, KV_HEADS, MAX_LEN, D }, function(i)
      return t:get(i // (MAX_LEN * D) * MAX_LEN * D + (MAX_LEN - 1 - i // D % MAX_LEN) * D + i % D) end)
  end
  op.same(run(q, gate, reversed(keys), reversed(values), { pos = { 8 } }), run(q, gate, keys, values, { pos = { 8 } }):list(),
    "y")
end

function TestAttention:test_cache_types()
  local keys, values = caches(13)
  local q, gate = inputs(2, 14)
  local shape = keys:shape()
  local pos, slots = { 6, 7 }, { 0, 0 }
  local k, v = op.bf16(shape, keys:list()), op.bf16(shape, values:list())
  op.same(run(q, gate, k, v, { pos = pos }, { kv = "bf16" }), define(q:list(), gate:list(), k:list(), v:list(), slots, pos),
    "bf16")
  k, v = op.tensor("F8_E4M3", shape, keys:list()), op.tensor("F8_E4M3", shape, values:list())
  local scaled_k, scaled_v = k:list(), v:list()
  for i = 1, #scaled_k do scaled_k[i], scaled_v[i] = scaled_k[i] * 0.5, scaled_v[i] * 3 end
  op.same(run(q, gate, k, v, { pos = pos }, { kv = "fp8", k_scale = 0.5, v_scale = 3 }),
    define(q:list(), gate:list(), scaled_k, scaled_v, slots, pos), "fp8")
end

function TestAttention:test_rounds_once()
  local keys, values = caches(15)
  local q, gate = inputs(2, 16)
  local want = define(q:list(), gate:list(), keys:list(), values:list(), { 0, 0 }, { 4, 5 })
  for i = 1, #want do want[i] = op.to_bf16(want[i]) end
  op.same(run(q, gate, keys, values, { pos = { 4, 5 } }, { round = "bf16" }), want, "y", 0, 0)
end

-- What is counted on the device, by slot, is where a sequence goes on; one that the step puts at position 0 starts there.
function TestAttention:test_taken_instead_of_positions()
  local keys, values = caches(19)
  local q, gate = inputs(5, 20)
  local step = { seq_start = { 0, 2, 5 }, slot = { 2, 0 }, pos = { 5, 6, 0, 1, 2 } }
  local want = run(q, gate, keys, values, step)
  step.pos = { 2, 3, 0, 1, 2 }
  op.equal(run(q, gate, keys, values, step, { taken = op.i32({ 3 }, { 4, 9, 5 }) }), want)
end

function TestAttention:test_wrong_calls()
  local keys, values = caches(17)
  local q, gate = inputs(2, 18)
  local function call(pos, g, taken)
    return { args = { q = q, gate = g or gate, keys = keys, values = values, y = op.f32 { 2, HEADS, D }, taken = taken }, step = { pos = pos },
             numbers = { k_scale = 1, v_scale = 1 } }
  end
  op.fails(spec, call { 8, 9 }, "E_VALUE", "position below 9, found 9")
  op.fails(spec, call { 3, 5 }, "E_VALUE", "expected position 4")
  op.fails(spec, call({ 3, 4 }, nil, op.i32({ keys:shape()[1] }, 8)), "E_VALUE", "position below 9, found 9")
  op.fails(spec, call({ 0, 1 }, op.f32 { 2, HEADS, D }), "E_SHAPE", "query and gate")
end

os.exit(lu.LuaUnit.run())
