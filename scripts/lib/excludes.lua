-- excludes: who is left unquantized, as each reader of an exclude list understands it.
-- excludes.<reader>(label, class) returns a function module → the entry that excludes it, or nil.
-- Readers: canonical (the tool that wrote the list), sglang, vllm, trtllm. Sources: nvfp4-formats
-- specification §3.6, §4.2, §6.1, §6.3, §6.4; SGLang #18189, #23467.
local patterns = require "scripts.lib.patterns"
local excludes = {}

-- label → { exact = set, rules = list of { entry, function } } by a function that turns an entry into a
-- matcher; kept per label.
local function compile(label, key, entries, make)
  label.compiled = label.compiled or {}
  local done = label.compiled[key]
  if done then return done end
  done = { exact = {}, rules = {}, bad = {} }
  for _, entry in ipairs(entries) do
    local test, why = make(entry)
    if type(test) == "string" then done.exact[test] = done.exact[test] or entry
    elseif test then done.rules[#done.rules + 1] = { entry, test }
    else done.bad[#done.bad + 1] = { entry, why } end
  end
  label.compiled[key] = done
  return done
end

local function lookup(done, module, with_parents)
  local name = module
  while name do
    if done.exact[name] then return done.exact[name] end
    name = with_parents and name:match "^(.*)%.[^.]*$"
  end
  for _, rule in ipairs(done.rules) do if rule[2](module) then return rule[1] end end
end

local function is_glob(entry) return entry:find "[%*%?%[]" ~= nil end

local function regex_entry(entry) return patterns.regex(entry:sub(4)) end

local function make_canonical(entry)
  if entry:sub(1, 3) == "re:" then return regex_entry(entry) end
  if is_glob(entry) then return patterns.glob(entry) end
  return entry
end

-- Entries of targets, where they are not simply every Linear: what none of them names stays plain too.
local function make_target(entry)
  if entry:sub(1, 3) == "re:" then return regex_entry(entry) end
  return entry
end

function excludes.canonical(label)
  local done = compile(label, "canonical", label.ignore, make_canonical)
  local with_parents = label.method ~= "compressed-tensors"
  local targets = label.targets and compile(label, "targets", label.targets, make_target)
  return function(module)
    local entry = lookup(done, module, with_parents)
    if entry or not targets or lookup(targets, module, false) then return entry end
    return "not among the targets"
  end, done.bad
end

-- SGLang: a literal between dots, or a glob that matches the whole name, one dotted part, or the name
-- without language_model.
local function make_sglang(entry)
  if entry:sub(1, 3) == "re:" then return regex_entry(entry) end
  local dotted, glob = "." .. entry .. ".", is_glob(entry) and patterns.glob(entry)
  return function(module)
    if ("." .. module .. "."):find(dotted, 1, true) then return true end
    if not glob then return false end
    if glob(module) or glob((module:gsub("language_model%.", ""))) then return true end
    for part in module:gmatch "[^.]+" do if glob(part) then return true end end
    return false
  end
end

function excludes.sglang(label)
  if label.method == "compressed-tensors" then return excludes.canonical(label) end
  local done = compile(label, "sglang", label.ignore, make_sglang)
  return function(module) return lookup(done, module, label.method == "fp8") end
end

-- vLLM's own names for those of a ConditionalGeneration checkpoint; patterns are renamed the same way.
local function vllm_name(name, class)
  if class ~= "vl" then return name end
  local tail = name:match "^model%.language_model%.(.*)$"
  if tail then return "language_model.model." .. tail end
  tail = name:match "^model%.visual(.*)$"
  if tail then return "visual" .. tail end
  return (name:gsub("^lm_head", "language_model.lm_head"))
end

-- The text that vLLM looks for anywhere in a name, for an entry that is literal but for a star at its
-- end; nil for others.
function excludes.substring(entry)
  local text = entry:gsub("%*$", "")
  if text == "" or is_glob(text) or entry:sub(1, 3) == "re:" then return nil end
  return (text:gsub("%.$", entry:sub(-1) == "*" and "." or ""))
end

function excludes.vllm(label, class)
  if label.method ~= "modelopt" then return excludes.canonical(label) end
  local done = compile(label, "vllm." .. tostring(class), label.ignore, function(entry)
    local text = excludes.substring(vllm_name(entry, class))
    if text then return function(name) return name:find(text, 1, true) ~= nil end end
    return patterns.glob(entry)
  end)
  return function(module) return lookup(done, vllm_name(module, class)) end
end

-- TensorRT-LLM: the prefix model.language_model. becomes model. on both sides, then a glob over the whole name.
local function trtllm_name(name) return (name:gsub("^model%.language_model%.", "model.")) end

function excludes.trtllm(label)
  if label.method == "compressed-tensors" then return excludes.canonical(label) end
  local done = compile(label, "trtllm", label.ignore, function(entry)
    local name = trtllm_name(entry)
    if is_glob(name) then return patterns.glob(name) end
    return name
  end)
  return function(module) return lookup(done, trtllm_name(module), label.method == "fp8") end
end

return excludes
