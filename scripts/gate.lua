-- gate: breaks kernel families on purpose and sees whether it shows: every barrier, wait, commit, fence and shuffle deleted, every
-- shared offset shifted, scale operands exchanged, in the PTX of each family's first variants
-- needs: NVRTC; runs in checked mode on the emulator, under several schedules, against the families' references
-- prints: a line a family, then what survived; with --json one object. Ends with 1 when a survivor has no reason, a reason
-- explains nothing, or a right kernel fails under some schedule
local nb, args = require "nibble", require "scripts.lib.args"
local families, gate, launches = require "scripts.lib.families", require "scripts.lib.gate", require "scripts.lib.launches"

local opt = args.parse({
  name = "gate", summary = "Mutation gate: would the checker and the tests see a fault in these kernels?",
  positional = { { "family", "names of families, or all", many = true } },
  options = {
    { "arch", "sm_120a", "architectures, sm_120a,sm_90" },
    { "seeds", 4, "schedules that a mutant has to survive", min = 1 },
    { "schedules", 0, "instead of mutants: the right kernels under so many schedules a case", min = 0 },
    { "quick", false, "one case a family" }, { "list", false, "every mutant that was caught, too" },
    { "cache", "string?", "folder of compiled kernels" },
  },
}, ...)

local function names_of(list)
  if #list == 1 and list[1] == "all" then return families.names() end
  return list
end

local function describe(m)
  return ("%s line %d: %s%s  (%s: %s)"):format(m.kind, m.line, m.text,
    m.becomes ~= "" and " → " .. m.becomes:gsub("%s+", " "):gsub("^ ", "") or "", m.source or "?", m.source_text or "")
end

local function print_mutants(r)
  print(("%-16s %6d mutants: %5d findings, %5d wrong results, %d refused; %d only elsewhere, %d explained, %d UNEXPLAINED")
    :format(r.family, r.mutants, r.finding, r.result, r.refused, r.twin, r.explained, r.holes))
  for _, m in ipairs(r.survivors) do
    if not m.reason then print(("  survives %s: %s"):format(m.case, describe(m))) end
  end
  for _, row in ipairs(opt.quick and {} or r.stale) do
    print(("  explains nothing: %s \"%s\""):format(row.kind, row.at))
  end
end

local function one_arch(arch, jit)
  local device <close>, message, code = nb.device("emu:" .. arch)
  if not device then args.fail(code, "%s", message) end
  local list, bad = {}, 0
  print(device:name())
  for _, name in ipairs(names_of(opt.family)) do
    local spec = families.load(name)
    local options = { device = device, jit = jit, is_quick = opt.quick, schedules = opt.seeds }
    if opt.schedules > 0 then
      options.schedules = opt.schedules
      local r = gate.schedules(spec, options)
      bad = bad + #r.failed
      print(("%-16s %6d runs, %d failed"):format(name, r.runs, #r.failed))
      for _, f in ipairs(r.failed) do print(("  %s, schedule %d: %s"):format(f.case, f.seed, f.why)) end
      list[#list + 1] = r
    else
      if opt.list then
        options.on_caught = function(t, m, outcome, why) print(("  %s %s: %s — %s"):format(outcome, t.case, describe(m), why)) end
      end
      local r = gate.family(spec, options)
      bad = bad + r.holes + (opt.quick and 0 or #r.stale)
      print_mutants(r)
      list[#list + 1] = r
    end
  end
  return { arch = arch, families = list }, bad
end

local jit <close>, result, bad = launches.jit(opt.cache), { archs = {} }, 0
for arch in opt.arch:gmatch "[^,]+" do
  local r, n = one_arch(arch, jit)
  bad = bad + n
  table.insert(result.archs, r)
end
result.ok = bad == 0
print(result.ok and "closed" or ("OPEN: %d"):format(bad))
if opt.json then args.print_json(result) end
if bad > 0 then os.exit(1, true) end
