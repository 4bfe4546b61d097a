-- HDF5 through nb.h5: every type there and back, files that h5py writes, files that must be refused, writing by rename.
local lu, nb = require "luaunit", require "nibble"

local folder = os.tmpname()
os.remove(folder)
assert(os.execute("mkdir -p '" .. folder .. "'"))
local function at(name) return folder .. "/" .. name end
assert(os.execute(("/usr/bin/python3 '%s/tests/file/h5_zoo.py' '%s'"):format(NIBBLE_ROOT, folder)))

local function exists(path)
  local f = io.open(path)
  if f then f:close() end
  return f ~= nil
end

-- The call must fail with this kind and a sentence that names each word.
local function refused(kind, words, value, message, code)
  lu.assertNil(value)
  lu.assertEquals(code, kind, message)
  for _, word in ipairs(words) do lu.assertStrContains(message, word) end
end

local function counting(n)
  local v = {}
  for i = 1, n do v[i] = i - 1 end
  return v
end

TestRead = {}

function TestRead:test_types_of_h5py_little_and_big_endian()
  local f <close> = assert(nb.h5.open(at "types.h5"))
  local want = { i1 = "I8", i2 = "I16", i4 = "I32", i8 = "I64", u1 = "U8", u2 = "I32", u4 = "I64", u8 = "I64", f2 = "F16",
    f4 = "F32", f8 = "F64" }
  for name, dtype in pairs(want) do
    for _, suffix in ipairs { "", "_big" } do
      local t = assert(f:read(name .. suffix))
      lu.assertEquals(t:dtype(), dtype, name .. suffix)
      lu.assertEquals(f:dtype(name .. suffix), dtype)
      lu.assertEquals(t:shape(), { 2, 3, 4 })
      lu.assertEquals(t:list(), counting(24), name .. suffix)
    end
  end
  local flags = assert(f:read "bool")
  lu.assertEquals(flags:dtype(), "U8")
  for i = 0, 23 do lu.assertEquals(flags:get(i), i % 2) end
  lu.assertEquals(assert(f:read "scalar"):shape(), {})
  lu.assertEquals(assert(f:read "scalar"):get(0), 2.5)
  lu.assertEquals(assert(f:read "empty"):shape(), { 0, 4 })
  lu.assertEquals(assert(f:read "growing"):list(), counting(24))
end

function TestRead:test_types_that_are_not_numbers_are_refused()
  local f <close> = assert(nb.h5.open(at "types.h5"))
  refused("E_VALUE", { "u8_large", "element 1" }, f:read "u8_large")
  for _, name in ipairs { "complex", "text", "long_double" } do refused("E_SHAPE", { name, "numbers" }, f:read(name)) end
  refused("E_SHAPE", { "rank6", "6 dimensions" }, f:read "rank6")
  refused("E_SHAPE", { "none" }, f:read "none")
  refused("E_SHAPE", { "attributes", "a group" }, f:read "attributes")
  refused("E_SHAPE", { "u2", "F32" }, f:read("u2", 0, 1, "F32"))
  refused("E_SHAPE", { "expected a group" }, f:list "u2")
end

function TestRead:test_hyperslabs()
  local f <close> = assert(nb.h5.open(at "types.h5"))
  for _, case in ipairs { { 0, 1000 }, { 0, 1 }, { 999, 1 }, { 32, 2 }, { 500, 100 }, { 1000, 0 }, { 0, 0 } } do
    local first, n = case[1], case[2]
    local t = assert(f:read("chunked", first, n))
    lu.assertEquals(t:shape(), { n, 7 })
    for i = 0, n * 7 - 1 do assert(t:get(i) == first * 7 + i) end
  end
  lu.assertEquals(assert(f:read("chunked", 990)):shape(), { 10, 7 })
  refused("E_SHAPE", { "2 rows from row 999", "1000" }, f:read("chunked", 999, 2))
  refused("E_SHAPE", { "from row 1001" }, f:read("chunked", 1001))
  refused("E_SHAPE", { "9223372036854775807" }, f:read("chunked", 1, math.maxinteger))
  lu.assertEquals(assert(f:read("i1", 1, 1)):get(0), 12)
end

function TestRead:test_bits_are_taken_as_another_type()
  local f <close> = assert(nb.h5.open(at "types.h5"))
  local t = assert(f:read("u2_big", 0, 2, "BF16"))
  lu.assertEquals(t:dtype(), "BF16")
  lu.assertEquals(t:raw(), string.pack("<" .. ("I2"):rep(24), table.unpack(counting(24))))
end

function TestRead:test_attributes_of_h5py()
  local f <close> = assert(nb.h5.open(at "types.h5"))
  local all = assert(f:attrs "attributes")
  lu.assertEquals(all, { int = 7, u1 = 200, real = 0.25, half = 0.5, flag = true, text = "grüße", fixed = "fixed",
    ints = { 1, 2, 3 },
    reals = { 1.5, 2.5, 3.5, 4.5 }, texts = { "a", "bc", "" }, none = {} })
  for name, value in pairs(all) do lu.assertEquals(assert(f:attr("attributes", name)) , value) end
  lu.assertEquals(math.type(all.int), "integer")
  refused("E_MISSING", { "attributes", "nothing" }, f:attr("attributes", "nothing"))
  refused("E_MISSING", { "nowhere" }, f:attr("nowhere", "x"))
  refused("E_UNSUPPORTED", { "complex" }, f:attr("attributes", "complex"))
  lu.assertEquals(assert(f:attrs "/"), {})
end

function TestRead:test_lists_and_paths()
  local f <close> = assert(nb.h5.open(at "types.h5"))
  lu.assertEquals(assert(f:list "a"), { { name = "b", kind = "group" } })
  lu.assertEquals(assert(f:list "/a/b/"), { { name = "c", kind = "group" } })
  lu.assertEquals(assert(f:list "a/b/c"), {})
  local names = {}
  for _, e in ipairs(assert(f:list "/")) do names[#names + 1] = e.name end
  local sorted = table.pack(table.unpack(names))
  sorted.n = nil
  table.sort(sorted)
  lu.assertEquals(names, sorted)
  for p, want in pairs { ["/"] = true, [""] = true, a = true, ["/a/b"] = true, ["a//b"] = true, ["a/x"] = false,
    ["i1/x"] = false, ["./a"] = false } do
    lu.assertEquals(f:exists(p), want, p)
  end
  lu.assertEquals(f:shape "i1", { 2, 3, 4 })
  refused("E_MISSING", { "types.h5", "/a/x" }, f:read "a/x")
  refused("E_MISSING", { "/i1/x" }, f:read "i1/x")
  refused("E_USAGE", { "1023" }, f:read(("n"):rep(2000)))
end

TestRefuse = {}

function TestRefuse:test_files_that_are_none()
  refused("E_IO", { "/nope", "No such file" }, nb.h5.open(at "nope"))
  refused("E_IO", { "not a file" }, nb.h5.open(folder))
  local good = assert(io.open(at "types.h5", "rb")):read "a"
  for name, bytes in pairs { empty = "", text = "hello\n", cut = good:sub(1, #good // 2), head = good:sub(1, 50) } do
    local f = assert(io.open(at(name), "wb"))
    f:write(bytes)
    f:close()
    refused("E_FORMAT", { name }, nb.h5.open(at(name)))
  end
end

function TestRefuse:test_links_are_not_followed()
  local f <close> = assert(nb.h5.open(at "hostile.h5"))
  refused("E_UNSUPPORTED", { "soft" }, f:read "soft")
  refused("E_UNSUPPORTED", { "soft" }, f:read "loop")
  refused("E_UNSUPPORTED", { "external" }, f:read "outside")
  refused("E_UNSUPPORTED", { "external" }, f:read "outside_group/x")
  refused("E_UNSUPPORTED", { "external" }, f:exists "outside_group/x")
  lu.assertEquals(assert(f:read "cycle/again/cycle/again/x"):list(), counting(24))
  local kinds = {}
  for _, e in ipairs(assert(f:list "/")) do kinds[e.name] = e.kind end
  lu.assertEquals({ kinds.soft, kinds.loop, kinds.outside, kinds.x, kinds.cycle },
    { "other", "other", "other", "dataset", "group" })
end

function TestRefuse:test_data_elsewhere_and_unknown_filters()
  local f <close> = assert(nb.h5.open(at "hostile.h5"))
  refused("E_UNSUPPORTED", { "virtual" }, f:read "virtual")
  refused("E_UNSUPPORTED", { "external storage" }, f:read "elsewhere")
  refused("E_UNSUPPORTED", { "filter 32000" }, f:read "lzf")
  refused("E_UNSUPPORTED", { "filter 6" }, f:read "scaleoffset")
end

function TestRefuse:test_sizes_that_cannot_be()
  local f <close> = assert(nb.h5.open(at "hostile.h5"))
  refused("E_FORMAT", { "4398046511104 bytes are announced", "0 are stored" }, f:read "claim")
  refused("E_FORMAT", { "1073741824 bytes are announced" }, f:read "claim_gzip")
  lu.assertEquals(assert(f:read("claim_gzip", 1000, 48)):get(23), 1)
  lu.assertEquals(assert(f:read("claim_gzip", 1000, 48)):get(24), 0)
  refused("E_FORMAT", { "1073741824 bytes are announced" }, f:read("chunk", 0, 1))
  refused("E_FORMAT", { "overflows" }, f:read "overflow")
  lu.assertEquals(assert(f:read("overflow", 7, 1)):shape(), { 1, 8 })
end

TestWrite = {}

function TestWrite:test_every_type_there_and_back()
  local attributes = { unit = "nat", n = 3, x = 1.5, ok = true, no = false, ints = { 1, -2 }, mixed = { 1, 2.5 },
    texts = { "a", "bé" }, none = {},
    flags = { true, false }, big = math.maxinteger, ["with space"] = "" }
  local values = { 1, 0, 1, 1, 0, 1 }
  local types = { "F32", "F64", "F16", "BF16", "F8_E4M3", "U8", "I8", "I16", "I32", "I64", "BOOL" }
  do
    local f <close> = assert(nb.h5.create(at "back.h5"))
    for _, dtype in ipairs(types) do assert(f:write("g/h/" .. dtype, nb.tensor(dtype, { 2, 3 }, values), attributes)) end
    assert(f:write("I64x", nb.tensor("I64", { 2 }, { -3, 2 ^ 40 })))
    assert(f:write("scalar", nb.tensor("F32", {}, { 7 })))
    assert(f:write("empty", nb.tensor("I32", { 0, 4 }, {})))
    assert(f:group "only/a/group")
    assert(f:set_attr("/", "about", "root"))
    assert(f:set_attr("/", "about", "replaced"))
    refused("E_USAGE", { "exists already" }, f:write("scalar", nb.tensor("F32", {}, { 7 })))
    refused("E_USAGE", { "is a dataset" }, f:write("scalar/x", nb.tensor("F32", {}, { 7 })))
    refused("E_USAGE", { "exists and is no group" }, f:group "scalar")
    refused("E_MISSING", { "nothing" }, f:set_attr("nothing", "a", 1))
    lu.assertFalse(exists(at "back.h5"))
    lu.assertTrue(exists(at "back.h5.part"))
  end
  lu.assertTrue(exists(at "back.h5"))
  lu.assertFalse(exists(at "back.h5.part"))
  local f <close> = assert(nb.h5.open(at "back.h5"))
  for _, dtype in ipairs(types) do
    local t = assert(f:read("g/h/" .. dtype))
    lu.assertEquals(t:dtype(), dtype)
    lu.assertEquals(t:shape(), { 2, 3 })
    lu.assertEquals(t:raw(), nb.tensor(dtype, { 2, 3 }, values):raw())
    local back = assert(f:attrs("g/h/" .. dtype))
    back.dtype = nil
    lu.assertEquals(back, attributes)
    lu.assertEquals(math.type(back.n), "integer")
  end
  lu.assertEquals(assert(f:read "I64x"):list(), { -3, 2 ^ 40 })
  lu.assertEquals(assert(f:read "scalar"):get(0), 7)
  lu.assertEquals(assert(f:read "empty"):shape(), { 0, 4 })
  lu.assertEquals(f:attr("/", "about"), "replaced")
  lu.assertTrue(f:exists "only/a/group")
end

function TestWrite:test_an_error_or_the_collector_leaves_nothing()
  local ok = pcall(function()
    local f <close> = assert(nb.h5.create(at "gone.h5"))
    assert(f:write("x", nb.tensor("F32", { 1 }, { 1 })))
    error "stop"
  end)
  lu.assertFalse(ok)
  local f = assert(nb.h5.create(at "gone2.h5"))
  f = nil
  collectgarbage()
  for _, name in ipairs { "gone.h5", "gone.h5.part", "gone2.h5", "gone2.h5.part" } do lu.assertFalse(exists(at(name)), name) end
end

function TestWrite:test_an_older_file_stays_until_the_new_one_is_complete()
  local function write(value)
    local f <close> = assert(nb.h5.create(at "old.h5"))
    assert(f:write("x", nb.tensor("F32", { 1 }, { value })))
    if value == 2 then error "stop" end
  end
  local function value()
    local f <close> = assert(nb.h5.open(at "old.h5"))
    return f:read "x":get(0)
  end
  write(1)
  lu.assertFalse(pcall(write, 2))
  lu.assertEquals(value(), 1)
  write(3)
  lu.assertEquals(value(), 3)
end

function TestWrite:test_wrong_use_raises()
  local f <close> = assert(nb.h5.create(at "use.h5"))
  lu.assertErrorMsgContains("one type", f.set_attr, f, "/", "a", { 1, "x" })
  lu.assertErrorMsgContains("NUL", f.set_attr, f, "/", "a", "x\0y")
  lu.assertErrorMsgContains("an attribute is", f.set_attr, f, "/", "a", print)
  lu.assertErrorMsgContains("an attribute is", f.set_attr, f, "/", "a", { {} })
  assert(f:close())
  lu.assertErrorMsgContains("closed", f.list, f, "/")
  local r <close> = assert(nb.h5.open(at "use.h5"))
  lu.assertErrorMsgContains("reading only", r.write, r, "x", nb.tensor("F32", {}, { 1 }))
end

function TestWrite:test_a_folder_that_cannot_be_written()
  refused("E_IO", { "nowhere" }, nb.h5.create(at "nowhere/x.h5"))
  assert(os.execute("mkdir '" .. at "taken.h5.part" .. "'"))
  refused("E_IO", { "taken.h5.part", "directory" }, nb.h5.create(at "taken.h5"))
  lu.assertTrue(exists(at "taken.h5.part"))
end

function TestWrite:test_zz_nothing_stays_open()
  collectgarbage()
  lu.assertEquals(nb.h5.open_objects(), 0)
end

local status = lu.LuaUnit.run()
os.execute("rm -rf '" .. folder .. "'")
os.exit(status)
