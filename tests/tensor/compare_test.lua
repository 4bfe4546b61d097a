-- What Lua sees of comparisons: keys, coordinates from 0, targets as list or tensor, sentences for wrong use.
local lu, nb = require "luaunit", require "nibble"

TestCompare = {}

function TestCompare:test_a_difference_is_named_by_its_coordinates()
  local want = nb.tensor("F32", { 2, 3, 4 })
  for i = 0, #want - 1 do want:set(i, i + 1) end
  local got = nb.num.cast(want, "F64")
  got:set(17, 17.5)
  local d = assert(nb.compare(got, want))
  lu.assertEquals(d.at, { 1, 1, 1 })
  lu.assertEquals({ d.n, d.got, d.want, d.max_abs, d.finite }, { 24, 17.5, 18.0, 0.5, true })
  lu.assertAlmostEquals(d.nmse, 0.25 / (24 * 25 * 49 / 6), 1e-15)
  lu.assertEquals(d.ulp[1], 23)
  lu.assertEquals(#d.ulp, #d.ulp_max)
  lu.assertEquals({ d.ulp_max[1], d.ulp_max[2], d.ulp_max[4], d.ulp_max[#d.ulp_max] }, { 0.0, 1.0, 4.0, math.huge })
  got:set(2, 0 / 0)
  d = assert(nb.compare(got, want))
  lu.assertEquals({ d.finite, d.bad_got, d.bad_want, d.nmse, d.at }, { false, 1, 0, math.huge, { 0, 0, 2 } })
end

function TestCompare:test_logits_and_targets()
  local base, other = nb.tensor("F32", { 2, 3 }, { 1, 2, 3, 3, 2, 1 }), nb.tensor("BF16", { 2, 3 }, { 1, 2, 3, 2, 3, 1 })
  local d = assert(nb.compare_logits(other, base, 2))
  lu.assertEquals({ d.top1, d.topk, d.kl:dtype(), d.kl:shape() }, { 0.5, 1.0, "F64", { 2 } })
  lu.assertEquals(d.kl:get(0), 0.0)
  local sum = math.exp(0) + math.exp(-1) + math.exp(-2)
  lu.assertAlmostEquals(d.kl:get(1), (1 - math.exp(-1)) / sum, 1e-15)
  for _, targets in ipairs { { 2, 0 }, nb.tensor("I32", { 2 }, { 2, 0 }) } do
    lu.assertAlmostEquals(nb.nll(base, targets):get(1), math.log(sum), 1e-15)
  end
  lu.assertErrorMsgContains("as many targets as rows", nb.nll, base, { 1 })
  lu.assertErrorMsgContains("targets are integers", nb.nll, base, { 1, 0.5 })
  local _, message, code = nb.nll(base, { 0, 3 })
  lu.assertEquals({ code, message }, { "E_VALUE", "target 3 of row 1 is not one of the 3 logits" })
  _, message, code = nb.compare_logits(other, base, 4)
  lu.assertEquals(code, "E_VALUE")
end

function TestCompare:test_sets_and_summaries()
  local a, b = nb.tensor("I32", { 3, 2 }, { 1, 2, 3, 4, 5, 6 }), nb.tensor("I32", { 3, 2 }, { 2, 1, 4, 3, 5, 7 })
  lu.assertEquals(nb.compare_sets(a, b), { rows = 3, equal_rows = 2, first_bad_row = 2 })
  lu.assertEquals(nb.compare_sets(a, a), { rows = 3, equal_rows = 3 })
  lu.assertEquals(nb.summary(a), { n = 6, bad = 0, mean = 3.5, median = 3.5, p99 = 6.0, min = 1.0, max = 6.0 })
  local _, message, code = nb.compare(a, nb.tensor("I32", { 2, 3 }))
  lu.assertEquals({ code, message }, { "E_SHAPE", "only tensors of one shape can be compared, not i32[3,2] with i32[2,3]" })
end

os.exit(lu.LuaUnit.run())
