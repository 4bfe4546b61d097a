-- ptxas: NVIDIA's assembler, alone, on PTX texts.
--   local path, why = ptxas.find()          ptxas.version(path) → major·100 + minor
--   ptxas.assemble({ { text =, arch =, name = }, … }, path)      fills in, of each
--     ok, log; cubin; kernels = { [entry] = { registers =, shared =, stack =, spills = } } as ptxas -v says them (spills: bytes
--     stored and loaded)
local uv, jobs, tool = require "luv", require "scripts.lib.jobs", require "scripts.lib.tool"
local ptxas = {}

function ptxas.find() return tool.find "ptxas" end

function ptxas.version(path)
  local pipe <close> = assert(io.popen(("'%s' --version"):format(path)))
  local major, minor = pipe:read "a":match "release (%d+)%.(%d+)"
  return major and major * 100 + minor
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local function read_and_remove(path)
  local file = io.open(path, "rb")
  local text = file and file:read "a"
  if file then file:close() end
  os.remove(path)
  return text
end

-- What -v says of each entry.
local function read_log(log)
  local kernels, k = {}, nil
  for line in log:gmatch "[^\n]+" do
    local entry = line:match "Compiling entry function '([^']+)'"
    if entry then
      k = { spills = 0 }
      kernels[entry] = k
    end
    local stack, stored, loaded = line:match "(%d+) bytes stack frame, (%d+) bytes spill stores, (%d+) bytes spill loads"
    if k and stack then
      k.stack = k.stack or tonumber(stack)   -- the entry's own comes first, those of functions it calls behind it
      k.spills = k.spills + tonumber(stored) + tonumber(loaded)
    end
    local registers = line:match "Used (%d+) registers"
    if k and registers then k.registers, k.shared = tonumber(registers), tonumber(line:match "(%d+) bytes smem" or 0) end
  end
  return kernels
end

function ptxas.assemble(list, path)
  local folder, commands = os.tmpname(), {}
  os.remove(folder)
  assert(uv.fs_mkdir(folder, 448))
  for i, one in ipairs(list) do
    local stem = ("%s/%d"):format(folder, i)
    write(stem .. ".ptx", one.text)
    commands[i] = { file = path, args = { "-v", "-arch=" .. one.arch, stem .. ".ptx", "-o", stem .. ".cubin" } }
  end
  jobs.run(commands, jobs.processors(), function(i, status, log)
    local one, stem = list[i], ("%s/%d"):format(folder, i)
    os.remove(stem .. ".ptx")
    one.ok, one.log, one.cubin, one.kernels = status == 0, log, read_and_remove(stem .. ".cubin"), read_log(log)
  end)
  assert(uv.fs_rmdir(folder))
end

return ptxas
