-- compare: traces made by hand, so that every figure is known; rows by sequence and position; thresholds and exit status;
-- sentences.
local lu, nb = require "luaunit", require "nibble"
local command = require "tests.scripts.command"

local folder = command.folder()
local function at(name) return folder .. "/" .. name end

local VOCAB = 8
local TAPS = {
  { name = "embed", dtype = "F32", shape = { 2, 3 } },
  { name = "layer00/output", dtype = "F32", shape = { 4 } },
  { name = "layer00/router_logits", dtype = "F32", shape = { 4 } },
  { name = "layer00/router_experts", dtype = "I32", shape = { 2 } },
  { name = "logits", dtype = "F32", shape = { VOCAB }, labels = { "vocab" }, partial = true },
}

-- What a trace holds for a place, before anything is changed in it.
local function content(tap, seq, pos)
  local v, n = {}, 1
  for _, e in ipairs(tap.shape) do n = n * e end
  for i = 1, n do v[i] = tap.dtype == "I32" and (seq + pos + i) % 4 or math.sin(seq * 31 + pos * 7 + i) + 2 end
  return v
end

-- Writes a trace of rows { {seq, pos, token}, … }; change(tap name, seq, pos, values) may alter values or return false for none;
-- spec.finish = false leaves it broken off; spec.taps are other taps.
local function write(name, rows, change, spec)
  spec = spec or {}
  local taps = spec.taps or TAPS
  local t <close> = assert(nb.trace.create(at(name), { capacity = #rows + 3, taps = taps, meta = { device = "none" } }))
  for i, row in ipairs(rows) do
    local seq, pos, token = row[1], row[2], row[3] or 5
    for _, tap in ipairs(taps) do
      local values = content(tap, seq, pos)
      if not change or change(tap.name, seq, pos, values) ~= false then
        assert(t:write(tap.name, i - 1, nb.tensor(tap.dtype, { 1, table.unpack(tap.shape) }, values)))
      end
    end
    assert(t:rows(i - 1, { seq = { seq }, pos = { pos }, step = { i }, token = { token } }))
  end
  if spec.finish ~= false then assert(t:close {}) end
  return at(name)
end

local function places(n, seq)
  local rows = {}
  for i = 1, n do rows[i] = { seq or 0, i - 1 } end
  return rows
end

local function by_name(result)
  local taps = {}
  for _, t in ipairs(result.taps) do taps[t.tap] = t end
  return taps
end

TestCompare = {}

function TestCompare:test_equal_traces_pass_the_strictest_thresholds()
  local a, b = write("a.h5", places(6)), write("b.h5", places(6))
  local r, status = command.json("compare", a, b, "--max-nmse", "0", "--min-cosine", "0.999999999", "--max-kl", "1e-12",
    "--min-topk", "1",
    "--min-sets", "1", "--json")
  lu.assertEquals(status, 0)
  lu.assertEquals(r.rows, 6)
  lu.assertEquals(r.over, 0)
  local order = {}
  for i, t in ipairs(r.taps) do order[i] = t.tap end
  lu.assertEquals(order, { "embed", "layer00/output", "layer00/router_logits", "layer00/router_experts", "logits" })
  local taps = by_name(r)
  lu.assertEquals(taps.embed.nmse, 0)
  lu.assertEquals({ taps["layer00/router_experts"].equal_rows, taps["layer00/router_experts"].kind }, { 6, "sets" })
  lu.assertEquals(taps["layer00/router_logits"].kind, "values")
  lu.assertEquals({ taps.logits.kind, taps.logits.top1, taps.logits.topk }, { "logits", 1, 1 })
  lu.assertAlmostEquals(taps.logits.kl.max, 0, 1e-15)
end

function TestCompare:test_one_changed_value_is_found_with_its_place()
  local b = write("b.h5", { { 0, 0 }, { 1, 0 }, { 0, 1 }, { 1, 1 }, { 0, 2 } })
  local a = write("a.h5", { { 1, 1 }, { 0, 2 }, { 0, 0 }, { 1, 0 }, { 0, 1 } }, function(tap, seq, pos, v)   -- in another order
    if tap == "embed" and seq == 1 and pos == 1 then v[5] = v[5] + 0.5 end                                   -- [1,1] of [2,3]
  end)
  local r, status = command.json("compare", a, b, "--max-nmse", "1e-6", "--json")
  local taps, sum = by_name(r), 0
  lu.assertEquals(status, 1)
  lu.assertEquals(r.over, 1)
  for _, p in ipairs { { 0, 0 }, { 1, 0 }, { 0, 1 }, { 1, 1 }, { 0, 2 } } do
    for _, v in ipairs(content(TAPS[1], p[1], p[2])) do sum = sum + v * v end
  end
  lu.assertAlmostEquals(taps.embed.nmse, 0.25 / sum, 1e-7)
  lu.assertAlmostEquals(taps.embed.sqnr_db, -10 * math.log(0.25 / sum, 10), 1e-4)
  lu.assertAlmostEquals(taps.embed.max_abs, 0.5, 1e-6)
  lu.assertEquals(taps.embed.at, { seq = 1, pos = 1, index = { 1, 1 } })
  lu.assertEquals(r.worst.tap, "embed")
  lu.assertTrue(taps["layer00/output"].ok)
  local status2, out = command.run("compare", a, b, "--max-nmse", "1e-6")
  lu.assertEquals(status2, 1)
  lu.assertStrContains(out, "seq 1 pos 1 [1,1]")
  lu.assertStrContains(out, "worst: embed")
  lu.assertStrContains(out, "1 of 5 taps are not within the thresholds")
  -- no threshold, no verdict
  lu.assertEquals(command.run("compare", a, b), 0)
  lu.assertEquals(command.run("compare", a, b, "--max-nmse", "1e-6", "--taps", "layer*,logits"), 0)
end

function TestCompare:test_router_sets_ignore_order_and_count_rows()
  local b = write("b.h5", places(8))
  local a = write("a.h5", places(8), function(tap, _, pos, v)
    if tap == "layer00/router_experts" then
      v[1], v[2] = v[2], v[1]
      if pos == 3 or pos == 6 then v[1] = 9 end
    end
  end)
  local r, status = command.json("compare", a, b, "--min-sets", "0.75", "--json")
  local sets = by_name(r)["layer00/router_experts"]
  lu.assertEquals({ status, sets.equal_rows, sets.rows, sets.first_bad }, { 0, 6, 8, { seq = 0, pos = 3 } })
  lu.assertEquals(command.run("compare", a, b, "--min-sets", "0.76"), 1)
end

function TestCompare:test_taps_in_the_order_of_experts_need_the_same_experts()
  local taps = { TAPS[4], { name = "layer00/experts_fc1", dtype = "F32", shape = { 2, 3 } }, { name = "layer00/experts", dtype = "F32", shape = { 3 } } }
  local b = write("b.h5", places(6), nil, { taps = taps })
  local a = write("a.h5", places(6), function(tap, _, pos, v)
    if pos ~= 2 and pos ~= 4 then return end
    if tap == "layer00/router_experts" and pos == 2 then v[1], v[2] = v[2], v[1] end
    if tap == "layer00/router_experts" and pos == 4 then v[2] = 9 end
    if tap == "layer00/experts_fc1" then v[1] = 100 end
  end, { taps = taps })
  local r, status = command.json("compare", a, b, "--max-nmse", "0", "--json")
  local t = by_name(r)
  lu.assertEquals({ status, t["layer00/experts_fc1"].rows, t["layer00/experts"].rows, t["layer00/router_experts"].equal_rows }, { 0, 4, 6, 5 })
end

-- KL(B || A), base first, worked out here from the definition.
local function kl(base, other)
  local function log_sum(v) local s = 0 for _, x in ipairs(v) do s = s + math.exp(x) end return math.log(s) end
  local lb, lo, sum = log_sum(base), log_sum(other), 0
  for i = 1, #base do sum = sum + math.exp(base[i] - lb) * ((base[i] - lb) - (other[i] - lo)) end
  return sum
end

function TestCompare:test_logits_of_some_rows()
  local function logits_at(_, _, pos) return pos % 2 == 1 end
  local b = write("b.h5", places(9), function(tap, seq, pos) return tap ~= "logits" or logits_at(tap, seq, pos) end)
  local want = {}
  local a = write("a.h5", places(9), function(tap, seq, pos, v)
    if tap ~= "logits" then return end
    -- one row fewer than B
    if not (logits_at(tap, seq, pos) and pos ~= 1) then return false end
    local base = content(TAPS[5], seq, pos)
    if pos == 5 then v[1], v[4] = v[1] + 3, v[4] - 1 end
    want[#want + 1] = kl(base, v)
  end)
  local r, status = command.json("compare", a, b, "--k", "3", "--max-kl", "1", "--json")
  local t, sum = by_name(r).logits, 0
  for _, x in ipairs(want) do sum = sum + x end
  lu.assertEquals({ status, t.rows, #want }, { 0, 3, 3 })
  lu.assertAlmostEquals(t.kl.mean, sum / 3, 1e-6)
  lu.assertAlmostEquals(t.kl.max, math.max(table.unpack(want)), 1e-6)
  lu.assertAlmostEquals(t.top1, 2 / 3, 1e-12)
  lu.assertEquals(command.run("compare", a, b, "--max-kl", tostring(0.9 * sum / 3)), 1)
  lu.assertEquals(command.run("compare", a, b, "--min-topk", "1", "--k", "1"), 1)
end

function TestCompare:test_broken_off_traces_and_repeated_positions()
  local b = write("b.h5", places(7))
  local rows = places(4)
  table.insert(rows, 3, { 0, 2, 5 })                                                                         -- position 2 twice
  local seen = 0
  local a = write("a.h5", rows, function(tap, _, pos, v)
    if tap == "embed" and pos == 2 then
      seen = seen + 1
      -- the last row counts
      if seen == 1 then v[1] = 100 end
    end
  end, { finish = false })
  local r, status = command.json("compare", a, b, "--max-nmse", "0", "--json")
  lu.assertEquals({ status, r.rows, r.rows_only_a, r.rows_only_b }, { 0, 4, 0, 3 })
  local _, out = command.run("compare", a, b)
  lu.assertStrContains(out, "5 finished rows, broken off")
end

function TestCompare:test_rows_behind_a_different_token_are_left_out()
  local rows = { { 0, 0 }, { 0, 1 }, { 0, 2 }, { 1, 0 }, { 1, 1 } }
  local b = write("b.h5", rows)
  local a = write("a.h5", { { 0, 0 }, { 0, 1, 6 }, { 0, 2 }, { 1, 0 }, { 1, 1 } }, function(tap, seq, pos, v)
    if seq == 0 and pos >= 1 and tap == "embed" then v[1] = 50 end
  end)
  local r, status = command.json("compare", a, b, "--max-nmse", "0", "--json")
  lu.assertEquals({ status, r.rows, r.rows_left_out }, { 0, 3, 2 })
end

function TestCompare:test_nan_never_passes()
  local b = write("b.h5", places(3))
  local a = write("a.h5", places(3), function(tap, _, pos, v) if tap == "layer00/output" and pos == 1 then v[3] = 0 / 0 end end)
  for _, threshold in ipairs { { "--max-nmse", "1e9" }, { "--min-cosine", "-1" } } do
    lu.assertEquals(command.run("compare", a, b, table.unpack(threshold)), 1)
  end
  local status, out = command.run("compare", a, b)
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "not finite")
  lu.assertStrContains(out, "worst: layer00/output")
  lu.assertEquals(by_name((command.json("compare", a, b, "--json")))["layer00/output"].at, { seq = 0, pos = 1, index = { 2 } })
  local good = write("good.h5", places(3))
  -- nor in the reference
  lu.assertEquals(command.run("compare", good, a, "--max-nmse", "1e9"), 1)
end

function TestCompare:test_taps_of_one_side_and_other_shapes()
  local fewer = { TAPS[1], { name = "layer00/output", dtype = "F32", shape = { 5 } },
    { name = "extra", dtype = "F32", shape = {} } }
  local a, b = write("a.h5", places(3), nil, { taps = fewer }), write("b.h5", places(3))
  local r, status = command.json("compare", a, b, "--json")
  lu.assertEquals(status, 1)
  lu.assertEquals(r.only_a, { "extra" })
  lu.assertEquals(r.only_b, { "layer00/router_logits", "layer00/router_experts", "logits" })
  lu.assertStrContains(by_name(r)["layer00/output"].problem, "[5] in A and [4] in B")
  lu.assertEquals(command.run("compare", a, b, "--taps", "embed"), 0)
end

TestRefuse = {}

-- The command must end with this status and one sentence that holds the words.
local function refused(status, words, ...)
  local got, out, err = command.run("compare", ...)
  lu.assertEquals(got, status, err)
  for _, word in ipairs(words) do lu.assertStrContains(err, word) end
  lu.assertEquals(select(2, err:gsub("\n", "")), 1, err)
  return out
end

function TestRefuse:test_sentences()
  local a, b, far = write("a.h5", places(3)), write("b.h5", places(3)), write("far.h5", places(3, 7))
  local alone = write("alone.h5", places(3), nil, { taps = { { name = "x", dtype = "F32", shape = { 1 } } } })
  refused(6, { "far.h5", "no row in common", "3 and 3 finished rows" }, a, far)
  refused(6, { "alone.h5", "no tap in common" }, a, alone)
  refused(6, { "b.h5 has no tap \"x\"" }, alone, b, "--taps", "x")
  refused(6, { "has no tap \"layer99/*\"" }, a, b, "--taps", "embed,layer99/*")
  refused(3, { "nothing.h5", "No such file" }, a, at "nothing.h5")
  refused(4, { "is not an HDF5 file" }, a, NIBBLE_ROOT .. "/Makefile")
  refused(2, { "expected B" }, a)
  refused(2, { "--max-nmse", "expected a number" }, a, b, "--max-nmse", "small")
  refused(2, { "--k" }, a, b, "--k", "0")
  refused(2, { "no option --fast" }, a, b, "--fast")
  refused(8, { "9" }, a, b, "--k", "9")
  do
    local f <close> = assert(nb.h5.create(at "plain.h5"))
    assert(f:write("x", nb.tensor("F32", { 1 }, { 1 })))
  end
  refused(4, { "plain.h5 is not a trace" }, at "plain.h5", b)
  local bytes = assert(io.open(a, "rb")):read "a"
  local cut = assert(io.open(at "cut.h5", "wb"))
  cut:write(bytes:sub(1, #bytes // 2))
  cut:close()
  refused(4, { "cut.h5 is a broken HDF5 file" }, at "cut.h5", b)
end

local status = lu.LuaUnit.run()
command.remove(folder)
os.exit(status)
