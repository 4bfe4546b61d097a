local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "draft_next"
TestDraftNext = {}

local H = 3

-- Buffers of two rounds' worth: what the draft head made of a step, and what is handed on. Left alone: -5.
local function buffers(slots, rows)
  return { drafts = op.i32({ slots }, 3), accepted = op.i32({ slots }, 0), taken = op.i32({ slots }, 0), mtp_taken = op.i32({ slots }, 0),
    ids = op.i32({ rows }, -5), mtp_ids = op.i32({ rows }, -5), hidden = op.f32({ rows, H }, -5) }
end

local function run(b, step, token, x)
  local args = {}
  for name, t in pairs(b) do args[name] = t end
  args.token, args.x = op.i32({ #token }, token), x
  op.run(spec, { args = args, step = step })
end

-- Three drafts of two sequences: the first run over four rows each, where 2 and 0 drafts were accepted, then one row each.
function TestDraftNext:test_a_chain_of_drafts()
  local b, x = buffers(3, 8), op.f32({ 8, H }, op.random(1))
  b.accepted, b.mtp_taken = op.i32({ 3 }, { 0, 9, 2 }), op.i32({ 3 }, { 50, 60, 70 })
  b.taken = op.i32({ 3 }, { 51, 61, 73 })   -- behind the accepted rows, as draft_accept leaves it
  run(b, { rows = 8, seq_start = { 0, 4, 8 }, slot = { 2, 0 }, pos = { 9, 9, 9, 9, 9, 9, 9, 9 }, out_row = { 0, 1, 2, 3, 4, 5, 6, 7 } },
    { 10, 11, 12, 13, 20, 21, 22, 23 }, x)
  lu.assertEquals(b.ids:list(), { -5, 12, -5, -5, -5, 20, -5, -5 })
  lu.assertEquals(b.mtp_ids:list(), { 12, 20, -5, -5, -5, -5, -5, -5 })
  lu.assertEquals(b.mtp_taken:list(), { 51, 60, 73 })
  op.same(b.hidden:rows(0, 2), { x:get(6), x:get(7), x:get(8), x:get(12), x:get(13), x:get(14) }, "hidden", 0, 0)
  for draft = 2, 4 do
    local later = op.f32({ 8, H }, op.random(draft))
    run(b, { rows = 2, seq_start = { 0, 1, 2 }, slot = { 2, 0 }, pos = { 9, 9 }, out_row = { 0, 1 } }, { 30 + draft, 40 + draft }, later)
    op.equal(b.hidden:rows(0, 2), later:rows(0, 2))
    lu.assertEquals(b.mtp_ids:rows(0, 3):list(), { 30 + draft, 40 + draft, -5 })
  end
  lu.assertEquals(b.ids:list(), { -5, 12, 32, 33, -5, 20, 42, 43 }, "a fourth has no place")
  lu.assertEquals(b.mtp_taken:list(), { 54, 60, 76 })
end

-- Sequences of different numbers of drafts lie one behind the other; wanted rows may stand anywhere.
function TestDraftNext:test_places()
  local b, x = buffers(2, 8), op.f32({ 8, H }, 1)
  b.drafts, b.accepted = op.i32({ 2 }, { 2, 1 }), op.i32({ 2 }, { 1, 1 })
  b.mtp_taken, b.taken = op.i32({ 2 }, { 5, 6 }), op.i32({ 2 }, { 7, 2 })
  run(b, { rows = 5, seq_start = { 0, 2, 5 }, slot = { 1, 0 }, pos = { 0, 1, 9, 9, 9 }, out_row = { 3, 1 } }, { 77, 88 }, x)
  lu.assertEquals(b.ids:list(), { -5, 88, -5, 77, -5, -5, -5, -5 })
  lu.assertEquals(b.mtp_taken:list(), { 7, 2 }, "position 0 starts over")
end

function TestDraftNext:test_wrong_calls()
  local function call(o)
    local b = buffers(1, 4)
    b.drafts, b.accepted, b.taken = op.i32({ 1 }, o.drafts or 3), op.i32({ 1 }, o.accepted or 0), op.i32({ 1 }, o.taken or 1)
    b.token, b.x = op.i32({ 4 }, 1), op.f32({ 4, H }, 1)
    return { args = b, step = { rows = 2, slot = { o.slot or 0 }, out_row = o.out_row or { 0, 1 } } }
  end
  assert(require("nibble").op.run(spec, call {}))
  op.fails(spec, call { drafts = 0 }, "E_VALUE", "expected drafts, found 0")
  op.fails(spec, call { accepted = -1 }, "E_VALUE", "-1 accepted")
  op.fails(spec, call { out_row = { 1 } }, "E_VALUE", "among the wanted ones")
  op.fails(spec, call { taken = 9 }, "E_VALUE", "draft -7")
  op.fails(spec, call { drafts = 4 }, "E_VALUE", "of 4")
  op.fails(spec, call { slot = 1 }, "E_VALUE", "slot below 1")
end

os.exit(lu.LuaUnit.run())
