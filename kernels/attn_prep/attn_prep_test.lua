local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "attn_prep"
TestAttnPrep = {}

local HEADS, KV_HEADS, D, HALF, MAX_LEN = 4, 2, 10, 3, 6

local function inputs(rows, seed)
  local rng = op.random(seed)
  return { rows = rows, q = op.f32({ rows, HEADS, 2 * D }, rng), k = op.f32({ rows, KV_HEADS, D }, rng),
           v = op.f32({ rows, KV_HEADS, D }, rng) }
end

local norm_rng = op.random(50)
local Q_NORM, K_NORM = op.bf16({ D }, norm_rng), op.f32({ D }, norm_rng)
local FREQ = op.f32({ HALF }, { 1, 0.0316, 1e-3 })

-- A cache of 3 slots of that type, every element of which is recognisable.
local function cache(dtype) return op.tensor(dtype, { 3, KV_HEADS, MAX_LEN, D }, 7) end

local function run(x, step, o)
  o = o or {}
  local out = { q_normed = op.poison(x.rows, HEADS, D), k_normed = op.poison(x.rows, KV_HEADS, D),
    q_rot = op.poison(x.rows, HEADS, D),
                keys = o.keys or cache(o.dtype or "F32"), values = o.values or cache(o.dtype or "F32") }
  op.run(spec, { args = { q = x.q, k = x.k, v = x.v, q_norm = Q_NORM, k_norm = K_NORM, inv_freq = FREQ, q_normed = out.q_normed,
                          k_normed = out.k_normed, q_rot = out.q_rot, keys = out.keys, values = out.values,
                          taken = o.taken },
                 numbers = { eps = 1e-6, rope_factor = o.rope_factor or 1, k_scale = o.k_scale or 1, v_scale = o.v_scale or 1 },
                 step = step, kv = o.kv, round = o.round })
  return out
end

-- x · rsqrt(mean x² + eps) · (1 + w), then pairs (i, i + half) turned by pos · freq.
local function define(x, w, pos, factor)
  local squares, normed, turned = 0, {}, {}
  for i = 1, D do squares = squares + x[i] ^ 2 end
  for i = 1, D do
    normed[i] = x[i] / math.sqrt(squares / D + 1e-6) * (1 + w[i])
    turned[i] = normed[i]
  end
  local freq = FREQ:list()
  for i = 1, HALF do
    local angle = op.to_f32(pos * freq[i])
    local c, s = math.cos(angle) * factor, math.sin(angle) * factor
    turned[i] = normed[i] * c - normed[i + HALF] * s
    turned[i + HALF] = normed[i + HALF] * c + normed[i] * s
  end
  return normed, turned
end

local function at(slot, head, pos) return ((slot * KV_HEADS + head) * MAX_LEN + pos) * D end

function TestAttnPrep:test_definition()
  for _, factor in ipairs { 1, 1.25 } do
    local x, pos = inputs(4, 1), { 0, 1, 2, 5 }
    local out = run(x, { pos = pos, slot = { 1 } }, { rope_factor = factor })
    for row = 0, 3 do
      for head = 0, HEADS - 1 do
        local first = (row * HEADS + head)
        local normed, turned = define(op.slice(x.q:list(), first * 2 * D, D), Q_NORM:list(), pos[row + 1], factor)
        op.same(op.slice(out.q_normed:list(), first * D, D), normed, "q_normed")
        op.same(op.slice(out.q_rot:list(), first * D, D), turned, "q_rot")
      end
      for head = 0, KV_HEADS - 1 do
        local first = (row * KV_HEADS + head) * D
        local normed, turned = define(op.slice(x.k:list(), first, D), K_NORM:list(), pos[row + 1], factor)
        op.same(op.slice(out.k_normed:list(), first, D), normed, "k_normed")
        op.same(op.slice(out.keys:list(), at(1, head, pos[row + 1]), D), turned, "keys")
        lu.assertEquals(op.slice(out.values:list(), at(1, head, pos[row + 1]), D), op.slice(x.v:list(), first, D))
      end
    end
  end
end

function TestAttnPrep:test_only_the_rows_places_are_written()
  local out = run(inputs(2, 2), { pos = { 3, 4 }, slot = { 2 } })
  for _, t in ipairs { out.keys, out.values } do
    for i, v in ipairs(t:list()) do
      local pos, slot = (i - 1) // D % MAX_LEN, (i - 1) // (D * MAX_LEN * KV_HEADS)
      lu.assertEquals(v == 7, not (slot == 2 and (pos == 3 or pos == 4)))
    end
  end
end

function TestAttnPrep:test_position_zero_turns_nothing_and_dims_behind_the_rotary_never_turn()
  local out = run(inputs(1, 3), { pos = { 0 } })
  op.equal(out.q_rot, out.q_normed)
  out = run(inputs(1, 3), { pos = { 5 } })
  local a, b = out.q_rot:list(), out.q_normed:list()
  for i = 0, HEADS * D - 1 do lu.assertEquals(a[i + 1] == b[i + 1], i % D >= 2 * HALF) end
end

-- Turning keeps each pair's length, and q · k depends on the distance of the positions only.
function TestAttnPrep:test_scores_depend_on_distance()
  local x = inputs(1, 4)
  local function score(q_pos, k_pos)
    local q, k = run(x, { pos = { q_pos } }).q_rot:list(), run(x, { pos = { k_pos } }).keys:list()
    local sum = 0
    for i = 1, D do sum = sum + q[i] * k[at(0, 0, k_pos) + i] end
    return sum
  end
  lu.assertAlmostEquals(score(5, 3), score(2, 0), 1e-5)
  lu.assertTrue(math.abs(score(5, 3) - score(5, 5)) > 1e-3)
end

-- Far out the rounding of the angle to f32 shows; every implementation of the family has it.
function TestAttnPrep:test_angles_are_f32_products()
  local x, far = inputs(1, 11), 4001
  local q_rot, freq = op.poison(1, HEADS, D), op.f32({ HALF }, { 1, 0.60429639, 0.36517413 })
  local keys = op.f32({ 1, KV_HEADS, far + 1, D })
  op.run(spec, { args = { q = x.q, k = x.k, v = x.v, q_norm = Q_NORM, k_norm = K_NORM, inv_freq = freq, q_normed = op.f32 { 1, HEADS, D },
                          k_normed = op.f32 { 1, KV_HEADS, D }, q_rot = q_rot, keys = keys, values = keys },
                 numbers = { eps = 1e-6, rope_factor = 1, k_scale = 1, v_scale = 1 }, step = { pos = { far } } })
  local normed = define(op.slice(x.q:list(), 0, D), Q_NORM:list(), 0, 1)
  for i = 1, HALF do
    local angle = op.to_f32(far * freq:get(i - 1))
    lu.assertAlmostEquals(q_rot:get(i - 1), normed[i] * math.cos(angle) - normed[i + HALF] * math.sin(angle), 1e-6)
  end
  lu.assertTrue(math.abs(op.to_f32(far * freq:get(1)) - far * freq:get(1)) > 1e-5, "the angle is exact, so this shows nothing")
end

function TestAttnPrep:test_gate_half_is_not_read()
  local x = inputs(2, 5)
  local other = op.f32({ 2, HEADS, 2 * D }, function(i) return i % (2 * D) < D and x.q:get(i) or 0 / 0 end)
  local a, b = run(x, { pos = { 1, 2 } }), run({ rows = 2, q = other, k = x.k, v = x.v }, { pos = { 1, 2 } })
  op.equal(a.q_rot, b.q_rot)
end

function TestAttnPrep:test_cache_types()
  local x, step = inputs(3, 6), { pos = { 0, 1, 2 } }
  local plain, half = run(x, step), run(x, step, { dtype = "BF16", kv = "bf16" })
  local fp8 = run(x, step, { dtype = "F8_E4M3", kv = "fp8", k_scale = 0.03125, v_scale = 0.0078125 })
  for i = 0, 3 * KV_HEADS * MAX_LEN * D - 1 do
    local pos, slot = i // D % MAX_LEN, i // (D * MAX_LEN * KV_HEADS)
    if slot == 0 and pos < 3 then
      lu.assertEquals(half.keys:get(i), op.to_bf16(plain.keys:get(i)))
      lu.assertEquals(half.values:get(i), op.to_bf16(plain.values:get(i)))
      lu.assertEquals(fp8.keys:get(i), op.e4m3(op.to_e4m3(plain.keys:get(i) / 0.03125)))
      lu.assertEquals(fp8.values:get(i), op.e4m3(op.to_e4m3(plain.values:get(i) / 0.0078125)))
    end
  end
end

function TestAttnPrep:test_fp8_saturates()
  local x = inputs(1, 7)
  local out = run(x, {}, { dtype = "F8_E4M3", kv = "fp8", k_scale = 1e-6, v_scale = 1e-6 })
  for i = 0, D - 1 do lu.assertEquals(math.abs(out.values:get(i)), 448) end
end

-- One rounding: the turned query is made from the unrounded norm.
function TestAttnPrep:test_rounds_once()
  local x = inputs(2, 8)
  local out = run(x, { pos = { 3, 4 } }, { round = "bf16" })
  for row = 0, 1 do
    local normed, turned = define(op.slice(x.q:list(), row * HEADS * 2 * D, D), Q_NORM:list(), 3 + row, 1)
    for i = 1, D do normed[i], turned[i] = op.to_bf16(normed[i]), op.to_bf16(turned[i]) end
    op.same(op.slice(out.q_normed:list(), row * HEADS * D, D), normed, "q_normed", 0, 0)
    op.same(op.slice(out.q_rot:list(), row * HEADS * D, D), turned, "q_rot", 0, 0)
  end
end

function TestAttnPrep:test_sequences_have_their_own_slots()
  local x = inputs(3, 9)
  local out = run(x, { seq_start = { 0, 2, 3 }, slot = { 2, 0 }, pos = { 0, 1, 4 } })
  lu.assertEquals(op.slice(out.values:list(), at(2, 1, 1), D), op.slice(x.v:list(), (1 * KV_HEADS + 1) * D, D))
  lu.assertEquals(op.slice(out.values:list(), at(0, 0, 4), D), op.slice(x.v:list(), 2 * KV_HEADS * D, D))
end

-- What is counted on the device, by slot, is where a sequence goes on; one that the step puts at position 0 starts there.
function TestAttnPrep:test_taken_instead_of_positions()
  local x, slots = inputs(4, 12), cache "F32":shape()[1]
  local want = run(x, { seq_start = { 0, 2, 4 }, slot = { 1, 0 }, pos = { 3, 4, 0, 1 } })
  local got = run(x, { seq_start = { 0, 2, 4 }, slot = { 1, 0 }, pos = { 1, 2, 0, 1 } }, { taken = op.i32({ slots }, { 4, 3 }) })
  for name, t in pairs(want) do op.equal(got[name], t, name) end
end

function TestAttnPrep:test_wrong_calls()
  local x = inputs(1, 10)
  local function call(pos, q, keys, kv)
    return { args = { q = q or x.q, k = x.k, v = x.v, q_norm = Q_NORM, k_norm = K_NORM, inv_freq = FREQ,
      q_normed = op.f32 { 1, HEADS, D },
                      k_normed = op.f32 { 1, KV_HEADS, D }, q_rot = op.f32 { 1, HEADS, D }, keys = keys or cache "F32",
                      values = cache "F32" }, kv = kv,
             numbers = { eps = 1e-6, rope_factor = 1, k_scale = 1, v_scale = 1 }, step = { pos = { pos } } }
  end
  op.fails(spec, call(MAX_LEN), "E_VALUE", "position below 6, found 6")
  op.fails(spec, call(-1), "E_VALUE", "found -1")
  op.fails(spec, call(0, op.f32 { 1, HEADS, 2 * D + 1 }), "E_SHAPE", "query and gate")
  op.fails(spec, call(0, nil, cache "BF16"), "E_SHAPE", "cache")
end

os.exit(lu.LuaUnit.run())
