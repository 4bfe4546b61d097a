-- Every op of the whole model on a device, held against its reference on the inputs the device had: tiny checkpoints and their
-- siblings of other extents. NIBBLE_TEST_DEVICE names the device (emu:sm_120a); on a GPU, or with NIBBLE_TEST_LONG=1, all of it:
-- 96 tokens of prefill and 32 decoded, NLL over four windows, greedy tokens by the margin rule, and on an emulator the same in
-- checked mode.
local lu, nb = require "luaunit", require "nibble"
local session, command = require "scripts.lib.session", require "tests.scripts.command"
local oplocal, margin, spread = require "scripts.lib.oplocal", require "scripts.lib.margin", require "tests.lib.spread"
local golden, device = command.tiny:match "^(.*)/tiny$", os.getenv "NIBBLE_TEST_DEVICE" or "emu:sm_120a"
local is_emulator = device:match "^emu" ~= nil
local is_long = not is_emulator or os.getenv "NIBBLE_TEST_LONG" ~= nil
local prefill, decode = is_long and 96 or 16, is_long and 32 or 2
local max_len = is_long and 128 or 32   -- the short extents are those of device_test.lua: kernels are compiled once for both

local function need_device()
  local d, why = nb.device(device)
  lu.skipIf(not d, why)
  local version, missing = require("scripts.lib.launches").jit():compiler()
  lu.skipIf(not version, missing)
end

local function ids_of(model, dataset, first, n)
  local file <close> = assert(nb.h5.open(golden .. "/tiny/eval.h5"))
  local ids = table.move(assert(file:read(dataset)):list(), first, first + n - 1, 1, {})
  for i, id in ipairs(ids) do ids[i] = (id // 1 | 0) % model.cfg.vocab end   -- siblings have fewer
  return ids
end

local function open(dir, opt)
  opt.device, opt.chunk = opt.device or device, opt.chunk or prefill
  return session.open(dir:match "^/" and dir or golden .. "/" .. dir, opt)
end

-- Feeds a prompt and then the greedy tokens; returns logits of all rows, the prompt and the tokens.
local function run(model, n, more)
  local ids, tokens, parts, sampler = ids_of(model, "/prose_eval", 7, n), {}, {}, nb.sampler {}
  local seq = model:sequence()
  local function keep(step) parts[#parts + 1] = assert(model.plan:read("logits", 0, #step.outs)) end
  local last = model:feed({ { seq = seq, ids = ids } }, { outs = "all", on_step = keep })[1]
  for i = 1, more do
    tokens[i] = assert(sampler:pick(last, 0))
    last = model:feed({ { seq = seq, ids = { tokens[i] } } }, { outs = "all", on_step = keep })[1]
  end
  return nb.concat(parts), ids, tokens
end

local checkpoints = {
  { "tiny/modelopt/nvfp4_default-kv_fp8", "stored" }, { "sib_a/modelopt", "stored" }, { "sib_b/bf16", "stored" },
}
if is_long then
  for _, c in ipairs {
    { "tiny/bf16", "stored" }, { "tiny/modelopt/nvfp4_default-kv_fp8", "w4a16" },
    { "tiny/modelopt/nvfp4_experts_only-kv_fp8_cast", "stored" },
    { "tiny/ct/linear_w4a4", "w4a16" }, { "tiny/ct/linear_w4a4", "stored" }, { "tiny/ct/experts_w4a4", "stored" },
    { "tiny/fp8_block", "stored" }, { "sib_a/bf16", "stored" }, { "sib_a/modelopt", "w4a16" },
  } do checkpoints[#checkpoints + 1] = c end
end

local function quantizes(model)
  for _, op in ipairs(model.ops) do if op.spec.name == "quantize_nvfp4" then return true end end
  return false
end

-- Mean NLL over four windows of 257, nil where a host run quantizes activations (a device fuses those ops into others). Siblings
-- have random weights: their own reference moves by more than 2e-3 when its embeddings are perturbed by 1e-6, so a bound follows its
-- spread where that is wider.
local function nll_of(dir, opt)
  opt.device, opt.max_len, opt.chunk = opt.device or "host", 256, 256
  local model <close> = open(dir, opt)
  if quantizes(model) then return end
  local seq, sum = model:sequence(), 0
  for w = 0, 3 do
    local ids = ids_of(model, "/records_eval", 257 * w + 1, 257)
    model:reset(seq)
    local parts = {}
    model:feed({ { seq = seq, ids = table.move(ids, 1, 256, 1, {}) } }, { outs = "all", on_step = function(step)
      parts[#parts + 1] = assert(model.plan:read("logits", 0, #step.outs))
    end })
    sum = sum + nb.summary(assert(nb.nll(nb.concat(parts), table.move(ids, 2, 257, 1, {})))).mean
  end
  return sum / 4
end

TestOpLocal = {}
for _, c in ipairs(checkpoints) do
  local dir, numerics = table.unpack(c)
  local name = dir .. " " .. numerics

  TestOpLocal["test_every_op_is_within_its_bound " .. name] = function()
    need_device()
    local start = os.clock()
    local model <close> = open(dir, { impl = numerics, max_len = max_len, check = true })
    local got, ids, tokens = run(model, prefill, decode)
    lu.assertEquals(model.launches.host, {})
    local s = oplocal.summary(model.check.records)
    local codes, sets, beyond = 0, 0, 0
    for _, r in ipairs(model.check.records) do
      codes, sets, beyond = codes + (r.differ or 0), sets + (r.sets or 0), beyond + (r.beyond or 0)
      lu.assertTrue(r.n > 0 and r.ratio >= 0 and r.ratio <= 1, r.name)
      lu.assertEquals(r.outside, 0, r.name)
    end
    lu.assertTrue(s.ok)
    lu.assertEquals({ codes, beyond }, { 0, 0 })
    -- every output of every op of the run was judged
    local outputs = 0
    for _, op in ipairs(model.ops) do
      for _, row in ipairs(op.spec.args) do
        local direction = row:match ": (%a+)"
        if (direction == "out" or direction == "inout" or direction == "state") and op.bound[row:match "^[%w_]+"] then
          outputs = outputs + 1
        end
      end
    end
    lu.assertEquals(#model.check.records, outputs)
    print(("# %s %s: %d elements of %d outputs within their bounds, worst %.6f at %s; %d router sets differ; %.1f s"):format(
      device, name, s.n, outputs, s.worst.ratio, oplocal.spot(s.worst), sets, os.clock() - start))

    -- Greedy tokens at every row: the reference follows the device's tokens, so that its rows stand behind the same past.
    local all = table.move(tokens, 1, decode, prefill + 1, ids)
    local function reference(opt)
      opt.device, opt.impl, opt.round, opt.max_len = "host", "ref:" .. numerics, "bf16", max_len
      local host <close> = open(dir, opt)
      local parts = {}
      host:feed({ { seq = host:sequence(), ids = all } }, { outs = "all", on_step = function(step)
        parts[#parts + 1] = assert(host.plan:read("logits", 0, #step.outs))
      end })
      return nb.concat(parts)
    end
    local v = margin.judge(got, reference {}, spread.runs(12, reference))
    print(("# %s %s: %s"):format(device, name, margin.text(v)))
    lu.assertTrue(v.ok, margin.text(v))
  end

  if is_long then
    TestOpLocal["test_nll_of_weights_only_modes " .. name] = function()
      need_device()
      local function reference(opt)
        opt.impl, opt.round = "ref:" .. numerics, "bf16"
        return nll_of(dir, opt)
      end
      local want = reference {}
      if not want then return end   -- W4A4 is chaotic: device_test.lua judges it by its spread
      local got = nll_of(dir, { device = device, impl = numerics })
      local deviation = spread.deviation(spread.runs(6, reference))
      local bound = math.max(2e-3, 4 * deviation)
      print(("# %s %s: nll over 4 windows %.6f, reference %.6f, %.1e apart of %.1e; its own deviation %.1e"):format(device, name,
        got, want, math.abs(got - want), bound, deviation))
      lu.assertAlmostEquals(got, want, bound)
    end
  end

  if is_long and is_emulator then
    TestOpLocal["test_nothing_is_found_in_checked_mode " .. name] = function()
      need_device()
      local start = os.clock()
      local model <close> = open(dir, { impl = numerics, max_len = max_len, checked = true })
      run(model, prefill, decode)   -- a finding is an error
      print(("# %s %s: no finding in checked mode, %.1f s"):format(device, name, os.clock() - start))
    end
  end
end

-- Ragged sequences side by side, and drafts with rejected rows: states of several slots and versions.
function TestOpLocal:test_ragged_sequences_and_drafts()
  need_device()
  local model <close> = open("sib_a/bf16", { max_len = 32, chunk = 16, slots = 3, mtp = 2, check = true, capacities = { 1, 8, 16 } })
  local items, rejected = {}, 0
  for i, n in ipairs { 9, 1, 14 } do items[i] = { seq = model:sequence(), ids = ids_of(model, "/prose_eval", 40 * i, n) } end
  local last, sampler = model:feed(items), nb.sampler {}
  for i, item in ipairs(items) do
    local token = assert(sampler:pick(last[i], 0))
    for _ = 1, 2 do
      local tokens, accepted, drafted = model:speculate(item.seq, token, 2)
      token, rejected = tokens[#tokens], rejected + drafted - accepted
    end
  end
  lu.assertTrue(rejected > 0)   -- else no version but the newest was read
  local programs = {}
  for _, r in ipairs(model.check.records) do
    lu.assertEquals(r.outside, 0, r.name)
    programs[r.name:match "^mtp" or "main"] = true
  end
  lu.assertTrue(programs.mtp and programs.main)
  lu.assertTrue(oplocal.summary(model.check.records).ok)
end

-- One layer of each kind at the extents of Qwen3.6-35B-A3B, random weights: 128 tokens of prefill and a few decoded.
if is_long then
  for _, kind in ipairs { "L", "A" } do
    for _, c in ipairs { { "experts", "stored" }, { "experts", "w4a16" }, { "all", "stored" } } do
      local format, numerics = table.unpack(c)
      TestOpLocal["test_a_full_size_layer " .. kind .. " " .. format .. " " .. numerics] = function()
        need_device()
        local folder, start = command.folder(), os.clock()
        local status, _, err = command.run("synthetic", folder .. "/one", "--layers", kind, "--format", format)
        lu.assertEquals(status, 0, err)
        do
          local model <close> = open(folder .. "/one", { impl = numerics, max_len = 144, chunk = 128, check = true })
          run(model, 128, 8)
          local s = oplocal.summary(model.check.records)
          print(("# %s full-size layer %s, NVFP4 %s, %s: %d elements, %d outside, worst %.6f at %s; %.1f s"):format(device, kind, format,
            numerics, s.n, s.outside, s.worst.ratio, oplocal.spot(s.worst), os.clock() - start))
          lu.assertTrue(s.ok)
          lu.assertEquals(model.launches.host, {})
        end
        command.remove(folder)
      end
    end
  end
end

-- What is wrong must be seen, at its op and nowhere else: each case falsifies one op's reference, or keeps the device from doing
-- its work.
TestMutants = {}

local function outside(change)
  need_device()
  local model <close> = open("sib_a/modelopt", { impl = "stored", max_len = 32, chunk = 16, check = true })
  local ops, by_label = {}, {}
  for _, program in pairs(model.check.programs) do
    for _, op in ipairs(program) do ops[#ops + 1], by_label[op.label] = op, op end
  end
  change(by_label, model)
  pcall(run, model, 9, 1)   -- NaN among the logits ends a run
  local found = {}
  for _, r in ipairs(model.check.records) do if r.outside > 0 then found[#found + 1] = r.name end end   -- in graph order
  lu.assertEquals(oplocal.summary(model.check.records).ok, #found == 0)
  return found
end

function TestMutants:test_other_weights()
  lu.assertEquals(outside(function(op, model)
    op["layer01/mixer"].weights.w = assert(nb.weights(model.ckpt, { "layers.3.gdn.out" }))
  end), { "layer01/mixer" })
end

function TestMutants:test_one_wrong_expert()
  lu.assertEquals(outside(function(op, model)
    local names = {}
    for e = 0, model.cfg.experts - 1 do names[e + 1] = ("layers.2.experts.%d.down"):format(e == 3 and 4 or e) end
    op["layer02/experts_fc2"].weights.down = assert(nb.weights(model.ckpt, names))
  end), { "layer02/experts_fc2" })
end

function TestMutants:test_another_epsilon()
  lu.assertEquals(outside(function(op) op["layer00/input_norm"].numbers = { eps = 1.02e-5, plus = 1 } end),
    { "layer00/input_norm" })
end

function TestMutants:test_a_state_that_is_read_but_wrong()
  local found = outside(function(op) op["layer01/gdn_delta"].weights.a_log = op["layer03/gdn_delta"].weights.a_log end)
  lu.assertItemsEquals(found, { "layer01/gdn_delta", "layer01/gdn_delta.state" })
end

function TestMutants:test_a_router_of_another_layer()
  local found = outside(function(op) op["layer00/router_logits"].weights.w = op["layer01/router_logits"].weights.w end)
  lu.assertEquals(found[1]:match "^layer00/router", "layer00/router")
  for _, name in ipairs(found) do lu.assertStrMatches(name, "layer00/router_.*") end
end

-- Values one bf16 step too large, of one op's output and of one code: seen.
function TestMutants:test_a_value_that_is_off_by_a_step()
  local function off(label, change)
    return outside(function(op, model)
      local id, peek, runs = op[label].id, model.check.plan.peek, 0
      local plan = model.check.plan
      model.check.plan = setmetatable({}, { __index = function(_, name)
        return function(_, ...)
          local result, message, code = plan[name](plan, ...)
          if name == "peek" and ... == id then
            runs = runs + 1
            if runs == 2 then change(result) end   -- after the launch of the first step
          end
          return result, message, code
        end
      end })
      lu.assertNotNil(peek)
    end)
  end
  lu.assertEquals(off("layer03/experts", function(args)
    local x = args.sum:get(700)
    args.sum:set(700, x * (1 + 2 ^ -6))
  end), { "layer03/moe" })
  lu.assertEquals(off("layer02/residual", function(args) args.y_codes.codes:set(5, (args.y_codes.codes:get(5) + 1) % 256) end),
    { "layer02/residual.y_codes" })
  lu.assertEquals(off("layer01/shared_gate", function(args) args.y:set(2, 0 / 0) end), { "layer01/shared_gate" })
end

function TestMutants:test_an_op_that_does_nothing()
  local found = outside(function(op, model)
    local id, plan = op["layer02/mixer"].id, model.check.plan
    model.check.plan = setmetatable({}, { __index = function(_, name)
      return function(_, ...)
        if name == "run_op" and ... == id then return true end
        return plan[name](plan, ...)
      end
    end })
  end)
  lu.assertEquals(found[1], "layer02/mixer")
end

TestCommand = {}

function TestCommand:test_trace_ends_by_its_verdict_and_compare_shows_the_kernels()
  need_device()
  local folder = command.folder()
  local object = command.json("trace", golden .. "/sib_b/bf16", folder .. "/a.h5", "--ids", "1,2,3,4,5,6", "--n", "2",
    "--device", device, "--check", "--json")
  lu.assertTrue(object.check.ok)
  lu.assertTrue(object.check.elements > 10000)
  lu.assertEquals(object.check.outside, 0)
  local trace <close> = assert(nb.trace.open(folder .. "/a.h5"))
  local meta = trace:meta()
  local at
  for i, output in ipairs(meta.check_output) do if output == "layer02/mixer" then at = i end end
  lu.assertEquals({ meta.check_family[at], meta.check_elements[at], meta.check_outside[at] }, { "linear", 8 * 96, 0 })
  lu.assertTrue(meta.check_ratio[at] > 0 and meta.check_ratio[at] <= 1)
  local status, out = command.run("compare", folder .. "/a.h5", folder .. "/a.h5", "--taps", "layer02/mixer,logits")
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "kernel")
  lu.assertStrContains(out, ("%9.3f"):format(meta.check_ratio[at]))
  command.remove(folder)
end

function TestCommand:test_check_needs_a_device()
  local status, _, err = command.run("trace", golden .. "/sib_b/bf16", "--ids", "1", "--check")
  lu.assertEquals(status, 2)
  lu.assertStrContains(err, "--check needs --device")
end

os.exit(lu.LuaUnit.run())
