-- session: a checkpoint's model opened on a plan, its sequences, and the loops that feed them: ragged chunked prefill, batches,
-- decode, MTP drafts.
--   local model <close> = session.open(dir, { rows=, slots=, max_len=, mtp=K, impl="ref:stored", round="f32", kv="stored",
--                                              taps={globs}, check=true })
--   local seq = model:sequence()
--   model:feed({ { seq = seq, ids = {…} }, … }, { outs = "last" | "all" | "none", on_step = function(step) … end })
-- One sequence is one slot of every state. A sequence's pos counts the tokens it has taken in. With drafts the plan counts by slot, on
-- the device, what kernels/draft_accept/draft_accept.lua says, among it where a sequence stands and which rows it takes back, and
-- kernels read it there. So rounds of drafts follow one another without the host: it writes what it knows before (which rows a step
-- has, how many are drafts) and reads what came of a round, to print it and to stop. A sequence that is in such rounds is `rolling`:
-- ids holds its next step's, the token that was chosen and the drafts behind it.
local nb   = require "nibble"
local args = require "scripts.lib.args"
local qwen = require "scripts.lib.qwen3_5_moe"
local impl = require "scripts.lib.impl"
local session = {}

-- Options that every command which runs the model shares; append them to its own with session.options { … }.
function session.options(own)
  local all = { table.unpack(own) }
  for _, o in ipairs {
    { "device", "host", "where ops run: host (references), auto, cuda:N, emu:ARCH" },
    { "impl", "string?", "[EXEC:]NUM,GLOB=[EXEC:]NUM,…: EXEC kernel or ref; NUM stored, w4a4, w4a16, w8a16, bf16; GLOB fits ops" },
    { "round", "string?", "storage of activations between ops: f32 (default on the host), bf16 (on a device)" },
    { "kv", "stored", "KV cache: stored, f32, bf16, fp8" },
    { "chunk", 256, "most rows of one step", min = 1, max = 65536 },
  } do all[#all + 1] = o end
  return all
end

local Model = {}
Model.__index = Model

-- KV storage of "stored": fp8 if the file asks for it, else as activations are stored.
local function kv_storage(ckpt, kv, round)
  if kv ~= "stored" then return kv end
  return ckpt:kv_is_fp8() and "fp8" or round
end

-- Rows that steps are made for, ascending. A GPU has launches for one row too, without blocks that only leave; an emulator, where a
-- compilation counts for more than a block, has not.
local function capacities(rows, is_gpu)
  local list = {}
  for _, n in ipairs { is_gpu and 1 or 8, 8, rows } do
    if n <= rows and n ~= list[#list] then list[#list + 1] = n end
  end
  return list
end

function session.open(dir, opt)
  local is_host = (opt.device or "host") == "host"
  local choice = impl.parse(opt.impl, is_host)
  local round = args.one_of("round", opt.round or (is_host and "f32" or "bf16"), { "f32", "bf16" })
  if not is_host and round ~= "bf16" then args.usage "--round f32: a device stores activations in bf16" end
  local kv = args.one_of("kv", opt.kv or "stored", { "stored", "f32", "bf16", "fp8" })
  local ckpt = assert(nb.checkpoint(dir))
  local cfg = qwen.config(ckpt)
  local drafts = opt.mtp or 0
  if drafts > 0 or opt.with_mtp then
    if not qwen.has_mtp(ckpt) then
      args.fail("E_MISSING", "%s: --mtp needs the draft head: expected tensors mtp.*, found none (the config announces %s)", dir,
        tostring(cfg.mtp_layers))
    end
  end
  local rows = math.max(opt.chunk or opt.rows or 256, drafts + 1)
  local slots = opt.slots or 1
  local max_len = opt.max_len or 1024
  if max_len > cfg.max_position then
    args.fail("E_VALUE", "%d positions wanted, the model has %d (max_position_embeddings)", max_len, cfg.max_position)
  end
  local desc = { rows = rows, seqs = slots, outs = rows, slots = slots, versions = drafts + 1, max_len = max_len, round = round,
                 kv = kv_storage(ckpt, kv, round), capacities = opt.capacities or capacities(rows, false) }
  if not is_host then
    if desc.kv == "f32" then args.usage "--kv f32: a device keeps its cache in bf16 or fp8" end
    desc.device = assert(nb.device(opt.device))
    desc.capacities = opt.capacities or capacities(rows, not desc.device:name():match "^emu")
    if opt.checked then desc.device:set_checked(true) end
  end
  local plan = assert(nb.plan(desc))
  local ops = qwen.build(plan, ckpt, cfg, { impl = choice, versions = drafts + 1, mtp = drafts > 0 or opt.with_mtp,
    fuse = opt.fuse or opt.fuse == nil and not is_host })
  choice:check(ops)
  local report
  if not is_host then
    local launches = require "scripts.lib.launches"
    report = launches.bind(plan, ops, { device = desc.device, jit = launches.jit(), capacities = desc.capacities,
                                        exec = function(op) return choice:exec(op.names) end })
  end
  local check
  if opt.check then
    if is_host then args.usage "--check needs --device: it holds a device's ops against their references" end
    check = require("scripts.lib.oplocal").new(plan, ops, { variants = report.variants, capacities = desc.capacities,
      kv = desc.kv })
  end
  if opt.taps then assert(plan:select(opt.taps)) end
  local free = {}
  local announced = {}
  for s = slots - 1, 0, -1 do free[#free + 1], announced[slots - s] = s, 0 end
  return setmetatable({ dir = dir, ckpt = ckpt, cfg = cfg, plan = plan, desc = desc, drafts = drafts,
                        announced = announced, has_mtp = drafts > 0 or opt.with_mtp, free = free, numerics = choice.default.num,
                        exec = choice.default.exec, impl = choice, launches = report, ops = ops, check = check,
                        perturb = opt.perturb, seed = opt.seed or 1 }, Model)
end

Model.__close = function(self) self.plan:close() end

-- Every id must be in the vocabulary; what names the list of ids in the message.
function Model:check_ids(ids, what)
  for i, id in ipairs(ids) do
    if math.type(id) ~= "integer" or id < 0 or id >= self.cfg.vocab then
      args.fail("E_VALUE", "%s: position %d: expected a token id from 0 to %d, found %s", what, i - 1, self.cfg.vocab - 1, id)
    end
  end
end

function Model:sequence()
  local slot = table.remove(self.free)
  if not slot then args.fail("E_VALUE", "all %d sequences of the plan are in use", self.desc.slots) end
  return { slot = slot, pos = 0 }
end

-- Gives the slot back; the sequence must not be used again.
function Model:release(seq)
  self.free[#self.free + 1] = seq.slot
  seq.slot = nil
end

-- Starts the sequence over in its slot.
function Model:reset(seq)
  seq.pos, seq.held = 0, nil
  if self.rolling == seq then self.rolling = nil end
end

-- Runs a program; with opt.check every launched op is judged on the way (model.check.records, scripts/lib/oplocal.lua).
function Model:run(program, step)
  if self.check then return self.check:run(program, step) end
  assert(self.plan:run(program, step))
end

-- How many of each piece's newest rows draft_accept verifies: none, unless it says so.
function Model:announce(pieces)
  local changed = false
  for _, p in ipairs(pieces) do
    local at, n = p.seq.slot + 1, p.drafts or 0
    changed, self.announced[at] = changed or self.announced[at] ~= n, n
  end
  if changed then assert(self.plan:write("drafts", self.announced)) end
end

-- One step of program "main": pieces { {seq=, ids=, first=, n=, drafts=}, … } take n ids each from ids[first] on, the last `drafts`
-- of which are verified (0: none; the rows of all of them wanted); outs are rows counted from 0.
function Model:step(pieces, outs)
  local ids, seqs = {}, {}
  for _, p in ipairs(pieces) do
    seqs[#seqs + 1] = { slot = p.seq.slot, pos = p.seq.pos, n = p.n }
    table.move(p.ids, p.first, p.first + p.n - 1, #ids + 1, ids)
  end
  local step = { seqs = seqs, outs = outs }
  if self.drafts > 0 then self:announce(pieces) end
  self.rolling = nil
  assert(self.plan:write("ids", ids))
  self:run("embed", step)
  if self.perturb then
    local x = assert(self.plan:read("stream_a", 0, #ids))
    self.seed = self.seed + 1
    nb.jitter(x, self.perturb, self.seed)
    assert(self.plan:write("stream_a", x))
  end
  self:run("main", step)
  for _, p in ipairs(pieces) do
    p.pos = p.seq.pos
    p.seq.pos = p.seq.pos + p.n
  end
  return ids
end

-- Sets a sequence's count of those that the plan keeps by slot.
function Model:set_count(name, seq, value)
  local counts = assert(self.plan:read(name, 0, self.desc.slots)):list()
  counts[seq.slot + 1] = value
  assert(self.plan:write(name, counts))
end

-- Takes the newest n tokens of a sequence back (n < versions and all from its last step, which verified none itself).
function Model:reject(seq, n)
  seq.pos = seq.pos - n
  self:set_count("rejected", seq, n)
  self:set_count("taken", seq, seq.pos)
end

-- As many ids of each item as fit a step, in order; nil when nothing is left.
local function next_pieces(items, at, rows, seqs)
  local pieces, room = {}, rows
  for i, item in ipairs(items) do
    local left = #item.ids - at[i]
    if left > 0 and room > 0 and #pieces < seqs then
      local n = math.min(left, room)
      pieces[#pieces + 1] = { item = i, seq = item.seq, ids = item.ids, first = at[i] + 1, n = n, is_last = n == left }
      at[i], room = at[i] + n, room - n
    end
  end
  return #pieces > 0 and pieces or nil
end

-- Feeds every item's ids, in chunks. outs: which rows get logits. on_step(step) sees each step while its taps and logits are in
-- the plan: step.pieces[i] = {item=, seq=, pos= of its first row, first= index into ids, n=, row= its first row, is_last=},
-- step.outs = rows with logits.
-- Returns the logits of each item's last row, [1,V] (nil with outs = "none").
function Model:feed(items, opt)
  opt = opt or {}
  local outs_of, at, last = opt.outs or "last", {}, {}
  for i in ipairs(items) do at[i] = 0 end
  for pieces in function() return next_pieces(items, at, self.desc.rows, self.desc.seqs) end do
    local outs, row = {}, 0
    for _, p in ipairs(pieces) do
      p.row = row
      row = row + p.n
      if outs_of == "all" then for r = p.row, row - 1 do outs[#outs + 1] = r end
      elseif outs_of == "last" and p.is_last then outs[#outs + 1] = row - 1 end
      p.out = #outs - 1
    end
    self:step(pieces, outs)
    for _, p in ipairs(pieces) do
      if p.is_last and outs_of ~= "none" then last[p.item] = assert(self.plan:read("logits", p.out, 1)) end
    end
    if opt.on_step then opt.on_step { pieces = pieces, outs = outs, rows = row } end
    if self.has_mtp then self:mtp_follow(pieces) end
  end
  return last
end

-- Runs the draft head over hidden rows [n,H] of positions pos… with the tokens that follow each of them. Leaves mtp_logits of the
-- rows in outs.
function Model:mtp_rows(seq, pos, hidden, next_ids, outs)
  assert(self.plan:write("final_norm", hidden))
  assert(self.plan:write("mtp_ids", next_ids))
  if self.drafts > 0 then self:set_count("mtp_taken", seq, pos) end
  self:run("mtp", { seqs = { { slot = seq.slot, pos = pos, n = #next_ids, back = 0 } }, outs = outs })
end

-- After a step of the main model: fills the draft head's cache as far as the following tokens are known; the newest row is held.
function Model:mtp_follow(pieces)
  local newest = pieces[#pieces]
  local hidden = assert(self.plan:read("final_norm", 0, newest.row + newest.n))   -- the head's rows take their place
  for _, p in ipairs(pieces) do
    if p.seq.held then
      local next_ids = p.seq.held.next_ids or {}
      next_ids[#next_ids + 1] = p.ids[p.first]
      self:mtp_rows(p.seq, p.seq.held.pos, p.seq.held.hidden, next_ids, {})
      p.seq.held = nil
    end
    local known = p.is_last and p.n - 1 or p.n
    if known > 0 then
      local next_ids = table.move(p.ids, p.first + 1, p.first + known, 1, {})
      self:mtp_rows(p.seq, p.pos, hidden:rows(p.row, known), next_ids, {})
    end
    if p.is_last then
      p.seq.held = { pos = p.pos + p.n - 1, hidden = hidden:rows(p.row + p.n - 1, 1) }
    end
  end
end

-- Drafts up to k tokens behind `token`, which follows the sequence's newest position; greedy.
function Model:draft(seq, token, k)
  local drafts, hidden, pos = {}, seq.held.hidden, seq.held.pos
  local next_ids, last = seq.held.next_ids or {}, 0
  next_ids[#next_ids + 1] = token
  for i = 1, k do
    last = #next_ids - 1
    self:mtp_rows(seq, pos, hidden, next_ids, { last })
    drafts[i] = assert(self.plan:read("mtp_token", 0, 1)):get(0) // 1 | 0
    hidden, pos = assert(self.plan:read("mtp_norm", last, 1)), pos + #next_ids
    next_ids = { drafts[i] }
  end
  seq.held = nil
  return drafts
end

-- One round by host: token and drafts are written, logits read, each row's token is pick's; up to the first that is not the draft.
local function round_by_host(self, seq, token, drafts, pick)
  local ids, outs, followed, accepted = { token, table.unpack(drafts) }, {}, {}, 0
  for r = 0, #drafts do outs[r + 1] = r end
  local pos = seq.pos
  self:step({ { seq = seq, ids = ids, first = 1, n = #ids } }, outs)
  local logits = assert(self.plan:read("logits", 0, #ids))
  for r = 0, #drafts do
    followed[r + 1] = pick(logits, r)
    if followed[r + 1] ~= drafts[r + 1] then break end
    accepted = accepted + 1
  end
  -- The draft head's cache gets the true hiddens of the accepted rows in the next round.
  seq.held = { pos = pos, hidden = assert(self.plan:read("final_norm", 0, accepted + 1)),
    next_ids = table.move(ids, 2, accepted + 1, 1, {}) }
  self:reject(seq, #drafts - accepted)
  return followed, accepted
end

-- One round on the device: the sequence's rolling ids are verified, and the next drafts made, by as many runs of the draft head as
-- there are drafts: over all rows of the step, of which the last accepted one counts, then over one row at a time.
local function round_on_device(self, seq)
  local k, outs = self.drafts, {}
  for r = 0, k do outs[r + 1] = r end
  local function step(n, pos) return { seqs = { { slot = seq.slot, pos = pos, n = n } }, outs = n > 1 and outs or { 0 } } end
  local all = step(k + 1, seq.pos)
  self:announce { { seq = seq, drafts = k } }
  self:run("embed", all)
  self:run("main", all)
  for draft = 1, k do
    local rows = draft == 1 and all or step(1, seq.pos + draft)   -- the position is the device's affair
    self:run("mtp", rows)
    self:run("mtp_next", rows)
  end
  local accepted = assert(self.plan:read("accepted", seq.slot, 1)):get(0) // 1 | 0
  local followed = assert(self.plan:read("followed", seq.slot, 1)):list()
  for i, id in ipairs(followed) do followed[i] = id // 1 | 0 end
  table.move(followed, #followed + 1, #followed + k + 1, accepted + 2)   -- nothing behind the model's own choice
  self:check_ids(followed, "the model's choice")
  seq.pos = seq.pos + accepted + 1
  return followed, accepted
end

-- Drafts behind token, newest first made by the device's last round where the sequence is rolling; none where the head has no
-- hidden row to start from.
local function drafts_for(self, seq, token, k)
  if self.rolling == seq then
    local ids = assert(self.plan:read("ids", 0, k + 1)):list()
    for i, id in ipairs(ids) do ids[i] = id // 1 | 0 end
    return table.move(ids, 2, k + 1, 1, {})
  end
  return k > 0 and seq.held and self:draft(seq, token, k) or {}
end

-- One round of speculative decoding: `token` is accepted but not yet fed. Returns the tokens that follow it: accepted drafts,
-- then one that the main model chose itself; how many were accepted, how many drafted. Greedy, and then rounds of all the drafts that
-- the plan is made for stay on the device as long as no other step comes between; or by pick(logits, row), which chooses a token: a
-- draft is accepted when the pick equals it. Either way the result is exactly what decoding one by one with the same choices gives.
function Model:speculate(seq, token, k, pick)
  local room = self.desc.max_len - seq.pos
  assert(self.rolling ~= seq or token == self.rolling_token, "a round goes on behind the last token of the one before")
  -- the head's last run goes up to so many positions beyond the step's first
  local is_rolling = not pick and k == self.drafts and 2 * k + 1 <= room
  local drafts = self.rolling == seq and is_rolling and {} or drafts_for(self, seq, token, math.min(k, room - 1))
  if is_rolling and (self.rolling == seq or #drafts == k) then
    if self.rolling ~= seq then assert(self.plan:write("ids", { token, table.unpack(drafts) })) end
    self.rolling, seq.held = seq, nil
    local followed, accepted = round_on_device(self, seq)
    self.rolling_token = followed[#followed]
    return followed, accepted, k
  end
  local greedy = nb.sampler {}
  local followed, accepted = round_by_host(self, seq, token, drafts, pick or function(logits, row)
    return assert(greedy:pick(logits, row))
  end)
  return followed, accepted, #drafts
end

return session
