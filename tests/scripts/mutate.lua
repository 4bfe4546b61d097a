-- mutate: broken checkpoints made from good ones. A checkpoint is held in memory ({ json = file → value,
-- text = file → bytes, files = file → { order, tensors = name → { dtype, shape, data } } }), stripped to
-- a few layers and experts, changed by a named mutation and written with a writer of its own. mutate.list
-- has one row a mutation:
--   { name, base, change(ck) [, raw(dir)], adds = ids it must bring, removes = ids of the base that it takes away }
local nb = require "nibble"
local luv = require "luv"
local mutate = {}

local SIZES = { F32 = 4, BF16 = 2, F16 = 2, F8_E4M3 = 1, U8 = 1, I32 = 4, I64 = 8 }
local P = "model.language_model."

function mutate.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

function mutate.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function read_safetensors(path)
  local text = mutate.read(path)
  local n = string.unpack("<I8", text)
  local header = assert(nb.json.decode(text:sub(9, 8 + n)))
  local file = { order = {}, tensors = {} }
  for name, e in pairs(header) do
    if name ~= "__metadata__" then
      file.order[#file.order + 1] = name
      file.tensors[name] = { dtype = e.dtype, shape = e.shape,
        data = text:sub(9 + n + e.data_offsets[1], 8 + n + e.data_offsets[2]) }
    end
  end
  table.sort(file.order)
  return file
end

local function is_kept_text(name) return name == "tokenizer.json" or name == "tokenizer_config.json" end

function mutate.load(dir)
  local ck = { json = {}, text = {}, files = {} }
  for name in function(handle) return luv.fs_scandir_next(handle) end, luv.fs_scandir(dir) do
    if name:find "%.safetensors$" then ck.files[name] = read_safetensors(dir .. "/" .. name)
    elseif is_kept_text(name) then ck.text[name] = mutate.read(dir .. "/" .. name)
    elseif name:find "%.json$" then ck.json[name] = assert(nb.json.decode(mutate.read(dir .. "/" .. name))) end
  end
  return ck
end

-- The header of a file as a table, with data_offsets in the order of the list.
function mutate.header(file)
  local header, at = { __metadata__ = { format = "pt" } }, 0
  for _, name in ipairs(file.order) do
    local t = file.tensors[name]
    header[name] = { dtype = t.dtype, shape = nb.json.array(t.shape), data_offsets = { at, at + #t.data } }
    at = at + #t.data
  end
  return header
end

function mutate.safetensors(file, header_text)
  local header = header_text or nb.json.encode(mutate.header(file))
  header = header .. (" "):rep(-#header % 8)
  local parts = { string.pack("<I8", #header), header }
  for _, name in ipairs(file.order) do parts[#parts + 1] = file.tensors[name].data end
  return table.concat(parts)
end

function mutate.remove(dir)
  for name in function(handle) return luv.fs_scandir_next(handle) end, luv.fs_scandir(dir) do
    os.remove(dir .. "/" .. name)
  end
  luv.fs_rmdir(dir)
end

function mutate.save(ck, dir)
  luv.fs_mkdir(dir, 493)
  for name, value in pairs(ck.json) do mutate.write(dir .. "/" .. name, nb.json.encode(value, 1)) end
  for name, text in pairs(ck.text) do mutate.write(dir .. "/" .. name, text) end
  for name, file in pairs(ck.files) do mutate.write(dir .. "/" .. name, mutate.safetensors(file)) end
end

function mutate.copy(v)
  if type(v) ~= "table" then return v end
  local out = {}
  for k, item in pairs(v) do out[k] = mutate.copy(item) end
  return setmetatable(out, getmetatable(v))
end

-- The index of a sharded checkpoint, built from what its files hold.
function mutate.index(ck)
  local map, total = {}, 0
  for name, file in pairs(ck.files) do
    for _, tensor in ipairs(file.order) do
      map[tensor] = name
      total = total + #file.tensors[tensor].data
    end
  end
  ck.json["model.safetensors.index.json"] = { metadata = { total_size = total }, weight_map = map }
end

local function file_of(ck, name)
  for key, file in pairs(ck.files) do if file.tensors[name] then return file, key end end
end

local function get(ck, name) return assert(file_of(ck, name), name).tensors[name] end

local function set(ck, name, tensor)
  local file = file_of(ck, name)
  if not file then
    local first
    for key in pairs(ck.files) do if not first or key < first then first = key end end
    file = ck.files[first]
    file.order[#file.order + 1] = name
    table.sort(file.order)
  end
  file.tensors[name] = tensor
end

local function del(ck, name)
  local file = assert(file_of(ck, name), name)
  file.tensors[name] = nil
  for i, n in ipairs(file.order) do if n == name then return table.remove(file.order, i) end end
end

local function rename_all(ck, fn)
  for _, file in pairs(ck.files) do
    local order, tensors = {}, {}
    for _, name in ipairs(file.order) do
      local new = fn(name)
      if new then
        order[#order + 1], tensors[new] = new, file.tensors[name]
      end
    end
    table.sort(order)
    file.order, file.tensors = order, tensors
  end
  if ck.json["model.safetensors.index.json"] then mutate.index(ck) end
end

-- Keeps the first layers and experts, and the vision tower or not; configs, router and exclude lists follow.
function mutate.strip(ck, keep)
  local function is_kept(name)
    local layer = name:find "language_model" and tonumber(name:match "%.layers%.(%d+)%.")
    local expert = tonumber(name:match "%.experts%.(%d+)%.")
    return (not layer or layer < keep.layers) and (not expert or expert < keep.experts)
  end
  local text = ck.json["config.json"].text_config
  local experts = text.num_experts
  rename_all(ck, function(name) return is_kept(name) and name or nil end)
  for _, file in pairs(ck.files) do
    for name, t in pairs(file.tensors) do
      if t.shape[1] == experts and (name:find "%.mlp%.gate%.weight$" or name:find "%.mlp%.experts%.[a-z_]+$") then
        local shape = mutate.copy(t.shape)
        shape[1] = keep.experts
        file.tensors[name] = { dtype = t.dtype, shape = shape,
          data = t.data:sub(1, #t.data // experts * keep.experts) }
      end
    end
  end
  text.num_hidden_layers, text.num_experts, text.num_experts_per_tok = keep.layers, keep.experts, 2
  for i = #text.layer_types, keep.layers + 1, -1 do text.layer_types[i] = nil end
  local q, hf = ck.json["config.json"].quantization_config, ck.json["hf_quant_config.json"]
  for _, list in pairs { q and q.ignore or false, q and q.modules_to_not_convert or false, hf
      and hf.quantization.exclude_modules or false } do
    if list then for i = #list, 1, -1 do if not is_kept(list[i] .. ".") then table.remove(list, i) end end end
  end
  if ck.json["model.safetensors.index.json"] then mutate.index(ck) end
  return ck
end

local function f32(v) return { dtype = "F32", shape = {}, data = string.pack("<f", v) } end
local function scalar_of(t) return (string.unpack("<f", t.data)) end
local function fill(t, byte) return { dtype = t.dtype, shape = t.shape, data = byte:rep(#t.data) } end
local function bf16(v) return string.pack("<I2", string.unpack("<I4", string.pack("<f", v)) >> 16) end
local function from_bf16(bits) return (string.unpack("<f", string.pack("<I4", bits << 16))) end

-- A plain matrix of small values, none of them zero.
local function noise(n, k)
  local out, state = {}, n * 7919 + k
  for i = 1, n * k do
    state = (state * 1103515245 + 12345) & 0x7FFFFFFF
    out[i] = bf16((state % 1000 + 1) / 1e4)
  end
  return { dtype = "BF16", shape = { n, k }, data = table.concat(out) }
end

local function config(ck) return ck.json["config.json"] end
local function text(ck) return ck.json["config.json"].text_config end
local function label(ck) return ck.json["config.json"].quantization_config end
local function hf(ck) return ck.json["hf_quant_config.json"].quantization end

-- Changes both exclude lists of a ModelOpt checkpoint (or the one of another) alike.
local function lists(ck, fn)
  local q = label(ck)
  local all = { q.ignore or q.modules_to_not_convert }
  if ck.json["hf_quant_config.json"] then all[2] = hf(ck).exclude_modules end
  for _, list in ipairs(all) do fn(list) end
end
local function unlist(pattern)
  return function(ck) lists(ck, function(list) for i = #list, 1, -1 do if list[i]:find(pattern) then
    table.remove(list, i) end end end) end
end
local function enlist(entry) return function(ck) lists(ck, function(list) list[#list + 1] = entry end) end end

-- Stores a packed expert plain.
local function unpack_module(ck, module, n, k)
  for _, part in ipairs { "weight", "weight_scale", "weight_scale_2", "input_scale" } do
    del(ck, module .. "." .. part)
  end
  set(ck, module .. ".weight", noise(n, k))
end

local function edit_file(dir, name, fn) mutate.write(dir .. "/" .. name, fn(mutate.read(dir .. "/" .. name))) end

-- Rewrites the header of dir/model.safetensors; the data stays as it is.
local function edit_header(fn)
  return function(dir)
    edit_file(dir, "model.safetensors", function(bytes)
      local n = string.unpack("<I8", bytes)
      local header = assert(nb.json.decode(bytes:sub(9, 8 + n)))
      local changed = nb.json.encode(fn(header) or header)
      changed = changed .. (" "):rep(-#changed % 8)
      return string.pack("<I8", #changed) .. changed .. bytes:sub(9 + n)
    end)
  end
end

local L0, E0 = P .. "layers.0.", P .. "layers.0.mlp.experts.0."
local DOWN, GATE, UP = E0 .. "down_proj", E0 .. "gate_proj", E0 .. "up_proj"
local ROUTER = L0 .. "mlp.gate.weight"

local function put(name, make) return function(ck) set(ck, name, make(get(ck, name))) end end
local function value(name, v) return function(ck) set(ck, name, f32(v)) end end
local function scaled(name, factor)
  return put(name, function(t) return { dtype = "F32", shape = t.shape,
    data = string.pack("<f", scalar_of(t) * factor) } end)
end
local function gone(name) return function(ck) del(ck, name) end end
local function all_scalars(pattern, fn)
  return function(ck)
    for _, file in pairs(ck.files) do
      for name, t in pairs(file.tensors) do
        if name:find(pattern) then
          file.tensors[name] = { dtype = t.dtype, shape = t.shape,
            data = string.pack("<f", fn(scalar_of(t), name)) }
        end
      end
    end
  end
end

local function modelopt_names(ck)
  rename_all(ck, function(name)
    return (name:gsub("weight_packed$", "weight"):gsub("weight_global_scale$",
      "weight_scale_2"):gsub("input_global_scale$", "input_scale"))
  end)
  all_scalars("weight_scale_2$", function(v) return 1 / v end)(ck)
  all_scalars("input_scale$", function(v) return 1 / v end)(ck)
end

local function ct_names(ck)
  all_scalars("weight_scale_2$", function(v) return 1 / v end)(ck)
  all_scalars("input_scale$", function(v) return 1 / v end)(ck)
  rename_all(ck, function(name)
    if name:find "%.experts%." then name = name:gsub("%.weight$", ".weight_packed") end
    return (name:gsub("weight_scale_2$", "weight_global_scale"):gsub("input_scale$", "input_global_scale"))
  end)
end

local function shift_norms(ck)
  for _, file in pairs(ck.files) do
    for name, t in pairs(file.tensors) do
      if name:find "norm%.weight$" and not name:find "linear_attn" and not name:find "visual" then
        local out = {}
        for i = 1, #t.data, 2 do out[#out + 1] = bf16(from_bf16(string.unpack("<I2", t.data, i)) + 1) end
        file.tensors[name] = { dtype = t.dtype, shape = t.shape, data = table.concat(out) }
      end
    end
  end
end

local function flatten(ck)
  local root, inner = config(ck), text(ck)
  for k, v in pairs(inner) do root[k] = v end
  root.text_config, root.vision_config = nil, nil
  root.model_type, root.architectures = "qwen3_5_moe_text", { "Qwen3_5MoeForCausalLM" }
end

local function to_flat_names(ck)
  rename_all(ck, function(name)
    if name:find "^model%.visual" then return nil end
    return (name:gsub("^model%.language_model%.", "model."))
  end)
end

-- Experts of every layer as the fused 3-D packed flavour.
local function fuse_experts(ck)
  for layer = 0, text(ck).num_hidden_layers - 1 do
    local base = P .. "layers." .. layer .. ".mlp.experts."
    local codes, down = {}, {}
    for e = 0, text(ck).num_experts - 1 do
      for _, proj in ipairs { "gate_proj", "up_proj", "down_proj" } do
        local list = proj == "down_proj" and down or codes
        list[#list + 1] = get(ck, base .. e .. "." .. proj .. ".weight").data
        for _, part in ipairs { "weight", "weight_scale", "weight_scale_2", "input_scale" } do
          del(ck, base .. e .. "." .. proj .. "." .. part)
        end
      end
    end
    local e, w, h = text(ck).num_experts, text(ck).moe_intermediate_size, text(ck).hidden_size
    set(ck, base .. "gate_up_proj", { dtype = "U8", shape = { e, 2 * w, h // 2 }, data = table.concat(codes) })
    set(ck, base .. "gate_up_proj_scale_2", { dtype = "F32", shape = { e, 2 },
      data = string.pack("<f", 1e-4):rep(2 * e) })
    set(ck, base .. "down_proj", { dtype = "U8", shape = { e, h, w // 2 }, data = table.concat(down) })
  end
end

local function each_expert(ck, layer, fn)
  for e = 0, text(ck).num_experts - 1 do fn(P .. "layers." .. layer .. ".mlp.experts." .. e .. ".", e) end
end

mutate.bases = {
  experts = "modelopt/nvfp4_experts_only-kv_fp8_cast", default = "modelopt/nvfp4_default-kv_fp8",
    weights = "modelopt/nvfp4_weight_only-kv_fp16",
  ct = "ct/experts_w4a4", ct_linear = "ct/linear_w4a4", ct_weights = "ct/experts_w4a16", bf16 = "bf16",
    fp8 = "fp8_block",
}

local function edit(list) return function(ck) for _, fn in ipairs(list) do fn(ck) end end end
local S2, WS, IS = ".weight_scale_2", ".weight_scale", ".input_scale"
local INDEX = "model.safetensors.index.json"
local SHARD1, SHARD2 = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

mutate.list = {
  -- files
  { "truncated data", "experts", raw = function(dir) edit_file(dir, "model.safetensors", function(b)
    return b:sub(1, -1001) end) end, adds = { "file_truncated" },
    removes = { "mtp_absent" } },
  { "truncated inside the header", "experts", raw = function(dir)
    edit_file(dir, "model.safetensors", function(b) return b:sub(1, 400) end) end,
    adds = { "file_truncated" }, removes = { "mtp_absent", "kv_scale_implicit" } },
  { "empty file", "experts", raw = function(dir) mutate.write(dir .. "/model.safetensors", "") end,
    adds = { "file_truncated" }, removes = { "mtp_absent", "kv_scale_implicit" } },
  { "header length of 2^40", "experts", raw = function(dir)
    edit_file(dir, "model.safetensors", function(b) return string.pack("<I8",
    1 << 40) .. b:sub(9) end) end,
    adds = { "header_length" }, removes = { "mtp_absent", "kv_scale_implicit" } },
  { "header length with the top bit", "experts", raw = function(dir)
    edit_file(dir, "model.safetensors", function(b) return ("\xff"):rep(8) .. b:sub(9) end) end,
    adds = { "header_length" }, removes = { "mtp_absent", "kv_scale_implicit" } },
  { "header is not JSON", "experts", raw = function(dir)
    edit_file(dir, "model.safetensors", function(b) return b:sub(1, 8) .. "[" .. b:sub(10) end) end,
    adds = { "header_json" }, removes = { "mtp_absent", "kv_scale_implicit" } },
  { "header starts with a space", "experts", raw = function(dir)
    edit_file(dir, "model.safetensors", function(b)
      local n = string.unpack("<I8", b)
      return string.pack("<I8", n + 8) .. (" "):rep(8) .. b:sub(9)
    end)
  end, adds = { "file_rejected" } },
  { "shape is a word", "experts", raw = edit_header(function(h) h[ROUTER].shape = "wide" end),
    adds = { "header_entry" }, removes = { "mtp_absent" },
    also = { "offset_hole" } },
  { "offsets absent", "experts", raw = edit_header(function(h) h[ROUTER].data_offsets = nil end),
    adds = { "header_entry" }, removes = { "mtp_absent" }, also = { "offset_hole" } },
  { "type of another program", "experts", raw = edit_header(function(h) h[ROUTER].dtype = "F8_E8M0" end),
    adds = { "dtype_unknown" }, removes = { "mtp_absent" }, also = { "offset_hole" } },
  { "shape larger than its bytes", "experts", raw = edit_header(function(h)
    h[ROUTER].shape = { 99, 128 } end), adds = { "shape_bytes" }, removes = { "mtp_absent" },
    also = { "offset_hole" } },
  { "huge shape", "experts", raw = edit_header(function(h) h[ROUTER].shape = { 1 << 40, 1 << 40 } end),
    adds = { "header_entry" }, removes = { "mtp_absent" }, also = { "offset_hole" } },
  { "offsets run backwards", "experts", raw = edit_header(function(h) local o = h[ROUTER].data_offsets;
    o[1], o[2] = o[2], o[1] end), adds = { "offset_range" },
    removes = { "mtp_absent" }, also = { "offset_hole" } },
  { "offsets outside the file", "experts", raw = edit_header(function(h)
    local o = h[ROUTER].data_offsets
    o[1], o[2] = o[1] + (1 << 40), o[2] + (1 << 40)
    h[DOWN .. S2].shape = { 2 }
  end), adds = { "offset_range", "shape_bytes" }, removes = { "mtp_absent" }, also = { "offset_hole" } },
  { "two tensors on the same bytes", "experts", raw = edit_header(function(h)
    h[DOWN .. ".weight"].data_offsets = h[UP .. ".weight"].data_offsets
    h[DOWN .. ".weight"].shape = h[UP .. ".weight"].shape end), adds = { "offset_overlap" },
      removes = { "mtp_absent" }, also = { "offset_hole", "tensor_shape" } },
  { "unused bytes at the end", "experts", raw = function(dir)
    edit_file(dir, "model.safetensors", function(b) return b .. ("\0"):rep(64) end) end,
    adds = { "offset_hole" } },
  { "no weight file", "experts", raw = function(dir) os.remove(dir .. "/model.safetensors") end,
    adds = { "no_weights" }, removes = { "mtp_absent", "kv_scale_implicit" } },
  { "weight file is a dangling link", "experts", raw = function(dir)
    os.remove(dir .. "/model.safetensors")
    assert(luv.fs_symlink("nowhere", dir .. "/model.safetensors"))
  end, adds = { "file_unreadable" }, removes = { "mtp_absent", "kv_scale_implicit" } },
  { "index is not JSON", "bf16", raw = function(dir) mutate.write(dir .. "/" .. INDEX, "{") end,
    adds = { "index_json", "index_absent" } },
  { "index without weight_map", "bf16", change = function(ck) ck.json[INDEX].weight_map = nil end,
    adds = { "index_json", "index_absent" } },
  { "index leaves the folder", "bf16", change = function(ck)
    ck.json[INDEX].weight_map[ROUTER] = "../model.safetensors" end, adds = { "index_path" } },
  { "shard absent", "bf16", raw = function(dir) os.remove(dir .. "/" .. SHARD2) end, adds = { "shard_missing" } },
  { "shard not in the index", "bf16", change = function(ck)
    ck.files["extra.safetensors"] = { order = { "x" }, tensors = { x = f32(1) } } end,
    adds = { "shard_unlisted" } },
  { "index names a tensor that is absent", "bf16", change = function(ck) del(ck, ROUTER) end,
    adds = { "index_tensor_missing", "tensor_missing", "index_total_size" } },
  { "index does not name a tensor", "bf16", change = function(ck)
    ck.json[INDEX].weight_map[ROUTER] = nil end, adds = { "index_tensor_unlisted" } },
  { "tensor in two shards", "bf16", change = function(ck)
    local _, home = file_of(ck, ROUTER)
    local other = ck.files[home == SHARD1 and SHARD2 or SHARD1]
    other.order[#other.order + 1], other.tensors[ROUTER] = ROUTER, get(ck, ROUTER)
    ck.json[INDEX].weight_map[ROUTER] = home
  end, adds = { "tensor_twice" } },
  { "wrong total_size", "bf16", change = function(ck) ck.json[INDEX].metadata.total_size = 1 end,
    adds = { "index_total_size" } },
  { "shards without index", "bf16", change = function(ck) ck.json[INDEX] = nil end, adds = { "index_absent" } },
  -- config
  { "no config", "bf16", change = function(ck) ck.json["config.json"] = nil end, adds = { "config_missing" } },
  { "config is not JSON", "bf16", raw = function(dir) mutate.write(dir .. "/config.json", "{\"a\":") end,
    adds = { "config_json" } },
  { "config is a list", "bf16", raw = function(dir) mutate.write(dir .. "/config.json", "[]") end,
    adds = { "config_json" } },
  { "head_dim absent", "bf16", change = function(ck) text(ck).head_dim = nil end, adds = { "config_key_missing" } },
  { "hidden_size is a word", "bf16", change = function(ck) text(ck).hidden_size = "128" end,
    adds = { "config_value" } },
  { "negative layers", "bf16", change = function(ck) text(ck).num_hidden_layers = -4 end,
    adds = { "config_value" } },
  { "a million layers", "bf16", change = function(ck) text(ck).num_hidden_layers = 1000000 end,
    adds = { "config_value" } },
  { "more experts per token than experts", "bf16", change = function(ck)
    text(ck).num_experts_per_tok = 5 end, adds = { "config_value" } },
  { "value heads not a multiple", "bf16", change = function(ck) text(ck).linear_num_key_heads = 3 end,
    adds = { "config_value" } },
  { "attention bias", "bf16", change = function(ck) text(ck).attention_bias = true end, adds = { "config_value" } },
  { "mrope sections do not add up", "bf16", change = function(ck)
    text(ck).rope_parameters.mrope_section = { 3, 3, 3 } end, adds = { "config_value" } },
  { "model_type of Qwen3-Next", "bf16", change = function(ck) config(ck).model_type = "qwen3_next" end,
    adds = { "config_model_type" } },
  { "layer_types too short", "bf16", change = function(ck) text(ck).layer_types[4] = nil end,
    adds = { "config_layer_types" } },
  { "layer_types with an unknown kind", "bf16", change = function(ck)
    text(ck).layer_types[2] = "sliding_attention" end, adds = { "config_layer_types" } },
  { "layer_types swapped", "bf16", change = function(ck) text(ck).layer_types[1] = "full_attention" end,
    adds = { "tensor_missing", "tensor_unexpected" } },
  { "an unknown kind of rope", "bf16", change = function(ck) text(ck).rope_parameters.rope_type = "llama3" end,
    adds = { "config_rope" } },
  { "linear rope without its factor", "bf16", change = function(ck)
    text(ck).rope_parameters.rope_type = "linear" end,
    adds = { "config_rope" } },
  { "yarn", "bf16", change = function(ck)
    text(ck).rope_parameters.rope_type, text(ck).rope_parameters.factor = "yarn", 4.0
  end, adds = {} },
  { "no rope_parameters", "bf16", change = function(ck) text(ck).rope_parameters = nil end,
    adds = { "config_rope" } },
  { "architectures absent", "bf16", change = function(ck) config(ck).architectures = nil end,
    adds = { "config_architectures" } },
  { "CausalLM over a nested config", "bf16", change = function(ck)
    config(ck).architectures = { "Qwen3_5MoeForCausalLM" } end,
    adds = { "arch_nesting", "arch_prefix" } },
  { "ConditionalGeneration over a flat config", "bf16", change = function(ck)
    flatten(ck)
    config(ck).architectures = { "Qwen3_5MoeForConditionalGeneration" }
  end, adds = { "arch_nesting", "vision_unannounced" } },
  { "ConditionalGeneration with names of CausalLM", "bf16", change = function(ck)
    to_flat_names(ck)
    config(ck).vision_config = nil
  end, adds = { "arch_prefix" } },
  { "CausalLM with names of ConditionalGeneration", "bf16", change = function(ck)
    flatten(ck)
    rename_all(ck, function(name) return not name:find "visual" and name or nil end)
  end, adds = { "arch_prefix" } },
  { "generation config is not JSON", "bf16", raw = function(dir)
    mutate.write(dir .. "/generation_config.json", "nonsense") end,
    adds = { "generation_config_json", "eos_chat" } },
  { "no end token", "bf16", change = function(ck)
    ck.json["generation_config.json"], text(ck).eos_token_id = nil, nil
  end, adds = { "eos_missing" } },
  { "end token outside the vocabulary", "bf16", change = function(ck)
    ck.json["generation_config.json"].eos_token_id = { 1019, 5000 } end, adds = { "eos_range" } },
  { "chat end token not an end token", "bf16", change = function(ck)
    ck.json["generation_config.json"].eos_token_id = 1017 end, adds = { "eos_chat" } },
  { "no tokenizer", "bf16", change = function(ck) ck.text["tokenizer.json"] = nil end,
    adds = { "tokenizer_missing" } },
  { "tokenizer without vocabulary", "bf16", change = function(ck) ck.text["tokenizer.json"] = "{}" end,
    adds = { "tokenizer_json" } },
  { "vocabulary larger than the embedding", "bf16", change = function(ck)
    for _, name in ipairs { P .. "embed_tokens.weight", "lm_head.weight" } do
      local t = get(ck, name)
      set(ck, name, { dtype = t.dtype, shape = { 1020, 128 }, data = t.data:sub(1, 1020 * 256) })
    end
    text(ck).vocab_size = 1020
    mutate.index(ck)
  end, adds = { "tokenizer_vocab" } },
  { "tied, and an lm_head", "bf16", change = function(ck) text(ck).tie_word_embeddings = true end,
    adds = { "tie_lm_head_stored" } },
  { "not tied, and no lm_head", "bf16", change = function(ck) del(ck, "lm_head.weight");
    mutate.index(ck) end, adds = { "tie_lm_head_missing" } },
  -- names and shapes
  { "a norm absent", "experts", change = gone(L0 .. "input_layernorm.weight"), adds = { "tensor_missing" } },
  { "the experts of a layer absent", "bf16", change = function(ck)
    del(ck, L0 .. "mlp.experts.gate_up_proj"); del(ck, L0 .. "mlp.experts.down_proj"); mutate.index(ck)
  end, adds = { "tensor_missing" } },
  { "the last expert absent", "experts", change = function(ck)
    rename_all(ck, function(name) return not name:find "layers%.0%.mlp%.experts%.3%." and name or nil end)
  end, adds = { "tensor_missing" } },
  { "router cut", "experts", change = put(ROUTER, function(t)
    return { dtype = t.dtype, shape = { 2, 128 }, data = t.data:sub(1, 512) } end),
    adds = { "tensor_shape" } },
  { "codes transposed", "experts", change = put(DOWN .. ".weight", function(t)
    return { dtype = "U8", shape = { t.shape[2], t.shape[1] }, data = t.data } end),
    adds = { "tensor_shape" } },
  { "router as integers", "experts", change = put(ROUTER, function(t)
    return { dtype = "I32", shape = t.shape, data = t.data .. t.data } end), adds = { "tensor_dtype" } },
  { "a tensor too many", "experts", change = function(ck)
    set(ck, L0 .. "linear_attn.in_proj_a.bias", noise(1, 4)) end, adds = { "tensor_unexpected" } },
  { "one tensor under the other prefix", "experts", change = function(ck)
    rename_all(ck, function(name) return name == ROUTER and "model.layers.0.mlp.gate.weight" or name end)
  end, adds = { "names_mixed" } },
  { "merged in_proj of Qwen3-Next", "bf16", change = function(ck)
    local base = L0 .. "linear_attn."
    local qkv, z, a, b = get(ck, base .. "in_proj_qkv.weight"), get(ck, base .. "in_proj_z.weight"),
      get(ck, base .. "in_proj_a.weight"), get(ck, base .. "in_proj_b.weight")
    set(ck, base .. "in_proj_qkvz.weight", { dtype = "BF16", shape = { 384, 128 }, data = qkv.data .. z.data })
    set(ck, base .. "in_proj_ba.weight", { dtype = "BF16", shape = { 8, 128 }, data = b.data .. a.data })
    for _, part in ipairs { "qkv", "z", "a", "b" } do del(ck, base .. "in_proj_" .. part .. ".weight") end
    mutate.index(ck)
  end, adds = { "names_qwen3_next" } },
  { "names of MLX", "bf16", change = function(ck)
    rename_all(ck, function(name) return (name:gsub("^model%.language_model%.",
      "language_model.model."):gsub("^model%.visual", "vision_tower")) end)
  end, adds = { "names_mlx", "vision_absent" } },
  { "names of GGUF", "bf16", change = function(ck)
    rename_all(ck, function(name)
      return not name:find "visual" and (name:gsub("^model%.language_model%.layers",
        "blk"):gsub("^model%.language_model%.embed_tokens", "token_embd")
        :gsub("^model%.language_model%.norm", "output_norm"):gsub("^lm_head", "output")) or nil
    end)
  end, adds = { "names_gguf", "vision_absent" } },
  { "conv1d as MLX stores it", "bf16", change = put(L0 .. "linear_attn.conv1d.weight", function(t)
    return { dtype = t.dtype, shape = { 256, 4, 1 }, data = t.data } end), adds = { "conv_layout" } },
  { "norms with +1 baked in", "experts", change = shift_norms, adds = { "norm_shifted" } },
  { "MTP announced and absent", "bf16", change = function(ck)
    rename_all(ck, function(name) return not name:find "^mtp%." and name or nil end) end,
    adds = { "mtp_absent" } },
  { "MTP stored and not announced", "bf16", change = function(ck) text(ck).mtp_num_hidden_layers = 0 end,
    adds = { "mtp_unannounced" } },
  { "MTP half there", "bf16", change = function(ck) del(ck, "mtp.fc.weight"); mutate.index(ck) end,
    adds = { "tensor_missing" } },
  { "vision announced and absent", "bf16", change = function(ck)
    rename_all(ck, function(name) return not name:find "visual" and name or nil end) end,
    adds = { "vision_absent" } },
  { "vision stored and not announced", "bf16", change = function(ck) config(ck).vision_config = nil end,
    adds = { "vision_unannounced" } },
  -- labels
  { "hf_quant_config is a list", "experts", raw = function(dir)
    mutate.write(dir .. "/hf_quant_config.json", "[]") end, adds = { "quant_config_json" } },
  { "a method of another family", "experts", change = function(ck)
    label(ck).quant_method = "bitsandbytes" end, adds = { "label_unknown" },
    removes = { "kv_scale_implicit" } },
  { "an algorithm nobody knows", "experts", change = function(ck) label(ck).quant_algo,
    hf(ck).quant_algo = "NVFP3", "NVFP3" end, adds = { "label_unknown" } },
  { "labelled NVFP4, stored BF16", "bf16", change = function(ck)
    config(ck).quantization_config = { quant_method = "modelopt", quant_algo = "NVFP4",
    ignore = { "lm_head" } } end,
    adds = { "label_without_packed" } },
  { "packed without a label", "experts", change = function(ck) config(ck).quantization_config,
    ck.json["hf_quant_config.json"] = nil, nil end, adds = { "packed_without_label" },
    removes = { "kv_scale_implicit" } },
  { "compressed-tensors with names of ModelOpt", "ct", change = modelopt_names,
    adds = { "label_ct_modelopt_names" } },
  { "modelopt with names of compressed-tensors", "experts", change = ct_names,
    adds = { "label_modelopt_ct_names" } },
  { "weight-only label over input scales", "experts", change = function(ck) label(ck).quant_algo,
    hf(ck).quant_algo = "W4A16_NVFP4", "W4A16_NVFP4" end, adds = { "label_weight_only_inputs" } },
  { "weight-only label over input scales, compressed-tensors", "ct", change = function(ck)
    label(ck).config_groups.group_0.input_activations = nb.null end,
    adds = { "label_weight_only_inputs" } },
  { "W4A4 label without input scales", "weights", change = function(ck) label(ck).quant_algo,
    hf(ck).quant_algo = "NVFP4", "NVFP4" end, adds = { "label_w4a4_no_inputs" } },
  { "the two quantization configs disagree on the algorithm", "experts", change = function(ck)
    hf(ck).quant_algo = "FP8" end, adds = { "label_disagree" } },
  { "the two quantization configs disagree on the list", "experts", change = function(ck)
    table.insert(hf(ck).exclude_modules, "nothing") end, adds = { "label_disagree" } },
  { "the two quantization configs disagree on the KV cache", "experts", change = function(ck)
    hf(ck).kv_cache_quant_algo = nb.null end, adds = { "label_kv_one_file" } },
  { "hf_quant_config beside compressed-tensors", "ct", change = function(ck)
    ck.json["hf_quant_config.json"] = { quantization = { quant_algo = "NVFP4" } } end,
    adds = { "label_two" } },
  { "mixed precision lists a plain layer", "experts", change = function(ck)
    local layers = { [L0 .. "linear_attn.out_proj"] = { quant_algo = "FP8" } }
    for i = 0, 3 do layers[P .. "layers." .. i .. ".mlp.experts"] = { quant_algo = "NVFP4", group_size = 16 } end
    for _, q in ipairs { label(ck), hf(ck) } do q.quant_algo, q.quantized_layers = "MIXED_PRECISION", layers end
  end, adds = { "mixed_listed_plain" } },
  { "mixed precision does not list a packed layer", "experts", change = function(ck)
    local layers = {}
    for i = 0, 2 do layers[P .. "layers." .. i .. ".mlp.experts"] = { quant_algo = "NVFP4", group_size = 16 } end
    for _, q in ipairs { label(ck), hf(ck) } do q.quant_algo, q.quantized_layers = "MIXED_PRECISION", layers end
  end, adds = { "mixed_unlisted_packed" } },
  -- exclude lists
  { "excluded but packed", "experts", change = enlist(P .. "layers.0.mlp.experts*"), adds = { "exclude_packed" } },
  { "a plain expert, not excluded", "experts", change = function(ck) unpack_module(ck, DOWN, 128, 64) end,
    adds = { "exclude_experts" } },
  { "shared expert not excluded", "experts", change = unlist "shared_expert%*",
    adds = { "exclude_shared_expert" } },
  { "linear attention not excluded", "experts", change = unlist "linear_attn",
    adds = { "exclude_linear_attn", "exclude_in_proj_ab" } },
  { "in_proj_a not excluded", "default", change = unlist "in_proj_a", adds = { "exclude_in_proj_ab" } },
  { "attention not excluded", "experts", change = unlist "self_attn", adds = { "exclude_self_attn" } },
  { "router not excluded", "experts", change = unlist "mlp%.gate$", adds = { "exclude_router" } },
  { "shared_expert_gate not excluded", "default", change = unlist "shared_expert_gate",
    adds = { "exclude_shared_expert_gate" } },
  { "lm_head not excluded", "experts", change = unlist "lm_head", adds = { "exclude_lm_head" } },
  { "MTP not excluded", "ct", change = unlist "mtp", adds = { "exclude_mtp" } },
  { "vision not excluded", "experts", change = unlist "visual", adds = { "exclude_visual" } },
  { "list over the other prefix", "experts", change = function(ck)
    lists(ck, function(list) for i, entry in ipairs(list) do
      list[i] = entry:gsub("^model%.language_model%.", "model.") end end)
  end, adds = { "exclude_namespace" } },
  { "an entry that swallows the experts as a substring", "experts", change = enlist "mlp.exp",
    adds = { "exclude_substring" } },
  { "experts.1 swallows experts.10", "wide", change = function(ck)
    for _, proj in ipairs { "gate_proj", "up_proj" } do
      unpack_module(ck, L0 .. "mlp.experts.1." .. proj, 64, 128)
    end
    unpack_module(ck, L0 .. "mlp.experts.1.down_proj", 128, 64)
    enlist(L0 .. "mlp.experts.1")(ck)
  end, adds = { "exclude_layer_prefix" } },
  { "layers.1 swallows layers 10 and 11", "deep", change = function(ck)
    local text_config = text(ck)
    for e = 0, 3 do
      for _, proj in ipairs { "gate_proj", "up_proj", "down_proj" } do
        local is_down = proj == "down_proj"
        unpack_module(ck, ("%slayers.1.mlp.experts.%d.%s"):format(P, e, proj),
          is_down and text_config.hidden_size or text_config.moe_intermediate_size,
          is_down and text_config.moe_intermediate_size or text_config.hidden_size)
      end
    end
    enlist(P .. "layers.1")(ck)
  end, adds = { "exclude_layer_prefix" } },
  { "an entry that is no pattern", "ct", change = enlist "re:(", adds = { "exclude_pattern" } },
  -- scales
  { "block scales absent", "experts", change = gone(DOWN .. WS), adds = { "weight_scale_missing" } },
  { "block scales of another shape", "experts", change = put(DOWN .. WS, function(t)
    return { dtype = t.dtype, shape = { 128, 2 }, data = t.data:sub(1, 256) } end),
    adds = { "weight_scale_shape" } },
  { "block scales swizzled and padded", "experts", change = put(GATE .. WS, function(t)
    return { dtype = t.dtype, shape = { 128, 8 }, data = t.data .. t.data } end),
    adds = { "weight_scale_swizzled" } },
  { "block scales as one row", "experts", change = put(DOWN .. WS, function(t)
    return { dtype = t.dtype, shape = { #t.data }, data = t.data } end),
    adds = { "weight_scale_swizzled" } },
  { "block scales as U8", "experts", change = put(DOWN .. WS, function(t)
    return { dtype = "U8", shape = t.shape, data = t.data } end), adds = { "weight_scale_dtype" } },
  { "tensor scale absent", "experts", change = gone(DOWN .. S2), adds = { "weight_scale_2_missing" } },
  { "tensor scale absent, compressed-tensors", "ct", change = gone(DOWN .. ".weight_global_scale"),
    adds = { "weight_scale_2_missing" } },
  { "tensor scale zero", "experts", change = value(DOWN .. S2, 0), adds = { "weight_scale_2_value" } },
  { "tensor scale negative", "experts", change = value(DOWN .. S2, -1e-4), adds = { "weight_scale_2_value" } },
  { "tensor scale NaN", "experts", change = value(DOWN .. S2, 0 / 0), adds = { "weight_scale_2_value" } },
  { "tensor scale of 1", "experts", change = value(DOWN .. S2, 1), adds = { "weight_scale_2_absurd" } },
  { "tensor scales inverted", "experts", change = all_scalars("weight_scale_2$", function(v)
    return 1 / v end), adds = { "global_scale_inverted" } },
  { "tensor scale inverted, compressed-tensors", "ct",
    change = value(DOWN .. ".weight_global_scale", 1e-4), adds = { "global_scale_inverted" } },
  { "tensor scale of two values", "experts", change = function(ck)
    set(ck, DOWN .. S2, { dtype = "F32", shape = { 2 }, data = string.pack("<ff", 1e-4, 1e-4) }) end,
    adds = { "scalar_shape" } },
  { "gate and up with unequal tensor scales", "experts", change = scaled(UP .. S2, 1.5),
    adds = { "gate_up_weight_scale" } },
  { "gate and up with unequal tensor scales, compressed-tensors", "ct",
    change = scaled(UP .. ".weight_global_scale", 1.5), adds = { "gate_up_weight_scale" } },
  { "q and k with unequal tensor scales", "default", change = scaled(P .. "layers.3.self_attn.k_proj"
    .. S2, 1.5), adds = { "qkv_weight_scale" } },
  { "in_proj_qkv and z with unequal tensor scales", "default",
    change = scaled(L0 .. "linear_attn.in_proj_z" .. S2, 1.5), adds = { "qkv_weight_scale" } },
  { "input scale of one expert absent", "experts", change = gone(DOWN .. IS), adds = { "input_scale_missing" } },
  { "input scale zero", "experts", change = value(DOWN .. IS, 0), adds = { "input_scale_value" } },
  { "input scale NaN", "experts", change = value(DOWN .. IS, 0 / 0), adds = { "input_scale_value" } },
  { "input scale infinite", "experts", change = value(DOWN .. IS, 1 / 0), adds = { "input_scale_value" } },
  { "input scales inverted", "experts", change = all_scalars("input_scale$", function(v)
    return 1 / v end), adds = { "input_scale_inverted" } },
  { "input scales inverted, compressed-tensors", "ct",
    change = all_scalars("input_global_scale$", function(v) return 1 / v end),
    adds = { "input_scale_inverted" } },
  { "input scale of 1e-9", "default", change = value(L0 .. "linear_attn.out_proj" .. IS, 1e-9),
    adds = { "input_scale_absurd" } },
  { "gate and up with unequal input scales", "experts", change = scaled(UP .. IS, 1.5),
    adds = { "gate_up_input_scale" } },
  { "q and v with unequal input scales", "default", change = scaled(P .. "layers.3.self_attn.v_proj"
    .. IS, 1.5), adds = { "qkv_input_scale" } },
  { "an expert at the fall-back", "experts", change = value(DOWN .. IS, 0.5 / 2688),
    adds = { "experts_uncalibrated" } },
  { "two layers at the fall-back", "experts", change = function(ck)
    for layer = 0, 1 do
      each_expert(ck, layer, function(base) set(ck, base .. "down_proj" .. IS, f32(0.5 / 2688)) end)
    end
  end, adds = { "experts_uncalibrated" } },
  { "an expert far off its layer", "experts", change = scaled(DOWN .. IS, 300),
    adds = { "experts_input_outlier" } },
  { "block scales zero", "experts", change = put(DOWN .. WS, function(t)
    return { dtype = t.dtype, shape = t.shape, data = ("\0"):rep(9) .. t.data:sub(10) } end),
    adds = { "block_scale_zero" } },
  { "a block scale NaN", "experts", change = put(DOWN .. WS, function(t)
    return { dtype = t.dtype, shape = t.shape, data = "\x7f" .. t.data:sub(2) } end),
    adds = { "block_scale_nan" } },
  { "a block scale negative", "experts", change = put(DOWN .. WS, function(t)
    return { dtype = t.dtype, shape = t.shape, data = string.char(t.data:byte() | 0x80)
    .. t.data:sub(2) } end),
    adds = { "block_scale_negative" } },
  { "block scales saturated", "experts", change = put(DOWN .. WS, function(t) return fill(t, "\x7e") end),
    adds = { "block_scale_saturated" } },
  { "block scales far below the range", "experts", change = put(DOWN .. WS, function(t)
    return fill(t, "\x40") end), adds = { "block_scale_unused" } },
  { "an all-zero tensor as ModelOpt writes it", "experts",
    change = edit { put(DOWN .. WS, function(t) return fill(t, "\x7f") end), value(DOWN .. S2, 0),
    put(DOWN .. ".weight",
    function(t) return fill(t, "\x77") end) }, adds = { "block_scale_nan", "weight_scale_2_value" } },
  { "pre_quant_scale", "experts", change = function(ck)
    set(ck, DOWN .. ".pre_quant_scale", noise(1, 64)) end, adds = { "pre_quant_scale" } },
  { "SVDQuant", "experts", change = function(ck)
    set(ck, DOWN .. ".svdquant_lora_a", noise(4, 64)); set(ck, DOWN .. ".svdquant_lora_b", noise(128, 4))
  end, adds = { "svdquant" } },
  { "fused 3-D packed experts", "experts", change = fuse_experts, adds = { "fused_experts" } },
  { "FP8 scales absent", "fp8", change = function(ck) del(ck, DOWN .. ".weight_scale_inv");
    mutate.index(ck) end, adds = { "fp8_scale_missing" } },
  { "FP8 scales of another shape", "fp8", change = function(ck)
    set(ck, DOWN .. ".weight_scale_inv", noise(2, 2)); mutate.index(ck) end,
    adds = { "fp8_scale_shape" } },
  { "FP8 scale negative", "fp8", change = put(DOWN .. ".weight_scale_inv", function(t)
    return { dtype = t.dtype, shape = t.shape, data = bf16(-0.01):rep(#t.data // 2) } end),
    adds = { "fp8_scale_value" } },
  { "FP8 scale NaN", "fp8", change = put(L0 .. "linear_attn.in_proj_qkv.weight_scale_inv", function(t)
    return fill(t, "\xff") end), adds = { "fp8_scale_value" } },
  -- KV cache
  { "KV scale of one layer absent", "default", change = gone(P .. "layers.3.self_attn.v_proj.v_scale"),
    adds = { "kv_scale_missing" } },
  { "KV scales not announced", "default", change = function(ck) label(ck).kv_cache_scheme,
    hf(ck).kv_cache_quant_algo = nil, nb.null end, adds = { "kv_scale_unannounced" },
    removes = { "kv_scale_dropped" } },
  { "KV scale zero", "default", change = value(P .. "layers.3.self_attn.k_proj.k_scale", 0),
    adds = { "kv_scale_value" } },
  { "KV scale absurd", "default", change = value(P .. "layers.3.self_attn.k_proj.k_scale", 1e6),
    adds = { "kv_scale_absurd" } },
  { "KV scales removed", "default", change = function(ck)
    rename_all(ck, function(name) return not name:find "[kv]_scale$" and name or nil end) end,
    adds = { "kv_scale_implicit" },
    removes = { "kv_scale_dropped" } },
  -- values
  { "a plain matrix zero", "experts", change = put(L0 .. "linear_attn.out_proj.weight", function(t)
    return fill(t, "\0") end), adds = { "tensor_zero" } },
  { "a packed matrix zero", "experts", change = put(DOWN .. ".weight", function(t)
    return fill(t, "\x80") end), adds = { "tensor_zero" } },
  { "one expert of a stack zero", "bf16", change = put(L0 .. "mlp.experts.down_proj", function(t)
    local part = #t.data // 4
    return { dtype = t.dtype, shape = t.shape, data = t.data:sub(1,
      part) .. ("\0"):rep(part) .. t.data:sub(2 * part + 1) }
  end), adds = { "tensor_zero" } },
  { "NaN in BF16", "experts", change = put(ROUTER, function(t)
    return { dtype = t.dtype, shape = t.shape, data = "\xc0\x7f" .. t.data:sub(3) } end),
    adds = { "tensor_nan" } },
  { "infinity in BF16", "bf16", change = put("lm_head.weight", function(t)
    return { dtype = t.dtype, shape = t.shape, data = t.data:sub(1, -3) .. "\x80\x7f" } end),
    adds = { "tensor_nan" } },
  { "NaN in FP8", "fp8", change = put(DOWN .. ".weight", function(t)
    return { dtype = t.dtype, shape = t.shape, data = "\x7f" .. t.data:sub(2) } end),
    adds = { "tensor_nan" } },
}

-- A sparse checkpoint of the extents of Qwen3.6-35B-A3B, experts-only as ModelOpt writes it: real headers
-- and scalars, holes for data (24 GB, 125,000 tensors). shards > 1 splits it and writes an index.
function mutate.full_size(dir, shards, source, layers_n)
  local layers, experts, h, w = layers_n or 40, 256, 2048, 512
  local cfg = assert(nb.json.decode(mutate.read(source .. "/config.json")))
  local t = cfg.text_config
  for k, v in pairs { num_hidden_layers = layers, num_experts = experts, num_experts_per_tok = 8,
      hidden_size = h, head_dim = 256, num_attention_heads = 16,
    num_key_value_heads = 2, linear_num_key_heads = 16, linear_num_value_heads = 32,
      linear_key_head_dim = 128, linear_value_head_dim = 128,
    moe_intermediate_size = w, shared_expert_intermediate_size = w, vocab_size = 248320 } do t[k] = v end
  t.layer_types, t.rope_parameters.mrope_section, cfg.vision_config = {}, { 11, 11, 10 }, nil
  for i = 1, layers do t.layer_types[i] = i % 4 == 0 and "full_attention" or "linear_attention" end
  local list = { "lm_head", "model.visual*", "mtp*" }
  local rows = {}
  local function add(name, dtype, shape, scalar) rows[#rows + 1] = { name, dtype, shape, scalar } end
  add("lm_head.weight", "BF16", { 248320, h })
  add(P .. "embed_tokens.weight", "BF16", { 248320, h })
  add(P .. "norm.weight", "BF16", { h })
  local function attention(p)
    add(p .. "q_proj.weight", "BF16", { 8192, h }); add(p .. "k_proj.weight", "BF16", { 512, h });
      add(p .. "v_proj.weight", "BF16", { 512, h })
    add(p .. "o_proj.weight", "BF16", { h, 4096 }); add(p .. "q_norm.weight", "BF16", { 256 });
      add(p .. "k_norm.weight", "BF16", { 256 })
  end
  local function rest(p)
    add(p .. "input_layernorm.weight", "BF16", { h }); add(p .. "post_attention_layernorm.weight", "BF16", { h })
    add(p .. "mlp.gate.weight", "BF16", { experts, h }); add(p .. "mlp.shared_expert_gate.weight", "BF16", { 1, h })
    add(p .. "mlp.shared_expert.gate_proj.weight", "BF16", { w, h });
      add(p .. "mlp.shared_expert.up_proj.weight", "BF16", { w, h })
    add(p .. "mlp.shared_expert.down_proj.weight", "BF16", { h, w })
  end
  for i = 0, layers - 1 do
    local p = P .. "layers." .. i .. "."
    rest(p)
    if t.layer_types[i + 1] == "full_attention" then
      attention(p .. "self_attn.")
      list[#list + 1] = p .. "self_attn*"
    else
      local q = p .. "linear_attn."
      add(q .. "in_proj_qkv.weight", "BF16", { 8192, h });
        add(q .. "in_proj_z.weight", "BF16", { 4096, h }); add(q .. "in_proj_a.weight", "BF16", { 32, h })
      add(q .. "in_proj_b.weight", "BF16", { 32, h }); add(q .. "conv1d.weight", "BF16", { 8192, 1, 4 });
        add(q .. "A_log", "BF16", { 32 })
      add(q .. "dt_bias", "BF16", { 32 }); add(q .. "norm.weight", "BF16", { 128 });
        add(q .. "out_proj.weight", "BF16", { h, 4096 })
      list[#list + 1] = p .. "linear_attn*"
    end
    for _, name in ipairs { "mlp.gate", "mlp.shared_expert*", "mlp.shared_expert_gate" } do
      list[#list + 1] = p .. name
    end
    for e = 0, experts - 1 do
      for _, proj in ipairs { "down_proj", "gate_proj", "up_proj" } do
        local q = p .. "mlp.experts." .. e .. "." .. proj
        local n, k = proj == "down_proj" and h or w, proj == "down_proj" and w or h
        add(q .. IS, "F32", {}, 0.01); add(q .. ".weight", "U8", { n, k // 2 });
          add(q .. WS, "F8_E4M3", { n, k // 16 }); add(q .. S2, "F32", {}, 1e-4)
      end
    end
  end
  attention "mtp.layers.0.self_attn."
  rest "mtp.layers.0."
  add("mtp.layers.0.mlp.experts.gate_up_proj", "BF16", { experts, 2 * w, h });
    add("mtp.layers.0.mlp.experts.down_proj", "BF16", { experts, h, w })
  add("mtp.fc.weight", "BF16", { h, 2 * h })
  for _, name in ipairs { "pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm" } do
    add("mtp." .. name .. ".weight", "BF16", { h })
  end

  luv.fs_mkdir(dir, 493)
  local index, total, sizes = {}, 0, 0
  local per_shard = (#rows + shards - 1) // shards
  for shard = 1, shards do
    local name = shards == 1 and "model.safetensors" or ("model-%05d-of-%05d.safetensors"):format(shard, shards)
    local parts, scalars, at = {}, {}, 0
    for i = (shard - 1) * per_shard + 1, math.min(shard * per_shard, #rows) do
      local tensor, dtype, shape, scalar = table.unpack(rows[i], 1, 4)
      local bytes = SIZES[dtype]
      for _, d in ipairs(shape) do bytes = bytes * d end
      parts[#parts + 1] = ('"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}'):format(tensor,
        dtype, table.concat(shape, ","), at, at + bytes)
      if scalar then scalars[#scalars + 1] = { at, scalar } end
      index[tensor] = name
      at, total = at + bytes, total + bytes
    end
    local header = "{" .. table.concat(parts, ",") .. "}"
    header = header .. (" "):rep(-#header % 8)
    local file = assert(io.open(dir .. "/" .. name, "wb"))
    file:write(string.pack("<I8", #header), header)
    for _, s in ipairs(scalars) do file:seek("set", 8 + #header + s[1]); file:write(string.pack("<f", s[2])) end
    file:close()
    local fd = assert(luv.fs_open(dir .. "/" .. name, "r+", 420))
    assert(luv.fs_ftruncate(fd, 8 + #header + at))
    luv.fs_close(fd)
    sizes = sizes + 8 + #header + at
  end
  if shards > 1 then
    mutate.write(dir .. "/" .. INDEX, nb.json.encode { metadata = { total_size = total }, weight_map = index })
  end
  cfg.quantization_config.ignore = list
  mutate.write(dir .. "/config.json", nb.json.encode(cfg))
  mutate.write(dir .. "/hf_quant_config.json", nb.json.encode { producer = { name = "modelopt",
    version = "0.43.0" },
    quantization = { quant_algo = "NVFP4", kv_cache_quant_algo = "FP8", group_size = 16, exclude_modules = list } })
  for _, name in ipairs { "tokenizer.json", "generation_config.json" } do
    mutate.write(dir .. "/" .. name, mutate.read(source .. "/" .. name))
  end
  return #rows, sizes
end

-- Twelve layers made of four, each layer copied from the one four before it.
local function deepen(ck)
  local kinds = text(ck).layer_types
  for layer = 4, 11 do
    kinds[layer + 1] = kinds[layer - 3]
    local from, to = P .. "layers." .. layer - 4 .. ".", P .. "layers." .. layer .. "."
    for _, file in pairs(ck.files) do
      for i = 1, #file.order do
        local name = file.order[i]
        if name:sub(1, #from) == from then
          local new = to .. name:sub(#from + 1)
          file.order[#file.order + 1], file.tensors[new] = new, file.tensors[name]
        end
      end
    end
    lists(ck, function(list)
      for i = 1, #list do
        if list[i]:sub(1, #from) == from then list[#list + 1] = to .. list[i]:sub(#from + 1) end
      end
    end)
  end
  text(ck).num_hidden_layers = 12
  return ck
end

-- A matrix as FP8 with scales made by scale(n): { dtype, shape, data } of weight_scale.
local function to_fp8(ck, module, parts, scale)
  local name = file_of(ck, module .. ".weight") and module .. ".weight" or module .. ".weight_packed"
  local t = get(ck, name)
  local n, k = t.shape[1], t.shape[2] * (t.dtype == "U8" and 2 or 1)
  for _, part in ipairs(parts) do del(ck, module .. "." .. part) end
  set(ck, module .. ".weight", { dtype = "F8_E4M3", shape = { n, k }, data = ("\x30\xb1\x25\x38"):rep(n * k // 4) })
  set(ck, module .. ".weight_scale", scale(n))
end

local MODELOPT_PARTS = { "weight", "weight_scale", "weight_scale_2" }

-- The pack NVIDIA publishes: NVFP4 experts labelled W4A16 with input scales, FP8 attention, KV cache
-- named in one file only.
local function mixed_modelopt(ck)
  local layers = {}
  for i = 0, text(ck).num_hidden_layers - 1 do
    local p = P .. "layers." .. i .. "."
    layers[p .. "mlp.experts"] = { quant_algo = "W4A16_NVFP4", group_size = 16 }
    for _, proj in ipairs { "gate_proj", "up_proj", "down_proj" } do
      layers[p .. "mlp.shared_expert." .. proj] = { quant_algo = "W4A16_NVFP4", group_size = 16 }
    end
    for _, module in ipairs { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
        "self_attn.o_proj", "linear_attn.in_proj_qkv",
      "linear_attn.in_proj_z", "linear_attn.out_proj" } do
      if file_of(ck, p .. module .. ".weight") then
        to_fp8(ck, p .. module, MODELOPT_PARTS, function() return f32(0.01) end)
        layers[p .. module] = { quant_algo = "FP8" }
      end
    end
  end
  for _, q in ipairs { label(ck), hf(ck) } do
    q.quant_algo, q.quantized_layers, q.ignore, q.exclude_modules = "MIXED_PRECISION", layers, nil, nil
  end
  label(ck).kv_cache_scheme = nil
end

-- Two groups of compressed-tensors: FP8 with a scale a row for attention, NVFP4 for the experts, nothing
-- else a target.
local function mixed_ct(ck)
  local q = label(ck)
  local nvfp4 = q.config_groups.group_0
  nvfp4.targets = { "re:.*mlp.experts.*" }
  q.config_groups = { group_0 = { format = "float-quantized", targets = { "re:.*self_attn.(q|k|v|o)_proj$" },
    weights = { num_bits = 8, type = "float", strategy = "channel" },
      input_activations = { num_bits = 8, type = "float", dynamic = true } },
    group_1 = nvfp4 }
  q.format, q.ignore = "mixed-precision", { "lm_head", "re:^mtp.*" }
  for _, proj in ipairs { "q_proj", "k_proj", "v_proj", "o_proj" } do
    to_fp8(ck, P .. "layers.3.self_attn." .. proj, { "weight" }, function(n)
      return { dtype = "BF16", shape = { n, 1 }, data = bf16(0.01):rep(n) }
    end)
  end
end

local function unstack(ck)
  local t = text(ck)
  for layer = 0, t.num_hidden_layers - 1 do
    local base = P .. "layers." .. layer .. ".mlp.experts."
    local fused, down = get(ck, base .. "gate_up_proj").data, get(ck, base .. "down_proj").data
    local half, whole = t.moe_intermediate_size * t.hidden_size * 2, 4 * t.moe_intermediate_size * t.hidden_size
    for e = 0, t.num_experts - 1 do
      local function part(name, data, n, k)
        set(ck, base .. e .. "." .. name .. ".weight", { dtype = "BF16", shape = { n, k }, data = data })
      end
      part("gate_proj", fused:sub(e * whole + 1, e * whole + half), t.moe_intermediate_size, t.hidden_size)
      part("up_proj", fused:sub(e * whole + half + 1, (e + 1) * whole), t.moe_intermediate_size, t.hidden_size)
      part("down_proj", down:sub(e * half + 1, (e + 1) * half), t.hidden_size, t.moe_intermediate_size)
    end
    del(ck, base .. "gate_up_proj")
    del(ck, base .. "down_proj")
  end
  mutate.index(ck)
end

-- Good checkpoints of other kinds than the recorded ones: name, base, change, all ids that are true of them.
mutate.variants = {
  { "mixed precision of ModelOpt", "default", mixed_modelopt,
    { "kv_scale_dropped", "label_kv_one_file", "label_weight_only_inputs", "mtp_absent" } },
  { "mixed precision of compressed-tensors", "ct", mixed_ct, {} },
  { "KV scales of compressed-tensors in BF16", "ct_linear", function(ck)
    label(ck).kv_cache_scheme = { num_bits = 8, type = "float", strategy = "tensor", dynamic = false,
      symmetric = true }
    for _, part in ipairs { "k_scale", "v_scale" } do
      set(ck, P .. "layers.3.self_attn." .. part, { dtype = "BF16", shape = { 1 }, data = bf16(0.02) })
    end
  end, { "kv_scale_dropped" } },
  { "text only", "experts", function(ck)
    flatten(ck)
    to_flat_names(ck)
    lists(ck, function(list) for i, entry in ipairs(list) do
      list[i] = entry:gsub("^model%.language_model%.", "model.") end end)
  end, { "kv_scale_implicit", "mtp_absent" } },
  { "experts one by one in BF16", "bf16", unstack, {} },
  { "the scales of ModelOpt as one-element lists", "experts", function(ck)
    for _, file in pairs(ck.files) do
      for name, t in pairs(file.tensors) do
        if name:find "scale_2$" or name:find "input_scale$" then
          file.tensors[name] = { dtype = "F32", shape = { 1 }, data = t.data }
        end
      end
    end
  end, { "kv_scale_implicit", "mtp_absent" } },
}

-- A base checkpoint, stripped; "wide" keeps all 16 experts of one layer, "deep" has twelve layers.
function mutate.base(name, fixtures)
  local wide, deep = name == "wide", name == "deep"
  local ck = mutate.load(fixtures .. "/" .. mutate.bases[(wide or deep) and "experts" or name])
  mutate.strip(ck, { layers = wide and 1 or 4, experts = wide and 16 or 4 })
  return deep and deepen(ck) or ck
end

-- The mutated checkpoint of a row, written to dir (which must not exist).
function mutate.apply(row, base, dir)
  local ck = mutate.copy(base)
  if row.change then row.change(ck) end
  mutate.save(ck, dir)
  if row.raw then row.raw(dir) end
end

return mutate
