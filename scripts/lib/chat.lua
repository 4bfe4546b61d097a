-- chat: messages → the text that a checkpoint's chat template makes of them. Two forms are known, and the template decides:
--   "think"  its text holds <think>: the turn format of qwen3_5_moe, with reasoning, tools and pictures
--   "plain"  any other: <|im_start|>ROLE\nCONTENT<|im_end|>\n for each message, contents as they are
-- Templates are not run. A folder without one counts as "think", the family's own.
--
--   local style = assert(chat.style_of(dir))
--   local text  = assert(chat.render(messages, { style = style, generation = true, thinking = true }))
--
-- A message is { role = "system"|"user"|"assistant"|"tool", content = TEXT or { { type = "text", text = … }, { type = "image" },
-- … } };
-- assistants may have reasoning_content = TEXT and tool_calls = { { name =, arguments = }, … } (or { ["function"] = { … } });
-- arguments are { key = value } (written in the order of their names), { { name =, value = }, … } (in this order) or JSON text.
-- Special tokens inside contents are not taken apart: what a user writes as <|im_end|> is that token, as with the templates.
local nb = require "nibble"
local chat = {}

local TURN, STOP = "<|im_start|>", "<|im_end|>\n"
local PARTS = { image = "<|vision_start|><|image_pad|><|vision_end|>", video = "<|vision_start|><|video_pad|><|vision_end|>" }

-- Errors inside are tables; the functions that others call turn them into nil, message, code.
local function refuse(code, format, ...) error({ code = code, message = format:format(...) }, 0) end

local function guarded(f, ...)
  local ok, result = pcall(f, ...)
  if ok then return result end
  if type(result) ~= "table" or not result.code then error(result, 0) end
  return nil, result.message, result.code
end

-- ---- text ----

local SPACES = { ["\u{85}"] = true, ["\u{A0}"] = true, ["\u{1680}"] = true, ["\u{2028}"] = true, ["\u{2029}"] = true,
  ["\u{202F}"] = true, ["\u{205F}"] = true, ["\u{3000}"] = true }
for cp = 0x2000, 0x200A do SPACES[utf8.char(cp)] = true end

-- Without white space at both ends, as the templates' `trim` sees white space (Unicode's, and the four separators 0x1C…0x1F).
local function trim(text)
  local first, last = 1, #text
  while first <= last do
    local n = text:find("^[\t-\r\x1C-\x20]", first) and 1 or SPACES[text:sub(first, first + 1)] and 2
      or SPACES[text:sub(first, first + 2)] and 3
    if not n then break end
    first = first + n
  end
  while last >= first do
    local n = text:find("^[\t-\r\x1C-\x20]", last) and 1 or SPACES[text:sub(math.max(last - 1, first), last)] and 2
      or SPACES[text:sub(math.max(last - 2, first), last)] and 3
    if not n then break end
    last = last - n
  end
  return text:sub(first, last)
end

local function before_last(text, mark) return text:match("^(.*)" .. mark) end
local function after_last(text, mark) return text:match("^.*" .. mark .. "(.*)$") or text end

-- A value inside a tool call: text as it is, all else as JSON; the shortest decimals that give the number back.
local function value_text(value)
  if type(value) == "string" then return value end
  if math.type(value) == "float" and value == value and math.abs(value) ~= math.huge then
    for digits = 15, 17 do
      local text = ("%%.%dg"):format(digits):format(value)
      if tonumber(text) == value then return text:find "[%.e]" and text or text .. ".0" end
    end
  end
  return nb.json.encode(value)
end

-- ---- templates ----

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text or refuse("E_IO", "cannot read %s", path)
end

local function read_object(path)
  local text = read(path)
  if not text then return {} end
  local value, message, code = nb.json.decode(text)
  if not value then refuse(code, "%s: %s", path, message) end
  if type(value) ~= "table" then refuse("E_FORMAT", "%s: expected an object, found %s", path, type(value)) end
  return value
end

local function template_of(dir)
  local text = read(dir .. "/chat_template.jinja")
  if text then return text, dir .. "/chat_template.jinja" end
  for _, name in ipairs { "tokenizer_config.json", "chat_template.json" } do
    local path = dir .. "/" .. name
    local template = read_object(path).chat_template
    if type(template) == "table" then   -- several, by name
      for _, t in ipairs(template) do
        if type(t) == "table" and t.name == "default" then template = t.template end
      end
    end
    if type(template) == "string" then return template, path end
    if template ~= nil and template ~= nb.null then
      refuse("E_FORMAT", "%s: chat_template: expected a text, or a list with one named default", path)
    end
  end
end

-- The texts that a template prints without condition or expression: {{ "…" }}. Each with the places where it begins and ends.
local function literals(template)
  local list, at = {}, 1
  while true do
    local start, quote_at, quote = template:match("(){{%-?%s*()(['\"])", at)
    if not start then return list end
    local i = quote_at + 1
    while i <= #template and template:sub(i, i) ~= quote do i = i + (template:sub(i, i) == "\\" and 2 or 1) end
    local stop = template:match("^%s*%-?}}()", i + 1)
    if stop then
      local text = template:sub(quote_at + 1, i - 1):gsub("\\(.)", function(c)
        return ({ n = "\n", t = "\t", r = "\r" })[c] or c
      end)
      list[#list + 1] = { text = text, start = start, stop = stop }
    end
    at = stop or start + 2
  end
end

-- The words around the list of tools, which differ from release to release: the literal that ends in <tools>, and from the one
-- that begins with </tools> on all that follow it directly.
local function tools_words(template)
  local head, tail, stop
  for _, l in ipairs(literals(template)) do
    if l.text:find "<tools>%s*$" then
      head = l.text:gsub("^<|im_start|>system\n", "")
    elseif head and not tail and l.text:find "^%s*</tools>" then
      tail, stop = l.text, l.stop
    elseif tail and stop and template:sub(stop, l.start - 1):find "^%s*$" then
      tail, stop = tail .. l.text, l.stop
    else
      stop = nil
    end
  end
  return head and tail and { head = head, tail = tail } or nil
end

-- The style of the checkpoint in dir: { form = "think"|"plain", tools = { head =, tail = } or nil, source = path or nil }.
-- nil, message, code when a file is broken.
function chat.style_of(dir)
  return guarded(function()
    local template, source = template_of(dir)
    if not template then return { form = "think" } end
    return { form = template:find("<think>", 1, true) and "think" or "plain", tools = tools_words(template), source = source }
  end)
end

-- ---- rendering ----

local function content_of(message, i)
  local content = message.content
  if content == nil or content == nb.null then
    if message.role == "assistant" then return "" end
    refuse("E_VALUE", "message %d (%s): expected a content, found none", i, message.role)
  end
  if type(content) == "string" then return content end
  if type(content) ~= "table" then
    refuse("E_VALUE", "message %d (%s): content: expected a text or a list of parts, found a %s", i, message.role, type(content))
  end
  local out = {}
  for j, part in ipairs(content) do
    local kind = type(part) == "table" and part.type
    if kind == "text" and type(part.text) == "string" then
      out[j] = part.text
    elseif PARTS[kind] then
      if message.role == "system" then
        refuse("E_VALUE", "message %d: a system message holds no pictures, found type \"%s\"", i, kind)
      end
      out[j] = PARTS[kind]
    else
      refuse("E_VALUE", "message %d (%s): part %d: expected { type = \"text\", text = … }, type \"image\" or \"video\", found %s",
        i, message.role, j, kind and ("type \"" .. tostring(kind) .. "\"") or "a " .. type(part))
    end
  end
  return table.concat(out)
end

local function arguments_of(call, where)
  local given = call.arguments
  if type(given) == "string" then
    local value, message = nb.json.decode(given)
    if type(value) ~= "table" then
      refuse("E_VALUE", "%s: arguments: expected JSON of an object, found %s", where, message or type(value))
    end
    given = value
  end
  if given == nil or given == nb.null then return {} end
  if type(given) ~= "table" then refuse("E_VALUE", "%s: arguments: expected a table, found a %s", where, type(given)) end
  if #given > 0 then
    for j, a in ipairs(given) do
      if type(a) ~= "table" or type(a.name) ~= "string" then
        refuse("E_VALUE", "%s: argument %d: expected { name =, value = }", where, j)
      end
    end
    return given
  end
  local list = {}
  for name, value in pairs(given) do list[#list + 1] = { name = tostring(name), value = value } end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function tool_calls_text(message, i, has_text)
  if message.tool_calls == nil or message.tool_calls == nb.null then return "" end
  if type(message.tool_calls) ~= "table" then
    refuse("E_VALUE", "message %d: tool_calls: expected a list, found a %s", i, type(message.tool_calls))
  end
  local out = {}
  for j, call in ipairs(message.tool_calls) do
    local where = ("message %d: tool call %d"):format(i, j)
    call = type(call) == "table" and call["function"] or call
    if type(call) ~= "table" or type(call.name) ~= "string" then
      refuse("E_VALUE", "%s: expected { name =, arguments = }", where)
    end
    out[#out + 1] = (j > 1 and "\n" or has_text and "\n\n" or "") .. "<tool_call>\n<function=" .. call.name .. ">\n"
    for _, a in ipairs(arguments_of(call, where)) do
      out[#out + 1] = "<parameter=" .. a.name .. ">\n" .. value_text(a.value) .. "\n</parameter>\n"
    end
    out[#out + 1] = "</function>\n</tool_call>"
  end
  return table.concat(out)
end

-- Reasoning and content of an assistant's turn: given apart, or both in the content.
local function reasoning_of(message, content)
  if type(message.reasoning_content) == "string" then return trim(message.reasoning_content), content end
  local before = content:match "^(.-)</think>"
  if not before then return "", content end
  local reasoning = after_last(before:gsub("\n+$", ""), "<think>"):gsub("^\n+", "")
  return trim(reasoning), (after_last(content, "</think>"):gsub("^\n+", ""))
end

local function assistant_text(message, i, content, with_reasoning)
  local reasoning, visible = reasoning_of(message, content)
  local head = with_reasoning and "<think>\n" .. reasoning .. "\n</think>\n\n" or ""
  return head .. visible .. tool_calls_text(message, i, trim(visible) ~= "")
end

local function tools_text(tools, style)
  if not style.tools then
    refuse("E_MISSING",
      "tools: expected a chat template with a literal that ends in <tools> and one that begins with </tools>, found none in %s",
      style.source or "the checkpoint")
  end
  local out = { style.tools.head }
  for j, tool in ipairs(tools) do
    local text = type(tool) == "table" and nb.json.encode(tool) or tool
    if type(text) ~= "string" or type((nb.json.decode(text))) ~= "table" or text:find "\n" then
      refuse("E_VALUE", "tool %d: expected an object, as a table or as one line of JSON", j)
    end
    out[#out + 1] = "\n" .. text
  end
  return table.concat(out) .. style.tools.tail
end

-- Index of the last user's message that is a question and not the results of tools.
local function last_question(messages, contents)
  for i = #messages, 1, -1 do
    local is_result = contents[i]:find "^<tool_response>" and contents[i]:find "</tool_response>$"
    if messages[i].role == "user" and not is_result then return i end
  end
  refuse("E_VALUE", "expected a message of role user, found none among %d", #messages)
end

local function system_text(messages, contents, opt)
  local own = messages[1].role == "system" and contents[1] or nil
  if opt.tools and #opt.tools > 0 then
    return TURN .. "system\n" .. tools_text(opt.tools, opt.style) .. (own and own ~= "" and "\n\n" .. own or "") .. STOP
  end
  return own and TURN .. "system\n" .. own .. STOP or ""
end

local function tool_result_text(messages, contents, i)
  local opens = i == 1 or messages[i - 1].role ~= "tool"
  local closes = i == #messages or messages[i + 1].role ~= "tool"
  return (opens and TURN .. "user" or "") .. "\n<tool_response>\n" .. contents[i] .. "\n</tool_response>"
    .. (closes and STOP or "")
end

local function render_think(messages, opt)
  local contents = {}
  for i, message in ipairs(messages) do contents[i] = trim(content_of(message, i)) end
  local question = last_question(messages, contents)
  local out = { system_text(messages, contents, opt) }
  for i, message in ipairs(messages) do
    local role = message.role
    if role == "user" then
      out[#out + 1] = TURN .. "user\n" .. contents[i] .. STOP
    elseif role == "assistant" then
      out[#out + 1] = TURN .. "assistant\n" .. assistant_text(message, i, contents[i], opt.preserve_thinking or i > question)
        .. STOP
    elseif role == "tool" then
      out[#out + 1] = tool_result_text(messages, contents, i)
    elseif role ~= "system" then
      refuse("E_VALUE", "message %d: expected role system, user, assistant or tool, found \"%s\"", i, role)
    elseif i > 1 then
      refuse("E_VALUE", "message %d: a system message is allowed only first", i)
    end
  end
  if opt.generation then
    out[#out + 1] = TURN .. "assistant\n" .. (opt.thinking == false and "<think>\n\n</think>\n\n" or "<think>\n")
  end
  return table.concat(out)
end

local function render_plain(messages, opt)
  if opt.tools and #opt.tools > 0 then refuse("E_UNSUPPORTED", "tools: the checkpoint's chat template has no form for them") end
  local out = {}
  for i, message in ipairs(messages) do
    if message.tool_calls and message.tool_calls ~= nb.null then
      refuse("E_UNSUPPORTED", "message %d: tool_calls: the checkpoint's chat template has no form for them", i)
    end
    out[#out + 1] = TURN .. message.role .. "\n" .. content_of(message, i) .. STOP
  end
  if opt.generation then out[#out + 1] = TURN .. "assistant\n" end
  return table.concat(out)
end

-- messages → text | nil, message, code. Options: style (of chat.style_of, or "think", the default, or "plain"), generation (the
-- head of the answer's turn at the end; off), thinking (its thinking block is left open; on), preserve_thinking (earlier turns
-- keep their reasoning; off), tools (a list of objects or of JSON lines; tables are written with sorted keys).
function chat.render(messages, options)
  return guarded(function()
    local opt = {}
    for key, value in pairs(options or {}) do opt[key] = value end
    opt.style = type(opt.style) == "table" and opt.style or { form = opt.style or "think" }
    local render = ({ think = render_think, plain = render_plain })[opt.style.form]
    if not render then refuse("E_USAGE", "style: expected think or plain, found \"%s\"", tostring(opt.style.form)) end
    if type(messages) ~= "table" or #messages == 0 then
      refuse("E_VALUE", "expected a list of messages, found %s",
             type(messages) == "table" and "an empty one" or "a " .. type(messages))
    end
    for i, message in ipairs(messages) do
      if type(message) ~= "table" or type(message.role) ~= "string" then
        refuse("E_VALUE", "message %d: expected { role =, content = }", i)
      end
    end
    return render(messages, opt)
  end)
end

return chat
