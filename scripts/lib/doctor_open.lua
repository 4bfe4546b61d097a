-- doctor_open: reads a checkpoint folder as far as it can be read. Each fault is a finding; what is sound
-- stays usable. Gives the case: { dir, files = { {name, path, scan, bytes} }, names, dtypes, shapes,
-- offsets, bytes, owner (columns over all tensors; a shape is a string "512,1024"), at (name → column
-- index), config, quant, generation (decoded JSON or nil) }.
local nb = require "nibble"
local luv = require "luv"
local open = {}

local HEADER_MAX = 1 << 30
local SIZES = { F32 = 4, F64 = 8, BF16 = 2, F16 = 2, F8_E4M3 = 1, F8_E5M2 = 1, U8 = 1, I8 = 1, I16 = 2,
  I32 = 4, I64 = 8, BOOL = 1 }

-- The names of plain files in dir, sorted; nil, message, code when it is no readable folder.
local function list(dir)
  local handle, message = luv.fs_scandir(dir)
  if not handle then return nil, ("%s: expected the folder of a checkpoint: %s"):format(dir, message), "E_IO" end
  local names = {}
  for name, kind in function() return luv.fs_scandir_next(handle) end do
    if kind ~= "directory" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function read_text(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local text, why = file:read "a"
  file:close()
  return text, why
end

-- One JSON object from a file; nil and the reason otherwise.
local function read_object(path)
  local text, message = read_text(path)
  if not text then return nil, message end
  local value, why = nb.json.decode(text)
  if value == nil then return nil, why end
  if type(value) ~= "table" or getmetatable(value) then
    return nil, "expected an object, found " .. (type(value) == "table" and "a list" or type(value))
  end
  return value
end
open.read_object = read_object

local function is_count(v) return math.type(v) == "integer" and v >= 0 end

-- A shape as a list → "512,1024" and the number of elements; nil when it is no shape.
local function shape_text(shape)
  if type(shape) ~= "table" then return nil end
  local n = 1
  for i, d in ipairs(shape) do
    if not is_count(d) or i > 8 then return nil end
    if d ~= 0 and n > (1 << 62) // d then return nil end
    n = n * d
  end
  if next(shape) ~= nil and #shape == 0 then return nil end
  return table.concat(shape, ","), n
end

-- One entry of a header, checked; nil when it cannot be used.
local function check_entry(found, name, entry, data_bytes)
  if type(entry) ~= "table" then return found("header_entry", name, type(entry), "an object") end
  local offsets = entry.data_offsets
  local text, n = shape_text(entry.shape)
  if type(entry.dtype) ~= "string" or not text or type(offsets) ~= "table" or #offsets ~= 2 then
    return found("header_entry", name, nb.json.encode(entry):sub(1, 120), "{dtype, shape, data_offsets}")
  end
  if not SIZES[entry.dtype] then return found("dtype_unknown", name, entry.dtype, "BF16, F16, F32, F8_E4M3, U8") end
  local first, last = offsets[1], offsets[2]
  if not is_count(first) or not is_count(last) or first > last then
    return found("offset_range", name, ("[%s, %s)"):format(first, last), "0 <= begin <= end")
  end
  if last > data_bytes then
    return found("offset_range", name, ("[%d, %d)"):format(first, last),
      ("inside %d bytes of data"):format(data_bytes))
  end
  if n > (1 << 60) or n * SIZES[entry.dtype] ~= last - first then
    return found("shape_bytes", name, ("%s[%s] over %d bytes"):format(entry.dtype, text, last - first),
      "shape times type = bytes")
  end
  return { name = name, dtype = entry.dtype, shape = text, first = first, last = last }
end

-- Reports where sound entries (sorted by offset) overlap or leave holes; drops the later of two that overlap.
local function check_layout(found, entries, data_bytes, file_name)
  local kept, at = {}, 0
  for _, e in ipairs(entries) do
    if e.first < at and e.last > e.first then
      found("offset_overlap", e.name,
        ("starts at %d, %d bytes before the end of the tensor before it"):format(e.first, at - e.first),
        "no shared bytes")
    else
      if e.first > at then
        found("offset_hole", e.name, ("%d unused bytes before it in %s"):format(e.first - at, file_name),
          "no holes")
      end
      kept[#kept + 1] = e
      at = math.max(at, e.last)
    end
  end
  if at < data_bytes and #kept > 0 then
    found("offset_hole", file_name, ("%d unused bytes at the end"):format(data_bytes - at), "no holes")
  end
  return kept
end

local function by_offset(a, b)
  if a.first ~= b.first then return a.first < b.first end
  if a.last ~= b.last then return a.last < b.last end
  return a.name < b.name
end

-- Is every announced offset sound in itself, so that a short file can only mean that its end is missing?
local function announced_end(header)
  local top = 0
  for name, entry in pairs(header) do
    if name ~= "__metadata__" then
      local offsets = type(entry) == "table" and entry.data_offsets
      local text, n = shape_text(type(entry) == "table" and entry.shape or nil)
      if type(offsets) ~= "table" or not is_count(offsets[1]) or not is_count(offsets[2]) or not text
          or not SIZES[entry.dtype]
        or n > (1 << 60) or n * SIZES[entry.dtype] ~= offsets[2] - offsets[1] then return nil end
      top = math.max(top, offsets[2])
    end
  end
  return top
end

local function read_header(found, scan, name)
  local size = scan:bytes()
  if size < 8 then return found("file_truncated", name, ("%d bytes"):format(size), "8 bytes of header length") end
  local length = string.unpack("<i8", assert(scan:read(0, 8)))
  if length < 2 or length > HEADER_MAX then
    return found("header_length", name, ("%u"):format(length), ("2 to %d"):format(HEADER_MAX))
  end
  if length > size - 8 then
    local starts_well = size > 8 and scan:read(8, 1) == "{"
    return found(starts_well and "file_truncated" or "header_length", name,
      ("%d bytes in a file of %d"):format(length, size), "a header inside the file")
  end
  local header, why = nb.json.decode(assert(scan:read(8, length)))
  if header == nil then return found("header_json", name, why, "one JSON object") end
  if type(header) ~= "table" or getmetatable(header) then
    return found("header_json", name, type(header), "one JSON object")
  end
  return header, size - 8 - length, 8 + length
end

-- The entries of a file that the strict reader refused, and whether some are lost.
local function salvage(found, scan, name, message)
  local before = found.count
  local header, data_bytes, data = read_header(found, scan, name)
  local columns = { names = {}, dtypes = {}, shapes = {}, offsets = {}, bytes = {} }
  if not header then return columns, true end
  local top = announced_end(header)
  local is_cut = top and top > data_bytes
  if is_cut then found("file_truncated", name, ("%d bytes of data"):format(data_bytes), ("%d"):format(top)) end
  local keys, entries = {}, {}
  for key in pairs(header) do if key ~= "__metadata__" then keys[#keys + 1] = key end end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local entry = check_entry(found, key, header[key], is_cut and top or data_bytes)
    if entry and entry.last <= data_bytes then entries[#entries + 1] = entry end
  end
  table.sort(entries, by_offset)
  entries = check_layout(found, entries, is_cut and 0 or data_bytes, name)
  if found.count == before then found("file_rejected", name, message, "a file the reader accepts") end
  for i, e in ipairs(entries) do
    columns.names[i], columns.dtypes[i], columns.shapes[i] = e.name, e.dtype, e.shape
    columns.offsets[i], columns.bytes[i] = data + e.first, e.last - e.first
  end
  return columns, #entries < #keys
end

-- Sound files may still have holes: only where the sums differ are the offsets looked at.
local function check_holes(case, found)
  local used = {}
  for i, owner in ipairs(case.owner) do used[owner] = (used[owner] or 0) + case.bytes[i] end
  for owner, file in ipairs(case.files) do
    local text = not file.is_refused and file.scan:read(0, 8)
    local data = text and 8 + string.unpack("<i8", text)
    if data and not file.has_twins and (used[owner] or 0) ~= file.bytes - data then
      local entries = {}
      for i, other in ipairs(case.owner) do
        if other == owner then
          local first = case.offsets[i] - data
          entries[#entries + 1] = { name = case.names[i], first = first, last = first + case.bytes[i] }
        end
      end
      table.sort(entries, by_offset)
      check_layout(found, entries, file.bytes - data, file.name)
    end
  end
end

local function found_twice(case, found, name, first, second)
  found("tensor_twice", name, ("in %s and in %s"):format(case.files[first].name, case.files[second].name),
    "one file")
  case.files[second].has_twins = true
end

-- Adds what a refused file still gives.
local function add_salvaged(case, found, owner, why)
  local file = case.files[owner]
  local columns, is_damaged = salvage(found, file.scan, file.name, why)
  case.damaged[file.name], file.is_refused = is_damaged, true
  for i, tensor in ipairs(columns.names) do
    local other, at = case.at[tensor], #case.names + 1
    if other then
      found_twice(case, found, tensor, case.owner[other], owner)
    else
      case.names[at], case.dtypes[at], case.shapes[at] = tensor, columns.dtypes[i], columns.shapes[i]
      case.offsets[at], case.bytes[at], case.owner[at], case.at[tensor] = columns.offsets[i],
        columns.bytes[i], owner, at
    end
  end
end

-- Opens the named files of the folder and reads their headers.
local function open_files(case, found, names)
  local paths = {}
  for _, name in ipairs(names) do
    local path = case.dir .. "/" .. name
    local scan, message = nb.scan.open(path)
    if scan then
      paths[#paths + 1] = path
      case.files[#paths] = { name = name, path = path, scan = scan, bytes = scan:bytes() }
      case.opened[name] = true
    else
      found("file_unreadable", name, message, "a readable file")
    end
  end
  local columns = nb.scan.headers(paths)
  for _, key in ipairs { "names", "dtypes", "shapes", "offsets", "bytes", "owner", "at" } do
    case[key] = columns[key]
  end
  for _, twin in ipairs(columns.twice) do found_twice(case, found, twin.name, twin.first, twin.second) end
  for owner = 1, #case.files do
    local why = columns.errors[owner]
    if why then add_salvaged(case, found, owner, why) end
  end
  check_holes(case, found)
end

local function is_plain_name(name)
  return type(name) == "string" and name ~= "" and not name:find "[/\\\0]" and name ~= "." and name ~= ".."
end

-- An index: { sound = the parsed one, nil if it is not sound, map() = weight_map, files = its files,
-- sorted, wanted = set of them, total_size }; nil without a usable one.
local function read_index(case, found)
  local name = "model.safetensors.index.json"
  if not case.present[name] then return nil end
  local text, why = read_text(case.dir .. "/" .. name)
  local index = { files = {}, wanted = {} }
  index.sound = text and nb.scan.index(text) or nil
  if index.sound then   -- a large one is not made into tables unless a tensor has to be looked up
    local metadata = text:match '"metadata"%s*:%s*(%b{})'
    metadata = metadata and nb.json.decode(metadata)
    index.total_size = metadata and metadata.total_size
    index.files = index.sound:files()
    local map
    function index.map()
      map = map or index.sound:map()
      return map
    end
  else
    local value
    if text then value, why = read_object(case.dir .. "/" .. name) end
    local map = value and value.weight_map
    if type(map) ~= "table" or getmetatable(map) then
      return found("index_json", name, why or "no weight_map", "{metadata, weight_map}")
    end
    local seen = {}
    for tensor, file in pairs(map) do
      if not is_plain_name(file) then
        found("index_path", tensor, tostring(file), "the name of a file in the folder")
      elseif not seen[file] then seen[file] = true; index.files[#index.files + 1] = file end
    end
    index.total_size = type(value.metadata) == "table" and value.metadata.total_size or nil
    function index.map() return map end
  end
  table.sort(index.files)
  for _, file in ipairs(index.files) do index.wanted[file] = true end
  return index
end

-- Does a sound index name exactly the tensors that are stored, each in its file?
local function index_fits(case, index)
  local owner_of = {}
  for owner, file in ipairs(case.files) do owner_of[file.name] = owner end
  return index.sound and index.sound:fits(case.at, case.owner, #case.names, owner_of)
end

local function check_places(case, found, map)
  local missing, unlisted = {}, {}
  for tensor, file in pairs(map) do
    local i = case.at[tensor]
    local is_placed = i and case.files[case.owner[i]].name == file
    -- A tensor that a damaged header lost is that header's finding.
    local is_lost = not i and case.damaged[file]
    if not is_placed and not is_lost and is_plain_name(file) and case.opened[file] then
      missing[#missing + 1] = tensor
    end
  end
  table.sort(missing)
  for _, tensor in ipairs(missing) do
    local i = case.at[tensor]
    found("index_tensor_missing", tensor, i and "in " .. case.files[case.owner[i]].name or "absent",
      "in " .. map[tensor])
  end
  for i, tensor in ipairs(case.names) do
    if map[tensor] == nil then
      found("index_tensor_unlisted", tensor, "in " .. case.files[case.owner[i]].name, "an entry of weight_map")
    end
  end
end

local function check_index(case, found, index)
  if not index_fits(case, index) then check_places(case, found, index.map()) end
  for _, name in ipairs(case.safetensors) do
    if not index.wanted[name] then found("shard_unlisted", name, "not in the index", "every weight file") end
  end
  if index.total_size ~= nil and case.is_whole then
    local stored = 0
    for i = 1, #case.names do stored = stored + case.bytes[i] end
    if index.total_size ~= stored then
      found("index_total_size", "metadata.total_size", tostring(index.total_size), ("%d"):format(stored))
    end
  end
end

-- The files to open: those of the index that are there, or all.
local function pick_files(case, found, index)
  if not index then
    if #case.safetensors > 1 then
      found("index_absent", "model.safetensors.index.json", ("%d weight files"):format(#case.safetensors),
        "an index")
    end
    return case.safetensors
  end
  local in_folder, there = {}, {}
  for _, name in ipairs(case.safetensors) do in_folder[name] = true end
  for _, name in ipairs(index.files) do
    if in_folder[name] then
      there[#there + 1] = name
    else
      found("shard_missing", name, "absent", "a file of the index")
      case.is_whole = false
    end
  end
  return there
end

local function open_weights(case, found)
  local before = found.count
  case.is_whole = true
  local index = read_index(case, found)
  local names = pick_files(case, found, index)
  open_files(case, found, names)
  for _, name in ipairs(names) do
    case.is_whole = case.is_whole and case.opened[name] == true and not case.damaged[name]
  end
  -- Is a name that is not there the fault of a shard that is absent or damaged, and so no finding of its own?
  function case.is_lost(name)
    if case.is_whole then return false end
    if not index then return true end
    local file = index.map()[name]
    return is_plain_name(file) and (not case.opened[file] or case.damaged[file]) or false
  end
  if index then check_index(case, found, index) end
  if #case.names == 0 and found.count == before then
    found("no_weights", case.dir, ("%d safetensors files"):format(#case.safetensors),
      "model.safetensors, or shards with an index")
  end
end

-- Opens dir; found(id, tensor, found, expected) records a finding and returns nil, found.count is how
-- many there are so far.
function open.case(dir, found)
  local names, message, code = list(dir)
  if not names then return nil, message, code end
  local case = { dir = dir, present = {}, safetensors = {}, files = {}, opened = {}, damaged = {},
    names = {}, dtypes = {}, shapes = {}, offsets = {}, bytes = {}, owner = {}, at = {} }
  for _, name in ipairs(names) do
    case.present[name] = true
    if name:find "%.safetensors$" then case.safetensors[#case.safetensors + 1] = name end
  end
  open_weights(case, found)
  local why
  if case.present["config.json"] then
    case.config, why = read_object(dir .. "/config.json")
    if not case.config then found("config_json", "config.json", why, "one JSON object") end
  else
    found("config_missing", "config.json", "absent", "a config of the family")
  end
  if case.present["hf_quant_config.json"] then
    case.quant, why = read_object(dir .. "/hf_quant_config.json")
    if not case.quant then found("quant_config_json", "hf_quant_config.json", why, "one JSON object") end
  end
  if case.present["generation_config.json"] then
    case.generation, why = read_object(dir .. "/generation_config.json")
    if not case.generation then
      found("generation_config_json", "generation_config.json", why, "one JSON object")
    end
  end
  return case
end

return open
