-- Bad input through the commands as a user runs them: the status tells the kind, stderr is one sentence that says what was
-- expected, what was found and where, stdout and disk hold no half result. No input may bring a fault in a script (status 70) or
-- a signal.
local lu, nb, uv = require "luaunit", require "nibble", require "luv"
local command, mutate = require "tests.scripts.command", require "tests.scripts.mutate"

local USAGE, IO, FORMAT, SHAPE, MISSING, UNSUPPORTED, VALUE, SPACE = 2, 3, 4, 5, 6, 7, 8, 10
local TINY, TOKENS, GOLDEN = command.tiny .. "/bf16", command.tiny .. "/eval.h5:/prose_eval", command.tiny .. "/golden.h5"
local folder = command.folder()
local function at(name) return folder .. "/" .. name end

local function exists(path) return uv.fs_stat(path) ~= nil end

-- What every refusal has in common. `parts` are plain texts of the sentence.
local function check_refusal(r, status, parts)
  local context = r.line .. "\n" .. r.err
  lu.assertEquals(r.status, status, context)
  lu.assertEquals(r.out, "", context)
  lu.assertStrMatches(r.err, "nibble: [^\n]+[^\n.]\n", nil, nil, context)
  for _, part in ipairs(parts or {}) do lu.assertStrContains(r.err:lower(), part:lower(), false, false, context) end
end

-- rows: { words, status, texts of the sentence … }
local function check_all(rows)
  local list = {}
  for i, row in ipairs(rows) do list[i] = row[1] end
  for i, r in ipairs(command.run_many(list)) do check_refusal(r, rows[i][2], { table.unpack(rows[i], 3) }) end
end

local function check_nothing_written(...)
  for _, name in ipairs { ... } do
    lu.assertFalse(exists(at(name)), name)
    lu.assertFalse(exists(at(name .. ".part")), name .. ".part")
  end
end

-- Commands that run a checkpoint, with files they must not leave behind.
local function runs(dir)
  return {
    { "generate", dir, "--ids", "1,2", "--n", "1", "--json" },
    { "trace", dir, at "out.h5", "--ids", "1,2" },
    { "eval", dir, "--tokens", TOKENS, "--windows", "1", "--window", "5", "--save", at "save.h5" },
    { "golden", dir, GOLDEN, "--json" },
    { "bench", dir, "--prefill", "2", "--decode", "1", "--repeats", "1" },
  }
end

TestCheckpoints = {}

local ROUTER = "model.language_model.layers.0.mlp.gate.weight"
local DOWN = "model.language_model.layers.0.mlp.experts.0.down_proj"
local broken = {   -- mutation, status, texts
  { "truncated data", FORMAT, "model.safetensors", "pos_embed.weight", "truncated" },
  { "truncated inside the header", FORMAT, "model.safetensors", "header length says" },
  { "empty file", FORMAT, "model.safetensors", "expected 8 bytes", "found an empty file" },
  { "header length of 2^40", FORMAT, "1099511627776" },
  { "header length with the top bit", FORMAT, "18446744073709551615" },
  { "header is not JSON", FORMAT, "byte 8", "expected '{'", "found '['" },
  { "shape is a word", FORMAT, ROUTER, "expected '['" },
  { "offsets absent", FORMAT, ROUTER, "data_offsets" },
  { "type of another program", UNSUPPORTED, ROUTER, "F8_E8M0" },
  { "shape larger than its bytes", FORMAT, ROUTER, "25344", "1024" },
  { "huge shape", FORMAT, ROUTER, "overflows" },
  { "offsets run backwards", FORMAT, ROUTER, "end before they begin" },
  { "two tensors on the same bytes", FORMAT, DOWN .. ".weight", "overlap" },
  { "no weight file", MISSING, "expected model.safetensors.index.json or at least one *.safetensors" },
  { "weight file is a dangling link", IO, "model.safetensors", "No such file" },
  { "index is not JSON", FORMAT, "model.safetensors.index.json" },
  { "index leaves the folder", FORMAT, ROUTER, "expected the plain name", "../model.safetensors" },
  { "shard absent", MISSING, "model-00002-of-00002.safetensors" },
  { "tensor in two shards", FORMAT, ROUTER, "twice" },
  { "no config", MISSING, "expected config.json" },
  { "config is not JSON", FORMAT, "config.json" },
  { "a million layers", FORMAT, "num_hidden_layers", "expected a whole number from 1 to", "1000000" },
  { "layer_types swapped", MISSING, "layers.0.attn.q", "found neither" },
  { "a norm absent", MISSING, "layers.0.input_norm", "input_layernorm.weight" },
  { "the last expert absent", MISSING, "layers.0.experts.3.gate" },
  { "router cut", SHAPE, "layers.0.router", "expected e = 2", "found 4" },
  { "block scales of another shape", SHAPE, DOWN .. ".weight_scale", "[128, 4]", "[128, 2]" },
  { "tensor scale absent", MISSING, DOWN .. ".weight_scale_2" },
  { "tensor scale NaN", FORMAT, DOWN .. ".weight_scale_2", "expected a positive finite scale" },
  { "KV scale zero", FORMAT, "k_scale", "expected a positive finite scale, found 0" },
  { "SVDQuant", UNSUPPORTED, DOWN .. ".svdquant_lora_a" },
  { "NaN in BF16", VALUE, "layer00/router_logits", "not a number" },
}

local by_name, bases = {}, {}
for _, row in ipairs(mutate.list) do by_name[row[1]] = row end
local function apply(name, dir)
  local row = assert(by_name[name], name)
  bases[row[2]] = bases[row[2]] or mutate.base(row[2], command.tiny)
  mutate.apply(row, bases[row[2]], dir)
end

-- Two commands a fault, all five over the faults together; every fault sees generate.
function TestCheckpoints:testEachFaultIsNamed()
  for i, row in ipairs(broken) do
    local dir = at "broken"
    apply(row[1], dir)
    local all, rows = runs(dir), {}
    for _, words in ipairs { all[1], all[2 + i % 4] } do rows[#rows + 1] = { words, table.unpack(row, 2) } end
    check_all(rows)
    check_nothing_written("out.h5", "save.h5")
    command.remove(dir)
  end
end

-- Doctor's own test names all of them; here: the kinds of end that a command may have.
function TestCheckpoints:testTheOtherMutationsEndAsAllowed()
  local named = {}
  for _, row in ipairs(broken) do named[row[1]] = true end
  local list, dirs = {}, {}
  for i, row in ipairs(mutate.list) do
    if not named[row[1]] and row[2] == "experts" and i % 2 == 0 then
      dirs[#dirs + 1] = at("m" .. i)
      apply(row[1], dirs[#dirs])
      list[#list + 1] = { "generate", dirs[#dirs], "--ids", "1", "--n", "1" }
    end
  end
  for _, r in ipairs(command.run_many(list)) do
    if r.status ~= 0 then
      lu.assertTrue(r.status >= FORMAT and r.status <= VALUE, r.line .. "\n" .. r.err)
      check_refusal(r, r.status)
    end
  end
  for _, dir in ipairs(dirs) do command.remove(dir) end
end

function TestCheckpoints:testPaths()
  local file = command.tiny .. "/bf16/config.json"
  local rows = {}
  for _, words in ipairs(runs "/nowhere/at/all") do rows[#rows + 1] = { words, IO, "/nowhere/at/all", "No such file" } end
  for _, words in ipairs(runs(file)) do rows[#rows + 1] = { words, IO, file, "expected the folder of a checkpoint" } end
  rows[#rows + 1] = { { "doctor", "/nowhere/at/all" }, IO, "/nowhere/at/all" }
  rows[#rows + 1] = { { "doctor", file }, IO, file }
  rows[#rows + 1] = { { "tokens", "/nowhere/at/all", "text" }, IO, "/nowhere/at/all" }
  check_all(rows)
  check_nothing_written("out.h5", "save.h5")
end

-- Every key of the text config as values of the wrong kind or size.
function TestCheckpoints:testConfigs()
  local ck = mutate.base("experts", command.tiny)
  local odd = { "\"x\"", "-1", "0", "1e300", "1.5", "[]", "{}", "true", "9007199254740993" }
  local text = ck.json["config.json"].text_config
  local keys = {}
  for key in pairs(text) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs { "rope_theta", "partial_rotary_factor", "rope_type", "factor" } do
    keys[#keys + 1] = "rope_parameters." .. key
  end
  mutate.save(ck, at "odd")
  local list, dirs = {}, {}
  for i, key in ipairs(keys) do
    for j = 0, 1 do
      local copy = mutate.copy(ck.json["config.json"])
      local inner = key:match "^rope_parameters%.(.*)"
      local place = inner and copy.text_config.rope_parameters or copy.text_config
      place[inner or key] = nb.json.decode(odd[(2 * i + j) % #odd + 1])
      local dir = at(("odd%d-%d"):format(i, j))
      assert(uv.fs_mkdir(dir, 493))
      for name in uv.fs_scandir_next, uv.fs_scandir(at "odd") do assert(uv.fs_symlink(at("odd/" .. name), dir .. "/" .. name)) end
      os.remove(dir .. "/config.json")
      mutate.write(dir .. "/config.json", nb.json.encode(copy))
      list[#list + 1], dirs[#dirs + 1] = { "generate", dir, "--ids", "1", "--n", "1" }, dir
    end
  end
  local refused = 0
  for _, r in ipairs(command.run_many(list)) do
    if r.status ~= 0 then
      lu.assertTrue(r.status >= FORMAT and r.status <= VALUE, r.line .. "\n" .. r.err)
      check_refusal(r, r.status)
      refused = refused + 1
    end
  end
  lu.assertTrue(refused > #list // 3, refused .. " of " .. #list)
  for _, dir in ipairs(dirs) do command.remove(dir) end
end

function TestCheckpoints:testTokenizers()
  local dir = at "words"
  apply("a norm absent", dir)
  local good = mutate.read(dir .. "/tokenizer.json")
  local function rows(status, ...)
    return { { { "tokens", dir, "text" }, status, ... }, { { "generate", dir, "text" }, status, ... },
             { { "trace", dir, at "out.h5", "--text", "text" }, status, ... } }
  end
  mutate.write(dir .. "/tokenizer.json", good:sub(1, #good // 2))
  check_all(rows(FORMAT, "tokenizer.json"))
  mutate.write(dir .. "/tokenizer.json", "[1]")
  check_all(rows(FORMAT, "tokenizer.json"))
  mutate.write(dir .. "/tokenizer.json", (good:gsub('"type":%s*"BPE"', '"type":"Unigram"')))
  check_all(rows(UNSUPPORTED, "Unigram"))
  os.remove(dir .. "/tokenizer.json")
  check_all(rows(MISSING, "expected tokenizer.json"))
  check_all {
    { { "tokens", TINY, "\xff" }, VALUE, "not UTF-8 at byte 0" },
    { { "generate", TINY, "a", "b\xff" }, VALUE, "prompt 2", "byte 1" },
    { { "tokens", TINY, "--decode", "5,99999" }, VALUE, "position 1", "99999" },
    { { "tokens", TINY, "--decode", "5,,6" }, USAGE, "expected ids" },
  }
  command.remove(dir)
  check_nothing_written "out.h5"
end

TestFiles = {}

function TestFiles:testHdf5()
  local text, cut = at "text.h5", at "cut.h5"
  mutate.write(text, "not HDF5 at all")
  local bytes = mutate.read(command.tiny .. "/eval.h5")
  mutate.write(cut, bytes:sub(1, #bytes // 2))
  local rows = {}
  for _, bad in ipairs { { "/nowhere.h5", IO, "/nowhere.h5", "No such file" }, { text, FORMAT, text }, { cut, FORMAT, cut },
                         { folder, IO, folder } } do
    local path = bad[1]
    for _, words in ipairs {
      { "golden", TINY, path }, { "eval", TINY, "--tokens", path .. ":/prose_eval" }, { "compare", path, path },
      { "eval", TINY, "--tokens", TOKENS, "--window", "5", "--windows", "1", "--base", path, "--save", at "save.h5" },
    } do rows[#rows + 1] = { words, table.unpack(bad, 2) } end
  end
  check_all(rows)
  check_nothing_written "save.h5"
  os.remove(text)
  os.remove(cut)
end

function TestFiles:testDatasets()
  local own, floats = at "own.h5", nb.tensor("F32", { 6 }, { 1, 2, 3, 4, 5, 6.5 })
  do
    local f <close> = assert(nb.h5.create(own))
    assert(f:write("/short", nb.tensor("I32", { 4 }, { 1, 2, 3, 4 })))
    assert(f:write("/large", nb.tensor("I32", { 6 }, { 1, 2, 3, 4, 5, 1024 })))
    assert(f:write("/negative", nb.tensor("I32", { 6 }, { 1, 2, 3, 4, 5, -1 })))
    assert(f:write("/floats", floats))
    assert(f:write("/window00000", nb.tensor("F32", { 2, 3 })))
    assert(f:close())
  end
  local function eval(name) return { "eval", TINY, "--tokens", own .. ":" .. name, "--window", "5", "--save", at "save.h5" } end
  check_all {
    { eval "/absent", MISSING, own, "/absent" },
    { eval "/", SHAPE, "expected a dataset", "group" },
    { eval "/short", VALUE, "/short", "expected at least one window of 5 tokens, found 4" },
    { { "eval", TINY, "--tokens", own .. ":/large", "--window", "6", "--save", at "save.h5" }, VALUE, "/large", "position 5",
      "from 0 to 1023, found 1024" },
    { { "eval", TINY, "--tokens", own .. ":/negative", "--window", "6" }, VALUE, "position 5", "found -1" },
    { eval "/floats", SHAPE, "/floats", "expected whole numbers", "f32" },
    { { "eval", TINY, "--tokens", TOKENS, "--windows", "33" }, VALUE, "--windows", "at most 32", "found 33" },
    { { "eval", TINY, "--tokens", TOKENS, "--windows", "1", "--window", "5", "--base", own, "--save", at "save.h5" }, SHAPE, own,
      "/window00000", "expected f32[4,1024]", "found f32[2,3]" },
    { { "eval", TINY, "--tokens", "no-colon" }, USAGE, "expected FILE.h5:/dataset", "no-colon" },
    { { "golden", TINY, own }, MISSING, own, "input_ids" },
    { { "golden", TINY, command.golden .. "/sib_a/golden.h5" }, SHAPE, "layer00/output", "expected [", ",160]" },
    { { "golden", command.golden .. "/sib_a/bf16", GOLDEN }, VALUE, "expected a token id", "383" },
    { { "compare", own, own }, FORMAT, own, "not a trace" },
  }
  check_nothing_written "save.h5"
  os.remove(own)
end

function TestFiles:testTraces()
  command.run("trace", TINY, at "a.h5", "--ids", "1,2", "--taps", "embed,logits")
  command.run("trace", TINY, at "b.h5", "--ids", "3,2", "--taps", "embed,logits")
  check_all {
    { { "compare", at "a.h5", at "b.h5" }, MISSING, at "a.h5", "no row in common", "different tokens" },
    { { "compare", at "a.h5", at "a.h5", "--taps", "nope*" }, MISSING, "nope*" },
    { { "compare", at "a.h5", at "a.h5", "--k", "1025" }, VALUE, "--k", "1 to 1024", "1025" },
    { { "compare", at "a.h5", GOLDEN }, FORMAT, GOLDEN, "not a trace" },
  }
  -- A trace that cannot be made leaves the one that is there.
  local before = mutate.read(at "a.h5")
  check_all {
    { { "trace", TINY, at "a.h5", "--ids", "1,2000" }, VALUE, "sequence 1", "position 1", "2000" },
    { { "trace", TINY, at "a.h5", "--ids", "1", "--taps", "nope" }, MISSING, "nope" },
    { { "trace", TINY, at "a.h5", "--ids", "1", "--n", "5000" }, VALUE, "4096", "max_position_embeddings" },
  }
  lu.assertEquals(mutate.read(at "a.h5") == before, true)
  lu.assertFalse(exists(at "a.h5.part"))
  os.remove(at "a.h5")
  os.remove(at "b.h5")
end

-- Writers: command, the file or folder they would leave.
local function writers(dir)
  return {
    { { "trace", TINY, dir .. "/out.h5", "--ids", "1,2,3,4" }, "/out.h5" },
    { { "eval", TINY, "--tokens", TOKENS, "--windows", "2", "--window", "40", "--save", dir .. "/save.h5" }, "/save.h5" },
    { { "synthetic", dir .. "/made", "--hidden", "64", "--experts", "2", "--top-k", "1", "--width", "32", "--delta", "16",
        "--head", "32", "--vocab", "512" }, "/made" },
  }
end

local function check_writers(dir, status, ...)
  for _, row in ipairs(writers(dir)) do
    check_all { { row[1], status, dir .. row[2], ... } }
    lu.assertFalse(exists(dir .. row[2]), row[2])
    lu.assertFalse(exists(dir .. row[2] .. ".part"), row[2])
  end
end

-- A file system of its own, which needs root; fn gets its folder.
local function on_tmpfs(options, fn)
  local dir = at "mounted"
  assert(uv.fs_mkdir(dir, 493))
  if not os.execute(("mount -t tmpfs -o %s tmpfs %s 2>/dev/null"):format(options, dir)) then
    uv.fs_rmdir(dir)
    lu.skip "mounting a tmpfs is not allowed here"
  end
  local ok, message = pcall(fn, dir)
  os.execute("umount " .. dir)
  uv.fs_rmdir(dir)
  if not ok then error(message, 0) end
end

TestWriting = {}

function TestWriting:testFullDisk() on_tmpfs("size=64k", function(dir) check_writers(dir, SPACE, "No space left") end) end

function TestWriting:testReadOnlyFileSystem()
  on_tmpfs("ro", function(dir) check_writers(dir, IO, "read-only file system") end)
end

function TestWriting:testReadOnlyFolder()
  if uv.getuid() == 0 then lu.skip "root writes to any folder" end
  local dir = at "locked"
  assert(uv.fs_mkdir(dir, 365))
  check_writers(dir, IO, "Permission denied")
  command.remove(dir)
end

function TestWriting:testFolderAbsentOrInTheWay()
  check_writers(at "absent", IO)
  assert(uv.fs_mkdir(at "way.h5", 493))
  check_all { { { "trace", TINY, at "way.h5", "--ids", "1" }, IO, at "way.h5" },
    { { "eval", TINY, "--tokens", TOKENS, "--windows", "1", "--window", "5", "--save", at "way.h5" }, IO, at "way.h5" } }
  lu.assertFalse(exists(at "way.h5.part"))
  uv.fs_rmdir(at "way.h5")
  mutate.write(at "file", "x")
  check_all { { { "synthetic", at "file" }, IO, at "file" } }
  lu.assertEquals(mutate.read(at "file"), "x")
  os.remove(at "file")
end

function TestWriting:testStdoutFull()
  local list = {
    { "generate", TINY, "--ids", "1", "--n", "2" }, { "generate", TINY, "--ids", "1", "--n", "2", "--json" },
    { "trace", TINY, at "full.h5", "--ids", "1", "--taps", "embed" }, { "trace", TINY, "--list" },
    { "eval", TINY, "--tokens", TOKENS, "--windows", "1", "--window", "5" }, { "compare", at "full.h5", at "full.h5" },
    { "golden", command.golden .. "/sib_b/bf16", command.golden .. "/sib_b/golden.h5" },
    { "doctor", TINY, "--quick" }, { "tokens", TINY, "text" }, { "--help" }, { "doctor", "--help" },
  }
  for _, words in ipairs(list) do words.stdout = "/dev/full" end
  for first, r in ipairs(command.run_many(list)) do
    if first == 6 then r = command.run_many { list[6] }[1] end   -- the trace it reads is there by now
    check_refusal(r, SPACE, { "cannot write to stdout", "No space left" })
  end
  os.remove(at "full.h5")
end

TestOptions = {}

local COMMANDS = { "doctor", "golden", "eval", "generate", "trace", "compare", "tokens", "synthetic", "bench", "demo" }
local PLACES = { doctor = { TINY }, golden = { TINY, GOLDEN }, eval = { TINY }, generate = { TINY, "a" },
                 trace = { TINY, at "opt.h5" },
                 compare = { "a", "b" }, tokens = { TINY, "a" }, synthetic = { at "opt" }, bench = { TINY }, demo = {} }

-- Options from a command's own --help: { name, TYPE or nil }.
local function options_of(name)
  local list = {}
  for option, kind in command.help(name):gmatch "\n  %-%-([%w-]+) ?([A-Z]*)" do
    list[#list + 1] = { option, kind ~= "" and kind or nil }
  end
  return list
end

function TestOptions:testEachOption()
  local rows = {}
  for _, name in ipairs(COMMANDS) do
    local function with(...)
      local words = { name, table.unpack(PLACES[name]) }
      for _, w in ipairs { ... } do words[#words + 1] = w end
      return words
    end
    rows[#rows + 1] = { with "--no-such-option", USAGE, "no option --no-such-option", "nibble " .. name .. " --help" }
    for _, o in ipairs(options_of(name)) do
      local option = "--" .. o[1]
      if not o[2] then rows[#rows + 1] = { with(option .. "=x"), USAGE, option, "no value" }
      else
        rows[#rows + 1] = { with(option), USAGE, option, "expected a value" }
        if o[2] == "INTEGER" then
          rows[#rows + 1] = { with(option, "1.5"), USAGE, option, "expected a whole number", "1.5" }
          rows[#rows + 1] = { with(option, "99999999999999999"), USAGE, option, "99999999999999999" }
        elseif o[2] ~= "STRING" then rows[#rows + 1] = { with(option, "nan"), USAGE, option, "expected a number", "nan" } end
      end
    end
    if name ~= "demo" and name ~= "generate" then rows[#rows + 1] = { with("one", "two", "three"), USAGE, "too many" } end
    if name ~= "demo" then rows[#rows + 1] = { { name }, USAGE, "expected" } end
  end
  rows[#rows + 1] = { { "nosuch" }, USAGE, "nosuch", "nibble --help" }
  check_all(rows)
  check_nothing_written("opt.h5", "opt")
end

function TestOptions:testValues()
  local rows = {}
  local function bad(words, status, ...) rows[#rows + 1] = { words, status, ... } end
  for _, v in ipairs { { "--n", "0", "at least 1" }, { "--temperature", "-1", "at least 0" }, { "--top-p", "0", "1" },
                       { "--top-p", "1.5", "1" }, { "--top-k", "-1", "0" }, { "--mtp", "8", "0 to 7" }, { "--chunk", "0", "1" },
                       { "--impl", "ref:int4", "w4a16" }, { "--round", "f16", "bf16" }, { "--kv", "int8", "fp8" },
                       { "--device", "tpu", "cuda:N" }, { "--system", "x", "--chat" } } do
    bad({ "generate", TINY, "a", v[1], v[2] }, USAGE, v[1] == "--device" and "device" or v[1], v[3])
  end
  bad({ "generate", TINY }, USAGE, "--ids")
  bad({ "generate", TINY, "a", "--ids", "1" }, USAGE, "one of the two")
  bad({ "generate", TINY, "--ids", "1,x" }, USAGE, "--ids", "\"x\"")
  bad({ "generate", TINY, "--ids", "1;" }, USAGE, "--ids")
  bad({ "generate", TINY, "--ids", "1024" }, VALUE, "prompt 1", "0 to 1023", "1024")
  bad({ "generate", TINY, "" }, VALUE, "prompt 1", "at least one token")
  bad({ "generate", TINY, "a", "--n", "5000" }, VALUE, "4096", "max_position_embeddings")
  bad({ "generate", command.golden .. "/sib_b/bf16", "--ids", "1", "--mtp", "2" }, MISSING, "mtp.*")
  bad({ "generate", command.golden .. "/sib_b/bf16", "a" }, MISSING, "tokenizer.json")
  bad({ "generate", TINY, "--ids", "1", "--impl", "ref:w4a4", "--kv", "f32", "--round", "f64" }, USAGE, "--round")
  bad({ "trace", TINY, at "opt.h5" }, USAGE, "--ids or --text")
  bad({ "trace", TINY, "--ids", "1" }, USAGE, "OUT")
  bad({ "trace", TINY, at "opt.h5", "--ids", "" }, USAGE, "--ids")
  bad({ "trace", TINY, at "opt.h5", "--ids", "1,,2" }, USAGE, "--ids")
  bad({ "trace", TINY, at "opt.h5", "--ids", "1", "--taps", "" }, USAGE, "--taps")
  bad({ "trace", TINY, at "opt.h5", "--text", "" }, VALUE, "at least one token")
  bad({ "trace", TINY, at "opt.h5", "--ids", "1", "--n", "-1" }, USAGE, "--n")
  bad({ "eval", TINY }, USAGE, "--tokens")
  bad({ "eval", TINY, "--tokens", TOKENS, "--window", "1" }, USAGE, "--window", "at least 2")
  bad({ "eval", TINY, "--tokens", TOKENS, "--window", "5", "--windows", "1", "--top-k", "1025" }, VALUE, "--top-k", "1024")
  bad({ "golden", TINY, GOLDEN, "--max-nmse", "-1" }, USAGE, "--max-nmse")
  bad({ "compare", "a", "b", "--min-sets", "2" }, USAGE, "--min-sets", "0 to 1")
  bad({ "tokens", TINY, "a", "--skip-special" }, USAGE, "--decode")
  bad({ "synthetic", at "opt", "--layers", "LX" }, USAGE, "--layers", "LX")
  bad({ "synthetic", at "opt", "--hidden", "0" }, USAGE, "--hidden")
  bad({ "synthetic", at "opt", "--hidden", "20" }, USAGE, "--hidden", "multiple of 16")
  bad({ "synthetic", at "opt", "--experts", "4", "--top-k", "5" }, USAGE, "--top-k", "at most")
  bad({ "synthetic", at "opt", "--kv-heads", "3" }, USAGE, "--heads")
  bad({ "bench", TINY, "--repeats", "0" }, USAGE, "--repeats")
  check_all(rows)
  check_nothing_written("opt.h5", "opt")
end

-- Command lines of random words from a seed: whatever they say, the end is a result or a sentence.
function TestOptions:testRandomLines()
  local state = 20240917
  local function random(n)
    state = (state * 6364136223846793005 + 1442695040888963407) & 0x7FFFFFFFFFFFFFFF
    return (state >> 33) % n + 1
  end
  local values = { "0", "-1", "1", "2", "7", "", "x", "1e400", "nan", "0x10", "-0", "1,2", "1;2", ";", ",", "/", "/dev/null", folder,
                   GOLDEN, TOKENS, TINY, at "fuzz.h5", "*", "layer0?/output", "ref", "ref:w4a4", "kernel", "host", "f32", "bf16",
                   "fp8", "\xff", "--", "-n", "99999999999999999999", "%s%n", "a b", "'" }
  local known = {}
  for _, name in ipairs(COMMANDS) do known[name] = options_of(name) end
  local names = { "doctor", "golden", "eval", "generate", "trace", "compare", "tokens", "generate", "trace", "eval" }
  local usual = { eval = { "--tokens", TOKENS, "--windows", "1", "--window", "5" }, generate = { "--n", "2" },
                  trace = { "--ids", "1,2" } }
  local list = {}
  for i = 1, 160 do
    local name = names[random(#names)]
    local words = { name }
    local places = random(3) > 1 and PLACES[name] or {}
    for _, p in ipairs(places) do words[#words + 1] = random(8) == 1 and values[random(#values)] or p end
    for _, w in ipairs(random(3) > 1 and usual[name] or {}) do words[#words + 1] = w end
    for _ = 1, random(4) - 1 do
      local o = known[name][random(#known[name])]
      words[#words + 1] = "--" .. o[1]
      if o[2] or random(10) == 1 then words[#words + 1] = values[random(#values)] end
    end
    list[i] = words
  end
  local refused = 0
  for _, r in ipairs(command.run_many(list)) do
    local context = r.line .. "\n" .. r.err
    lu.assertTrue(r.status >= 0 and r.status <= 12, context)
    if r.status > 1 then
      refused = refused + 1
      lu.assertStrMatches(r.err, "nibble: [^\n]+\n", nil, nil, context)
      lu.assertNotStrContains(r.err, "traceback", false, context)
    end
  end
  lu.assertTrue(refused > 40 and refused < #list, tostring(refused))
  os.remove(at "opt.h5")
  os.remove(at "fuzz.h5")
end

local status = lu.LuaUnit.run()
command.remove(folder)
os.exit(status)
