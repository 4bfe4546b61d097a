-- tests/ptx/cases on a device (NIBBLE_TEST_DEVICE: cuda:0, emu:sm_90, …): those whose .target it has, bit by bit. What may differ
-- on hardware is in `exceptions`, by instruction. The C test beside it runs all of them on the emulator.
local lu, nb, uv = require "luaunit", require "nibble", require "luv"
local name = os.getenv "NIBBLE_TEST_DEVICE" or "emu:sm_90"
local folder = "tests/ptx/cases"

-- A buffer: kind in, out, inout; width in bytes; ulp; values as integers, "nan" for any NaN; of sums that round near (bits), and the
-- lists sum, fma and truncate.
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
      for word in line:sub(5):gmatch "%S+" do values[#values + 1] = tonumber(word, 16) or word end
    elseif kind == "sum" or kind == "fma" or kind == "truncate" then
      local of = case.buffers[#case.buffers]
      of.exact = of.exact or of.values
      of[kind] = {}
      of.values = of[kind]
    elseif kind then
      case.buffers[#case.buffers + 1] = { kind = kind, width = tonumber(width) // 8, values = {},
        ulp = tonumber(rest:match "ulp (%d+)") or 0, near = tonumber(rest:match "near (%d+)") }
    end
  end
  for _, b in ipairs(case.buffers) do b.values = b.exact or b.values end
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

local float_of = { [2] = { 0x7FFF, 0x7F80 }, f16 = { 0x7FFF, 0x7C00 }, [4] = { 0x7FFFFFFF, 0x7F800000 }, [8] = { math.maxinteger, 0x7FF0000000000000 } }
local function is_nan(bits, width, case_name)
  local float = width == 2 and case_name:match "%.(b?f16)" == "f16" and float_of.f16 or float_of[width]
  return bits & float[1] > float[2]
end

-- What hardware may answer otherwise than the case's exact values: case, a pattern of its name; as, the floats in an element;
-- rel and abs, how far from the value; skip, nothing is compared. Bounds are those PTX ISA 9.0 gives, or as the reason says.
local exceptions = {
  { case = "^ex2%.approx%.f16", as = "f16", rel = 2^-9.9, why = "PTX gives a relative error of 2^-9.9" },
  { case = "^ex2%.approx%.bf16", as = "bf16", rel = 2^-7, why = "PTX gives a relative error of 2^-7" },
  { case = "^ex2%.approx%.f32", as = "f32", rel = 2^-22, abs = 2^-149, why = "PTX gives 2 ulp" },
  { case = "^lg2%.approx%.f32", as = "f32", rel = 2^-22, abs = 2^-22, why = "PTX gives an error of 2^-22" },
  { case = "^sin%.approx%.f32", as = "f32", abs = 2^-14.7, why = "PTX gives an absolute error, 2^-20.5 within pi" },
  { case = "^cos%.approx%.f32", as = "f32", abs = 2^-14.7, why = "PTX gives an absolute error, 2^-20.5 within pi" },
  { case = "^tanh%.approx%.f32", as = "f32", rel = 2^-11, why = "PTX gives a relative error of 2^-11" },
  { case = "^tanh%.approx%.f16", as = "f16", abs = 2^-10.987, why = "PTX gives an absolute error of 2^-10.987" },
  { case = "^tanh%.approx%.bf16", as = "bf16", abs = 2^-8, why = "PTX gives an absolute error of 2^-8" },
  { case = "^rcp%.approx%.f32", as = "f32", rel = 2^-23, why = "PTX gives 1 ulp" },
  { case = "^rsqrt%.approx%.f32", as = "f32", rel = 2^-22.9, why = "PTX gives a relative error of 2^-22.9" },
  { case = "^sqrt%.approx%.f32", as = "f32", rel = 2^-23, why = "PTX gives a relative error of 2^-23" },
  { case = "^div%.approx%.f32", as = "f32", rel = 2^-22, why = "PTX gives 2 ulp" },
  { case = "^div%.full%.f32", as = "f32", rel = 2^-22, why = "PTX gives 2 ulp" },
  { case = "^mov%.places$", skip = true, why = "where a warp runs, and how many places there are, is the device's" },
  { case = "%.order$", skip = true, why = "lanes of a warp that meet at an address come in any order" },
}

local function exception_of(case_name)
  for _, e in ipairs(exceptions) do
    if case_name:match(e.case) then return e end
  end
end

local function f32_of(bits) return (string.unpack("<f", string.pack("<I4", bits))) end

local function f16_of(bits)
  local sign, exponent, man = bits >> 15 == 1 and -1 or 1, bits >> 10 & 31, bits & 1023
  if exponent == 31 then return man ~= 0 and 0 / 0 or sign * math.huge end
  return sign * (exponent == 0 and man * 2^-24 or (1024 + man) * 2.0^(exponent - 25))
end

local floats_in = {
  f32 = function(bits) return { f32_of(bits) } end,
  f16 = function(bits, width) return width == 4 and { f16_of(bits & 0xFFFF), f16_of(bits >> 16) } or { f16_of(bits) } end,
  bf16 = function(bits, width)
    return width == 4 and { f32_of(bits << 16 & 0xFFFFFFFF), f32_of(bits & 0xFFFF0000) } or { f32_of(bits << 16) }
  end,
}

local function is_near(want, got, width, e)
  local w, g = floats_in[e.as](want, width), floats_in[e.as](got, width)
  for i = 1, #w do
    local bound = math.max(math.abs(w[i]) * (e.rel or 0), e.abs or 0)
    if not (w[i] == g[i] or math.abs(w[i] - g[i]) <= bound) then return false end   -- NaN never fits
  end
  return true
end

local function fits(want, got, buffer, case_name, exception)
  if want == "nan" then return is_nan(got, buffer.width, case_name) end
  if want == got then return true end
  local sign = 1 << (8 * buffer.width - 1)
  if buffer.ulp > 0 and (want & sign) == (got & sign) and math.abs(want - got) <= buffer.ulp then return true end
  return exception ~= nil and is_near(want, got, buffer.width, exception)
end

-- A sum of products: as many places from the exact one as `near` allows, of the sum of magnitudes.
local function sum_fits(buffer, i, got)
  return math.abs(f32_of(buffer.values[i]) - f32_of(got)) <= 2.0^-buffer.near * f32_of(buffer.sum[i])
end

-- Sentences about elements of outs that are not what the case says; and how many are, but for an exception, not bit by bit.
local function differences(case, case_name, outs, exception)
  local list, bent = {}, 0
  for b, buffer in ipairs(case.buffers) do
    local first = buffer.kind == "inout" and #buffer.values // 2 or 0
    for i = first + 1, buffer.kind == "in" and 0 or #buffer.values do
      local got, want = unpack_at(outs[b], buffer.width, i - first), buffer.values[i]
      local good = fits(want, got, buffer, case_name, exception)
      if buffer.near then good = sum_fits(buffer, i, got) end
      if not good then
        list[#list + 1] = ("%s: buffer %d, element %d is 0x%x, expected %s"):format(case_name, b - 1, i - first - 1, got,
          want == "nan" and "nan" or ("0x%x"):format(want))
      elseif want ~= got and want ~= "nan" then
        bent = bent + 1
      end
    end
  end
  return list, bent
end

-- How many of a case's rounded sums each way to add gives bit by bit; nil when it has none.
local function orders(case, outs)
  local equal, n = { values = 0, fma = 0, truncate = 0 }, 0
  for b, buffer in ipairs(case.buffers) do
    for i = 1, buffer.near and #buffer.values or 0 do
      n = n + 1
      for way, count in pairs(equal) do
        equal[way] = count + (buffer[way][i] == unpack_at(outs[b], buffer.width, i) and 1 or 0)
      end
    end
  end
  return n > 0 and ("of %d sums %d are as if exact, %d as fma in order, %d as if truncated"):format(n, equal.values, equal.fma, equal.truncate)
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

local function case_names()
  local names = {}
  for file in uv.fs_scandir_next, assert(uv.fs_scandir(folder)) do
    if file:match "%.ptx$" then names[#names + 1] = file:sub(1, -5) end
  end
  table.sort(names)
  return names
end

TestCases = {}

function TestCases:test_every_case_the_device_has_gives_its_memory()
  local device, why = nb.device(name)
  lu.skipIf(not device, why)
  local problems, notes, ran, other_arch, in_order = {}, {}, 0, 0, 0
  for _, case_name in ipairs(case_names()) do
    local case, exception = read_case(folder .. "/" .. case_name .. ".ptx"), exception_of(case_name)
    if not has(device:arch(), case.target) then
      other_arch = other_arch + 1
    elseif exception and exception.skip and not device:is_emulated() then
      in_order = in_order + 1
    else
      ran = ran + 1
      local outs, failed = run(device, case, case_name)
      if outs then
        local list, bent = differences(case, case_name, outs, not device:is_emulated() and exception or nil)
        table.move(list, 1, #list, #problems + 1, problems)
        local how = orders(case, outs)
        if how then
          notes[#notes + 1] = case_name .. ": " .. how
        elseif bent > 0 then
          notes[#notes + 1] = ("%s: %d elements differ within bounds%s"):format(case_name, bent, exception and ": " .. exception.why or "")
        end
      else
        problems[#problems + 1] = case_name .. ": " .. failed
        device:close()
        device = assert(nb.device(name))   -- a fault takes the context with it
      end
    end
  end
  print(("# %s: %d cases ran, %d differences; %d need another architecture, %d are the device's own choice"):format(device:name(), ran, #problems,
    other_arch, in_order))
  device:close()
  for _, list in ipairs { notes, problems } do
    for _, line in ipairs(list) do print("# " .. line) end
  end
  lu.assertEquals(#problems, 0, problems[1])
  lu.assertTrue(ran >= 200)
end

os.exit(lu.LuaUnit.run())
