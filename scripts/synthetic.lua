-- synthetic: writes a checkpoint of the family with random weights of any extents, for tests of size and for speed
-- needs: room on the disk (one full-size layer with NVFP4 experts: 0.5 GB; --vocab 248320 adds 2 GB)
-- writes: DIR/{config.json, hf_quant_config.json, model.safetensors}; the model computes nonsense of a sane magnitude, the same
-- for a seed
local nb, args = require "nibble", require "scripts.lib.args"
local uv = require "luv"

local EXTENT_MAX = 1 << 24
local opt = args.parse({
  name = "synthetic", summary = "Writes a random checkpoint; the defaults are the layers of Qwen3.6-35B-A3B.",
  positional = { { "dir", "folder to make" } },
  options = {
    { "layers", "L", "layer types, one letter a layer: L gated DeltaNet, A attention" },
    { "format", "experts", "NVFP4 for: none, experts, all linears; mixed: experts, shared expert and lm_head without input scales, "
      .. "projections FP8" },
    { "lm-head", false, "lm_head in NVFP4 too" },
    { "own-scales", false, "every linear has an input scale of its own, else all have one" },
    { "hidden", 2048, "hidden size", min = 1, max = EXTENT_MAX }, { "experts", 256, "experts", min = 1, max = 65536 },
    { "top-k", 8, "experts per token", min = 1 }, { "width", 512, "expert width", min = 1, max = EXTENT_MAX },
    { "heads", 16, "query heads", min = 1, max = 1024 }, { "kv-heads", 2, "key and value heads", min = 1 },
    { "head", 256, "head size", min = 8, max = 65536 }, { "key-heads", 16, "DeltaNet key heads", min = 1, max = 1024 },
    { "value-heads", 32, "DeltaNet value heads", min = 1, max = 1024 },
    { "delta", 128, "DeltaNet head size", min = 1, max = 65536 },
    { "conv", 4, "columns of the DeltaNet convolution", min = 2, max = 1024 },
    { "norms", "BF16", "type of norms, A_log and dt_bias: BF16, F32" },
    { "tied", false, "lm_head is the table of embeddings" }, { "vocab", 4096, "vocabulary", min = 1, max = EXTENT_MAX },
    { "max-len", 32768, "positions", min = 1, max = 1 << 30 }, { "seed", 1, "of the weights" },
  },
}, ...)
args.one_of("format", opt.format, { "none", "experts", "all", "mixed" })
args.one_of("norms", opt.norms, { "BF16", "F32" })
if not opt.layers:match "^[LA]+$" then args.usage(("--layers: expected letters L and A, found \"%s\""):format(opt.layers)) end

-- What no member of the family could be, said before anything is written.
local function must_divide(name, by, why)
  local n = opt[name:gsub("%-", "_")]
  if n % by ~= 0 then args.usage(("--%s: expected a multiple of %d (%s), found %d"):format(name, by, why, n)) end
end
if opt.top_k > opt.experts then
  args.usage(("--top-k: expected at most --experts %d, found %d"):format(opt.experts, opt.top_k))
end
must_divide("heads", opt.kv_heads, "--kv-heads")
must_divide("value-heads", opt.key_heads, "--key-heads")
must_divide("head", 8, "a quarter of it is rotated in pairs")
if opt.format ~= "none" then
  must_divide("hidden", 16, "NVFP4 blocks")
  must_divide("width", 16, "NVFP4 blocks")
end
if opt.format == "all" then
  local value, heads = opt.value_heads * opt.delta, opt.heads * opt.head
  if opt.layers:find "L" and value % 16 ~= 0 then
    args.usage(("--value-heads × --delta: expected a multiple of 16 (NVFP4 blocks), found %d"):format(value))
  end
  if opt.layers:find "A" and heads % 16 ~= 0 then
    args.usage(("--heads × --head: expected a multiple of 16 (NVFP4 blocks), found %d"):format(heads))
  end
end

math.randomseed(opt.seed)
local BLOCK = 1 << 20
-- A MiB of normals of deviation 0.02, of random bytes, and of e4m3 scales around 1; tensors are cut from them at random places.
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
  FP8 = opt.format == "mixed" and block_of(function() return string.char(math.random(0, 1) << 7 | math.random(0x30, 0x3F),
    math.random(0, 1) << 7 | math.random(0x30, 0x3F)) end) or nil,
  F32 = opt.norms == "F32" and block_of(function() return "\0\0" .. bf16(0.02 * normal()) end):sub(1, BLOCK) or nil,
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
local function vector(name, n) tensor(name, opt.norms, { n }) end
local function linear(name, kind, n, k)
  if not kind then return bf(name .. ".weight", n, k) end
  if kind == "fp8" then
    tensor(name .. ".weight", "F8_E4M3", { n, k })
    entries[#entries].block = blocks.FP8
    tensor(name .. ".weight_scale", "F32", {}, 0.02)
    return
  end
  tensor(name .. ".weight", "U8", { n, k // 2 })
  tensor(name .. ".weight_scale", "F8_E4M3", { n, k // 16 })
  tensor(name .. ".weight_scale_2", "F32", {}, 0.007)
  if kind == "w4a4" then
    tensor(name .. ".input_scale", "F32", {}, 12 / 2688 * (opt.own_scales and 0.75 + 0.5 * math.random() or 1))
  end
end

-- What each part of the model is stored as: false (BF16), w4a4, w4a16, fp8.
local H, mixed, all = opt.hidden, opt.format == "mixed", opt.format == "all"
local packed = mixed and "w4a16" or "w4a4"
local expert, shared, projection = opt.format ~= "none" and packed, (all or mixed) and packed, all and packed or mixed and "fp8"
local head = (opt.lm_head or mixed) and packed
local P = "model.language_model."
bf(P .. "embed_tokens.weight", opt.vocab, H)
vector(P .. "norm.weight", H)
if not opt.tied then linear("lm_head", head, opt.vocab, H) end
local types = {}
for i = 0, #opt.layers - 1 do
  local L = P .. "layers." .. i .. "."
  vector(L .. "input_layernorm.weight", H)
  vector(L .. "post_attention_layernorm.weight", H)
  if opt.layers:sub(i + 1, i + 1) == "L" then
    types[i + 1] = "linear_attention"
    local key, value = opt.key_heads * opt.delta, opt.value_heads * opt.delta
    linear(L .. "linear_attn.in_proj_qkv", projection, 2 * key + value, H)
    linear(L .. "linear_attn.in_proj_z", projection, value, H)
    bf(L .. "linear_attn.in_proj_b.weight", opt.value_heads, H)
    bf(L .. "linear_attn.in_proj_a.weight", opt.value_heads, H)
    bf(L .. "linear_attn.conv1d.weight", 2 * key + value, 1, opt.conv)
    vector(L .. "linear_attn.A_log", opt.value_heads)
    vector(L .. "linear_attn.dt_bias", opt.value_heads)
    vector(L .. "linear_attn.norm.weight", opt.delta)
    linear(L .. "linear_attn.out_proj", projection, H, value)
  else
    types[i + 1] = "full_attention"
    linear(L .. "self_attn.q_proj", projection, 2 * opt.heads * opt.head, H)
    linear(L .. "self_attn.k_proj", projection, opt.kv_heads * opt.head, H)
    linear(L .. "self_attn.v_proj", projection, opt.kv_heads * opt.head, H)
    linear(L .. "self_attn.o_proj", projection, H, opt.heads * opt.head)
    vector(L .. "self_attn.q_norm.weight", opt.head)
    vector(L .. "self_attn.k_norm.weight", opt.head)
  end
  bf(L .. "mlp.gate.weight", opt.experts, H)
  bf(L .. "mlp.shared_expert_gate.weight", 1, H)
  for _, p in ipairs { "gate", "up" } do linear(L .. "mlp.shared_expert." .. p .. "_proj", shared, opt.width, H) end
  linear(L .. "mlp.shared_expert.down_proj", shared, H, opt.width)
  for e = 0, opt.experts - 1 do
    local E = L .. "mlp.experts." .. e .. "."
    linear(E .. "gate_proj", expert, opt.width, H)
    linear(E .. "up_proj", expert, opt.width, H)
    linear(E .. "down_proj", expert, H, opt.width)
  end
end

local ignore = { "mtp*", "*visual*", "*.mlp.gate", "*.mlp.shared_expert_gate" }
if not head then ignore[#ignore + 1] = "lm_head" end
if not projection then for _, p in ipairs { "*.linear_attn*", "*.self_attn*" } do ignore[#ignore + 1] = p end end
if not shared then ignore[#ignore + 1] = "*.mlp.shared_expert*" end
local config = {
  architectures = { "Qwen3_5MoeForConditionalGeneration" }, model_type = "qwen3_5_moe", tie_word_embeddings = opt.tied,
  dtype = "bfloat16",
  text_config = {
    model_type = "qwen3_5_moe_text", vocab_size = opt.vocab, hidden_size = H, num_hidden_layers = #opt.layers,
    layer_types = types, num_attention_heads = opt.heads, num_key_value_heads = opt.kv_heads, head_dim = opt.head,
    hidden_act = "silu", rms_norm_eps = 1e-6,
    max_position_embeddings = opt.max_len, linear_conv_kernel_dim = opt.conv, linear_num_key_heads = opt.key_heads,
    linear_num_value_heads = opt.value_heads, linear_key_head_dim = opt.delta, linear_value_head_dim = opt.delta,
    num_experts = opt.experts, num_experts_per_tok = opt.top_k, moe_intermediate_size = opt.width,
    shared_expert_intermediate_size = opt.width, mtp_num_hidden_layers = 0,
    rope_parameters = { rope_type = "default", rope_theta = 10000000, partial_rotary_factor = 0.25 },
  },
}
local quant = opt.format ~= "none" and { quant_algo = mixed and "MIXED_PRECISION" or "NVFP4", group_size = 16, kv_cache_quant_algo = nb.null,
  exclude_modules = nb.json.array(ignore) }
if quant then config.quantization_config = { quant_method = "modelopt", quant_algo = quant.quant_algo, ignore = nb.json.array(ignore) } end

local header = {}
for _, e in ipairs(entries) do
  header[e.name] = { dtype = e.dtype, shape = nb.json.array(e.shape), data_offsets = { e.first, e.first + e.bytes } }
end

-- Files are written beside their names and renamed when all of them are complete; after a failure none is left, nor a folder made
-- for them.
local is_new_folder, no_folder = uv.fs_mkdir(opt.dir, 493)
local parts = {}
local function must(ok, message, code)
  if ok then return ok end
  for _, name in ipairs(parts) do os.remove(opt.dir .. "/" .. name .. ".part") end
  if is_new_folder then uv.fs_rmdir(opt.dir) end
  args.fail(code == 28 and "E_SPACE" or "E_IO", "cannot write %s: %s", opt.dir, message)
end
if not is_new_folder then must((uv.fs_stat(opt.dir) or {}).type == "directory", no_folder) end

local function write(name, fill)
  local file = must(io.open(opt.dir .. "/" .. name .. ".part", "wb"))
  parts[#parts + 1] = name
  fill(file)
  must(file:close())
end

write("model.safetensors", function(file)
  local text = nb.json.encode(header)
  text = text .. (" "):rep(-#text % 8)
  must(file:write(string.pack("<I8", #text), text))
  for _, e in ipairs(entries) do
    if e.value then must(file:write(string.pack("<f", e.value)))
    else
      local block, left = e.block or blocks[e.dtype], e.bytes
      while left > 0 do
        local size = math.max(2, sizes[e.dtype])
        local at = size * math.random(0, BLOCK // size - 1)
        local n = math.min(left, BLOCK - at)
        must(file:write(block:sub(at + 1, at + n)))
        left = left - n
      end
    end
  end
end)
local function write_json(name, value) write(name, function(file) must(file:write(nb.json.encode(value, 1), "\n")) end) end
write_json("config.json", config)
if quant then write_json("hf_quant_config.json", { producer = { name = "nibble" }, quantization = quant }) end
for _, name in ipairs(parts) do must(os.rename(opt.dir .. "/" .. name .. ".part", opt.dir .. "/" .. name)) end
if opt.json then args.print_json { dir = opt.dir, tensors = #entries, bytes = offset }
else print(("%s: %d tensors, %.2f GB"):format(opt.dir, #entries, offset / 1e9)) end
return 0
