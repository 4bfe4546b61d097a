-- inputs: made-up, deterministic arguments for one op of any family, from its signature.
--   local call = inputs.make(spec, { rows = 5, n = 37, k = 99, format = { w = "nvfp4" }, with = { "delta" },
--                                    seqs = 3, past = 7, … }, seed)
--     → { args =, numbers =, step =, kv =, round = "bf16" } as nb.op.run and nb.op_launch take it
-- Extents by name as in the signature; one is 1; slots, versions, max_len, outs have defaults. with: optional
-- arguments that are there.
-- seqs: a count, or the rows of each sequence; past: tokens of the first sequence before this step (others have
-- fewer, one is fresh);
-- a spec's `integers` (a function of the extents, the step, whose back and out_row it may set, and the optional arguments that are
-- there) gives the values of whole-number arguments by name;
-- format: weights bf16 (default), f32, f16, fp8, fp8_block, nvfp4, activations act (default where accepted) or nvfp4;
-- quantizers: of an nvfp4 argument, how many input scales it has: 1 (default), or one per expert, all different; kv: bf16 (default) or fp8; live: rows in use,
-- where fewer than `rows`. Activations are normal numbers rounded to bf16 with a few eight times as large, states
-- and caches are full, experts of a row distinct.
--   inputs.copy(call) → the same with fresh outputs and copies of the states: what one run writes, another does not see
--   inputs.parse(spec, row) → { name, direction, types = {act=true}, extents = {…}, optional }
local nb, args = require "nibble", require "scripts.lib.args"
local inputs = {}

function inputs.parse(row)
  local name, direction, optional, types, extents = row:match "^([%w_]+): (%a+)(%??) ([%w|]+)(.*)$"
  local a = { name = name, direction = direction, optional = optional == "?", types = {}, extents = {} }
  for t in types:gmatch "%w+" do a.types[t] = true end
  for e in extents:gmatch "[%w_]+" do a.extents[#a.extents + 1] = e end
  return a
end

-- A generator of whole numbers, the same for a seed everywhere.
local function generator(seed)
  local state = seed
  return function(n)   -- 0 .. n-1
    state = (state * 6364136223846793005 + 1442695040888963407)
    return (state >> 33) % n
  end
end

-- Rows of each sequence: `seqs` of them (at most 3 by default), the last the longest; every one has a row.
local function sequence_rows(want, rows)
  if type(want) == "table" then return want end
  local n, counts, left = math.min(want or 3, rows), {}, rows
  for i = 1, n do
    counts[i] = i == n and left or math.max(1, rows // (n + 1) - i + 1)
    left = left - counts[i]
  end
  return counts
end

-- Sequence 1 has `past` tokens behind it, sequence 2 starts fresh (where there are two), later ones are in between;
-- slots are in no order.
local function make_step(shape, rows)
  local counts, step, max = sequence_rows(shape.seqs, rows),
    { rows = rows, seq_start = { 0 }, slot = {}, pos = {}, back = {} }, 0
  local past, versions = shape.past or 7, shape.versions or 1
  for i, count in ipairs(counts) do
    local start = i == 1 and past or i == 2 and 0 or past // i
    step.seq_start[i + 1] = step.seq_start[i] + count
    step.slot[i] = #counts - i + 1   -- slot 0 stays unused
    step.back[i] = start > 0 and math.min(versions - 1, i - 1, start) or 0
    for t = 0, count - 1 do step.pos[#step.pos + 1] = start + t end
    max = math.max(max, start + count)
  end
  if #step.pos ~= rows then args.usage(("seqs: expected %d rows in all, found %d"):format(rows, #step.pos)) end
  return step, max
end

local function product(list, from)
  local n = 1
  for i = from or 1, #list do n = n * list[i] end
  return n
end

-- A weight [n,k] of deviation k^-½, stored as `format`.
local function weight(format, n, k, seed)
  local scale = k ^ -0.5
  if format == "nvfp4" then
    if k % 16 ~= 0 then args.usage(("nvfp4 weights: expected a multiple of 16 columns, found %d"):format(k)) end
    return { format = "nvfp4", data = assert(nb.synth_normal("U8", { n, k // 2 }, seed, 2.2)),
             scales = assert(nb.synth_uniform("F8_E4M3", { n, k // 16 }, seed + 1, 40, 240)), tensor_scale = scale / 300,
               input_scale = 0.01 }
  elseif format == "fp8" then
    return { format = "fp8", data = assert(nb.synth_normal("F8_E4M3", { n, k }, seed, 20)), tensor_scale = scale / 20 }
  elseif format == "fp8_block" then
    return { format = "fp8_block", data = assert(nb.synth_normal("F8_E4M3", { n, k }, seed, 20)), block = { 128, 128 },
             scales = assert(nb.synth_uniform("F32", { (n + 127) // 128, (k + 127) // 128 }, seed + 1, scale / 30,
               scale / 15)) }
  end
  return assert(nb.synth_normal(format:upper(), { n, k }, seed, scale))
end

local formats = { bf16 = true, f32 = true, f16 = true, fp8 = true, fp8_block = true, nvfp4 = true }

local function make_weight(a, extents, format, seed)
  if not formats[format] then
    args.usage(("%s: no weight format \"%s\": bf16, f32, f16, fp8, fp8_block, nvfp4"):format(a.name, format))
  end
  if a.direction == "weight" then
    if a.name == "a_log" then return assert(nb.synth_uniform("F32", { extents[2] }, seed, 0, 2.7)) end
    -- a norm's or a gate's vector
    if a.extents[1] == "one" then return assert(nb.synth_normal("F32", { extents[2] }, seed, 0.3)) end
    return weight(format, extents[1], extents[2], seed)
  end
  local list = {}
  for e = 1, extents[1] do list[e] = weight(format, extents[2], extents[3], seed + 16 * e) end
  return list
end

-- ids below the vocabulary; experts of a row are distinct; the last row of several repeats the first row's experts.
local function make_ids(a, extents, shape, random)
  local values, limit = {}, a.name == "experts" and shape.e or shape.v
  if not limit then args.usage(("%s: an i32 input needs an extent e (experts) or v (ids)"):format(a.name)) end
  local columns = product(extents, 2)
  for row = 1, extents[1] do
    local pool, taken = {}, {}
    for j = 1, columns do
      local id = random(limit)
      while a.name == "experts" and taken[id] do id = (id + 1) % limit end
      taken[id], pool[j] = true, id
    end
    if row == extents[1] and row > 1 then table.move(values, 1, columns, 1, pool) end
    table.move(pool, 1, columns, #values + 1, values)
  end
  return assert(nb.tensor("I32", extents, values))
end

-- Input scales: 0.01, or n of them around it.
local function input_scale(n)
  if not n or n == 1 then return 0.01 end
  local scales = {}
  for e = 1, n do scales[e] = 0.01 * (0.7 + 0.6 * e / n) end
  return scales
end

local function nvfp4(extents, seed, is_out, quantizers)
  local half, sixteenth = table.move(extents, 1, #extents, 1, {}), table.move(extents, 1, #extents, 1, {})
  half[#half], sixteenth[#sixteenth] = half[#half] // 2, sixteenth[#sixteenth] // 16
  if is_out then
    return { codes = assert(nb.tensor("U8", half)), scales = assert(nb.tensor("U8", sixteenth)),
      input_scale = input_scale(quantizers) }
  end
  local x = assert(nb.synth_normal("F32", extents, seed, 1, 1 / 256)):reshape { product(extents) // extents[#extents],
    extents[#extents] }
  local codes, scales = assert(nb.num.quantize_activation(x, 100.0))
  return { codes = codes:reshape(half), scales = scales:reshape(sixteenth), input_scale = input_scale(quantizers) }
end

local kv_type = { f32 = "F32", bf16 = "BF16", fp8 = "F8_E4M3" }

local function make_buffer(a, extents, known, shape, kv, seed, random, integers)
  if integers[a.name] then return assert(nb.tensor("I32", extents, integers[a.name])) end
  if a.types.i32 then
    if a.direction == "in" then return make_ids(a, extents, known, random) end
    return assert(nb.synth_uniform("I32", extents, seed, -7, -7))
  end
  if a.types.nvfp4 and (not a.types.act or (shape.format or {})[a.name] == "nvfp4") then
    return nvfp4(extents, seed, a.direction == "out", (shape.quantizers or {})[a.name])
  end
  if a.direction == "out" then return assert(nb.synth_uniform("F32", extents, seed, 0, 0)) end
  if a.types.kv then return assert(nb.synth_normal(kv_type[kv], extents, seed, kv == "fp8" and 6 or 1)) end
  if a.name == "inv_freq" then
    local values = {}
    for i = 1, extents[1] do values[i] = 1e7 ^ (-(i - 1) / extents[1]) end
    return assert(nb.tensor("F32", extents, values))
  end
  return assert(nb.synth_normal("F32", extents, seed, 1, 1 / 256))
end

-- Values of every extent, defaults included; names that no argument has are refused.
local function fill_extents(spec, parsed, shape)
  local rows = shape.rows or 1
  local live = shape.live or rows
  if live < 1 or live > rows then args.usage(("live: expected 1 to %d rows, found %d"):format(rows, live)) end
  local step, len = make_step(shape, live)
  local known = { rows = rows, seqs = #step.slot, one = 1, slots = #step.slot + 1, versions = 1,
    max_len = (len + 15) // 16 * 16 }
  local is_state = false
  for _, a in ipairs(parsed) do is_state = is_state or a.direction == "state" end
  local has = { rows = true, live = true, seqs = true, past = true, outs = true }
  for _, case in ipairs(spec.cases or {}) do
    for name in pairs(case) do has[name] = true end
  end
  for _, a in ipairs(parsed) do
    for _, e in ipairs(a.extents) do has[e] = true end
    if is_state then has.versions = true end
  end
  for name, value in pairs(shape) do
    if math.type(value) == "integer" and type(name) == "string" then
      if not has[name] then args.usage(("%s has no extent \"%s\""):format(spec.name, name)) end
      if name ~= "live" and name ~= "past" and name ~= "seqs" then known[name] = value end
    end
  end
  -- "slots" of an activation is a baked extent (1 or top_k), of a state a capacity.
  if known.max_len < len then args.usage(("max_len: expected at least %d, found %d"):format(len, known.max_len)) end
  known.outs = math.min(shape.outs or math.min(live, 3), live)
  step.out_row = {}
  for i = 1, known.outs do step.out_row[i] = live - i end
  return known, step, len
end

function inputs.make(spec, shape, seed)
  local parsed, with = {}, {}
  for i, row in ipairs(spec.args) do parsed[i] = inputs.parse(row) end
  for _, name in ipairs(shape.with or {}) do with[name] = true end
  local known, step, len = fill_extents(spec, parsed, shape)
  local integers = spec.integers and spec.integers(known, step, with) or {}
  local kv = shape.kv or "bf16"
  local call = { args = {}, step = step, kv = kv, round = "bf16", len = len, parsed = parsed, rows = known.rows }
  for i, a in ipairs(parsed) do
    if not a.optional or with[a.name] then
      local extents = {}
      for d, name in ipairs(a.extents) do
        if not known[name] then args.usage(("%s: argument %s needs the extent %s"):format(spec.name, a.name, name)) end
        extents[d] = known[name]
      end
      local own = seed * 1000003 + i * 65537
      if a.direction == "weight" or a.direction == "weights" then
        call.args[a.name] = make_weight(a, extents, (shape.format or {})[a.name] or "bf16", own)
      else
        call.args[a.name] = make_buffer(a, extents, known, shape, kv, own, generator(own), integers)
      end
    end
    with[a.name] = nil
  end
  local left = next(with)
  if left then args.usage(("%s has no argument \"%s\""):format(spec.name, left)) end
  local numbers = spec.example or {}
  if type(numbers) == "function" then numbers = numbers(known) end
  call.numbers = numbers
  return call
end

local function duplicate(value)
  if type(value) == "table" and value.codes then
    return { codes = value.codes:reshape(value.codes:shape()), scales = value.scales:reshape(value.scales:shape()),
      input_scale = value.input_scale }
  end
  return value:reshape(value:shape())
end

function inputs.copy(call)
  local copy = {}
  for k, v in pairs(call) do copy[k] = v end
  copy.args = {}
  for name, value in pairs(call.args) do copy.args[name] = value end
  for _, a in ipairs(call.parsed) do
    local value = call.args[a.name]
    if value and (a.direction == "out" or a.direction == "inout"
      or a.direction == "state") then copy.args[a.name] = duplicate(value) end
  end
  return copy
end

-- The caches as f32, so that a reference leaves its keys unrounded: { [name] = scale } of the caches that were widened.
function inputs.widen(call, spec)
  local names = spec.accept and spec.accept.scale or {}
  for _, a in ipairs(call.parsed) do
    local t = a.types.kv and call.args[a.name]
    if t then
      local scale = call.kv == "fp8" and call.numbers[names[a.name]] or 1
      local wide = assert(nb.num.cast(t, "F32"))
      if scale ~= 1 then
        for i = 0, #wide - 1 do wide:set(i, wide:get(i) * scale) end
      end
      call.args[a.name] = wide
    end
  end
  call.kv = "f32"
  return call
end

return inputs
