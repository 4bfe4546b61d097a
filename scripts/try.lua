-- try: the kernel writer's loop: compile, rules, run, compare element by element with the reference, resources,
-- time against the floor
-- needs: NVRTC; a device for the run (the emulator is one); without a device it stops behind the compiler and says so
-- with --like the inputs are those of an op of a recorded run (scripts/lib/capture.lua), which needs the run's checkpoint
-- prints: per case a block; with --json one object. Ends with 0 when everything is within its bound, 1 when an
-- element is not or a kernel faulted or a checker found something, otherwise by kind of error
local nb, args, uv = require "nibble", require "scripts.lib.args", require "luv"
local capture = require "scripts.lib.capture"
local families, trial, variant = require "scripts.lib.families", require "scripts.lib.trial",
  require "scripts.lib.variant"
local counters, launches, products = require "scripts.lib.counters", require "scripts.lib.launches",
  require "scripts.lib.products"

local opt = args.parse({
  name = "try", summary = "Tries a kernel family: compiles it, runs it, holds every element against the reference's bound.",
  positional = { { "family", "a name (kernels/, NIBBLE_PATH), or the path of its folder" } },
  options = {
    { "case", "string?", "only this one of the spec's cases" },
    { "shape", "string?", "extents, rows=8,n=2048,k=2048: one case of its own, the rest as in the first (or --case)" },
    { "like", "string?", "TRACE:OP[@STEP]: an op of a trace, on its inputs there; STEP: a number, prefill, decode" },
    { "ckpt", "string?", "--like: the trace's checkpoint, where it is elsewhere now" },
    { "format", "string?", "weight formats, w=nvfp4" }, { "kv", "string?", "the cache: bf16 or fp8" },
    { "with", "string?", "optional arguments that are there, delta,sum" },
    { "set", "string?", "tunables, threads=128,split=2" },
    { "device", "auto", "auto, cuda:0, emu:sm_120a, or none" },
    { "arch", "string?", "without a device: compile for this (default sm_120a)" },
    { "seed", 1, "of the inputs" }, { "checked", false, "emulator: look for faults" },
    { "rounds", 10, "CUDA: rounds of 20 runs that are timed" },
    { "product", "string?", "GPU whose floor is predicted (default: the first of the architecture)" },
    { "cache", "string?", "folder of compiled kernels" },
    { "watch", false, "again whenever a source changes, until interrupted" },
  },
}, ...)
local REPEATS = 20
-- Ops run again by their references agree with their recorded outputs up to storage in bf16 (2^-18 of the square, 4e-6) and what
-- states carry on of it; other inputs, weights or steps are nowhere near.
local RERUN_NMSE = 1e-4

local function assignments(text, name, convert)
  local out = {}
  for part in (text or ""):gmatch "[^,]+" do
    local key, value = part:match "^([%w_]+)=([%w_]+)$"
    if not key then args.usage(("--%s: expected name=value,…, found \"%s\""):format(name, part)) end
    out[key] = convert(value, key)
  end
  return out
end

local function whole(value, key)
  return math.tointeger(tonumber(value)) or args.usage(("%s: expected a whole number, found \"%s\""):format(key, value))
end
local function tunable(value, key)
  if value == "true" or value == "false" then return value == "true" end
  return whole(value, key)
end

-- The cases that the options ask for.
local function cases_of(spec)
  local cases = spec.cases or {}
  if opt.case then
    local found
    for _, case in ipairs(cases) do found = case[1] == opt.case and case or found end
    if not found then
      local names = {}
      for i, case in ipairs(cases) do names[i] = case[1] end
      args.usage(("--case: %s has %s, found \"%s\""):format(spec.name, table.concat(names, ", "), opt.case))
    end
    cases = { found }
  end
  if not (opt.shape or opt.format or opt.kv or opt.with) then return cases end
  local changed = {}
  for i, case in ipairs(opt.shape and { cases[1] or {} } or cases) do
    local own = {}
    for k, v in pairs(case) do own[k] = v end
    if opt.shape then own[1] = opt.case or "shape" end
    for k, v in pairs(assignments(opt.shape, "shape", whole)) do own[k] = v end
    if opt.format then
      own.format = {}
      for k, v in pairs(case.format or {}) do own.format[k] = v end
      for k, v in pairs(assignments(opt.format, "format", tostring)) do own.format[k] = v end
    end
    own.kv = opt.kv and args.one_of("kv", opt.kv, { "bf16", "fp8" }) or own.kv
    if opt.with then
      own.with = {}
      for name in opt.with:gmatch "[^,]+" do own.with[#own.with + 1] = name end
    end
    changed[i] = own
  end
  return changed
end

local function product_of(arch)
  local first
  for _, p in ipairs(products) do
    if opt.product and p.name == opt.product then return p end
    if p.arch == arch.name then first = first or p end
  end
  if opt.product then
    local names = {}
    for i, p in ipairs(products) do names[i] = p.name end
    args.usage(("--product: expected one of %s, found \"%s\""):format(table.concat(names, ", "), opt.product))
  end
  return first
end

-- The calls that --like asks for, captured once: a watcher's next turn finds them made.
local captured
local function calls_like(spec)
  if captured then return captured end
  local path, name = opt.like:match "^(.+):([^:]+)$"
  if not path then args.usage(("--like: expected TRACE:OP, found \"%s\""):format(opt.like)) end
  for _, other in ipairs { "case", "shape", "format", "kv", "with" } do
    if opt[other] then args.usage(("--%s: --like takes it from the trace"):format(other)) end
  end
  local word, step = name:match "^(.+)@(.*)$"
  local run <close> = capture.open(path, { ckpt = opt.ckpt })
  local op, calls = run:op(word or name, spec.reference or spec.name), {}
  for i, number in ipairs(run:steps(step)) do calls[i] = run:call(op, number) end
  captured = calls
  return calls
end

-- What is tried: { shape, call or nil }, ….
local function trials_of(spec)
  local list = {}
  if opt.like then
    for i, call in ipairs(calls_like(spec)) do list[i] = { call.shape, call } end
  else
    for i, case in ipairs(cases_of(spec)) do list[i] = { case } end
  end
  return list
end

-- A device, or nil and why.
local function open_device()
  if opt.device == "none" then return nil, "--device none" end
  local device, message, code = nb.device(opt.device)
  if device then
    if opt.checked then
      device:set_checked(true)
      device:set_races(true)
    end
    return device
  end
  args.fail(code, "%s", message)
end

local function floor_of(t, product)
  local by_bytes, by_flop = t.cost.bytes / product.gbps, t.cost.flop / (product.tflops * 1e3)   -- ns
  return math.max(by_bytes, by_flop), by_bytes >= by_flop and "bytes" or "operations"
end

local function shape_text(case)
  local parts = {}
  for k, v in pairs(case) do
    if k == "format" then
      for name, format in pairs(v) do parts[#parts + 1] = name .. "=" .. format end
    elseif k == "quantizers" then
      for name, n in pairs(v) do parts[#parts + 1] = ("%d input scales of %s"):format(n, name) end
    elseif k == "with" then parts[#parts + 1] = "with " .. table.concat(v, ",")
    elseif type(v) == "table" then parts[#parts + 1] = k .. "=" .. table.concat(v, "+")
    elseif k ~= 1 then parts[#parts + 1] = k .. "=" .. tostring(v) end
  end
  table.sort(parts)
  return table.concat(parts, " ")
end

local function print_outputs(v)
  for _, r in ipairs(v.outputs) do
    local place = table.concat(r.at, ",")
    print(("  %-9s %s  worst [%s] %.9g, want %.9g, bound %.3g: %.3g of it%s%s"):format(r.name,
      r.ok and "right" or "WRONG", place, r.got, r.want, r.bound,
      r.ratio, r.outside > 0 and ("; %d of %d outside"):format(r.outside, r.n) or "",
        r.problem and "; " .. r.problem or ""))
  end
end

-- How a captured op's inputs were come by, and whether its own outputs there are what the reference makes of them.
local function print_capture(t)
  local r, was = t.call.reruns, t.recorded
  if r then
    print(("  inputs    %d ops without a tap or with a state run again by their references over %d steps%s"):format(r.ops, r.steps,
      r.taps > 0 and ("; their recorded outputs %s: NMSE up to %.1e, %s"):format(r.nmse <= RERUN_NMSE and "agree" or "DISAGREE",
        r.nmse, r.tap) or "; nothing recorded to hold them against"))
  end
  if t.call.is_f32 then print "  inputs    recorded in f32, rounded to bf16: recorded outputs are not those of these inputs" end
  if t.verdict and not was and not t.call.is_f32 then print "  recorded  none of its outputs: nothing to hold the inputs against" end
  if not was then return end
  local w = require("scripts.lib.verdict").worst(was)
  print(("  recorded  %s: %s %.3g of its bound"):format(was.ok and "the trace's own outputs are right on these inputs"
    or "the trace's own outputs are NOT what the reference makes of these inputs", w.name, w.ratio))
end

local function print_case(t, product)
  print(("%s  %s"):format(t.case, shape_text(t.shape)))
  if not t.source then print "  no kernel: the family runs as a host op" end
  if t.result then
    print(("  %s for %s: %s, PTX %d bytes, cubin %d"):format(t.name, t.arch.name,
      t.result.cached and "from the cache" or ("compiled in %.2f s"):format(t.result.seconds), #t.result.ptx,
        #t.result.cubin))
    if t.result.log ~= "" then print("  compiler: " .. t.result.log:gsub("%s+$", ""):gsub("\n", "\n  ")) end
    for _, k in ipairs(t.kernels) do
      print(("  %-16s %d threads, %d registers, %d bytes shared, %s, %d blocks an SM (%d of %d warps)"):format(k.entry,
        k.threads, k.registers,
        k.shared + k.dynamic, k.spills > 0 and ("%d BYTES SPILLED"):format(k.spills) or "no spills", k.blocks_sm,
          k.blocks_sm * ((k.threads + 31) // 32),
        t.arch.warps_sm))
    end
  end
  if t.error then print("  " .. t.error) end
  if t.verdict then print_outputs(t.verdict) end
  if t.call.recorded then print_capture(t) end
  if t.counts and not t.error then print("  " .. counters.line(t.counts)) end
  if t.time then
    print(("  %.1f us measured (%.1f to %.1f), %.0f GB/s, %.2f TFLOPS"):format(t.time.ns_median / 1e3,
      t.time.ns_min / 1e3, t.time.ns_max / 1e3,
      t.cost.bytes / t.time.ns_median, t.cost.flop / t.time.ns_median / 1e3))
  end
  if t.cost and product then
    local ns, why = floor_of(t, product)
    print(("  floor %.2f us by %s on %s (prediction: %.3g MB, %.3g GFLOP)"):format(ns / 1e3, why, product.name,
      t.cost.bytes / 1e6, t.cost.flop / 1e9))
  end
end

local function result_of(t, product)
  local out = { case = t.case, shape = shape_text(t.shape), variant = t.name, ok = t.verdict and t.verdict.ok or nil,
    error = t.error, code = t.code }
  if t.result then
    out.compile_s, out.cached, out.ptx_bytes, out.cubin_bytes, out.log = t.result.seconds, t.result.cached,
      #t.result.ptx, #t.result.cubin, t.result.log
    out.kernels = {}
    for i, k in ipairs(t.kernels) do
      out.kernels[i] = { entry = k.entry, threads = k.threads, registers = k.registers, shared = k.shared + k.dynamic,
        stack = k.stack, spills = k.spills,
                         blocks_sm = k.blocks_sm }
    end
  end
  if t.verdict then
    out.sums, out.outputs = t.verdict.sums, t.verdict.outputs
    for _, r in ipairs(out.outputs) do
      if r.ratio == math.huge then r.ratio = 1e300 end   -- JSON has no infinity, and no NaN
      for _, key in ipairs { "got", "want", "bound" } do
        if r[key] ~= r[key] or math.abs(r[key]) == math.huge then r[key] = tostring(r[key]) end
      end
    end
  end
  out.counts = t.counts
  if t.call.recorded then
    local r, w = t.call.reruns, t.recorded and require("scripts.lib.verdict").worst(t.recorded)
    out.like = { reruns = r and { ops = r.ops, steps = r.steps, taps = r.taps, nmse = r.taps > 0 and r.nmse or nil, tap = r.tap },
      recorded = w and { ok = t.recorded.ok, output = w.name, ratio = math.min(w.ratio, 1e300) } }
  end
  if t.cost then out.bytes, out.flop = t.cost.bytes, t.cost.flop end
  if t.cost and product then out.floor_us_predicted, out.floor_product = floor_of(t, product) / 1e3, product.name end
  out.time_us = t.time and t.time.ns_median / 1e3 or nil
  return out
end

-- Everything once. Returns the exit status: 0, 1, or raises.
local function once()
  local spec = families.load(opt.family)
  local device <close>, why = open_device()
  local arch = device and device:arch() or trial.arch(opt.arch or "sm_120a")
  if device and opt.arch and opt.arch ~= arch.name then args.usage(("--arch: %s is %s"):format(device:name(),
    arch.name)) end
  local jit <close>, product = launches.jit(opt.cache), product_of(arch)
  local result = { family = spec.name, arch = arch.name, device = device and device:name() or nil, not_run = why,
    cases = {} }
  print(("%s on %s"):format(spec.name, device and device:name() or "no device: " .. why))
  local status, failed = 0, nil
  local is_emulated = device and device:is_emulated()
  for i, what in ipairs(trials_of(spec)) do
    local t = trial.prepare(spec, what[1], { arch = arch, seed = opt.seed, set = assignments(opt.set, "set", tunable),
      call = what[2] })
    trial.compile({ t }, jit)
    if t.result and device then
      trial.run(t, device, { rounds = not is_emulated and opt.rounds or 0, repeats = REPEATS })
    end
    if t.want and t.call.recorded and not t.call.is_f32 then t.recorded = trial.recorded(t) end
    print_case(t, product)
    result.cases[i] = result_of(t, product)
    if t.code == "E_KERNEL" or (t.verdict and not t.verdict.ok) then status = 1 elseif t.error then failed = failed
      or t end
    if t.error and device and not is_emulated then break end   -- the context is gone
  end
  if device then result.ok = status == 0 and not failed end
  print(failed and "FAILED" or status ~= 0 and "WRONG" or device and "right" or "compiled, not run")
  if opt.json then args.print_json(result) end
  if failed then args.fail(failed.code, "%s", failed.error) end
  return status
end

-- Runs once more whenever one of the sources is saved.
local function watch()
  local folder, timer = families.load(opt.family).folder, uv.new_timer()
  local function attempt()
    local ok, e = pcall(once)
    if not ok then print("nibble: " .. tostring(e)) end
    print "watching"
    io.stdout:flush()
  end
  local function saved()
    timer:stop()
    timer:start(100, 0, attempt)   -- an editor saves in several steps
  end
  local watchers = {}
  for i, path in ipairs { folder, NIBBLE_ROOT .. "/kernels/include" } do
    watchers[i] = uv.new_fs_event()
    assert(watchers[i]:start(path, {}, saved))
  end
  attempt()
  uv.run()
end

if opt.watch then watch() else
  local status = once()
  if status ~= 0 then os.exit(status, true) end
end
