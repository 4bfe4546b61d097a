-- sass: what the machine code of a family is made of: registers, shared memory, spills, occupancy, instructions by
-- kind, for every target
-- needs: NVRTC; nvdisasm if it is there (`make deps` fetches it), else opcodes are named by a table of this
-- program, which it says
-- prints: a block per target and kernel; with --json one object
local nb, args = require "nibble", require "scripts.lib.args"
local families, trial, sass = require "scripts.lib.families", require "scripts.lib.trial", require "scripts.lib.sass"
local launches = require "scripts.lib.launches"

local opt = args.parse({
  name = "sass", summary = "Registers, shared memory, spills, occupancy and instruction mix of a family's kernels.",
  positional = { { "family", "a name or the path of its folder" } },
  options = {
    { "case", "decode", "one of the spec's cases, or the last where it has none of that name" },
    { "arch", "sm_80,sm_90,sm_120a,sm_121a", "targets" }, { "top", 12, "instructions that are shown" },
    { "cache", "string?", "folder of compiled kernels" },
    { "table", false, "do not use nvdisasm" },
  },
}, ...)

local spec = families.load(opt.family)
if not spec.program then args.fail("E_UNSUPPORTED", "%s has no kernel: it runs as a host op", spec.name) end
local chosen = (spec.cases or {})[#(spec.cases or {})]
for _, case in ipairs(spec.cases or {}) do chosen = case[1] == opt.case and case or chosen end
if not chosen then args.fail("E_MISSING", "%s has no cases", spec.name) end

-- Instructions of a kernel as { name = n }, by the disassembler where there is one.
local function mix_of(t, kernel, note)
  local listed, why
  if not opt.table then listed, why = sass.disassemble(t.result.cubin) end
  if listed and listed[kernel.name] then
    local mix = {}
    for name, n in pairs(listed[kernel.name]) do mix[#mix + 1] = { name = name, n = n } end
    table.sort(mix, function(a, b) return a.n > b.n or (a.n == b.n and a.name < b.name) end)
    return mix
  end
  note.why = why or "opcodes are named by this program's own table"
  return (sass.mix(kernel.ops))
end

local list, result, note = {}, { family = spec.name, case = chosen[1], targets = {} }, {}
for name in opt.arch:gmatch "[^,]+" do list[#list + 1] = trial.prepare(spec, chosen, { arch = trial.arch(name) }) end
local jit <close> = launches.jit(opt.cache)
trial.compile(list, jit)
print(("%s, %s"):format(spec.name, chosen[1]))
for _, t in ipairs(list) do
  if t.error then args.fail(t.code, "%s", t.error) end
  local target = { arch = t.arch.name, variant = t.name, ptx_bytes = #t.result.ptx, kernels = {} }
  print(("%s  %s, PTX %d bytes"):format(t.arch.name, t.name, #t.result.ptx))
  for i, k in ipairs(t.kernels) do
    local mix, shown = mix_of(t, k, note), {}
    local _, kinds = sass.mix(k.ops)
    for j = 1, math.min(opt.top, #mix) do shown[j] = ("%s %d"):format(mix[j].name, mix[j].n) end
    print(("  %-16s %d registers, %d bytes shared, %d bytes stack, %s, %d blocks of %d threads an SM, %d instructions"):format(
      k.entry, k.registers, k.shared + k.dynamic, k.stack, k.spills > 0 and ("%d BYTES SPILLED"):format(k.spills) or "no spills",
      k.blocks_sm, k.threads, k.code // 16))
    print("    " .. table.concat(shown, "  "))
    target.kernels[i] = { entry = k.entry, registers = k.registers, shared = k.shared + k.dynamic, stack = k.stack,
      spills = k.spills, blocks_sm = k.blocks_sm,
                          threads = k.threads, instructions = k.code // 16, kinds = kinds, mix = mix }
  end
  result.targets[#result.targets + 1] = target
end
if note.why then
  result.note = note.why
  print(note.why)
end
if opt.json then args.print_json(result) end
