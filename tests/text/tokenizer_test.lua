-- The tokenizer against recorded output of the tokenizers library, and what its Lua face promises.
local lu, nb = require "luaunit", require "nibble"
local golden = NIBBLE_ROOT .. "/build/golden/tiny"
local tok = assert(nb.tokenizer(golden .. "/bf16"))

local function cases()
  local pipe = assert(io.popen('gzip -dc "' .. golden .. '/tokenizer-cases.jsonl.gz"'))
  return function()
    local line = pipe:read "l"
    if not line then pipe:close() return nil end
    return assert(nb.json.decode(line))
  end
end

TestRecorded = {}

function TestRecorded:test_ten_thousand_random_strings()
  local n = 0
  for case in cases() do
    n = n + 1
    local ids = assert(tok:encode(case.text))
    if table.concat(ids, ",") ~= table.concat(case.ids, ",") then
      lu.fail(("case %d: %s gives %s, not %s"):format(n, nb.json.encode(case.text), table.concat(ids, ","), table.concat(case.ids, ",")))
    end
    lu.assertEquals(tok:decode(case.ids), case.decoded, "case " .. n)
  end
  lu.assertEquals(n, 10000)
end

function TestRecorded:test_streams_give_the_recorded_texts()
  for case in cases() do
    local stream, out = tok:stream(), {}
    for i, id in ipairs(case.ids) do
      out[i] = stream:put(id)
      if not utf8.len(out[i]) then lu.fail("half a character in " .. nb.json.encode(case.decoded)) end
    end
    out[#out + 1] = stream:flush()
    lu.assertEquals(table.concat(out), case.decoded)
  end
end

-- What comes back is the composed form, which encodes to the same ids.
function TestRecorded:test_decoded_texts_encode_alike()
  for case in cases() do
    local again = assert(tok:encode(case.decoded))
    lu.assertEquals(tok:decode(again), case.decoded)
  end
end

function TestRecorded:test_text_samples()
  local file = assert(io.open(golden .. "/text-samples.json"))
  local samples = assert(nb.json.decode(file:read "a"))
  file:close()
  lu.assertTrue(#samples >= 10)
  for _, s in ipairs(samples) do lu.assertEquals(tok:encode(s.text), s.ids, s.text) end
end

TestFace = {}

function TestFace:test_tokens_by_name_and_number()
  lu.assertEquals(tok:id "<|im_end|>", 1019)
  lu.assertEquals(tok:id "\u{120}the", tok:encode(" the")[1])
  lu.assertNil(tok:id "<|nothing|>")
  lu.assertEquals(tok:piece(1019), "<|im_end|>")
  lu.assertEquals(tok:piece(tok:id "\u{120}the"), " the")
  lu.assertNil(tok:piece(1024))
  lu.assertNil(tok:piece(-1))
  lu.assertTrue(tok:is_special(1019))
  lu.assertFalse(tok:is_special(258))
  lu.assertFalse(tok:is_special(-1))
  lu.assertEquals({ tok:size(), tok:id_end() }, { 1024, 1024 })
end

function TestFace:test_special_tokens_can_be_text()
  local text = "<|im_start|>user"
  lu.assertEquals(tok:encode(text)[1], 1018)
  lu.assertEquals(tok:encode(text, {}), tok:encode(text, { special = true }))
  local plain = tok:encode(text, { special = false })
  for _, id in ipairs(plain) do lu.assertFalse(tok:is_special(id)) end
  lu.assertEquals(tok:decode(plain), text)
  lu.assertEquals(tok:decode(tok:encode "a<|im_end|>b"), "a<|im_end|>b")
  lu.assertEquals(tok:decode(tok:encode "a<|im_end|>b", true), "ab")
end

function TestFace:test_a_stream_holds_back_half_a_character()
  local ids, stream = tok:encode "é🙂", tok:stream()
  local out = {}
  for i, id in ipairs(ids) do out[i] = stream:put(id) end
  lu.assertEquals(out, { "", "é", "", "", "", "🙂" })
  lu.assertEquals(stream:flush(), "")
  lu.assertEquals(stream:put(ids[1]), "")
  lu.assertStrContains(tostring(stream), "1 bytes held back")
  lu.assertEquals(stream:flush(), "\u{FFFD}")
  lu.assertEquals(stream:flush(), "")
  local skipping = tok:stream(true)
  lu.assertEquals(skipping:put(1019), "")
end

function TestFace:test_errors_are_returned_with_their_kind()
  local rows = {
    { "E_VALUE", "not UTF-8 at byte 2 (0xff)", tok.encode, tok, "ab\xFF" },
    { "E_VALUE", "position 1: id 1024 belongs to no token", tok.decode, tok, { 1, 1024 } },
    { "E_VALUE", "id 1024 belongs to no token", tok:stream().put, tok:stream(), 1024 },
    { "E_IO", "cannot open /nowhere", nb.tokenizer, "/nowhere" },
    { "E_MISSING", "holds no tokenizer", nb.tokenizer, NIBBLE_ROOT .. "/scripts" },
    { "E_FORMAT", "not JSON", nb.tokenizer, NIBBLE_ROOT .. "/Makefile" },
  }
  for _, r in ipairs(rows) do
    local value, message, code = r[3](table.unpack(r, 4))
    lu.assertNil(value)
    lu.assertEquals(code, r[1])
    lu.assertStrContains(message, r[2])
  end
end

function TestFace:test_wrong_use_raises()
  lu.assertErrorMsgContains("bad argument", tok.decode, tok, { "x" })
  lu.assertErrorMsgContains("bad argument", tok.decode, tok, { -1 })
  lu.assertErrorMsgContains("bad argument", tok.decode, tok, { 1 << 32 })
  lu.assertErrorMsgContains("bad argument", tok.encode, tok, {})
  lu.assertErrorMsgContains("bad argument", tok.encode, tok, "a", 1)
  lu.assertErrorMsgContains("bad argument", tok.encode, "tok", "a")
  lu.assertErrorMsgContains("bad argument", tok:stream().put, tok:stream(), "x")
end

function TestFace:test_closed_handles_say_so()
  local stream
  do
    local other <close> = assert(nb.tokenizer(golden .. "/bf16/tokenizer.json"))
    lu.assertEquals(tostring(other), "tokenizer of 1024 tokens")
    stream = other:stream()
    getmetatable(other).__close(other)
    lu.assertErrorMsgContains("tokenizer is closed", other.encode, other, "a")
    lu.assertEquals(tostring(other), "tokenizer (closed)")
  end
  lu.assertErrorMsgContains("closed", stream.put, stream, 1)
  lu.assertErrorMsgContains("closed", stream.flush, stream)
  local alone = assert(nb.tokenizer(golden .. "/bf16")):stream()   -- keeps its tokenizer alive
  collectgarbage() collectgarbage()
  lu.assertEquals(alone:put(258), " the")
end

os.exit(lu.LuaUnit.run())
