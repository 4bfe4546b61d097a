-- The model run as sequences: chunks, batches, drafts. Everything here is exact: a row's bits depend on nothing but its own
-- sequence.
local lu, nb = require "luaunit", require "nibble"
local session, command = require "scripts.lib.session", require "tests.scripts.command"
local tiny = command.tiny

local function ids_of(dataset, first, n)
  local file <close> = assert(nb.h5.open(tiny .. "/eval.h5"))
  return table.move(assert(file:read(dataset)):list(), first, first + n - 1, 1, {})
end

-- Logits of all rows of one sequence as raw bytes.
local function logits_of(dir, ids, opt)
  local model <close> = session.open(dir, opt)
  local seq, parts = model:sequence(), {}
  model:feed({ { seq = seq, ids = ids } }, { outs = "all", on_step = function(step)
    parts[#parts + 1] = assert(model.plan:read("logits", 0, #step.outs))
  end })
  return nb.concat(parts)
end

TestChunks = {}
for _, impl in ipairs { "ref:stored", "ref:w4a16" } do
  for _, dir in ipairs { "bf16", "modelopt/nvfp4_default-kv_fp8", "ct/linear_w4a4" } do
    TestChunks["test_one_chunk_ragged_chunks_and_token_by_token_agree " .. impl .. " " .. dir] = function()
      local ids = ids_of("/prose_eval", 5, 75)
      local whole = logits_of(tiny .. "/" .. dir, ids, { impl = impl, chunk = 128, max_len = 128 }):raw()
      for _, chunk in ipairs { 1, 7, 32 } do
        lu.assertTrue(whole == logits_of(tiny .. "/" .. dir, ids, { impl = impl, chunk = chunk, max_len = 128 }):raw(), "chunk "
          .. chunk)
      end
    end
  end
end

TestBatch = {}
function TestBatch:test_ragged_sequences_equal_single_runs()
  local lengths, lists, want = { 33, 1, 70, 12, 5 }, {}, {}
  for i, n in ipairs(lengths) do
    lists[i] = ids_of(i % 2 == 0 and "/records_eval" or "/prose_eval", 300 * i, n)
    want[i] = logits_of(tiny .. "/bf16", lists[i], { max_len = 96 }):raw()
  end
  local model <close> = session.open(tiny .. "/bf16", { slots = #lengths, chunk = 24, max_len = 96 })
  local items, parts = {}, {}
  for i, ids in ipairs(lists) do items[i], parts[i] = { seq = model:sequence(), ids = ids }, {} end
  model:feed(items, { outs = "all", on_step = function(step)
    for _, p in ipairs(step.pieces) do table.insert(parts[p.item], assert(model.plan:read("logits", p.row, p.n))) end
  end })
  for i in ipairs(lists) do lu.assertTrue(nb.concat(parts[i]):raw() == want[i], "sequence " .. i) end
end

function TestBatch:test_a_slot_is_clean_for_the_next_sequence()
  local a, b = ids_of("/prose_eval", 1, 40), ids_of("/records_eval", 1, 30)
  local want = logits_of(tiny .. "/bf16", b, { max_len = 64 }):raw()
  local model <close> = session.open(tiny .. "/bf16", { max_len = 64 })
  local seq = model:sequence()
  model:feed({ { seq = seq, ids = a } })
  model:release(seq)
  local parts = {}
  model:feed({ { seq = model:sequence(), ids = b } }, { outs = "all", on_step = function(step)
    parts[#parts + 1] = assert(model.plan:read("logits", 0, #step.outs))
  end })
  lu.assertTrue(nb.concat(parts):raw() == want)
end

-- Greedy tokens, plain or with drafts, which the plan compares itself, or by_host; also the draft statistics.
local function greedy(dir, ids, n, drafts, by_host)
  local o = { max_len = #ids + n + 8, mtp = drafts }
  local model <close> = session.open(dir, o)
  local seq, sampler = model:sequence(), nb.sampler {}
  local function pick(logits, row) return assert(sampler:pick(logits, row)) end
  local out, accepted, drafted = { pick(model:feed({ { seq = seq, ids = ids } })[1], 0) }, 0, 0
  while #out < n do
    if drafts > 0 then
      local tokens, a, d = model:speculate(seq, out[#out], drafts, by_host and pick)
      table.move(tokens, 1, #tokens, #out + 1, out)
      accepted, drafted = accepted + a, drafted + d
    else
      out[#out + 1] = pick(model:feed({ { seq = seq, ids = { out[#out] } } })[1], 0)
    end
  end
  return table.move(out, 1, n, 1, {}), accepted, drafted
end

TestMtp = {}
for _, case in ipairs { { "bf16", "/prose_eval" }, { "bf16", "/records_eval" }, { "ct/experts_w4a4", "/records_eval" },
  { "fp8_block", "/prose_eval" } } do
  TestMtp["test_greedy_with_drafts_equals_plain greedy " .. case[1] .. case[2]] = function()
    local ids = ids_of(case[2], 1, 60)
    local want = greedy(tiny .. "/" .. case[1], ids, 48, 0)
    for k = 1, 4 do
      local got, accepted, drafted = greedy(tiny .. "/" .. case[1], ids, 48, k)
      lu.assertEquals(got, want, "drafts " .. k)
      lu.assertTrue(drafted > 0)
      if k == 2 then lu.assertEquals({ greedy(tiny .. "/" .. case[1], ids, 48, k, true) }, { got, accepted, drafted }, "by host") end
      print(("# %s %s: %d drafts a round, %d of %d accepted"):format(case[1], case[2], k, accepted, drafted))
      if case[2] == "/records_eval" and k == 1 then
        lu.assertTrue(accepted / drafted > 0.5, "a trained head must be right mostly")
      end
    end
  end
end

-- Rounds on the device, by host, of fewer drafts, and plain steps between them, in any order, of two sequences: the plain tokens.
function TestMtp:test_rounds_of_every_kind_between_each_other()
  local kinds = { 3, 3, 0, 3, "host", 3, 3, 1, 3, 0, 0, 3, 3, "host", "host", 3, 2, 3 }
  local prompts, want = { ids_of("/records_eval", 1, 40), ids_of("/prose_eval", 1, 33) }, {}
  for i, ids in ipairs(prompts) do want[i] = greedy(tiny .. "/bf16", ids, 60, 0) end
  local model <close> = session.open(tiny .. "/bf16", { max_len = 128, mtp = 3, slots = 2 })
  local sampler, seqs, outs = nb.sampler {}, {}, {}
  local function pick(logits, row) return assert(sampler:pick(logits, row)) end
  for i, ids in ipairs(prompts) do
    seqs[i] = model:sequence()
    outs[i] = { pick(model:feed({ { seq = seqs[i], ids = ids } })[1], 0) }
  end
  for turn, kind in ipairs(kinds) do
    for i, out in ipairs(outs) do
      if turn % 5 == 4 or i == turn % 2 + 1 then   -- one of them, at times both
        for _ = 1, turn % 3 == 0 and 2 or 1 do
          local tokens
          if kind == 0 then tokens = { pick(model:feed({ { seq = seqs[i], ids = { out[#out] } } })[1], 0) }
          else tokens = model:speculate(seqs[i], out[#out], kind == "host" and 3 or kind, kind == "host" and pick or nil) end
          table.move(tokens, 1, #tokens, #out + 1, out)
          lu.assertEquals(seqs[i].pos, #prompts[i] + #out - 1)
        end
      end
    end
  end
  for i, out in ipairs(outs) do
    lu.assertTrue(#out > 10)
    lu.assertEquals(out, table.move(want[i], 1, #out, 1, {}))
  end
end

-- Once rounds follow one another the host writes nothing: what a step needs to know lies there. It reads how many drafts were
-- accepted and what follows.
function TestMtp:test_rounds_on_the_device_need_no_writes()
  local model <close> = session.open(tiny .. "/bf16", { max_len = 128, mtp = 2 })
  local seq, sampler = model:sequence(), nb.sampler {}
  local out = { assert(sampler:pick(model:feed({ { seq = seq, ids = ids_of("/prose_eval", 1, 40) } })[1], 0)) }
  local plan, calls = model.plan, {}
  model.plan = setmetatable({}, { __index = function(_, name)
    return function(_, ...)
      if name ~= "run" then calls[#calls + 1] = name .. " " .. tostring((...)) end
      return plan[name](plan, ...)
    end
  end })
  local rejected = 0
  for round = 1, 8 do
    calls = {}
    local tokens, accepted, drafted = model:speculate(seq, out[#out], 2)
    table.move(tokens, 1, #tokens, #out + 1, out)
    rejected = rejected + drafted - accepted
    if round > 1 then lu.assertEquals(calls, { "read accepted", "read followed" }) end
  end
  lu.assertTrue(rejected > 0)
  lu.assertEquals(out, table.move(greedy(tiny .. "/bf16", ids_of("/prose_eval", 1, 40), #out, 0), 1, #out, 1, {}))
  model.plan = plan
end

function TestMtp:test_chunked_prefill_leaves_the_same_draft_cache()
  local ids, states = ids_of("/prose_eval", 9, 50), {}
  for i, chunk in ipairs { 64, 9 } do
    local model <close> = session.open(tiny .. "/bf16", { max_len = 64, chunk = chunk, mtp = 1 })
    local seq = model:sequence()
    model:feed({ { seq = seq, ids = ids } })
    states[i] = assert(model.plan:state("mtp/keys", seq.slot)):raw() .. assert(model.plan:state("mtp/values", seq.slot)):raw()
  end
  lu.assertTrue(states[1] == states[2])
end

-- The pair (hidden of p, token p+1) sits at rotary position p: the cached key is the normed key turned by p (specification §4.2,
-- §3.5.2).
function TestMtp:test_draft_keys_are_turned_by_their_own_position()
  local ids = ids_of("/prose_eval", 20, 30)
  local model <close> = session.open(tiny .. "/bf16", { max_len = 64, mtp = 1, taps = { "mtp/attn_k_norm" } })
  local seq, c, normed = model:sequence(), model.cfg, nil
  model:feed({ { seq = seq, ids = ids } })
  normed = assert(model.plan:tap "mtp/attn_k_norm"):list()
  local keys, half, D = assert(model.plan:state("mtp/keys", seq.slot)):list(), #c.inv_freq, c.head_dim
  local compared = 0
  for pos = 0, #ids - 2 do
    for head = 0, c.kv_heads - 1 do
      local from, at = (pos * c.kv_heads + head) * D, (head * 64 + pos) * D
      for i = 0, half - 1 do
        local angle = pos * c.inv_freq[i + 1]
        local a, b = normed[from + i + 1], normed[from + i + half + 1]
        lu.assertAlmostEquals(keys[at + i + 1], a * math.cos(angle) - b * math.sin(angle), 2e-5)
        lu.assertAlmostEquals(keys[at + i + half + 1], b * math.cos(angle) + a * math.sin(angle), 2e-5)
        compared = compared + 1
      end
      for i = 2 * half, D - 1 do lu.assertEquals(keys[at + i + 1], normed[from + i + 1]) end
    end
  end
  lu.assertEquals(compared, (#ids - 1) * c.kv_heads * half)
end

TestFaults = {}
function TestFaults:test_a_step_beyond_the_plan_is_refused()
  local model <close> = session.open(tiny .. "/bf16", { max_len = 8 })
  local seq = model:sequence()
  local ok, e = pcall(model.feed, model, { { seq = seq, ids = ids_of("/prose_eval", 1, 9) } })
  lu.assertFalse(ok)
  lu.assertStrContains(tostring(e), "position 8")
  lu.assertEquals(e.code, "E_VALUE")
end

function TestFaults:test_an_id_outside_the_vocabulary_is_refused()
  local model <close> = session.open(tiny .. "/bf16", { max_len = 8 })
  local ok, e = pcall(model.feed, model, { { seq = model:sequence(), ids = { 5, 1024 } } })
  lu.assertFalse(ok)
  lu.assertStrContains(tostring(e), "1024")
end

os.exit(lu.LuaUnit.run())
