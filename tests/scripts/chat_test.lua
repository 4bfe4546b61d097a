-- The turn format: whole texts written out, and every refusal.
local lu, nb, chat, command = require "luaunit", require "nibble", require "scripts.lib.chat", require "tests.scripts.command"

local function user(text) return { role = "user", content = text } end
local function assistant(text, more)
  local message = { role = "assistant", content = text }
  for k, v in pairs(more or {}) do message[k] = v end
  return message
end

-- A template in the manner of the family's, in our own words: only its literals and the word <think> are read.
local template = [==[
{%- macro render(x) %}{{ x }}{%- endmacro %}
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {{- "Tools you have:\n\n<tools>" }}
    {%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\n</tools>" }}
    {{- '\n\nSay it so: <tool_call>\n"quoted" and it\'s done' }}
    {%- if messages[0].role == 'system' %}{{- '\n\n' + content }}{%- endif %}
    {{- '<|im_end|>\n' }}
{%- endif %}
{{- '<think>\n' }}
]==]

local function folder(files)
  local dir = command.folder()
  for name, text in pairs(files) do
    local f = assert(io.open(dir .. "/" .. name, "wb"))
    f:write(text)
    f:close()
  end
  return dir
end

local function style_in(files)
  local dir = folder(files)
  local style, message, code = chat.style_of(dir)
  command.remove(dir)
  return style, message, code, dir
end

TestThink = {}

function TestThink:test_turns()
  local rows = {   -- messages, options, text
    { { user "hi" }, {}, "<|im_start|>user\nhi<|im_end|>\n" },
    { { user " \n\u{3000}hi\u{A0}\t" }, {}, "<|im_start|>user\nhi<|im_end|>\n" },
    { { user "\u{2003}\u{85}" }, {}, "<|im_start|>user\n<|im_end|>\n" },
    { { user "é東" }, {}, "<|im_start|>user\né東<|im_end|>\n" },
    { { { role = "system", content = " be brief\n" }, user "hi" }, { generation = true },
      "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n" },
    { { user "hi" }, { generation = true, thinking = true }, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n" },
    { { user "hi" }, { generation = true, thinking = false }, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n" },
    -- reasoning is kept behind the last question and dropped before it
    { { user "a", assistant "<think>\nwhy\n</think>\n\nb", user "c", assistant("d", { reasoning_content = "\nhow\n" }) }, {},
      "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n" ..
      "<|im_start|>assistant\n<think>\nhow\n</think>\n\nd<|im_end|>\n" },
    { { user "a", assistant "<think>\nwhy\n</think>\n\nb", user "c" }, { preserve_thinking = true },
      "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\nwhy\n</think>\n\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n" },
    { { user "a", assistant "b" }, {}, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nb<|im_end|>\n" },
    { { user "a", assistant "half\n\n</think>\n\nb" }, {}, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\nhalf\n</think>\n\nb<|im_end|>\n" },
    { { user { { type = "text", text = "see " }, { type = "image" }, { type = "video" } } }, {},
      "<|im_start|>user\nsee <|vision_start|><|image_pad|><|vision_end|><|vision_start|><|video_pad|><|vision_end|><|im_end|>\n" },
  }
  for i, r in ipairs(rows) do lu.assertEquals(chat.render(r[1], r[2]), r[3], "row " .. i) end
end

function TestThink:test_tool_calls_and_their_results()
  local calls = { { name = "f", arguments = { b = 1, a = "x\ny", c = { true, nb.null }, d = 0.1, e = true } }, { ["function"] = { name = "g", arguments = "{}" } } }
  local call_text = "<tool_call>\n<function=f>\n<parameter=a>\nx\ny\n</parameter>\n<parameter=b>\n1\n</parameter>\n<parameter=c>\n[true, null]\n</parameter>\n" ..
    "<parameter=d>\n0.1\n</parameter>\n<parameter=e>\ntrue\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n</function>\n</tool_call>"
  local function tool(text) return { role = "tool", content = text } end
  -- Results are no question: the calls behind the question keep their reasoning.
  lu.assertEquals(chat.render({ user "q", assistant(nil, { tool_calls = calls }), tool "r1", tool " r2 " }, { generation = true }),
    "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n" .. call_text .. "<|im_end|>\n" ..
    "<|im_start|>user\n<tool_response>\nr1\n</tool_response>\n<tool_response>\nr2\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n")
  lu.assertEquals(chat.render { user "q", assistant("text", { tool_calls = calls }), user "c" },
    "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\ntext\n\n" .. call_text .. "<|im_end|>\n<|im_start|>user\nc<|im_end|>\n")
  lu.assertEquals(chat.render { user "q",
    assistant("", { reasoning_content = "r", tool_calls = { { name = "h", arguments = { { name = "z", value = "1" }, { name = "a", value = 2 } } } } }) },
    "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\nr\n</think>\n\n<tool_call>\n<function=h>\n<parameter=z>\n1\n</parameter>\n" ..
    "<parameter=a>\n2\n</parameter>\n</function>\n</tool_call><|im_end|>\n")
  -- A user's turn that is a tool's answer in disguise is no question either.
  lu.assertEquals(chat.render { user "q", assistant "b", user "<tool_response>x</tool_response>" },
    "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nb<|im_end|>\n<|im_start|>user\n<tool_response>x</tool_response><|im_end|>\n")
end

function TestThink:test_the_tools_section_has_the_templates_words()
  local style = assert(style_in { ["chat_template.jinja"] = template })
  lu.assertEquals(style.form, "think")
  local tail = '\n</tools>\n\nSay it so: <tool_call>\n"quoted" and it\'s done'
  local tools = { '{"type": "function", "a": 1}', { name = "f" } }
  lu.assertEquals(chat.render({ user "q" }, { style = style, tools = tools }),
    '<|im_start|>system\nTools you have:\n\n<tools>\n{"type": "function", "a": 1}\n{"name": "f"}' .. tail .. "<|im_end|>\n<|im_start|>user\nq<|im_end|>\n")
  lu.assertEquals(chat.render({ { role = "system", content = " s " }, user "q" }, { style = style, tools = { "{}" } }),
    "<|im_start|>system\nTools you have:\n\n<tools>\n{}" .. tail .. "\n\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n")
  lu.assertEquals(chat.render({ user "q" }, { style = style, tools = {} }), "<|im_start|>user\nq<|im_end|>\n")
end

TestPlain = {}

function TestPlain:test_contents_as_they_are()
  lu.assertEquals(chat.render({ { role = "system", content = " s " }, user "q\n", assistant "<think>\nx\n</think>\n\na", { role = "system", content = "t" } },
    { style = "plain", generation = true }),
    "<|im_start|>system\n s <|im_end|>\n<|im_start|>user\nq\n<|im_end|>\n<|im_start|>assistant\n<think>\nx\n</think>\n\na<|im_end|>\n" ..
    "<|im_start|>system\nt<|im_end|>\n<|im_start|>assistant\n")
end

TestStyle = {}

function TestStyle:test_the_template_decides()
  local plain = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
  local rows = {
    { "plain", { ["tokenizer_config.json"] = nb.json.encode { chat_template = plain } } },
    { "think", { ["tokenizer_config.json"] = nb.json.encode { chat_template = "{{ '<think>' }}" } } },
    { "think", { ["chat_template.jinja"] = template, ["tokenizer_config.json"] = nb.json.encode { chat_template = plain } } },
    { "plain", { ["chat_template.jinja"] = plain, ["tokenizer_config.json"] = nb.json.encode { chat_template = template } } },
    { "plain", { ["chat_template.json"] = nb.json.encode { chat_template = plain }, ["tokenizer_config.json"] = "{}" } },
    { "think", { ["tokenizer_config.json"] = nb.json.encode { chat_template = { { name = "rag", template = plain }, { name = "default", template = template } } } } },
    { "think", { ["tokenizer_config.json"] = '{"chat_template": null}' } },
    { "think", {} },
  }
  for i, r in ipairs(rows) do lu.assertEquals(assert(style_in(r[2])).form, r[1], "row " .. i) end
  lu.assertEquals(assert(chat.style_of(command.tiny .. "/bf16")).form, "plain")
end

function TestStyle:test_broken_files_are_named()
  for _, r in ipairs {
    { "E_FORMAT", "tokenizer_config.json: JSON line 1", { ["tokenizer_config.json"] = "{" } },
    { "E_FORMAT", "tokenizer_config.json: expected an object, found number", { ["tokenizer_config.json"] = "7" } },
    { "E_FORMAT", "chat_template: expected a text", { ["tokenizer_config.json"] = '{"chat_template": 7}' } },
    { "E_FORMAT", "or a list with one named default", { ["tokenizer_config.json"] = '{"chat_template": [{"name": "x", "template": "y"}]}' } },
  } do
    local style, message, code, dir = style_in(r[3])
    lu.assertNil(style)
    lu.assertEquals(code, r[1])
    lu.assertStrContains(message, r[2])
    lu.assertStrContains(message, dir)
  end
end

TestRefusals = {}

function TestRefusals:test_each_in_a_sentence()
  local tools = { "{}" }
  for i, r in ipairs {
    { "E_VALUE", "expected a list of messages, found an empty one", {} }, { "E_VALUE", "found a string", "hi" },
    { "E_VALUE", "message 1: expected { role =, content = }", { "hi" } },
    { "E_VALUE", "message 1: expected { role =, content = }", { { content = "x" } } },
    { "E_VALUE", "message 2: a system message is allowed only first", { user "a", { role = "system", content = "s" } } },
    { "E_VALUE", 'message 2: expected role system, user, assistant or tool, found "judge"', { user "a", { role = "judge", content = "s" } } },
    { "E_VALUE", "expected a message of role user, found none among 1", { { role = "system", content = "s" } } },
    { "E_VALUE", "expected a message of role user", { user "<tool_response>\nx\n</tool_response>" } },
    { "E_VALUE", "message 1 (user): expected a content, found none", { { role = "user" } } },
    { "E_VALUE", "message 1 (user): content: expected a text or a list of parts, found a number", { user(7) } },
    { "E_VALUE", 'message 1 (user): part 2: expected { type = "text", text = … }, type "image" or "video", found type "audio"',
      { user { { type = "text", text = "x" }, { type = "audio" } } } },
    { "E_VALUE", "part 1: ", { user { "x" } } }, { "E_VALUE", "a system message holds no pictures", { { role = "system", content = { { type = "image" } } }, user "a" } },
    { "E_VALUE", "message 2: tool_calls: expected a list", { user "a", assistant("", { tool_calls = "f" }) } },
    { "E_VALUE", "message 2: tool call 1: expected { name =, arguments = }", { user "a", assistant("", { tool_calls = { {} } }) } },
    { "E_VALUE", "tool call 1: arguments: expected JSON of an object", { user "a", assistant("", { tool_calls = { { name = "f", arguments = "[" } } }) } },
    { "E_VALUE", "tool call 1: arguments: expected a table, found a number", { user "a", assistant("", { tool_calls = { { name = "f", arguments = 7 } } }) } },
    { "E_VALUE", "tool call 1: argument 1: expected { name =, value = }", { user "a", assistant("", { tool_calls = { { name = "f", arguments = { 7 } } } }) } },
    { "E_MISSING", "tools: expected a chat template with a literal that ends in <tools>", { user "a" }, { tools = tools } },
    { "E_VALUE", "tool 1: expected an object", { user "a" }, { tools = { "7" }, style = { form = "think", tools = { head = "<tools>", tail = "</tools>" } } } },
    { "E_UNSUPPORTED", "tools: the checkpoint's chat template has no form for them", { user "a" }, { tools = tools, style = "plain" } },
    { "E_UNSUPPORTED", "message 2: tool_calls", { user "a", assistant("", { tool_calls = { { name = "f" } } }) }, { style = "plain" } },
    { "E_USAGE", 'style: expected think or plain, found "fancy"', { user "a" }, { style = "fancy" } },
  } do
    local text, message, code = chat.render(r[3], r[4])
    lu.assertNil(text, "row " .. i)
    lu.assertEquals(code, r[1], "row " .. i .. ": " .. message)
    lu.assertStrContains(message, r[2])
  end
end

os.exit(lu.LuaUnit.run())
