-- gate: runs mutants of a kernel family's PTX in checked mode against its reference. A gate that lets a fault through is no gate:
-- what survives needs a reason (scripts/lib/gate_data.lua).
--   local report = gate.family(spec, { device =, jit =, schedules =, is_quick = })
--     → { family, mutants =, finding =, result =, refused =, twin =, explained =, cases = { … },
--         survivors = { { case, kind, line, text, becomes, source, source_text, reason }, … }, stale = { rows that explain nothing } }
--   local report = gate.schedules(spec, { device =, jit =, schedules = n })      the right kernel under n schedules a case
--     → { family, runs =, failed = { { case, seed, why }, … } }
-- How a mutant ends: "finding" (the checker objects), "result" (an element is outside of its bound), "refused" (the device does
-- not take it), or it survives all schedules: "twin" when in another case every mutant of the same place and kind is caught
-- (extents of this case make it harmless), "explained" by a row of the data, else it is a hole.
local nb = require "nibble"
local families, trial, mutants = require "scripts.lib.families", require "scripts.lib.trial", require "scripts.lib.mutants"
local inputs, verdict, data = require "scripts.lib.inputs", require "scripts.lib.verdict", require "scripts.lib.gate_data"
local gate = {}

local SLACK, FUEL_MIN = 8, 20000   -- a mutant may execute so many times what the kernel does before it counts as hanging

-- The spec's cases that are small, and those made for the gate.
local function cases_of(spec, is_quick)
  local list, own = {}, data.cases[spec.name] or {}
  for _, case in ipairs(spec.cases or {}) do
    if not case[1]:find "^decode" and not case[1]:find "^prefill" then list[#list + 1] = case end
  end
  for _, case in ipairs(own) do list[#list + 1] = case end
  if not is_quick then return list end
  for _, case in ipairs(list) do
    if case[1] == "ragged" then return { case } end
  end
  return { list[1] }
end

-- A case that is compiled and has its reference; nil for a family without a kernel of this kind.
local function prepare(spec, case, opt)
  local shape = {}
  for k, v in pairs(case) do shape[k] = k ~= "set" and v or nil end
  local t = trial.prepare(spec, shape, { arch = opt.device:arch(), set = case.set })
  trial.compile({ t }, opt.jit)
  if t.error then error(setmetatable({ code = t.code, message = t.error }, { __tostring = function() return t.error end }), 0) end
  if not t.result then return nil end
  t.want = verdict.reference(families.reference(spec), t.call)
  return t
end

local function spec_folder(spec) return spec.folder or ("%s/kernels/%s"):format(NIBBLE_ROOT, spec.name) end

-- "right", or how it was caught and by what.
local function run(t, ptx, device)
  local module, message = device:load(t.name, ptx, t.result.cubin)
  if not module then return "refused", message end
  local got, stages = inputs.copy(t.call), {}
  for i, s in ipairs(t.program.stages) do
    stages[i] = { module = module, entry = s.entry, grid = s.grid, block = s.block, smem = s.smem }
  end
  local ok, why, code = nb.op_launch(device, t.spec, got, { stages = stages, scratch = t.program.scratch, rows = t.call.rows })
  module:close()
  if not ok then return code == "E_KERNEL" and "finding" or "refused", why end
  local v = verdict.judge(t.spec, t.call, got, t.want, t.values, t.s)
  if v.ok then return "right" end
  local worst = verdict.worst(v)
  return "result", ("%s[%s] is %s, want %s"):format(worst.name, table.concat(worst.at, ","), worst.got, worst.want)
end

local function place(m)
  return table.concat({ m.entry or "", m.kind, m.source or "", m.text:match "%S*[%l][%w_.:]*", m.by or 0 }, "|")
end

local function is_about(row, family, arch) return row.family == family and (row.arch or arch) == arch end

local function explanation(family, arch, m)
  for _, row in ipairs(data.reasons) do
    if is_about(row, family, arch) and row.kind == m.kind and (m.source_text or ""):find(row.at, 1, true)
      and (not row.text or m.text:find(row.text, 1, true)) then
      return row
    end
  end
end

local function try_case(t, opt, report, places)
  opt.device:set_schedule(0)
  opt.device:take_counts()
  local outcome, why = run(t, t.result.ptx, opt.device)
  if outcome ~= "right" then
    error(("%s, case %s: the kernel itself is not right: %s"):format(t.spec.name, t.case, why), 0)
  end
  local fuel = FUEL_MIN + SLACK * opt.device:take_counts().instructions
  local list = mutants.of(t.result.ptx, { spec_folder(t.spec), NIBBLE_ROOT .. "/kernels/include" })
  local case = { case = t.case, variant = t.name, mutants = #list, finding = 0, result = 0, refused = 0, survivors = {} }
  for _, m in ipairs(list) do
    local ptx, key = mutants.apply(t.result.ptx, m), place(m)
    for seed = 0, opt.schedules - 1 do
      opt.device:set_schedule(seed, fuel)
      outcome, why = run(t, ptx, opt.device)
      if outcome ~= "right" then break end
    end
    places[key] = places[key] or {}
    places[key][t.case] = places[key][t.case] ~= false and outcome ~= "right"
    if outcome == "right" then
      m.case, m.place = t.case, key
      table.insert(case.survivors, m)
    else
      case[outcome] = case[outcome] + 1
      if opt.on_caught then opt.on_caught(t, m, outcome, why) end
    end
  end
  opt.device:set_schedule(0)
  for _, key in ipairs { "mutants", "finding", "result", "refused" } do report[key] = report[key] + case[key] end
  return case
end

function gate.family(spec, opt)
  local report = { family = spec.name, mutants = 0, finding = 0, result = 0, refused = 0, twin = 0, explained = 0, holes = 0,
    cases = {}, survivors = {}, stale = {} }
  local places, used, arch = {}, {}, opt.device:arch().name
  if not spec.program then return report end
  opt.device:set_checked(true)
  opt.device:set_races(true)
  for _, case in ipairs(cases_of(spec, opt.is_quick)) do
    local t = prepare(spec, case, opt)
    if t then table.insert(report.cases, try_case(t, opt, report, places)) end
  end
  for _, case in ipairs(report.cases) do
    for _, m in ipairs(case.survivors) do
      local is_caught = false
      for _, all in pairs(places[m.place]) do is_caught = is_caught or all end
      local row = not is_caught and explanation(spec.name, arch, m)
      if row then used[row] = true end
      m.reason = is_caught and "caught in another case" or row and row.reason or nil
      local count = is_caught and "twin" or row and "explained" or "holes"
      report[count] = report[count] + 1
      if not is_caught then table.insert(report.survivors, m) end
    end
    case.survivors = #case.survivors
  end
  for _, row in ipairs(data.reasons) do
    if is_about(row, spec.name, arch) and not used[row] then table.insert(report.stale, row) end
  end
  return report
end

function gate.schedules(spec, opt)
  local report = { family = spec.name, runs = 0, failed = {} }
  if not spec.program then return report end
  opt.device:set_checked(true)
  opt.device:set_races(true)
  for _, case in ipairs(cases_of(spec, opt.is_quick)) do
    local t = prepare(spec, case, opt)
    for seed = 0, t and opt.schedules - 1 or -1 do
      opt.device:set_schedule(seed)
      local outcome, why = run(t, t.result.ptx, opt.device)
      report.runs = report.runs + 1
      if outcome ~= "right" then table.insert(report.failed, { case = t.case, seed = seed, why = why }) end
    end
  end
  opt.device:set_schedule(0)
  return report
end

return gate
