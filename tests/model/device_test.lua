-- The model from compiled kernels on a device: NIBBLE_TEST_DEVICE names it (cuda:0, emu:sm_120a, …); skipped where it is not to be had.
-- Exact things are exact: batches, chunks up to 8 rows, drafts, runs after one another. Numbers are judged against the bf16 reference.
local lu, nb = require "luaunit", require "nibble"
local session, command = require "scripts.lib.session", require "tests.scripts.command"
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

local checkpoints = is_long and { "bf16", "modelopt/nvfp4_default-kv_fp8", "ct/linear_w4a4", "fp8_block" } or { "modelopt/nvfp4_default-kv_fp8" }

TestDevice = {}
for _, dir in ipairs(checkpoints) do
  TestDevice["test_every_op_has_a_kernel " .. dir] = function()
    need_device()
    local model <close> = open(dir, { max_len = 32, chunk = 16 })
    lu.assertEquals(model.launches.host, {})
    print(("# %s: %d compilations, %d launches a step of two capacities"):format(dir, model.launches.compilations, model.launches.launches))
  end

  TestDevice["test_nll_near_the_bf16_reference " .. dir] = function()
    need_device()
    local file <close> = assert(nb.h5.open(tiny .. "/eval.h5"))
    for _, domain in ipairs(is_long and { "/prose_eval", "/records_eval" } or { "/records_eval" }) do
      local all, sums, windows = assert(file:read(domain)):list(), { 0, 0 }, is_long and 4 or 1
      local length = is_long and 257 or 65
      for i, opt in ipairs { { max_len = 257 }, { max_len = 257, device = "host", round = "bf16", impl = "ref:w4a16" } } do
        local model <close> = open(dir, opt)
        local seq = model:sequence()
        for w = 0, windows - 1 do
          local inputs = table.move(all, w * 257 + 1, w * 257 + length - 1, 1, {})
          model:reset(seq)
          sums[i] = sums[i] + nb.summary(assert(nb.nll(logits_of(model, seq, inputs), table.move(all, w * 257 + 2, w * 257 + length, 1, {})))).mean
        end
      end
      print(("# %s %s %s: nll %.6f, reference %.6f"):format(device, dir, domain, sums[1] / windows, sums[2] / windows))
      lu.assertAlmostEquals(sums[1] / windows, sums[2] / windows, 2e-3)
    end
  end

  TestDevice["test_a_batch_equals_single_runs " .. dir] = function()
    need_device()
    local lengths, lists, want = is_long and { 8, 1, 5, 3 } or { 4, 1, 3 }, {}, {}
    for i, n in ipairs(lengths) do
      lists[i] = ids_of(i % 2 == 0 and "/records_eval" or "/prose_eval", 300 * i, n + 4)
      local model <close> = open(dir, { max_len = 32, chunk = 8 })
      local seq, parts = model:sequence(), {}
      for at = 1, #lists[i] do parts[at] = logits_of(model, seq, { lists[i][at] }) end
      want[i] = nb.concat(parts):raw()
    end
    local model <close> = open(dir, { slots = #lengths, chunk = 8, max_len = 32 })
    local items, parts = {}, {}
    for i, ids in ipairs(lists) do items[i], parts[i] = { seq = model:sequence(), ids = ids }, {} end
    model:feed(items, { outs = "all", on_step = function(step)
      for _, p in ipairs(step.pieces) do table.insert(parts[p.item], assert(model.plan:read("logits", p.row, p.n))) end
    end })
    for i in ipairs(lists) do lu.assertTrue(nb.concat(parts[i]):raw() == want[i], "sequence " .. i) end
  end

  TestDevice["test_two_runs_are_equal " .. dir] = function()
    need_device()
    local ids, raw = ids_of("/prose_eval", 40, is_long and 200 or 20), {}
    for i = 1, 2 do
      local model <close> = open(dir, { max_len = 256, chunk = 64 })
      raw[i] = logits_of(model, model:sequence(), ids):raw()
    end
    lu.assertTrue(raw[1] == raw[2])
  end
end

for _, domain in ipairs { "/prose_eval", "/records_eval" } do
  TestDevice["test_greedy_with_drafts_equals_plain greedy " .. domain] = function()
    need_device()
    local ids, n, plain = ids_of(domain, 1, is_long and 60 or 8), is_long and 48 or 6, nil
    for k = 0, is_long and 4 or 1 do
      local model <close> = open("bf16", { max_len = 128, chunk = 8, mtp = k })
      local seq, sampler = model:sequence(), nb.sampler {}
      local function pick(logits, row) return assert(sampler:pick(logits, row)) end
      local out = { pick(model:feed({ { seq = seq, ids = ids } })[1], 0) }
      while #out < n do
        if k == 0 then out[#out + 1] = pick(model:feed({ { seq = seq, ids = { out[#out] } } })[1], 0)
        else
          local tokens = model:speculate(seq, out[#out], k, pick)
          table.move(tokens, 1, #tokens, #out + 1, out)
        end
      end
      out = table.move(out, 1, n, 1, {})
      plain = plain or out
      lu.assertEquals(out, plain, "drafts " .. k)
    end
  end
end

os.exit(lu.LuaUnit.run())
