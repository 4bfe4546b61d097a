-- doctor_quant: the quantization label against what is stored, the exclude list, and every scalar (tensor
-- scales, input scales, KV scales). Reads scalars only, no tensor data.
local excludes = require "scripts.lib.excludes"
local quant = {}

local FALLBACK = 0.5 / 2688   -- the input scale ModelOpt gives experts that never saw a token
local OUTLIER = 100

local function is_good(v) return v == v and v > 0 and v < math.huge end
local function show(v) return ("%.6g"):format(v) end

local function from_bf16(text) return (string.unpack("<f", "\0\0" .. text)) end

-- Values of the given columns (F32 or BF16) by column; a file that cannot be read any more is a finding.
local function read_scalars(case, found, columns)
  local by_file, values = {}, {}
  for _, i in ipairs(columns) do
    local file = case.files[case.owner[i]]
    if case.dtypes[i] == "BF16" then
      local text, why = file.scan:read(case.offsets[i], 2)
      if text then values[i] = from_bf16(text) else found("file_unreadable", file.name, why, "readable scalars") end
    else
      local list = by_file[case.owner[i]]
      if not list then
        list = { offsets = {}, columns = {} }
        by_file[case.owner[i]] = list
      end
      list.offsets[#list.offsets + 1], list.columns[#list.columns + 1] = case.offsets[i], i
    end
  end
  for owner, file in ipairs(case.files) do
    local list = by_file[owner]
    local read, why = {}, nil
    if list then read, why = file.scan:scalars(list.offsets) end
    if not read then found("file_unreadable", file.name, why, "readable scalars") end
    for j, i in ipairs(read and list and list.columns or {}) do values[i] = read[j] end
  end
  return values
end

local function labelled_layer(layers, module)
  local name = module
  while name do
    local entry = layers[name]
    if entry ~= nil then return type(entry) == "table" and entry.quant_algo or "?" end
    name = name:match "^(.*)%.[^.]*$"
  end
end

-- Matrices that stand for all: every one but the experts between the first and the last.
function quant.representatives(case)
  local last = case.model and case.model.experts - 1
  local list = {}
  for _, lin in ipairs(case.linears) do
    if not lin.expert or lin.expert == 0 or lin.expert == last then list[#list + 1] = lin end
  end
  for _, name in ipairs(case.counts.visual > 0 and case.names or {}) do
    local module = name:match "^(model%.visual%..+)%.weight$"
    local i = module and case.at[name]
    if i and case.shapes[i]:find "^%d+,%d+$" and not module:find "embed" then
      list[#list + 1] = { module = module, class = "visual", form = case.dtypes[i] == "U8" and "nvfp4" or "plain" }
    end
  end
  return list
end

local function check_names(case, found)
  local label = case.label
  for _, lin in ipairs(case.linears) do
    if lin.form == "nvfp4" then
      if label.method == "compressed-tensors" and lin.style == "modelopt" then
        found("label_ct_modelopt_names", lin.module, "weight, weight_scale_2", "weight_packed, weight_global_scale")
      elseif label.method == "modelopt" and lin.style == "ct" then
        found("label_modelopt_ct_names", lin.module, "weight_packed, weight_global_scale", "weight, weight_scale_2")
      end
    end
  end
end

local function check_excludes(case, found)
  local label = case.label
  local match, bad = excludes.canonical(label)
  for _, entry in ipairs(bad) do found("exclude_pattern", entry[1], entry[2], "a pattern") end
  local other = case.prefix == "model.language_model." and "model." or "model.language_model."
  local packed = {}
  for _, lin in ipairs(quant.representatives(case)) do
    local entry = match(lin.module)
    if lin.form == "plain" then
      if not entry then
        local tail = case.prefix and lin.module:sub(1, #case.prefix) == case.prefix
          and lin.module:sub(#case.prefix + 1)
        local renamed = tail and (match(other .. tail) or match("language_model.model." .. tail))
        if renamed then found("exclude_namespace", lin.module, renamed, "a pattern over " .. case.prefix .. "*")
        elseif lin.class ~= "other" then
          found("exclude_" .. lin.class, lin.module, "stored plain, not excluded", "an entry of the exclude list")
        end
      end
    else
      packed[#packed + 1] = lin.module
      if entry then
        found("exclude_packed", lin.module, ("excluded by \"%s\", stored %s"):format(entry, lin.form),
          "not excluded")
      end
    end
  end
  if label.method ~= "modelopt" then return end
  for _, entry in ipairs(label.ignore) do
    local text = excludes.substring(entry)
    for _, module in ipairs(text and packed or {}) do
      local from, to = module:find(text, 1, true)
      if from and not match(module) then
        local is_number = text:find "%d$" and module:sub(to + 1, to + 1):find "%d"
        found(is_number and "exclude_layer_prefix" or "exclude_substring", entry, "also hits " .. module,
          "an entry that hits nothing quantized")
        break
      end
    end
  end
end

local function check_mixed(case, found)
  for _, lin in ipairs(quant.representatives(case)) do
    local algo = labelled_layer(case.label.layers, lin.module)
    if algo and lin.form == "plain" then
      found("mixed_listed_plain", lin.module, algo .. " in quantized_layers, stored plain", "not listed")
    elseif not algo and lin.form ~= "plain" then
      found("mixed_unlisted_packed", lin.module, "stored " .. lin.form, "listed")
    end
  end
end

local function check_inputs(case, found)
  local label, with, without, first = case.label, 0, {}, nil
  for _, lin in ipairs(case.linears) do
    if lin.form == "nvfp4" then
      if lin.has_input then with, first = with + 1, first or lin else without[#without + 1] = lin end
    end
  end
  local wants = label and label.inputs
  if label and label.layers and first then
    wants = labelled_layer(label.layers, first.module) ~= "W4A16_NVFP4"
  end
  if wants == false then
    if with > 0 then
      found("label_weight_only_inputs", first.module .. (first.style == "ct" and ".input_global_scale"
        or ".input_scale"), ("%d input scales"):format(with), "none")
    end
    return
  end
  if with == 0 then
    if wants and #without > 0 then
      found("label_w4a4_no_inputs", without[1].module, ("%d layers without input scale"):format(#without),
        "an input scale each")
    end
    return
  end
  for _, lin in ipairs(without) do
    local name = lin.module .. (lin.style == "ct" and ".input_global_scale" or ".input_scale")
    local is_weight_only = label and label.layers and labelled_layer(label.layers, lin.module) == "W4A16_NVFP4"
    if not is_weight_only and not case.is_lost(name) then
      found("input_scale_missing", name, "absent", "a positive number")
    end
  end
end

local function check_label(case, found)
  local label, counts = case.label, case.counts
  if not label then
    if counts.nvfp4 + counts.fp8 > 0 and case.config then
      found("packed_without_label", "quantization_config",
        ("absent beside %d quantized matrices"):format(counts.nvfp4 + counts.fp8), "a label")
    end
    return
  end
  local kind = label.weight
  if #case.linears == 0 then return end
  if (kind == "nvfp4" and counts.nvfp4 == 0) or (kind == "fp8" and counts.fp8 == 0)
      or (kind == "mixed" and counts.nvfp4 + counts.fp8 == 0) then
    found("label_without_packed", "quantization_config",
      ("%s, and %d plain, %d FP8, %d NVFP4 matrices"):format(label.algo, counts.plain, counts.fp8,
      counts.nvfp4), "tensors as labelled")
    return
  end
  check_names(case, found)
  if label.layers then check_mixed(case, found) elseif kind then check_excludes(case, found) end
end

-- Where a scalar can be: nil when it is good, "bad" (no positive number), "inverted", "absurd".
-- Multipliers of weights are 1e-6 … 1e-2 and their inverses 1e2 … 1e6, of inputs 1e-5 … 1 and 1 … 1e5;
-- the bounds leave room on both sides.
local function judge_weight(v, style)
  if style == "modelopt" then
    if v >= 1e-12 and v <= 0.05 then return nil end
    return not is_good(v) and "bad" or v >= 20 and "inverted" or "absurd"
  end
  if v >= 20 and v <= 1e12 then return nil end
  return not is_good(v) and "bad" or v <= 0.05 and "inverted" or "absurd"
end

local function judge_input(v, style)
  if style == "modelopt" then
    if v >= 1e-7 and v <= 10 then return nil end
    return not is_good(v) and "bad" or v > 10 and v <= 1e7 and "inverted" or "absurd"
  end
  if v >= 0.1 and v <= 1e7 then return nil end
  return not is_good(v) and "bad" or v < 0.1 and v >= 1e-7 and "inverted" or "absurd"
end

local function check_values(case, found, value)
  for _, lin in ipairs(case.linears) do
    local g, x = lin.g and value[lin.g], lin.x and value[lin.x]
    if lin.form == "nvfp4" then
      local verdict = g and judge_weight(g, lin.style)
      if verdict == "bad" then found("weight_scale_2_value", case.names[lin.g], show(g), "a positive number")
      elseif verdict then
        local expected = lin.style == "ct" and "a divisor, 1e2 to 1e6" or "a multiplier, 1e-6 to 1e-2"
        found(verdict == "inverted" and "global_scale_inverted" or "weight_scale_2_absurd",
          case.names[lin.g], show(g), expected)
      end
      verdict = x and judge_input(x, lin.style)
      if verdict == "bad" then found("input_scale_value", case.names[lin.x], show(x), "a positive number")
      elseif verdict then
        found("input_scale_" .. verdict, case.names[lin.x], show(x), lin.style == "ct"
          and "a divisor, 1 to 1e5" or "a multiplier, 1e-5 to 1")
      end
    elseif lin.form == "fp8" then
      if g and not is_good(g) then found("fp8_scale_value", case.names[lin.g], show(g), "a positive number") end
      if x and not is_good(x) then found("input_scale_value", case.names[lin.x], show(x), "a positive number") end
    end
  end
end

local function differ(a, b)
  return a ~= b and is_good(a) and is_good(b) and math.abs(a - b) > 1e-5 * math.max(a, b)
end

local function check_groups(case, found, value)
  for _, group in ipairs(case.groups) do
    local first = group.members[1]
    for j = 2, #group.members do
      local lin = group.members[j]
      if first.form == "nvfp4" and lin.form == "nvfp4" and first.style == lin.style then
        local a, b = first.g and value[first.g], lin.g and value[lin.g]
        if a and b and differ(a, b) then
          found(group.kind .. "_weight_scale", case.names[lin.g], show(b),
            ("%s as %s has"):format(show(a), first.module))
        end
        a, b = first.x and value[first.x], lin.x and value[lin.x]
        if a and b and differ(a, b) then
          found(group.kind .. "_input_scale", case.names[lin.x], show(b),
            ("%s as %s has"):format(show(a), first.module))
        end
      end
    end
  end
end

-- Input scales of a layer's experts: fall-backs and outliers.
local function expert_sets(case, value)
  local sets, whole = {}, 0
  for _, list in ipairs(case.expert_inputs) do
    local set = { fallen = {}, values = {} }
    for _, lin in ipairs(list) do
      local v = lin.x and value[lin.x]
      if v and is_good(v) then
        set[#set + 1], set.values[#set + 1] = lin, v
        if lin.style == "modelopt" and math.abs(v / FALLBACK - 1) < 1e-3 then table.insert(set.fallen, lin) end
      end
    end
    if #set > 0 and #set.fallen == #set then whole = whole + 1 end
    sets[#sets + 1] = set
  end
  return sets, whole
end

local function check_experts(case, found, value)
  local sets, whole = expert_sets(case, value)
  for _, set in ipairs(sets) do
    -- A whole layer at the fall-back is a coincidence of one amax of 0.5, unless there are more of them.
    if #set.fallen < #set or whole > 1 then
      for _, lin in ipairs(set.fallen) do
        found("experts_uncalibrated", case.names[lin.x], show(value[lin.x]), "a calibrated input scale")
      end
    end
    table.sort(set.values)
    local low, high, median = set.values[1], set.values[#set], set.values[#set // 2 + 1]
    if #set > 2 and (high > OUTLIER * median or low * OUTLIER < median) then
      for _, lin in ipairs(set) do
        local v = value[lin.x]
        if (v > OUTLIER * median or v * OUTLIER < median) and math.abs(v / FALLBACK - 1) >= 1e-3 then
          found("experts_input_outlier", case.names[lin.x], show(v),
            ("near the median %s of its layer"):format(show(median)))
        end
      end
    end
  end
end

local function check_kv(case, found, value)
  local announced = case.label ~= nil and case.label.kv == true
  local layers, with = {}, 0
  for _, kv in ipairs(case.kv) do
    if not kv.is_mtp or kv.has_k or kv.has_v then
      layers[#layers + 1] = kv
      if kv.has_k or kv.has_v then with = with + 1 end
    end
  end
  case.kv_layers = with
  if with == 0 then
    if announced and #layers > 0 then
      found("kv_scale_implicit", "kv_cache_scheme", "FP8, no scale stored", "scales, or 1.0 meant")
    end
    return
  end
  for _, kv in ipairs(layers) do
    if not kv.has_k and not case.is_lost(kv.layer .. "k_proj.k_scale") then
      found("kv_scale_missing", kv.layer .. "k_scale", "absent", "as in the other layers")
    end
    if not kv.has_v and not case.is_lost(kv.layer .. "v_proj.v_scale") then
      found("kv_scale_missing", kv.layer .. "v_scale", "absent", "as in the other layers")
    end
    for _, i in ipairs { kv.k or false, kv.v or false } do
      local v = i and value[i]
      if v and not is_good(v) then found("kv_scale_value", case.names[i], show(v), "a positive number")
      elseif v and (v > 1000 or v < 1e-6) then found("kv_scale_absurd", case.names[i], show(v), "1e-6 to 1000") end
    end
  end
  if announced then
    found("kv_scale_dropped", layers[1].layer .. "k_scale", ("%d layers with scales"):format(with),
      "used by the loader")
  else
    found("kv_scale_unannounced", layers[1].layer .. "k_scale", ("%d layers with scales"):format(with),
      "kv_cache_quant_algo FP8")
  end
end

function quant.check(case, found)
  check_label(case, found)
  check_inputs(case, found)
  local columns = {}
  for _, lin in ipairs(case.linears) do
    if lin.g then columns[#columns + 1] = lin.g end
    if lin.x then columns[#columns + 1] = lin.x end
  end
  for _, kv in ipairs(case.kv) do
    if kv.k then columns[#columns + 1] = kv.k end
    if kv.v then columns[#columns + 1] = kv.v end
  end
  local value = read_scalars(case, found, columns)
  check_values(case, found, value)
  check_groups(case, found, value)
  check_experts(case, found, value)
  check_kv(case, found, value)
  case.value = value
end

return quant
