-- command: runs `nibble …` as a user would and returns exit status, stdout, stderr; command.json gives the object on the last line of stdout.
local nb, uv = require "nibble", require "luv"
local command = {}

local function quote(word) return "'" .. tostring(word):gsub("'", "'\\''") .. "'" end

local function slurp(path)
  local f = io.open(path, "rb")
  local text = f and f:read "a" or ""
  if f then f:close() end
  os.remove(path)
  return text
end

function command.run(...)
  local words = { quote(uv.exepath()) }
  for _, w in ipairs { ... } do words[#words + 1] = quote(w) end
  local out, err = os.tmpname(), os.tmpname()
  local _, _, status = os.execute(table.concat(words, " ") .. " >" .. out .. " 2>" .. err .. " </dev/null")
  return status, slurp(out), slurp(err)
end

-- The last line of stdout as a value, the status, stderr. Raises when the last line is not JSON.
function command.json(...)
  local status, out, err = command.run(...)
  local line = out:match "([^\n]*)\n?$"
  local value, message = nb.json.decode(line)
  if not value then error(("no JSON on the last line (status %d): %s\n%s\n%s"):format(status, message, out, err)) end
  return value, status, err
end

-- A fresh folder that the caller removes with command.remove.
function command.folder() return assert(uv.fs_mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/nibble-XXXXXX")) end
function command.remove(path) os.execute("rm -rf " .. quote(path)) end

command.tiny = NIBBLE_ROOT .. "/build/golden/tiny"
command.golden = NIBBLE_ROOT .. "/build/golden"
return command
