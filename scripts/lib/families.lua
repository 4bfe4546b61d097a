-- families: finds a family's spec: a name, looked for in kernels/ and in the folders of NIBBLE_PATH (separated by
-- colons, first), or a path to its folder or .lua file. The spec gets `folder`. A family outside of the program has
-- no reference of its own: `reference` names one that is compiled in; its signature must be that family's.
--   families.load(name) → spec        families.names() → all that are found
local nb, args, uv = require "nibble", require "scripts.lib.args", require "luv"
local families = {}

local function is_there(path) return uv.fs_stat(path) ~= nil end

local function folders()
  local list = {}
  for folder in (os.getenv "NIBBLE_PATH" or ""):gmatch "[^:]+" do list[#list + 1] = folder end
  list[#list + 1] = NIBBLE_ROOT .. "/kernels"
  return list
end

local function read(folder, name)
  local path = ("%s/%s.lua"):format(folder, name)
  local chunk, message = loadfile(path, "t")
  if not chunk then args.fail("E_FORMAT", "%s", message) end
  local ok, spec = pcall(chunk)
  if not ok then args.fail("E_FORMAT", "%s", tostring(spec)) end
  if type(spec) ~= "table" or spec.name ~= name or type(spec.args) ~= "table" then
    args.fail("E_FORMAT", "%s: expected a table with name = \"%s\" and args", path, name)
  end
  spec.folder = folder
  return spec
end

function families.load(name)
  if name:find "/" then
    local folder = name:gsub("/$", "")
    if folder:match "%.lua$" then folder = folder:match "^(.*)/[^/]*$" end
    local stem = folder:match "([^/]+)$"
    if not is_there(("%s/%s.lua"):format(folder, stem)) then args.fail("E_MISSING", "%s: expected %s.lua in that folder",
      folder, stem) end
    return read(folder, stem)
  end
  for _, folder in ipairs(folders()) do
    local own = folder .. "/" .. name
    if is_there(("%s/%s.lua"):format(own, name)) then return read(own, name) end
  end
  args.fail("E_MISSING", "no family \"%s\" in %s; there are %s", name, table.concat(folders(), ", "),
    table.concat(families.names(), ", "))
end

function families.names()
  local names, seen = {}, {}
  for _, folder in ipairs(folders()) do
    local scan = uv.fs_scandir(folder)
    for name in function() return scan and uv.fs_scandir_next(scan) end do
      if not seen[name] and is_there(("%s/%s/%s.lua"):format(folder, name, name)) then
        seen[name] = true
        names[#names + 1] = name
      end
    end
  end
  table.sort(names)
  return names
end

-- The spec that nb.op.run is to be given: its own, or the reference's name with its own arguments.
function families.reference(spec)
  if not spec.reference then return spec end
  return setmetatable({ name = spec.reference }, { __index = spec })
end

return families
