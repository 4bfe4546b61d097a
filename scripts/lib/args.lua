-- args: the options of a command, in one shape for all: --name VALUE, --flag, positionals, --help, --json.
--   local opt = args.parse({
--     name = "doctor", summary = "says what is wrong with a checkpoint",
--     positional = { { "dir", "checkpoint folder" }, { "more", "…", optional = true, many = true } },
--     options = {   -- name, default (its type is the option's type; "string?" etc. for none), help
--       { "quick", false, "headers only" }, { "n", 16, "tokens to generate", min = 1 }, { "ids", "string?", "token ids A,B,…" },
--     } }, ...)
-- Returns a table of values (underscores for dashes), opt.json among them. A bad option raises E_USAGE; --help prints and ends
-- with 0.
-- min and max bound a number, both inclusive.
local nb = require "nibble"
local args = {}

local function usage(text)
  error(setmetatable({ code = "E_USAGE", message = text }, { __tostring = function(e) return e.message end }), 0)
end
args.usage = usage

-- Raises an error of a kind of core/base/err.def, so that the program ends with that kind's status.
function args.fail(code, format, ...)
  local text = format:format(...)
  error(setmetatable({ code = code, message = text }, { __tostring = function() return text end }), 0)
end

local function type_of(default)
  if type(default) == "string" then
    local named = default:match "^(%a+)%?$"
    if named then return named, nil end
  end
  return math.type(default) or type(default), default
end

local INTEGER_MAX = 1 << 53   -- sums of a few options stay whole numbers

local function check_range(name, number, text, min, max)
  if number >= (min or -math.huge) and number <= (max or math.huge) then return end
  local range = not max and "at least %s" or not min and "at most %s" or "%s to %s"
  local bounds = range:format(min or max, max)
  usage(("--%s: expected %s, found %s"):format(name, bounds, text))
end

local function convert(name, kind, text, option)
  if kind == "string" then return text end
  local number = tonumber(text)
  if kind == "integer" then
    local whole = number and math.tointeger(number)
    if not whole then usage(("--%s: expected a whole number, found \"%s\""):format(name, text)) end
    check_range(name, whole, text, option.min, option.max)
    check_range(name, whole, text, -INTEGER_MAX, INTEGER_MAX)
    return whole
  end
  if not number or math.abs(number) == math.huge then usage(("--%s: expected a number, found \"%s\""):format(name, text)) end
  check_range(name, number, text, option.min, option.max)
  return number + 0.0
end

local function help_text(spec)
  local lines, head = {}, { "nibble " .. spec.name }
  for _, p in ipairs(spec.positional or {}) do
    local word = p[1]:upper() .. (p.many and " …" or "")
    head[#head + 1] = p.optional and "[" .. word .. "]" or word
  end
  lines[#lines + 1] = table.concat(head, " ") .. " [options]"
  lines[#lines + 1] = spec.summary
  lines[#lines + 1] = ""
  for _, p in ipairs(spec.positional or {}) do lines[#lines + 1] = ("  %-22s %s"):format(p[1]:upper(), p[2]) end
  for _, o in ipairs(spec.options or {}) do
    local kind, default = type_of(o[2])
    local left = "--" .. o[1] .. (kind == "boolean" and "" or " " .. kind:upper())
    local shown = default ~= nil and kind ~= "boolean" and (" (default %s)"):format(default) or ""
    lines[#lines + 1] = ("  %-22s %s%s"):format(left, o[3], shown)
  end
  lines[#lines + 1] = ("  %-22s %s"):format("--json", "the last line of the output is one JSON object")
  lines[#lines + 1] = ("  %-22s %s"):format("--help", "this text")
  return table.concat(lines, "\n")
end

function args.parse(spec, ...)
  local given, opt, kinds, rows, place = { ... }, { json = false }, { json = "boolean", help = "boolean" }, {}, 0
  for _, o in ipairs(spec.options or {}) do
    local kind, default = type_of(o[2])
    kinds[o[1]], rows[o[1]], opt[o[1]:gsub("%-", "_")] = kind, o, default
  end
  local positional, i, only_places = spec.positional or {}, 1, false
  while i <= #given do
    local word = given[i]
    local name, value = word:match "^%-%-([%w%-]+)=(.*)$"
    name = name or word:match "^%-%-([%w%-]+)$"
    if word == "--" then only_places = true
    elseif name and not only_places then
      local kind = kinds[name]
      if not kind then usage(("%s: no option --%s; `nibble %s --help` lists them"):format(spec.name, name, spec.name)) end
      if kind == "boolean" then
        if value then usage(("--%s takes no value"):format(name)) end
        opt[name:gsub("%-", "_")] = true
      else
        if not value then
          i = i + 1
          value = given[i]
          if not value then usage(("--%s: expected a value"):format(name)) end
        end
        opt[name:gsub("%-", "_")] = convert(name, kind, value, rows[name])
      end
    else
      local p = positional[math.min(place + 1, #positional)]
      if not p or (place >= #positional and not p.many) then
        usage(("%s: \"%s\" is one argument too many"):format(spec.name, word))
      end
      place = place + 1
      if p.many then
        opt[p[1]] = opt[p[1]] or {}
        table.insert(opt[p[1]], word)
      else
        opt[p[1]] = word
      end
    end
    i = i + 1
  end
  if opt.help then
    print(help_text(spec))
    os.exit(0, true)
  end
  for _, p in ipairs(positional) do
    if opt[p[1]] == nil and not p.optional then usage(("%s: expected %s (%s)"):format(spec.name, p[1]:upper(), p[2])) end
  end
  return opt
end

-- Lists of token ids from "A,B,…;C,…": a list a sequence, ';' separates them.
function args.id_lists(name, text)
  local lists = {}
  for part in (text .. ";"):gmatch "([^;]*);" do
    local ids = {}
    for word in (part .. ","):gmatch "([^,]*)," do
      local id = math.tointeger(tonumber(word))
      if not id or id < 0 or id > 0x7FFFFFFF then
        usage(("--%s: expected token ids separated by commas, found \"%s\""):format(name, word))
      end
      ids[#ids + 1] = id
    end
    lists[#lists + 1] = ids
  end
  return lists
end

-- io.write, at once; output that gets lost is an error, as with print.
function args.write(...)
  local ok, message, errno = io.write(...)
  if ok then ok, message, errno = io.stdout:flush() end
  if not ok then args.fail(errno == 28 and "E_SPACE" or "E_IO", "cannot write to stdout: %s", message) end
end

-- Prints the result of a command run with --json: one object, one line, the last of the output.
function args.print_json(result) print(nb.json.encode(result)) end

-- The value must be one of a list; raises E_USAGE otherwise.
function args.one_of(name, value, allowed)
  for _, a in ipairs(allowed) do if a == value then return value end end
  usage(("--%s: expected one of %s, found \"%s\""):format(name, table.concat(allowed, ", "), tostring(value)))
end

return args
