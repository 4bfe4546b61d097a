-- synthetic: writes a checkpoint of the family with random weights of any extents, for tests of size and for speed
-- needs: room on the disk (one full-size layer with NVFP4 experts: 0.5 GB; --vocab 248320 adds 2 GB)
-- writes: DIR/{config.json, hf_quant_config.json, model.safetensors}; the model computes nonsense of a sane magnitude, the same
-- for a seed
local nb, args = require "nibble", require "scripts.lib.args"
local uv = require "luv"

local opt = args.parse({
  name = "synthetic", summary = "Writes a random checkpoint; the defaults are the layers of Qwen3.6-35B-A3B.",
  positional = { { "dir", "folder to make" } },
  options = {
    { "layers", "L", "layer types, one letter a layer: L gated DeltaNet, A attention" },
    { "format", "experts", "NVFP4 for: none, experts, all linears" },
    { "hidden", 2048, "hidden size" }, { "experts", 256, "experts" }, { "top-k", 8, "experts per token" },
    { "width", 512, "expert width" },
    { "heads", 16, "query heads" }, { "kv-heads", 2, "key and value heads" }, { "head", 256, "head size" },
    { "key-heads", 16, "DeltaNet key heads" }, { "value-heads", 32, "DeltaNet value heads" },
    { "delta", 128, "DeltaNet head size" },
    { "vocab", 4096, "vocabulary" }, { "max-len", 32768, "positions" }, { "seed", 1, "of the weights" },
  },
}, ...)
args.one_of("format", opt.format, { "none", "experts", "all" })
if not opt.layers:match "^[LA]+$" then args.usage(("--layers: expected letters L and A, found \"%s\""):format(opt.layers)) end

math.randomseed(opt.seed)
local BLOCK = 1 << 20
-- A MiB of bf16 normals of deviation 0.02, of random bytes, and of e4m3 scales around 1; tensors are cut from them at random
-- places.
local function block_of(make)
  local parts = {}
  for i = 1, BLOCK // 2 do parts[i] = make() end
  return table.concat(parts)
end
local function normal() return math.sqrt(-2 * math.log(1 - math.random())) * math.cos(2 * math.pi * math.random()) end
local function bf16(v) return string.pack("<I2", (string.unpack("<I4", string.pack("<f", v)) + 0x8000) >> 16 & 0xFFFF) end
local blocks = {
  BF16 = block_of(function() return bf16(0.02 * normal()) end),
  U8 = block_of(function() return string.pack("<I2", math.random(0, 65535)) end),
  F8_E4M3 = block_of(function() return string.char(math.random(0x30, 0x3F), math.random(0x30, 0x3F)) end),
}

local entries, offset = {}, 0
local sizes = { BF16 = 2, U8 = 1, F8_E4M3 = 1, F32 = 4 }
local function tensor(name, dtype, shape, value)
  local n = sizes[dtype]
  for _, s in ipairs(shape) do n = n * s end
  entries[#entries + 1] = { name = name, dtype = dtype, shape = shape, first = offset, bytes = n, value = value }
  offset = offset + n
end
local function bf(name, ...) tensor(name, "BF16", { ... }) end
local function linear(name, is_packed, n, k)
  if not is_packed then return bf(name .. ".weight", n, k) end
  tensor(name .. ".weight", "U8", { n, k // 2 })
  tensor(name .. ".weight_scale", "F8_E4M3", { n, k // 16 })
  tensor(name .. ".weight_scale_2", "F32", {}, 0.007)
  tensor(name .. ".input_scale", "F32", {}, 12 / 2688)
end

local H, all = opt.hidden, opt.format == "all"
local P = "model.language_model."
bf(P .. "embed_tokens.weight", opt.vocab, H)
bf(P .. "norm.weight", H)
bf("lm_head.weight", opt.vocab, H)
local types = {}
for i = 0, #opt.layers - 1 do
  local L = P .. "layers." .. i .. "."
  bf(L .. "input_layernorm.weight", H)
  bf(L .. "post_attention_layernorm.weight", H)
  if opt.layers:sub(i + 1, i + 1) == "L" then
    types[i + 1] = "linear_attention"
    local key, value = opt.key_heads * opt.delta, opt.value_heads * opt.delta
    linear(L .. "linear_attn.in_proj_qkv", all, 2 * key + value, H)
    linear(L .. "linear_attn.in_proj_z", all, value, H)
    bf(L .. "linear_attn.in_proj_b.weight", opt.value_heads, H)
    bf(L .. "linear_attn.in_proj_a.weight", opt.value_heads, H)
    bf(L .. "linear_attn.conv1d.weight", 2 * key + value, 1, 4)
    bf(L .. "linear_attn.A_log", opt.value_heads)
    bf(L .. "linear_attn.dt_bias", opt.value_heads)
    bf(L .. "linear_attn.norm.weight", opt.delta)
    linear(L .. "linear_attn.out_proj", all, H, value)
  else
    types[i + 1] = "full_attention"
    linear(L .. "self_attn.q_proj", all, 2 * opt.heads * opt.head, H)
    linear(L .. "self_attn.k_proj", all, opt.kv_heads * opt.head, H)
    linear(L .. "self_attn.v_proj", all, opt.kv_heads * opt.head, H)
    linear(L .. "self_attn.o_proj", all, H, opt.heads * opt.head)
    bf(L .. "self_attn.q_norm.weight", opt.head)
    bf(L .. "self_attn.k_norm.weight", opt.head)
  end
  bf(L .. "mlp.gate.weight", opt.experts, H)
  bf(L .. "mlp.shared_expert_gate.weight", 1, H)
  for _, p in ipairs { "gate", "up" } do linear(L .. "mlp.shared_expert." .. p .. "_proj", all, opt.width, H) end
  linear(L .. "mlp.shared_expert.down_proj", all, H, opt.width)
  for e = 0, opt.experts - 1 do
    local E = L .. "mlp.experts." .. e .. "."
    linear(E .. "gate_proj", opt.format ~= "none", opt.width, H)
    linear(E .. "up_proj", opt.format ~= "none", opt.width, H)
    linear(E .. "down_proj", opt.format ~= "none", H, opt.width)
  end
end

local ignore = { "lm_head", "mtp*", "*visual*", "*.mlp.gate", "*.mlp.shared_expert_gate" }
if not all then for _, p in ipairs { "*.linear_attn*", "*.self_attn*", "*.mlp.shared_expert*" } do ignore[#ignore + 1] = p end end
local config = {
  architectures = { "Qwen3_5MoeForConditionalGeneration" }, model_type = "qwen3_5_moe", tie_word_embeddings = false,
    dtype = "bfloat16",
  text_config = {
    model_type = "qwen3_5_moe_text", vocab_size = opt.vocab, hidden_size = H, num_hidden_layers = #opt.layers,
    layer_types = types,
    num_attention_heads = opt.heads, num_key_value_heads = opt.kv_heads, head_dim = opt.head, hidden_act = "silu",
    rms_norm_eps = 1e-6,
    max_position_embeddings = opt.max_len, linear_conv_kernel_dim = 4, linear_num_key_heads = opt.key_heads,
    linear_num_value_heads = opt.value_heads, linear_key_head_dim = opt.delta, linear_value_head_dim = opt.delta,
    num_experts = opt.experts,
    num_experts_per_tok = opt.top_k, moe_intermediate_size = opt.width, shared_expert_intermediate_size = opt.width,
    mtp_num_hidden_layers = 0,
    rope_parameters = { rope_type = "default", rope_theta = 10000000, partial_rotary_factor = 0.25 },
  },
}
local quant = opt.format ~= "none" and { quant_algo = "NVFP4", group_size = 16, kv_cache_quant_algo = nb.null,
  exclude_modules = nb.json.array(ignore) }
if quant then config.quantization_config = { quant_method = "modelopt", quant_algo = "NVFP4", ignore = nb.json.array(ignore) } end

local header = {}
for _, e in ipairs(entries) do
  header[e.name] = { dtype = e.dtype, shape = nb.json.array(e.shape), data_offsets = { e.first, e.first + e.bytes } }
end

local function must(ok, message) if not ok then args.fail("E_IO", "%s", message) end return ok end
must(uv.fs_mkdir(opt.dir, 493) or uv.fs_stat(opt.dir), "cannot make the folder " .. opt.dir)
local part = opt.dir .. "/model.safetensors.part"
local file = must(io.open(part, "wb"))
local text = nb.json.encode(header)
text = text .. (" "):rep(-#text % 8)
must(file:write(string.pack("<I8", #text), text))
for _, e in ipairs(entries) do
  if e.dtype == "F32" then must(file:write(string.pack("<f", e.value)))
  else
    local block, left = blocks[e.dtype], e.bytes
    while left > 0 do
      local at = 2 * math.random(0, BLOCK // 2 - 1)
      local n = math.min(left, BLOCK - at)
      must(file:write(block:sub(at + 1, at + n)))
      left = left - n
    end
  end
end
must(file:close())
must(os.rename(part, opt.dir .. "/model.safetensors"))
local function write(name, value)
  local f = must(io.open(opt.dir .. "/" .. name, "wb"))
  must(f:write(nb.json.encode(value, 1), "\n"))
  must(f:close())
end
write("config.json", config)
if quant then write("hf_quant_config.json", { producer = { name = "nibble" }, quantization = quant }) end
if opt.json then args.print_json { dir = opt.dir, tensors = #entries, bytes = offset }
else print(("%s: %d tensors, %.2f GB"):format(opt.dir, #entries, offset / 1e9)) end
return 0
