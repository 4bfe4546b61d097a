-- eval: perplexity of a checkpoint on recorded token windows, and divergence from a base run
-- needs: a checkpoint and an HDF5 file of token ids; a window of W tokens gives W-1 inputs and W-1 targets, no overlap, nothing
-- carried over
-- with --errors also what weights and activations cost: references with the dequantized weights and as stored, f32 between ops and
-- in the cache, and with --against one of the BF16 base, over the same windows
-- writes: with --save FILE the logits of every window (f32) for a later --base FILE
local nb, args, session = require "nibble", require "scripts.lib.args", require "scripts.lib.session"
local progress = require "scripts.lib.progress"

local opt = args.parse({
  name = "eval", summary = "Mean negative log-likelihood and perplexity over windows of tokens.",
  positional = { { "ckpt", "checkpoint folder" } },
  options = session.options {
    { "tokens", "string?", "FILE.h5:/dataset of token ids" }, { "windows", "integer?", "only the first N windows", min = 1 },
    { "window", 257, "tokens of a window", min = 2 }, { "save", "string?", "write the logits of every window to this HDF5 file" },
    { "base", "string?", "logits written by --save: adds KL(base || this) and top-k agreement" },
    { "top-k", 5, "k of the agreement", min = 1 },
    { "errors", false, "and how much of it weights (with --against) and activations make" },
    { "against", "string?", "--errors: checkpoint folder of the BF16 base" },
    { "perturb", "number?", "multiply embeddings by 1 + X · normal noise: shows how chaotic the recipe is" },
    { "seed", 1, "of the noise" },
  },
}, ...)

if opt.against and not opt.errors then args.usage "--against is part of --errors, which was not given" end
if not opt.tokens then args.usage "eval: expected --tokens FILE.h5:/dataset" end
local path, name = opt.tokens:match "^(.*):(/.*)$"
if not path then args.usage(("--tokens: expected FILE.h5:/dataset, found \"%s\""):format(opt.tokens)) end

local ids
do
  local file <close> = assert(nb.h5.open(path))
  local data = assert(file:read(name))
  if not data:dtype():match "^[IU]%d+$" then
    args.fail("E_SHAPE", "%s: expected whole numbers, the ids of tokens, found %s", opt.tokens, data:dtype():lower())
  end
  ids = data:list()
end
local windows = #ids // opt.window
if windows == 0 then
  args.fail("E_VALUE", "%s:%s: expected at least one window of %d tokens, found %d tokens", path, name, opt.window, #ids)
end
if opt.windows then
  if opt.windows > windows then
    args.fail("E_VALUE", "--windows: expected at most %d (%s has %d tokens), found %d", windows, opt.tokens, #ids, opt.windows)
  end
  windows = opt.windows
end

opt.max_len = opt.window
local model <close> = session.open(opt.ckpt, opt)
model:check_ids(table.move(ids, 1, windows * opt.window, 1, {}), opt.tokens)
if opt.top_k > model.cfg.vocab then
  args.fail("E_VALUE", "--top-k: expected 1 to %d, the vocabulary, found %d", model.cfg.vocab, opt.top_k)
end
local seq = model:sequence()
local base <close> = opt.base and assert(nb.h5.open(opt.base)) or nil
local save <close> = opt.save and assert(nb.h5.create(opt.save)) or nil

local function window_logits(side, inputs)
  local parts = {}
  side.model:reset(side.seq)
  side.model:feed({ { seq = side.seq, ids = inputs } }, { outs = "all", on_step = function(step)
    parts[#parts + 1] = assert(side.model.plan:read("logits", 0, #step.outs))
  end })
  return nb.concat(parts)
end

-- The references that the error is told apart by, in order; each with its NLL and its divergence from the one in front of it.
local sides = {}
local function add_side(name, path, numerics)
  local own = session.open(path, { impl = "ref:" .. numerics, kv = "f32", chunk = opt.chunk, max_len = opt.max_len })
  if own.cfg.vocab ~= model.cfg.vocab then
    args.fail("E_SHAPE", "--against %s: expected a model with vocab = %d as %s has, found %d", path, model.cfg.vocab, opt.ckpt,
      own.cfg.vocab)
  end
  sides[#sides + 1] = { name = name, model = own, seq = own:sequence(), nll = 0.0, kl = 0.0 }
end
if opt.against then add_side("base", opt.against, "w4a16") end
if opt.errors then
  add_side("weights", opt.ckpt, "w4a16")
  add_side("activations", opt.ckpt, "stored")
end
local this = { name = "run", model = model, seq = seq, nll = 0.0, kl = 0.0 }

local function measure_sides(inputs, targets, logits)
  local before
  for i = 1, #sides + 1 do
    local side = sides[i] or this
    local mine = sides[i] and window_logits(side, inputs) or logits
    side.nll = side.nll + nb.summary(assert(nb.nll(mine, targets))).mean
    if before then side.kl = side.kl + nb.summary(assert(nb.compare_logits(mine, before, 1)).kl).mean end
    before = mine
  end
end

local function base_logits(w, logits)
  local window = ("/window%05d"):format(w)
  local t = assert(base:read(window))
  local got = ("%s[%s]"):format(t:dtype():lower(), table.concat(t:shape(), ","))
  local want = ("f32[%s]"):format(table.concat(logits:shape(), ","))
  if got ~= want then
    args.fail("E_SHAPE", "%s:%s: expected %s, the logits of this model and --window, found %s", opt.base, window, want, got)
  end
  return t
end

local nll, kl, top1, topk, line = {}, {}, 0, 0, progress.new("eval", windows * (opt.window - 1), "tokens")
for w = 0, windows - 1 do
  local inputs, targets = {}, {}
  table.move(ids, w * opt.window + 1, (w + 1) * opt.window - 1, 1, inputs)
  table.move(ids, w * opt.window + 2, (w + 1) * opt.window, 1, targets)
  local logits = window_logits(this, inputs)
  nll[#nll + 1] = assert(nb.nll(logits, targets))
  if opt.errors then measure_sides(inputs, targets, logits) end
  if save then assert(save:write(("/window%05d"):format(w), logits)) end
  if base then
    local diff = assert(nb.compare_logits(logits, base_logits(w, logits), opt.top_k))
    kl[#kl + 1], top1, topk = diff.kl, top1 + diff.top1, topk + diff.topk
  end
  line:advance(opt.window - 1)
end
line:finish()
if save then assert(save:close()) end

local all = nb.summary(nb.concat(nll))
local per_window, square = {}, 0
for w, t in ipairs(nll) do per_window[w] = nb.summary(t).mean end
for _, m in ipairs(per_window) do square = square + (m - all.mean) ^ 2 end
local result = { nll = all.mean, perplexity = math.exp(all.mean), tokens = windows * (opt.window - 1), windows = windows,
                 nll_standard_error = windows > 1 and math.sqrt(square / (windows - 1) / windows) or nil,
                 numerics = model.numerics,
                 round = model.desc.round, kv = model.desc.kv, checkpoint = opt.ckpt }
if base then
  local s = nb.summary(nb.concat(kl))
  result.kl = { mean = s.mean, median = s.median, p99 = s.p99, max = s.max }
  result.top1_agreement, result.topk_agreement, result.top_k = top1 / windows, topk / windows, opt.top_k
end
if opt.errors then
  result.errors = nb.json.array {}
  for i = 1, #sides + 1 do
    local side, before = sides[i] or this, sides[i - 1]
    result.errors[i] = { part = side.name, nll = side.nll / windows, change = before and (side.nll - before.nll) / windows,
                         kl = before and side.kl / windows }
  end
end
for _, side in ipairs(sides) do side.model.plan:close() end
if opt.json then args.print_json(result) return 0 end
print(("nll %.7f  perplexity %.5f  over %d windows of %d tokens (%s, round %s, kv %s)"):format(result.nll, result.perplexity,
  windows,
  opt.window, model.numerics, model.desc.round, model.desc.kv))
if base then
  print(("kl mean %.3e  median %.3e  99%% %.3e  max %.3e   top-1 %.2f %%  top-%d %.2f %%"):format(result.kl.mean,
    result.kl.median,
    result.kl.p99, result.kl.max, 100 * result.top1_agreement, opt.top_k, 100 * result.topk_agreement))
end
local what = { base = "the base", weights = "dequantized weights", activations = "activations quantized as stored",
               run = "this run: kernels, storage, cache" }
for _, e in ipairs(result.errors or {}) do
  print(("%-34s nll %.7f%s"):format(what[e.part], e.nll,
    e.change and ("  %+.3e  kl %.3e from the line above"):format(e.change, e.kl) or ""))
end
return 0
