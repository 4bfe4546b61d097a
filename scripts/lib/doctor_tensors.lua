-- doctor_tensors: names and shapes against the config. Walks what the model must have and marks what it
-- meets; the rest is unexpected. Fills case.prefix, case.linears (every weight matrix: module, class,
-- form, columns of its parts), case.groups (matrices that engines fuse), case.expert_inputs (per layer
-- the experts that share an input), case.vectors, case.kv (KV scales per attention layer), case.counts.
-- Works on 125,000 names in a fraction of a second: the walk looks names up, it does not take names
-- apart.
local tensors = {}

local FLOATS = { BF16 = true, F16 = true, F32 = true }

-- Extents of a matrix, with the shapes of its serializations as text.
local function spec(n, k)
  return { n = n, k = k, plain = n .. "," .. k, packed = n .. "," .. k // 2, scale = n .. "," .. k // 16,
    can_pack = k % 16 == 0 }
end

local Walk = {}
Walk.__index = Walk

function Walk:missing(name)
  if self.case.is_lost(name) then return end
  if self.other_prefix then   -- the same tensor under the other prefix is a finding of its own
    local tail = name:sub(1, #self.case.prefix) == self.case.prefix and name:sub(#self.case.prefix + 1)
    if tail and self.case.at[self.other_prefix .. tail] then return end
  end
  self.found("tensor_missing", name, "absent", "stored")
end

function Walk:take(name)
  local i = self.case.at[name]
  if i then self.seen[i] = true end
  return i
end

function Walk:shape(i, expected)
  local case = self.case
  if case.shapes[i] ~= expected then
    self.found("tensor_shape", case.names[i], "[" .. case.shapes[i] .. "]", "[" .. expected .. "]")
  end
end

-- A tensor that is never quantized.
function Walk:plain(name, shape, kind)
  local i = self:take(name)
  if not i then return self:missing(name) end
  local case = self.case
  if not FLOATS[case.dtypes[i]] then self.found("tensor_dtype", name, case.dtypes[i], "BF16, F16 or F32") end
  self:shape(i, shape)
  if kind then case.vectors[#case.vectors + 1] = { i = i, kind = kind, name = name } end
  return i
end

local function product(shape)
  local n = 1
  for d in shape:gmatch "%d+" do n = n * math.tointeger(d) end
  return n
end

function Walk:block_scales(lin, s, want)
  local case, found = self.case, self.found
  local shape, name = case.shapes[s], case.names[s]
  if case.dtypes[s] ~= "F8_E4M3" then found("weight_scale_dtype", name, case.dtypes[s], "F8_E4M3") end
  if shape == want.scale then
    lin.has_scales = case.dtypes[s] == "F8_E4M3"
    return
  end
  local rows, columns = (want.n + 127) // 128 * 128, (want.k // 16 + 3) // 4 * 4
  local is_padded = shape == rows .. "," .. columns or not shape:find ","
    and (product(shape) == rows * columns or product(shape) == want.n * want.k // 16)
  found(is_padded and "weight_scale_swizzled" or "weight_scale_shape", name, "[" .. shape .. "]",
    "[" .. want.scale .. "]")
end

local SCALAR = { [""] = true, ["1"] = true }

-- A scalar part of a matrix; nil when it is absent or no scalar. FP8 and KV scales are also written in BF16.
function Walk:scalar(name, or_bf16)
  local i = self:take(name)
  if not i then return nil end
  local case = self.case
  local dtype = case.dtypes[i]
  if dtype ~= "F32" and not (or_bf16 and dtype == "BF16") or not SCALAR[case.shapes[i]] then
    self.found("scalar_shape", name, dtype .. "[" .. case.shapes[i] .. "]", "F32[] or F32[1]")
    return nil, i
  end
  return i, i
end

local PARTS = {
  modelopt = { scale = ".weight_scale", global = ".weight_scale_2", input = ".input_scale" },
  ct = { scale = ".weight_scale", global = ".weight_global_scale", input = ".input_global_scale" },
}

local ALL_PARTS = { ".weight_scale", ".weight_scale_2", ".input_scale", ".weight_global_scale",
  ".input_global_scale", ".weight_scale_inv" }

function Walk:nvfp4(lin, w, style)
  local case, found, module, want, parts = self.case, self.found, lin.module, lin.spec, PARTS[style]
  lin.form, lin.style, lin.w = "nvfp4", style, w
  if case.shapes[w] ~= want.packed or not want.can_pack then
    self:shape(w, want.can_pack and want.packed or want.plain)
  end
  if case.dtypes[w] ~= "U8" then found("tensor_dtype", case.names[w], case.dtypes[w], "U8") end
  lin.s = self:take(module .. parts.scale)
  if lin.s then self:block_scales(lin, lin.s, want)
  elseif not case.is_lost(module .. parts.scale) then
    found("weight_scale_missing", module .. parts.scale, "absent", "F8_E4M3[" .. want.scale .. "]")
  end
  local stored
  lin.g, stored = self:scalar(module .. parts.global)
  if not stored and not case.is_lost(module .. parts.global) then
    found("weight_scale_2_missing", module .. parts.global, "absent", "F32[]")
  end
  lin.x, lin.has_input = self:scalar(module .. parts.input)
end

-- Block sizes of the label; 128 x 128 unless it says otherwise.
local function block_of(label)
  local block = label and label.block or {}
  local n, k = math.tointeger(block[1]), math.tointeger(block[2])
  return n and n > 0 and n or 128, k and k > 0 and k or 128
end

-- FP8 with one scale a tensor, a row (compressed-tensors) or a block.
function Walk:fp8(lin, w)
  local case, module, want, at = self.case, lin.module, lin.spec, self.case.at
  self:shape(w, want.plain)
  lin.w = w
  local bn, bk = block_of(case.label)
  local blocks = (want.n + bn - 1) // bn .. "," .. (want.k + bk - 1) // bk
  local inverse, scale = at[module .. ".weight_scale_inv"], at[module .. ".weight_scale"]
  local rows = { [want.n .. ",1"] = "fp8_row", [tostring(want.n)] = "fp8_row", [blocks] = "fp8_block" }
  if inverse or scale and not SCALAR[case.shapes[scale]] then
    local s = inverse or scale
    self.seen[s] = true
    lin.s, lin.form = s, inverse and "fp8_block" or rows[case.shapes[s]] or "fp8_block"
    local is_right = inverse and case.shapes[s] == blocks or not inverse and rows[case.shapes[s]]
    if not is_right or not FLOATS[case.dtypes[s]] then
      self.found("fp8_scale_shape", case.names[s], case.dtypes[s] .. "[" .. case.shapes[s] .. "]",
        "[" .. blocks .. "] of BF16 or F32")
    end
  else
    lin.form, lin.g = "fp8", self:scalar(module .. ".weight_scale", true)
    local name = module .. (case.label and case.label.block and ".weight_scale_inv" or ".weight_scale")
    if not scale and not case.is_lost(name) then
      self.found("fp8_scale_missing", name, "neither weight_scale nor weight_scale_inv", "a scale")
    end
  end
  lin.x, lin.has_input = self:scalar(module .. ".input_scale", true)
end

-- A sound W4A4 matrix as ModelOpt writes it, which is nearly all of a large checkpoint, without the
-- detours of the general way.
function Walk:sound(module, want, class, layer, expert)
  local at, seen, dtypes, shapes = self.case.at, self.seen, self.case.dtypes, self.case.shapes
  local w = at[module .. ".weight"]
  if not w or dtypes[w] ~= "U8" or shapes[w] ~= want.packed or not want.can_pack then return nil end
  local s, g, x = at[module .. ".weight_scale"], at[module .. ".weight_scale_2"], at[module .. ".input_scale"]
  if not (s and g and x) or dtypes[s] ~= "F8_E4M3" or shapes[s] ~= want.scale or dtypes[g] ~= "F32"
      or dtypes[x] ~= "F32"
    or not SCALAR[shapes[g]] or not SCALAR[shapes[x]] then return nil end
  seen[w], seen[s], seen[g], seen[x] = true, true, true, true
  local lin = { module = module, spec = want, class = class, layer = layer, expert = expert,
    form = "nvfp4", style = "modelopt", w = w, s = s, g = g, x = x, has_input = x, has_scales = true }
  self.case.linears[#self.case.linears + 1] = lin
  return lin
end

-- A weight matrix in whatever serialization; nil when it is absent (reported unless is_optional).
function Walk:linear(module, want, class, layer, expert, is_optional)
  local case = self.case
  -- Every field at once: tables that grow cost time.
  local lin = { module = module, spec = want, class = class, layer = layer, expert = expert,
    form = false, style = false, w = false, s = false, g = false, x = false, has_input = false, has_scales = false }
  local w = self:take(module .. ".weight")
  if w then
    local dtype = case.dtypes[w]
    if dtype == "U8" then self:nvfp4(lin, w, "modelopt")
    elseif dtype == "F8_E4M3" then self:fp8(lin, w)
    else
      lin.form, lin.w = "plain", w
      if not FLOATS[dtype] then
        self.found("tensor_dtype", case.names[w], dtype, "BF16, or U8 codes, or F8_E4M3")
      end
      self:shape(w, want.plain)
    end
  else
    w = self:take(module .. ".weight_packed")
    if not w then
      -- what is left of it is no finding of its own
      local name = module .. (case.at[module .. ".weight_global_scale"] and ".weight_packed" or ".weight")
      for _, part in ipairs(ALL_PARTS) do self:take(module .. part) end
      return not is_optional and self:missing(name) or nil
    end
    self:nvfp4(lin, w, "ct")
  end
  case.linears[#case.linears + 1] = lin
  return lin
end

function Walk:group(kind, a, b, c)
  local members = a and { a, b or c, b and c } or { b, c }
  if #members > 1 then self.case.groups[#self.case.groups + 1] = { kind = kind, members = members } end
end

function Walk:attention(p, class, layer)
  local m, s = self.case.model, self.specs
  local q = self:linear(p .. "q_proj", s.q, class, layer)
  local k = self:linear(p .. "k_proj", s.kv, class, layer)
  local v = self:linear(p .. "v_proj", s.kv, class, layer)
  self:linear(p .. "o_proj", s.o, class, layer)
  self:group("qkv", q, k, v)
  self:plain(p .. "q_norm.weight", tostring(m.head_dim), "norm")
  self:plain(p .. "k_norm.weight", tostring(m.head_dim), "norm")
  local ki, kn = self:scalar(p .. "k_proj.k_scale", true)
  local vi, vn = self:scalar(p .. "v_proj.v_scale", true)
  local k2, k2n = self:scalar(p .. "k_scale", true)
  local v2, v2n = self:scalar(p .. "v_scale", true)
  self.case.kv[#self.case.kv + 1] = { layer = p, k = ki or k2, v = vi or v2, has_k = (kn or k2n) ~= nil,
    has_v = (vn or v2n) ~= nil, is_mtp = class == "mtp" }
end

function Walk:delta(p, layer)
  local m, s, at = self.case.model, self.specs, self.case.at
  local class, ab = "linear_attn", "in_proj_ab"
  local is_next = at[p .. "in_proj_qkvz.weight"] ~= nil or at[p .. "in_proj_ba.weight"] ~= nil
  local qkv = self:linear(p .. "in_proj_qkv", s.gdn_qkv, class, layer, nil, is_next)
  local z = self:linear(p .. "in_proj_z", s.gdn_z, class, layer, nil, is_next)
  self:linear(p .. "in_proj_a", s.gdn_ab, ab, layer, nil, is_next)
  self:linear(p .. "in_proj_b", s.gdn_ab, ab, layer, nil, is_next)
  self:linear(p .. "out_proj", s.gdn_out, class, layer)
  self:group("qkv", qkv, z)
  local conv = self:take(p .. "conv1d.weight")
  if not conv then self:missing(p .. "conv1d.weight")
  elseif self.case.shapes[conv] == s.conv_mlx and s.conv_mlx ~= s.conv then
    self.found("conv_layout", p .. "conv1d.weight", "[" .. s.conv_mlx .. "]", "[" .. s.conv .. "]")
  else self:plain(p .. "conv1d.weight", s.conv) end
  self:plain(p .. "A_log", tostring(m.value_heads))
  self:plain(p .. "dt_bias", tostring(m.value_heads))
  self:plain(p .. "norm.weight", tostring(m.value_dim))
end

-- Experts stacked in one tensor: plain, or packed as a fused 3-D flavour. True when there is one.
function Walk:stacked(p)
  local case, s, is_any = self.case, self.specs, false
  for _, part in ipairs { { "gate_up_proj", s.stacked_in }, { "down_proj", s.stacked_down } } do
    local name = p .. part[1]
    local i = case.at[name]
    local packed = case.at[name .. "_packed"] or (i and case.dtypes[i] == "U8" and i)
    if packed then
      is_any = true
      self.found("fused_experts", case.names[packed], case.dtypes[packed] .. "[" .. case.shapes[packed]
        .. "]", "one matrix per expert")
      self.fused[#self.fused + 1] = name
      case.counts.nvfp4 = case.counts.nvfp4 + case.model.experts * (part[1] == "down_proj" and 1 or 2)
      case.counts.has_fused = true
    elseif i then
      is_any = true
      self:plain(name, part[2])
      case.stacked[#case.stacked + 1] = i
    end
  end
  if is_any and #self.fused == 0 then
    for _, part in ipairs { "gate_up_proj", "down_proj" } do
      if not case.at[p .. part] then self:missing(p .. part) end
    end
  end
  return is_any
end

function Walk:experts(p, class, layer)
  local m, s, at = self.case.model, self.specs, self.case.at
  if self:stacked(p) then return end
  local first = p .. "0."
  local is_any = false
  for _, proj in ipairs { "gate_proj", "up_proj", "down_proj" } do
    is_any = is_any or at[first .. proj .. ".weight"] or at[first .. proj .. ".weight_packed"]
    is_any = is_any or at[p .. m.experts - 1 .. "." .. proj .. ".weight"]
      or at[p .. m.experts - 1 .. "." .. proj .. ".weight_packed"]
  end
  if not is_any then return self:missing(p .. "gate_up_proj") end   -- none at all: one finding a layer
  local gates, downs = {}, {}
  for e = 0, m.experts - 1 do
    local q = p .. e .. "."
    local gate = self:sound(q .. "gate_proj", s.expert_in, class, layer, e)
      or self:linear(q .. "gate_proj", s.expert_in, class, layer, e)
    local up = self:sound(q .. "up_proj", s.expert_in, class, layer, e)
      or self:linear(q .. "up_proj", s.expert_in, class, layer, e)
    local down = self:sound(q .. "down_proj", s.expert_down, class, layer, e)
      or self:linear(q .. "down_proj", s.expert_down, class, layer, e)
    self:group("gate_up", gate, up)
    gates[#gates + 1], downs[#downs + 1] = gate, down
  end
  -- gate and up share an input, so gate speaks for both
  table.insert(self.case.expert_inputs, gates)
  table.insert(self.case.expert_inputs, downs)
end

function Walk:moe(p, layer, is_mtp)
  local s = self.specs
  self:linear(p .. "gate", s.router, is_mtp and "mtp" or "router", layer)
  self:experts(p .. "experts.", is_mtp and "mtp" or "experts", layer)
  local shared = is_mtp and "mtp" or "shared_expert"
  local gate = self:linear(p .. "shared_expert.gate_proj", s.shared_in, shared, layer)
  local up = self:linear(p .. "shared_expert.up_proj", s.shared_in, shared, layer)
  self:linear(p .. "shared_expert.down_proj", s.shared_down, shared, layer)
  self:group("gate_up", gate, up)
  self:linear(p .. "shared_expert_gate", s.shared_gate, is_mtp and "mtp" or "shared_expert_gate", layer)
end

function Walk:layer(p, kind, layer, is_mtp)
  local h = tostring(self.case.model.hidden)
  self:plain(p .. "input_layernorm.weight", h, "norm")
  self:plain(p .. "post_attention_layernorm.weight", h, "norm")
  if kind == "attn" then self:attention(p .. "self_attn.", is_mtp and "mtp" or "self_attn", layer)
  else self:delta(p .. "linear_attn.", layer) end
  self:moe(p .. "mlp.", layer, is_mtp)
end

local function specs_of(m)
  local kd, vd = m.key_heads * m.key_dim, m.value_heads * m.value_dim
  local cd = 2 * kd + vd
  return {
    q = spec(2 * m.heads * m.head_dim, m.hidden), kv = spec(m.kv_heads * m.head_dim, m.hidden),
      o = spec(m.hidden, m.heads * m.head_dim),
    gdn_qkv = spec(cd, m.hidden), gdn_z = spec(vd, m.hidden), gdn_ab = spec(m.value_heads, m.hidden),
      gdn_out = spec(m.hidden, vd),
    conv = cd .. ",1," .. m.conv_width, conv_mlx = cd .. "," .. m.conv_width .. ",1",
    router = spec(m.experts, m.hidden), shared_gate = spec(1, m.hidden),
    expert_in = spec(m.expert_width, m.hidden), expert_down = spec(m.hidden, m.expert_width),
    shared_in = spec(m.shared_width, m.hidden), shared_down = spec(m.hidden, m.shared_width),
    stacked_in = m.experts .. "," .. 2 * m.expert_width .. "," .. m.hidden,
      stacked_down = m.experts .. "," .. m.hidden .. "," .. m.expert_width,
    fc = spec(m.hidden, 2 * m.hidden), head = spec(m.vocab, m.hidden),
  }
end

local function walk_mtp(walk, case, found)
  if case.mtp_layers == 0 then
    if case.counts.mtp > 0 then
      found("mtp_unannounced", "mtp.*", ("%d tensors"):format(case.counts.mtp), "mtp_num_hidden_layers above 0")
    end
    return
  end
  if case.counts.mtp == 0 then
    if not case.is_lost "mtp.fc.weight" then
      found("mtp_absent", "mtp.*", "no tensor", ("mtp_num_hidden_layers %d"):format(case.mtp_layers))
    end
    return
  end
  local h = tostring(case.model.hidden)
  walk:linear("mtp.fc", walk.specs.fc, "mtp")
  for _, name in ipairs { "mtp.pre_fc_norm_embedding.weight", "mtp.pre_fc_norm_hidden.weight",
      "mtp.norm.weight" } do
    walk:plain(name, h, "norm")
  end
  for i = 0, case.mtp_layers - 1 do walk:layer(("mtp.layers.%d."):format(i), "attn", nil, true) end
end

local function walk_model(walk, case, found)
  local m, p = case.model, case.prefix
  walk.specs = specs_of(m)
  walk:plain(p .. "embed_tokens.weight", walk.specs.head.plain)
  walk:plain(p .. "norm.weight", tostring(m.hidden), "norm")
  for i = 0, m.layers - 1 do walk:layer(p .. "layers." .. i .. ".", m.kinds[i + 1], i, false) end
  walk_mtp(walk, case, found)
  local head = walk:linear("lm_head", walk.specs.head, "lm_head", nil, nil, true)
  if head and case.is_tied then found("tie_lm_head_stored", "lm_head", "stored", "absent when tied")
  elseif not head and not case.is_tied and not case.is_lost "lm_head.weight" then
    found("tie_lm_head_missing", "lm_head.weight", "absent", "stored when not tied")
  end
end

-- Without usable extents: every matrix that shows itself to be quantized, with the shape it has.
local function walk_names(walk, case)
  for _, ending in ipairs { "weight_packed", "weight_scale_2", "weight_scale_inv" } do
    for i = 1, #case.names do
      local module = case.names[i]:match("^(.+)%." .. ending .. "$")
      local w = module and not walk.done[module] and (case.at[module .. ".weight_packed"]
        or case.at[module .. ".weight"])
      if w then
        walk.done[module] = true
        local n, k = case.shapes[w]:match "^(%d+),(%d+)$"
        n, k = math.tointeger(n), math.tointeger(k)
        if n then
          walk:linear(module, spec(n, case.dtypes[w] == "U8" and 2 * k or k), module:find "%.experts%."
            and "experts" or "other")
        end
      end
    end
  end
end

local FOREIGN = {
  { "names_qwen3_next", { "%.in_proj_qkvz%.", "%.in_proj_ba%." } },
  { "names_mlx", { "^language_model%.model%.", "%.switch_mlp%.", "^vision_tower%." } },
  { "names_gguf", { "^blk%.%d+%.", "^token_embd%.", "^output_norm%.", "^output%.weight$" } },
  { "pre_quant_scale", { "%.pre_quant_scale$" } },
  { "svdquant", { "%.svdquant_lora_[ab]$" } },
}

local EXPECTED = { pre_quant_scale = "folded into the layer before", svdquant = "no low-rank part" }

local function foreign_id(name)
  for _, row in ipairs(FOREIGN) do
    for _, pattern in ipairs(row[2]) do if name:find(pattern) then return row[1] end end
  end
end

local function starts(name, prefix) return name:sub(1, #prefix) == prefix end

local function check_rest(walk, case, found)
  for i, name in ipairs(case.names) do
    if not walk.seen[i] then
      local is_fused = false
      for _, base in ipairs(walk.fused) do is_fused = is_fused or starts(name, base) end
      local id = foreign_id(name)
      if id then
        found(id, name, case.dtypes[i] .. "[" .. case.shapes[i] .. "]", EXPECTED[id] or "names of the family")
      elseif is_fused or starts(name, "model.visual.") or starts(name, "visual.") then -- not of the text model
      elseif starts(name, "mtp.") and case.mtp_layers == 0 then -- mtp_unannounced says it
      elseif walk.other_prefix and starts(name, walk.other_prefix) and not starts(name, case.prefix) then
        found("names_mixed", name, walk.other_prefix .. "*", case.prefix .. "*")
      elseif case.model and case.prefix then
        found("tensor_unexpected", name, case.dtypes[i] .. "[" .. case.shapes[i] .. "]", "not stored")
      end
    end
  end
end

-- Counts by family and which of the two prefixes the backbone has.
local function survey(case)
  local counts = { mtp = 0, visual = 0, nested = 0, flat = 0, nvfp4 = 0, fp8 = 0, plain = 0 }
  for _, name in ipairs(case.names) do
    local head = name:sub(1, 10)
    if head == "model.lang" then counts.nested = counts.nested + 1
    elseif head == "model.visu" or name:sub(1, 7) == "visual." then counts.visual = counts.visual + 1
    elseif name:sub(1, 4) == "mtp." then counts.mtp = counts.mtp + 1
    elseif head:sub(1, 6) == "model." then counts.flat = counts.flat + 1 end
  end
  case.counts = counts
  if case.at["model.language_model.embed_tokens.weight"] then case.prefix = "model.language_model."
  elseif case.at["model.embed_tokens.weight"] then case.prefix = "model."
  elseif counts.nested + counts.flat > 0 then
    case.prefix = counts.nested >= counts.flat and "model.language_model." or "model."
  end
end

local function check_vision(case, found)
  if case.vision and case.counts.visual == 0 then
    if not case.is_lost "model.visual.patch_embed.proj.weight" then
      found("vision_absent", "model.visual.*", "no tensor", "the tower of vision_config")
    end
  elseif not case.vision and case.counts.visual > 0 and case.config then
    found("vision_unannounced", "model.visual.*", ("%d tensors"):format(case.counts.visual), "a vision_config")
  end
end

function tensors.check(case, found)
  case.linears, case.groups, case.vectors, case.kv, case.stacked, case.expert_inputs = {}, {}, {}, {}, {}, {}
  survey(case)
  local walk = setmetatable({ case = case, found = found, seen = {}, fused = {}, done = {} }, Walk)
  if case.prefix then
    local other = case.prefix == "model." and "model.language_model." or "model."
    walk.other_prefix = case.counts.nested > 0 and case.counts.flat > 0 and other or nil
    if case.class == "vl" and case.prefix == "model." then
      found("arch_prefix", "model.*", "names of CausalLM", "model.language_model.* for ConditionalGeneration")
    elseif case.class == "text" and case.prefix ~= "model." then
      found("arch_prefix", "model.language_model.*", "names of ConditionalGeneration", "model.* for CausalLM")
    end
  end
  if case.model and case.prefix then walk_model(walk, case, found) else walk_names(walk, case) end
  check_rest(walk, case, found)
  if #case.names > 0 then check_vision(case, found) end
  for _, lin in ipairs(case.linears) do
    local kind = lin.form == "nvfp4" and "nvfp4" or (lin.form == "plain" and "plain" or "fp8")
    case.counts[kind] = case.counts[kind] + 1
  end
end

return tensors
