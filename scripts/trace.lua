-- trace: records the activations of a run in HDF5, one row a token (layout: traces/FORMAT.md); --check judges every op of it
-- needs: a checkpoint and token ids or a text; taps are glob patterns over the names that --list prints
-- writes: OUT.h5   /rows/{seq,pos,step,token,done} and /taps/<tap>[row, …]; readable at any moment of the run
-- with --check every op that runs on the device is held against its reference on the inputs the device had
-- (scripts/lib/oplocal.lua): a row a family, the worst element, and ends with 1 when an element is out of its bound; OUT may be
-- left out then
local nb, args, session = require "nibble", require "scripts.lib.args", require "scripts.lib.session"
local oplocal, threeway = require "scripts.lib.oplocal", require "scripts.lib.threeway"

local opt = args.parse({
  name = "trace", summary = "Runs CKPT over tokens and records the chosen activations in OUT.",
  positional = { { "ckpt", "checkpoint folder" }, { "out", "HDF5 file to write" , optional = true } },
  options = session.options {
    { "ids", "string?", "token ids A,B,…; ';' separates sequences" }, { "text", "string?", "a text instead of ids" },
    { "taps", "*", "glob patterns of taps, separated by commas" }, { "n", 0, "then decode N tokens greedily", min = 0 },
    { "check", false, "judge every op on the device against its reference, element by element" },
    { "errors", false, "and where the error comes from: weights (with --against), activations, kernels (with --check), by tap" },
    { "against", "string?", "--errors: checkpoint folder of the BF16 base" },
    { "list", false, "print the chosen taps and end" },
  },
}, ...)

local globs = {}
for g in opt.taps:gmatch "[^,]+" do globs[#globs + 1] = g end
if #globs == 0 then args.usage "--taps: expected at least one pattern" end

if opt.list then
  local model <close> = session.open(opt.ckpt, { impl = "ref", chunk = 1, taps = globs })
  local taps = {}
  for _, t in ipairs(model.plan:taps()) do if t.selected then taps[#taps + 1] = t end end
  for _, t in ipairs(taps) do print(("%-30s %s [%s]"):format(t.name, t.dtype:lower(), table.concat(t.shape, ","))) end
  if opt.json then args.print_json { taps = nb.json.array(taps) } end
  return 0
end
if not opt.out and not opt.check and not opt.errors then
  args.usage "trace: expected OUT (HDF5 file to write), --check or --errors"
end
if opt.against and not opt.errors then args.usage "--against is part of --errors, which was not given" end
if (opt.ids == nil) == (opt.text == nil) then args.usage "trace: expected --ids or --text, one of the two" end

local lists
if opt.ids then lists = args.id_lists("ids", opt.ids)
else lists = { assert(assert(nb.tokenizer(opt.ckpt)):encode(opt.text)) } end

local total, longest = 0, 0
for i, ids in ipairs(lists) do
  if #ids == 0 then args.fail("E_VALUE", "sequence %d: expected at least one token, found none", i) end
  total, longest = total + #ids + opt.n, math.max(longest, #ids)
end
opt.slots, opt.max_len = #lists, longest + opt.n
opt.taps = opt.out and globs or nil
local model <close> = session.open(opt.ckpt, opt)
for i, ids in ipairs(lists) do model:check_ids(ids, ("sequence %d"):format(i)) end

local taps = {}
for _, t in ipairs(model.plan:taps()) do
  if t.selected then taps[#taps + 1] = { name = t.name, dtype = t.dtype, shape = t.shape } end
end
local trace = opt.out and assert(nb.trace.create(opt.out, {
  capacity = total, taps = taps,
  meta = { checkpoint = opt.ckpt, checkpoint_id = model.ckpt:id(), config = model.ckpt:config(),
           device = model.desc.device and model.desc.device:name() or "host", impl = model.impl.text,
           round = model.desc.round, kv = model.desc.kv, capacities = model.desc.capacities, slots = opt.slots,
           max_len = opt.max_len, command = table.concat(arg, " "),
           prompt_tokens = total - opt.n * #lists },
}))

local at, steps = 0, 0
local function record(step)
  local rows = { seq = {}, pos = {}, step = {}, token = {} }
  for _, p in ipairs(step.pieces) do
    for i = 0, p.n - 1 do
      local r = #rows.seq + 1
      rows.seq[r], rows.pos[r], rows.step[r], rows.token[r] = p.seq.number, p.pos + i, steps, p.ids[p.first + i]
    end
  end
  if not trace then steps = steps + 1 return end
  for _, t in ipairs(taps) do assert(trace:write(t.name, at, assert(model.plan:tap(t.name)))) end
  assert(trace:rows(at, rows))
  at, steps = at + step.rows, steps + 1
end

local items = {}
for i, ids in ipairs(lists) do
  items[i] = { seq = model:sequence(), ids = ids }
  items[i].seq.number = i - 1
end
local three <close> = opt.errors and threeway.open(opt.ckpt, { against = opt.against, taps = globs, chunk = opt.chunk,
  slots = #lists, max_len = opt.max_len }) or nil
local function feed()
  local last, fed = model:feed(items, { outs = "all", on_step = record }), {}
  for i, item in ipairs(items) do fed[i] = item.ids end
  if three then three:feed(fed) end
  return last
end
local function run()
  local greedy, last = nb.sampler {}, feed()
  for _ = 1, opt.n do
    for i, item in ipairs(items) do item.ids = { assert(greedy:pick(last[i])) } end
    last = feed()
  end
end
local is_run, failure = pcall(run)
-- A run that broke off because of what its kernels computed (NaN in the logits, say) still has its verdict.
if not is_run and not (opt.check and oplocal.summary(model.check.records).outside > 0) then error(failure, 0) end
if not is_run then io.stderr:write(("nibble: %s\n"):format(tostring(failure))) end

-- The kernels' errors as attributes of /meta, one entry an op's output (traces/FORMAT.md).
local function check_lists(records)
  local lists = { check_output = {}, check_op = {}, check_family = {}, check_ratio = {}, check_nmse = {}, check_outside = {},
                  check_elements = {}, check_at = {} }
  for i, r in ipairs(records) do
    lists.check_output[i], lists.check_op[i], lists.check_family[i], lists.check_at[i] = r.name, r.op, r.family, oplocal.spot(r)
    lists.check_ratio[i], lists.check_nmse[i] = r.ratio + 0.0, oplocal.nmse(r)
    lists.check_outside[i], lists.check_elements[i] = r.outside, r.n
  end
  return lists
end

-- The errors by tap as attributes; what was not measured is NaN.
local function error_lists(errors)
  local lists = { error_tap = {}, error_weights = {}, error_activations = {} }
  for i, t in ipairs(errors.taps) do
    lists.error_tap[i], lists.error_weights[i], lists.error_activations[i] = t.tap, t.weights or 0 / 0, t.activations or 0 / 0
  end
  return lists
end

local function print_errors(errors, records)
  local kernels, routers = {}, {}
  for _, r in ipairs(records) do if r.tap then kernels[r.tap] = r end end
  local function cell(x) return x and ("%11.3g"):format(x) or ("%11s"):format "-" end
  print(("%-32s %11s %11s %11s %9s"):format("NMSE by tap", "weights", "activations", "kernel", "of bound"))
  for _, t in ipairs(errors.taps) do
    local k = kernels[t.tap]
    print(("%-32s %s %s %s %9s"):format(t.tap, cell(t.weights), cell(t.activations), cell(k and oplocal.nmse(k)),
      k and ("%.3f"):format(k.ratio) or "-"))
  end
  for _, r in ipairs(errors.routers) do
    local parts = {}
    for _, part in ipairs { "weights", "activations" } do
      local own = r[part]
      if own then
        parts[#parts + 1] = ("%s %d of %d sets equal%s"):format(part, own.equal, errors.rows,
          own.margin and (", margins of others up to %.3g"):format(own.margin) or "")
      end
    end
    print(("%-32s %s"):format(r.tap, table.concat(parts, "; ")))
  end
  if #errors.quantizers > 0 then threeway.print_quantizers(errors.quantizers) end
end

local errors = three and three:result()
local summary = opt.check and oplocal.summary(model.check.records)
if trace then
  local final = opt.check and check_lists(model.check.records) or {}
  for name, list in pairs(errors and error_lists(errors) or {}) do final[name] = list end
  final.rows_done, final.steps = at, steps
  assert(trace:close(final))
  if not opt.json then print(("%s: %d rows of %d taps in %d steps"):format(opt.out, at, #taps, steps)) end
end
if errors and not opt.json then print_errors(errors, summary and model.check.records or {}) end
if summary and not opt.json then oplocal.print(summary) end
if opt.json then
  args.print_json { file = opt.out, rows = at, steps = steps, taps = #taps, checkpoint_id = model.ckpt:id(),
    errors = errors, check = summary and { ok = summary.ok, elements = summary.n, outside = summary.outside, worst = summary.worst,
                          families = summary.families } }
end
return (not summary or summary.ok) and 0 or 1
