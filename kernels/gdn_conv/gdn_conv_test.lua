local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "gdn_conv"
TestGdnConv = {}

local CD, WIDTH = 5, 4

-- silu(Σ_j w[j] · x[t-3+j]) of a whole sequence from position 0; x is a list of columns.
local function define(x, w)
  local y = {}
  for t = 1, #x do
    for c = 1, CD do
      local sum = 0
      for j = 1, WIDTH do
        local column = x[t - WIDTH + j]
        sum = sum + w[(c - 1) * WIDTH + j] * (column and column[c] or 0)
      end
      y[#y + 1] = op.silu(sum)
    end
  end
  return y
end

local function columns(n, seed)
  local rng, list = op.random(seed), {}
  for t = 1, n do
    list[t] = {}
    for c = 1, CD do list[t][c] = op.to_f32(rng()) end
  end
  return list
end

local function flat(list, first, n)
  local out = {}
  for t = first, first + n - 1 do for c = 1, CD do out[#out + 1] = list[t][c] end end
  return out
end

-- One step of one sequence: columns first .. first+n-1 (from 1) at their positions; returns y.
local function step(x, first, n, w, window, slot, back, rejected)
  local y = op.poison(n, CD)
  local pos = {}
  for i = 1, n do pos[i] = first + i - 2 end
  op.run(spec, { args = { x = op.f32({ n, CD }, flat(x, first, n)), w = w, window = window, y = y, rejected = rejected },
                 step = { slot = { slot }, pos = pos, back = { back or 0 } } })
  return y:list()
end

local function weight() return op.f32({ CD, WIDTH }, op.random(99)) end

function TestGdnConv:test_definition_in_one_step()
  for _, n in ipairs { 1, 2, 3, 4, 9 } do
    local x, w, window = columns(n, n), weight(), op.f32({ 2, 3, CD }, 0 / 0)
    op.same(step(x, 1, n, w, window, 1), define(x, w:list()), "y")
    local kept = window:rows(1, 1):list()
    for t = 1, 3 do
      for c = 1, CD do lu.assertEquals(kept[(t - 1) * CD + c], x[n - 3 + t] and x[n - 3 + t][c] or 0) end
    end
    lu.assertNotEquals(window:get(0), window:get(0), "the other slot is left alone")
  end
end

function TestGdnConv:test_chunks_equal_one_step()
  local x, w = columns(11, 3), weight()
  local whole_window, window = op.f32({ 1, 3, CD }), op.f32({ 1, 3, CD })
  local whole = step(x, 1, 11, w, whole_window, 0)
  for _, cuts in ipairs { { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, { 2, 5, 1, 3 }, { 10, 1 } } do
    local first, got = 1, {}
    for _, n in ipairs(cuts) do
      table.move(step(x, first, n, w, window, 0), 1, n * CD, #got + 1, got)
      first = first + n
    end
    lu.assertEquals(got, whole)
    op.equal(window, whole_window, "window")
  end
end

-- After n rows, going back b and continuing is as if the b rows had never been.
function TestGdnConv:test_going_back()
  local versions, w = 4, weight()
  local good, bad = columns(12, 4), columns(3, 5)
  local clean, window = op.f32({ 1, WIDTH - 1 + versions - 1, CD }), op.f32({ 1, WIDTH - 1 + versions - 1, CD })
  step(good, 1, 5, w, clean, 0)
  for back = 1, 3 do
    step(good, 1, 5, w, window, 0)
    local mixed = table.move(bad, 1, back, 6, table.move(good, 1, 5, 1, {}))
    step(mixed, 6, back, w, window, 0)
    local want = step(good, 6, 4, w, op.f32({ 1, 6, CD }, clean:list()), 0)
    lu.assertEquals(step(good, 6, 4, w, window, 0, back), want)
  end
  -- With fewer new rows than were taken back, older columns move up again.
  step(good, 1, 5, w, window, 0)
  step(table.move(bad, 1, 3, 6, table.move(good, 1, 5, 1, {})), 6, 3, w, window, 0)
  step(good, 6, 1, w, window, 0, 3)
  step(good, 1, 6, w, clean, 0)
  lu.assertEquals(step(good, 7, 2, w, window, 0), step(good, 7, 2, w, clean, 0))
end

function TestGdnConv:test_sequences_of_different_lengths()
  local w, window = weight(), op.f32({ 4, 3, CD }, op.random(6))
  local a, b, c = columns(6, 7), columns(2, 8), columns(5, 9)
  step(c, 1, 4, w, window, 0)
  local alone = op.f32({ 4, 3, CD }, window:list())
  local x = {}
  for _, list in ipairs { flat(a, 1, 6), flat(b, 1, 2), flat(c, 5, 1) } do table.move(list, 1, #list, #x + 1, x) end
  local y = op.poison(9, CD)
  op.run(spec, { args = { x = op.f32({ 9, CD }, x), w = w, window = window, y = y },
                 step = { seq_start = { 0, 6, 8, 9 }, slot = { 3, 1, 0 }, pos = { 0, 1, 2, 3, 4, 5, 0, 1, 4 } } })
  local want = step(a, 1, 6, w, alone, 3)
  for _, part in ipairs { step(b, 1, 2, w, alone, 1), step(c, 5, 1, w, alone, 0) } do
    table.move(part, 1, #part, #want + 1, want)
  end
  lu.assertEquals(y:list(), want)
  op.equal(window, alone, "window")
end

function TestGdnConv:test_rounding_and_stored_inputs()
  local x, w, window, y = columns(4, 10), weight(), op.f32({ 1, 3, CD }), op.poison(4, CD)
  op.run(spec, { args = { x = op.f32({ 4, CD }, flat(x, 1, 4)), w = w, window = window, y = y }, round = "bf16" })
  local want = define(x, w:list())
  for i = 1, #want do want[i] = op.to_bf16(want[i]) end
  op.same(y, want, "y", 0, 0)
  lu.assertEquals(window:list(), flat(x, 2, 3), "the window holds what came in")
end

-- What lies on the device counts, by slot and whatever the step says.
function TestGdnConv:test_rejected_instead_of_back()
  local x, w = columns(9, 11), weight()
  local window, other = op.f32({ 2, 6, CD }, op.random(12)), op.f32({ 2, 6, CD }, op.random(12))
  local want = step(x, 6, 2, w, window, 1, 2)
  lu.assertEquals(step(x, 6, 2, w, other, 1, 3, op.i32({ 2 }, { 1, 2 })), want)
  op.equal(other, window, "window")
end

function TestGdnConv:test_wrong_calls()
  local x, y = op.f32 { 1, CD }, op.f32 { 1, CD }
  local function call(cols, back, slot, rejected)
    return { args = { x = x, w = weight(), window = op.f32 { 2, cols, CD }, y = y, rejected = rejected }, step = { back = { back }, slot = { slot } } }
  end
  op.fails(spec, call(2, 0, 0), "E_SHAPE", "at least 3 columns")
  op.fails(spec, call(4, 2, 0), "E_VALUE", "at most 1")
  op.fails(spec, call(4, -1, 0), "E_VALUE", "found -1")
  op.fails(spec, call(4, 0, 2), "E_VALUE", "slot below 2")
  op.fails(spec, call(4, 0, 1, op.i32({ 2 }, { 0, 2 })), "E_VALUE", "at most 1 rows, found 2")
end

os.exit(lu.LuaUnit.run())
