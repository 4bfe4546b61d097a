-- `nibble golden` against transformers' recordings: the trained tiny model and two siblings whose every extent differs.
local lu, nb, command = require "luaunit", require "nibble", require "tests.scripts.command"

TestGolden = {}
local function run(ckpt, golden, ...)
  local result, status, err = command.json("golden", command.golden .. "/" .. ckpt, command.golden .. "/" .. golden, "--json",
    ...)
  lu.assertEquals(status, result.ok and 0 or 1, err)
  return result
end

for _, case in ipairs {
  { "tiny/bf16", "tiny/golden.h5", 5, 96, true }, { "sib_a/bf16", "sib_a/golden.h5", 2, 20, true },
  { "sib_b/bf16", "sib_b/golden.h5", 2, 20, false },
} do
  local ckpt, golden, prompts, greedy, mtp = table.unpack(case)
  TestGolden["test_every_tap_state_and_token " .. ckpt] = function()
    local r = run(ckpt, golden)
    print(("# %s: worst %s nmse %.3e, %d of %d greedy tokens"):format(ckpt, r.worst.tap, r.worst.nmse, r.greedy_equal, r.greedy))
    lu.assertTrue(r.ok)
    lu.assertTrue(#r.prompts >= prompts)
    lu.assertTrue(r.greedy >= greedy)
    lu.assertEquals(r.greedy_equal, r.greedy)
    lu.assertEquals(r.taps.mtp_logits ~= nil, mtp)
    for tap, t in pairs(r.taps) do lu.assertTrue(t.nmse <= 1e-9, tap) end
  end
  TestGolden["test_ragged_chunks " .. ckpt] = function() lu.assertTrue(run(ckpt, golden, "--chunk", "11").ok) end
end

-- A recording that is off by a little in one place must be noticed: the command can fail.
function TestGolden:test_bf16_rounding_is_beyond_the_bars()
  local r = run("tiny/bf16", "tiny/golden.h5", "--round", "bf16")
  lu.assertFalse(r.ok)
  lu.assertTrue(r.worst.nmse > 1e-7)
end

function TestGolden:test_another_models_recording_is_a_sentence()
  local status, _, err = command.run("golden", command.golden .. "/tiny/bf16", command.golden .. "/sib_a/golden.h5")
  lu.assertTrue(status >= 2, err)
  lu.assertStrMatches(err, "nibble: .*\n")
end

os.exit(lu.LuaUnit.run())
