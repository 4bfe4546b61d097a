-- trial: one variant of one op, from the spec to the verdict.
--   local t = trial.prepare(spec, shape, { arch =, seed =, set = { threads = 128 } })     inputs, variant, rules
--   local t = trial.prepare(spec, call.shape, { arch =, set =, call = call })              a call of capture's instead
--   trial.compile({ t, … }, jit)       t.result (ptx, cubin, log, seconds, cached), t.kernels (registers, shared,
--   stack, spills, occupancy); or t.error, t.code trial.run(t, device, { rounds =, repeats = })   t.verdict,
--   t.time; or t.error, t.code
--   trial.recorded(t)              the same verdict on what the trace holds of a captured op's outputs; nil without any
-- A program for another architecture than the device's cannot be run.
local nb, args = require "nibble", require "scripts.lib.args"
local inputs, variant, verdict = require "scripts.lib.inputs", require "scripts.lib.variant",
  require "scripts.lib.verdict"
local families = require "scripts.lib.families"
local trial = {}

function trial.arch(name)
  for _, a in ipairs(nb.archs()) do
    if a.name == name then return a end
  end
  args.usage(("no architecture \"%s\" in core/gpu/arch.def"):format(name))
end

local function describe(spec, call)
  local what = assert(nb.op_describe(spec, call))
  what.rows, what.len = call.rows, call.len
  return what
end

-- The first values with some of them set; a value may be outside of the list of those worth trying, a rule may not
-- be broken.
local function values_of(spec, what, arch, set)
  if not next(set or {}) then return variant.first(spec, what, arch) end
  local values, known = {}, {}
  local first = spec.first
  if type(first) == "function" then first = first(variant.shape(what), arch) end
  for _, t in ipairs(spec.tune or {}) do known[t[1]], values[t[1]] = true, first[t[1]] end
  for name, value in pairs(set) do
    if not known[name] then args.usage(("--set: %s has no tunable \"%s\""):format(spec.name, name)) end
    values[name] = value
  end
  local rule = variant.broken(spec, values, what, arch)
  if rule then args.fail("E_UNSUPPORTED", "%s breaks the rule \"%s\"", variant.name(spec, values), rule) end
  return values
end

function trial.prepare(spec, shape, opt)
  local t = { spec = spec, shape = shape, arch = opt.arch, case = shape[1] or "shape" }
  t.call = opt.call or inputs.make(spec, shape, opt.seed or 1)
  t.what = t.call.what or describe(spec, t.call)
  t.s = variant.shape(t.what)
  t.cost = spec.cost and spec.cost(t.s)
  if not spec.program then return t end
  t.values = values_of(spec, t.what, opt.arch, opt.set)
  t.name = variant.name(spec, t.values)
  t.program = variant.program(spec, t.values, t.what, opt.arch)
  t.source = variant.source(spec, t.values, t.what, opt.arch)
  return t
end

local function threads_of(block)
  if type(block) == "number" then return block end
  return (block[1] or 1) * (block[2] or 1) * (block[3] or 1)
end

-- Registers that did not fit: the stack, less the arrays that the PTX itself puts there.
local function spills(ptx, name, stack)
  local body = ptx:match("%.entry%s+" .. name .. "%s*%(.-\n}") or ""
  local arrays = 0
  for bytes in body:gmatch "%.local[^\n]-%[(%d+)%]" do arrays = arrays + tonumber(bytes) end
  return math.max(0, stack - arrays)
end

local function describe_kernels(t)
  local by_name = {}
  for _, k in ipairs(assert(nb.cubin(t.result.cubin))) do by_name[k.name] = k end
  t.kernels = {}
  for i, stage in ipairs(t.program.stages) do
    local k = by_name[stage.entry]
    if not k then args.fail("E_MISSING", "%s: the cubin has no entry \"%s\"", t.name, stage.entry) end
    k.entry, k.threads, k.dynamic = stage.entry, threads_of(stage.block), stage.smem or 0
    k.spills = spills(t.result.ptx, stage.entry, k.stack)
    k.blocks_sm = nb.occupancy(t.arch.name, k.threads, k.registers, k.shared + k.dynamic)
    k.grid = stage.grid
    t.kernels[i] = k
  end
end

function trial.compile(list, jit)
  local sources, who = {}, {}
  for _, t in ipairs(list) do
    if t.source then sources[#sources + 1], who[#who + 1] = t.source, t end
  end
  for i, r in ipairs(jit:compile(sources)) do
    if r.error then who[i].error, who[i].code = r.error, r.code else
      who[i].result = r
      describe_kernels(who[i])
    end
  end
end

local function launch(t, device, got, opt)
  local module, message, code = device:load(t.name, t.result.ptx, t.result.cubin)
  if not module then return nil, message, code end
  local stages = {}
  for i, s in ipairs(t.program.stages) do
    stages[i] = { module = module, entry = s.entry, grid = s.grid, block = s.block, smem = s.smem }
  end
  return nb.op_launch(device, t.spec, got, { stages = stages, scratch = t.program.scratch, rows = t.call.rows,
    seqs = t.call.seqs, outs = t.call.outs, rounds = opt.rounds, repeats = opt.repeats })
end

function trial.run(t, device, opt)
  local got = inputs.copy(t.call)
  device:take_counts()
  local ok, time, code = launch(t, device, got, opt)
  t.counts = device:is_emulated() and device:take_counts() or nil
  if not ok then
    t.error, t.code = time, code
    return
  end
  t.time = type(time) == "table" and time or nil
  -- what a captured call must come to is computed once
  t.want = t.call.want or verdict.reference(families.reference(t.spec), t.call)
  if t.call.recorded then t.call.want = t.want end
  t.verdict = verdict.judge(t.spec, t.call, got, t.want, t.values, t.s)
end

function trial.recorded(t)
  if not next(t.call.recorded) then return end
  local was = inputs.copy(t.call)
  for name, value in pairs(t.call.recorded) do was.args[name] = value end
  return verdict.judge(t.spec, t.call, was, t.want, t.values, t.s, t.call.recorded)
end

return trial
