-- tests/ptx/cases on a device (NIBBLE_TEST_DEVICE: cuda:0, emu:sm_90, …): those whose .target it has, bit by bit. What may differ
-- on hardware is in `exceptions`, by instruction. The C test beside it runs all of them on the emulator.
local lu, nb, uv = require "luaunit", require "nibble", require "luv"
local name = os.getenv "NIBBLE_TEST_DEVICE" or "emu:sm_90"
local folder = "tests/ptx/cases"

-- One group of values of a case's head: kind in, out, inout; width in bytes; ulp; values as integers, "nan" for any NaN.
local function read_case(path)
  local file <close> = assert(io.open(path, "rb"))
  local text = file:read "a"
  local case = { text = text, threads = 32, buffers = {}, cc = 0 }
  for line in text:gmatch "[^\n]*" do
    if line:sub(1, 2) ~= "//" then break end
    local kind, width, rest = line:match "^// (%a+) %S+ b(%d+)(.*):$"
    local threads = line:match "^// launch: block (%d+)"
    if threads then
      case.threads = tonumber(threads)
    elseif line:sub(1, 4) == "//  " then
      local values = case.buffers[#case.buffers].values
      for word in line:sub(5):gmatch "%S+" do values[#values + 1] = math.tointeger(tonumber(word)) or word end
    elseif kind then
      case.buffers[#case.buffers + 1] = { kind = kind, width = tonumber(width) // 8, values = {}, ulp = tonumber(rest:match "ulp (%d+)") or 0 }
    end
  end
  case.target = text:match "\n%.target sm_(%w+)"
  return case
end

local function bytes_of(buffer, first, last)
  local parts, format = {}, "<I" .. buffer.width
  for i = first, last do
    local v = buffer.values[i]
    parts[#parts + 1] = buffer.width == 8 and ("<i8"):pack(v) or format:pack(v)
  end
  return table.concat(parts)
end

local function unpack_at(bytes, width, i)
  return (string.unpack(width == 8 and "<i8" or "<I" .. width, bytes, (i - 1) * width + 1))
end

local float_of = { [2] = { 0x7FFF, 0x7F80 }, [4] = { 0x7FFFFFFF, 0x7F800000 }, [8] = { math.maxinteger, 0x7FF0000000000000 } }
local function is_nan(bits, width) return bits & float_of[width][1] > float_of[width][2] end

local function fits(want, got, width, ulp)
  if want == "nan" then return is_nan(got, width) end
  if want == got then return true end
  local sign = 1 << (8 * width - 1)
  return ulp > 0 and (want & sign) == (got & sign) and math.abs(want - got) <= ulp
end

-- What hardware may answer otherwise than the emulator's exact values, by a pattern of the case's name: how far, and why.
local exceptions = {}

local function allowed(case_name)
  for _, e in ipairs(exceptions) do
    if case_name:match(e.case) then return e end
  end
  return { ulp = 0 }
end

-- Sentences about elements of outs that are not what the case says.
local function differences(case, case_name, outs)
  local list, extra = {}, allowed(case_name).ulp
  for b, buffer in ipairs(case.buffers) do
    local first = buffer.kind == "inout" and #buffer.values // 2 or 0
    for i = first + 1, buffer.kind == "in" and 0 or #buffer.values do
      local got, want = unpack_at(outs[b], buffer.width, i - first), buffer.values[i]
      if not fits(want, got, buffer.width, math.max(buffer.ulp, extra)) then
        list[#list + 1] = ("%s: buffer %d, element %d is 0x%x, expected %s"):format(case_name, b - 1, i - first - 1, got,
          want == "nan" and "nan" or ("0x%x"):format(want))
      end
    end
  end
  return list
end

local function run(device, case, case_name)
  local buffers = {}
  for i, b in ipairs(case.buffers) do
    local n = b.kind == "inout" and #b.values // 2 or #b.values
    buffers[i] = b.kind == "out" and ("\xEE"):rep(n * b.width) or bytes_of(b, 1, n)
  end
  local module <close>, why = device:load(case_name, case.text, case.text)
  if not module then return nil, why end
  return module:run("k", case.threads, buffers)
end

-- "90" on an 8.0 device: no; a letter binds to its very architecture.
local function has(arch, target)
  local number, letter = target:match "^(%d+)(%a?)$"
  if letter ~= "" then return arch.name == "sm_" .. target end
  return tonumber(number) <= tonumber(arch.name:match "^sm_(%d+)")
end

TestCases = {}

function TestCases:test_every_case_the_device_has_gives_its_memory()
  local device, why = nb.device(name)
  lu.skipIf(not device, why)
  local names, problems, ran, skipped = {}, {}, 0, 0
  for file in uv.fs_scandir_next, assert(uv.fs_scandir(folder)) do
    if file:match "%.ptx$" then names[#names + 1] = file end
  end
  table.sort(names)
  for _, file in ipairs(names) do
    local case_name = file:sub(1, -5)
    local case = read_case(folder .. "/" .. file)
    if not has(device:arch(), case.target) then
      skipped = skipped + 1
    else
      ran = ran + 1
      local outs, failed = run(device, case, case_name)
      if not outs then
        problems[#problems + 1] = case_name .. ": " .. failed
        device:close()
        device = assert(nb.device(name))   -- a fault takes the context with it
      else
        table.move(differences(case, case_name, outs), 1, 1000, #problems + 1, problems)
      end
    end
  end
  print(("# %s: %d cases ran, %d need another architecture, %d differences"):format(device:name(), ran, skipped, #problems))
  device:close()
  for i = 1, #problems do print("# " .. problems[i]) end
  lu.assertEquals(#problems, 0, problems[1])
  lu.assertTrue(ran >= 200)
end

os.exit(lu.LuaUnit.run())
