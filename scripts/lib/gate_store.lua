-- gate_store: what the gate knows already: a JSON object a line, appended as each mutant ends, so that a run may be killed anywhere,
-- goes on where it was, and stores of several machines merge by name.
--   local store = gate_store.open(path or nil, { more paths })      their rows are copied into the first      store.rows[name] → row
--   store.others: rows that are not of this version      store:put(row) writes and keeps it      store:close()
-- A row's `name` says what was run: architecture, family, case, compiled text, mutant or schedules. Its `by` is the version of what
-- ran it: emulator, references, inputs and acceptance; rows of another version count for nothing.
local nb, uv, args = require "nibble", require "luv", require "scripts.lib.args"
local gate_store = {}
gate_store.__index = gate_store

-- 64 bits of a text: words multiplied together (FNV), the upper half of each product folded back.
local function checksum(text, h)
  local words = #text // 8
  for i = 0, words - 1 do
    h = (h ~ string.unpack("<i8", text, 8 * i + 1)) * 0x100000001b3
    h = h ~ h >> 29
  end
  for i = 8 * words + 1, #text do h = (h ~ text:byte(i)) * 0x100000001b3 end
  return h
end

-- Adds the files below a folder whose extension is one of `kinds`, in order of their names.
local function add_files(list, folder, kinds)
  local names, scan = {}, uv.fs_scandir(folder)
  for name, kind in function() if scan then return uv.fs_scandir_next(scan) end end do names[#names + 1] = { name, kind } end
  table.sort(names, function(a, b) return a[1] < b[1] end)
  for _, n in ipairs(names) do
    if n[2] == "directory" then add_files(list, folder .. "/" .. n[1], kinds)
    elseif kinds[n[1]:match "%.(%w+)$"] then list[#list + 1] = folder .. "/" .. n[1] end
  end
end

-- Of the sources that decide an outcome, where they are beside the program.
local version
local function own_version()
  if version then return version end
  local files, h = {}, 0
  for _, module in ipairs { "emu", "gpu", "model", "num", "ptx", "tensor" } do
    add_files(files, NIBBLE_ROOT .. "/core/" .. module, { c = true, h = true, def = true, inc = true })
  end
  add_files(files, NIBBLE_ROOT .. "/kernels", { c = true, lua = true })   -- references and specs; device code is in the compiled text
  for _, name in ipairs { "gate", "inputs", "mutants", "order", "trial", "variant", "verdict" } do
    files[#files + 1] = ("%s/scripts/lib/%s.lua"):format(NIBBLE_ROOT, name)
  end
  for _, path in ipairs(files) do
    local file <close> = assert(io.open(path, "rb"))
    h = checksum(path:sub(#NIBBLE_ROOT + 1) .. "\0" .. file:read "a", h)
  end
  version = ("%016x"):format(h)
  return version
end

-- Words for a table of plain values, the same whatever its order.
local function words_of(value)
  if type(value) ~= "table" then return tostring(value) end
  local list = {}
  for k, v in pairs(value) do list[#list + 1] = tostring(k) .. "=" .. words_of(v) end
  table.sort(list)
  return "{" .. table.concat(list, ",") .. "}"
end

-- What names a case of a compiled kernel; what was run of it follows behind.
function gate_store.stem(w)
  return ("%s %s %s %016x %s"):format(w.arch, w.spec.name, w.case[1], checksum(words_of(w.case), 0), w.trial.result.key)
end

-- Reads a store into rows; returns how many of those in the file are of another version, and how many bytes are whole lines.
local function read(path, rows)
  local file <close> = io.open(path, "rb")
  if not file then return nil end
  local whole, number, others = 0, 0, 0
  for line in file:lines "L" do
    if line:sub(-1) ~= "\n" then break end   -- who wrote it was killed there
    number, whole = number + 1, whole + #line
    local row, why = nb.json.decode(line)
    if type(row) ~= "table" or type(row.name) ~= "string" then
      args.fail("E_FORMAT", "%s line %d: expected a JSON object with a name, found %s", path, number, why or line:sub(1, 40))
    end
    if row.by == own_version() then rows[row.name] = row else others = others + 1 end
  end
  return others, whole
end

-- Opens a store for appending; what was half written at its end goes.
local function open_file(path, whole)
  local file, why = io.open(path, "ab")
  if not file then args.fail("E_IO", "%s: cannot be written: %s", path, why) end
  if file:seek "end" > whole then
    local fd = assert(uv.fs_open(path, "r+", 0))
    assert(uv.fs_ftruncate(fd, whole))
    uv.fs_close(fd)
  end
  return file
end

function gate_store.open(path, more)
  local store, found = setmetatable({ rows = {}, others = 0, path = path }, gate_store), {}
  for _, other in ipairs(more or {}) do
    local others = read(other, found)
    if not others then args.fail("E_MISSING", "%s: expected a store of this command, found no such file", other) end
    store.others = store.others + others
  end
  if path then
    local others, whole = read(path, store.rows)
    store.others = store.others + (others or 0)
    store.file = open_file(path, whole or 0)
  end
  local names = {}
  for name in pairs(found) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    if not store.rows[name] then store:put(found[name]) end
  end
  return store
end

function gate_store:put(row)
  row.by = own_version()
  self.rows[row.name] = row
  if not self.file then return end
  local ok, why, errno = self.file:write(nb.json.encode(row), "\n")
  if ok then ok, why, errno = self.file:flush() end
  if not ok then args.fail(errno == 28 and "E_SPACE" or "E_IO", "%s: cannot be written: %s", self.path, why) end
end

function gate_store:close()
  if self.file then self.file:close() end
  self.file = nil
end

return gate_store
