-- doctor_config: config.json and its companions. Fills case.text (the text config), case.model (extents,
-- when they can be trusted), case.label (what the folder says about its quantization).
local nb = require "nibble"
local open = require "scripts.lib.doctor_open"
local config = {}

local LAYERS_MAX, EXPERTS_MAX, LINEARS_MAX = 1024, 8192, 400000

-- Keys that fix shapes: name, default of the family's class when absent (nil: none), where it is used in
-- case.model.
local SIZES = {
  { "vocab_size", 248320, "vocab" }, { "hidden_size", nil, "hidden" }, { "num_hidden_layers", nil, "layers" },
  { "num_attention_heads", nil, "heads" }, { "num_key_value_heads", nil, "kv_heads" },
    { "head_dim", nil, "head_dim" },
  { "linear_num_key_heads", nil, "key_heads" }, { "linear_num_value_heads", nil, "value_heads" },
  { "linear_key_head_dim", nil, "key_dim" }, { "linear_value_head_dim", nil, "value_dim" },
  { "linear_conv_kernel_dim", 4, "conv_width" }, { "num_experts", nil, "experts" },
    { "num_experts_per_tok", nil, "top_k" },
  { "moe_intermediate_size", nil, "expert_width" }, { "shared_expert_intermediate_size", nil, "shared_width" },
}

local function is_object(v) return type(v) == "table" and (getmetatable(v) == nil) end
local function is_list(v) return type(v) == "table" and (getmetatable(v) ~= nil or #v > 0) end
local function show(v)
  return v == nil and "absent" or (v == nb.null and "null"
    or (type(v) == "table" and nb.json.encode(v):sub(1, 80) or tostring(v)))
end
local function present(v) if v == nb.null then return nil end return v end
config.is_object, config.is_list, config.present = is_object, is_list, present

local function read_sizes(found, text)
  local model = {}
  local ok = true
  for _, row in ipairs(SIZES) do
    local key, default, name = row[1], row[2], row[3]
    local v = present(text[key])
    if v == nil and default == nil then
      found("config_key_missing", key, "absent", "a positive whole number")
      ok = false
    elseif v ~= nil and (math.type(v) ~= "integer" or v < 1 or v > (1 << 31)) then
      found("config_value", key, show(v), "a positive whole number")
      ok = false
    else
      model[name] = v or default
    end
  end
  local eps = present(text.rms_norm_eps)
  if eps ~= nil and (type(eps) ~= "number" or not (eps > 0 and eps < 0.1)) then
    found("config_value", "rms_norm_eps", show(eps), "a small positive number")
  end
  return ok and model or nil
end

local function check_relations(found, m)
  local before = found.count
  local function rule(ok, key, value, expected)
    if not ok then found("config_value", key, tostring(value), expected) end
  end
  rule(m.layers <= LAYERS_MAX, "num_hidden_layers", m.layers, "at most " .. LAYERS_MAX)
  rule(m.experts <= EXPERTS_MAX and m.experts * m.layers * 3 <= LINEARS_MAX, "num_experts", m.experts,
    "a number of experts that can be")
  rule(m.value_heads % m.key_heads == 0, "linear_num_value_heads", m.value_heads,
    "a multiple of linear_num_key_heads " .. m.key_heads)
  rule(m.heads % m.kv_heads == 0, "num_attention_heads", m.heads,
    "a multiple of num_key_value_heads " .. m.kv_heads)
  rule(m.top_k <= m.experts, "num_experts_per_tok", m.top_k, "at most num_experts " .. m.experts)
  return found.count == before
end

local function check_rope(found, text, m)
  local rope = present(text.rope_parameters) or present(text.rope_scaling)
  if not is_object(rope) then
    return found("config_rope", "rope_parameters", show(rope), "{rope_type, rope_theta, partial_rotary_factor}")
  end
  local kind = present(rope.rope_type) or present(rope.type) or "default"
  if kind ~= "default" and kind ~= "linear" and kind ~= "yarn" then
    found("config_rope", "rope_type", show(kind), "default, linear or yarn")
  end
  local stretch = present(rope.factor)
  if (kind == "linear" or stretch ~= nil) and (type(stretch) ~= "number"
      or not (stretch > 0 and stretch < math.huge)) then
    found("config_rope", "factor", show(stretch), "a positive number")
  end
  local theta = present(rope.rope_theta)
  if theta == nil then theta = present(text.rope_theta) end
  if type(theta) ~= "number" or not (theta > 1 and theta < math.huge) then
    found("config_rope", "rope_theta", show(theta), "a number above 1")
  end
  local factor = present(rope.partial_rotary_factor)
  if factor == nil then factor = present(text.partial_rotary_factor) end
  if factor == nil then factor = 0.25 end
  local dims = type(factor) == "number" and m and factor * m.head_dim or nil
  if type(factor) ~= "number" or not (factor > 0 and factor <= 1)
      or (dims and (dims ~= math.floor(dims) or dims % 2 ~= 0)) then
    return found("config_rope", "partial_rotary_factor", show(factor), "a share of head_dim that is an even number")
  end
  local section = present(rope.mrope_section)
  if section ~= nil and dims then
    local sum = 0
    for _, v in ipairs(is_list(section) and section or {}) do sum = sum + (math.type(v) == "integer" and v or 0) end
    if sum ~= dims / 2 then
      found("config_value", "mrope_section", show(section), ("parts that add up to %d"):format(dims // 2))
    end
  end
end

local function check_layer_types(found, text, m)
  local types, kinds = present(text.layer_types), {}
  if types ~= nil then
    if not is_list(types) or #types ~= m.layers then
      found("config_layer_types", "layer_types", is_list(types) and ("%d entries"):format(#types)
        or show(types), ("%d entries"):format(m.layers))
      return nil
    end
    for i, kind in ipairs(types) do
      if kind ~= "linear_attention" and kind ~= "full_attention" then
        found("config_layer_types", ("layer_types[%d]"):format(i - 1), show(kind),
          "linear_attention or full_attention")
        return nil
      end
      kinds[i] = kind == "full_attention" and "attn" or "gdn"
    end
    return kinds
  end
  local interval = present(text.full_attention_interval)
  if interval == nil then interval = 4 end
  if math.type(interval) ~= "integer" or interval < 1 then
    found("config_value", "full_attention_interval", show(interval), "a positive whole number")
    return nil
  end
  for i = 1, m.layers do kinds[i] = i % interval == 0 and "attn" or "gdn" end
  return kinds
end

local function check_switches(found, text)
  local function must(key, bad, expected)
    local v = present(text[key])
    if v ~= nil and bad(v) then found("config_value", key, show(v), expected) end
  end
  must("attention_bias", function(v) return v ~= false end, "false")
  must("attn_output_gate", function(v) return v ~= true end, "true")
  must("hidden_act", function(v) return v ~= "silu" end, "silu")
  must("output_gate_type", function(v) return v ~= "swish" and v ~= "silu" end, "swish")
  must("mlp_only_layers", function(v) return not is_list(v) or #v > 0 end, "an empty list")
end

-- The class in architectures: "vl", "text" or nil.
local function check_architecture(case, found)
  local root = case.config
  local list = present(root.architectures)
  local name = is_list(list) and list[1] or nil
  local class = name == "Qwen3_5MoeForConditionalGeneration" and "vl"
    or (name == "Qwen3_5MoeForCausalLM" and "text" or nil)
  if not class then
    found("config_architectures", "architectures", show(list),
      "Qwen3_5MoeForConditionalGeneration or Qwen3_5MoeForCausalLM")
  end
  return class
end

local function check_nesting(case, found)
  local root, class = case.config, case.class
  local top, nested = present(root.model_type), is_object(root.text_config)
  local inner = nested and present(root.text_config.model_type) or nil
  local family = { qwen3_5_moe = true, qwen3_5_moe_text = true }
  if not family[top] then
    found("config_model_type", "model_type", show(top), nested and "qwen3_5_moe" or "qwen3_5_moe_text")
  elseif inner ~= nil and inner ~= "qwen3_5_moe_text" then
    found("config_model_type", "text_config.model_type", show(inner), "qwen3_5_moe_text")
  elseif class == "vl" and not nested then
    found("arch_nesting", "text_config", "absent", "text_config, as ConditionalGeneration has it")
  elseif class == "text" and nested then
    found("arch_nesting", "text_config", "present", "flat keys, as CausalLM has them")
  elseif (top == "qwen3_5_moe") ~= nested then
    found("arch_nesting", "model_type", top, nested and "qwen3_5_moe" or "qwen3_5_moe_text")
  end
end

-- Algorithm name → what it stores.
local ALGOS = {
  NVFP4 = { weight = "nvfp4", inputs = true }, W4A16_NVFP4 = { weight = "nvfp4", inputs = false },
  NVFP4_AWQ = { weight = "nvfp4", inputs = true }, NVFP4_SVD = { weight = "nvfp4", inputs = true },
  FP8 = { weight = "fp8", inputs = true }, W4A8_NVFP4_FP8 = { weight = "nvfp4", inputs = true },
    MIXED_PRECISION = { weight = "mixed" },
}

local function strings(list)
  local out = {}
  for _, v in ipairs(is_list(list) and list or {}) do if type(v) == "string" then out[#out + 1] = v end end
  return out
end

local function same_set(a, b)
  local seen = {}
  for _, v in ipairs(a) do seen[v] = 1 end
  for _, v in ipairs(b) do if not seen[v] then return false, v end seen[v] = 2 end
  for v, mark in pairs(seen) do if mark == 1 then return false, v end end
  return true
end

local function modelopt_label(found, q, hf)
  local inner = hf and hf.quantization
  if hf and not is_object(inner) then
    found("quant_config_json", "hf_quant_config.json", show(inner), "quantization {quant_algo, exclude_modules, …}")
    inner = nil
  end
  local algo, hf_algo = q and present(q.quant_algo), inner and present(inner.quant_algo)
  local label = { method = "modelopt", algo = algo or hf_algo, ignore = {}, kv = false }
  local spec = ALGOS[label.algo]
  if not spec then
    found("label_unknown", "quant_algo", show(label.algo), "NVFP4, W4A16_NVFP4, FP8 or MIXED_PRECISION")
    spec = {}
  end
  label.weight, label.inputs = spec.weight, spec.inputs
  local listed = q and (present(q.ignore) or present(q.exclude_modules))
  local hf_listed = inner and (present(inner.exclude_modules) or present(inner.ignore))
  label.ignore = strings(listed or hf_listed)
  local layers = q and present(q.quantized_layers) or (inner and present(inner.quantized_layers))
  if is_object(layers) then label.layers = layers end
  local scheme, hf_kv = q and present(q.kv_cache_scheme), inner and present(inner.kv_cache_quant_algo)
  local config_kv = q and present(q.kv_cache_quant_algo)
  label.kv = is_object(scheme) or config_kv == "FP8" or hf_kv == "FP8"
  if q and inner then
    if algo ~= nil and algo ~= hf_algo then
      found("label_disagree", "quant_algo", ("%s in config.json"):format(show(algo)),
        ("%s as in hf_quant_config.json"):format(show(hf_algo)))
    end
    local equal, differing = true, nil
    if listed and hf_listed then equal, differing = same_set(strings(listed), strings(hf_listed)) end
    if not equal then
      found("label_disagree", "exclude_modules", differing .. " is in one list only", "equal lists")
    end
    if (hf_kv == "FP8") ~= (is_object(scheme) or config_kv == "FP8") then
      found("label_kv_one_file", "kv_cache_scheme", show(scheme), ("kv_cache_quant_algo %s"):format(show(hf_kv)))
    end
  end
  return label
end

-- What one of config_groups stores: "nvfp4", "fp8" or nil (reported).
local function group_kind(found, key, group)
  local weights = is_object(group) and present(group.weights)
  if not is_object(weights) then return found("quant_config_json", key, show(weights), "a group with weights") end
  if weights.num_bits == 4 and weights.type == "float" then
    if present(weights.group_size) ~= 16 then
      found("label_unknown", key .. ".group_size", show(weights.group_size), "16")
    end
    return "nvfp4"
  end
  if weights.num_bits == 8 and weights.type == "float" then return "fp8" end
  return found("label_unknown", key, ("%s bits of %s"):format(show(weights.num_bits), show(weights.type)),
    "4 or 8 bits of float")
end

local function ct_label(found, q)
  local label = { method = "compressed-tensors", algo = show(present(q.format)),
    ignore = strings(present(q.ignore)), kv = is_object(q.kv_cache_scheme), targets = {} }
  local groups, keys = present(q.config_groups), {}
  for key in pairs(is_object(groups) and groups or {}) do keys[#keys + 1] = tostring(key) end
  if #keys == 0 then found("quant_config_json", "config_groups", show(groups), "a group with weights") end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local group = groups[key]
    local kind = group_kind(found, key, group)
    label.weight = label.weight and label.weight ~= kind and "mixed" or kind
    if kind == "nvfp4" and label.inputs == nil then label.inputs = is_object(group.input_activations) end
    for _, target in ipairs(strings(is_object(group) and present(group.targets))) do
      label.targets[#label.targets + 1] = target
    end
  end
  for _, target in ipairs(label.targets) do
    if target == "Linear" then
      label.targets = nil   -- every matrix
      break
    end
  end
  return label
end

-- What the folder says about its quantization; nil when it says nothing.
local function read_label(case, found)
  local q = present(case.config and case.config.quantization_config)
  if q ~= nil and not is_object(q) then
    found("quant_config_json", "quantization_config", show(q), "an object")
    q = nil
  end
  local method = q and present(q.quant_method)
  if method == "compressed-tensors" then
    if case.quant then found("label_two", "hf_quant_config.json", "present", "absent beside compressed-tensors") end
    return ct_label(found, q)
  elseif method == "fp8" then
    local block = present(q.weight_block_size)
    return { method = "fp8", algo = "FP8", weight = "fp8", block = is_list(block) and block or nil,
      ignore = strings(present(q.modules_to_not_convert)), kv = false }
  elseif method == "modelopt" or method == "modelopt_fp4" or method == "modelopt_fp8"
      or (method == nil and (case.quant or (q and q.quant_algo))) then
    return modelopt_label(found, q, case.quant)
  elseif q ~= nil then
    found("label_unknown", "quant_method", show(method), "modelopt, compressed-tensors or fp8")
    return { method = "unknown", algo = show(method), ignore = {}, kv = false }
  end
  return nil
end

local function token_ids(v)
  if math.type(v) == "integer" then return { v } end
  local ids = {}
  for _, id in ipairs(is_list(v) and v or {}) do if math.type(id) == "integer" then ids[#ids + 1] = id end end
  return #ids > 0 and ids or nil
end

local function check_eos(case, found)
  local text, vocab = case.text, case.model and case.model.vocab
  local chat = case.generation and token_ids(present(case.generation.eos_token_id))
  local ids = chat or token_ids(present(text.eos_token_id)) or token_ids(present(case.config.eos_token_id))
  if not ids then
    found("eos_missing", "eos_token_id", "absent", "in generation_config.json")
  elseif vocab then
    for _, id in ipairs(ids) do
      if id < 0 or id >= vocab then
        found("eos_range", "eos_token_id", tostring(id), "below vocab_size " .. vocab)
        break
      end
    end
  end
  case.eos = ids
end

-- Reads tokenizer.json, which is large: not part of a quick look.
local function check_tokenizer(case, found, quick)
  local has = case.present
  if not has["tokenizer.json"] then
    if not (has["vocab.json"] and has["merges.txt"]) then
      found("tokenizer_missing", "tokenizer.json", "absent", "a tokenizer")
    end
    return
  end
  if quick then return end
  local tokenizer, why = open.read_object(case.dir .. "/tokenizer.json")
  local vocab = tokenizer and is_object(tokenizer.model) and tokenizer.model.vocab
  if not is_object(vocab) then
    return found("tokenizer_json", "tokenizer.json", why or "no model.vocab", "a BPE tokenizer")
  end
  local top, turn_end = -1, nil
  for _, id in pairs(vocab) do if math.type(id) == "integer" and id > top then top = id end end
  for _, token in ipairs(is_list(tokenizer.added_tokens) and tokenizer.added_tokens or {}) do
    local id = is_object(token) and token.id
    if math.type(id) == "integer" then
      if id > top then top = id end
      if token.content == "<|im_end|>" then turn_end = id end
    end
  end
  local rows = case.model and case.model.vocab
  if rows and top >= rows then
    found("tokenizer_vocab", "tokenizer.json", ("ids up to %d"):format(top), ("below vocab_size %d"):format(rows))
  end
  if turn_end and case.eos then
    local ends = false
    for _, id in ipairs(case.eos) do ends = ends or id == turn_end end
    if not ends then
      found("eos_chat", "eos_token_id", table.concat(case.eos, ", "), ("%d among them"):format(turn_end))
    end
  end
end

function config.check(case, found, quick)
  case.label = read_label(case, found)
  if not case.config then
    check_tokenizer(case, found, quick)
    return
  end
  local text = present(case.config.text_config)
  if text ~= nil and not is_object(text) then
    found("config_value", "text_config", show(text), "an object")
    text = nil
  end
  case.text = text or case.config
  case.class = check_architecture(case, found)
  check_nesting(case, found)
  local sizes = read_sizes(found, case.text)
  check_switches(found, case.text)
  check_rope(found, case.text, sizes)
  if sizes and check_relations(found, sizes) then
    sizes.kinds = check_layer_types(found, case.text, sizes)
    case.model = sizes.kinds and sizes or nil
  end
  local mtp = present(case.text.mtp_num_hidden_layers)
  if mtp == nil then mtp = present(case.config.mtp_num_hidden_layers) end
  if mtp ~= nil and (math.type(mtp) ~= "integer" or mtp < 0 or mtp > 16) then
    found("config_value", "mtp_num_hidden_layers", show(mtp), "a small whole number")
    mtp = nil
  end
  case.mtp_layers = mtp or 0
  local tied = present(case.text.tie_word_embeddings)
  if tied == nil then tied = present(case.config.tie_word_embeddings) end
  case.is_tied = tied == true
  case.vision = is_object(present(case.config.vision_config))
  check_eos(case, found)
  check_tokenizer(case, found, quick)
end

return config
