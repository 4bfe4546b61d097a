-- The habits that a program can check: where things are, what they are called, who includes whom, what lines look like.
-- Each test lists every place that breaks its rule, as file:line: what was found. Run alone by `make tidy`.
local lu, uv = require "luaunit", require "luv"
assert(uv.chdir(NIBBLE_ROOT))

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function output(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read "a"
end

local everything = {}
local find = [[find . \( -name build -o -name .git -o -name .deps \) -prune -o -type f -print | sort]]
for path in output(find):gmatch "%./([^\n]+)" do
  everything[#everything + 1] = path
end

-- The files of the repository with one of these extensions (or names, where there is none).
-- tests/golden/ptx holds recorded sources of other hands; make_cases.py has a row a case, however long.
local function files(...)
  local want, found = {}, {}
  for _, kind in ipairs { ... } do want[kind] = true end
  for _, path in ipairs(everything) do
    local name = path:match "[^/]+$"
    if not path:match "^tests/golden/ptx/" and path ~= "tests/ptx/make_cases.py" and want[name:match "%.([%w_]+)$" or name] then found[#found + 1] = path end
  end
  return found
end

local SOURCE = { "c", "h", "def", "inc", "cu", "cuh" }
local TEXT = { "c", "h", "def", "inc", "cu", "cuh", "lua", "sh", "py", "md", "Makefile", "run" }

local cache = {}
local function lines(path)
  if not cache[path] then
    local list = {}
    for line in read(path):gmatch "([^\n]*)\n?" do list[#list + 1] = line end
    cache[path] = list
  end
  return cache[path]
end

-- Calls visit(path, number, line) for every line of every file of the given kinds.
local function each_line(kinds, visit)
  for _, path in ipairs(files(table.unpack(kinds))) do
    for number, line in ipairs(lines(path)) do visit(path, number, line) end
  end
end

local function stem(path) return path:match "([^/]+)%.%w+$" end
local function guard(path) return (path:upper():gsub("[^%w]", "_")) end
local function exists(path) return uv.fs_stat(path) ~= nil end

-- The rows NAME(first argument, …) of a .def file.
local function rows(path, macro)
  local list = {}
  for name in read(path):gmatch("\n%s*" .. macro .. "%(([%w_]+)") do list[#list + 1] = name end
  assert(#list > 0, path)
  return list
end

local function set(list)
  local s = {}
  for _, v in ipairs(list) do s[v] = true end
  return s
end

-- Fails with the places that break the rule, the first 50 of them.
local function nothing(found)
  if #found > 0 then lu.fail(("%d places:\n%s"):format(#found, table.concat(found, "\n", 1, math.min(#found, 50)))) end
end

-- ---- who may include whom -----------------------------------------------------------------------

-- Module → modules it may include, besides itself and base; what those may include it may include too.
local MAY = {
  base = {}, num = {}, tensor = { "num" }, file = { "tensor" }, text = { "file" }, quant = { "file" },
  ptx = {}, emu = { "ptx", "num" }, gpu = { "emu" }, jit = { "gpu" }, model = { "jit", "file" },
}
local SYSTEM = {   -- headers that one place alone may include
  { "^lua%w*%.h$", "^core/bind/" }, { "^lauxlib%.h$", "^core/bind/" }, { "^hdf5%.h$", "^core/file/h5%.c$" },
  { "^cmocka%.h$", "^tests/" },
}

local function reach(module, seen)
  seen = seen or { base = true }
  seen[module] = true
  for _, m in ipairs(MAY[module]) do
    if not seen[m] then reach(m, seen) end
  end
  return seen
end

local function include_allowed(path, target)
  local area, module = path:match "^(%w+)/([%w_]+)"
  local to_area, to_module = target:match "^(%w+)/([%w_]+)"
  if area == "tests" then return to_area ~= nil end
  if to_area == "tests" then return false end
  if area == "kernels" then   -- a reference: tensor, num, base and the list of families
    return target:match "^kernels/families%." ~= nil or (to_area == "core" and (reach "tensor")[to_module] == true)
  end
  if module == "bind" then return to_area == "core" or target:match "^kernels/families%." ~= nil end
  return to_area == "core" and MAY[module] ~= nil and reach(module)[to_module] == true
end

TestIncludes = {}
function TestIncludes:test_directions()
  local found = {}
  each_line(SOURCE, function(path, number, line)
    local quoted, angled = line:match '^%s*#%s*include%s+"([^"]+)"', line:match "^%s*#%s*include%s+<([^>]+)>"
    local place = ("%s:%d: "):format(path, number)
    if path:match "%.cuh?$" then
      if angled or (quoted and not quoted:match "^[%w_]+%.cuh$") then
        found[#found + 1] = place .. "a device source includes \"name.cuh\" only"
      end
    elseif quoted then
      if not exists(quoted) then found[#found + 1] = place .. quoted .. " is not a path from the root"
      elseif not include_allowed(path, quoted) then found[#found + 1] = place .. quoted .. " has no arrow from here" end
    elseif angled then
      for _, s in ipairs(SYSTEM) do
        if angled:match(s[1]) and not path:match(s[2]) then found[#found + 1] = place .. angled .. " belongs to " .. s[2] end
      end
    end
  end)
  nothing(found)
end

function TestIncludes:test_a_direction_can_fail()   -- the check itself: what must be refused is refused
  lu.assertFalse(include_allowed("core/base/err.c", "core/num/bf16.h"))
  lu.assertFalse(include_allowed("core/num/bf16.c", "core/tensor/tensor.h"))
  lu.assertFalse(include_allowed("core/model/plan.c", "core/bind/bind.h"))
  lu.assertFalse(include_allowed("kernels/linear/linear_ref.c", "core/file/checkpoint.h"))
  lu.assertFalse(include_allowed("core/tensor/op.c", "kernels/families.h"))
  lu.assertFalse(include_allowed("core/file/h5.c", "tests/test.h"))
  lu.assertTrue(include_allowed("core/text/tokenizer.c", "core/num/bf16.h"))
  lu.assertTrue(include_allowed("core/bind/bind_op.c", "kernels/families.def"))
end

-- Specs of families load nothing; the tuner loads no command; nothing but tests loads tests.
function TestIncludes:test_lua_modules()
  local found = {}
  each_line({ "lua" }, function(path, number, line)
    for name in line:gmatch 'require%s*%(?%s*"([^"]+)"' do
      local family, file = path:match "^kernels/([%w_]+)/([%w_]+)%.lua$"
      local bad = (family and file == family and not name:match "^kernels%.include%.")
        or (name:match "^tests%." and not (path:match "^tests/" or path:match "_test%.lua$"))
        or (path:match "^tuner/" and name:match "^scripts%." and not name:match "^scripts%.lib%.")
        or (path:match "^scripts/lib/" and name:match "^scripts%." and not name:match "^scripts%.lib%.")
      if bad then found[#found + 1] = ("%s:%d: require \"%s\""):format(path, number, name) end
    end
  end)
  nothing(found)
end

function TestIncludes:test_every_header_compiles_alone()
  lu.assertEquals(output "MAKEFLAGS= make -s -k headers 2>&1", "")
end

function TestIncludes:test_header_guards()
  local found = {}
  for _, path in ipairs(files("h", "cuh")) do
    local text, name = read(path), guard(path)
    if path == "core/emu/emu_isa.h" then   -- includes its includer once per instruction set
    elseif path:match "%.cuh$" then
      if not text:match "#pragma once" then found[#found + 1] = path .. ": no #pragma once" end
    elseif not text:find("#ifndef " .. name .. "\n#define " .. name .. "\n", 1, true) or not text:match "#endif%s*$" then
      found[#found + 1] = path .. ": expected the guard " .. name
    end
  end
  nothing(found)
end

-- ---- lines --------------------------------------------------------------------------------------

TestLines = {}
local WIDTH_MAX = 170   -- 100 is comfortable, 130 the aim; rows of tables and fragments may be wider
function TestLines:test_width_tabs_and_ends()
  local found = {}
  each_line(TEXT, function(path, number, line)
    local place = ("%s:%d: "):format(path, number)
    local width = utf8.len(line) or #line
    if width > WIDTH_MAX and not path:match "%.md$" then found[#found + 1] = place .. width .. " columns" end
    if line:find "\t" and not path:match "Makefile$" then found[#found + 1] = place .. "tab" end
    if line:find "%s$" then found[#found + 1] = place .. "space at the end" end
  end)
  for _, path in ipairs(files(table.unpack(TEXT))) do
    if read(path):sub(-1) ~= "\n" then found[#found + 1] = path .. ": no newline at the end" end
  end
  nothing(found)
end

-- Every place of the given words, found as they stand between a character of `before` and one of `after`.
local function places(words, before, after)
  local found = {}
  for _, path in ipairs(files(table.unpack(TEXT))) do
    local text = "\n" .. read(path)
    for _, word in ipairs(words) do
      local at = text:find(word, 1, true)
      while at do
        if text:sub(at - 1, at - 1):find(before) and text:sub(at + #word, at + #word):find(after) then
          local _, number = text:sub(1, at):gsub("\n", "")
          found[#found + 1] = ("%s:%d: %s"):format(path, number, word)
        end
        at = text:find(word, at + 1, true)
      end
    end
  end
  return found
end

function TestLines:test_no_leftovers()
  nothing(places({ "TO" .. "DO", "FIX" .. "ME", "XX" .. "X", "HA" .. "CK" }, "%W", "%W"))
end

-- No folder of a machine and no package host: only `deps` speaks to the network, through the system's own configuration.
function TestLines:test_no_machine()
  nothing(places({
    "/wo" .. "rk/", "/ho" .. "me/", "/ro" .. "ot/", "/Us" .. "ers/", "py" .. "pi.org", "python" .. "hosted", "npm" .. "js.",
    "crates" .. ".io", "artifact" .. "ory", "index-" .. "url", "deb." .. "debian.org", "archive." .. "ubuntu.com",
  }, "[^%w%.]", "."))
end

-- ---- names and lists ----------------------------------------------------------------------------

TestNames = {}
function TestNames:test_stems_are_unique()
  local found, seen = {}, {}
  for _, path in ipairs(files("h", "c")) do
    local key = path:match "[^/]+$"
    if seen[key] then found[#found + 1] = path .. " and " .. seen[key] end
    seen[key] = path
  end
  nothing(found)
end

-- A symbol starts with the stem of the header that declares it, of the source that defines it, or with its module, so that the name tells
-- the file.
function TestNames:test_symbols_start_with_their_stem()
  local headers = {}
  for _, path in ipairs(files "h") do
    if path:match "^core/" then headers[#headers + 1] = { stem = stem(path), module = path:match "^core/(%w+)/", text = read(path) } end
  end
  local exempt = set { "fail", "fail_errno" }   -- err.h: `return fail(err, E_IO, …)` reads as a sentence
  local found, n = {}, 0
  local library = uv.exepath():match "^(.*)/" .. "/libcore.a"
  for object, symbol in output("nm -A -g --defined-only '" .. library .. "'"):gmatch "libcore%.a:([%w_]+%.o):%x+ %a ([%w_]+)\n" do
    local declared = exempt[symbol] or symbol:match "^_"   -- what the compiler adds
    local own = object:match "^(.*)%.o$"
    local is_own = symbol == own or symbol:sub(1, #own + 1) == own .. "_"
    for _, h in ipairs(headers) do
      if is_own or symbol:sub(1, #h.module + 1) == h.module .. "_" or symbol == h.stem or symbol:sub(1, #h.stem + 1) == h.stem .. "_" then
        declared = declared or h.text:find("%f[%w_]" .. symbol .. "%f[^%w_]") ~= nil
      end
    end
    n = n + 1
    if not declared then found[#found + 1] = object .. ": " .. symbol end
  end
  lu.assertTrue(n > 50, "nm names no symbols of " .. library)
  nothing(found)
end

-- Nobody in core or a reference prints, exits or ends the program: progress.c writes its line to a terminal, nibble_main ends it.
function TestNames:test_core_is_silent()
  -- ptx_ir.c prints a module into the stream that its caller hands over
  local speaks, found = set { "core/bind/nibble_main.c", "core/base/progress.c", "core/ptx/ptx_ir.c" }, {}
  local words = { "f?printf", "vf?printf", "puts", "perror", "exit", "_exit", "abort" }
  each_line({ "c" }, function(path, number, line)
    if (path:match "^core/" or path:match "^kernels/") and not speaks[path] and line:find "%(" then
      for _, word in ipairs(words) do
        if line:find("%f[%w_]" .. word .. "%s*%(") then found[#found + 1] = ("%s:%d: %s"):format(path, number, line) end
      end
    end
  end)
  nothing(found)
end

function TestNames:test_families_are_listed_and_complete()
  local found, listed = {}, set(rows("kernels/families.def", "FAMILY"))
  for _, path in ipairs(files("lua", "c", "cu")) do
    local family = path:match "^kernels/([%w_]+)/"
    if family and family ~= "include" and not listed[family] then found[#found + 1] = path .. ": not in families.def" end
  end
  for family in pairs(listed) do
    for _, part in ipairs { ".lua", "_ref.c", "_test.lua" } do
      local path = ("kernels/%s/%s%s"):format(family, family, part)
      if not exists(path) then found[#found + 1] = path .. ": absent" end
    end
  end
  table.sort(found)
  nothing(found)
end

function TestNames:test_bindings_are_listed()
  local found, listed = {}, set(rows("core/bind/bind.def", "BIND"))
  for _, path in ipairs(files "c") do
    local module = path:match "^core/bind/bind_([%w_]+)%.c$"
    if module then
      local registers = read(path):find("void bind_" .. module .. "(lua_State", 1, true) ~= nil
      if registers and not listed[module] then found[#found + 1] = path .. ": not in bind.def" end
      if not registers and listed[module] then found[#found + 1] = path .. ": in bind.def, but has no bind_" .. module end
      listed[module] = nil
    end
  end
  for module in pairs(listed) do found[#found + 1] = "bind.def: no bind_" .. module .. ".c" end
  nothing(found)
end

function TestNames:test_commands_introduce_themselves()
  local found = {}
  for _, path in ipairs(files "lua") do
    local name = path:match "^scripts/([%w_]+)%.lua$" or path:match "^scripts/experiments/([%w_]+)%.lua$"
    if name and not read(path):find("^%-%- " .. name .. ": %S") then
      found[#found + 1] = path .. ": does not begin with its name"
    end
  end
  nothing(found)
end

-- ---- errors -------------------------------------------------------------------------------------

TestErrors = {}
function TestErrors:test_every_kind_used_exists()
  local found, known = {}, set(rows("core/base/err.def", "ERR"))
  each_line({ "c", "h", "lua", "inc" }, function(path, number, line)
    for kind in line:gmatch "%f[%w_](E_%u[%u_]+)%f[^%w_]" do
      if not known[kind] and kind ~= "E_NONE" and path ~= "tests/base/err_test.c" then found[#found + 1] = ("%s:%d: %s"):format(path, number, kind) end
    end
  end)
  nothing(found)
end

-- No device that can fault runs kernels in these tests yet.
local NOT_YET = { "E_KERNEL" }

function TestErrors:test_every_kind_is_provoked()
  local missing = set(rows("core/base/err.def", "ERR"))
  for _, kind in ipairs(NOT_YET) do missing[kind] = nil end
  each_line({ "c", "lua" }, function(path, _, line)
    if path:match "_test%.%w+$" and path ~= "tests/tidy_test.lua" then
      for kind in line:gmatch "%f[%w_](E_%u[%u_]+)%f[^%w_]" do missing[kind] = nil end
    end
  end)
  local found = {}
  for kind in pairs(missing) do found[#found + 1] = kind .. ": no test names it" end
  table.sort(found)
  nothing(found)
end

function TestErrors:test_statuses()
  local seen = {}
  for kind, status in read("core/base/err.def"):gmatch "\nERR%(([%u_]+),%s*(%d+)," do
    lu.assertNil(seen[status], kind)
    lu.assertTrue(tonumber(status) >= 2, kind .. ": 0 is good and 1 is a disagreement of numbers")
    seen[status] = kind
  end
end

-- ---- tests mirror the code ----------------------------------------------------------------------

TestMirror = {}

function TestMirror:test_every_test_has_a_subject()
  local found = {}
  for _, path in ipairs(files "c") do
    local module, name = path:match "^tests/([%w_]+)/([%w_]+)_test%.c$"
    if not module then module, name = path:match "^tests/([%w_]+)/([%w_]+)_fuzz%.c$" end
    if module then
      local prefix = name
      while prefix and not (exists(("core/%s/%s.c"):format(module, prefix)) or exists(("core/%s/%s.h"):format(module, prefix))) do
        prefix = prefix:match "^(.+)_[^_]*$"
      end
      if not prefix then found[#found + 1] = path .. ": no such file in core/" .. module end
    end
  end
  nothing(found)
end

-- Files whose only tests are those of what stands on them (through the bindings, the checkpoints, the commands).
local THROUGH_OTHERS = {
  "core/emu/emu.c", "core/emu/emu_check.c", "core/emu/emu_decode.c", "core/emu/emu_exec.c", "core/emu/emu_mem.c",
  "core/emu/emu_op_arith.c", "core/emu/emu_op_async.c", "core/emu/emu_op_cvt.c", "core/emu/emu_op_float.c",
  "core/emu/emu_op_mem.c", "core/emu/emu_op_mma.c", "core/emu/emu_op_sync.c", "core/emu/emu_op_warp.c",
  "core/emu/emu_race.c",
  "core/jit/cubin.c", "core/ptx/ptx_ir.c", "core/ptx/ptx_lex.c",
  "core/file/json_scan.c", "core/file/name_table.c", "core/gpu/arch.c", "core/gpu/device.c",
  "core/gpu/device_cuda.c", "core/gpu/device_emu.c", "core/model/launch.c", "core/model/pack.c",
  "core/model/plan.c", "core/model/plan_device.c", "core/model/sample.c", "core/tensor/accept.c",
  "core/tensor/compare.c", "core/tensor/dtype.c", "core/tensor/nvfp4_tensor.c", "core/tensor/synth.c",
  "core/tensor/tensor.c",
}

-- A file is tested by a test of its stem (checkpoint_names.c by checkpoint_test as well) or by one that includes its header.
function TestMirror:test_every_file_has_a_test()
  local tests, found, through = {}, {}, set(THROUGH_OTHERS)
  for _, path in ipairs(files("c", "lua")) do
    local module, name = path:match "^tests/([%w_]+)/([%w_]+)_test%.%w+$"
    if module then tests[module .. "/" .. name] = true end
    if module and path:match "%.c$" then
      for header in read(path):gmatch '#include "core/([%w_/]+)%.h"' do tests[header] = true end
    end
  end
  for _, path in ipairs(files "c") do
    local module, name = path:match "^core/([%w_]+)/([%w_]+)%.c$"
    if module and module ~= "bind" then
      local prefix = name
      while prefix and not tests[module .. "/" .. prefix] do prefix = prefix:match "^(.+)_[^_]*$" end
      if not prefix and not through[path] then found[#found + 1] = path end
    end
  end
  nothing(found)
end

-- ---- what the README says -----------------------------------------------------------------------

TestReadme = {}
function TestReadme:test_paths_exist()
  local found = {}
  for path in read("README.md"):gmatch "`([%w_%.]+/[%w_%./]*)`" do
    if not path:match "^build/" and not exists(path) then found[#found + 1] = "README.md: " .. path end
  end
  nothing(found)
end

function TestReadme:test_commands_exist()
  local found, text = {}, read "README.md"
  for name in text:gmatch "[`$/] ?nibble ([%l_]+)%f[^%w_]" do
    if not exists("scripts/" .. name .. ".lua") then found[#found + 1] = "README.md: nibble " .. name end
  end
  for target in text:gmatch "%f[%w]make ([%l-]+)%f[^%w-]" do
    if not read("Makefile"):find("\n" .. target:gsub("%-", "%%-") .. ":") then
      found[#found + 1] = "README.md: make " .. target
    end
  end
  nothing(found)
end

os.exit(lu.LuaUnit.run())
