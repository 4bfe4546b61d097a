-- nibble tokens: both directions, line by line, and its errors.
local lu, nb, uv, command = require "luaunit", require "nibble", require "luv", require "tests.scripts.command"
local ckpt = command.tiny .. "/bf16"

-- Runs with a text on stdin.
local function feed(input, ...)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(input)
  file:close()
  local words = {}
  for i, w in ipairs { "tokens", ckpt, ... } do words[i] = "'" .. w .. "'" end
  local out, err = os.tmpname(), os.tmpname()
  local _, _, status = os.execute(("'%s' %s <%s >%s 2>%s"):format(uv.exepath(), table.concat(words, " "), path, out, err))
  local result = {}
  for i, p in ipairs { out, err } do
    local f = assert(io.open(p, "rb"))
    result[i] = f:read "a"
    f:close()
    os.remove(p)
  end
  os.remove(path)
  return result[1], status, result[2]
end

TestTokens = {}

function TestTokens:test_text_gives_a_table_and_an_object()
  local status, out = command.run("tokens", ckpt, "In é\n<|im_end|>")
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, '     0       40  "I"\n')
  lu.assertStrContains(out, '"\\xc3"')
  lu.assertStrContains(out, '"\\n"')
  lu.assertStrContains(out, '1019  "<|im_end|>"  special')
  local value = command.json("tokens", ckpt, "In", "--json")
  lu.assertEquals(value.ids, { 40, 77 })
  lu.assertEquals(value.pieces, { '"I"', '"n"' })
  lu.assertEquals(command.json("tokens", ckpt, "", "--json").ids, {})
  for _, id in ipairs(command.json("tokens", ckpt, "<|im_end|>", "--json", "--plain").ids) do lu.assertTrue(id < 1017) end
end

function TestTokens:test_ids_give_text()
  lu.assertEquals({ command.run("tokens", ckpt, "--decode", "40,77,1019") }, { 0, "In<|im_end|>\n", "" })
  lu.assertEquals(select(2, command.run("tokens", ckpt, "--decode", "40,77,1019", "--skip-special")), "In\n")
  lu.assertEquals(command.json("tokens", ckpt, "--decode", "40", "--json").text, "I")
end

-- Every line out of one direction is a line into the other.
function TestTokens:test_lines_go_round()
  local texts = { "", " ", "In the beginning", "a\0b\n\"\\", "naïve 東京 🙂", "<|im_start|>user\n", "\u{2028}\r\n" }
  local input = {}
  for i, t in ipairs(texts) do input[i] = nb.json.encode(t) .. "\n" end
  local ids, status = feed(table.concat(input), "--jsonl")
  lu.assertEquals(status, 0)
  local back, back_status = feed(ids, "--jsonl", "--decode")
  lu.assertEquals(back_status, 0)
  lu.assertEquals(feed(back, "--jsonl"), ids)
  local i = 0
  for line in back:gmatch "[^\n]+" do
    i = i + 1
    lu.assertEquals(nb.json.decode(line).text, texts[i])
  end
  lu.assertEquals(i, #texts)
  lu.assertEquals(feed("[40,77]\n[]\n", "--jsonl", "--decode"), '{"text": "In"}\n{"text": ""}\n')
  lu.assertEquals(feed('"x"', "--jsonl"), '{"ids": [87]}\n')   -- the last line needs no end
  lu.assertEquals(feed("", "--jsonl"), "")
  lu.assertEquals(feed('"In"\n"x"\n', "--jsonl", "--json"):match "([^\n]*)\n$", '{"lines": 2, "tokens": 3}')
end

function TestTokens:test_bad_lines_are_named()
  local rows = {   -- input, options, status, words
    { '"a"\n"b\n', {}, 4, "line 2: JSON line 1" }, { '"a"\n\n', {}, 4, "line 2" }, { "7\n", {}, 4, 'line 1: expected a JSON string or {"text": …}' },
    { '"a"\n{"ids": [1]}\n', {}, 4, "line 2: expected a JSON string" }, { "null\n", {}, 4, "line 1: expected" }, { "false\n", {}, 4, "line 1: expected" },
    { '"\\ud800"\n', {}, 4, "line 1" }, { '"\xFF"\n', {}, 4, "line 1" },
    { "[1]\n[1024]\n", { "--decode" }, 8, "line 2: position 0: id 1024 belongs to no token" },
    { "[1.5]\n", { "--decode" }, 8, "line 1: item 1: expected a token id, found 1.5" },
    { "[-1]\n", { "--decode" }, 8, "found -1" }, { "[4294967296]\n", { "--decode" }, 8, "found 4294967296" }, { '["a"]\n', { "--decode" }, 8, 'found "a"' },
    { '"a"\n', { "--decode" }, 4, 'line 1: expected a JSON list of ids or {"ids": …}' }, { '{"text": "a"}\n', { "--decode" }, 4, "line 1: expected a JSON list" },
    { '{"ids": 3}\n', { "--decode" }, 4, "line 1: expected a JSON list" }, { "null\n", { "--decode" }, 4, "line 1: expected a JSON list" },
  }
  for _, r in ipairs(rows) do
    local _, status, err = feed(r[1], "--jsonl", table.unpack(r[2]))
    lu.assertEquals(status, r[3], r[1] .. err)
    lu.assertStrContains(err, r[4])
    lu.assertStrMatches(err, "nibble: .*\n")
    lu.assertNotStrContains(err, "traceback")
  end
end

function TestTokens:test_wrong_use()
  for _, r in ipairs {
    { 2, "expected a text, or --jsonl", ckpt }, { 2, "no text on the command line", ckpt, "a", "--jsonl" }, { 2, "expected CKPT" },
    { 2, 'expected ids A,B,…, found "x"', ckpt, "--decode", "1,x" }, { 2, "--skip-special needs --decode", ckpt, "a", "--skip-special" },
    { 2, "--plain is about text", ckpt, "1", "--decode", "--plain" }, { 2, "no option --jsonn", ckpt, "--jsonn" },
    { 3, "cannot open /nowhere", "/nowhere", "a" }, { 6, "holds no tokenizer", NIBBLE_ROOT .. "/scripts", "a" }, { 8, "not UTF-8 at byte 1", ckpt, "a\xFF" },
    { 8, "id 99999 belongs to no token", ckpt, "--decode", "99999" },
  } do
    local status, out, err = command.run("tokens", table.unpack(r, 3))
    lu.assertEquals(status, r[1], err)
    lu.assertStrContains(err, r[2])
    lu.assertEquals(out, "")
  end
end

function TestTokens:test_a_full_disk_is_an_error()
  local _, _, status = os.execute(("echo '\"a\"' | '%s' tokens '%s' --jsonl >/dev/full 2>/dev/null"):format(uv.exepath(), ckpt))
  lu.assertEquals(status, 10)
end

-- Each answer arrives while stdin is still open.
function TestTokens:test_it_answers_as_a_coprocess()
  local stdin, stdout, got, status = uv.new_pipe(), uv.new_pipe(), "", nil
  local child = assert(uv.spawn(uv.exepath(), { args = { "tokens", ckpt, "--jsonl" }, stdio = { stdin, stdout, 2 } }, function(code) status = code end))
  stdout:read_start(function(_, data) got = got .. (data or "") end)
  local late = uv.new_timer()
  late:start(20000, 0, function() child:kill "sigkill" end)
  for i = 1, 3 do
    stdin:write('"In"\n')
    while select(2, got:gsub("\n", "")) < i and not status do uv.run "once" end
  end
  lu.assertEquals(got, ('{"ids": [40, 77]}\n'):rep(3))
  stdin:close()
  while not status do uv.run "once" end
  late:close()
  stdout:close()
  lu.assertEquals(status, 0)
end

os.exit(lu.LuaUnit.run())
