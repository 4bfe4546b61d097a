-- emu: runs one case of a kernel family in checked mode on the emulator and says what it did: instructions by class, memory
-- traffic, and whatever is undefined in it
-- needs: NVRTC; no GPU
-- prints: counters of the launch and every finding; with --json one object. Ends with 1 when something was found or, if all
-- blocks ran, an element is outside of its bound
local nb, args = require "nibble", require "scripts.lib.args"
local families, trial, launches = require "scripts.lib.families", require "scripts.lib.trial", require "scripts.lib.launches"
local verdict, counters = require "scripts.lib.verdict", require "scripts.lib.counters"

local opt = args.parse({
  name = "emu", summary = "Runs a kernel on the emulator in checked mode: counters and findings.",
  positional = { { "family", "a name (kernels/, NIBBLE_PATH), or the path of its folder" } },
  options = {
    { "case", "string?", "one of the spec's cases (default: the first)" }, { "arch", "sm_120a", "architecture that is emulated" },
    { "blocks", "string?", "only these blocks of every launch, 0,5,117 (linear numbers); results are not judged then" },
    { "set", "string?", "tunables, threads=128,split=2" },
    { "schedule", 0, "number of an order of blocks, warps and lanes; 0: the plain one", min = 0 },
    { "fuel", 0, "warp-instructions of a block before it counts as hanging; 0: 200 million", min = 0 },
    { "seed", 1, "of the inputs" }, { "cache", "string?", "folder of compiled kernels" },
  },
}, ...)

local function case_of(spec)
  local names = {}
  for i, case in ipairs(spec.cases or {}) do
    if not opt.case or case[1] == opt.case then return case end
    names[i] = case[1]
  end
  args.usage(("--case: %s has %s, found \"%s\""):format(spec.name, table.concat(names, ", "), opt.case or "none"))
end

local function numbers(name, text)
  local list = {}
  for word in (text or ""):gmatch "[^,]+" do
    local n = math.tointeger(tonumber(word))
    if not n or n < 0 then args.usage(("--%s: expected block numbers, found \"%s\""):format(name, word)) end
    list[#list + 1] = n
  end
  return list
end

local function tunables(text)
  local out = {}
  for part in (text or ""):gmatch "[^,]+" do
    local key, value = part:match "^([%w_]+)=([%w_]+)$"
    if not key then args.usage(("--set: expected name=value,…, found \"%s\""):format(part)) end
    if value == "true" or value == "false" then out[key] = value == "true" else
      out[key] = math.tointeger(tonumber(value)) or args.usage(("--set: expected a whole number, found \"%s\""):format(value))
    end
  end
  return out
end

local spec, blocks = families.load(opt.family), numbers("blocks", opt.blocks)
local device <close>, message, code = nb.device("emu:" .. opt.arch)
if not device then args.fail(code, "%s", message) end
local jit <close> = launches.jit(opt.cache)
local t = trial.prepare(spec, case_of(spec), { arch = device:arch(), seed = opt.seed, set = tunables(opt.set) })
if not t.source then args.fail("E_UNSUPPORTED", "%s has no kernel for this case: it runs as a host op", spec.name) end
trial.compile({ t }, jit)
if t.error then args.fail(t.code, "%s", t.error) end
device:set_checked(true)
device:set_races(true)
device:set_schedule(opt.schedule, opt.fuel)
assert(device:set_blocks(blocks))
trial.run(t, device, {})
if t.error and t.code ~= "E_KERNEL" then args.fail(t.code, "%s", t.error) end

local findings, c = t.error and device:findings() or {}, t.counts
local is_judged = #blocks == 0 and not t.error
local is_right = not is_judged or t.verdict.ok
print(("%s %s on %s, case %s"):format(t.name, table.concat(counters.entries(t.program), " + "), device:name(), t.case))
for _, line in ipairs(counters.lines(c)) do print("  " .. line) end
for _, text in ipairs(findings) do print("  " .. text) end
if is_judged and not is_right then
  local worst = verdict.worst(t.verdict)
  print(("  WRONG: %s[%s] is %s, want %s"):format(worst.name, table.concat(worst.at, ","), worst.got, worst.want))
end
print(#findings > 0 and ("%d findings"):format(#findings) or is_right and (is_judged and "right, nothing found"
  or "nothing found, results not judged") or "WRONG")
if opt.json then
  args.print_json { family = spec.name, case = t.case, variant = t.name, arch = opt.arch, blocks = nb.json.array(blocks), counts = c,
    findings = nb.json.array(findings), ok = #findings == 0 and is_right, judged = is_judged }
end
if #findings > 0 or not is_right then os.exit(1, true) end
