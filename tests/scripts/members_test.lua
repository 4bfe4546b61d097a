-- Members of the family that no recorded checkpoint shows, from `nibble synthetic`: other extents, layer kinds, formats and types.
-- There is nothing to hold them against but themselves: one chunk, token by token and in a batch must agree; and every command
-- must take them.
local lu, nb = require "luaunit", require "nibble"
local command = require "tests.scripts.command"

local folder = command.folder()
local function at(name) return folder .. "/" .. name end

local SMALL = { "--hidden", "64", "--experts", "4", "--top-k", "2", "--width", "32", "--heads", "4", "--kv-heads", "2", "--head", "32",
                "--key-heads", "2", "--value-heads", "4", "--delta", "16", "--vocab", "300" }
local members = {   -- name, options on top of SMALL
  { "convolution over 2, all linears packed", "--layers", "LA", "--conv", "2", "--format", "all" },
  { "convolution over 3, norms in F32", "--layers", "LAL", "--conv", "3", "--norms", "F32" },
  { "as many key heads as query heads, attention alone", "--layers", "AA", "--kv-heads", "4", "--key-heads", "4" },
  { "one expert, DeltaNet alone", "--layers", "LL", "--experts", "1", "--top-k", "1" },
  { "every expert acts", "--layers", "AL", "--experts", "3", "--top-k", "3", "--key-heads", "1" },
  { "odd extents in BF16", "--layers", "LA", "--format", "none", "--hidden", "50", "--width", "21", "--delta", "15", "--head", "40",
    "--heads", "3", "--kv-heads", "1" },
  { "a vocabulary beyond 16 bits, tied", "--layers", "LA", "--vocab", "70001", "--tied" },
}
local A, B = "5,6,7,8,299,10,11,0,13,14,15,16,17", "1,2,3"
local IMPL = { "--impl", "ref:w4a16" }   -- quantized activations turn a last bit into another code

local function words(...)
  local out = {}
  for _, w in ipairs { ... } do
    if type(w) == "table" then table.move(w, 1, #w, #out + 1, out) else out[#out + 1] = w end
  end
  return out
end

TestMembers = {}

local function check_member(dir, vocab, errors)
  local list = {
    words("generate", dir, "--ids", A .. ";" .. B, "--n", "6", "--json", IMPL),
    words("generate", dir, "--ids", A, "--n", "6", "--json", "--chunk", "1", IMPL),
    words("generate", dir, "--ids", B, "--n", "6", "--json", "--chunk", "2", IMPL),
    words("trace", dir, at "whole.h5", "--ids", A, "--n", "2", "--json", IMPL),
    words("trace", dir, at "steps.h5", "--ids", A, "--n", "2", "--chunk", "1", "--json", IMPL),
    words("eval", dir, "--tokens", at "tokens.h5:/ids", "--window", "20", "--json", IMPL),
    words("eval", dir, "--tokens", at "tokens.h5:/ids", "--window", "20", "--chunk", "7", "--json", IMPL),
    words("generate", dir, "--ids", A, "--n", "2", "--json"),
  }
  local r = command.json_many(list)
  lu.assertEquals(r[1].prompts[1].ids, r[2].ids)
  lu.assertEquals(r[1].prompts[2].ids, r[3].ids)
  lu.assertAlmostEquals(r[6].nll, r[7].nll, 1e-6)
  lu.assertTrue(r[6].nll > 0.5 * math.log(vocab) and r[6].nll < 2 * math.log(vocab), r[6].nll)   -- random weights know nothing
  lu.assertEquals(#r[8].ids, 2)
  local found, found_status = command.json("doctor", dir, "--json")
  lu.assertEquals({ found.errors, found_status }, { errors, errors > 0 and 1 or 0 })
  local same, status = command.json("compare", at "steps.h5", at "whole.h5", "--max-nmse", "1e-9", "--min-sets", "1", "--json")
  lu.assertEquals(status, 0, nb.json.encode(same.worst))
  lu.assertEquals(same.rows, 15)
end

local function tokens(vocab)
  local ids = {}
  for i = 1, 40 do ids[i] = (i * 7919) % vocab end
  ids[3] = vocab - 1
  local f <close> = assert(nb.h5.create(at "tokens.h5"))
  assert(f:write("/ids", nb.tensor("I32", { #ids }, ids)))
  assert(f:close())
end

for i, member in ipairs(members) do
  TestMembers[("test_%d_%s"):format(i, member[1]:gsub("[^%w]+", "_"))] = function()
    local vocab = 300
    for j, w in ipairs(member) do if w == "--vocab" then vocab = tonumber(member[j + 1]) end end
    local status, _, err = command.run(table.unpack(words("synthetic", at "ck", SMALL, { table.unpack(member, 2) })))
    lu.assertEquals(status, 0, err)
    tokens(vocab)
    check_member(at "ck", vocab, 0)
    command.remove(at "ck")
  end
end

-- Errors of sib_a/modelopt: it is made with unequal scales of gate and up.
for name, errors in pairs { ["sib_a/bf16"] = 0, ["sib_a/modelopt"] = 1, ["sib_b/bf16"] = 0 } do
  TestMembers["test_" .. name:gsub("/", "_")] = function()
    tokens(300)
    check_member(command.golden .. "/" .. name, 300, errors)
  end
end

TestCommands = {}

-- The same seed gives the same text, another seed another.
function TestCommands:testSamplingBySeed()
  local function sample(seed)
    return { "generate", command.tiny .. "/bf16", "In the", "--n", "12", "--temperature", "1.5", "--seed", seed, "--json" }
  end
  local r = command.json_many { sample "7", sample "7", sample "8" }
  lu.assertEquals(r[1].ids, r[2].ids)
  lu.assertNotEquals(r[1].ids, r[3].ids)
end

-- What --help says of --json holds: the last line is one object, whatever comes before.
function TestCommands:testJson()
  local tiny = command.tiny .. "/bf16"
  for _, r in ipairs(command.json_many {
    { "doctor", tiny, "--quick", "--json" }, { "tokens", tiny, "text", "--json" }, { "tokens", tiny, "--decode", "1,2", "--json" },
    { "trace", tiny, "--list", "--json" }, { "trace", tiny, at "j.h5", "--text", "a b", "--taps", "embed", "--json" },
    { "generate", tiny, "a", "b", "--n", "2", "--mtp", "2", "--json" }, { "generate", tiny, "a", "--chat", "--n", "2", "--json" },
    { "bench", tiny, "--prefill", "4", "--decode", "2", "--repeats", "1", "--json" },
    { "golden", command.golden .. "/sib_b/bf16", command.golden .. "/sib_b/golden.h5", "--json" },
  }) do
    lu.assertIsTable(r)
    lu.assertNotNil(next(r))
  end
end

local status = lu.LuaUnit.run()
command.remove(folder)
os.exit(status)
