-- plan: what running a checkpoint on a device would take: ops, variants, launches, bytes and operations of a step, memory
-- needs: a checkpoint; no device and no compiler: nothing is allocated on a device and nothing is compiled
-- prints: a row per kind of op, the sums, memory; with --ops a row per op; with --json one object
local nb, args, qwen = require "nibble", require "scripts.lib.args", require "scripts.lib.qwen3_5_moe"
local impl, variant = require "scripts.lib.impl", require "scripts.lib.variant"
local inputs, trial, products = require "scripts.lib.inputs", require "scripts.lib.trial", require "scripts.lib.products"

local opt = args.parse({
  name = "plan", summary = "Prints ops, variants, launches, bytes per step and memory of CKPT on a device.",
  positional = { { "ckpt", "checkpoint folder" } },
  options = {
    { "device", "emu:sm_120a", "emu:ARCH, or cuda:N for that GPU's architecture" },
    { "impl", "w4a16", "[EXEC:]NUM,GLOB=[EXEC:]NUM,… as for every command that runs the model (scripts/lib/impl.lua)" },
    { "kv", "stored", "KV cache: stored, bf16, fp8" },
    { "chunk", 256, "most rows of one step", min = 1 },
    { "rows", 1, "rows of the step whose bytes are counted", min = 1 },
    { "slots", 1, "sequences", min = 1 }, { "max-len", 1024, "positions a sequence", min = 1 },
    { "len", 0, "keys behind a row, for bytes (default: all positions)", min = 0 }, { "ops", false, "every op" },
  },
}, ...)

local function arch_of(device)
  local name = device:match "^emu:(.+)$"
  if name then return trial.arch(name) end
  local d <close> = assert(nb.device(device))
  return d:arch()
end

local arch = arch_of(opt.device)
local ckpt = assert(nb.checkpoint(opt.ckpt))
local cfg = qwen.config(ckpt)
local kv = opt.kv == "stored" and (ckpt:kv_is_fp8() and "fp8" or "bf16") or args.one_of("kv", opt.kv, { "bf16", "fp8" })
local choice = impl.parse(opt.impl)
local capacities = opt.chunk > 8 and { 8, opt.chunk } or { opt.chunk }
local plan <close> = assert(nb.plan { rows = opt.chunk, seqs = opt.slots, outs = opt.slots, slots = opt.slots,
  versions = 1,
                                      max_len = opt.max_len, round = "bf16", kv = kv, capacities = capacities })
local ops = qwen.build(plan, ckpt, cfg, { impl = choice, versions = 1, fuse = true })
choice:check(ops)

-- Bytes of an op's weights as they lie on the device.
local function weights_of(spec, s)
  local bytes = 0
  for _, row in ipairs(spec.args) do
    local a = inputs.parse(row)
    if a.direction == "weight" or a.direction == "weights" then
      local n = a.extents[1] == "one" and 4 or s.weight_bytes[a.name]   -- vectors are kept as f32
      for _, e in ipairs(a.extents) do n = n * (e == "one" and 1 or s[e]) end
      bytes = bytes + n
    end
  end
  return bytes
end

local function blocks(grid)
  if type(grid) == "number" then return grid end
  return (grid[1] or 1) * (grid[2] or 1) * (grid[3] or 1)
end

-- Variant and launches of an op for one capacity.
local function launches_of(op, capacity)
  local what = plan:describe(op.id, capacity)
  if not op.spec.program or choice:exec(op.names) == "ref" then return { variant = "host op" } end
  local is_there, values = pcall(variant.first, op.spec, what, arch)
  if not is_there then return { variant = "none", refused = tostring(values) } end
  local out = { variant = variant.name(op.spec, values), constants = variant.constants(op.spec, values, what, arch),
    stages = {} }
  for i, stage in ipairs(variant.program(op.spec, values, what, arch).stages) do
    out.stages[i] = { entry = stage.entry, blocks = blocks(stage.grid) }
  end
  return out
end

local result = { device = opt.device, arch = arch.name, numerics = choice.default.num, impl = choice.text, kv = kv,
  rows = opt.rows, ops = {},
  families = {} }
local total = { ops = #ops, launches = 0, host = 0, bytes = 0, flop = 0, weights = 0 }
local by_family, order, texts, refused = {}, {}, {}, {}
for _, op in ipairs(ops) do
  local what = plan:describe(op.id, 0)
  what.rows, what.outs, what.len = opt.rows, math.min(opt.rows, opt.slots), opt.len > 0 and opt.len or opt.max_len
  local s = variant.shape(what)
  local cost = op.spec.cost and op.spec.cost(s) or { bytes = 0, flop = 0 }
  local row = { name = op.name, family = op.spec.name, bytes = cost.bytes, flop = cost.flop,
    weights = weights_of(op.spec, s),
                capacities = {} }
  for c = 0, #capacities - 1 do
    local l = launches_of(op, c)
    if l.constants then texts[op.spec.name .. "\0" .. l.constants] = true end
    l.constants = nil
    row.capacities[c + 1] = l
  end
  local f = by_family[row.family]
  if not f then
    f = { family = row.family, ops = 0, launches = 0, bytes = 0, flop = 0, weights = 0, variants = {} }
    by_family[row.family], order[#order + 1] = f, f
  end
  f.ops = f.ops + 1
  local stages = row.capacities[1].stages
  for _, l in ipairs(row.capacities) do
    if l.refused then refused[l.refused] = (refused[l.refused] or 0) + 1 end
  end
  f.launches, total.launches = f.launches + #(stages or {}), total.launches + #(stages or {})
  if not stages then total.host = total.host + 1 end
  for _, key in ipairs { "bytes", "flop", "weights" } do f[key], total[key] = f[key] + row[key], total[key] + row[key] end
  f.variants[row.capacities[1].variant] = true
  result.ops[#result.ops + 1] = row
end
total.compilations = 0
for _ in pairs(texts) do total.compilations = total.compilations + 1 end
total.buffers, total.states = plan:bytes()

print(("%s on %s, %s, cache %s; a step of %d rows, capacities %s"):format(opt.ckpt, arch.name, choice.text, kv, opt.rows,
  table.concat(capacities, ", ")))
if opt.ops then
  for _, row in ipairs(result.ops) do
    local l = row.capacities[1]
    local stages = {}
    for i, stage in ipairs(l.stages or {}) do stages[i] = ("%s %d"):format(stage.entry, stage.blocks) end
    print(("%-28s %-28s %10.3f MB  %s"):format(row.name, l.variant, row.bytes / 1e6, table.concat(stages, ", ")))
  end
end
print(("%-16s %5s %8s %12s %10s %12s  %s"):format("family", "ops", "launches", "MB a step", "GFLOP", "weights MB",
  "variants"))
for _, f in ipairs(order) do
  local names = {}
  for name in pairs(f.variants) do names[#names + 1] = name:match "/(.*)$" or name end
  table.sort(names)
  f.variants = names
  print(("%-16s %5d %8d %12.3f %10.4f %12.3f  %s"):format(f.family, f.ops, f.launches, f.bytes / 1e6, f.flop / 1e9,
    f.weights / 1e6,
    table.concat(names, " ")))
  result.families[#result.families + 1] = f
end
print(("%-16s %5d %8d %12.3f %10.4f %12.3f  %d compilations, %d host ops"):format("sum", total.ops, total.launches,
  total.bytes / 1e6,
  total.flop / 1e9, total.weights / 1e6, total.compilations, total.host))
print(("memory: weights %.1f MB, activations %.1f MB and states %.1f MB (at most: counted as f32, caches as they are)"):format(
  total.weights / 1e6, total.buffers / 1e6, total.states / 1e6))
for _, p in ipairs(products) do
  if p.arch == arch.name then
    print(("floor on %s: %.3f ms a step (prediction: the larger of bytes and operations)"):format(p.name,
      math.max(total.bytes / p.gbps, total.flop / p.tflops / 1e3) / 1e6))
  end
end
for rule, n in pairs(refused) do print(("%d times no variant: %s"):format(n, rule)) end
result.total, result.refused = total, refused
if opt.json then args.print_json(result) end
