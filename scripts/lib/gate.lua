-- gate: mutants of a kernel family's PTX in checked mode against its reference, and the right kernels under many schedules. A gate
-- that lets a fault through is no gate: what survives needs a reason (scripts/lib/gate_data.lua).
--   local list = gate.cases(spec, is_quick)      the spec's small cases and those made for the gate; none without a kernel
--   gate.compile({ { spec =, case =, arch = }, … }, jit)           each gets `trial`, and `mutants` = its list
--   gate.begin(t, device)                        reference and one run of the right kernel, before any of these:
--   local outcome, why, runs = gate.try_mutant(t, device, m, schedules)      local outcome, why = gate.try_schedule(t, device, seed)
-- How a mutant ends: "finding" (the checker objects), "result" (an element is outside of its bound), "refused" (the device does
-- not take it), or "right": it survives all schedules; "unused" when the address of an array that it shifts may as well point
-- nowhere: only code that these extents do not reach uses it (that code has mutants of its own).
--   local report = gate.judge(spec, arch name, rows)      rows: of all cases of a family, { case =, place =, kind =, text =,
--                                                         source_text =, outcome =, … }; what survives gets a `reason`
--     → { family, mutants =, finding =, result =, refused =, unused =, twin =, explained =, holes =,
--         survivors = { rows but twins }, stale = { rows of the data that explain nothing } }
-- A survivor is a "twin" when in another case every mutant of the same place and kind is caught (extents of this case make it
-- harmless), "explained" by a row of the data, else it is a hole.
local nb, args = require "nibble", require "scripts.lib.args"
local families, trial, mutants = require "scripts.lib.families", require "scripts.lib.trial", require "scripts.lib.mutants"
local inputs, verdict, data = require "scripts.lib.inputs", require "scripts.lib.verdict", require "scripts.lib.gate_data"
local gate = {}

local SLACK, FUEL_MIN = 8, 20000   -- a mutant may execute so many times what the kernel does before it counts as hanging

function gate.cases(spec, is_quick)
  local list, own = {}, data.cases[spec.name] or {}
  for _, case in ipairs(spec.program and spec.cases or {}) do
    if not case[1]:find "^decode" and not case[1]:find "^prefill" then list[#list + 1] = case end
  end
  for _, case in ipairs(spec.program and own or {}) do list[#list + 1] = case end
  if not is_quick then return list end
  for _, case in ipairs(list) do
    if case[1] == "ragged" then return { case } end
  end
  return { list[1] }
end

local function spec_folder(spec) return spec.folder or ("%s/kernels/%s"):format(NIBBLE_ROOT, spec.name) end

local function place(m)
  return table.concat({ m.entry or "", m.kind, m.source or "", m.text:match "%S*[%l][%w_.:]*", m.by or 0 }, "|")
end

function gate.compile(wanted, jit)
  local trials = {}
  for i, w in ipairs(wanted) do
    local shape = {}
    for k, v in pairs(w.case) do shape[k] = k ~= "set" and v or nil end
    w.trial = trial.prepare(w.spec, shape, { arch = trial.arch(w.arch), set = w.case.set })
    trials[i] = w.trial
  end
  trial.compile(trials, jit)
  for _, w in ipairs(wanted) do
    local t = w.trial
    if t.error then args.fail(t.code, "%s", t.error) end
    w.mutants = mutants.of(t.result.ptx, { spec_folder(w.spec), NIBBLE_ROOT .. "/kernels/include" })
    for _, m in ipairs(w.mutants) do m.place = place(m) end
  end
end

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

function gate.begin(t, device)
  device:set_checked(true)
  device:set_races(true)
  device:set_schedule(0)
  device:take_counts()
  t.want = verdict.reference(families.reference(t.spec), t.call)
  local outcome, why = run(t, t.result.ptx, device)
  if outcome ~= "right" then
    args.fail("E_KERNEL", "%s, case %s: the kernel itself is not right: %s", t.spec.name, t.case, why)
  end
  t.fuel = FUEL_MIN + SLACK * device:take_counts().instructions
end

local function run_schedules(t, ptx, device, schedules)
  for seed = 0, schedules - 1 do
    device:set_schedule(seed, t.fuel)
    local outcome, why = run(t, ptx, device)
    if outcome ~= "right" then return outcome, why, seed + 1 end
  end
  return "right", nil, schedules
end

function gate.try_mutant(t, device, m, schedules)
  local outcome, why, runs = run_schedules(t, mutants.apply(t.result.ptx, m), device, schedules)
  if outcome == "right" and m.nowhere then
    local nowhere = mutants.apply(t.result.ptx, { line = m.line, becomes = m.nowhere })
    if run_schedules(t, nowhere, device, schedules) == "right" then outcome = "unused" end
  end
  return outcome, why, runs
end

function gate.try_schedule(t, device, seed)
  device:set_schedule(seed)
  return run(t, t.result.ptx, device)
end

local function is_about(row, family, arch) return row.family == family and arch:find(row.arch or arch, 1, true) == 1 end

local function explanation(family, arch, m)
  for _, row in ipairs(data.reasons) do
    if is_about(row, family, arch) and row.kind == m.kind and (m.source_text or ""):find(row.at, 1, true)
      and (not row.text or m.text:find(row.text, 1, true)) then
      return row
    end
  end
end

-- Places where, in some case, every mutant is caught.
local function caught_places(rows)
  local all, caught = {}, {}
  for _, m in ipairs(rows) do
    local key = m.place .. "|" .. m.case
    all[key] = all[key] ~= false and m.outcome ~= "right" and m.outcome ~= "unused"
  end
  for _, m in ipairs(rows) do caught[m.place] = caught[m.place] or all[m.place .. "|" .. m.case] end
  return caught
end

function gate.judge(spec, arch, rows)
  local report = { family = spec.name, mutants = #rows, finding = 0, result = 0, refused = 0, unused = 0, twin = 0, explained = 0,
    holes = 0, survivors = {}, stale = {} }
  local caught, used = caught_places(rows), {}
  for _, m in ipairs(rows) do
    if m.outcome ~= "right" then report[m.outcome] = report[m.outcome] + 1
    elseif caught[m.place] then report.twin = report.twin + 1 else
      local row = explanation(spec.name, arch, m)
      if row then used[row] = true end
      m.reason = row and row.reason
      report[row and "explained" or "holes"] = report[row and "explained" or "holes"] + 1
      table.insert(report.survivors, m)
    end
  end
  for _, row in ipairs(data.reasons) do
    if is_about(row, spec.name, arch) and not used[row] then table.insert(report.stale, row) end
  end
  return report
end

return gate
