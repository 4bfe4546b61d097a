local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "draft_accept"
TestDraftAccept = {}

-- o: ids, token (of the wanted rows), drafts by slot, and the step's seq_start, slot, out_row. Returns the three lists.
local function run(o)
  local slots = #o.drafts
  local accepted, next, rejected = op.i32({ slots }, -5), op.i32({ slots }, -6), op.i32({ slots }, -7)
  op.run(spec, { args = { ids = op.i32({ #o.ids }, o.ids), token = op.i32({ #o.token }, o.token), drafts = op.i32({ slots }, o.drafts),
    accepted = accepted, next = next, rejected = rejected },
    step = { rows = #o.ids, seq_start = o.seq_start or { 0, #o.ids }, slot = o.slot or { 0 }, out_row = o.out_row } })
  return accepted:list(), next:list(), rejected:list()
end

-- Every outcome of up to four drafts, from the definition: the choices behind a prefix that is right, then one that is not.
function TestDraftAccept:test_the_longest_right_prefix()
  for drafts = 0, 4 do
    for pattern = 0, (1 << drafts) - 1 do   -- bit i: the choice in front of draft i is that draft
      local ids, token, rows, want = { 40 }, {}, { 0 }, 0
      for i = 1, drafts do ids[i + 1], rows[i + 1] = 40 + i, i end
      for i = 0, drafts do token[i + 1] = i < drafts and pattern >> i & 1 == 1 and ids[i + 2] or 90 + i end
      while want < drafts and pattern >> want & 1 == 1 do want = want + 1 end
      local accepted, next, rejected = run { ids = ids, token = token, drafts = { drafts }, out_row = rows }
      lu.assertEquals({ accepted, next, rejected }, { { want }, { 90 + want }, { drafts - want } })
    end
  end
end

-- A prompt's rows in front of the drafts, wanted or not, do not matter; without drafts the last row's choice is next.
function TestDraftAccept:test_rows_in_front()
  local o = { ids = { 1, 2, 3, 4, 5 }, drafts = { 2 }, token = { 4, 5, 9 }, out_row = { 2, 3, 4 } }
  lu.assertEquals({ run(o) }, { { 2 }, { 9 }, { 0 } })
  o.token, o.out_row = { 7, 7, 4, 8, 9 }, { 0, 1, 2, 3, 4 }
  lu.assertEquals({ run(o) }, { { 1 }, { 8 }, { 1 } })
  o.drafts = { 0 }
  lu.assertEquals({ run(o) }, { { 0 }, { 9 }, { 0 } })
  o.token, o.out_row = {}, {}
  lu.assertEquals({ run(o) }, { { 0 }, { -1 }, { 0 } }, "no row is wanted")
end

function TestDraftAccept:test_sequences_are_judged_by_themselves_and_other_slots_are_left()
  local accepted, next, rejected = run { seq_start = { 0, 3, 4, 6 }, slot = { 3, 0, 2 }, drafts = { 0, 9, 1, 2 },
    ids = { 10, 11, 12, 20, 30, 31 }, token = { 11, 12, 13, 21, 99, 32 }, out_row = { 0, 1, 2, 3, 4, 5 } }
  lu.assertEquals(accepted, { 0, -5, 0, 2 })
  lu.assertEquals(next, { 21, -6, 99, 13 })
  lu.assertEquals(rejected, { 0, -7, 1, 0 })
end

-- The example of the spec, which kernels are tried on, has what it says: all, some and none accepted.
function TestDraftAccept:test_the_example_is_not_all_of_one_kind()
  local inputs = require "scripts.lib.inputs"
  local call = inputs.make(spec, spec.cases[2], 1)
  op.run(spec, call)
  lu.assertEquals(call.step.slot, { 4, 3, 2, 1 })
  lu.assertEquals(call.args.accepted:list(), { 51, 4, 0, 1, 0 })
  lu.assertEquals(call.args.rejected:list(), { 71, 0, 2, 2, 0 })
end

function TestDraftAccept:test_wrong_calls()
  local function call(drafts, out_row, slot)
    return { args = { ids = op.i32({ 3 }, 1), token = op.i32({ 3 }, 1), drafts = op.i32({ 2 }, drafts), accepted = op.i32 { 2 },
      next = op.i32 { 2 }, rejected = op.i32 { 2 } }, step = { rows = 3, slot = { slot or 0 }, out_row = out_row } }
  end
  op.fails(spec, call(3, { 0, 1, 2 }), "E_VALUE", "expected 0 to 2 drafts among 3 rows, found 3")
  op.fails(spec, call(-1, { 0, 1, 2 }), "E_VALUE", "found -1")
  op.fails(spec, call(2, { 1, 2 }), "E_VALUE", "rows 0 to 2 wanted side by side")
  op.fails(spec, call(2, { 0, 2, 1 }), "E_VALUE", "rows 0 to 2 wanted side by side")
  op.fails(spec, call(0, {}, 2), "E_VALUE", "slot below 2")
end

os.exit(lu.LuaUnit.run())
