-- nibble gate: what mutants are made of a text, and that a family's faults show. `make gate` runs all of them.
local lu, nb, uv = require "luaunit", require "nibble", require "luv"
local command, mutants = require "tests.scripts.command", require "scripts.lib.mutants"
TestGate = {}

local text = [[
.version 8.7
.target sm_80
.file 1 "/nowhere/gate_test.lua"
.visible .entry k()
{
  .shared .align 4 .b8 tile[64];
  .loc  1 2 0
  mov.u32   %r1, tile;
  st.shared.f32   [%r1+8], %f1;
  ld.global.f32   %f2, [%rd1+8];
  @%p1 bar.sync   0;
  shfl.sync.bfly.b32  %r2|%p2, %r1, 16, 31, -1;
  cp.async.cg.shared.global [%r1], [%rd1], 16, %r2;
  cp.async.commit_group;
  cp.async.wait_group 1;
  membar.gl;
  bar.warp.sync   -1;
  mma.sync.aligned.m16n8k64.kind::mxf4nvf4.block_scale {%f0,%f1}, {%r0,%r1}, {%r4}, {%f0,%f1}, {%r6}, {0, 0}, {%r7}, {0, 0};
  atom.shared.add.u32   %r9, [tile], 1;
  ret;
}
]]

function TestGate:test_mutants_of_a_text()
  local found = {}
  for _, m in ipairs(mutants.of(text, { NIBBLE_ROOT .. "/tests/scripts" })) do
    found[#found + 1] = ("%d %s %s"):format(m.line, m.kind, m.becomes:gsub("%s+", " "):gsub("^ ", ""))
    local changed = mutants.apply(text, m)
    local lines, differ = {}, 0
    for line in changed:gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
    local i = 0
    for line in text:gmatch "([^\n]*)\n" do
      i = i + 1
      if line ~= lines[i] then differ = differ + 1; lu.assertEquals(i, m.line) end
    end
    lu.assertTrue(#lines == i and differ == 1)
    lu.assertEquals(m.nowhere, m.line == 8 and "\tmov.b32 \t%r1, 2147483632;" or nil)
    lu.assertTrue(m.entry == "k" and m.source == "gate_test.lua:2" and m.source_text:find "luaunit" ~= nil)
  end
  local mma = text:match "mma%S+" .. " {%f0,%f1},{%r0,%r1},{%r4},{%f0,%f1},"
  lu.assertEquals(found, {
    "8 offset mov.u32 %r1, tile; add.u32 %r1, %r1, 4;", "8 offset mov.u32 %r1, tile; add.u32 %r1, %r1, 16;",
    "9 offset st.shared.f32 [%r1+12], %f1;", "9 offset st.shared.f32 [%r1+24], %f1;",
    "11 barrier ", "12 shuffle mov.b32 %r2, %r1;",
    "13 offset cp.async.cg.shared.global [%r1+4], [%rd1], 16, %r2;", "13 offset cp.async.cg.shared.global [%r1+16], [%rd1], 16, %r2;",
    "14 commit ", "15 wait ", "16 fence ", "17 warp_sync ",
    "18 scale " .. mma .. "{%r7},{0, 0},{%r6},{0, 0};", "18 selector " .. mma .. "{%r6},{0,1},{%r7},{0, 0};",
    "18 selector " .. mma .. "{%r6},{0, 0},{%r7},{0,1};",
    "19 offset atom.shared.add.u32 %r9, [tile+4], 1;", "19 offset atom.shared.add.u32 %r9, [tile+16], 1;",
  })
end

local function need_compiler()
  local jit <close> = assert(nb.jit { include = NIBBLE_ROOT .. "/kernels/include" })
  local version, why = jit:compiler()
  if not version then lu.skip(why) end
end

function TestGate:test_faults_of_families_show()
  need_compiler()
  local r, status, err = command.json("gate", "attention", "attn_prep", "gdn_delta", "gated_norm", "linear", "rmsnorm", "--seeds", "2", "--json")
  lu.assertTrue(status == 0 and r.ok, err)
  for _, f in ipairs(r.archs[1].families) do
    lu.assertTrue(f.mutants >= 10 and f.finding + f.result + f.unused + f.twin + f.explained == f.mutants, f.family)
    lu.assertTrue(f.holes == 0 and f.refused == 0 and #f.stale == 0, f.family)
  end
end

-- Kernels that are right stay so in any order of blocks, warps and lanes.
function TestGate:test_right_kernels_under_schedules()
  need_compiler()
  local r, status, err = command.json("gate", "all", "--schedules", "3", "--quick", "--json")
  lu.assertTrue(status == 0 and r.ok, err)
  for _, f in ipairs(r.archs[1].families) do lu.assertTrue(f.runs % 3 == 0 and #f.failed == 0, f.family) end
end

local function slurp(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function spill(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local function lines_of(path)
  local list = {}
  for line in slurp(path):gmatch "[^\n]*\n" do list[#list + 1] = line end
  return list
end

-- Parts on several machines, put together, say what one run says; a part alone is not judged.
function TestGate:test_parts_merge()
  need_compiler()
  local folder = command.folder()
  local a, b, all = folder .. "/a.jsonl", folder .. "/b.jsonl", folder .. "/all.jsonl"
  local function gate(...) return command.json("gate", "swiglu", "rmsnorm", "--json", ...) end
  local whole = gate()
  for i, path in ipairs { a, b } do
    local r, status = gate("--shard", i .. "/2", "--out", path)
    lu.assertTrue(status == 0 and r.ok and r.left == whole.sums.mutants - r.sums.mutants and r.left > 0)
    lu.assertEquals(#lines_of(path), r.sums.mutants)
  end
  local half, status = gate("--merge", a)
  lu.assertTrue(status == 1 and not half.ok and half.left == #lines_of(b))
  local merged, good = gate("--merge", a .. "," .. b, "--out", all)
  lu.assertTrue(good == 0 and merged.ok)
  lu.assertEquals(merged, whole)
  lu.assertEquals(#lines_of(all), whole.sums.mutants)
  lu.assertEquals(gate("--out", all), whole)
  lu.assertEquals(#lines_of(all), whole.sums.mutants)
  command.remove(folder)
end

-- A run goes on where one was killed: in the middle of a line, too. Rows of another version count for nothing.
function TestGate:test_runs_go_on()
  need_compiler()
  local folder = command.folder()
  local path = folder .. "/store.jsonl"
  local function gate(...) return command.json("gate", "rmsnorm", "--json", "--jobs", "1", "--out", path, ...) end
  local whole = gate()
  local lines, text = lines_of(path), slurp(path)
  local kept = table.concat(lines, "", 1, 20)
  spill(path, kept .. lines[21]:sub(1, #lines[21] // 2))
  lu.assertEquals(gate(), whole)
  lu.assertEquals(slurp(path):sub(1, #kept), kept)
  lu.assertEquals(slurp(path), text)   -- one worker, so in order
  spill(path, (text:gsub('"by": "%x', '"by": "0x', 3)))
  local r = gate()
  lu.assertEquals(r, whole)
  lu.assertEquals(#lines_of(path), #lines + 3)
  spill(path, lines[1] .. "nothing\n" .. lines[2])
  local status, _, err = command.run("gate", "rmsnorm", "--out", path)
  lu.assertEquals(status, 4)
  lu.assertStrContains(err, "store.jsonl line 2: expected a JSON object with a name")
  local late, fine = command.json("gate", "all", "--schedules", "2000", "--seconds", "1", "--json")
  lu.assertTrue(fine == 0 and late.ok and late.left > 0 and late.sums.runs > 0 and late.sums.failed == 0)
  command.remove(folder)
end

-- A family whose barrier orders nothing has a mutant that survives; one that is wrong is an error.
function TestGate:test_what_survives()
  need_compiler()
  local folder = command.folder()
  local source = slurp(NIBBLE_ROOT .. "/kernels/swiglu/swiglu.cu")
  assert(uv.fs_mkdir(folder .. "/swiglu", 448))
  spill(folder .. "/swiglu/swiglu.lua", slurp(NIBBLE_ROOT .. "/kernels/swiglu/swiglu.lua"))
  local function gate(old, new, ...)
    spill(folder .. "/swiglu/swiglu.cu", (source:gsub(old, new, 1)))
    uv.os_setenv("NIBBLE_PATH", folder)
    local status, out, err = command.run("gate", "swiglu", "--quick", ...)
    uv.os_unsetenv "NIBBLE_PATH"
    return status, out, err
  end
  local status, out = gate("const StepView step", "__syncthreads(); %0")
  lu.assertEquals(status, 1)
  lu.assertTrue(out:find "1 UNEXPLAINED\n  survives ragged: barrier line %d+: bar%.sync 0;  %(swiglu%.cu:%d+: __syncthreads" ~= nil, out)
  lu.assertStrContains(out, "OPEN: 1")
  -- an array that no thread gets to: its address is of no use, what reads and writes there has no case that reaches it
  local idle, said = gate("const StepView step[^\n]*", "%0 __shared__ volatile float s_none[64];\n" ..
    "if (step.rows() > 99999) { s_none[threadIdx.x %% 60] = 1; g_y[0] = bf16_put(s_none[threadIdx.x %% 50]); }")
  lu.assertEquals(idle, 1)
  lu.assertStrContains(said, " 6 mutants:     0 findings,     0 wrong results, 0 refused; 2 of no use, 0 only elsewhere, 0 explained, 4 UNEXPLAINED")
  for _, schedules in ipairs { "0", "2" } do
    local wrong, _, err = gate("const StepView step([^\n]*)", "__syncthreads(); const StepView step%1 g_gate++;", "--schedules", schedules)
    lu.assertEquals(wrong, 12)
    lu.assertStrContains(err, "the kernel itself is not right: ")
  end
  command.remove(folder)
end

function TestGate:test_what_ends_it()
  lu.assertEquals((command.run("gate")), 2)
  lu.assertEquals((command.run("gate", "no_such_family")), 6)
  lu.assertEquals((command.run("gate", "swiglu", "--seeds", "0")), 2)
  lu.assertEquals((command.run("gate", "swiglu", "--arch", "sm_1")), 2)
  for _, shard in ipairs { "0/2", "3/2", "1", "1/x" } do lu.assertEquals((command.run("gate", "swiglu", "--shard", shard)), 2, shard) end
  lu.assertEquals((command.run("gate", "swiglu", "--merge", "/no/such/store")), 6)
  lu.assertEquals((command.run("gate", "swiglu", "--out", "/no/such/folder/store")), 3)
  local many = {}
  for i = 1, 3000 do many[i] = "no_such_family" end   -- more words than a stack of Lua's has room for by itself
  lu.assertEquals((command.run("gate", table.unpack(many))), 6)
end

os.exit(lu.LuaUnit.run())
