-- The margin rule on constructed logits, where each case says how far the reference moves at a row and what a run may do there; and
-- on the tiny checkpoints, where sound runs must pass and real faults must not.
local lu, nb = require "luaunit", require "nibble"
local session, command = require "scripts.lib.session", require "tests.scripts.command"
local margin, spread, qwen = require "scripts.lib.margin", require "tests.lib.spread", require "scripts.lib.qwen3_5_moe"

TestMargin = {}

-- Rows of four logits: token top leads by gap, the token behind it (top + 1, counted around) follows.
local function logits_of(rows)
  local values = {}
  for _, r in ipairs(rows) do
    for t = 0, 3 do values[#values + 1] = t == r[1] and 5 or t == (r[1] + 1) % 4 and 5 - r[2] or -1 end
  end
  return nb.tensor("F32", { #rows, 4 }, values)
end

-- Runs whose gap at each row is off by its `moves`, half of them up and half down: that is the spread.
local function runs_of(rows, moves)
  local runs = {}
  for i = 1, 8 do
    local moved = {}
    for k, r in ipairs(rows) do moved[k] = { r[1], r[2] + (i % 2 == 0 and moves[k] or -moves[k]) } end
    runs[i] = logits_of(moved)
  end
  return runs
end

local rows, moves = { { 0, 2 }, { 1, 3 }, { 2, 0.25 }, { 3, 4 } }, { 0.01, 1, 0.1, 0 }
local want, runs = logits_of(rows), runs_of(rows, moves)

local function judge(gaps, other)
  local got = {}
  for i, r in ipairs(rows) do got[i] = { r[1], gaps[i] } end
  return margin.judge(logits_of(got), want, other or runs)
end

function TestMargin:test_equal_tokens_pass_however_far_the_logits_are()
  local v = judge { 0.1, 30, 2, 0.5 }
  lu.assertEquals({ v.ok, v.rows, v.flips, v.beyond, v.worst }, { true, 4, 0, 0, nil })
end

function TestMargin:test_a_flip_is_excused_by_how_far_the_reference_moves_there()
  local v = judge { 2, -0.5, -0.2, 4 }   -- margins 3 of a spread 1, 0.25 of 0.1
  lu.assertEquals({ v.ok, v.flips, v.beyond }, { true, 2, 0 })
  lu.assertEquals({ v.worst.row, v.worst.got, v.worst.want, v.worst.margin }, { 1, 2, 1, 3.0 })
  lu.assertAlmostEquals(v.worst.ratio, 3, 1e-6)
end

-- By nothing else: not by another row's spread, nor by how far the run itself is off.
function TestMargin:test_a_flip_where_the_reference_stands_still_is_not()
  for row, gaps in pairs { [0] = { -0.001, 3, 0.25, 4 }, [3] = { 2, 3, 0.25, -0.001 } } do
    local v = judge(gaps)
    lu.assertEquals({ v.ok, v.flips, v.beyond, v.worst.row }, { false, 1, 1, row })
  end
  lu.assertEquals(judge({ 2, 3, 0.25, -0.001 }).worst.ratio, math.huge)
  local v = judge { -100, -100, -100, 4 }
  lu.assertEquals({ v.ok, v.flips, v.beyond, v.worst.row }, { false, 3, 1, 0 })
end

function TestMargin:test_the_margin_must_be_below_four_spreads()
  lu.assertTrue(judge({ 2, 3, -1, 4 }, runs_of(rows, { 0, 0, 0.0626, 0 })).ok)
  lu.assertFalse(judge({ 2, 3, -1, 4 }, runs_of(rows, { 0, 0, 0.0624, 0 })).ok)
end

function TestMargin:test_an_exact_tie_needs_a_spread_too()
  local tied, lower = nb.tensor("F32", { 1, 3 }, { 2, 2, 1 }), nb.tensor("F32", { 1, 3 }, { 2, 3, 1 })
  local still, moved = {}, {}
  for i = 1, 8 do still[i], moved[i] = tied, nb.tensor("F32", { 1, 3 }, { 2, 2 + (i % 2 - 0.5) * 1e-3, 1 }) end
  lu.assertFalse(margin.judge(lower, tied, still).ok)
  lu.assertTrue(margin.judge(lower, tied, moved).ok)
end

function TestMargin:test_what_is_not_finite_excuses_nothing()
  local nan, row = 0 / 0, nb.tensor("F32", { 1, 3 }, { 2, 1, 0 })
  local other = nb.tensor("F32", { 1, 3 }, { 1, 2, 0 })
  for _, values in ipairs { { nan, 1, 0 }, { 1, nan, 0 }, { math.huge, 1, 0 }, { 1, -math.huge, 0 } } do
    local broken = {}
    for i = 1, 8 do broken[i] = nb.tensor("F32", { 1, 3 }, values) end
    lu.assertFalse(margin.judge(other, row, broken).ok)
  end
  local wide = {}
  for i = 1, 8 do wide[i] = nb.tensor("F32", { 1, 3 }, { 2 + 10 * (i % 2), 1, 0 }) end
  lu.assertTrue(margin.judge(other, row, wide).ok)
  lu.assertFalse(margin.judge(nb.tensor("F32", { 1, 3 }, { nan, 1, 0 }), row, wide).ok)
end

-------------------------------------------------------------------------------------- whole models
local N = 128
local weights, config = nb.weights, qwen.config

-- Logits of the reference over the same tokens, with a fault that `break_it` makes while the model is built.
local function logits(dir, numerics, opt, break_it)
  if break_it then break_it() end
  local model <close> = session.open(command.tiny .. "/" .. dir, { impl = "ref:" .. numerics, round = "bf16", max_len = N, chunk = N,
    perturb = opt.perturb, seed = opt.seed })
  nb.weights, qwen.config = weights, config
  local file <close> = assert(nb.h5.open(command.tiny .. "/eval.h5"))
  local ids, parts = table.move(assert(file:read "/prose_eval"):list(), 7, N + 6, 1, {}), {}
  model:feed({ { seq = model:sequence(), ids = ids } }, { outs = "all", on_step = function(step)
    parts[#parts + 1] = assert(model.plan:read("logits", 0, #step.outs))
  end })
  return nb.concat(parts)
end

local function epsilon(factor)
  return function()
    qwen.config = function(ckpt)
      local c = config(ckpt)
      c.eps = factor * c.eps
      return c
    end
  end
end

-- Expert 3 of layer 2 multiplies with expert 4's last matrix.
local function wrong_expert()
  nb.weights = function(ckpt, names)
    if names[4] == "layers.2.experts.3.down" then
      names = { table.unpack(names) }
      names[4] = names[5]
    end
    return weights(ckpt, names)
  end
end

-- Where activations are quantized only a large fault is told from chaos.
for _, c in ipairs {
  { "bf16", "stored", wrong_expert = wrong_expert, epsilon_twice = epsilon(2) },
  { "modelopt/nvfp4_default-kv_fp8", "w4a16", wrong_expert = wrong_expert, epsilon_twice = epsilon(2) },
  { "modelopt/nvfp4_default-kv_fp8", "stored", epsilon_tenfold = epsilon(10) },
  { "ct/linear_w4a4", "stored", epsilon_tenfold = epsilon(10) },
} do
  local dir, numerics = c[1], c[2]
  TestMargin["test_faults_fail_and_sound_runs_pass " .. dir .. " " .. numerics] = function()
    local reference = logits(dir, numerics, {})
    local perturbed = spread.runs(12, function(opt) return logits(dir, numerics, opt) end)
    local flips = 0
    for seed = 1, 3 do
      local v = margin.judge(logits(dir, numerics, { perturb = 1e-6, seed = 77 * seed }), reference, perturbed)
      lu.assertTrue(v.ok, margin.text(v))
      flips = flips + v.flips
    end
    print(("# %s %s: %d of %d rows of sound runs choose another token"):format(dir, numerics, flips, 3 * N))
    for name, fault in pairs(c) do
      if type(name) == "string" then
        local v = margin.judge(logits(dir, numerics, {}, fault), reference, perturbed)
        print(("# %s %s, %s: %s"):format(dir, numerics, name, margin.text(v)))
        lu.assertFalse(v.ok, name)
      end
    end
  end
end

os.exit(lu.LuaUnit.run())
