-- command: runs `nibble …` as a user would and returns exit status, stdout, stderr; command.json gives the object on the last
-- line of stdout.
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

local function line_of(words)
  local quoted = { quote(uv.exepath()) }
  for _, w in ipairs(words) do quoted[#quoted + 1] = quote(w) end
  return table.concat(quoted, " ")
end

function command.run(...)
  local out, err = os.tmpname(), os.tmpname()
  local _, _, status = os.execute(line_of { ... } .. " >" .. out .. " 2>" .. err .. " </dev/null")
  return status, slurp(out), slurp(err)
end

-- Runs several commands (lists of words), as many at once as there are cores and one thread each; returns of each
-- { status, out, err, line }.
-- A list may name where its stdout goes: list[i].stdout.
function command.run_many(list)
  local results, at_once = {}, #uv.cpu_info()
  for first = 1, #list, at_once do
    local files, script = {}, {}
    for i = first, math.min(first + at_once - 1, #list) do
      files[i] = { out = os.tmpname(), err = os.tmpname(), status = os.tmpname() }
      script[#script + 1] = ("(OMP_NUM_THREADS=1 %s >%s 2>%s </dev/null; echo $? >%s) &"):format(line_of(list[i]),
        list[i].stdout or files[i].out, files[i].err, files[i].status)
    end
    os.execute(table.concat(script, "\n") .. "\nwait")
    for i, f in pairs(files) do
      results[i] = { status = tonumber(slurp(f.status)), out = slurp(f.out), err = slurp(f.err),
                     line = table.concat(list[i], " ") }
    end
  end
  return results
end

-- The same; returns the JSON objects in order. Raises when one of them does not end with 0.
function command.json_many(list)
  local results = command.run_many(list)
  for i, r in ipairs(results) do
    if r.status ~= 0 then error(("%s\nended with %s:\n%s"):format(r.line, r.status, r.err)) end
    results[i] = assert(nb.json.decode(r.out:match "([^\n]*)\n?$"))
  end
  return results
end

-- The last line of stdout as a value, the status, stderr. Raises when the last line is not JSON.
function command.json(...)
  local status, out, err = command.run(...)
  local line = out:match "([^\n]*)\n?$"
  local value, message = nb.json.decode(line)
  if not value then error(("no JSON on the last line (status %d): %s\n%s\n%s"):format(status, message, out, err)) end
  return value, status, err
end

-- The text of `nibble NAME --help`.
function command.help(name)
  local status, out, err = command.run(name, "--help")
  if status ~= 0 then error(("nibble %s --help ended with %s:\n%s"):format(name, status, err)) end
  return out
end

-- A fresh folder that the caller removes with command.remove.
function command.folder() return assert(uv.fs_mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/nibble-XXXXXX")) end
function command.remove(path) os.execute("rm -rf " .. quote(path)) end

command.tiny = NIBBLE_ROOT .. "/build/golden/tiny"
command.golden = NIBBLE_ROOT .. "/build/golden"
return command
