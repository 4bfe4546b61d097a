-- generate: text from a checkpoint, for text, chat turns or ids; greedy or sampled; several prompts at once; MTP drafts
-- needs: a checkpoint (a tokenizer unless --ids); prompts are texts, or with --ids lists "1,2,3;4,5"
-- the output's ids are the generated ones alone; text and chat stop at an end token, --ids runs to --n unless --stop
local nb, args, session = require "nibble", require "scripts.lib.args", require "scripts.lib.session"

local opt = args.parse({
  name = "generate", summary = "Continues prompts with the model of CKPT.",
  positional = { { "ckpt", "checkpoint folder" }, { "prompts", "texts to continue", optional = true, many = true } },
  options = session.options {
    { "ids", "string?", "token ids A,B,… of a prompt; ';' separates prompts" }, { "n", 32, "tokens to generate", min = 1 },
    { "chat", false, "each prompt is a user's turn" }, { "system", "string?", "system message of --chat" },
    { "no-think", false, "chat: close the thinking block at once" }, { "stop", false, "--ids too stops at an end token" },
    { "temperature", 0.0, "0 is greedy", min = 0 },
    { "top-k", 0, "sample among the K most likely, 0 is all", min = 0, max = 0x7FFFFFFF },
    { "top-p", 1.0, "sample among the most likely with this much probability", min = 1e-9, max = 1 },
    { "seed", 1, "of the sampler" },
    { "mtp", 0, "tokens drafted by the MTP head per round", min = 0, max = 7 },
  },
}, ...)

if (opt.ids == nil) == (opt.prompts == nil) then args.usage "generate: expected prompts as texts or as --ids, one of the two" end
if opt.chat and opt.ids then args.usage "--chat: expected prompts as texts, found --ids" end
for _, name in ipairs { "system", "no_think" } do
  if opt[name] and not opt.chat then args.usage(("--%s is part of --chat, which was not given"):format((name:gsub("_", "-")))) end
end

local tok, tok_message, tok_code = nb.tokenizer(opt.ckpt)
if not tok and not opt.ids then assert(tok, tok_message, tok_code) end

local prompts = opt.ids and args.id_lists("ids", opt.ids) or {}
for i, text in ipairs(opt.prompts or {}) do
  if opt.chat then
    local chat = require "scripts.lib.chat"
    local messages = { opt.system and { role = "system", content = opt.system } or nil }
    messages[#messages + 1] = { role = "user", content = text }
    text = assert(chat.render(messages, { generation = true, thinking = not opt.no_think, style = assert(chat.style_of(opt.ckpt)) }))
  end
  local ids, message, code = tok:encode(text)
  if not ids then args.fail(code, "prompt %d: %s", i, message) end
  prompts[i] = ids
end

local longest = 0
for i, ids in ipairs(prompts) do
  if #ids == 0 then args.fail("E_VALUE", "prompt %d: expected at least one token, found none", i) end
  longest = math.max(longest, #ids)
end
opt.slots, opt.max_len = #prompts, longest + opt.n + opt.mtp
local model <close> = session.open(opt.ckpt, opt)
for i, ids in ipairs(prompts) do model:check_ids(ids, ("prompt %d"):format(i)) end

-- Ids that end a turn: config, generation_config and the tokenizer's <|im_end|>; only text, chat and --stop look at them.
local function end_tokens()
  local set = {}
  if opt.ids and not opt.stop then return set end
  local function add(v)
    for _, id in ipairs(type(v) == "table" and v or { v }) do if math.type(id) == "integer" then set[id] = true end end
  end
  add(model.cfg.eos)
  local file = io.open(opt.ckpt .. "/generation_config.json")
  if file then
    local config = nb.json.decode(file:read "a")
    file:close()
    add(type(config) == "table" and config.eos_token_id or nil)
  end
  add(tok and tok:id "<|im_end|>" or nil)
  return set
end

local ends = end_tokens()
local sampler = nb.sampler { temperature = opt.temperature, top_k = opt.top_k, top_p = opt.top_p, seed = opt.seed }
local function pick(logits, row) return assert(sampler:pick(logits, row)) end
local live_stream = tok and not opt.json and #prompts == 1 and tok:stream()

-- Appends a token to an output; returns false when the output is complete.
local function take(out, token)
  out.ids[#out.ids + 1] = token
  if live_stream then args.write(live_stream:put(token) or "\u{FFFD}") end
  out.is_done = ends[token] or #out.ids >= opt.n
  return not out.is_done
end

local outputs, items = {}, {}
for i, ids in ipairs(prompts) do
  outputs[i] = { ids = {}, seq = model:sequence(), drafted = 0, accepted = 0 }
  items[i] = { seq = outputs[i].seq, ids = ids }
end
local last = model:feed(items)
for i, out in ipairs(outputs) do take(out, pick(last[i], 0)) end

if opt.mtp > 0 then
  for _, out in ipairs(outputs) do
    while not out.is_done do
      local tokens, accepted, drafted = model:speculate(out.seq, out.ids[#out.ids], opt.mtp, opt.temperature > 0 and pick or nil)
      out.accepted, out.drafted = out.accepted + accepted, out.drafted + drafted
      for _, token in ipairs(tokens) do if not take(out, token) then break end end
    end
  end
else
  while true do
    local live, rows = {}, {}
    for _, out in ipairs(outputs) do
      if not out.is_done then
        live[#live + 1], rows[#rows + 1] = out, { seq = out.seq, ids = { out.ids[#out.ids] } }
      end
    end
    if #live == 0 then break end
    local logits = model:feed(rows)
    for i, out in ipairs(live) do take(out, pick(logits[i], 0)) end
  end
end

local results, drafted, accepted = {}, 0, 0
for i, out in ipairs(outputs) do
  results[i] = { prompt_ids = nb.json.array(prompts[i]), ids = nb.json.array(out.ids), text = tok and tok:decode(out.ids) or nil }
  drafted, accepted = drafted + out.drafted, accepted + out.accepted
end
local mtp = opt.mtp > 0 and { drafts = opt.mtp, drafted = drafted, accepted = accepted,
                             rate = drafted > 0 and accepted / drafted or 0.0 } or nil
if opt.json then
  args.print_json { ids = results[1].ids, text = results[1].text, prompts = nb.json.array(results), mtp = mtp,
    numerics = model.numerics }
  return 0
end
if live_stream then
  print(live_stream:flush())
else
  for i, r in ipairs(results) do print(("[%d] %s"):format(i, r.text or table.concat(r.ids, ","))) end
end
if mtp then print(("mtp: %d of %d drafts accepted (%.1f %%)"):format(accepted, drafted, 100 * mtp.rate)) end
return 0
