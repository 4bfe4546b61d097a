-- verdict: what a kernel made of an op against its reference, output by output, by the family's own acceptance
-- (`accept` of the spec).
--   local want = verdict.reference(spec, call)                       runs the reference on copies; { args, magnitudes }
--   local v = verdict.judge(spec, call, got, want, values, s, only)  call: the inputs, got: the call that the
--   kernel ran on
--     → { ok =, sums =, outputs = { { name, ok, ratio, at, got, want, bound, outside, n, problem }, … } }
--     only: a set of outputs by name, where not all of them are to be judged
--   verdict.worst(v) → the output with the largest ratio
-- accept: ulp, sums (a number or function(values, s, order)), scale = { cache = number's name }, choose = { out = {
-- of =, weights = } }, codes = { out = of which output }, tie (δ),
-- exact (codes and scales are the exact build's). Whole numbers that nothing chooses must be the reference's.
local nb, inputs, order = require "nibble", require "scripts.lib.inputs", require "scripts.lib.order"
local verdict = {}

function verdict.reference(spec, call)
  local copy = inputs.widen(inputs.copy(call), spec)
  copy.magnitudes = {}
  assert(nb.op.run(spec, copy))
  return copy
end

local function rows_of(a, step)
  local first = a.extents[1]
  if first == "rows" then return step.rows elseif first == "outs" then return #step.out_row end
end

-- What lies behind the live rows must be as it was poisoned.
local function untouched(t, live)
  local n = t:shape()[1]
  if not live or live >= n then return true end
  for _, x in ipairs(t:rows(live, n - live):list()) do
    if x == x and x ~= -1 then return false end
  end
  return true
end

-- The largest of a row's logits in order, the lower index among equals: exactly what a choice from them must be.
local function chosen(list, first, n, k)
  local taken, out = {}, {}
  for j = 1, k do
    local best
    for i = 0, n - 1 do
      if not taken[i] and (not best or list[first + i] > list[first + best]) then best = i end
    end
    taken[best], out[j] = true, best
  end
  return out
end

-- A choice is judged on the kernel's own logits, which are judged themselves: so it can differ from the reference's
-- only where the margin is within the logits' bounds.
local function judge_choice(a, rule, call, got)
  local ids, logits, live = got.args[a.name], got.args[rule.of], rows_of(a, call.step)
  local e, shape = logits:shape()[2], ids:shape()
  local k, mine, values = shape[2] or 1, ids:list(), logits:list()
  for row = 0, live - 1 do
    local should = chosen(values, row * e + 1, e, k)
    for j = 1, k do
      if mine[row * k + j] ~= should[j] then
        return { name = a.name, ok = false, ratio = math.huge, n = live * k, outside = 1, at = { row, j - 1 },
          got = mine[row * k + j], want = should[j],
                 bound = 0.0, problem = ("not the largest of its own %s"):format(rule.of) }
      end
    end
  end
  return { name = a.name, ok = true, ratio = 0.0, n = live * k, outside = 0, at = { 0, 0 }, got = mine[1],
    want = mine[1], bound = 0.0 }
end

-- Weights of the kernel's own experts where they are not the reference's: softmax of the reference's logits over them. Into
-- copies of what the reference made.
local function reweigh(rule, a, got, want)
  local ids, ref = got.args[a.name]:list(), want.args[a.name]:list()
  local logits, sizes = want.args[rule.of], want.magnitudes[rule.of]
  local weights, magnitude = want.args[rule.weights], want.magnitudes[rule.weights]
  weights, magnitude = weights:reshape(weights:shape()), magnitude:reshape(magnitude:shape())
  want.args[rule.weights], want.magnitudes[rule.weights] = weights, magnitude
  local e, k = logits:shape()[2], weights:shape()[2]
  for row = 0, want.step.rows - 1 do
    local same = true
    for j = 1, k do same = same and ids[row * k + j] == ref[row * k + j] end
    if not same then
      local largest, smallest, total, worst = -math.huge, math.huge, 0, 0
      for j = 1, k do
        local id = ids[row * k + j]
        if id < 0 or id >= e then return end   -- judged as a choice
        local l = logits:get(row * e + id)
        largest, smallest = math.max(largest, l), math.min(smallest, l)
      end
      for i = 0, e - 1 do worst = math.max(worst, sizes:get(row * e + i)) end
      for j = 1, k do total = total + math.exp(logits:get(row * e + ids[row * k + j]) - largest) end
      for j = 1, k do
        local w = math.exp(logits:get(row * e + ids[row * k + j]) - largest) / total
        weights:set(row * k + j - 1, w)
        magnitude:set(row * k + j - 1, w * (2 * worst + largest - smallest + 1))
      end
    end
  end
end

-- The inverse input scale that vector (row, slot) was quantized with: one for all, or its expert's. Floats, as stored.
local function inverse_scale(y, call, row, slot)
  local scale = y.input_scale
  if type(scale) == "table" then scale = scale[call.args.experts:get(row * call.args.experts:shape()[2] + slot) + 1] end
  local function f32(x) return (string.unpack("<f", string.pack("<f", x))) end
  return y.is_divisor and f32(scale) or f32(1 / f32(scale))
end

-- Codes and block scales of every vector, each judged with its own input scale, against x, or against the output that
-- accept.codes names, as the kernel itself stored it; beyond the live rows nothing is written.
local function judge_codes(a, spec, call, got)
  local y, live = got.args[a.name], rows_of(a, call.step)
  local source = (spec.accept.codes or {})[a.name]
  local x, shape = source and got.args[source] or call.args.x, y.codes:shape()
  local half = shape[#shape]
  local slots, k, x_shape = #shape == 3 and shape[2] or 1, 2 * half, x:shape()
  local slots_in = #x_shape == 3 and x_shape[2] or 1
  x = x:reshape { x_shape[1] * slots_in, k }
  local codes, scales = y.codes:reshape { shape[1] * slots, half }, y.scales:reshape { shape[1] * slots, k // 16 }
  local v = { name = a.name, ok = true, ratio = 0.0, n = 0, outside = 0, at = { 0, 0, 0 }, got = 0.0, want = 0.0,
    bound = 0.0, differ = 0 }
  for row = 0, live - 1 do
    for slot = 0, slots - 1 do
      local r = assert(nb.accept_nvfp4(x:rows(row * slots_in + (slots_in > 1 and slot or 0), 1),
        inverse_scale(y, call, row, slot), codes:rows(row * slots + slot, 1), scales:rows(row * slots + slot, 1),
        spec.accept.tie or 0))
      local differ = r.codes_differ + r.scales_differ
      local outside = spec.accept.exact and differ or 16 * r.outside
      v.n, v.outside, v.differ = v.n + k, v.outside + outside, v.differ + differ
      if v.ok and outside > 0 then
        v.ok, v.ratio, v.at = false, math.huge, { row, slot, r.at }
        v.problem = spec.accept.exact and ("row %d, slot %d: %d codes, %d scales are not the exact build's"):format(row, slot,
          r.codes_differ, r.scales_differ) or ("row %d, slot %d: block %d is beyond a tie"):format(row, slot, r.at)
      end
    end
  end
  for _, byte in ipairs(live < shape[1] and codes:rows(live * slots, (shape[1] - live) * slots):list() or {}) do
    if byte ~= 255 then v.ok, v.problem = false, "rows beyond the step were written" end
  end
  return v
end

local function judge_values(a, spec, call, got, want, sums)
  local rule = { ulp = spec.accept.ulp, sums = sums, store = "bf16", rows = rows_of(a, call.step) }
  if a.types.f32 then rule.store = "f32" end
  if a.types.kv and call.kv == "fp8" then rule.store, rule.scale = "e4m3", call.numbers[spec.accept.scale[a.name]] end
  local r = assert(nb.accept(got.args[a.name], want.args[a.name], want.magnitudes[a.name], rule))
  r.name, r.ok = a.name, r.outside == 0
  if r.not_finite > 0 then r.problem = ("%d not finite"):format(r.not_finite) end
  if a.direction == "out" and not untouched(got.args[a.name], rule.rows) then
    r.ok, r.problem = false, "rows beyond the step were written"
  end
  return r
end

local function shallow(t)
  local copy = {}
  for k, v in pairs(t) do copy[k] = v end
  return copy
end

-- Whole numbers that are computed and not chosen are the reference's.
local function judge_integers(a, call, got, want)
  local mine, theirs, shape = got.args[a.name]:list(), want.args[a.name]:list(), got.args[a.name]:shape()
  local live = rows_of(a, call.step)
  local n = live and live * (#mine // shape[1]) or #mine
  local v = { name = a.name, ok = true, ratio = 0.0, n = n, outside = 0, at = { 0 }, got = mine[1], want = theirs[1], bound = 0.0 }
  for i = n, 1, -1 do
    if mine[i] ~= theirs[i] then
      v.ok, v.ratio, v.outside, v.at, v.got, v.want = false, math.huge, v.outside + 1, { i - 1 }, mine[i], theirs[i]
    end
  end
  if a.direction == "out" and not untouched(got.args[a.name], live) then
    v.ok, v.problem = false, "rows beyond the step were written"
  end
  return v
end

function verdict.judge(spec, call, got, want, values, s, only)
  local sums, choose = spec.accept.sums or 0, spec.accept.choose or {}
  if type(sums) == "function" then sums = sums(values, s, order) end
  want = shallow(want)
  want.args, want.magnitudes = shallow(want.args), shallow(want.magnitudes)
  local v = { ok = true, sums = sums, outputs = {} }
  for _, a in ipairs(call.parsed) do
    if choose[a.name] and choose[a.name].weights and (not only or only[a.name]) then reweigh(choose[a.name], a, got, want) end
  end
  for _, a in ipairs(call.parsed) do
    if call.args[a.name] and (not only or only[a.name]) and (a.direction == "out" or a.direction == "inout" or a.direction == "state") then
      local r
      if choose[a.name] then r = judge_choice(a, choose[a.name], call, got)
      elseif a.types.i32 then r = judge_integers(a, call, got, want)
      elseif a.types.nvfp4 then r = judge_codes(a, spec, call, got)
      else r = judge_values(a, spec, call, got, want, sums) end
      v.ok = v.ok and r.ok
      v.outputs[#v.outputs + 1] = r
    end
  end
  return v
end

function verdict.worst(v)
  local worst
  for _, r in ipairs(v.outputs) do
    if not worst or (not r.ok and worst.ok) or (r.ok == worst.ok and r.ratio > worst.ratio) then worst = r end
  end
  return worst
end

return verdict
