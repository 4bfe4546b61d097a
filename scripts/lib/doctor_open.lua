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
  if not handle then return nil, message, "E_IO" end
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

-- A sound file may still have holes: only when the sums differ are the offsets looked at.
local function check_holes(found, columns, scan, name)
  local used, n = 0, #columns.names
  for i = 1, n do used = used + columns.bytes[i] end
  local data = 8 + string.unpack("<i8", assert(scan:read(0, 8)))
  if used == scan:bytes() - data then return end
  local entries = {}
  for i = 1, n do
    local first = columns.offsets[i] - data
    entries[i] = { name = columns.names[i], first = first, last = first + columns.bytes[i] }
  end
  table.sort(entries, by_offset)
  check_layout(found, entries, scan:bytes() - data, name)
end

local function open_file(case, found, name)
  local path = case.dir .. "/" .. name
  local scan, message = nb.scan.open(path)
  if not scan then return found("file_unreadable", name, message, "a readable file") end
  local file = { name = name, path = path, scan = scan, bytes = scan:bytes() }
  case.files[#case.files + 1] = file
  local columns, why = nb.scan.header(path)
  if columns then
    check_holes(found, columns, scan, name)
  else
    columns, case.damaged[name] = salvage(found, scan, name, why)
  end
  local owner, at = #case.files, #case.names
  if at == 0 then   -- the first file's columns are taken over as they are
    case.names, case.dtypes, case.shapes, case.offsets, case.bytes = columns.names, columns.dtypes,
      columns.shapes, columns.offsets, columns.bytes
    if columns.at then
      case.at = columns.at
    else
      for i, tensor in ipairs(columns.names) do case.at[tensor] = i end
    end
    for i = 1, #columns.names do case.owner[i] = owner end
    return file
  end
  for i, tensor in ipairs(columns.names) do
    local other = case.at[tensor]
    if other then
      found("tensor_twice", tensor, ("in %s and in %s"):format(case.files[case.owner[other]].name, name),
        "one file")
    else
      at = at + 1
      case.names[at], case.dtypes[at], case.shapes[at] = tensor, columns.dtypes[i], columns.shapes[i]
      case.offsets[at], case.bytes[at], case.owner[at], case.at[tensor] = columns.offsets[i],
        columns.bytes[i], owner, at
    end
  end
  return file
end

local function is_plain_name(name)
  return type(name) == "string" and name ~= "" and not name:find "[/\\\0]" and name ~= "." and name ~= ".."
end

-- weight_map and total_size of an index; nil and the reason.
local function parse_index(path)
  local text, why = read_text(path)
  if not text then return nil, why end
  local map = nb.scan.index(text)
  if map then   -- sound, and so large that it is not taken apart twice
    local metadata = text:match '"metadata"%s*:%s*(%b{})'
    metadata = metadata and nb.json.decode(metadata)
    return map, metadata and metadata.total_size
  end
  local index, reason = read_object(path)
  if not index then return nil, reason end
  map = index.weight_map
  if type(map) ~= "table" or getmetatable(map) then return nil, "no weight_map" end
  return map, type(index.metadata) == "table" and index.metadata.total_size or nil
end

-- The files that an index names, sorted, and its weight_map; nil without a usable index.
local function read_index(case, found)
  local name = "model.safetensors.index.json"
  if not case.present[name] then return nil end
  local map, extra = parse_index(case.dir .. "/" .. name)
  if not map then
    found("index_json", name, extra, "{metadata, weight_map}")
    return nil
  end
  case.index_bytes = extra
  local wanted, files, entries = {}, {}, 0
  for tensor, file in pairs(map) do
    entries = entries + 1
    if not wanted[file] then
      if is_plain_name(file) then wanted[file] = true
      else found("index_path", tensor, tostring(file), "the name of a file in the folder") end
    end
  end
  case.index_entries = entries
  for file in pairs(wanted) do files[#files + 1] = file end
  table.sort(files)
  return map, files, wanted
end

local function check_index(case, found, map, wanted)
  local missing, unlisted, lost, placed = {}, {}, {}, 0
  for i, tensor in ipairs(case.names) do
    local file = map[tensor]
    if file == nil then unlisted[#unlisted + 1] = tensor
    elseif file == case.files[case.owner[i]].name then placed = placed + 1 end
  end
  for tensor, file in pairs(placed < case.index_entries and map or {}) do
    local i = case.at[tensor]
    if not (i and case.files[case.owner[i]].name == file) and is_plain_name(file) and case.opened[file] then
      missing[#missing + 1] = tensor
    end
  end
  table.sort(missing)
  for _, tensor in ipairs(missing) do
    local i = case.at[tensor]
    -- A tensor that a damaged header lost is that header's finding.
    if i or not case.damaged[map[tensor]] then
      found("index_tensor_missing", tensor, i and "in " .. case.files[case.owner[i]].name or "absent",
        "in " .. map[tensor])
    end
  end
  for _, tensor in ipairs(unlisted) do
    found("index_tensor_unlisted", tensor, "in " .. case.files[case.owner[case.at[tensor]]].name,
      "an entry of weight_map")
  end
  for _, name in ipairs(case.safetensors) do if not wanted[name] then lost[#lost + 1] = name end end
  for _, name in ipairs(lost) do found("shard_unlisted", name, "not in the index", "every weight file") end
  if case.index_bytes ~= nil and case.is_whole then
    local stored = 0
    for i = 1, #case.names do stored = stored + case.bytes[i] end
    if case.index_bytes ~= stored then
      found("index_total_size", "metadata.total_size", tostring(case.index_bytes), ("%d"):format(stored))
    end
  end
end

local function open_weights(case, found)
  local before = found.count
  local map, files, wanted = read_index(case, found)
  if not map then
    files = case.safetensors
    if #files > 1 then
      found("index_absent", "model.safetensors.index.json", ("%d weight files"):format(#files), "an index")
    end
  end
  local in_folder = {}
  for _, name in ipairs(case.safetensors) do in_folder[name] = true end
  case.is_whole = true
  for _, name in ipairs(files) do
    if not in_folder[name] then
      found("shard_missing", name, "absent", "a file of the index")
      case.is_whole = false
    else
      case.opened[name] = open_file(case, found, name) ~= nil
      case.is_whole = case.is_whole and case.opened[name] and not case.damaged[name]
    end
  end
  -- Is a name that is not there the fault of a shard that is absent or damaged, and so no finding of its own?
  function case.is_lost(name)
    if case.is_whole then return false end
    local file = map and map[name]
    return not map or (is_plain_name(file) and (not case.opened[file] or case.damaged[file])) or false
  end
  if map then check_index(case, found, map, wanted) end
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
