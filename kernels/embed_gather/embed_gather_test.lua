local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "embed_gather"
TestEmbedGather = {}

function TestEmbedGather:test_rows_of_the_table_in_any_order()
  local w = op.bf16({ 5, 3 }, op.random(1))
  local y = op.poison(4, 3)
  op.run(spec, { args = { ids = op.i32({ 4 }, { 4, 0, 2, 4 }), w = w, y = y } })
  local want, table_ = {}, w:list()
  for row, id in ipairs { 4, 0, 2, 4 } do
    for i = 1, 3 do want[(row - 1) * 3 + i] = table_[id * 3 + i] end
  end
  lu.assertEquals(y:list(), want)
end

function TestEmbedGather:test_rounds_and_leaves_rows_behind_the_step()
  local w, y = op.f32({ 2, 2 }, { 1.00390625, 3.14159, -0.001, 1e30 }), op.poison(3, 2)
  op.run(spec, { args = { ids = op.i32({ 3 }, { 1, 0, 9 }), w = w, y = y }, step = { rows = 2 }, round = "bf16" })
  local got = y:list()
  op.same(op.slice(got, 0, 4), { op.to_bf16(-0.001), op.to_bf16(1e30), 1.0, op.to_bf16(3.14159) }, "y", 0, 0)
  lu.assertNotEquals(got[5], got[5])
end

function TestEmbedGather:test_quantized_table()
  local w, values = op.nvfp4_weight(4, 32, 3)
  local y = op.poison(1, 32)
  op.run(spec, { args = { ids = op.i32({ 1 }, { 2 }), w = w, y = y } })
  op.same(y, op.slice(values, 64, 32), "y", 0, 0)
end

function TestEmbedGather:test_ids_outside_the_table()
  for _, id in ipairs { -1, 5 } do
    op.fails(spec, { args = { ids = op.i32({ 1 }, { id }), w = op.f32({ 5, 2 }), y = op.poison(1, 2) } }, "E_VALUE", "below 5")
  end
end

os.exit(lu.LuaUnit.run())
