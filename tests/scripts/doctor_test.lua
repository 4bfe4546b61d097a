-- doctor: the good checkpoints have exactly what is true of them, each of the mutations of mutate.lua is
-- named with the right id and nothing else, stacks are judged as the sources say, hostile configs and
-- headers never make it fault.
local lu = require "luaunit"
local nb = require "nibble"
local luv = require "luv"
local doctor = require "scripts.lib.doctor"
local rules = require "scripts.lib.doctor_rules"
local stacks = require "scripts.lib.stacks"
local excludes = require "scripts.lib.excludes"
local mutate = require "tests.scripts.mutate"

local GOLDEN = NIBBLE_ROOT .. "/build/golden"
local FIXTURES = GOLDEN .. "/tiny"
local TMP = assert(luv.fs_mkdtemp "/tmp/nibble-doctor-XXXXXX")
local NIBBLE = luv.exepath()

local function ids_of(result)
  local ids = {}
  for _, f in ipairs(result.findings) do ids[#ids + 1] = f.id end
  table.sort(ids)
  return ids
end

local function inspect(dir, quick) return assert(doctor.inspect(dir, { quick = quick or false })) end

-- The good ones: id lists, quick and full alike.
local GOOD = {
  bf16 = {},
  ["modelopt/nvfp4_default-kv_fp8"] = { "kv_scale_dropped", "mtp_absent" },
  ["modelopt/nvfp4_default-kv_none-gptq"] = { "mtp_absent" },
  ["modelopt/nvfp4_experts_only-kv_fp8_cast"] = { "kv_scale_implicit", "mtp_absent" },
  ["modelopt/nvfp4_experts_only_mse-kv_fp8_cast"] = { "kv_scale_implicit", "mtp_absent" },
  ["modelopt/nvfp4_mlp_only-kv_fp8_cast"] = { "kv_scale_implicit", "mtp_absent" },
  ["modelopt/nvfp4_weight_only-kv_fp16"] = { "mtp_absent" },
  ["ct/experts_w4a4"] = {}, ["ct/experts_w4a16"] = {}, ["ct/linear_w4a4"] = {},
  fp8_block = { "exclude_in_proj_ab", "exclude_mtp" },   -- its list names neither in_proj_a, in_proj_b nor mtp.fc
}

-- Siblings with other extents: sib_a was quantized with unequal scalars on purpose, sib_b is flat, tied,
-- with yarn; neither brings a tokenizer.
local SIBLINGS = {
  ["sib_a/bf16"] = { "tokenizer_missing" },
  ["sib_a/modelopt"] = { "exclude_mtp", "gate_up_input_scale", "gate_up_weight_scale", "tokenizer_missing" },
  ["sib_b/bf16"] = { "eos_missing", "tokenizer_missing" },
}

TestGood = {}
for name, want in pairs(GOOD) do
  TestGood["test_" .. name:gsub("%W", "_")] = function()
    local quick = inspect(FIXTURES .. "/" .. name, true)
    lu.assertEquals(ids_of(inspect(FIXTURES .. "/" .. name)), want)
    lu.assertEquals(ids_of(quick), want)
    for _, f in ipairs(quick.findings) do lu.assertNotEquals(f.severity, "error") end
  end
end
for name, want in pairs(SIBLINGS) do
  TestGood["test_" .. name:gsub("%W", "_")] = function()
    lu.assertEquals(ids_of(inspect(GOLDEN .. "/" .. name)), want) end
end

local bases, base_ids = {}, {}
local function base_of(name)
  if not bases[name] then
    bases[name] = mutate.base(name, FIXTURES)
    mutate.save(bases[name], TMP .. "/base")
    base_ids[name] = ids_of(inspect(TMP .. "/base"))
    mutate.remove(TMP .. "/base")
  end
  return bases[name], base_ids[name]
end

-- What a mutation must give: the findings of its base, plus adds, less removes; also may or may not come along.
local function check_row(row)
  local base, before = base_of(row[2])
  local dir = TMP .. "/mutant"
  mutate.apply(row, base, dir)
  local ok, result = pcall(inspect, dir)
  mutate.remove(dir)
  assert(ok, result)
  local want, optional = {}, {}
  for _, id in ipairs(before) do want[id] = true end
  for _, id in ipairs(row.adds) do want[id] = true end
  for _, id in ipairs(row.removes or {}) do want[id] = nil end
  for _, id in ipairs(row.also or {}) do optional[id] = true end
  local wrong = {}
  for _, f in ipairs(result.findings) do
    if not want[f.id] and not optional[f.id] then
      wrong[#wrong + 1] = ("unexpected %s (%s: %s)"):format(f.id, f.tensor, f.found)
    end
    want[f.id] = nil
  end
  for id in pairs(want) do wrong[#wrong + 1] = "not found: " .. id end
  lu.assertEquals(table.concat(wrong, "; "), "")
end

TestCorpus = {}
for i, row in ipairs(mutate.list) do
  TestCorpus[("test_%03d_%s"):format(i, row[1]:gsub("%W+", "_"))] = function() check_row(row) end
end

TestVariants = {}
for _, row in ipairs(mutate.variants) do
  TestVariants["test_" .. row[1]:gsub("%W+", "_")] = function()
    local dir = TMP .. "/variant"
    mutate.apply({ change = row[3] }, (base_of(row[2])), dir)
    local result = inspect(dir)
    mutate.remove(dir)
    local texts = {}
    for _, f in ipairs(result.findings) do texts[#texts + 1] = f.id .. " " .. f.tensor .. ": " .. f.found end
    lu.assertEquals(ids_of(result), row[4], table.concat(texts, "\n"))
  end
end

-- Every tensor of two layers, of the MTP layer and outside the layers: taken away, it is an error that names it.
TestAbsent = {}
for _, name in ipairs { "experts", "ct_linear", "bf16", "fp8" } do
  TestAbsent["test_" .. name] = function()
    local base = mutate.copy((base_of(name)))
    local dir = TMP .. "/absent"
    base.json["model.safetensors.index.json"] = nil
    base.text = {}
    local whole = { order = {}, tensors = {} }
    for _, file in pairs(base.files) do
      for _, tensor in ipairs(file.order) do
        whole.order[#whole.order + 1], whole.tensors[tensor] = tensor, file.tensors[tensor]
      end
    end
    base.files = { ["model.safetensors"] = whole }
    mutate.save(base, dir)
    local header, text = mutate.header(whole), nb.json.encode(mutate.header(whole))
    local room, path = #text + 64, dir .. "/model.safetensors"
    local bytes = mutate.read(path)
    local n = string.unpack("<I8", bytes)
    mutate.write(path, string.pack("<I8", room) .. text .. (" "):rep(room - #text) .. bytes:sub(9 + n))
    local file = assert(io.open(path, "r+b"))
    local tried = 0
    for _, tensor in ipairs(whole.order) do
      local layer = tensor:match "language_model%.layers%.(%d+)%."
      if not tensor:find "visual" and (not layer or layer == "0" or layer == "3")
          and not tensor:find "experts%.[12]%." then
        local entry = header[tensor]
        header[tensor], header.zz = nil, entry
        local changed = nb.json.encode(header)
        header[tensor], header.zz = entry, nil
        file:seek("set", 8)
        file:write(changed, (" "):rep(room - #changed))
        file:flush()
        local is_named = false
        for _, f in ipairs(inspect(dir, true).findings) do
          local stem = tensor:gsub("%.weight$", "")
          is_named = is_named or f.severity == "error"
            and (f.tensor == tensor or f.tensor == stem or f.tensor:sub(1, #stem) == stem)
        end
        lu.assertTrue(is_named, tensor)
        tried = tried + 1
      end
    end
    file:close()
    mutate.remove(dir)
    lu.assertTrue(tried > 40, tried)
  end
end

TestRules = {}
function TestRules.test_every_rule_has_a_mutation()
  local seen, missing = { kv_scale_dropped = true }, {}   -- kv_scale_dropped is true of a good checkpoint
  for _, row in ipairs(mutate.list) do for _, id in ipairs(row.adds) do seen[id] = true end end
  for _, rule in ipairs(rules.list) do if not seen[rule.id] then missing[#missing + 1] = rule.id end end
  lu.assertEquals(missing, {})
end

function TestRules.test_rules_are_complete()
  local severities = { error = true, warning = true, note = true }
  for _, rule in ipairs(rules.list) do
    lu.assertTrue(severities[rule.severity], rule.id)
    lu.assertTrue(#rule.what > 10 and #rule.fix > 5 and #rule.source > 2, rule.id)
    lu.assertIs(rules.by_id[rule.id], rule)   -- no id twice
  end
end

function TestRules.test_stack_rules_name_findings_that_exist()
  for _, stack in ipairs(stacks.list) do
    for _, rule in ipairs(stack.rules) do
      for _, id in ipairs(rule.on or {}) do lu.assertNotNil(rules.by_id[id], id) end
      lu.assertNotNil(rule.because) lu.assertNotNil(rule.help) lu.assertNotNil(rule.source)
    end
  end
end

function TestRules.test_findings_are_grouped_with_examples()
  local base = base_of "experts"
  local dir = TMP .. "/group"
  mutate.apply({ change = function(ck)
    for _, file in pairs(ck.files) do
      for name, t in pairs(file.tensors) do if name:find "input_scale$" then t.data = string.pack("<f", 0) end end
    end
  end }, base, dir)
  local result = inspect(dir, true)
  mutate.remove(dir)
  for _, f in ipairs(result.findings) do
    if f.id == "input_scale_value" then
      lu.assertEquals(f.count, 4 * 4 * 3)
      lu.assertEquals(#f.examples, 5)
      lu.assertEquals(f.tensor, "model.language_model.layers.0.mlp.experts.0.gate_proj.input_scale")
      return
    end
  end
  lu.fail "input_scale_value not found"
end

-- Stacks: base, change, stack version → verdict.
local function verdicts(base_name, change)
  local base = base_of(base_name)
  local dir = TMP .. "/stack"
  mutate.apply({ change = change }, base, dir)
  local out = {}
  for _, s in ipairs(inspect(dir, true).stacks) do out[s.stack .. " " .. s.version] = s.verdict end
  mutate.remove(dir)
  return out
end

local function by_name(name)
  for _, row in ipairs(mutate.list) do if row[1] == name then return row end end
  error("no mutation " .. name)
end

TestStacks = {}
for _, case in ipairs {
  { "a BF16 checkpoint loads", "bf16", nil, { ["SGLang main"] = "loads", ["vLLM main"] = "loads",
    ["TensorRT-LLM main"] = "loads", ["llama.cpp main, after conversion"] = "loads" } },
  { "old transformers refuse the family", "bf16", nil,
    { ["SGLang 0.5.9"] = "refuses", ["TensorRT-LLM 1.2"] = "refuses" } },
  { "experts only loads", "experts", nil, { ["SGLang main"] = "loads", ["vLLM main"] = "loads",
    ["TensorRT-LLM main"] = "loads", ["llama.cpp main, after conversion"] = "loads" } },
  { "NVFP4 linear attention", "default", nil, { ["SGLang main"] = "loads", ["vLLM main"] = "loads",
    ["TensorRT-LLM main"] = "refuses" } },
  { "weight-only of compressed-tensors", "ct_weights", nil,
    { ["SGLang main"] = "refuses", ["vLLM main"] = "loads" } },
  { "weight-only of ModelOpt", "weights", nil, { ["vLLM main"] = "wrong" } },
  { "shared expert not excluded: the seed's SGLang error", "experts", "shared expert not excluded",
    { ["SGLang main"] = "refuses", ["vLLM main"] = "refuses" } },
  { "router not excluded is built plain anyway", "experts", "router not excluded",
    { ["SGLang main"] = "loads", ["vLLM main"] = "loads" } },
  { "a list over the other prefix still hits as vLLM's substrings", "experts",
    "list over the other prefix", { ["SGLang main"] = "loads", ["vLLM main"] = "loads" } },
  { "names and class do not fit", "bf16", "CausalLM with names of ConditionalGeneration",
    { ["vLLM main"] = "refuses" } },
  { "gate and up differ", "experts", "gate and up with unequal tensor scales",
    { ["SGLang main"] = "wrong", ["vLLM main"] = "wrong", ["TensorRT-LLM main"] = "wrong",
    ["llama.cpp main, after conversion"] = "loads" } },
  { "an input scale is absent", "experts", "input scale of one expert absent",
    { ["vLLM main"] = "wrong", ["llama.cpp main, after conversion"] = "loads" } },
  { "fused experts", "experts", "fused 3-D packed experts",
    { ["SGLang main"] = "refuses", ["vLLM main"] = "refuses", ["TensorRT-LLM main"] = "refuses" } },
  { "the experts swallowed by a substring", "experts",
    "an entry that swallows the experts as a substring",
    { ["SGLang main"] = "loads", ["vLLM main"] = "refuses" } },
} do
  TestStacks["test_" .. case[1]:gsub("%W+", "_")] = function()
    local got = verdicts(case[2], case[3] and by_name(case[3]).change)
    for stack, want in pairs(case[4]) do lu.assertEquals(got[stack], want, stack) end
  end
end

-- The union exclude list of an experts-only checkpoint (nvfp4-formats §6.6): every reader leaves all but
-- the experts plain.
function TestStacks.test_union_list_fits_every_reader()
  local list = { "lm_head", "*lm_head", "mtp*", "*visual*", "*.linear_attn*", "*.self_attn*",
    "*.mlp.gate", "*.mlp.shared_expert_gate", "*.mlp.shared_expert*" }
  for i = 0, 39 do
    for _, p in ipairs { "model.language_model.layers.", "model.layers." } do
      for _, part in ipairs { i % 4 == 3 and "self_attn*" or "linear_attn*", "mlp.shared_expert*",
          "mlp.shared_expert_gate", "mlp.gate" } do
        list[#list + 1] = p .. i .. "." .. part
      end
    end
  end
  lu.assertEquals(#list, 329)
  local plain = { "linear_attn.in_proj_qkv", "linear_attn.in_proj_a", "linear_attn.out_proj",
    "self_attn.q_proj", "mlp.gate", "mlp.shared_expert.gate_proj",
    "mlp.shared_expert.down_proj", "mlp.shared_expert_gate" }
  for _, reader in ipairs { "canonical", "sglang", "vllm", "trtllm" } do
    for prefix, class in pairs { ["model.language_model."] = "vl", ["model."] = "text" } do
      local match = excludes[reader]({ method = "modelopt", ignore = list }, class)
      for i = 0, 39 do
        for _, part in ipairs(plain) do
          local is_other = part:find(i % 4 == 3 and "linear_attn" or "self_attn")
          if not is_other then
            lu.assertNotNil(match(prefix .. "layers." .. i .. "." .. part), reader .. " " .. prefix .. i .. part)
          end
        end
        for _, proj in ipairs { "gate_proj", "up_proj", "down_proj" } do
          lu.assertNil(match(prefix .. "layers." .. i .. ".mlp.experts.17." .. proj),
            reader .. " " .. prefix .. i .. proj)
        end
      end
      lu.assertNotNil(match "lm_head", reader)
      lu.assertNotNil(match "mtp.layers.0.self_attn.q_proj", reader)
    end
  end
end

-- The command: exit status, JSON on the last line, silence on stderr.
local function run(arguments)
  local out, err = TMP .. "/out", TMP .. "/err"
  local _, _, status = os.execute(("%s doctor %s >%s 2>%s"):format(NIBBLE, arguments, out, err))
  local text, message = mutate.read(out), mutate.read(err)
  return status, text, message
end

TestCommand = {}
function TestCommand.test_status_and_json()
  local status, text, message = run(FIXTURES .. "/modelopt/nvfp4_experts_only-kv_fp8_cast --json")
  lu.assertEquals(status, 0)
  lu.assertEquals(message, "")
  local result = assert(nb.json.decode(text:match "([^\n]*)\n$"))
  lu.assertEquals(result.errors, 0)
  lu.assertEquals(result.summary.matrices.nvfp4, 8 * 16 * 3)
  lu.assertEquals(result.findings[1].id, "mtp_absent")
  for _, key in ipairs { "id", "severity", "tensor", "found", "expected", "fix", "count" } do
    lu.assertNotNil(result.findings[1][key], key)
  end
end

function TestCommand.test_findings_list_is_a_list_when_empty()
  local _, text = run(FIXTURES .. "/bf16 --json --quick")
  lu.assertStrContains(text, '"findings": []')
end

function TestCommand.test_strict()
  lu.assertEquals(run(FIXTURES .. "/modelopt/nvfp4_weight_only-kv_fp16 --quick --strict"), 1)
  lu.assertEquals(run(FIXTURES .. "/bf16 --quick --strict"), 0)
end

function TestCommand.test_errors_end_with_1()
  local dir = TMP .. "/broken"
  mutate.apply(by_name "router cut", (base_of "experts"), dir)
  local status, text = run(dir)
  mutate.remove(dir)
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, "tensor_shape")
end

function TestCommand.test_folder_errors()
  local status, _, message = run(TMP .. "/nowhere")
  lu.assertEquals(status, 3)
  lu.assertStrContains(message, "nowhere")
  lu.assertEquals(run(FIXTURES .. "/bf16/config.json"), 3)
  lu.assertEquals(run "--nonsense x", 2)
  lu.assertEquals(run "", 2)
end

function TestCommand.test_empty_folder_is_findings_and_not_an_error_status()
  local dir = TMP .. "/empty"
  luv.fs_mkdir(dir, 493)
  local status, text = run(dir)
  luv.fs_rmdir(dir)
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, "no_weights")
  lu.assertStrContains(text, "config_missing")
end

-- Full size: headers, configs and scalars of 123,512 tensors in 24.7 GB of holes. Processor time, so that
-- a busy machine does not matter much; best of three.
local function quick_look(shards)
  local dir = TMP .. "/full"
  local count, bytes = mutate.full_size(dir, shards, FIXTURES .. "/modelopt/nvfp4_experts_only-kv_fp8_cast")
  lu.assertTrue(count > 123000 and bytes > 24e9)
  local best, result = math.huge, nil
  for _ = 1, 3 do
    collectgarbage()
    collectgarbage "stop"
    local start = os.clock()
    result = inspect(dir, true)
    best = math.min(best, os.clock() - start)
    collectgarbage "restart"
  end
  mutate.remove(dir)
  lu.assertEquals(ids_of(result), { "kv_scale_implicit" })
  lu.assertEquals(result.summary.matrices.nvfp4, 30720)
  lu.assertEquals(result.summary.tensors, count)
  lu.assertEquals(result.summary.files, shards)
  print(("# quick look at %d tensors in %d files: %.2f s of processor time"):format(count, shards, best))
  if NIBBLE:find "/release/" then lu.assertTrue(best < 1, best) end
end

TestFullSize = {}
function TestFullSize.test_quick_look_takes_less_than_a_second() quick_look(1) end
function TestFullSize.test_shards_with_an_index() quick_look(5) end

-- Fuzz: one field of a config or header replaced; doctor may find what it likes, it must not fault.
local SEED = tonumber(os.getenv "NIBBLE_SEED") or 20260901
local state = SEED
local function random(n)
  state = (state * 6364136223846793005 + 1442695040888963407)
  return ((state >> 33) % n) + 1
end

local function random_value()
  local values = { nb.null, true, false, 0, 1, -1, 2, 16, 1 << 40, math.maxinteger, math.mininteger, 0.5,
    -0.0, 1e308, "", "x", "NVFP4", "FP8", "model.layers.1*",
    "re:(a+)+$", "re:[", ("y"):rep(5000), nb.json.array {}, {}, { a = 1 }, nb.json.array { 1, 2, 3 },
      nb.json.array { nb.json.array { "z" } }, nb.json.array { nb.null } }
  return values[random(#values)]
end

-- Every field of a value, in an order that is the same everywhere.
local function places(value, list)
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    list[#list + 1] = { value, key }
    if type(value[key]) == "table" then places(value[key], list) end
  end
  return list
end

local function place_of(value)
  local list = places(value, {})
  return list[random(#list)]
end

local function mutated(text)
  local value = assert(nb.json.decode(text))
  local place = place_of(value)
  if random(5) == 1 then place[1][place[2]] = nil else place[1][place[2]] = random_value() end
  return nb.json.encode(value), ("%s"):format(place[2])
end

local function must_survive(dir, quick, what)
  local ok, result = pcall(doctor.inspect, dir, { quick = quick })
  lu.assertTrue(ok, ("seed %d: %s: %s"):format(SEED, what, tostring(result)))
  for _, f in ipairs(result.findings) do
    for _, key in ipairs { "tensor", "found", "expected", "fix" } do
      lu.assertIsString(f[key], f.id .. "." .. key)
    end
  end
  nb.json.encode(result)
end

local function fuzz_json(base_name, file, count)
  local dir = TMP .. "/fuzz"
  mutate.save(base_of(base_name), dir)
  local text = mutate.read(dir .. "/" .. file)
  for i = 1, count do
    local changed, what = mutated(text)
    mutate.write(dir .. "/" .. file, changed)
    must_survive(dir, i % 25 ~= 0, file .. " " .. what)
  end
  mutate.remove(dir)
end

TestFuzz = {}
function TestFuzz.test_config_modelopt() fuzz_json("default", "config.json", 300) end
function TestFuzz.test_config_compressed_tensors() fuzz_json("ct", "config.json", 200) end
function TestFuzz.test_config_fp8() fuzz_json("fp8", "config.json", 100) end
function TestFuzz.test_hf_quant_config() fuzz_json("experts", "hf_quant_config.json", 150) end
function TestFuzz.test_index() fuzz_json("bf16", "model.safetensors.index.json", 150) end
function TestFuzz.test_generation_config() fuzz_json("bf16", "generation_config.json", 50) end

-- Headers are rewritten in place: the file is made with room behind its header.
local function fuzz_header(count, change)
  local dir = TMP .. "/header"
  mutate.save(base_of "experts", dir)
  local path = dir .. "/model.safetensors"
  local bytes = mutate.read(path)
  local n = string.unpack("<I8", bytes)
  local header, room = bytes:sub(9, 8 + n), n + 6000
  mutate.write(path, string.pack("<I8", room) .. header .. (" "):rep(6000) .. bytes:sub(9 + n))
  local file = assert(io.open(path, "r+b"))
  for i = 1, count do
    local changed, what = change(header)
    if #changed <= room then
      file:seek("set", 8)
      file:write(changed, (" "):rep(room - #changed))
      file:flush()
      must_survive(dir, i % 25 ~= 0, "header " .. what)
    end
  end
  file:close()
  mutate.remove(dir)
end

function TestFuzz.test_header_fields() fuzz_header(150, mutated) end
function TestFuzz.test_header_bytes()
  fuzz_header(150, function(header)
    local at = random(#header)
    return header:sub(1, at - 1) .. string.char(random(256) - 1) .. header:sub(at + 1), "byte " .. at
  end)
end

local status = lu.LuaUnit.run()
os.execute("rm -rf " .. TMP)
os.exit(status)
