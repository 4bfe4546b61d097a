-- Every PTX text of the project goes through ptxas by itself: no error, no register spilled, and of each kernel the registers,
-- stack, shared memory and code that NVRTC's cubin has, where both are of one version. What the parser makes of a text and prints
-- says the same: its instructions, labels and places in the sources, and ptxas makes the same code of it. Texts of families for
-- sm_121a that are those for sm_120a but for their .target are assembled once; a few differ, in the order of instructions.
-- By default: all cases of the families for sm_120a (experts and vocabulary cut short), the last ones for sm_121a, the recorded
-- kernels, the opcode cases. With NIBBLE_TEST_LONG=1: cases as they are, for sm_80, sm_90, sm_120a, sm_121a, opcode cases for
-- each of them that has their instructions.
local lu, nb, uv = require "luaunit", require "nibble", require "luv"
local ptxas, sass = require "tests.lib.ptxas", require "scripts.lib.sass"
local families, trial, launches = require "scripts.lib.families", require "scripts.lib.trial", require "scripts.lib.launches"
local is_long = os.getenv "NIBBLE_TEST_LONG" == "1"
local ARCHS = { "sm_80", "sm_90", "sm_120a", "sm_121a" }

local path, no_ptxas = ptxas.find()

local function read(name)
  local file <close> = assert(io.open(name, "rb"))
  return file:read "a"
end

local function ptx_files(folder)
  local list = {}
  for file in uv.fs_scandir_next, assert(uv.fs_scandir(folder)) do
    if file:find "%.ptx$" then list[#list + 1] = folder .. "/" .. file end
  end
  table.sort(list)
  return list
end

local function target_of(text) return text:match "\n%.target ([%w_]+)" end
local function without_target(text) return (text:gsub("\n%.target [%w_]+", "", 1)) end

-- The text as the parser has it: what it does not keep and ptxas minds, hints not to unroll, taken out.
local function as_parsed(text) return (text:gsub("%.pragma[^;]*;", "")) end

-- Instructions and labels of functions with the source line of each; the compiler's debug section left out. Registers of an inner
-- scope have a suffix where they are printed, and numbers there may be hexadecimal: both made equal here.
local function statements(text)
  local list, place = {}, nil
  for line in text:gsub("//[^\n]*", ""):gsub("\n%s*%.section.*", ""):gmatch "[^\n]+" do
    local file, number = line:match "^%s*%.loc%s+(%d+)%s+(%d+)"
    if file then place = ("%s:%s "):format(file, number)
    elseif line:find "%.entry" then
      place = "0:0 "
      list[#list + 1] = line:match "%.entry%s+([%w_$]+)"
    else
      for piece in line:gmatch "[^;]+" do
        local words = piece:gsub("^[%s{}]+", ""):gsub("%s+", ""):gsub("([%l])%$%d+", "%1")
        words = words:gsub("0x(%x+)", function(digits) return ("%d"):format(tonumber(digits, 16)) end)
        if words:find "^[@%l$]" then list[#list + 1] = place .. words end
      end
    end
  end
  return list
end

-- Where two lists differ first, as a sentence; nil where they do not.
local function difference(a, b)
  for i = 1, math.max(#a, #b) do
    if a[i] ~= b[i] then return ("statement %d: %s, printed %s"):format(i, a[i], b[i]) end
  end
end

-- One text for ptxas, the same as the parser prints it, and the original as the parser has it where that is another (then the last
-- two only in the long form: they cost as much as the first).
local function add(list, name, text, arch)
  local one = { name = name, text = text, arch = arch, is_original = true }
  list[#list + 1] = one
  local printed = assert(nb.ptx_print(text))
  assert(nb.ptx_print(printed) == printed, name .. ": printing what was printed gives another text")
  if as_parsed(text) ~= text and not is_long then return one end
  one.printed = { name = name .. ", printed", text = printed, arch = arch }
  list[#list + 1] = one.printed
  one.parsed = one
  if as_parsed(text) ~= text then
    one.parsed = { name = name .. ", as parsed", text = as_parsed(text), arch = arch }
    list[#list + 1] = one.parsed
  end
  return one
end

-- Everything that one kernel of a cubin is; its name first.
local function machine_code(cubin)
  local list = {}
  for _, k in ipairs(assert(nb.cubin(cubin))) do
    list[#list + 1] = ("%s: %d registers, %d stack, %d shared\n%s"):format(k.name, k.registers, k.stack, k.shared, k.machine)
  end
  table.sort(list)
  return table.concat(list, "\n")
end

-- Assembles all of the list; adds what is wrong to `bad`: spilled registers where none `may_spill`.
local function assemble(list, bad, may_spill)
  ptxas.assemble(list, path)
  for _, one in ipairs(list) do
    if not one.ok or one.log:find "warning" or not one.cubin or not next(one.kernels) then
      bad[#bad + 1] = ("%s for %s: %s"):format(one.name, one.arch, one.log)
    end
    for entry, k in pairs(one.kernels) do
      if k.spills > 0 and not may_spill then bad[#bad + 1] = ("%s for %s: %s spills %d bytes"):format(one.name, one.arch, entry, k.spills) end
    end
  end
  for _, one in ipairs(list) do
    if one.printed and one.parsed.ok and one.printed.ok and machine_code(one.printed.cubin) ~= machine_code(one.parsed.cubin) then
      bad[#bad + 1] = ("%s for %s: other code than the original's"):format(one.printed.name, one.arch)
    end
  end
end

-- What NVRTC made of a kernel, and what ptxas says of the same text.
local function compare_resources(t, one, bad)
  for _, k in ipairs(assert(nb.cubin(t.result.cubin))) do
    local own = one.kernels[k.name] or {}
    for _, what in ipairs { "registers", "stack", "shared" } do
      if own[what] ~= k[what] then
        bad[#bad + 1] = ("%s: %s of %s: NVRTC %s, ptxas %s"):format(one.name, what, k.name, k[what], own[what])
      end
    end
  end
  if one.cubin and machine_code(one.cubin) ~= machine_code(t.result.cubin) then bad[#bad + 1] = one.name .. ": other code than NVRTC's" end
end

-- What holds of a kernel on every target: its shared memory fits a block of the smallest; block-scaled products are OMMA.
local function check_machine(t, bad)
  local is_block_scaled, has_omma = t.result.ptx:find("%.block_scale") ~= nil, false
  for _, k in ipairs(t.kernels) do
    if k.shared + k.dynamic > 101376 then bad[#bad + 1] = ("%s: %d bytes of shared memory"):format(t.name, k.shared + k.dynamic) end
    for _, m in ipairs((sass.mix(k.ops))) do has_omma = has_omma or m.name == "OMMA" end
  end
  if is_block_scaled ~= has_omma then bad[#bad + 1] = t.name .. ": block-scaled products in PTX or OMMA, not both" end
end

local function shape_of(case)
  local shape, short = {}, is_long and {} or { e = 32, v = 4096 }
  for name, value in pairs(case) do
    if name ~= "set" then shape[name] = short[name] and math.min(value, short[name]) or value end
  end
  return shape
end

-- The cases of all families for all architectures, compiled: { [arch] = { … }, … }; those of an index are the same case.
local function compile_families(jit)
  local by_arch, all = {}, {}
  for _, arch in ipairs(is_long and ARCHS or { "sm_120a", "sm_121a" }) do by_arch[arch] = {} end
  for _, name in ipairs(families.names()) do
    local spec = families.load(name)
    for _, case in ipairs(spec.program and spec.cases or {}) do
      local shape, call = shape_of(case), nil
      for arch, list in pairs(by_arch) do
        if is_long or arch == "sm_120a" or case == spec.cases[#spec.cases] then
          local t = trial.prepare(spec, shape, { arch = trial.arch(arch), set = case.set, call = call })
          call, t.call = t.call, nil   -- inputs are large, and nothing runs here
          list[#list + 1], all[#all + 1] = t, t
        end
      end
      collectgarbage()
    end
  end
  trial.compile(all, jit)
  for _, t in ipairs(all) do lu.assertNil(t.error, t.name) end
  return by_arch, all
end

TestPtxas = {}

function TestPtxas:test_kernels_of_families()
  lu.skipIf(not path, no_ptxas)
  local jit <close> = launches.jit()
  local compiler, why = jit:compiler()
  lu.skipIf(not compiler, why)
  local by_arch, all = compile_families(jit)
  local list, bad, twins, of = {}, {}, {}, {}
  for _, t in ipairs(by_arch.sm_120a) do twins[without_target(t.result.ptx)] = true end
  local once = 0
  for _, t in ipairs(all) do
    local text, arch = t.result.ptx, t.arch.name
    check_machine(t, bad)
    lu.assertEquals(target_of(text), arch)
    lu.assertNil(difference(statements(text), statements(assert(nb.ptx_print(text)))), t.name)
    if arch == "sm_121a" and twins[without_target(text)] then once = once + 1 else
      of[t] = add(list, ("%s %s"):format(t.name, t.case), text, arch)
    end
  end
  assemble(list, bad)
  if compiler == ptxas.version(path) then
    for t, one in pairs(of) do compare_resources(t, one, bad) end
  else
    print(("# ptxas is %d, NVRTC %d: their kernels are not compared"):format(ptxas.version(path), compiler))
  end
  print(("# %d kernels, %d of them for sm_121a as for sm_120a, %d texts assembled"):format(#all, once, #list))
  lu.assertEquals(bad, {})
  lu.assertTrue(#by_arch.sm_120a >= 85 and once >= 10 and #list >= 130)
end

function TestPtxas:test_recorded_kernels()
  lu.skipIf(not path, no_ptxas)
  local list, bad = {}, {}
  for _, file in ipairs(ptx_files "tests/golden/ptx") do
    local text = read(file)
    add(list, file, text, target_of(text))
  end
  assemble(list, bad, true)   -- other hands wrote them: one spills
  lu.assertEquals(bad, {})
  lu.assertTrue(#list >= 16)
end

-- The architectures, of those that kernels are made for, which have the instructions of a case; its own target where none is.
local function targets_for(target)
  local least, list = tonumber(target:match "%d+"), {}
  for _, arch in ipairs(is_long and ARCHS or {}) do
    if target == "sm_120a" and arch:find "^sm_12" or not target:find "a$" and tonumber(arch:match "%d+") >= least then list[#list + 1] = arch end
  end
  return #list > 0 and list or { target }
end

-- Cases as one text, their kernels k1, k2, …: starting ptxas takes longer than assembling one of them.
local function join(cases, arch)
  local parts = { (".version 9.0\n.target %s\n.address_size 64\n"):format(arch) }
  for i, case in ipairs(cases) do
    parts[#parts + 1] = case.text:gsub("^.-\n%.address_size 64\n", "", 1):gsub("%.entry k%(", (".entry k%d("):format(i), 1)
  end
  return table.concat(parts)
end

-- Adds the opcode cases for one architecture to a list for ptxas, up to 40 in a text; those with names of module scope alone.
local function add_cases(texts, cases, arch)
  local list, open = {}, nil
  for _, case in ipairs(cases) do
    local is_alone = case.text:find "\n%.shared" or case.text:find "\n%.func"
    if is_alone or not open or #open == 40 then
      list[#list + 1] = { case }
      if not is_alone then open = list[#list] end
    else
      open[#open + 1] = case
    end
  end
  for _, some in ipairs(list) do add(texts, ("%s to %s"):format(some[1].name, some[#some].name), join(some, arch), arch) end
end

function TestPtxas:test_opcode_cases()
  lu.skipIf(not path, no_ptxas)
  local by_arch, list, bad, files, wanted, found = {}, {}, {}, ptx_files "tests/ptx/cases", 0, 0
  for _, file in ipairs(files) do
    local case = { name = file:match "[^/]+$", text = read(file) }
    lu.assertStrContains(case.text, "\n.version 9.0\n.target ")
    for _, arch in ipairs(targets_for(target_of(case.text))) do
      by_arch[arch] = by_arch[arch] or {}
      table.insert(by_arch[arch], case)
      wanted = wanted + 1
    end
  end
  for arch, cases in pairs(by_arch) do add_cases(list, cases, arch) end
  assemble(list, bad)
  for _, one in ipairs(list) do
    for _ in pairs(one.is_original and one.kernels or {}) do found = found + 1 end
  end
  lu.assertEquals(bad, {})
  lu.assertTrue(#files >= 600 and found == wanted)
end

-- What is wrong is seen: text that does not assemble, spilled registers, other code.
function TestPtxas:test_faults_are_seen()
  lu.skipIf(not path, no_ptxas)
  local text = read "tests/golden/ptx/gemv.90.ptx"
  local sum = assert(text:match "\n[^\n]-fma%.rn%.f32[^\n]*")
  local other = text:gsub(sum:gsub("%p", "%%%0"), sum:gsub("fma%.rn", "fma.rz"):gsub("%%", "%%%%"), 1)
  local few = text:gsub("%.maxntid [^\n]*", "%0\n.maxnreg 24", 1)
  lu.assertTrue(other ~= text and few ~= text)
  local list, bad = {}, {}
  list[1] = { name = "wrong type", text = text:gsub("fma%.rn%.f32", "fma.rn.s32", 1), arch = "sm_90" }
  list[2] = { name = "too few registers", text = few, arch = "sm_90" }
  list[3] = { name = "changed", text = text, arch = "sm_90", printed = { name = "changed, printed", text = other, arch = "sm_90" } }
  list[3].parsed, list[4] = list[3], list[3].printed
  assemble(list, bad)
  table.sort(bad)
  lu.assertEquals(#bad, 3)
  lu.assertStrContains(bad[1], "changed, printed for sm_90: other code")
  lu.assertTrue(bad[2]:find "^too few registers for sm_90: [%w_]+ spills %d+ bytes" ~= nil, bad[2])
  lu.assertStrContains(bad[3], "wrong type for sm_90: ")
end

os.exit(lu.LuaUnit.run())
