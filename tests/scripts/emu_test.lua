-- nibble emu: counters of a case whose traffic can be counted by hand, chosen blocks, findings, exit statuses.
local lu, nb, uv = require "luaunit", require "nibble", require "luv"
local command, counters = require "tests.scripts.command", require "scripts.lib.counters"
TestEmu = {}

local function need_compiler()
  local jit <close> = assert(nb.jit { include = NIBBLE_ROOT .. "/kernels/include" })
  local version, why = jit:compiler()
  if not version then lu.skip(why) end
end

-- swiglu of 5 rows of 37: a block a row, four warps, of which two have elements: each reads a gate and an up value and stores one.
function TestEmu:test_counters_of_a_case()
  need_compiler()
  local r, status, err = command.json("emu", "swiglu", "--case", "ragged", "--json")
  lu.assertTrue(status == 0 and r.ok and r.judged and #r.findings == 0, err)
  local c = r.counts
  lu.assertTrue(c.launches == 1 and c.blocks == 5 and c.shared_requests == 0)
  lu.assertTrue(c.global_bytes >= 5 * 37 * 6 and c.global_sectors >= 5 * 3 * 3 and c.global_sectors <= c.global_requests * 3)
  local sum = 0
  for _, n in pairs(c.classes) do sum = sum + n end
  lu.assertEquals(sum, c.instructions)
  lu.assertTrue(c.lanes <= 32 * c.instructions and counters.efficiency(c) <= 100)
  local some = command.json("emu", "swiglu", "--case", "ragged", "--blocks", "4,1,99", "--json")
  lu.assertTrue(some.ok and not some.judged and some.counts.blocks == 2)
  lu.assertEquals(some.counts.global_bytes * 5, c.global_bytes * 2)
end

function TestEmu:test_a_finding_is_1()
  need_compiler()
  local folder = command.folder()
  assert(uv.fs_mkdir(folder .. "/swiglu", 448))
  for _, ending in ipairs { ".lua", ".cu" } do
    local from <close> = assert(io.open(("%s/kernels/swiglu/swiglu%s"):format(NIBBLE_ROOT, ending), "rb"))
    local to <close> = assert(io.open(("%s/swiglu/swiglu%s"):format(folder, ending), "wb"))
    to:write((from:read "a":gsub("|| i >= I%) return;", "|| i >= I + 40000) return;")))
  end
  local r, status = command.json("emu", folder .. "/swiglu", "--case", "ragged", "--json")
  command.remove(folder)
  lu.assertTrue(status == 1 and not r.ok and #r.findings > 0)
  local text = table.concat(r.findings, "\n")   -- rows run into each other, and the last one over the end
  lu.assertStrContains(text, "race of blocks: byte 74 of \"y\": ")
  lu.assertStrContains(text, "out of bounds: ")
  lu.assertStrContains(text, "swiglu.cu:")
end

function TestEmu:test_what_ends_it()
  need_compiler()
  for _, case in ipairs { { 2 }, { 6, "no_such_family" }, { 2, "swiglu", "--case", "none" }, { 2, "swiglu", "--blocks", "x" },
    { 2, "swiglu", "--set", "threads" }, { 2, "swiglu", "--arch", "sm_1" } } do
    lu.assertEquals((command.run("emu", table.unpack(case, 2))), case[1], table.concat(case, " "))
  end
end

os.exit(lu.LuaUnit.run())
