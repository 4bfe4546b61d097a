-- qwen3_5_moe: the graph of the family, read from a checkpoint's config alone: gated DeltaNet and gated attention layers, each
-- followed by a mixture of experts, and the MTP head. Every member works unchanged: either name prefix, wrapped or flat config,
-- with or without mtp and visual.
--   cfg = qwen.config(ckpt)                        the config, checked; errors say which key, what was expected and found
--   qwen.build(plan, ckpt, cfg, { impl = impl, mtp = bool })   storage and ops of programs "embed", "main", "mtp" and "mtp_next"
-- Taps are named as the recorded goldens name them: embed, layerNN/{input_norm, mixer, post_norm, …, output}, final_norm, logits,
-- mtp/…, mtp_logits.
-- Formulas: model specification §3 and §4.
local nb   = require "nibble"
local args = require "scripts.lib.args"
local qwen = {}

--------------------------------------------------------------------------------------------------
-- config
local function bad(...) args.fail("E_FORMAT", ...) end

local function value(v, default)
  if v == nil or v == nb.null then return default end
  return v
end

local function shown(v)
  if v == nil then return "nothing" end
  if v ~= nb.null and type(v) == "table" then return "a list or object" end
  return type(v) == "string" and ('"%s"'):format(v) or tostring(v)
end

-- The value of a key, which must have the type of the default (or of `like`, for keys without one).
local function typed(T, key, default, like)
  if like == nil then like = default end
  local v, want = value(T[key], default), type(like)
  if v ~= nil and type(v) ~= want then
    bad("config.json: %s: expected a %s, found %s", key, want == "table" and "list or object" or want, shown(v))
  end
  return v
end

-- A whole number from 1 to max; more than any model of the family has would only cost memory before a tensor is missed.
local function positive(T, key, default, max)
  local v, most = value(T[key], default), max or 1 << 24
  local whole = math.type(v) == "integer" and v or math.type(v) == "float" and math.tointeger(v)
  if not whole or whole < 1 or whole > most then
    bad("config.json: %s: expected a whole number from 1 to %d, found %s", key, most, shown(v))
  end
  return whole
end

local function above_zero(T, key, default)
  local v = typed(T, key, default, 0)
  if v and not (v > 0 and v < math.huge) then bad("config.json: %s: expected a number above 0, found %s", key, shown(v)) end
  return v
end

local function layer_types(T, L)
  local types = value(T.layer_types)
  if not types then
    local interval = positive(T, "full_attention_interval", 4)
    types = {}
    for i = 1, L do types[i] = i % interval == 0 and "full_attention" or "linear_attention" end
  end
  if type(types) ~= "table" or #types ~= L then
    bad("config.json: layer_types: expected a list of %d entries, found %s", L, type(types) == "table" and #types or shown(types))
  end
  for i, t in ipairs(types) do
    if t ~= "full_attention" and t ~= "linear_attention" then
      bad("config.json: layer_types[%d]: expected \"linear_attention\" or \"full_attention\", found %s", i - 1, shown(t))
    end
  end
  return types
end

-- Frequencies of the rotary pairs and the factor on cos and sin: default, linear and yarn (the public definition, arXiv
-- 2309.00071).
local function rope(T, head_dim)
  local R = value(typed(T, "rope_parameters", nil, {}), typed(T, "rope_scaling", {}))
  local theta = above_zero(R, "rope_theta", above_zero(T, "rope_theta", 10000.0))
  local share = above_zero(R, "partial_rotary_factor", above_zero(T, "partial_rotary_factor", 0.25))
  local kind = value(R.rope_type, value(R.type, "default"))
  local dims = share <= 1 and math.floor(head_dim * share) or 0
  if dims < 2 or dims % 2 ~= 0 then
    bad("config.json: partial_rotary_factor %s of head_dim %d: expected an even number of rotary dimensions, found %d", share,
      head_dim, dims)
  end
  local freq, half = {}, dims // 2
  for i = 0, half - 1 do freq[i + 1] = theta ^ (-2.0 * i / dims) end
  if kind == "default" then return freq, 1.0 end
  local factor = above_zero(R, "factor")
  if kind == "linear" then
    if not factor then bad("config.json: rope_parameters.factor: expected a number for rope_type linear, found nothing") end
    for i = 1, half do freq[i] = freq[i] / factor end
    return freq, 1.0
  end
  if kind ~= "yarn" then
    args.fail("E_UNSUPPORTED", "config.json: rope_type: expected default, linear or yarn, found \"%s\"", tostring(kind))
  end
  local longest = positive(T, "max_position_embeddings", 32768, 1 << 30)
  local span = positive(R, "original_max_position_embeddings", longest, 1 << 30)
  factor = factor or longest / span
  local function mscale(m) return factor <= 1 and 1.0 or 0.1 * m * math.log(factor) + 1.0 end
  local attention = above_zero(R, "attention_factor")
  if not attention then
    local m, all = typed(R, "mscale", nil, 0), typed(R, "mscale_all_dim", nil, 0)
    attention = m and all and m ~= 0 and all ~= 0 and mscale(m) / mscale(all) or mscale(1.0)
  end
  local function dim_of(rotations) return dims * math.log(span / (rotations * 2 * math.pi)) / (2 * math.log(theta)) end
  local low, high = dim_of(above_zero(R, "beta_fast", 32)), dim_of(above_zero(R, "beta_slow", 1))
  if value(R.truncate, true) then low, high = math.floor(low), math.ceil(high) end
  low, high = math.max(low, 0), math.min(high, dims - 1)
  if low == high then high = high + 0.001 end
  for i = 0, half - 1 do
    local ramp = math.min(math.max((i - low) / (high - low), 0), 1)
    freq[i + 1] = freq[i + 1] / factor * ramp + freq[i + 1] * (1 - ramp)
  end
  return freq, attention
end

-- The text model's config from the text of config.json, checked (specification §1.4).
function qwen.config_of(text)
  local root, message = nb.json.decode(text)
  if not root then bad("config.json: %s", message) end
  if type(root) ~= "table" then bad("config.json: expected an object") end
  local T = value(root.text_config, root)
  if type(T) ~= "table" then bad("config.json: text_config: expected an object, found a %s", type(T)) end
  local kind = value(T.model_type, value(root.model_type, "?"))
  if kind ~= "qwen3_5_moe_text" and kind ~= "qwen3_5_moe" then
    args.fail("E_UNSUPPORTED", "config.json: model_type: expected qwen3_5_moe_text, found \"%s\"", tostring(kind))
  end
  local c = {
    vocab = positive(T, "vocab_size", 248320), hidden = positive(T, "hidden_size"),
    layers = positive(T, "num_hidden_layers", nil, 10000), heads = positive(T, "num_attention_heads"),
    kv_heads = positive(T, "num_key_value_heads"), head_dim = positive(T, "head_dim", nil, 65536),
    key_heads = positive(T, "linear_num_key_heads"), value_heads = positive(T, "linear_num_value_heads"),
    key_dim = positive(T, "linear_key_head_dim"), value_dim = positive(T, "linear_value_head_dim"),
    conv_width = positive(T, "linear_conv_kernel_dim", 4, 1024), experts = positive(T, "num_experts", nil, 65536),
    top_k = positive(T, "num_experts_per_tok", nil, 65536),
    expert_width = positive(T, "moe_intermediate_size"), shared_width = positive(T, "shared_expert_intermediate_size"),
    eps = above_zero(T, "rms_norm_eps", 1e-6), max_position = positive(T, "max_position_embeddings", 32768, 1 << 30),
    mtp_layers = typed(T, "mtp_num_hidden_layers", 0), eos = value(T.eos_token_id, value(root.eos_token_id)),
    tie = typed(T, "tie_word_embeddings", typed(root, "tie_word_embeddings", false)),
  }
  if c.value_heads % c.key_heads ~= 0 then
    bad("config.json: linear_num_value_heads %d: expected a multiple of linear_num_key_heads %d", c.value_heads, c.key_heads)
  end
  if c.heads % c.kv_heads ~= 0 then
    bad("config.json: num_attention_heads %d: expected a multiple of num_key_value_heads %d", c.heads, c.kv_heads)
  end
  if c.top_k > c.experts then bad("config.json: num_experts_per_tok %d: expected at most num_experts %d", c.top_k, c.experts) end
  if value(T.hidden_act, "silu") ~= "silu" then
    args.fail("E_UNSUPPORTED", "config.json: hidden_act: expected \"silu\", found \"%s\"", tostring(T.hidden_act))
  end
  local gate = value(T.output_gate_type, "silu")
  if gate ~= "silu" and gate ~= "swish" then
    args.fail("E_UNSUPPORTED", "config.json: output_gate_type: expected silu or swish, found \"%s\"", tostring(gate))
  end
  if value(T.attention_bias, false) then args.fail("E_UNSUPPORTED", "config.json: attention_bias: expected false, found true") end
  if value(T.attn_output_gate, true) ~= true then
    args.fail("E_UNSUPPORTED", "config.json: attn_output_gate: expected true, found false")
  end
  if #typed(T, "mlp_only_layers", {}) > 0 then
    args.fail("E_UNSUPPORTED", "config.json: mlp_only_layers: expected none, found %d", #T.mlp_only_layers)
  end
  c.types = layer_types(T, c.layers)
  c.inv_freq, c.rope_factor = rope(T, c.head_dim)
  c.conv_channels = 2 * c.key_heads * c.key_dim + c.value_heads * c.value_dim
  return c
end

function qwen.config(ckpt) return qwen.config_of(ckpt:config()) end

function qwen.layer_name(i) return ("layer%02d"):format(i) end

------------------------------------------------------------------------------------------ graph
local specs = {}
local function spec(family)
  specs[family] = specs[family] or require("kernels." .. family .. "." .. family)
  return specs[family]
end

local Graph = {}
Graph.__index = Graph

-- Names a buffer, adding it at its first use.
function Graph:buffer(name, kind, ...)
  if not self.known[name] then
    assert(self.plan:storage { name = name, type = kind, extents = { ... } })
    self.known[name] = true
  end
  return name
end

function Graph:state(name, kind, ...)
  assert(self.plan:storage { name = name, type = kind, extents = { ... }, state = true })
  return name
end

-- The newest weight asked for is where the extents of the config and of the tensors part, when an op refuses them.
function Graph:weight(logical)
  self.asked = logical
  return assert(nb.weights(self.ckpt, { logical }))
end

function Graph:op(family, bound, numbers, taps, logical)
  local id, message, code = self.plan:op { program = self.program, spec = spec(family), args = bound, numbers = numbers,
                                           taps = taps }
  if not id then args.fail(code, "%s: the shape of %s does not fit config.json: %s", self.ckpt:path(), self.asked, message) end
  local tap, out   -- the first in the signature's order
  for _, row in ipairs(spec(family).args) do
    local name, direction = row:match "^([%w_]+): (%a+)"
    tap = tap or (taps or {})[name]
    out = out or (direction == "out" or direction == "inout") and bound[name]
  end
  local name = tap or (self.at and self.at .. "/" or "") .. out
  self.ops[#self.ops + 1] = { id = id, spec = spec(family), program = self.program, tap = tap, taps = taps or {}, name = name,
                              names = self:names(family, taps, { name, logical }), layer = self.at, bound = bound,
                              numbers = numbers or {} }
end

-- Buffer `name` seen as [rows, columns].
function Graph:flat(name, columns)
  local view = name .. ".flat"
  if not self.known[view] then
    assert(self.plan:view(view, name, 0, columns))
    self.known[view] = true
  end
  return view
end

-- All names that --impl may call an op by (scripts/lib/impl.lua).
function Graph:names(family, taps, more)
  local names = { family, table.unpack(more) }
  for _, tap in pairs(taps or {}) do names[#names + 1] = tap end
  if self.at then names[#names + 1] = self.at .. "/" .. family end
  return names
end

-- True when the activations in front of these weights are quantized; the same answer is needed for all of them. References
-- dequantize weights exactly whatever their format, so w4a16, w8a16 and bf16 differ only in what kernels would run: all three
-- leave activations alone. `stored` quantizes where the file has input scales, `w4a4` insists on it. names: of the op that reads
-- them.
function Graph:quantizes(weights, what, names)
  local numerics = self.impl:numerics(names)
  if numerics ~= "stored" and numerics ~= "w4a4" then return false end
  local formats, scales, quantized = weights:formats(), weights:input_scales(), 0
  for i, f in ipairs(formats) do
    if f == "nvfp4" and scales[i] then quantized = quantized + 1
    elseif f == "nvfp4" and numerics == "w4a4" then
      args.fail("E_UNSUPPORTED", "%s: w4a4 needs an input scale, the checkpoint has none (use --impl ref:stored or ref:w4a16)",
        what)
    end
  end
  if quantized > 0 and quantized < #formats then
    args.fail("E_MISSING", "%s: input scales: expected one for each of %d weights, found %d", what, #formats, quantized)
  end
  return quantized > 0
end

local function all_equal(list)
  for i = 2, #list do if list[i] ~= list[1] then return false end end
  return true
end

-- Storage for the quantized form of activations x [rows,slots,k] as `weights` want it; `first` is a single weight with the scale
-- that they share, if they do; else it has a slot for each chosen expert. Returns its name, the key under which others that want
-- the same scale find it (nil where each expert has its own), and whether it is there already: it is shared until x is written
-- again.
function Graph:codes(x, weights, first, slots_in, k)
  local scales = weights:input_scales()
  local one = all_equal(scales)
  local key = one and ("%s@%.9g"):format(x, scales[1]) or nil
  if key and self.fresh[key] then return self.fresh[key], key, true end
  self.count = self.count + 1
  local name = ("%s.q%d"):format(x, self.count)
  assert(self.plan:storage { name = name, type = "nvfp4", extents = { "rows", one and slots_in or self.cfg.top_k, k },
                             quantizers = one and first or weights })
  return name, key, false
end

-- That form, made by an op of its own where nobody has made it yet.
function Graph:quantized(x, weights, first, slots_in, k, experts)
  local name, key, is_there = self:codes(x, weights, first, slots_in, k)
  if is_there then return name end
  self:op("quantize_nvfp4", { x = x, experts = not key and experts or nil, y = name })
  if key then self.fresh[key] = name end
  return name
end

-- x was written: its quantized forms are stale.
function Graph:wrote(x)
  for key in pairs(self.fresh) do
    if key:sub(1, #x + 1) == x .. "@" then self.fresh[key] = nil end
  end
end

-- Adds op `family`, which writes y [rows,slots,k] and, fused, as y_codes the form of y that reader = { weights, first, what, names }
-- wants,
-- if it wants one. Returns the name of that, or nil.
function Graph:writes(family, bound, numbers, taps, reader, slots, k)
  local name, key
  self:wrote(bound.y)
  if self.fuse and reader and self:quantizes(reader[1], reader[3], reader[4]) and (slots > 1 or all_equal(reader[1]:input_scales())) then
    name, key = self:codes(bound.y, reader[1], reader[2], slots, k)
    bound.y_codes = name
  end
  self:op(family, bound, numbers, taps)
  if key then self.fresh[key] = name end
  return name
end

-- The linear that will read an activation, for Graph:writes.
function Graph:reader(logical, tap, family)
  local w = self.fuse and assert(nb.weights(self.ckpt, { logical }))
  return w and { w, w, logical, self:names(family or "linear", { y = tap }, { logical }) }
end

function Graph:linear(x, logical, y, tap)
  local w = self:weight(logical)
  local _, k = w:shape()
  local taps = tap and { y = tap }
  local names = self:names("linear", taps, { logical, (self.at and self.at .. "/" or "") .. y })
  local input = self:quantizes(w, logical, names) and self:quantized(x, w, w, 1, k) or x
  self:op("linear", { x = input, w = w, y = y }, nil, taps, logical)
  self:wrote(y)
end

-- y = norm(stream + delta) · (1 + w); the sum becomes the new stream. delta is nil in front of the first layer. reader: of y, see
-- Graph:writes.
function Graph:add_norm(delta, logical, y, sum_tap, y_tap, reader)
  local bound = { x = self.stream, w = self:weight(logical), y = y }
  if delta then
    bound.delta = delta
    bound.sum = self:buffer(self.stream == "stream_a" and "stream_b" or "stream_a", "act", "rows", self.cfg.hidden)
  end
  self:writes("rmsnorm", bound, { eps = self.cfg.eps, plus = 1 }, { y = y_tap, sum = delta and sum_tap or nil }, reader, 1,
    self.cfg.hidden)
  if delta then self.stream = bound.sum end
end

-- With drafts a count by slot that draft_accept leaves on the device: rows that are taken back, rows that a sequence has; else nil.
function Graph:count_of(name) return self.versions > 1 and self:buffer(name, "i32", "slots") or nil end

function Graph:delta_net(at, tap)
  local c, rows = self.cfg, "rows"
  self:linear("h", at .. ".gdn.qkv", self:buffer("gdn_qkv", "act", rows, c.conv_channels), tap .. "/gdn_in_proj_qkv")
  self:linear("h", at .. ".gdn.z", self:buffer("gdn_z", "act", rows, c.value_heads, c.value_dim), tap .. "/gdn_in_proj_z")
  self:linear("h", at .. ".gdn.b", self:buffer("gdn_b", "act", rows, c.value_heads), tap .. "/gdn_in_proj_b")
  self:linear("h", at .. ".gdn.a", self:buffer("gdn_a", "act", rows, c.value_heads), tap .. "/gdn_in_proj_a")
  local columns = c.conv_width - 1 + self.versions - 1
  if columns < 1 then
    args.fail("E_UNSUPPORTED", "config.json: linear_conv_kernel_dim: expected at least 2, found %d", c.conv_width)
  end
  self:op("gdn_conv", {
    x = "gdn_qkv", w = self:weight(at .. ".gdn.conv"), y = self:buffer("gdn_u", "act", rows, c.conv_channels),
    window = self:state(tap .. "/conv_states", "act", "slots", columns, c.conv_channels), rejected = self:count_of "rejected",
  }, nil, { y = tap .. "/gdn_conv" })
  self:op("gdn_delta", {
    qkv = "gdn_u", a = "gdn_a", b = "gdn_b", a_log = self:weight(at .. ".gdn.a_log"), dt_bias = self:weight(at .. ".gdn.dt_bias"),
    state = self:state(tap .. "/recurrent_states", "f32", "slots", "versions", c.value_heads, c.key_dim, c.value_dim),
    y = self:buffer("gdn_o", "act", rows, c.value_heads, c.value_dim), rejected = self:count_of "rejected",
  }, { hk = c.key_heads, eps = 1e-6 }, { y = tap .. "/gdn_delta" })
  local y = self:buffer("gdn_normed", "act", rows, c.value_heads, c.value_dim)
  self:op("gated_norm", { x = "gdn_o", z = "gdn_z", w = self:weight(at .. ".gdn.norm"), y = y }, { eps = c.eps },
    { y = tap .. "/gdn_norm" })
  self:wrote(y .. ".flat")
  self:linear(self:flat(y, c.value_heads * c.value_dim), at .. ".gdn.out", self:buffer("mixer", "act", rows, c.hidden), tap
    .. "/mixer")
end

function Graph:attention(at, tap)
  local c, rows = self.cfg, "rows"
  local k_scale, v_scale, code = self.ckpt:kv_scales(at)
  assert(k_scale, v_scale, code)
  self:linear("h", at .. ".attn.q", self:buffer("attn_q", "act", rows, c.heads, 2 * c.head_dim), tap .. "/attn_q_proj")
  self:linear("h", at .. ".attn.k", self:buffer("attn_k", "act", rows, c.kv_heads, c.head_dim), tap .. "/attn_k_proj")
  self:linear("h", at .. ".attn.v", self:buffer("attn_v", "act", rows, c.kv_heads, c.head_dim), tap .. "/attn_v_proj")
  local taken = self:count_of(self.program == "mtp" and "mtp_taken" or "taken")
  local keys = self:state(tap .. "/keys", "kv", "slots", c.kv_heads, "max_len", c.head_dim)
  local values = self:state(tap .. "/values", "kv", "slots", c.kv_heads, "max_len", c.head_dim)
  local scales = { k_scale = k_scale, v_scale = v_scale }
  self:op("attn_prep", {
    q = "attn_q", k = "attn_k", v = "attn_v", q_norm = self:weight(at .. ".attn.q_norm"),
    k_norm = self:weight(at .. ".attn.k_norm"),
    inv_freq = "inv_freq", keys = keys, values = values, q_rot = self:buffer("attn_q_rot", "act", rows, c.heads, c.head_dim),
    q_normed = self:buffer("attn_q_normed", "act", rows, c.heads, c.head_dim),
    k_normed = self:buffer("attn_k_normed", "act", rows, c.kv_heads, c.head_dim), taken = taken,
  }, { eps = c.eps, rope_factor = c.rope_factor, k_scale = k_scale, v_scale = v_scale },
    { q_normed = tap .. "/attn_q_norm", k_normed = tap .. "/attn_k_norm", q_rot = tap .. "/attn_q_rope" })
  local y = self:buffer("attn_y", "act", rows, c.heads, c.head_dim)
  self:op("attention", { q = "attn_q_rot", gate = "attn_q", keys = keys, values = values, y = y, taken = taken }, scales,
    { y = tap .. "/attn_o_proj_in" })
  self:wrote(y .. ".flat")
  self:linear(self:flat(y, c.heads * c.head_dim), at .. ".attn.o", self:buffer("mixer", "act", rows, c.hidden), tap .. "/mixer")
end

-- Weights of one projection of every expert.
function Graph:experts(at, projection)
  local names = {}
  for e = 0, self.cfg.experts - 1 do names[e + 1] = ("%s.experts.%d.%s"):format(at, e, projection) end
  return assert(nb.weights(self.ckpt, names)), self:weight(names[1])
end

function Graph:moe(at, tap)
  local c, rows = self.cfg, "rows"
  self:op("router", {
    x = "h", w = self:weight(at .. ".router"), logits = self:buffer("router_logits", "f32", rows, c.experts),
    weights = self:buffer("router_weights", "act", rows, c.top_k), experts = self:buffer("router_experts", "i32", rows, c.top_k),
  }, nil, { logits = tap .. "/router_logits", weights = tap .. "/router_weights", experts = tap .. "/router_experts" })
  local gate, gate_first = self:experts(at, "gate")
  local up, up_first = self:experts(at, "up")
  local down, down_first = self:experts(at, "down")
  local x, x_up = "h", nil
  local fc1, fc2 = { y = tap .. "/experts_fc1" }, { y = tap .. "/experts_fc2" }
  local names = self:names("moe_fc1", fc1, {})
  local is_quantized = self:quantizes(gate, at .. ".experts.*.gate", names)
  if self:quantizes(up, at .. ".experts.*.up", names) ~= is_quantized then
    args.fail("E_MISSING", "%s: expected gate and up to have input scales both or neither", at .. ".experts")
  end
  if is_quantized then
    x = self:quantized("h", gate, gate_first, 1, c.hidden, "router_experts")
    local gate_scales, up_scales, same = gate:input_scales(), up:input_scales(), true
    for i = 1, #gate_scales do same = same and gate_scales[i] == up_scales[i] end
    x_up = not same and self:quantized("h", up, up_first, 1, c.hidden, "router_experts") or nil
  end
  local h = self:writes("moe_fc1", { x = x, x_up = x_up, experts = "router_experts", gate = gate, up = up,
                                     y = self:buffer("moe_h", "act", rows, c.top_k, c.expert_width) }, nil, fc1,
    { down, down_first, at .. ".experts.*.down", self:names("moe_fc2", fc2, {}) }, c.top_k, c.expert_width)
  if not h and self:quantizes(down, at .. ".experts.*.down", self:names("moe_fc2", fc2, {})) then
    h = self:quantized("moe_h", down, down_first, c.top_k, c.expert_width, "router_experts")
  end
  self:op("moe_fc2", { x = h or "moe_h", experts = "router_experts", down = down,
                       y = self:buffer("moe_y", "act", rows, c.top_k, c.hidden) }, nil, fc2)
  self:linear("h", at .. ".shared.gate", self:buffer("shared_g", "act", rows, c.shared_width))
  self:linear("h", at .. ".shared.up", self:buffer("shared_u", "act", rows, c.shared_width))
  self:writes("swiglu", { gate = "shared_g", up = "shared_u", y = self:buffer("shared_h", "act", rows, c.shared_width) }, nil,
    { y = tap .. "/shared_expert_fc1" }, self:reader(at .. ".shared.down", tap .. "/shared_expert"), 1, c.shared_width)
  self:linear("shared_h", at .. ".shared.down", self:buffer("shared_y", "act", rows, c.hidden), tap .. "/shared_expert")
  self:linear("h", at .. ".shared_gate", self:buffer("shared_gate", "act", rows, 1), tap .. "/shared_gate")
  self:op("combine", { y = "moe_y", weights = "router_weights", shared = "shared_y", shared_gate = "shared_gate",
                       routed = self:buffer("routed", "act", rows, c.hidden), sum = self:buffer("moe", "act", rows, c.hidden) },
    nil, { routed = tap .. "/experts", sum = tap .. "/moe" })
end

-- One decoder layer: `at` is its logical name, `tap` its tap name, `before` the tap of the layer whose sum the input norm
-- completes.
function Graph:layer(at, tap, kind, before)
  self.at = tap
  self:add_norm(before and "moe", at .. ".input_norm", self:buffer("h", "act", "rows", self.cfg.hidden),
    before and before .. "/output", tap .. "/input_norm",
    kind == "full_attention" and self:reader(at .. ".attn.q", tap .. "/attn_q_proj")
      or self:reader(at .. ".gdn.qkv", tap .. "/gdn_in_proj_qkv"))
  if kind == "full_attention" then self:attention(at, tap) else self:delta_net(at, tap) end
  local gate, gate_first
  if self.fuse then gate, gate_first = self:experts(at, "gate") end
  self:add_norm("mixer", at .. ".post_norm", "h", tap .. "/residual", tap .. "/post_norm",
    gate and { gate, gate_first, at .. ".experts.*.gate", self:names("moe_fc1", { y = tap .. "/experts_fc1" }, {}) })
  self:moe(at, tap)
  self.at = nil
end

function Graph:main()
  local c = self.cfg
  self.program = "embed"
  self.stream = self:buffer("stream_a", "act", "rows", c.hidden)
  self:op("embed_gather", { ids = self:buffer("ids", "i32", "rows"), w = self:weight "embed", y = "stream_a" }, nil,
    { y = "embed" })
  self.program = "main"
  local before
  for i, kind in ipairs(c.types) do
    local tap = qwen.layer_name(i - 1)
    self:layer("layers." .. (i - 1), tap, kind, before)
    before = tap
  end
  self:add_norm("moe", "final_norm", self:buffer("final_norm", "act", "rows", c.hidden), before .. "/output", "final_norm",
    self:reader("lm_head", "logits", "lm_head_sample"))
  self:head("final_norm", "logits", "token")
  if self.versions > 1 then
    self:op("draft_accept", { ids = "ids", token = "token", drafts = self:count_of "drafts", accepted = self:count_of "accepted",
      rejected = self:count_of "rejected", followed = self:buffer("followed", "i32", "slots", "versions"),
      taken = self:count_of "taken", mtp_taken = self:count_of "mtp_taken", mtp_ids = self:buffer("mtp_ids", "i32", "rows") })
  end
end

-- Logits, their tap, and greedy tokens of the normed hidden rows x.
function Graph:head(x, logits, token)
  local c, w = self.cfg, self:weight "lm_head"
  local taps = { logits = logits }
  local names = self:names("lm_head_sample", taps, { "lm_head", (self.at and self.at .. "/" or "") .. logits })
  local input = self:quantizes(w, "lm_head", names) and self:quantized(x, w, w, 1, c.hidden) or x
  self:op("lm_head_sample", { x = input, w = w, logits = self:buffer(logits, "f32", "outs", c.vocab),
                              token = self:buffer(token, "i32", "outs") }, nil, taps, "lm_head")
end

-- The draft head: (embedding of the next token, final-normed hidden) → fc → one attention layer → shared lm_head. Its hidden rows are
-- where the main model leaves them, so that it can run over the rows of a step; what is drafted moves on by program "mtp_next".
function Graph:mtp()
  local c = self.cfg
  self.program, self.fresh, self.stream = "mtp", {}, "stream_a"
  self:op("embed_gather", { ids = self:buffer("mtp_ids", "i32", "rows"), w = self:weight "embed",
                            y = self:buffer("mtp_embed", "act", "rows", c.hidden) }, nil, { y = "mtp/embed" })
  self:buffer("mtp_in", "act", "rows", 2 * c.hidden)
  assert(self.plan:view("mtp_in_e", "mtp_in", 0, c.hidden))
  assert(self.plan:view("mtp_in_h", "mtp_in", c.hidden, c.hidden))
  local numbers = { eps = c.eps, plus = 1 }
  self:op("rmsnorm", { x = "mtp_embed", w = self:weight "mtp.norm_embedding", y = "mtp_in_e" }, numbers,
    { y = "mtp/norm_embedding" })
  self:op("rmsnorm", { x = "final_norm", w = self:weight "mtp.norm_hidden",
    y = "mtp_in_h" }, numbers,
    { y = "mtp/norm_hidden" })
  self:linear("mtp_in", "mtp.fc", "stream_a", "mtp/fc")
  self:layer("mtp.0", "mtp", "full_attention")
  self:add_norm("moe", "mtp.norm", self:buffer("mtp_norm", "act", "rows", c.hidden), "mtp/output", "mtp/norm",
    self:reader("lm_head", "mtp_logits", "lm_head_sample"))
  self:head("mtp_norm", "mtp_logits", "mtp_token")
  if self.versions == 1 then return end
  self.program = "mtp_next"
  self:op("draft_next", { token = "mtp_token", x = "mtp_norm", drafts = self:count_of "drafts", accepted = self:count_of "accepted",
    taken = self:count_of "taken", ids = "ids", mtp_ids = "mtp_ids", mtp_taken = self:count_of "mtp_taken", hidden = "final_norm" })
end

-- Adds everything to the plan. opt: impl (of impl.parse), versions (the plan's), mtp (with the draft head), fuse (the op
-- that writes an activation also writes its quantized form, where it can).
-- Returns the ops in order: { id =, spec =, program =, tap = its first tap or nil, taps = by argument, name = tap, or layer and
-- the buffer it writes, names = all names for --impl, layer = "layer03" or nil, bound = buffers and weights by argument,
-- numbers = }.
function qwen.build(plan, ckpt, cfg, opt)
  local g = setmetatable({ plan = plan, ckpt = ckpt, cfg = cfg, impl = opt.impl, versions = opt.versions, fuse = opt.fuse,
    known = {},
    fresh = {},
                           count = 0, ops = {} }, Graph)
  assert(plan:storage { name = "inv_freq", type = "f32", extents = { #cfg.inv_freq } })
  assert(plan:write("inv_freq", cfg.inv_freq))
  g.known.inv_freq = true
  g:main()
  if opt.mtp then g:mtp() end
  return g.ops
end

-- True if the checkpoint holds the draft head that --mtp needs.
function qwen.has_mtp(ckpt) return ckpt:has "mtp.fc" end

return qwen
