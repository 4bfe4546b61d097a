-- `nibble eval`: the BF16 model against transformers, and every quantized checkpoint against an independent float64
-- implementation that computed the very same files. Weights-only modes are compared tightly; W4A4 within the spread of perturbed
-- runs, since it is chaotic.
local lu, nb, command = require "luaunit", require "nibble", require "tests.scripts.command"
local tiny = command.tiny
local domains = { "prose", "records" }

local function words(ckpt, domain, ...)
  return { "eval", tiny .. "/" .. ckpt, "--tokens", tiny .. "/eval.h5:/" .. domain .. "_eval", "--json", ... }
end

local function nll(...)
  local r = command.json_many { words(...) }[1]
  return r.nll, r
end

local reference = assert(nb.h5.open(tiny .. "/quantized-reference.h5"))
local function want(ckpt, mode, domain) return assert(reference:attr(("/%s/%s/%s"):format(ckpt, mode, domain), "nll")) end

TestBase = {}
function TestBase:test_32_windows_as_transformers()
  local file <close> = assert(nb.h5.open(tiny .. "/eval.h5"))
  for i, r in ipairs(command.json_many { words("bf16", domains[1]), words("bf16", domains[2]) }) do
    local got, domain = r.nll, domains[i]
    lu.assertEquals(r.windows, 32)
    lu.assertAlmostEquals(got, assert(file:attr("/", domain .. "_fp32_nll")), 1e-5)
    print(("# bf16 %s: nll %.7f, off by %.1e"):format(domain, got, math.abs(got - file:attr("/", domain .. "_fp32_nll"))))
  end
end

TestWeightsOnly = {}
for _, ckpt in ipairs {
  "bf16", "fp8_block", "ct/experts_w4a16", "ct/experts_w4a4", "ct/linear_w4a4", "modelopt/nvfp4_default-kv_fp8",
  "modelopt/nvfp4_default-kv_none-gptq",
  "modelopt/nvfp4_experts_only-kv_fp8_cast", "modelopt/nvfp4_experts_only_mse-kv_fp8_cast", "modelopt/nvfp4_mlp_only-kv_fp8_cast",
  "modelopt/nvfp4_weight_only-kv_fp16",
} do
  TestWeightsOnly["test_nll_and_logits " .. ckpt] = function()
    local list = {}
    for i, domain in ipairs(domains) do list[i] = words(ckpt, domain, "--windows", "16", "--impl", "ref:w4a16", "--kv", "f32") end
    for i, r in ipairs(command.json_many(list)) do
      lu.assertAlmostEquals(r.nll, want(ckpt, "a16", domains[i]), 1e-5, ckpt .. " " .. domains[i])
    end
    local session = require "scripts.lib.session"
    local tokens <close> = assert(nb.h5.open(tiny .. "/eval.h5"))
    local model <close> = session.open(tiny .. "/" .. ckpt, { impl = "ref:w4a16", kv = "f32", max_len = 64, chunk = 64 })
    local ids = table.move(assert(tokens:read "/prose_eval"):list(), 1, 64, 1, {})
    local logits
    model:feed({ { seq = model:sequence(), ids = ids } }, { outs = "all",
      on_step = function() logits = assert(model.plan:read("logits", 0, 64)) end })
    local stored = assert(reference:read("/" .. ckpt .. "/a16/prose/logits"))
    local as_f32 = nb.tensor("F32", stored:shape(), stored:list())
    local diff = assert(nb.compare(logits, as_f32))
    lu.assertTrue(diff.finite and diff.nmse <= 1e-9, ("%s: logits nmse %.3e"):format(ckpt, diff.nmse))
    print(("# %s a16: logits nmse %.1e"):format(ckpt, diff.nmse))
  end
end

-- Mean and standard deviation of NLL over perturbed runs of our own reference.
local function spread(ckpt, domain, runs, ...)
  local list, values, sum, square = {}, {}, 0, 0
  for seed = 1, runs do
    list[seed] = words(ckpt, domain, "--windows", "16", "--perturb", "1e-6", "--seed", tostring(1000 * seed),
      table.unpack { ... })
  end
  for seed, r in ipairs(command.json_many(list)) do values[seed] = r.nll end
  for _, v in ipairs(values) do sum = sum + v end
  for _, v in ipairs(values) do square = square + (v - sum / runs) ^ 2 end
  return sum / runs, math.sqrt(square / (runs - 1))
end

TestQuantizedActivations = {}
for _, case in ipairs {
  { "ct/experts_w4a4", "a4", "--kv", "f32" }, { "ct/linear_w4a4", "a4", "--kv", "f32" },
  { "modelopt/nvfp4_default-kv_fp8", "a4", "--kv", "f32" }, { "modelopt/nvfp4_default-kv_fp8", "kv8" },
  { "modelopt/nvfp4_default-kv_none-gptq", "a4", "--kv", "f32" },
  { "modelopt/nvfp4_experts_only-kv_fp8_cast", "a4", "--kv", "f32" }, { "modelopt/nvfp4_experts_only-kv_fp8_cast", "kv8" },
  { "modelopt/nvfp4_experts_only_mse-kv_fp8_cast", "kv8" }, { "modelopt/nvfp4_mlp_only-kv_fp8_cast", "kv8" },
} do
  local ckpt, mode = case[1], case[2]
  TestQuantizedActivations[("test_nll_within_the_spread %s %s"):format(ckpt, mode)] = function()
    for _, domain in ipairs(domains) do
      local mean, deviation = spread(ckpt, domain, 6, table.unpack(case, 3))
      local off = math.abs(mean - want(ckpt, mode, domain))
      print(("# %s %s %s: nll %.6f want %.6f, off by %.1e, spread %.1e (%.1f deviations)"):format(ckpt, mode, domain, mean,
        want(ckpt, mode, domain), off, deviation, off / deviation))
      lu.assertTrue(deviation > 0)
      lu.assertTrue(off <= 4 * deviation, ("%s %s %s: %.6f is %.2f deviations from %.6f"):format(ckpt, mode, domain, mean,
        off / deviation,
        want(ckpt, mode, domain)))
    end
  end
end

TestBaseRun = {}
function TestBaseRun:test_divergence_from_a_saved_base()
  local folder = command.folder()
  local base = folder .. "/base.h5"
  nll("bf16", "prose", "--windows", "2", "--save", base)
  local _, same = nll("bf16", "prose", "--windows", "2", "--base", base)
  lu.assertEquals(same.kl.max, 0.0)
  lu.assertEquals(same.top1_agreement, 1.0)
  local _, other = nll("modelopt/nvfp4_weight_only-kv_fp16", "prose", "--windows", "2", "--base", base)
  lu.assertTrue(other.kl.mean > 1e-4 and other.kl.mean < 1 and other.kl.p99 <= other.kl.max and other.kl.median <= other.kl.p99)
  lu.assertTrue(other.top1_agreement > 0.5 and other.top1_agreement < 1)
  command.remove(folder)
end

-- --errors tells an NLL apart by runs that can be had one by one.
TestErrors = {}
function TestErrors:test_parts_are_single_runs()
  local ckpt, one = "modelopt/nvfp4_default-kv_fp8", { "--windows", 1, "--window", 65, "--kv", "f32" }
  local all, base, weights, activations, run = table.unpack(command.json_many {
    words(ckpt, "prose", "--windows", 1, "--window", 65, "--errors", "--against", tiny .. "/bf16", "--round", "bf16"),
    words("bf16", "prose", table.unpack(one)), words(ckpt, "prose", "--impl", "w4a16", table.unpack(one)),
    words(ckpt, "prose", table.unpack(one)), words(ckpt, "prose", "--windows", 1, "--window", 65, "--round", "bf16"),
  })
  local names, before = { "base", "weights", "activations", "run" }, nil
  for i, single in ipairs { base, weights, activations, run } do
    local e = all.errors[i]
    lu.assertEquals(e.part, names[i])
    lu.assertAlmostEquals(e.nll, single.nll, 1e-12)
    if before then
      lu.assertAlmostEquals(e.change, single.nll - before, 1e-12)
      lu.assertTrue(e.kl > 0)
    end
    before = single.nll
  end
end

local status = lu.LuaUnit.run()
reference:close()
os.exit(status)
