-- The model from compiled kernels on a device: NIBBLE_TEST_DEVICE names it (cuda:0, emu:sm_120a, …); skipped where it is not to be had.
-- Exact things are exact: batches, chunks up to 8 rows, drafts, runs after one another. Numbers are judged against the bf16 reference.
local lu, nb = require "luaunit", require "nibble"
local session, command, spread = require "scripts.lib.session", require "tests.scripts.command", require "tests.lib.spread"
local tiny, device = command.tiny, os.getenv "NIBBLE_TEST_DEVICE" or "emu:sm_120a"
local is_long = device:match "^cuda" ~= nil   -- an emulator gets the short form of each case

local function need_device()
  local d, why = nb.device(device)
  lu.skipIf(not d, why)
  local jit = require("scripts.lib.launches").jit()
  local version, missing = jit:compiler()
  lu.skipIf(not version, missing)
end

local function ids_of(dataset, first, n)
  local file <close> = assert(nb.h5.open(tiny .. "/eval.h5"))
  return table.move(assert(file:read(dataset)):list(), first, first + n - 1, 1, {})
end

local function open(dir, opt)
  opt.device, opt.impl = opt.device or device, opt.impl or "w4a16"
  return session.open(tiny .. "/" .. dir, opt)
end

local function logits_of(model, seq, ids)
  local parts = {}
  model:feed({ { seq = seq, ids = ids } }, { outs = "all", on_step = function(step)
    parts[#parts + 1] = assert(model.plan:read("logits", 0, #step.outs))
  end })
  return nb.concat(parts)
end

-- Checkpoints and numerics: stored quantizes activations where the file has input scales (W4A4).
local checkpoints = is_long and {
  { "bf16", "stored" }, { "modelopt/nvfp4_default-kv_fp8", "w4a16" }, { "modelopt/nvfp4_default-kv_fp8", "stored" },
  { "modelopt/nvfp4_experts_only-kv_fp8_cast", "stored" }, { "ct/linear_w4a4", "stored" }, { "ct/experts_w4a4", "stored" },
  { "ct/linear_w4a4", "w4a16" }, { "fp8_block", "stored" },
} or { { "modelopt/nvfp4_default-kv_fp8", "stored" } }

local windows, length = is_long and 4 or 1, is_long and 257 or 65

-- Mean NLL over the first windows of a list of ids.
local function nll_of(all, dir, opt)
  opt.max_len = 257
  local model <close> = open(dir, opt)
  local seq, sum = model:sequence(), 0
  for w = 0, windows - 1 do
    local first = w * 257
    model:reset(seq)
    local logits = logits_of(model, seq, table.move(all, first + 1, first + length - 1, 1, {}))
    sum = sum + nb.summary(assert(nb.nll(logits, table.move(all, first + 2, first + length, 1, {})))).mean
  end
  return sum / windows
end

-- The bf16 reference's NLL and how far a kernel's may be from it. With activations as they are, any order of sums gives nearly
-- the same; W4A4 is chaotic, so there it is four standard deviations of perturbed runs (tests/lib/spread.lua).
local function want_nll(all, dir, numerics)
  local function reference(opt)
    opt.device, opt.round, opt.impl = "host", "bf16", "ref:" .. numerics
    return nll_of(all, dir, opt)
  end
  local want = reference {}
  if numerics ~= "stored" or not dir:find "nvfp4" and not dir:find "w4a4" then return want, 2e-3 end
  return want, 4 * spread.deviation(spread.runs(6, reference))
end

TestDevice = {}
for _, c in ipairs(checkpoints) do
  local dir, numerics = table.unpack(c)
  local name = dir .. " " .. numerics
  TestDevice["test_every_op_has_a_kernel " .. name] = function()
    need_device()
    local model <close> = open(dir, { max_len = 32, chunk = 16, impl = numerics })
    lu.assertEquals(model.launches.host, {})
    print(("# %s: %d compilations, %d launches a step of two capacities"):format(dir, model.launches.compilations, model.launches.launches))
  end

  TestDevice["test_nll_near_the_bf16_reference " .. name] = function()
    need_device()
    local file <close> = assert(nb.h5.open(tiny .. "/eval.h5"))
    for _, domain in ipairs(is_long and { "/prose_eval", "/records_eval" } or { "/records_eval" }) do
      local all = assert(file:read(domain)):list()
      local got, want, near = nll_of(all, dir, { impl = numerics }), want_nll(all, dir, numerics)
      print(("# %s %s %s: nll %.6f, reference %.6f, %.1e apart of %.1e"):format(device, name, domain, got, want,
        math.abs(got - want), near))
      lu.assertAlmostEquals(got, want, near)
    end
  end

  TestDevice["test_a_batch_equals_single_runs " .. name] = function()
    need_device()
    local lengths, lists, want = is_long and { 8, 1, 5, 3 } or { 4, 1, 3 }, {}, {}
    for i, n in ipairs(lengths) do
      lists[i] = ids_of(i % 2 == 0 and "/records_eval" or "/prose_eval", 300 * i, n + 4)
      -- one row at a time: on a GPU by the launches made for one
      local model <close> = open(dir, { max_len = 32, chunk = 8, impl = numerics })
      local seq, parts = model:sequence(), {}
      for at = 1, #lists[i] do parts[at] = logits_of(model, seq, { lists[i][at] }) end
      want[i] = nb.concat(parts):raw()
    end
    local model <close> = open(dir, { slots = #lengths, chunk = 8, max_len = 32, impl = numerics })
    local items, parts = {}, {}
    for i, ids in ipairs(lists) do items[i], parts[i] = { seq = model:sequence(), ids = ids }, {} end
    model:feed(items, { outs = "all", on_step = function(step)
      for _, p in ipairs(step.pieces) do table.insert(parts[p.item], assert(model.plan:read("logits", p.row, p.n))) end
    end })
    for i in ipairs(lists) do lu.assertTrue(nb.concat(parts[i]):raw() == want[i], "sequence " .. i) end
  end

  -- Ops that write their activation's quantized form, and ops of their own for it: the same bits.
  TestDevice["test_fused_quantizers_equal_cut_ones " .. name] = function()
    need_device()
    local ids, raw, ops = ids_of("/records_eval", 90, is_long and 200 or 12), {}, {}
    for i, fuse in ipairs { true, false } do
      local model <close> = open(dir, { max_len = 256, chunk = is_long and 64 or 12, impl = numerics, fuse = fuse })
      raw[i], ops[i] = logits_of(model, model:sequence(), ids):raw(), model.launches.launches
    end
    lu.assertTrue(raw[1] == raw[2])
    lu.assertEquals(ops[1] < ops[2], numerics == "stored" and (dir:find "nvfp4" or dir:find "w4a4") ~= nil)
  end

  TestDevice["test_two_runs_are_equal " .. name] = function()
    need_device()
    local ids, raw = ids_of("/prose_eval", 40, is_long and 200 or 20), {}
    for i = 1, 2 do
      local model <close> = open(dir, { max_len = 256, chunk = 64, impl = numerics })
      raw[i] = logits_of(model, model:sequence(), ids):raw()
    end
    lu.assertTrue(raw[1] == raw[2])
  end
end

for _, domain in ipairs { "/prose_eval", "/records_eval" } do
  TestDevice["test_greedy_with_drafts_equals_plain greedy " .. domain] = function()
    need_device()
    local ids, n, plain = ids_of(domain, 1, is_long and 60 or 8), is_long and 48 or 6, nil
    for k = 0, 4 do
      local model <close> = open("bf16", { max_len = 128, chunk = 8, mtp = k })
      lu.assertEquals(model.launches.host, {})
      local seq, sampler, accepted, drafted = model:sequence(), nb.sampler {}, 0, 0
      local out = { assert(sampler:pick(model:feed({ { seq = seq, ids = ids } })[1], 0)) }
      while #out < n do
        if k == 0 then out[#out + 1] = assert(sampler:pick(model:feed({ { seq = seq, ids = { out[#out] } } })[1], 0))
        else
          local tokens, a, d = model:speculate(seq, out[#out], k)
          accepted, drafted = accepted + a, drafted + d
          table.move(tokens, 1, #tokens, #out + 1, out)
        end
      end
      out = table.move(out, 1, n, 1, {})
      plain = plain or out
      lu.assertEquals(out, plain, "drafts " .. k)
      if k > 0 then print(("# %s %s: %d drafts a round, %d of %d accepted"):format(device, domain, k, accepted, drafted)) end
    end
  end
end

-- Formats that no recorded checkpoint has: FP8 projections with NVFP4 experts, shared expert and lm_head without input scales, as
-- they are stored; lm_head with input scales; gate, up and every expert with an input scale of its own. Each op within its bound.
TestFormats = {}
for name, words in pairs { mixed = { "--format", "mixed" }, own_scales = { "--format", "all", "--lm-head", "--own-scales" } } do
  TestFormats["test_every_op_is_within_its_bound " .. name] = function()
    need_device()
    local folder = command.folder()
    local dir, list = folder .. "/ck", { "--layers", "LA", "--hidden", "128", "--experts", "8", "--top-k", "3", "--width", "64",
      "--heads", "4", "--head", "64", "--delta", "32", "--key-heads", "2", "--value-heads", "4", "--vocab", "256", "--max-len", "64" }
    table.move(words, 1, #words, #list + 1, list)
    local status, _, err = command.run("synthetic", dir, table.unpack(list))
    lu.assertEquals(status, 0, err)
    local out
    status, out, err = command.run("trace", dir, folder .. "/out.h5", "--ids", "1,2,3,4,5,6,7,8,9,10", "--chunk", "8", "--device",
      device, "--check", "--impl", "stored")
    command.remove(folder)
    lu.assertEquals(status, 0, out .. err)
    lu.assertStrContains(out, "every op within its bound")
    lu.assertEquals(out:find "quantize_nvfp4" ~= nil, name == "own_scales")
  end
end

os.exit(lu.LuaUnit.run())
