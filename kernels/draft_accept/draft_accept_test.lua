local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "draft_accept"
TestDraftAccept = {}

local names = { "accepted", "rejected", "followed", "taken", "mtp_taken", "mtp_ids", "ids" }

-- o: ids, token (of the wanted rows), drafts and taken by slot, versions, and the step's seq_start, slot, pos, out_row. Returns lists
-- by name; what is left alone is -5.
local function run(o)
  local slots, rows = #o.drafts, #o.ids
  local args = { ids = op.i32({ rows }, o.ids), token = op.i32({ #o.token }, o.token), drafts = op.i32({ slots }, o.drafts),
    accepted = op.i32({ slots }, -5), rejected = op.i32({ slots }, -5), followed = op.i32({ slots, o.versions or 5 }, -5),
    taken = op.i32({ slots }, o.taken or 10), mtp_taken = op.i32({ slots }, -5), mtp_ids = op.i32({ rows }, -5) }
  local pos = o.pos
  if not pos then
    pos = {}
    for i = 1, rows do pos[i] = 1000 + i end   -- anything but 0: what counts is taken
  end
  op.run(spec, { args = args, step = { rows = rows, seq_start = o.seq_start or { 0, rows }, slot = o.slot or { 0 }, pos = pos,
    out_row = o.out_row } })
  local lists = {}
  for _, name in ipairs(names) do lists[name] = args[name]:list() end
  return lists
end

-- Every outcome of up to four drafts, from the definition: the choices behind a prefix that is right, then one that is not.
function TestDraftAccept:test_the_longest_right_prefix()
  for drafts = 0, 4 do
    for pattern = 0, (1 << drafts) - 1 do   -- bit i: the choice in front of draft i is that draft
      local ids, token, rows, n = { 40 }, {}, { 0 }, 0
      for i = 1, drafts do ids[i + 1], rows[i + 1] = 40 + i, i end
      for i = 0, drafts do token[i + 1] = i < drafts and pattern >> i & 1 == 1 and ids[i + 2] or 90 + i end
      while n < drafts and pattern >> n & 1 == 1 do n = n + 1 end
      local got = run { ids = ids, token = token, drafts = { drafts }, out_row = rows }
      local want = { accepted = { n }, rejected = { drafts - n }, followed = {}, taken = { 10 + 1 + n }, mtp_taken = { drafts > 0 and 10 or -5 },
        mtp_ids = {}, ids = { drafts > 0 and 90 + n or 40, table.unpack(ids, 2) } }
      for i = 1, 5 do want.followed[i] = i <= n and 40 + i or i == n + 1 and 90 + n or -1 end
      for i = 1, drafts + 1 do want.mtp_ids[i] = drafts == 0 and -5 or i <= n and 40 + i or 90 + n end
      lu.assertEquals(got, want)
    end
  end
end

-- A prompt's rows in front of the drafts, wanted or not, do not matter; without drafts the last row's choice follows.
function TestDraftAccept:test_rows_in_front()
  local o = { ids = { 1, 2, 3, 4, 5 }, drafts = { 2 }, token = { 4, 5, 9 }, out_row = { 2, 3, 4 }, versions = 3 }
  local got = run(o)
  lu.assertEquals({ got.accepted, got.followed, got.taken, got.mtp_ids, got.ids },
    { { 2 }, { 4, 5, 9 }, { 15 }, { 2, 3, 4, 5, 9 }, { 1, 2, 9, 4, 5 } })
  o.token, o.out_row = { 7, 7, 4, 8, 9 }, { 0, 1, 2, 3, 4 }
  got = run(o)
  lu.assertEquals({ got.accepted, got.followed, got.taken, got.mtp_ids, got.ids },
    { { 1 }, { 4, 8, -1 }, { 14 }, { 2, 3, 4, 8, 8 }, { 1, 2, 8, 4, 5 } })
  o.drafts = { 0 }
  got = run(o)
  lu.assertEquals({ got.accepted, got.followed, got.taken, got.ids }, { { 0 }, { 9, -1, -1 }, { 15 }, o.ids })
  o.token, o.out_row = {}, {}
  got = run(o)
  lu.assertEquals({ got.followed, got.rejected, got.taken, got.mtp_ids }, { { -1, -1, -1 }, { 0 }, { 15 }, { -5, -5, -5, -5, -5 } })
end

function TestDraftAccept:test_a_sequence_at_position_0_starts_over()
  local got = run { ids = { 1, 2, 3 }, drafts = { 1 }, token = { 8, 8, 9 }, out_row = { 0, 1, 2 }, pos = { 0, 1, 2 }, taken = { 77 } }
  lu.assertEquals({ got.taken, got.mtp_taken }, { { 2 }, { 0 } })
end

function TestDraftAccept:test_sequences_are_judged_by_themselves_and_other_slots_are_left()
  local got = run { seq_start = { 0, 3, 4, 6 }, slot = { 3, 0, 2 }, drafts = { 0, 9, 1, 2 }, taken = { 20, 21, 22, 23 }, versions = 3,
    ids = { 10, 11, 12, 20, 30, 31 }, token = { 11, 12, 13, 21, 99, 32 }, out_row = { 0, 1, 2, 3, 4, 5 } }
  lu.assertEquals(got, { accepted = { 0, -5, 0, 2 }, rejected = { 0, -5, 1, 0 }, taken = { 21, 21, 23, 26 }, mtp_taken = { -5, -5, 22, 23 },
    followed = { 21, -1, -1, -5, -5, -5, 99, -1, -1, 11, 12, 13 }, mtp_ids = { 11, 12, 13, -5, 99, 99 }, ids = { 13, 11, 12, 20, 99, 31 } })
end

-- The example of the spec, which kernels are tried on, has what it says: all, some and none accepted.
function TestDraftAccept:test_the_example_is_not_all_of_one_kind()
  local call = require("scripts.lib.inputs").make(spec, spec.cases[2], 1)
  op.run(spec, call)
  lu.assertEquals(call.step.slot, { 4, 3, 2, 1 })
  lu.assertEquals(call.args.accepted:list(), { 51, 4, 0, 1, 0 })
  lu.assertEquals(call.args.rejected:list(), { 61, 0, 2, 2, 0 })
end

function TestDraftAccept:test_wrong_calls()
  local function call(drafts, out_row, slot, versions)
    local function some() return op.i32({ 2 }, drafts) end
    return { args = { ids = op.i32({ 3 }, 1), token = op.i32({ 3 }, 1), drafts = some(), accepted = some(), rejected = some(),
      followed = op.i32 { 2, versions or 3 }, taken = some(), mtp_taken = some(), mtp_ids = op.i32 { 3 } },
      step = { rows = 3, slot = { slot or 0 }, out_row = out_row } }
  end
  op.fails(spec, call(3, { 0, 1, 2 }), "E_VALUE", "expected 0 to 2 drafts, found 3")
  op.fails(spec, call(2, { 0, 1, 2 }, 0, 2), "E_VALUE", "expected 0 to 1 drafts, found 2")
  op.fails(spec, call(-1, { 0, 1, 2 }), "E_VALUE", "found -1")
  op.fails(spec, call(2, { 1, 2 }), "E_VALUE", "rows 0 to 2 wanted side by side")
  op.fails(spec, call(2, { 0, 2, 1 }), "E_VALUE", "rows 0 to 2 wanted side by side")
  op.fails(spec, call(0, {}, 2), "E_VALUE", "slot below 2")
end

os.exit(lu.LuaUnit.run())
