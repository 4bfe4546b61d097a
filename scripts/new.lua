-- new: starts a kernel family as a correct copy of another one under its own name: four files that compile, pass
-- and can be tried
-- writes: kernels/FAMILY/{FAMILY.lua, FAMILY.cu, FAMILY_ref.c, FAMILY_test.lua} and the row in
-- kernels/families.def; then `make` knows it. With --path: DIR/FAMILY/{FAMILY.lua, FAMILY.cu} judged by the other
-- family's reference, for NIBBLE_PATH; nothing is to be built
local nb, args, uv = require "nibble", require "scripts.lib.args", require "luv"

local opt = args.parse({
  name = "new", summary = "Starts a kernel family: four files that compile and are right, to be changed from there.",
  positional = { { "family", "its name: small letters, digits and _" } },
  options = {
    { "like", "swiglu", "the family that is copied" },
    { "path", "string?", "a folder outside of the tree, for NIBBLE_PATH: only .lua and .cu, judged by the reference of --like" },
  },
}, ...)

local name, like = opt.family, opt.like
if not name:match "^[%l][%l%d_]*$" or #name > 23 then
  args.usage(("FAMILY: expected at most 23 small letters, digits and _, found \"%s\""):format(name))
end
local from = ("%s/kernels/%s"):format(NIBBLE_ROOT, like)
local folder = ("%s/%s"):format(opt.path or NIBBLE_ROOT .. "/kernels", name)
local endings = opt.path and { ".lua", ".cu" } or { ".lua", ".cu", "_ref.c", "_test.lua" }

local function read(path)
  local file, message = io.open(path, "rb")
  if not file then args.fail("E_MISSING", "--like: %s", message) end
  local text = file:read "a"
  file:close()
  return text
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"), path, "E_IO")
  assert(file:write(text), path, "E_IO")
end

local function camel(word)
  return (word:gsub("_(%l)", string.upper):gsub("^%l", string.upper))
end

-- The other family's name as a word, as the stem of a longer one, and in the test's name.
local function renamed(text)
  text = text:gsub("%f[%w_]" .. like .. "%f[^%w]", name)
  return (text:gsub("Test" .. camel(like) .. "%f[%W]", "Test" .. camel(name)))
end

if uv.fs_stat(folder) then args.fail("E_VALUE", "%s is there already", folder) end
local texts = {}
for _, ending in ipairs(endings) do texts[ending] = renamed(read(("%s/%s%s"):format(from, like, ending))) end
if opt.path then
  texts[".lua"] = texts[".lua"]:gsub(("name = \"%s\","):format(name),
    ("name = \"%s\", reference = \"%s\","):format(name, like), 1)
end
local made, message = uv.fs_mkdir(folder, 493)
if not made then args.fail("E_IO", "%s", message) end
local files = {}
for i, ending in ipairs(endings) do
  files[i] = ("%s/%s%s"):format(folder, name, ending)
  write(files[i], texts[ending])
end
if not opt.path then
  local list = NIBBLE_ROOT .. "/kernels/families.def"
  write(list .. ".part", read(list) .. ("FAMILY(%s)\n"):format(name))
  assert(os.rename(list .. ".part", list))
  files[#files + 1] = list
end
print(table.concat(files, "\n"))
print(opt.path and ("next: NIBBLE_PATH=%s nibble try %s --watch"):format(opt.path, name)
  or ("next: make, then nibble try %s --watch"):format(name))
if opt.json then args.print_json { family = name, like = like, files = files } end
