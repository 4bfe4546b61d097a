-- Where the error comes from: parts that must be nothing are nothing, the others are what single runs give.
local lu, nb, command = require "luaunit", require "nibble", require "tests.scripts.command"
local session, threeway = require "scripts.lib.session", require "scripts.lib.threeway"
local golden = command.tiny:match "^(.*)/tiny$"
local ids = { { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5 }, { 200, 17, 33 } }

local function result_of(dir, against, lists)
  local three <close> = threeway.open(dir, { against = against, taps = { "*" }, chunk = 8, slots = #ids, max_len = 32 })
  for _, list in ipairs(lists or { ids }) do three:feed(list) end
  return three:result()
end

-- Tap values of a run of one reference, all rows of both sequences in the order of the steps.
local function taps_of(dir, impl, names)
  local model <close> = session.open(dir, { impl = impl, kv = "f32", chunk = 8, slots = #ids, max_len = 32, taps = names })
  local items, parts = {}, {}
  for i, list in ipairs(ids) do items[i] = { seq = model:sequence(), ids = list } end
  model:feed(items, { outs = "all", on_step = function()
    for _, name in ipairs(names) do
      parts[name] = parts[name] or {}
      table.insert(parts[name], assert(model.plan:tap(name)))
    end
  end })
  for name, list in pairs(parts) do parts[name] = nb.concat(list) end
  return parts
end

TestThreeWay = {}

function TestThreeWay:test_a_model_against_itself_has_no_error()
  local r = result_of(golden .. "/sib_b/bf16", golden .. "/sib_b/bf16")
  lu.assertEquals(r.rows, 14)
  lu.assertTrue(#r.taps > 50)
  for _, t in ipairs(r.taps) do lu.assertEquals({ t.weights, t.activations }, { 0.0, 0.0 }, t.tap) end
  lu.assertEquals(#r.routers, 4)
  for _, router in ipairs(r.routers) do lu.assertEquals({ router.weights.equal, router.activations.equal }, { 14, 14 }) end
  lu.assertEquals(#r.quantizers, 0)
end

function TestThreeWay:test_without_a_base_weights_are_not_measured()
  for _, t in ipairs(result_of(golden .. "/sib_a/modelopt").taps) do lu.assertNil(t.weights, t.tap) end
end

function TestThreeWay:test_parts_are_those_of_single_runs()
  local dir, base, r, by_tap = golden .. "/sib_a/modelopt", golden .. "/sib_a/bf16", nil, {}
  r = result_of(dir, base)
  for _, t in ipairs(r.taps) do by_tap[t.tap] = t end
  local names = { "layer00/moe", "layer02/mixer", "layer03/output", "logits" }
  local runs = { base = taps_of(base, "ref", names), weights = taps_of(dir, "ref:w4a16", names),
                 stored = taps_of(dir, "ref:stored", names) }
  for _, name in ipairs(names) do
    local weights, activations = nb.compare(runs.weights[name], runs.base[name]).nmse,
      nb.compare(runs.stored[name], runs.weights[name]).nmse
    lu.assertTrue(weights > 0 and activations > 0, name)
    lu.assertAlmostEquals(by_tap[name].weights / weights, 1, 1e-9, name)
    lu.assertAlmostEquals(by_tap[name].activations / activations, 1, 1e-9, name)
  end
  -- the experts are the first that is quantized
  lu.assertEquals({ by_tap["layer00/post_norm"].weights, by_tap["layer00/post_norm"].activations }, { 0.0, 0.0 })
end

-- What is fed in two parts is what is fed at once, chunk by chunk.
function TestThreeWay:test_feeding_goes_on()
  local dir = golden .. "/sib_a/modelopt"
  local first, rest = { table.move(ids[1], 1, 5, 1, {}), table.move(ids[2], 1, 3, 1, {}) }, table.move(ids[1], 6, 11, 1, {})
  local whole = result_of(dir, nil)
  local three <close> = threeway.open(dir, { taps = { "*" }, chunk = 8, slots = #ids, max_len = 32 })
  three:feed(first)
  three:feed { rest, {} }
  local parts = three:result()
  lu.assertEquals(parts.rows, whole.rows)
  for i, t in ipairs(whole.taps) do
    lu.assertAlmostEquals(parts.taps[i].activations, t.activations, 1e-9 * t.activations + 1e-300, t.tap)
  end
end

function TestThreeWay:test_quantizers_see_what_the_taps_hold()
  local dir = golden .. "/sib_a/modelopt"
  local r = result_of(dir)
  local values = taps_of(dir, "ref:stored", { "layer00/post_norm", "layer00/experts_fc1", "layer00/router_experts" })
  local model <close> = session.open(dir, {})
  local h, fc1 = r.quantizers[1], r.quantizers[2]
  lu.assertEquals(h.name:match "^layer00/h%." ~= nil and fc1.name:match "^layer00/moe_h%." ~= nil, true)
  local amax = 0
  for _, x in ipairs(values["layer00/post_norm"]:list()) do amax = math.max(amax, math.abs(x)) end
  lu.assertEquals(h.amax, amax)
  lu.assertEquals(h.n, 14 * 160)
  local s = nb.weights(model.ckpt, { "layers.0.experts.0.gate" }):input_scales()[1]
  lu.assertAlmostEquals(h.range / (2688 / s), 1, 1e-6)
  -- every chosen expert's own values
  local list, experts, most = values["layer00/experts_fc1"]:list(), values["layer00/router_experts"]:list(), {}
  for v, e in ipairs(experts) do
    for i = (v - 1) * 96 + 1, v * 96 do most[e // 1 | 0] = math.max(most[e // 1 | 0] or 0, math.abs(list[i])) end
  end
  local n = 0
  for _, c in ipairs(fc1.experts) do
    lu.assertEquals(c.amax, most[c.expert], "expert " .. c.expert)
    n, most[c.expert] = n + c.n, nil
  end
  lu.assertEquals({ n, next(most) }, { fc1.n })
  lu.assertEquals(fc1.n, 14 * 3 * 96)
end

TestCommand = {}

function TestCommand:test_another_model_is_no_base()
  local status, _, err = command.run("trace", golden .. "/sib_a/modelopt", "--ids", "1,2", "--errors", "--against",
    golden .. "/sib_b/bf16")
  lu.assertEquals(status, 5)
  lu.assertStrContains(err, "expected a model with vocab = 384")
end

function TestCommand:test_trace_prints_and_compare_shows_them()
  local folder = command.folder()
  local words = { "trace", golden .. "/sib_a/modelopt", folder .. "/a.h5", "--ids", "1,2,3,4;5,6", "--n", "1", "--errors",
                  "--against", golden .. "/sib_a/bf16" }
  local status, out, err = command.run(table.unpack(words))
  lu.assertEquals(status, 0, err)
  lu.assertStrContains(out, "activations")
  lu.assertStrContains(out, "sets equal")
  lu.assertStrContains(out, "amax/range")
  words[#words + 1] = "--json"
  local object = command.json(table.unpack(words))
  local moe
  for _, t in ipairs(object.errors.taps) do if t.tap == "layer03/moe" then moe = t end end
  lu.assertTrue(moe.weights > 0 and moe.activations > 0)
  local compared = command.json("compare", folder .. "/a.h5", folder .. "/a.h5", "--taps", "layer03/moe", "--json")
  lu.assertEquals({ compared.taps[1].errors.weights, compared.taps[1].errors.activations }, { moe.weights, moe.activations })
  status, out = command.run("compare", folder .. "/a.h5", folder .. "/a.h5", "--taps", "layer03/moe")
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, ("%9.2g %9.2g"):format(moe.weights, moe.activations))
  command.remove(folder)
end

os.exit(lu.LuaUnit.run())
