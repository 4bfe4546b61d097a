-- eval: perplexity of a checkpoint on recorded token windows, and divergence from a base run
-- needs: a checkpoint and an HDF5 file of token ids; a window of W tokens gives W-1 inputs and W-1 targets, no overlap, nothing
-- carried over
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
    { "perturb", "number?", "multiply embeddings by 1 + X · normal noise: shows how chaotic the recipe is" },
    { "seed", 1, "of the noise" },
  },
}, ...)

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

local function window_logits(inputs)
  local parts = {}
  model:reset(seq)
  model:feed({ { seq = seq, ids = inputs } }, { outs = "all", on_step = function(step)
    parts[#parts + 1] = assert(model.plan:read("logits", 0, #step.outs))
  end })
  return nb.concat(parts)
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
  local logits = window_logits(inputs)
  nll[#nll + 1] = assert(nb.nll(logits, targets))
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
if opt.json then args.print_json(result) return 0 end
print(("nll %.7f  perplexity %.5f  over %d windows of %d tokens (%s, round %s, kv %s)"):format(result.nll, result.perplexity,
  windows,
  opt.window, model.numerics, model.desc.round, model.desc.kv))
if base then
  print(("kl mean %.3e  median %.3e  99%% %.3e  max %.3e   top-1 %.2f %%  top-%d %.2f %%"):format(result.kl.mean,
    result.kl.median,
    result.kl.p99, result.kl.max, 100 * result.top1_agreement, opt.top_k, 100 * result.topk_agreement))
end
return 0
