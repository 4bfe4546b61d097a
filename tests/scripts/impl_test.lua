-- --impl: who computes which op, in which numerics; its text, its names, its errors.
local lu, nb, command = require "luaunit", require "nibble", require "tests.scripts.command"
local impl, session = require "scripts.lib.impl", require "scripts.lib.session"
local quantized = command.tiny .. "/modelopt/nvfp4_default-kv_fp8"

local function refused(text, is_host, part)
  local ok, e = pcall(impl.parse, text, is_host)
  lu.assertFalse(ok, text)
  lu.assertEquals(e.code, "E_USAGE")
  lu.assertStrContains(e.message, part)
end

TestImpl = {}

function TestImpl:test_one_choice_for_all()
  for text, want in pairs { kernel = "kernel:stored", ref = "ref:stored", w4a16 = "kernel:w4a16", ["ref:bf16"] = "ref:bf16" } do
    lu.assertEquals(impl.parse(text, false).text, want)
  end
  lu.assertEquals(impl.parse(nil, false).text, "kernel:stored")
  lu.assertEquals(impl.parse(nil, true).text, "ref:stored")
  lu.assertEquals(impl.parse("w4a16", true).text, "ref:w4a16")
end

function TestImpl:test_patterns_and_the_last_that_fits()
  local i = impl.parse("kernel:w4a16,layer03/*=ref,moe_fc1=stored,layer03/moe_fc1=kernel:w4a4", false)
  lu.assertEquals(i.text, "kernel:w4a16,layer03/*=ref:w4a16,moe_fc1=kernel:stored,layer03/moe_fc1=kernel:w4a4")
  local function of(...) return i:exec { ... } .. ":" .. i:numerics { ... } end
  lu.assertEquals(of("linear", "layer02/mixer"), "kernel:w4a16")
  lu.assertEquals(of("linear", "layer03/mixer"), "ref:w4a16")
  lu.assertEquals(of("moe_fc1", "layer02/moe_fc1"), "kernel:stored")
  lu.assertEquals(of("moe_fc1", "layer03/moe_fc1"), "kernel:w4a4")
  lu.assertEquals(of("embed_gather", "embed"), "kernel:w4a16")
end

function TestImpl:test_patterns_alone_leave_the_default()
  local i = impl.parse("router=ref", false)
  lu.assertEquals({ i.text, i:exec { "linear" }, i:exec { "router" } }, { "kernel:stored,router=ref:stored", "kernel", "ref" })
end

function TestImpl:test_errors()
  refused("w4a3", false, "found \"w4a3\"")
  refused("cpu:w4a16", false, "found \"cpu\"")
  refused("", false, "found \"\"")
  refused("stored,w4a16", false, "expected GLOB=[EXEC:]NUM")
  refused("stored,", false, "expected GLOB=[EXEC:]NUM")
  refused("stored,=ref", false, "expected a pattern")
  refused("stored,linear=", false, "found \"\"")
  refused("kernel", true, "needs --device")
  refused("ref,linear=kernel", true, "needs --device")
end

local function families_of(model)
  local n = {}
  for _, op in ipairs(model.ops) do n[op.spec.name] = (n[op.spec.name] or 0) + 1 end
  return n
end

function TestImpl:test_numerics_of_single_ops_decide_what_is_quantized()
  local function quantizers(text)
    local model <close> = session.open(quantized, { impl = text })
    return families_of(model).quantize_nvfp4 or 0
  end
  local all = quantizers "stored"
  lu.assertEquals(quantizers "w4a16", 0)
  -- each layer's down projections read moe_h, its only quantized form; gate and up read h
  lu.assertEquals(quantizers "stored,moe_fc2=w4a16", all - 8)
  lu.assertEquals(quantizers "w4a16,layer05/moe_fc2=stored", 1)
  lu.assertEquals(quantizers "w4a16,layers.2.shared.down=stored", 1)
  lu.assertEquals(quantizers "w4a16,layer00/mixer=w4a4,layer01/mixer=w4a4", 2)
end

function TestImpl:test_plan_shows_the_choice()
  local object = command.json("plan", quantized, "--impl", "w4a16,layer03/*=ref,moe_fc1=ref", "--json")
  lu.assertEquals(object.impl, "kernel:w4a16,layer03/*=ref:w4a16,moe_fc1=ref:w4a16")
  local hosts = 0
  for _, op in ipairs(object.ops) do
    -- layer 3's first norm completes layer 2's output
    local is_host = op.family == "moe_fc1" or op.name:match "^layer03/" ~= nil or op.name == "layer02/output"
    lu.assertEquals(op.capacities[1].variant == "host op", is_host, op.name)
    if is_host then hosts = hosts + 1 end
  end
  lu.assertEquals(object.total.host, hosts)
  lu.assertTrue(hosts > 8)
  local status, _, err = command.run("plan", quantized, "--impl", "stored,layer08/*=ref")
  lu.assertEquals(status, 6)
  lu.assertStrContains(err, "no op has a name like \"layer08/*\"")
end

-- The ops that are left to the host are those of the pattern, and the model still computes.
function TestImpl:test_a_device_runs_the_rest()
  local device, why = nb.device "emu:sm_120a"
  lu.skipIf(not device, why)
  local version, missing = require("scripts.lib.launches").jit():compiler()
  lu.skipIf(not version, missing)
  local model <close> = session.open(command.tiny:gsub("tiny$", "sib_b/bf16"), { device = "emu:sm_120a", chunk = 4, max_len = 8,
    impl = "kernel,layer01/*=ref,lm_head_sample=ref" })
  lu.assertEquals(model.launches.host[#model.launches.host], "logits")
  for i, name in ipairs(model.launches.host) do
    lu.assertTrue(i == #model.launches.host or name:match "^layer01/" ~= nil or name == "layer00/output", name)
  end
  local host <close> = session.open(model.dir, { round = "bf16", chunk = 4, max_len = 8 })
  local ids = { 3, 1, 4, 1, 5 }
  local got, want = model:feed({ { seq = model:sequence(), ids = ids } })[1], host:feed({ { seq = host:sequence(), ids = ids } })[1]
  lu.assertTrue(nb.compare(got, want).nmse < 1e-3)
end

os.exit(lu.LuaUnit.run())
