-- oplocal: a plan on a device, op by op: every launched op is judged against its reference, which runs on exactly the inputs and
-- states that the device held, by the family's own acceptance (scripts/lib/verdict.lua). Outputs are poisoned first.
--   local check = oplocal.new(plan, ops, { variants =, capacities =, kv = })     ops of qwen.build, variants of launches.bind
--   check:run(program, step)      in the place of plan:run
--   check.records                 in graph order, one per op and output it writes, over all runs so far:
--     { name = its tap or "<op>.<argument>", tap =, op = the op's name, family =, output =, n = elements,
--       outside = of their bounds, ratio = largest error / bound, at = { seq = slot, pos =, index = {…} }, got =, want =,
--       bound =, error_squares =, squares =    (error is against the reference before its rounding to the storage type)
--       differ = codes and scales that are not the exact build's (quantizers only),
--       problem = text of the first verdict that failed
--       sets = router rows whose experts are not the reference's, beyond = of these, with a margin above the logits' bounds }
--   oplocal.summary(records) → { ok =, n =, outside =, worst = record,
--                                families = { { family, n, outside, ratio, nmse, worst }, … } }
--   oplocal.print(summary)
-- Ops without launches are host ops: they are their own reference and are not judged.
local nb, inputs, verdict = require "nibble", require "scripts.lib.inputs", require "scripts.lib.verdict"
local oplocal = {}

local Check = {}
Check.__index = Check

function oplocal.new(plan, ops, opt)
  local self = setmetatable({ plan = plan, kv = opt.kv, capacities = opt.capacities, programs = {}, records = {}, known = {} },
    Check)
  for _, op in ipairs(ops) do
    local list = self.programs[op.program] or {}
    self.programs[op.program] = list
    local own = { id = op.id, spec = op.spec, bound = op.bound, numbers = op.numbers, taps = op.taps, parsed = {}, weights = {},
                  variants = opt.variants[op.id], label = op.name }
    for i, row in ipairs(op.spec.args) do
      own.parsed[i] = inputs.parse(row)
      local name = own.parsed[i].name
      if own.parsed[i].direction:match "^weight" then own.weights[name] = op.bound[name] end
    end
    list[#list + 1] = own
  end
  return self
end

-- The step as nb.op.run takes it, from plan:run's.
local function op_step(step)
  local out = { rows = 0, seq_start = { 0 }, slot = {}, pos = {}, back = {}, out_row = step.outs or {} }
  for i, s in ipairs(step.seqs) do
    out.rows = out.rows + s.n
    out.seq_start[i + 1], out.slot[i], out.back[i] = out.rows, s.slot, s.back or 0
    for t = 0, s.n - 1 do out.pos[#out.pos + 1] = s.pos + t end
  end
  return out
end

-- A family may say `whole`: its arguments' rows are all that the plan has room for, not those of the step's capacity.
local function call_of(self, op, step)
  local args, message, code = self.plan:peek(op.id, op.spec.whole and self.capacities[#self.capacities] or step.rows)
  assert(args, message, code)
  for name, w in pairs(op.weights) do args[name] = w end
  return { args = args, numbers = op.numbers, step = step, kv = self.kv, round = "bf16", parsed = op.parsed }
end

-- Where in the run the worst element stands: rows become sequence and position.
local function place(a, at, step)
  local first, index = at[1] or 0, {}
  for i = 2, #at do index[#index + 1] = at[i] end
  if a.direction == "state" then return { seq = first, pos = step.pos[#step.pos], index = index } end
  local row = a.extents[1] == "outs" and step.out_row[first + 1] or first
  local seq = 1
  while seq < #step.slot and step.seq_start[seq + 1] <= row do seq = seq + 1 end
  return { seq = step.slot[seq], pos = step.pos[row + 1], index = index }
end

local function record_of(self, op, name)
  local key = op.id .. "." .. name
  local r = self.known[key]
  if not r then
    local tap = op.taps[name]
    r = { name = tap or op.label .. "." .. name, tap = tap, op = op.label, family = op.spec.name, output = name, n = 0,
          outside = 0, ratio = -1, error_squares = 0.0, squares = 0.0 }
    self.known[key], self.records[#self.records + 1] = r, r
  end
  return r
end

local function add(r, v, a, step)
  r.n, r.outside = r.n + v.n, r.outside + v.outside
  r.error_squares, r.squares = r.error_squares + (v.error_squares or 0), r.squares + (v.squares or 0)
  if v.differ then r.differ = (r.differ or 0) + v.differ end
  if not v.ok then
    r.outside = math.max(r.outside, 1)
    r.problem = r.problem or v.problem or "outside of its bound"
  end
  if not (v.ratio <= r.ratio) then
    r.ratio, r.got, r.want, r.bound, r.at = v.ratio, v.got, v.want, v.bound, place(a, v.at, step)
  end
end

-- Rows whose set of experts is not the reference's. The reference's margin between what it took and what the kernel took
-- instead must be below what the two logits may be off by together.
local function compare_sets(r, spec, name, rule, call, got, want, sums)
  local k, e = want.args[name]:shape()[2], want.args[rule.of]:shape()[2]
  local mine, theirs, logits, sizes = got.args[name]:list(), want.args[name]:list(), want.args[rule.of], want.magnitudes[rule.of]
  r.sets, r.beyond = r.sets or 0, r.beyond or 0
  local function bound(at)
    local before = sums * 2.0 ^ -23 * sizes:get(at) + 2.0 ^ -24 * math.abs(logits:get(at))
    return before + spec.accept.ulp * 2.0 ^ -23 * (math.abs(logits:get(at)) + before)
  end
  for row = 0, call.step.rows - 1 do
    local has, lost, won = {}, {}, {}
    for j = 1, k do has[mine[row * k + j]] = true end
    for j = 1, k do
      local id = theirs[row * k + j]
      if has[id] then has[id] = nil else lost[#lost + 1] = id end
    end
    for id in pairs(has) do won[#won + 1] = id end
    if #lost > 0 then
      r.sets = r.sets + 1
      local is_beyond = false
      for _, a in ipairs(lost) do
        for _, b in ipairs(won) do
          if b < 0 or b >= e then is_beyond = true
          else
            local x, y = row * e + (a // 1 | 0), row * e + (b // 1 | 0)
            is_beyond = is_beyond or not (logits:get(x) - logits:get(y) <= bound(x) + bound(y))
          end
        end
      end
      if is_beyond then r.beyond = r.beyond + 1 end
    end
  end
end

-- No reference, no verdict: all that the op writes counts as wrong.
local function refuse(self, op, why, step)
  for _, a in ipairs(op.parsed) do
    if op.bound[a.name] and (a.direction == "out" or a.direction == "inout" or a.direction == "state") then
      add(record_of(self, op, a.name), { ok = false, n = 1, outside = 1, ratio = math.huge, at = { 0 }, got = 0 / 0, want = 0 / 0,
        bound = 0.0, problem = "no reference: " .. why }, a, step)
    end
  end
end

local function judge(self, op, step, capacity)
  local call = call_of(self, op, step)
  -- Before the launch, while the states are what it starts from. A reference refuses what an op before may have left, NaN say.
  local is_there, want = pcall(verdict.reference, op.spec, call)
  assert(self.plan:poison(op.id, step.rows))
  assert(self.plan:run_op(op.id, step.plain))
  if not is_there then return refuse(self, op, tostring(want), step) end
  local got, chosen = call_of(self, op, step), op.variants[capacity]
  local v = verdict.judge(op.spec, call, got, want, chosen.values, chosen.s)
  local by_name = {}
  for _, a in ipairs(op.parsed) do by_name[a.name] = a end
  for _, result in ipairs(v.outputs) do
    local r, rule = record_of(self, op, result.name), (op.spec.accept.choose or {})[result.name]
    add(r, result, by_name[result.name], step)
    if rule and rule.weights then compare_sets(r, op.spec, result.name, rule, call, got, want, v.sums) end
  end
end

function Check:run(program, plain)
  local step, capacity = op_step(plain), 0
  step.plain = plain
  while self.capacities[capacity + 1] < step.rows do capacity = capacity + 1 end
  for _, op in ipairs(self.programs[program]) do
    if op.variants then judge(self, op, step, capacity) else assert(self.plan:run_op(op.id, plain)) end
  end
  return true
end

local function is_worse(r, other)
  return not other or (r.outside > 0) ~= (other.outside > 0) and r.outside > 0 or
    (r.outside > 0) == (other.outside > 0) and r.ratio > other.ratio
end

function oplocal.nmse(r) return r.squares > 0 and r.error_squares / r.squares or r.error_squares > 0 and math.huge or 0.0 end

function oplocal.summary(records)
  local s, by = { n = 0, outside = 0, families = {} }, {}
  for _, r in ipairs(records) do
    local f = by[r.family]
    if not f then
      f = { family = r.family, n = 0, outside = 0, ratio = 0.0, error_squares = 0.0, squares = 0.0 }
      by[r.family], s.families[#s.families + 1] = f, f
    end
    for _, key in ipairs { "n", "outside", "error_squares", "squares" } do f[key] = f[key] + r[key] end
    f.ratio = math.max(f.ratio, r.ratio)
    for _, key in ipairs { "differ", "sets", "beyond" } do if r[key] then f[key] = (f[key] or 0) + r[key] end end
    if is_worse(r, f.worst) then f.worst = r end
    if is_worse(r, s.worst) then s.worst = r end
    s.n, s.outside = s.n + r.n, s.outside + r.outside
  end
  for _, f in ipairs(s.families) do f.nmse = oplocal.nmse(f) end
  s.ok = s.outside == 0 and s.n > 0
  return s
end

function oplocal.spot(r)
  return ("%s at seq %d pos %s [%s]"):format(r.name, r.at.seq, r.at.pos, table.concat(r.at.index, ","))
end

function oplocal.print(s)
  print(("%-16s %11s %9s %11s %10s  %s"):format("family", "elements", "outside", "error/bound", "NMSE", "worst"))
  for _, f in ipairs(s.families) do
    local more = {}
    if f.differ then more[#more + 1] = ("%d codes or scales differ"):format(f.differ) end
    if f.sets then more[#more + 1] = ("%d router sets differ, %d beyond their margin"):format(f.sets, f.beyond) end
    if f.worst.problem then more[#more + 1] = f.worst.problem end
    print(("%-16s %11d %9d %11.4f %10.2e  %s%s"):format(f.family, f.n, f.outside, f.ratio, f.nmse, oplocal.spot(f.worst),
      #more > 0 and "; " .. table.concat(more, "; ") or ""))
  end
  local w = s.worst
  if s.ok then
    print(("every op within its bound: %d elements, largest error/bound %.4f, %s"):format(s.n, w.ratio, oplocal.spot(w)))
    return
  end
  print(("%d of %d elements are outside of their bound; worst %s: %.9g instead of %.9g ± %.3g"):format(s.outside, s.n,
    oplocal.spot(w), w.got, w.want, w.bound))
end

return oplocal
