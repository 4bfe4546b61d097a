-- tokens: text to token ids and back, by a checkpoint's tokenizer
-- needs: a folder with tokenizer.json (or vocab.json and merges.txt), or such a file
-- --jsonl: a line in gives a line out at once, so that another program can use it as a co-process; what comes out can be fed back
local nb, args = require "nibble", require "scripts.lib.args"

local opt = args.parse({
  name = "tokens", summary = [[Turns text into token ids, and with --decode ids into text.
  nibble tokens CKPT "some text"       a table of ids and pieces
  nibble tokens CKPT --decode 40,77    the text of ids
  nibble tokens CKPT --jsonl           stdin: a line "text" (or {"text": …})  →  stdout: a line {"ids": […]}
  nibble tokens CKPT --jsonl --decode  stdin: a line […] (or {"ids": …})      →  stdout: a line {"text": …}
With --jsonl every line is answered before the next is read; a bad line ends the program with its number.]],
  positional = { { "ckpt", "checkpoint folder, or a tokenizer.json" },
    { "text", "text, or with --decode ids A,B,…", optional = true } },
  options = {
    { "jsonl", false, "lines of JSON from stdin to stdout" }, { "decode", false, "from ids to text" },
    { "plain", false, "special tokens in the text are spelled like any other text" },
    { "skip-special", false, "--decode leaves special tokens out" },
  },
}, ...)

if opt.jsonl and opt.text then args.usage "tokens: --jsonl reads stdin, expected no text on the command line" end
if not opt.jsonl and not opt.text then args.usage "tokens: expected a text, or --jsonl" end
if opt.plain and opt.decode then args.usage "tokens: --plain is about text, expected no --decode" end
if opt.skip_special and not opt.decode then args.usage "tokens: --skip-special needs --decode" end

local tok <close> = assert(nb.tokenizer(opt.ckpt))

local put = args.write

local function is_id(id) return math.type(id) == "integer" and id >= 0 and id < 1 << 32 end

-- Both directions: a JSON value → the object to print; or nil, message, code.
local function encode(value)
  if type(value) == "table" then value = value.text end
  if type(value) ~= "string" then return nil, "expected a JSON string or {\"text\": …}", "E_FORMAT" end
  local ids, message, code = tok:encode(value, { special = not opt.plain })
  if not ids then return nil, message, code end
  return { ids = nb.json.array(ids) }, #ids
end

local function decode(value)
  if type(value) == "table" and value.ids then value = value.ids end
  if type(value) ~= "table" or (#value == 0 and next(value)) then
    return nil, "expected a JSON list of ids or {\"ids\": …}", "E_FORMAT"
  end
  for i, id in ipairs(value) do
    if not is_id(id) then return nil, ("item %d: expected a token id, found %s"):format(i, nb.json.encode(id)), "E_VALUE" end
  end
  local text, message, code = tok:decode(value, opt.skip_special)
  if not text then return nil, message, code end
  return { text = text }, #value
end

local function answer_lines()
  local convert, lines, tokens = opt.decode and decode or encode, 0, 0
  for line in io.lines() do
    lines = lines + 1
    local value, message, code = nb.json.decode(line)
    local result, count
    if value ~= nil then
      result, message, code = convert(value)
      count = message
    end
    if not result then args.fail(code, "line %d: %s", lines, message) end
    tokens = tokens + count
    put(nb.json.encode(result), "\n")
  end
  if opt.json then put(nb.json.encode { lines = lines, tokens = tokens }, "\n") end
end

-- A piece in quotes: control characters and bytes that are no character by their numbers.
local function shown(piece)
  local out, at = {}, 1
  while at <= #piece do
    local stop = select(2, utf8.len(piece, at)) or #piece + 1
    out[#out + 1] = piece:sub(at, stop - 1):gsub("[%c\\\"]", function(c) return c == "\n" and "\\n" or c == "\t" and "\\t" or
      c:find "%c" and ("\\x%02x"):format(c:byte()) or "\\" .. c end)
    if stop <= #piece then out[#out + 1] = ("\\x%02x"):format(piece:byte(stop)) end
    at = stop + 1
  end
  return '"' .. table.concat(out) .. '"'
end

local function show_text()
  local ids, pieces = assert(tok:encode(opt.text, { special = not opt.plain })), {}
  for i, id in ipairs(ids) do
    pieces[i] = shown(tok:piece(id))
    put(("%6d  %7d  %s%s\n"):format(i - 1, id, pieces[i], tok:is_special(id) and "  special" or ""))
  end
  if opt.json then put(nb.json.encode { ids = nb.json.array(ids), pieces = nb.json.array(pieces) }, "\n") end
end

local function show_ids()
  local ids = {}
  for word in (opt.text .. ","):gmatch "([^,]*)," do
    local id = math.tointeger(tonumber(word))
    if not id or not is_id(id) then args.usage(("tokens: expected ids A,B,…, found \"%s\""):format(word)) end
    ids[#ids + 1] = id
  end
  local text = assert(tok:decode(ids, opt.skip_special))
  put(text, "\n")
  if opt.json then put(nb.json.encode { text = text }, "\n") end
end

if opt.jsonl then answer_lines() elseif opt.decode then show_ids() else show_text() end
return 0
