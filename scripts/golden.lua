-- golden: a checkpoint's reference run against recorded activations: every prompt, tap, state, decode logits, greedy tokens
-- needs: any checkpoint of the family and a file of the golden layout (a group a prompt: input_ids, taps, state/, decode_logits,
-- greedy, mtp_logits)
-- ends with 0 only if every tap and state is within --max-nmse, router sets and greedy tokens are equal
local nb, args, session = require "nibble", require "scripts.lib.args", require "scripts.lib.session"
local qwen = require "scripts.lib.qwen3_5_moe"

local opt = args.parse({
  name = "golden", summary = "Compares the reference run of CKPT with the recorded activations of GOLDEN.",
  positional = { { "ckpt", "checkpoint folder" }, { "golden", "HDF5 file of the golden layout" } },
  options = session.options { { "max-nmse", 1e-9, "largest normalised mean square error of a tap or state", min = 0 },
                              { "all", false, "print every tap; else the worst layer of each kind of tap" } },
}, ...)

local file <close> = assert(nb.h5.open(opt.golden))
local results, order = {}, {}   -- per tap: worst NMSE over prompts

local function note(tap, prompt, nmse, detail)
  local is_good = nmse <= opt.max_nmse                       -- false for NaN
  local r = results[tap]
  if not r then
    r = { tap = tap, nmse = nmse, prompt = prompt, good = true, prompts = 0 }
    results[tap], order[#order + 1] = r, tap
  end
  r.prompts = r.prompts + 1
  if not (nmse <= r.nmse) then r.nmse, r.prompt, r.detail = nmse, prompt, detail end
  r.good = r.good and is_good
end

local function flat(t)
  local rows = t:shape()[1]
  return t:reshape { rows, #t // rows }
end

local function compare(tap, prompt, got, want)
  got, want = flat(got), flat(want)
  local a, b = got:shape(), want:shape()
  if a[1] ~= b[1] or a[2] ~= b[2] then
    args.fail("E_SHAPE", "%s: %s/%s: expected [%d,%d] as the model computes, found [%d,%d]", opt.golden, prompt, tap, a[1],
      a[2], b[1], b[2])
  end
  local diff = assert(nb.compare(got, want))
  note(tap, prompt, diff.finite and diff.nmse or 0 / 0, diff)
end

-- Rows of (expert, weight) pairs sorted by expert, so that the order of a top-k does not matter.
local function by_expert(experts, weights)
  local rows, k, out = experts:shape()[1], experts:shape()[2], nb.tensor("F32", weights:shape())
  for r = 0, rows - 1 do
    local pairs_of_row = {}
    for j = 0, k - 1 do pairs_of_row[j + 1] = { experts:get(r * k + j), weights:get(r * k + j) } end
    table.sort(pairs_of_row, function(x, y) return x[1] < y[1] end)
    for j, p in ipairs(pairs_of_row) do out:set(r * k + j - 1, p[2]) end
  end
  return out
end

local function compare_router(prompt, taps, layer, want_experts)
  local name = layer .. "/router_experts"
  local sets = assert(nb.compare_sets(taps[name], want_experts))
  note(name, prompt, 1.0 - sets.equal_rows / sets.rows, sets)   -- the share of rows whose set differs
  local weights = layer .. "/router_weights"
  if file:exists(prompt .. "/" .. weights) and sets.equal_rows == sets.rows then
    compare(weights, prompt, by_expert(taps[name], taps[weights]),
      by_expert(want_experts, assert(file:read(prompt .. "/" .. weights))))
  end
end

local function datasets(group, prefix, visit)
  for _, entry in ipairs(assert(file:list(group))) do
    local name = prefix .. entry.name
    if entry.kind == "group" then datasets(group .. "/" .. entry.name, name .. "/", visit) else visit(name) end
  end
end

-- The first `len` positions of a cache [kv_heads, max_len, D] as [kv_heads, len, D].
local function cache_part(cache, len)
  local s, heads = cache:shape(), {}
  local rows = cache:reshape { s[1] * s[2], s[3] }
  for h = 0, s[1] - 1 do heads[h + 1] = rows:rows(h * s[2], len) end
  return nb.concat(heads)
end

-- The newest w-1 pre-conv columns of a window [columns, channels] as [channels, w-1]; the recording holds w columns, the first is
-- not defined.
local function compare_window(tap, prompt, window, want)
  local columns, channels = window:shape()[1], window:shape()[2]
  local width = want:shape()[2]
  local a, b = nb.tensor("F32", { channels, width - 1 }), nb.tensor("F32", { channels, width - 1 })
  for c = 0, channels - 1 do
    for j = 1, width - 1 do
      a:set(c * (width - 1) + j - 1, window:get((columns - width + j) * channels + c))
      b:set(c * (width - 1) + j - 1, want:get(c * width + j))
    end
  end
  compare(tap, prompt, a, b)
end

local function compare_states(model, seq, prompt, len)
  datasets(prompt .. "/state", "", function(name)
    local want, tap = assert(file:read(prompt .. "/state/" .. name)), "state/" .. name
    local got = assert(model.plan:state(name, seq.slot))
    local kind = name:match "[^/]+$"
    if kind == "keys" or kind == "values" then
      compare(tap, prompt, cache_part(got, len), want:reshape { want:shape()[1] * len, #want // (want:shape()[1] * len) })
    elseif kind == "conv_states" then compare_window(tap, prompt, got, want)
    else compare(tap, prompt, got:rows(0, 1):reshape { 1, #want }, want:reshape { 1, #want }) end
  end)
end

local function argmax(logits, row)
  return assert(nb.sampler({}):pick(logits, row))
end

local tokens_equal, tokens_n = 0, 0
local function compare_decode(model, seq, prompt, last)
  local greedy = assert(file:read(prompt .. "/greedy")):list()
  local want = file:exists(prompt .. "/decode_logits") and assert(file:read(prompt .. "/decode_logits"))
  local got = {}
  for i, token in ipairs(greedy) do
    tokens_n = tokens_n + 1
    if argmax(last) == token then tokens_equal = tokens_equal + 1 end
    if i < #greedy then
      last = model:feed({ { seq = seq, ids = { token } } })[1]
      got[i] = last
    end
  end
  if want then compare("decode_logits", prompt, nb.concat(got), want) end
end

local function compare_mtp(model, seq, prompt, ids, final_norm)
  local parts, rows = {}, model.desc.rows
  for first = 0, #ids - 2, rows do
    local n = math.min(rows, #ids - 1 - first)
    local outs = {}
    for r = 0, n - 1 do outs[r + 1] = r end
    model:mtp_rows(seq, first, final_norm:rows(first, n), table.move(ids, first + 2, first + n + 1, 1, {}), outs)
    parts[#parts + 1] = assert(model.plan:read("mtp_logits", 0, n))
  end
  compare("mtp_logits", prompt, nb.concat(parts), assert(file:read(prompt .. "/mtp_logits")))
end

local function run_prompt(model, seq, prompt)
  local ids = assert(file:read(prompt .. "/input_ids")):list()
  model:check_ids(ids, ("%s: %s/input_ids"):format(opt.golden, prompt))
  local parts, names = {}, {}
  for _, t in ipairs(model.plan:taps()) do
    if not t.name:match "^mtp" then names[#names + 1], parts[t.name] = t.name, {} end
  end
  model:reset(seq)
  local last = model:feed({ { seq = seq, ids = ids } }, { outs = "all", on_step = function()
    for _, name in ipairs(names) do table.insert(parts[name], assert(model.plan:tap(name))) end
  end })[1]
  local taps = {}
  for _, name in ipairs(names) do taps[name] = nb.concat(parts[name]) end
  datasets(prompt, "", function(name)
    if name:match "^state/" or name == "input_ids" or name == "greedy" or name == "decode_logits" or name == "mtp_logits"
      or name:match "router_weights$" then return end
    if not taps[name] then args.fail("E_MISSING", "%s: %s/%s: the model has no tap of that name", opt.golden, prompt, name) end
    local want = assert(file:read(prompt .. "/" .. name))
    if name:match "router_experts$" then compare_router(prompt, taps, name:match "^(.*)/", want)
    else compare(name, prompt, taps[name], want) end
  end)
  if file:exists(prompt .. "/state") then compare_states(model, seq, prompt, #ids) end
  if model.has_mtp and file:exists(prompt .. "/mtp_logits") then compare_mtp(model, seq, prompt, ids, taps.final_norm) end
  if file:exists(prompt .. "/greedy") then compare_decode(model, seq, prompt, last) end
end

local prompts, longest = {}, 0
for _, entry in ipairs(assert(file:list "/")) do
  if entry.kind == "group" and file:exists(entry.name .. "/input_ids") then
    prompts[#prompts + 1] = entry.name
    local greedy = file:exists(entry.name .. "/greedy") and #assert(file:read(entry.name .. "/greedy")) or 0
    longest = math.max(longest, #assert(file:read(entry.name .. "/input_ids")) + greedy)
  end
end
if #prompts == 0 then args.fail("E_MISSING", "%s: expected a group with input_ids for each prompt, found none", opt.golden) end

do
  local probe <close> = assert(nb.checkpoint(opt.ckpt))
  opt.with_mtp = qwen.has_mtp(probe)
end
opt.max_len, opt.taps = longest, { "*" }
local model <close> = session.open(opt.ckpt, opt)
local seq = model:sequence()
for _, prompt in ipairs(prompts) do run_prompt(model, seq, prompt) end

local worst, failed = nil, 0
for _, tap in ipairs(order) do
  local r = results[tap]
  if not worst or not (r.nmse <= worst.nmse) then worst = r end
  if not r.good then failed = failed + 1 end
end
local is_good = failed == 0 and tokens_equal == tokens_n
if not opt.json then
  local worst_of, kinds = {}, {}
  for _, tap in ipairs(order) do
    local kind = opt.all and tap or tap:gsub("layer%d+/", "layer*/")
    local w = worst_of[kind]
    if not w then kinds[#kinds + 1] = kind end
    if not w or not (results[tap].nmse <= w.nmse) then worst_of[kind] = results[tap] end
  end
  for _, kind in ipairs(kinds) do
    local r = worst_of[kind]
    print(("%-34s nmse %9.2e  worst in %-12s %2d prompts  %s"):format(r.tap, r.nmse, r.prompt, r.prompts,
      r.good and "ok" or "OFF"))
  end
  print(("\n%d prompts, %d taps and states, %d beyond nmse %.1e; greedy tokens %d of %d equal"):format(#prompts, #order, failed,
    opt.max_nmse, tokens_equal, tokens_n))
  print(("worst: %s, nmse %.3e in %s"):format(worst.tap, worst.nmse, worst.prompt))
else
  local taps = {}
  for _, tap in ipairs(order) do
    taps[tap] = { nmse = results[tap].nmse, prompt = results[tap].prompt, ok = results[tap].good }
  end
  args.print_json { ok = is_good, prompts = nb.json.array(prompts), taps = taps,
                    worst = { tap = worst.tap, nmse = worst.nmse, prompt = worst.prompt },
                    failed = failed, greedy_equal = tokens_equal, greedy = tokens_n, max_nmse = opt.max_nmse,
                    mtp = model.has_mtp or false }
end
return is_good and 0 or 1
