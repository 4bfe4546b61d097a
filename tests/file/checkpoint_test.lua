-- The bindings of checkpoints and single files: what Lua gets is what is stored, misuse raises, the world's faults are returned.
local lu, nb = require "luaunit", require "nibble"
local tiny = NIBBLE_ROOT .. "/build/golden/tiny/"
local modelopt = tiny .. "modelopt/nvfp4_default-kv_fp8"

local function scratch()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir " .. path))
  return setmetatable({ path = path }, { __close = function() os.execute("rm -rf " .. path) end })
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

-- A folder with n small tensors in one file.
local function write_many(folder, n)
  local rows = {}
  for i = 1, n do
    rows[i] = ('"model.layers.%d.x.weight":{"dtype":"BF16","shape":[1,2],"data_offsets":[%d,%d]}'):format(i, 4 * i - 4, 4 * i)
  end
  local header = "{" .. table.concat(rows, ",") .. "}"
  write(folder .. "/model.safetensors", string.pack("<I8", #header) .. header .. ("\0"):rep(4 * n))
  write(folder .. "/config.json", "{}")
end

TestCheckpoint = {}

function TestCheckpoint:test_what_a_folder_says()
  local c <close> = assert(nb.checkpoint(modelopt))
  lu.assertEquals(c:path(), modelopt)
  lu.assertEquals(c:format(), "modelopt")
  lu.assertEquals(c:prefix(), "model.language_model.")
  lu.assertStrMatches(c:id(), "%x+")
  lu.assertEquals(#c:id(), 32)
  lu.assertEquals(nb.json.decode(c:config()).text_config.num_experts, 16)
  lu.assertEquals(nb.json.decode(c:quant_config()).quantization.quant_algo, "NVFP4")
  lu.assertTrue(c:kv_is_fp8())
  local k, v = c:kv_scales "layers.3"
  lu.assertEquals(k, 0.015625)
  lu.assertAlmostEquals(v, 0.00453404057770967, 1e-10)
  lu.assertEquals({ c:kv_scales "layers.0" }, { 1.0, 1.0 })
  lu.assertStrContains(tostring(c), "modelopt, 1848 tensors")
  local base <close> = assert(nb.checkpoint(tiny .. "bf16"))
  lu.assertNil(base:quant_config())
  lu.assertEquals(base:format(), "bf16")
  local block <close> = assert(nb.checkpoint(tiny .. "fp8_block"))
  lu.assertEquals(block:format(), "fp8_block")
  local ct <close> = assert(nb.checkpoint(tiny .. "ct/linear_w4a4"))
  lu.assertEquals(ct:format(), "compressed-tensors")
end

function TestCheckpoint:test_entries()
  local c <close> = assert(nb.checkpoint(tiny .. "bf16"))
  local list = c:entries()
  lu.assertEquals(#list, c:count())
  local files = {}
  for i, e in ipairs(list) do
    lu.assertTrue(i == 1 or list[i - 1].name < e.name)
    lu.assertEquals(c:find(e.name), e)
    local n = 2
    for _, extent in ipairs(e.shape) do n = n * extent end
    lu.assertEquals(e.bytes, n)
    files[e.file] = true
  end
  lu.assertEquals(files, { ["model-00001-of-00002.safetensors"] = true, ["model-00002-of-00002.safetensors"] = true })
  lu.assertEquals(c:find("lm_head.weight").shape, { 1024, 128 })
  lu.assertEquals(c:find("lm_head.weight").dtype, "BF16")
  lu.assertNil(c:find "lm_head.wait")
end

-- The tensor's bytes are those of the file at the offset the entry names.
function TestCheckpoint:test_tensor_is_the_files_bytes()
  local c <close> = assert(nb.checkpoint(modelopt))
  for _, name in ipairs { "lm_head.weight", "model.language_model.layers.3.self_attn.k_proj.k_scale",
                          "model.language_model.layers.0.mlp.experts.3.up_proj.weight" } do
    local e = c:find(name)
    local file <close> = assert(io.open(modelopt .. "/" .. e.file, "rb"))
    file:seek("set", e.offset)
    local t = assert(c:tensor(name))
    lu.assertEquals(t:dtype(), e.dtype)
    lu.assertEquals(t:shape(), e.shape)
    lu.assertTrue(t:raw() == file:read(e.bytes))
  end
end

function TestCheckpoint:test_weights()
  local c <close> = assert(nb.checkpoint(modelopt))
  local w = assert(c:weight "layers.3.attn.q")
  lu.assertEquals({ w.format, w.dtype, w.n, w.k, w.is_divisor, w.scale_dtype }, { "nvfp4", "U8", 512, 128, false, "F8_E4M3" })
  lu.assertEquals(w.tensor_scale, c:tensor("model.language_model.layers.3.self_attn.q_proj.weight_scale_2"):get(0))
  lu.assertEquals(w.input_scale, c:tensor("model.language_model.layers.3.self_attn.q_proj.input_scale"):get(0))
  lu.assertEquals(c:weight "layers.0.gdn.conv", { format = "bf16", dtype = "BF16", n = 256, k = 4 })
  lu.assertTrue(c:has "layers.0.experts.15.down")
  lu.assertFalse(c:has "mtp.fc")
  local t = assert(c:dequant "layers.3.attn.q")
  lu.assertEquals(t:dtype(), "F32")
  lu.assertEquals(t:shape(), { 512, 128 })
  lu.assertTrue(assert(c:dequant "embed"):get(777) == c:tensor("model.language_model.embed_tokens.weight"):get(777))
  local block <close> = assert(nb.checkpoint(tiny .. "fp8_block"))
  local b = assert(block:weight "mtp.0.experts.3.up")
  lu.assertEquals(b, { format = "fp8_block",
    dtype = "F8_E4M3", n = 64, k = 128, block_n = 128, block_k = 128, scale_dtype = "BF16" })
end

function TestCheckpoint:test_faults_are_returned()
  local function code(...) return select(3, ...) end
  lu.assertEquals(code(nb.checkpoint "/nowhere"), "E_IO")
  lu.assertEquals(code(nb.safetensors "/nowhere"), "E_IO")
  local c <close> = assert(nb.checkpoint(modelopt))
  lu.assertEquals(code(c:tensor "nothing"), "E_MISSING")
  lu.assertEquals(code(c:weight "mtp.fc"), "E_MISSING")
  lu.assertEquals(code(c:dequant "mtp.fc"), "E_MISSING")
  lu.assertEquals(code(c:kv_scales "layers"), "E_MISSING")
  lu.assertErrorMsgContains("bad argument", nb.checkpoint)
  lu.assertErrorMsgContains("nibble.Checkpoint", c.count, {})
  local gone = assert(nb.checkpoint(modelopt))
  gone:close()
  gone:close()
  lu.assertErrorMsgContains("checkpoint is closed", gone.count, gone)
  lu.assertEquals(tostring(gone), "checkpoint (closed)")
end

function TestCheckpoint:test_many_entries_are_fast()
  local dir <close> = scratch()
  write_many(dir.path, 150000)
  local start = os.clock()
  local c <close> = assert(nb.checkpoint(dir.path))
  local list = c:entries()
  local took = os.clock() - start
  lu.assertEquals(#list, 150000)
  lu.assertTrue(took < 2, took)   -- 0.3 s where it was measured
end

TestSafetensors = {}

function TestSafetensors:test_one_file()
  local path = tiny .. "fp8_block/mtp.safetensors"
  local f <close> = assert(nb.safetensors(path))
  local bytes, header = f:bytes()
  local file <close> = assert(io.open(path, "rb"))
  lu.assertEquals(bytes, file:seek "end")
  file:seek "set"
  lu.assertEquals(header, (string.unpack("<I8", file:read(8))))
  lu.assertEquals(f:path(), path)
  lu.assertEquals(#f:entries(), f:count())
  lu.assertEquals(f:entries()[1].offset, 8 + header)
  lu.assertEquals(f:tensor("mtp.norm.weight"):shape(), { 128 })
  lu.assertEquals(f:find("mtp.norm.weight").file, "mtp.safetensors")
  lu.assertNil(f:find "mtp.norm")
  lu.assertEquals(select(3, f:tensor "mtp.norm"), "E_MISSING")
  lu.assertStrContains(tostring(f), "mtp.safetensors")
  f:close()
  lu.assertErrorMsgContains("file is closed", f.entries, f)
end

function TestSafetensors:test_rank_beyond_a_tensor()
  local dir <close> = scratch()
  local header = '{"a":{"dtype":"U8","shape":[1,1,1,1,1,1],"data_offsets":[0,1]}}'
  write(dir.path .. "/a.safetensors", string.pack("<I8", #header) .. header .. "x")
  local f <close> = assert(nb.safetensors(dir.path .. "/a.safetensors"))
  lu.assertEquals(#f:entries()[1].shape, 6)
  lu.assertEquals(select(3, f:tensor "a"), "E_UNSUPPORTED")
end

os.exit(lu.LuaUnit.run())
