-- doctor: says what is wrong with a checkpoint folder, and which serving stacks will load it
local args = require "scripts.lib.args"
local doctor = require "scripts.lib.doctor"

local opt = args.parse({
  name = "doctor", summary = "Says what is wrong with a checkpoint folder, and which serving stacks will load it.\n"
    .. "Ends with 0 when nothing is an error, with 1 when something is (with --strict: or a warning), else by error kind.",
  positional = { { "dir", "checkpoint folder" } },
  options = { { "quick", false, "headers, configs and scalars only; tensor data is not read" },
    { "strict", false, "warnings count as errors" },
    { "quiet", false, "findings only, no table of stacks" } },
}, ...)

local function plural(n, one, many) return ("%d %s"):format(n, n == 1 and one or many or one .. "s") end

local function print_summary(s)
  print(("%s: %s, %s in %s, %.2f GB"):format(s.dir, s.format, plural(s.tensors, "tensor"),
    plural(s.files, "file"), s.bytes * 1e-9))
  local parts, classes = {}, {}
  for class in pairs(s.by_class) do classes[#classes + 1] = class end
  table.sort(classes)
  for _, class in ipairs(classes) do
    for _, form in ipairs { "nvfp4", "fp8", "fp8_block", "fp8_row", "plain" } do
      local n = s.by_class[class][form]
      if n and form ~= "plain" then parts[#parts + 1] = ("%s %d %s"):format(class, n, form) end
    end
  end
  print("  quantized: " .. (#parts > 0 and table.concat(parts, ", ")
    or "nothing") .. (" (%d matrices plain)"):format(s.matrices.plain))
  print(("  %s · %s layers · KV %s · MTP %s · vision %s"):format(s.architecture
    or "no known architecture", s.layers or "?", s.kv,
    s.mtp.tensors > 0 and plural(s.mtp.tensors, "tensor") or (s.mtp.announced and "announced, absent" or "none"),
    s.vision.tensors > 0 and plural(s.vision.tensors, "tensor")
      or (s.vision.announced and "announced, absent" or "none")))
end

local function print_finding(f)
  print(("%-7s %s%s"):format(f.severity, f.id, f.count > 1 and (" (%d times)"):format(f.count) or ""))
  print("        " .. f.what)
  print(("        %s: %s; expected %s"):format(f.tensor, f.found, f.expected))
  print("        fix: " .. f.fix)
end

local VERDICT = { loads = "loads", refuses = "refuses", wrong = "loads, but wrong", unsure = "not known",
  loses = "loses" }

local function print_stacks(list)
  print "\nstacks"
  for _, s in ipairs(list) do
    print(("  %-14s %-22s %s"):format(s.stack, s.version, VERDICT[s.verdict]))
    for _, r in ipairs(s.reasons) do
      if s.verdict == "refuses" and r.verdict == "loses" then break end   -- what is lost does not matter then
      print(("      %s: %s [%s]"):format(r.verdict, r.because, r.evidence))
      local threads = r.source:match "^F §[^;]*$" and "" or r.source:gsub("^F §[^;]*; ", "")   -- public threads only
      print(("        helps: %s%s"):format(r.help, threads ~= "" and (" (%s)"):format(threads) or ""))
    end
  end
end

-- one pass over a large checkpoint: 200 MB of names and numbers, all of them alive until the end
collectgarbage "stop"
local result = assert(doctor.inspect(opt.dir, { quick = opt.quick }))
local counts = { error = 0, warning = 0, note = 0 }
for _, f in ipairs(result.findings) do counts[f.severity] = counts[f.severity] + 1 end
print_summary(result.summary)
print ""
for _, f in ipairs(result.findings) do print_finding(f) end
print(("%s, %s, %s%s"):format(plural(counts.error, "error"), plural(counts.warning, "warning"),
  plural(counts.note, "note"), opt.quick and " (tensor data not read)" or ""))
if not opt.quiet then print_stacks(result.stacks) end
local is_bad = counts.error > 0 or (opt.strict and counts.warning > 0)
result.ok, result.errors, result.warnings = not is_bad, counts.error, counts.warning
if opt.json then args.print_json(result) end
os.exit(is_bad and 1 or 0)   -- without taking a million objects apart one by one
