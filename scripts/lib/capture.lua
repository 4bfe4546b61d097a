-- capture: an op of a recorded run as a call by itself: its weights from the checkpoint that the trace names, its inputs from the
-- trace, at the extents, formats, step structure and capacity that the op had there.
--   local c <close> = capture.open("runs/a.h5", { ckpt = folder | nil })     raises; says what the trace lacks
--   local op = c:op("layer03/experts_fc1", family)                           by any name that --impl knows; family: what it must be of
--   c:steps("decode") → { step, … }                                          numbers to try: see steps
--   local call = c:call(op, step)
--     → as inputs.make's, and: what (plan:describe), seqs, outs = capacities, name, shape (for people), and about its making:
--       recorded = { [argument] = tensor of its live rows } of the op's outputs, where the trace holds them
--       reruns = { ops =, steps =, taps =, nmse =, tap = } of what had to be computed again, nil if nothing had
-- A trace holds op outputs alone. What an op reads is found so: a tapped activation is the recorded one (rounded to bf16 where the
-- run stored f32); its quantized form is made from it by the exact build, which is what every kernel must leave; what has no tap is
-- computed by its own op's reference from inputs found the same way; a state (convolution window, recurrent state, keys and values)
-- by running the op that writes it over all steps before, on recorded inputs. Where an op that was run again has recorded outputs,
-- the two are compared: `reruns` says by how much they differ at most.
local nb, args = require "nibble", require "scripts.lib.args"
local session, inputs, variant = require "scripts.lib.session", require "scripts.lib.inputs", require "scripts.lib.variant"
local capture = {}

local Capture = {}
Capture.__index = Capture
Capture.__close = function(self)
  self.model.plan:close()
  self.trace:close()
end

-- Steps as plan:run has them, from the rows of the trace: { number =, rows = of the trace, seqs = { {slot, pos, n}, … } }.
local function read_steps(path, rows)
  local steps, by_number, reached = {}, {}, {}
  for i, number in ipairs(rows.step) do
    local step = by_number[number]
    if not step then
      step = { number = number, rows = {}, tokens = {}, pos = {}, slot = {}, seq_start = { 0 } }
      by_number[number], steps[#steps + 1] = step, step
    end
    local seq, pos = rows.seq[i], rows.pos[i]
    if pos ~= (reached[seq] or 0) then
      args.fail("E_UNSUPPORTED", "%s: step %d: sequence %d goes from position %d to %d: taken back rows are not played again",
        path, number, seq, (reached[seq] or 0) - 1, pos)
    end
    reached[seq] = pos + 1
    local n = #step.rows
    if step.slot[#step.slot] ~= seq then
      step.slot[#step.slot + 1] = seq
      step.seq_start[#step.slot] = n
    end
    step.rows[n + 1], step.tokens[n + 1], step.pos[n + 1] = rows.row[i], rows.token[i], pos
    step.seq_start[#step.slot + 1] = n + 1
  end
  return steps, by_number
end

-- What nb.op.run takes; every row has logits, as `nibble trace` asks for them.
local function op_step(step)
  local out = { rows = #step.rows, seq_start = step.seq_start, slot = step.slot, pos = step.pos, back = {}, out_row = {} }
  for i in ipairs(step.slot) do out.back[i] = 0 end
  for i = 1, out.rows do out.out_row[i] = i - 1 end
  return out
end

-- Folder of the checkpoint, which must be the one that was recorded.
local function open_model(path, meta, folder)
  for _, key in ipairs { "checkpoint", "checkpoint_id", "impl", "round", "kv", "device" } do
    if type(meta[key]) ~= "string" then
      args.fail("E_MISSING", "%s names no %s: --like needs a trace that `nibble trace` recorded of a checkpoint", path, key)
    end
  end
  if type(meta.capacities) ~= "table" then
    args.fail("E_MISSING", "%s does not say for how many rows its steps were made (capacities): record it again", path)
  end
  folder = folder or meta.checkpoint
  local ckpt, message, code = nb.checkpoint(folder)
  if not ckpt then args.fail(code, "%s was recorded from %s: %s (--ckpt DIR names where it is now)", path, folder, message) end
  if ckpt:id() ~= meta.checkpoint_id then
    args.fail("E_VALUE", "%s was recorded from a checkpoint with the hash %s; %s has %s", path, meta.checkpoint_id, folder, ckpt:id())
  end
  return session.open(folder, { device = "host", impl = (meta.impl:gsub("kernel:", "ref:")), round = "bf16",
    kv = meta.kv == "f32" and "bf16" or meta.kv, capacities = meta.capacities, slots = meta.slots, max_len = meta.max_len,
    chunk = meta.capacities[#meta.capacities], fuse = meta.device ~= "host" })
end

function capture.open(path, opt)
  local trace = assert(nb.trace.open(path))
  local meta, rows = trace:meta(), trace:rows()
  if #rows.row == 0 then args.fail("E_MISSING", "%s has no finished row", path) end
  local self = setmetatable({ path = path, trace = trace, meta = meta, model = open_model(path, meta, opt.ckpt), taps = {},
    state = {}, state_steps = {}, values = {} }, Capture)
  self.list, self.by_number = read_steps(path, rows)
  local all = {}
  for _, row in ipairs(rows.row) do all[row] = true end
  for _, tap in ipairs(trace:taps()) do   -- by name, the set of rows that have a value
    local has = tap.partial and {} or all
    for _, row in ipairs(tap.partial and assert(trace:present(tap.name)) or {}) do has[row] = true end
    self.taps[tap.name] = has
  end
  for i, op in ipairs(self.model.ops) do
    op.index, op.parsed = i, {}
    for k, row in ipairs(op.spec.args) do op.parsed[k] = inputs.parse(row) end
  end
  return self
end

-------------------------------------------------------------------------------------- which op, which step
-- Edits between two words.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      row[j] = math.min(above + 1, row[j - 1] + 1, diagonal + (a:byte(i) == b:byte(j) and 0 or 1))
      diagonal = above
    end
  end
  return row[#b]
end

local function near(ops, word)
  local names, seen = {}, {}
  for _, op in ipairs(ops) do
    for _, name in ipairs(op.names) do
      if not seen[name] then names[#names + 1] = { name, distance(word, name) } end
      seen[name] = true
    end
  end
  table.sort(names, function(a, b) return a[2] < b[2] or a[2] == b[2] and a[1] < b[1] end)
  return ("%s, %s, %s"):format(names[1][1], names[2][1], names[3][1])
end

function Capture:op(word, family)
  local found, labels = {}, {}
  for _, op in ipairs(self.model.ops) do
    for _, name in ipairs(op.names) do
      if name == word and found[#found] ~= op then found[#found + 1], labels[#labels + 1] = op, op.name end
    end
  end
  if #found == 0 then args.fail("E_MISSING", "%s has no op \"%s\"; near it: %s", self.path, word, near(self.model.ops, word)) end
  if #found > 1 then
    local more = #labels > 4 and ", …" or ""
    args.usage(("--like: \"%s\" is %d ops: %s%s"):format(word, #found, table.concat(labels, ", ", 1, math.min(4, #labels)), more))
  end
  if found[1].spec.name ~= family then
    args.usage(("--like: %s is an op of %s, not of %s"):format(word, found[1].spec.name, family))
  end
  return found[1]
end

local function capacity_of(self, step)
  local c = 1
  while self.meta.capacities[c] < #step.rows do c = c + 1 end
  return c
end

-- "5": that step; "prefill": the fullest, the first among equals; "decode": the last with one row a sequence; nil: of each
-- capacity that steps had the fullest, the last among equals.
function Capture:steps(word)
  if word and word ~= "prefill" and word ~= "decode" then
    local number = math.tointeger(tonumber(word)) or args.usage(("--like: @: expected a step's number, prefill or decode, found \"%s\"")
      :format(word))
    if not self.by_number[number] then
      args.fail("E_VALUE", "%s has no step %d: expected %d to %d", self.path, number, self.list[1].number, self.list[#self.list].number)
    end
    return { number }
  end
  local best = {}
  for _, step in ipairs(self.list) do
    local class, size = word or capacity_of(self, step), #step.rows
    if word == "decode" then
      if size == #step.slot then best[1] = step end
    elseif word == "prefill" then
      if not best[1] or size > #best[1].rows then best[1] = step end
    elseif not best[class] or size >= #best[class].rows then best[class] = step end
  end
  local numbers = {}
  for c = 1, #self.meta.capacities do numbers[#numbers + 1] = best[c] and best[c].number end
  if #numbers == 0 then args.fail("E_VALUE", "%s has no step with one row a sequence", self.path) end
  return numbers
end

-------------------------------------------------------------------------------------- values of buffers
local function base_of(buffer) return (buffer:gsub("%.flat$", "")) end   -- qwen.build's views of whole rows
local function is_written(a) return a.direction == "out" or a.direction == "inout" end

-- Live rows with as many of nothing behind them as the tensor `like` has.
local function padded(live, like, filler)
  local shape = like:shape()
  local n, rows = live:shape()[1], shape[1]
  shape[1] = n
  live = live:reshape(shape)
  if n == rows then return live end
  shape[1] = rows - n
  return nb.concat { live, filler or assert(nb.tensor(live:dtype(), shape)) }
end

-- What the trace holds of a tap at a step, as a device stores it; nil if nothing.
local function recorded(self, tap, a, step)
  if not tap or not self.taps[tap] then return end
  local has = self.taps[tap]
  for _, row in ipairs(step.rows) do if not has[row] then return end end
  local t = assert(self.trace:read(tap, step.rows))
  if a.types.act and self.meta.round ~= "bf16" then t = assert(nb.num.cast(assert(nb.num.cast(t, "BF16")), "F32")) end
  return t
end

local run_op

-- The op before `index` that wrote a buffer, and its argument's row of the signature.
local function writer(self, buffer, index)
  for i = index - 1, 1, -1 do
    local op = self.model.ops[i]
    for _, a in ipairs(op.parsed) do
      if is_written(a) and op.bound[a.name] and base_of(op.bound[a.name]) == buffer then return op, a end
    end
  end
end

local function recorded_output(self, op, name, step)
  for _, a in ipairs(op.parsed) do
    if a.name == name then return recorded(self, op.taps[name], a, step) end
  end
end

local quantizer = require "kernels.quantize_nvfp4.quantize_nvfp4"
local value_of

-- Values of one row after another as [rows, vectors, values of one].
local function vectors(t)
  local shape = t:shape()
  return t:reshape { shape[1], #shape == 3 and shape[2] or 1, shape[#shape] }
end

-- The form `like` of the recorded output y of an op that writes both.
local function quantized(self, op, y, like, step)
  local own = assert(self.model.plan:peek(op.id, #step.rows))
  local out = { codes = vectors(like.codes), scales = vectors(like.scales), input_scale = like.input_scale,
                is_divisor = like.is_divisor }
  local experts
  for _, a in ipairs(op.parsed) do
    if a.name == "experts" and type(like.input_scale) == "table" then experts = value_of(self, op, a, own.experts, step) end
  end
  assert(nb.op.run(quantizer, { args = { x = vectors(padded(y, own.y)), experts = experts, y = out }, step = op_step(step),
    round = "bf16" }))
  out.codes, out.scales = out.codes:reshape(like.codes:shape()), out.scales:reshape(like.scales:shape())
  return out
end

-- Value of an argument that op `reader` takes in at a step; `like`: its form (of plan:peek).
function value_of(self, reader, a, like, step)
  local buffer = base_of(reader.bound[a.name])
  if buffer == "ids" then return padded(assert(nb.tensor("I32", { #step.rows }, step.tokens)), like) end
  local op, out = writer(self, buffer, reader.index)
  if not op then return like end   -- a constant of the plan
  local live = recorded(self, op.taps[out.name], out, step)
  if live then return padded(live, like) end
  if out.types.nvfp4 and op.spec.name ~= "quantize_nvfp4" then
    local y = recorded_output(self, op, "y", step)
    if y then return quantized(self, op, y, like, step) end
  end
  local value = run_op(self, op, step)[out.name]
  if value.codes then
    return { codes = value.codes:reshape(like.codes:shape()), scales = value.scales:reshape(like.scales:shape()),
             input_scale = value.input_scale, is_divisor = value.is_divisor }
  end
  return value:reshape(like:shape())
end

-- A state as it is in front of op `index` of a step. The first op of a step that binds a state is the one that writes it.
local function state_of(self, buffer, like, index, step)
  local op
  for i, candidate in ipairs(self.model.ops) do
    for _, a in ipairs(candidate.parsed) do
      if not op and a.direction == "state" and candidate.bound[a.name] == buffer then op = self.model.ops[i] end
    end
  end
  local before = 0
  for k, s in ipairs(self.list) do
    if s.number < step.number or s == step and op.index < index then before = k end
  end
  if (self.state_steps[buffer] or math.huge) > before then   -- from the start
    self.state[buffer], self.state_steps[buffer] = like, 0
  end
  for k = self.state_steps[buffer] + 1, before do run_op(self, op, self.list[k]) end
  return self.state[buffer]
end

-- The arguments of an op at a step, outputs fresh.
local function args_of(self, op, step)
  local own = assert(self.model.plan:peek(op.id, #step.rows))
  for _, a in ipairs(op.parsed) do
    local bound = op.bound[a.name]
    if bound and a.direction:match "^weight" then own[a.name] = bound
    elseif bound and a.direction == "in" then own[a.name] = value_of(self, op, a, own[a.name], step)
    elseif bound and a.direction == "state" then own[a.name] = state_of(self, bound, own[a.name], op.index, step) end
  end
  return own
end

local function compare_rerun(self, op, own, step)
  local r = self.reruns
  for _, a in ipairs(op.parsed) do
    local tap = is_written(a) and op.taps[a.name]
    local was = tap and not a.types.i32 and recorded(self, tap, a, step)
    if was then
      local shape = own[a.name]:shape()
      shape[1] = #step.rows
      local d = assert(nb.compare(own[a.name]:rows(0, #step.rows), was:reshape(shape)))
      r.taps = r.taps + 1
      if not (d.nmse <= r.nmse) then r.nmse, r.tap = d.nmse, ("%s at step %d"):format(tap, step.number) end
    end
  end
end

-- Runs an op again by its reference; returns its arguments afterwards. Once a step.
function run_op(self, op, step)
  local key = step.number .. ":" .. op.index
  if self.values[key] then return self.values[key] end
  local own = args_of(self, op, step)
  assert(nb.op.run(op.spec, { args = own, numbers = op.numbers, step = op_step(step), kv = self.model.desc.kv, round = "bf16" }))
  for _, a in ipairs(op.parsed) do
    if a.direction == "state" and op.bound[a.name] then
      for k, s in ipairs(self.list) do if s == step then self.state_steps[op.bound[a.name]] = k end end
    end
  end
  local r = op.spec.name ~= "quantize_nvfp4" and self.reruns   -- what is exact is not worth a word
  if r and not r.seen[op] then r.ops, r.seen[op] = r.ops + 1, true end
  if r and not r.seen[step] then r.steps, r.seen[step] = r.steps + 1, true end
  if r then compare_rerun(self, op, own, step) end
  self.values[key] = own
  return own
end

-- For people: where the op stands in the run, and the extents it had.
local function shape_of(op, step, what)
  local formats = {}
  for name, format in pairs(what.formats) do formats[name] = format end
  for name, kind in pairs(what.types) do if kind == "nvfp4" then formats[name] = kind end end
  local shape = { ("%s@%d"):format(op.name, step.number), rows = what.rows, live = #step.rows, seqs = #step.slot,
    past = step.pos[1], format = formats, kv = what.kv }
  for name, n in pairs(what.extents) do if name ~= "one" and not shape[name] then shape[name] = n end end
  return shape
end

function Capture:call(op, number)
  local step = self.by_number[number]
  self.reruns, self.values = { ops = 0, steps = 0, taps = 0, nmse = -1, seen = {} }, {}
  local own, kept = args_of(self, op, step), {}
  for name, value in pairs(own) do kept[name] = value end
  local what, longest = self.model.plan:describe(op.id, capacity_of(self, step) - 1), 0
  for _, pos in ipairs(step.pos) do longest = math.max(longest, pos + 1) end
  what.len = longest
  local call = inputs.copy { args = kept, numbers = op.numbers, step = op_step(step), kv = self.model.desc.kv, round = "bf16",
    len = longest, parsed = op.parsed, rows = what.rows, seqs = what.seqs, outs = what.outs, what = what, recorded = {} }
  assert(self.model.plan:poison(op.id, #step.rows))
  local poisoned = assert(self.model.plan:peek(op.id, #step.rows))
  for _, a in ipairs(op.parsed) do
    local live = is_written(a) and op.bound[a.name] and recorded(self, op.taps[a.name], a, step)
    if live then
      local p = poisoned[a.name]
      local n, rows = live:shape()[1], p:shape()[1]
      call.recorded[a.name] = padded(live, p, n < rows and p:rows(n, rows - n) or nil)
    end
  end
  call.shape, call.reruns = shape_of(op, step, what), self.reruns.ops > 0 and self.reruns or nil
  call.is_f32 = self.meta.round ~= "bf16"
  return call
end

return capture
