-- mutants: PTX texts with one fault each, made from a right one. Lines keep their numbers.
--   for _, m in ipairs(mutants.of(ptx, folders of the sources)) do … mutants.apply(ptx, m) … end
--     m = { kind =, line =, text = the instruction, becomes =, by = shift, entry = kernel, source = "file:line", source_text = that line,
--           nowhere = of the address of an array: what makes it point nowhere }
-- Kinds: barrier, warp_sync, shuffle (each lane keeps its own value), wait, commit, fence, arrive: the instruction is deleted;
-- offset: a shared address is 4 or 16 bytes off (of loads, stores, atomics, ldmatrix, copies; of the start of an array, where it
-- is taken); scale: those of a block-scaled mma are exchanged; selector: it takes them from other lanes. The text is the compiler's: one instruction a line.
local mutants = {}

-- Instructions that only order: opcode pattern → kind.
local deleted = {
  { "^bar%.warp%.", "warp_sync" }, { "^bar%.sync$", "barrier" }, { "^bar%.arrive$", "barrier" }, { "^barrier%.", "barrier" },
  { "^cp%.async%.wait_", "wait" }, { "^cp%.async%.bulk%.wait_", "wait" }, { "^cp%.async%.commit_group", "commit" },
  { "^cp%.async%.bulk%.commit_group", "commit" }, { "^membar%.", "fence" }, { "^fence%.", "fence" },
  { "^mbarrier%.arrive", "arrive" }, { "^griddepcontrol%.", "fence" },
}
local SHIFTS = { 4, 16 }
local NOWHERE = { ["32"] = 0x7FFFFFF0, ["64"] = 0x7FFFFFF07FFFFFF0 }   -- outside of every space, its lower half too

local function shifted(operand, by)
  local base, offset = operand:match "^%[([%w_$%%]+)%+?(%-?%d*)%]$"
  if not base then return nil end
  return ("[%s+%d]"):format(base, (tonumber(offset) or 0) + by)
end

-- The bracket with the shared address of an instruction: its first; nil where it touches no shared memory.
local function shared_operand(opcode, operands)
  local is_shared = opcode:find "^ld%..*shared" or opcode:find "^st%..*shared" or opcode:find "^atom%..*shared"
    or opcode:find "^red%..*shared" or opcode:find "^ldmatrix" or opcode:find "^stmatrix" or opcode:find "^cp%.async%..*shared"
  return is_shared and operands:match "%b[]"
end

-- Offsets of one instruction.
local function shift_address(add, opcode, operands, arrays)
  local address = shared_operand(opcode, operands)
  if address then
    local first, last = operands:find(address, 1, true)
    for _, by in ipairs(SHIFTS) do
      local new = shifted(address, by)
      if new then add("offset", opcode, operands:sub(1, first - 1) .. new .. operands:sub(last + 1), by) end
    end
  elseif opcode:find "^mov%.[ub]" then
    local d, symbol = operands:match "^(%%[%w]+),%s*([%w_$]+)$"
    if symbol and arrays[symbol] then
      local width = opcode:match "(%d+)$"
      for _, by in ipairs(SHIFTS) do
        add("offset", opcode, ("%s;\tadd.u%s \t%s, %s, %d"):format(operands, width, d, d, by), by,
          ("\tmov.b%s \t%s, %d;"):format(width, d, NOWHERE[width]))
      end
    end
  end
end

-- d, a, b, c, {scale a}, {byte, thread}, {scale b}, {byte, thread}: scales exchanged, each thread selector moved on.
local function change_scales(add, opcode, operands)
  local parts = {}
  for part in operands:gmatch "%b{}" do parts[#parts + 1] = part end
  if #parts ~= 8 then return end
  local function join(kind, changed)
    local list = {}
    for i = 1, 8 do list[i] = changed[i] or parts[i] end
    add(kind, opcode, table.concat(list, ","))
  end
  join("scale", { [5] = parts[7], [7] = parts[5] })
  for _, i in ipairs { 6, 8 } do
    local byte, thread = parts[i]:match "^{%s*([^,]+),%s*([^,]-)%s*}$"
    if byte and thread ~= "1" then join("selector", { [i] = ("{%s,1}"):format(byte) }) end
  end
end

local function mutate(add, opcode, operands, arrays)
  for _, row in ipairs(deleted) do
    if opcode:find(row[1]) then return add(row[2]) end
  end
  if opcode:find "^shfl%." then
    local d, a = operands:match "^(%%%w+)|?%%?%w*,%s*(%%?%w+)"
    return add("shuffle", "mov.b32", ("%s, %s"):format(d, a))
  end
  if opcode:find "^mma%..*block_scale" then return change_scales(add, opcode, operands) end
  shift_address(add, opcode, operands, arrays)
end

local function read_lines(folders, name)
  for _, folder in ipairs(folders) do
    local file = io.open(folder .. "/" .. name, "rb")
    if file then
      local lines = {}
      for line in file:lines() do lines[#lines + 1] = line end
      file:close()
      return lines
    end
  end
  return {}
end

-- Where .loc rows point: number and line → "file:line" and the text of that line, looked for in the folders (the paths in the PTX
-- are those of whoever compiled first).
local function sources(ptx, folders)
  local names, texts = {}, {}
  for number, path in ptx:gmatch "%.file%s+(%d+)%s+\"([^\"]*)\"" do names[number] = path:match "[^/]*$" end
  return function(number, line)
    local name = names[number]
    if not name then return nil, "" end
    texts[name] = texts[name] or read_lines(folders, name)
    return ("%s:%s"):format(name, line), (texts[name][tonumber(line)] or ""):match "^%s*(.-)%s*$"
  end
end

function mutants.of(ptx, folders)
  local list, arrays, entry, file, at, source = {}, {}, nil, nil, nil, sources(ptx, folders or {})
  for name in ptx:gmatch "%.shared[^\n]-([%w_$]+)[%[;]" do arrays[name] = true end
  local number = 0
  for line in (ptx .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    entry = line:match "%.entry%s+([%w_$]+)" or entry
    local f, l = line:match "^%s*%.loc%s+(%d+)%s+(%d+)"
    if f then file, at = f, l end
    local guard, rest = line:match "^%s*(@!?%%%w+)%s+(.*)$"
    local opcode, operands = (rest or line):match "^%s*([%l][%w_.:]*)%s*(.-)%s*;%s*$"
    if opcode and not line:find "^%s*%." then
      mutate(function(kind, new, changed, by, nowhere)
        local becomes = new and ("\t%s%s \t%s;"):format(guard and guard .. " " or "", new, changed) or ""
        local m = { kind = kind, line = number, text = (line:gsub("%s+", " "):match "^ ?(.*)$"), becomes = becomes, entry = entry, by = by,
          nowhere = nowhere }
        m.source, m.source_text = source(file, at)
        list[#list + 1] = m
      end, opcode, operands, arrays)
    end
  end
  return list
end

function mutants.apply(ptx, m)
  local number, from = 1, 1
  while number < m.line do
    from = ptx:find("\n", from, true) + 1
    number = number + 1
  end
  local to = ptx:find("\n", from, true) or #ptx + 1
  return ptx:sub(1, from - 1) .. m.becomes .. ptx:sub(to)
end

return mutants
