-- The margin rule on constructed logits: each case says at which position the reference ties, and what a run may do there.
local lu, nb = require "luaunit", require "nibble"
local margin = require "scripts.lib.margin"

TestMargin = {}

-- Rows of four logits whose largest is `top` and whose margin is `gap`.
local function logits_of(rows)
  local values = {}
  for _, r in ipairs(rows) do
    for t = 0, 3 do values[#values + 1] = t == r[1] and 5 or t == (r[1] + 1) % 4 and 5 - r[2] or -1 end
  end
  return nb.tensor("F32", { #rows, 4 }, values)
end
local rows = { { 0, 2 }, { 1, 3 }, { 2, 0.25 }, { 3, 4 } }
local want = { 0, 1, 2, 3 }

function TestMargin:test_equal_tokens_pass_whatever_the_margins()
  for _, deviation in ipairs { 0, 0.5, 100 } do
    local v = margin.judge({ 0, 1, 2, 3 }, want, logits_of(rows), deviation)
    lu.assertTrue(v.ok)
    lu.assertEquals(v.agree, 4)
    lu.assertNil(v.margin)
  end
end

function TestMargin:test_a_difference_at_a_near_tie_is_allowed()
  local v = margin.judge({ 0, 1, 3, 0 }, want, logits_of(rows), 0.5)
  lu.assertEquals({ v.ok, v.agree, v.free, v.margin }, { true, 2, 3, 0.25 })
end

function TestMargin:test_a_difference_behind_a_near_tie_is_allowed()
  lu.assertTrue(margin.judge({ 0, 1, 2, 0 }, want, logits_of(rows), 0.5).ok)
end

function TestMargin:test_a_difference_in_front_of_the_near_tie_is_not()
  local v = margin.judge({ 0, 2, 2, 3 }, want, logits_of(rows), 0.5)
  lu.assertEquals({ v.ok, v.agree, v.margin }, { false, 1, 3.0 })
  lu.assertNil(v.free)
end

function TestMargin:test_the_margin_must_be_below_the_deviation()
  lu.assertFalse(margin.judge({ 0, 1, 3, 3 }, want, logits_of(rows), 0.25).ok)
  lu.assertTrue(margin.judge({ 0, 1, 3, 3 }, want, logits_of(rows), 0.2500001).ok)
  lu.assertFalse(margin.judge({ 0, 1, 3, 3 }, want, logits_of(rows), 0).ok)
end

function TestMargin:test_fewer_tokens_are_a_difference()
  lu.assertFalse(margin.judge({ 0, 1 }, want, logits_of(rows), 0.1).ok)
  lu.assertFalse(margin.judge({}, want, logits_of(rows), 0.1).ok)
end

function TestMargin:test_equal_logits_are_a_margin_of_nothing()
  local tied = nb.tensor("F32", { 1, 3 }, { 2, 2, 1 })
  lu.assertFalse(margin.judge({ 1 }, { 0 }, tied, 0).ok)
  lu.assertTrue(margin.judge({ 1 }, { 0 }, tied, 1e-9).ok)
end

function TestMargin:test_nan_allows_nothing()
  local nan = 0 / 0
  lu.assertFalse(margin.judge({ 1 }, { 0 }, nb.tensor("F32", { 1, 3 }, { nan, nan, nan }), 1.0).ok)
  lu.assertFalse(margin.judge({ 1 }, { 0 }, logits_of(rows), nan).ok)
  lu.assertFalse(margin.judge({ 1 }, { 0 }, logits_of(rows), math.huge).ok)
end

function TestMargin:test_deviation_is_the_largest_difference()
  local a, b = nb.tensor("F32", { 2, 2 }, { 1, 2, 3, 4 }), nb.tensor("F32", { 2, 2 }, { 1, 2.5, 3, 3.25 })
  lu.assertEquals(margin.deviation(a, b), 0.75)
  lu.assertEquals(margin.deviation(a, nb.tensor("F32", { 2, 2 }, { 1, 2, 3, 0 / 0 })), math.huge)
end

os.exit(lu.LuaUnit.run())
