local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "lm_head_sample"
TestLmHeadSample = {}

local function run(x, w, out_row, outs)
  local v = w:shape()[1]
  local logits, token = op.poison(outs or #out_row, v), op.i32({ outs or #out_row }, -9)
  op.run(spec, { args = { x = x, w = w, logits = logits, token = token }, step = { out_row = out_row }, round = "bf16" })
  return logits, token
end

function TestLmHeadSample:test_definition_for_the_rows_that_are_wanted()
  local rng, rows, v, h = op.random(1), 6, 37, 21
  local x, w = op.f32({ rows, h }, rng), op.bf16({ v, h }, rng)
  local logits, token = run(x, w, { 5, 0, 3 })
  local want = {}
  for out, row in ipairs { 5, 0, 3 } do
    local best = 0
    for t = 0, v - 1 do
      local sum = 0
      for c = 0, h - 1 do sum = sum + x:get(row * h + c) * w:get(t * h + c) end
      want[#want + 1] = sum
      if sum > want[(out - 1) * v + best + 1] then best = t end
    end
    lu.assertEquals(token:get(out - 1), best)
  end
  op.same(logits, want, "logits stay f32")
end

function TestLmHeadSample:test_ties_go_to_the_lowest_token()
  local _, token = run(op.f32({ 1, 1 }, 1), op.f32({ 5, 1 }, { 1, 3, 2, 3, 3 }), { 0 })
  lu.assertEquals(token:list(), { 1 })
  _, token = run(op.f32({ 1, 1 }, 0), op.f32({ 4, 1 }, 1), { 0 })
  lu.assertEquals(token:list(), { 0 })
  _, token = run(op.f32({ 1, 1 }, 1), op.f32({ 3, 1 }, { -5, -2, -3 }), { 0 })
  lu.assertEquals(token:list(), { 1 })
end

function TestLmHeadSample:test_no_rows_wanted()
  local logits, token = run(op.f32({ 2, 3 }, 1), op.f32({ 4, 3 }, 1), {}, 1)
  lu.assertEquals(token:list(), { -9 })
  lu.assertNotEquals(logits:get(0), logits:get(0))
end

function TestLmHeadSample:test_rows_do_not_depend_on_each_other()
  local rng = op.random(2)
  local x, w = op.f32({ 9, 64 }, rng), op.f32({ 500, 64 }, rng)
  local all, tokens = run(x, w, { 0, 1, 2, 3, 4, 5, 6, 7, 8 })
  for row = 0, 8 do
    local one, token = run(x:rows(row, 1), w, { 0 })
    op.equal(one, all:rows(row, 1))
    lu.assertEquals(token:get(0), tokens:get(row))
  end
end

function TestLmHeadSample:test_wrong_calls()
  local function call(x, out_row)
    return { args = { x = x, w = op.f32({ 4, 2 }, 1), logits = op.f32 { 1, 4 }, token = op.i32 { 1 } },
      step = { out_row = out_row } }
  end
  op.fails(spec, call(op.f32({ 2, 2 }, { 1, 1, 0 / 0, 1 }), { 1 }), "E_VALUE", "not a number")
  op.fails(spec, call(op.f32 { 2, 2 }, { 2 }), "E_VALUE", "row below 2")
  op.fails(spec, call(op.f32 { 2, 2 }, { 0, 1 }), "E_SHAPE", "room for 2 outs")
end

os.exit(lu.LuaUnit.run())
