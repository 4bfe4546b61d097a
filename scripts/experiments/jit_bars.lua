-- jit_bars: what each kernel costs the compiler: PTX of every case of every family for every target, and NVRTC's CPU time
-- needs: NVRTC; nothing is kept in a cache
-- prints: the largest and the slowest, and the bars they are held to (100,000 bytes of PTX, 1 s); status 1 when one is missed
local nb, args = require "nibble", require "scripts.lib.args"
local families, trial, variant = require "scripts.lib.families", require "scripts.lib.trial", require "scripts.lib.variant"

local opt = args.parse({
  name = "jit_bars", summary = "Bytes of PTX and CPU time of NVRTC, over all families, cases and targets.",
  options = { { "arch", "sm_80,sm_90,sm_120a,sm_121a", "targets" }, { "family", "string?", "this one alone" },
              { "repeats", 5, "compilations each; the median counts" }, { "top", 10, "rows shown" } },
}, ...)
local PTX_MAX, SECONDS_MAX = 100000, 1.0

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

-- The process's own CPU time tells on a busy machine too: one compilation runs in one thread.
local function measure(jit, source)
  local times, bytes = {}, 0
  for i = 1, opt.repeats do
    local from = os.clock()
    local r = jit:compile({ source })[1]
    times[i] = os.clock() - from
    if r.error then args.fail(r.code, "%s", r.error) end
    bytes = #r.ptx
  end
  return bytes, median(times)
end

local jit <close> = assert(nb.jit { cache = "/dev/null/none", include = NIBBLE_ROOT .. "/kernels/include" })
local version, why = jit:compiler()
if not version then args.fail("E_UNSUPPORTED", "%s", why) end
local small, rows, seen = { e = 32, v = 4096 }, {}, {}   -- extents that only cost memory here
for _, name in ipairs(opt.family and { opt.family } or nb.op.families()) do
  local spec = families.load(name)
  for _, case in ipairs(spec.program and spec.cases or {}) do
    local shape = {}
    for k, v in pairs(case) do shape[k] = math.type(v) == "integer" and small[k] and math.min(v, small[k]) or v end
    for arch in opt.arch:gmatch "[^,]+" do
      local t = trial.prepare(spec, shape, { arch = trial.arch(arch) })
      local source = t.source
      local key = source.source .. source.constants .. arch
      if not seen[key] then
        seen[key] = true
        local bytes, seconds = measure(jit, source)
        rows[#rows + 1] = { name = t.name, case = case[1], arch = arch, ptx_bytes = bytes, seconds = seconds }
      end
    end
  end
end

local function show(title, key, text, bar)
  table.sort(rows, function(a, b) return a[key] > b[key] end)
  print(title)
  for i = 1, math.min(opt.top, #rows) do
    local r = rows[i]
    print(("  %-44s %-20s %-8s " .. text):format(r.name, r.case, r.arch, r[key]))
  end
  return rows[1][key] <= bar
end
print(("%d compilations, NVRTC %d.%d, median CPU time of %d"):format(#rows, version // 100, version % 100, opt.repeats))
local is_small = show("bytes of PTX", "ptx_bytes", "%7d", PTX_MAX)
local is_fast = show("NVRTC, seconds of CPU", "seconds", "%7.3f", SECONDS_MAX)
if opt.json then args.print_json { rows = rows, ptx_max = PTX_MAX, seconds_max = SECONDS_MAX } end
os.exit(is_small and is_fast and 0 or 1)
