-- doctor: looks a checkpoint folder over and says what is wrong with it. doctor.inspect(dir, { quick =
-- bool, label = text }) returns { summary, findings, stacks } or nil, message, code when the folder
-- itself cannot be listed. Broken folders are read as far as they go.
local nb = require "nibble"
local rules = require "scripts.lib.doctor_rules"
local open = require "scripts.lib.doctor_open"
local config = require "scripts.lib.doctor_config"
local tensors = require "scripts.lib.doctor_tensors"
local quant = require "scripts.lib.doctor_quant"
local content = require "scripts.lib.doctor_content"
local stacks = require "scripts.lib.stacks"
local doctor = {}

local EXAMPLES = 5
local RANK = { error = 1, warning = 2, note = 3 }

-- A collector: called as found(id, tensor, what, expected) it groups by id and returns nil; found.count
-- counts every call.
local function collector()
  local by_id = {}
  return setmetatable({ count = 0, by_id = by_id }, { __call = function(self, id, tensor, what, expected)
    local rule = assert(rules.by_id[id], id)
    self.count = self.count + 1
    local finding = by_id[id]
    if not finding then
      finding = { id = id, severity = rule.severity, tensor = tensor, found = what, expected = expected,
        what = rule.what, fix = rule.fix, source = rule.source, count = 0, examples = nb.json.array {} }
      by_id[id] = finding
    end
    finding.count = finding.count + 1
    if finding.count <= EXAMPLES then finding.examples[finding.count] = tensor end
  end })
end

local function sorted(by_id)
  local list = {}
  for _, finding in pairs(by_id) do list[#list + 1] = finding end
  table.sort(list, function(a, b)
    if RANK[a.severity] ~= RANK[b.severity] then return RANK[a.severity] < RANK[b.severity] end
    return rules.by_id[a.id].order < rules.by_id[b.id].order
  end)
  return list
end

local function format_of(case)
  local label, counts = case.label, case.counts
  if label and label.method == "compressed-tensors" then
    return "compressed-tensors " .. (label.inputs == false and "NVFP4A16" or label.weight == "fp8"
      and "FP8" or "NVFP4")
  end
  if label then return label.method .. " " .. tostring(label.algo) end
  return counts.nvfp4 > 0 and "NVFP4 without a label" or counts.fp8 > 0 and "FP8 without a label" or "BF16"
end

-- Layers by class and form: { experts = { nvfp4 = 30720 }, … }.
local function forms(case)
  local out = {}
  for _, lin in ipairs(case.linears) do
    local class = out[lin.class] or {}
    out[lin.class] = class
    class[lin.form] = (class[lin.form] or 0) + 1
  end
  return out
end

local function summarize(case)
  local bytes = 0
  for _, file in ipairs(case.files) do bytes = bytes + file.bytes end
  local kv = (case.kv_layers or 0) > 0 and "scales" or (case.label and case.label.kv and "fp8, scale 1" or "none")
  return {
    dir = case.dir, format = format_of(case), files = #case.files, tensors = #case.names, bytes = bytes,
    architecture = case.class == "vl" and "Qwen3_5MoeForConditionalGeneration" or case.class == "text"
      and "Qwen3_5MoeForCausalLM" or nil,
    layers = case.model and case.model.layers or nil, experts = case.model and case.model.experts or nil,
    prefix = case.prefix, matrices = { nvfp4 = case.counts.nvfp4, fp8 = case.counts.fp8,
      plain = case.counts.plain },
    by_class = forms(case), kv = kv, mtp = { announced = (case.mtp_layers or 0) > 0, tensors = case.counts.mtp },
    vision = { announced = case.vision == true, tensors = case.counts.visual },
  }
end

function doctor.inspect(dir, opt)
  local found = collector()
  local case, message, code = open.case(dir, found)
  if not case then return nil, message, code end
  config.check(case, found, opt.quick)
  tensors.check(case, found)
  quant.check(case, found)
  local scanned = not opt.quick and content.check(case, found, opt.label or "scan") or 0
  local facts = { has = found.by_id, label = case.label, class = case.class, counts = case.counts,
    kv_layers = case.kv_layers or 0,
    representatives = quant.representatives(case) }
  local summary = summarize(case)
  summary.scanned_bytes = scanned
  return { summary = summary, findings = nb.json.array(sorted(found.by_id)), stacks = stacks.judge(facts) }
end

return doctor
