-- compare: two traces tap by tap: error, direction, worst element, router sets, KL and top-k of logits
-- needs: two files that `nibble trace` or nb.trace wrote, finished or broken off (traces/FORMAT.md); B is the reference
-- prints: a row a tap in graph order, the worst tap; where A was recorded with --check the kernel column: its largest op-local
-- error as a share of its bound (a tap with an element out of its bound is over the threshold); with --errors the NMSE that
-- weights and activations make; with --json one object. Ends with 1 when a threshold is not met
local nb, args, trace = require "nibble", require "scripts.lib.args", require "scripts.lib.trace"

local opt = args.parse({
  name = "compare", summary = "Compares trace A with trace B, the reference; rows are brought together by sequence and position.",
  positional = { { "a", "trace that is judged" }, { "b", "trace it is held against" } },
  options = {
    { "taps", "*", "globs (* and ?) of taps, separated by commas" }, { "k", 5, "size of the top-k sets of logits", min = 1 },
    { "max-nmse", "number?", "largest normalized squared error of any tap", min = 0 },
    { "min-cosine", "number?", "smallest cosine of any tap", min = -1, max = 1 },
    { "max-kl", "number?", "largest mean KL divergence of logits, nats", min = 0 },
    { "min-topk", "number?", "smallest share of the top-k tokens in common, 0 to 1", min = 0, max = 1 },
    { "min-sets", "number?", "smallest share of rows with the same router set, 0 to 1", min = 0, max = 1 },
  },
}, ...)
local has_threshold = opt.max_nmse or opt.min_cosine or opt.max_kl or opt.min_topk or opt.min_sets

local a <close> = assert(nb.trace.open(opt.a))
local b <close> = assert(nb.trace.open(opt.b))
local rows, left = trace.align(a, b)
if #rows == 0 then
  args.fail("E_MISSING", "%s and %s have no row in common: %d and %d finished rows, %d of them with different tokens", opt.a,
            opt.b,
    #a:rows().row, #b:rows().row, left.tokens)
end

local function by_name(taps)
  local named = {}
  for _, tap in ipairs(taps) do named[tap.name] = tap end
  return named
end

local fits, globs = trace.matcher(opt.taps)
local taps_a, taps_b = a:taps(), b:taps()
local in_a, in_b = by_name(taps_a), by_name(taps_b)
for i, glob in ipairs(globs) do
  local is_in_a, is_in_b = false, false
  for name in pairs(in_a) do is_in_a = is_in_a or fits(name, i) end
  for name in pairs(in_b) do is_in_b = is_in_b or fits(name, i) end
  if not (is_in_a and is_in_b) then
    args.fail("E_MISSING", "--taps: %s has no tap \"%s\"", is_in_a and opt.b or opt.a, glob)
  end
end

local function chosen(taps, others)
  local both, alone = {}, nb.json.array {}
  for _, tap in ipairs(taps) do
    if fits(tap.name) then
      if others[tap.name] then both[#both + 1] = tap else alone[#alone + 1] = tap.name end
    end
  end
  return both, alone
end
local taps, only_a = chosen(taps_a, in_b)
local _, only_b = chosen(taps_b, in_a)
if #taps == 0 then args.fail("E_MISSING", "%s and %s have no tap in common", opt.a, opt.b) end

local function kind_of(name, dtype)
  local last = name:match "[^/]+$"
  if last == "router_experts" then return "sets" end
  if last == "logits" or last == "mtp_logits" or last == "decode_logits" then return "logits" end
  return dtype:match "^[IUB]" and dtype ~= "BF16" and "integers" or "values"
end

for _, tap in ipairs(taps) do
  local vocab = tap.shape[#tap.shape]
  if kind_of(tap.name, tap.dtype) == "logits" and vocab and opt.k > vocab then
    args.fail("E_VALUE", "--k: expected 1 to %d, the values of a row of %s, found %d", vocab, tap.name, opt.k)
  end
end

-- A tap's coordinates with its first, the row, as sequence and position.
local function place(at, pairs_used)
  local p, index = pairs_used[(at[1] or 0) + 1], nb.json.array {}
  for i = 2, #at do index[#index + 1] = at[i] end
  return { seq = p.seq, pos = p.pos, index = index }
end

-- What `trace --check` found of A's kernels, by tap.
local function kernels_of(meta)
  local by_tap = {}
  for i, name in ipairs(meta.check_output or {}) do
    by_tap[name] = { ratio = meta.check_ratio[i], nmse = meta.check_nmse[i], outside = meta.check_outside[i],
                     elements = meta.check_elements[i], at = meta.check_at[i] }
  end
  return by_tap, meta.check_output ~= nil
end
local kernels, is_checked = kernels_of(a:meta())

-- What `trace --errors` found of A's weights and activations, by tap; NaN: not measured.
local function errors_of(meta)
  local by_tap = {}
  for i, name in ipairs(meta.error_tap or {}) do
    local w, x = meta.error_weights[i], meta.error_activations[i]
    by_tap[name] = { weights = w == w and w or nil, activations = x == x and x or nil }
  end
  return by_tap, meta.error_tap ~= nil
end
local errors, has_errors = errors_of(a:meta())

local function compare_sets(result, x, y, used)
  local sets = assert(nb.compare_sets(x, y))
  result.equal_rows = sets.equal_rows
  if sets.first_bad_row then
    result.first_bad = { seq = used[sets.first_bad_row + 1].seq, pos = used[sets.first_bad_row + 1].pos }
  end
  result.ok = not opt.min_sets or sets.equal_rows >= opt.min_sets * sets.rows
end

local function compare_values(result, x, y, used)
  local d = assert(nb.compare(x, y))
  result.nmse, result.sqnr_db, result.cosine, result.max_abs = d.nmse, d.sqnr_db, d.cosine, d.max_abs
  result.got, result.want, result.finite, result.at = d.got, d.want, d.finite, place(d.at, used)
  result.ulp, result.ulp_max = d.ulp, d.ulp_max
  -- Written so that NaN fails.
  result.ok = (not has_threshold or d.finite) and (not opt.max_nmse or d.nmse <= opt.max_nmse)
    and (not opt.min_cosine or d.cosine >= opt.min_cosine)
end

local function compare_logits(result, x, y)
  local d = assert(nb.compare_logits(x, y, opt.k))
  result.kl, result.top1, result.topk = assert(nb.summary(d.kl)), d.top1, d.topk
  result.ok = result.ok and (not opt.max_kl or result.kl.mean <= opt.max_kl) and (not opt.min_topk or d.topk >= opt.min_topk)
end

local function numbers_of(list, side)
  local out = {}
  for i, p in ipairs(list) do out[i] = p[side] end
  return out
end

-- Taps whose values stand in the order of the row's experts: only rows that chose the same ones, in the same order, compare.
local by_slot = { router_weights = true, experts_fc1 = true, experts_fc2 = true }
local same_rows = {}   -- per router_experts tap

local function same_experts(router)
  if not same_rows[router] then
    local x <close> = assert(a:read(router, numbers_of(rows, "a")))
    local y <close> = assert(b:read(router, numbers_of(rows, "b")))
    local list_x, list_y, kept, k = x:list(), y:list(), {}, #x // #rows
    for i, p in ipairs(rows) do
      local is_same = true
      for j = (i - 1) * k + 1, i * k do is_same = is_same and list_x[j] == list_y[j] end
      if is_same then kept[#kept + 1] = p end
    end
    same_rows[router] = kept
  end
  return same_rows[router]
end

local function rows_of(tap, other)
  if tap.partial or other.partial then return trace.common(a, b, tap.name, rows) end
  local layer, last = tap.name:match "^(.*/)([^/]+)$"
  local router = layer and layer .. "router_experts"
  if by_slot[last] and in_a[router] and in_b[router]
    and table.concat(in_a[router].shape, ",") == table.concat(in_b[router].shape, ",") then
    return same_experts(router), true
  end
  return rows
end

local function compare_tap(tap)
  local other, result = in_b[tap.name], { tap = tap.name, kind = kind_of(tap.name, tap.dtype) }
  local used, is_by_slot = rows_of(tap, other)
  local shape_a, shape_b = table.concat(tap.shape, ","), table.concat(other.shape, ",")
  result.rows = #used
  if shape_a ~= shape_b then
    result.ok, result.problem = false, ("its rows are [%s] in A and [%s] in B"):format(shape_a, shape_b)
  elseif #used == 0 then
    result.ok, result.problem = not has_threshold, is_by_slot and "no common row chose the same experts"
      or "no common row has a value of it"
  else
    local x <close> = assert(a:read(tap.name, numbers_of(used, "a")))
    local y <close> = assert(b:read(tap.name, numbers_of(used, "b")))
    if result.kind == "sets" then compare_sets(result, x, y, used)
    else
      compare_values(result, x, y, used)
      if result.kind == "logits" then compare_logits(result, x, y) end
    end
  end
  result.kernel, result.errors = kernels[tap.name], errors[tap.name]
  if result.kernel and not (result.kernel.outside == 0) then result.ok = false end
  return result
end

local function spot(at)
  return ("seq %d pos %d [%s]"):format(at.seq, at.pos, table.concat(at.index, ","))
end

local function print_tap(r)
  local mark = r.ok and "" or "  <- over the threshold"
  local function cell(x, format) return x and format:format(x) or ("%9s "):format "-" end
  local kernel, parts = is_checked and cell(r.kernel and r.kernel.ratio, "%9.3f ") or "", r.errors or {}
  if has_errors then kernel = cell(parts.weights, "%9.2g ") .. cell(parts.activations, "%9.2g ") .. kernel end
  if r.kernel and r.kernel.outside > 0 then mark = ("  <- kernel: %d outside"):format(r.kernel.outside) end
  if r.problem then print(("%-32s %6d  %s%s"):format(r.tap, r.rows, r.problem, r.ok and "" or "  <-"))
  elseif r.kind == "sets" then
    local first = r.first_bad and (", first difference at seq %d pos %d"):format(r.first_bad.seq, r.first_bad.pos) or ""
    print(("%-32s %6d %s %d of %d sets equal%s%s"):format(r.tap, r.rows, kernel, r.equal_rows, r.rows, first, mark))
  else
    print(("%-32s %6d %s%10.3g %8.1f %12.9f %10.3g  %s%s%s"):format(r.tap, r.rows, kernel, r.nmse, r.sqnr_db, r.cosine, r.max_abs,
      spot(r.at),
      r.finite and "" or "  not finite", mark))
    if r.kl then
      print(("%-32s %6s  KL mean %.3g, median %.3g, 99 %% %.3g, max %.3g nats; top-1 %.1f %%, top-%d %.1f %%"):format("", "",
        r.kl.mean,
        r.kl.median, r.kl.p99, r.kl.max, 100 * r.top1, opt.k, 100 * r.topk))
    end
  end
end

local function describe(path, reader)
  local done = #reader:rows().row
  return ("%s: %d finished rows%s"):format(path, done, reader:is_finished() and "" or ", broken off")
end

if not opt.json then
  print("A " .. describe(opt.a, a))
  print("B " .. describe(opt.b, b))
  print(("%d common rows (%d only in A, %d only in B, %d left out behind a different token), "
    .. "%d common taps (%d only in A, %d only in B)"):format(#rows, left.a, left.b, left.tokens, #taps, #only_a, #only_b))
  local head = (has_errors and ("%9s %9s "):format("weights", "activat.") or "") .. (is_checked and ("%9s "):format "kernel" or "")
  print(("%-32s %6s %s%10s %8s %12s %10s  %s"):format("tap", "rows", head, "NMSE", "SQNR dB", "cosine", "max |A-B|", "at"))
end

local results, worst, over = nb.json.array {}, nil, 0
for _, tap in ipairs(taps) do
  local r = compare_tap(tap)
  results[#results + 1] = r
  if not r.ok then over = over + 1 end
  if r.nmse and r.kind ~= "integers" and (not worst or (worst.nmse == worst.nmse and not (r.nmse <= worst.nmse))) then
    worst = r
  end
  if not opt.json then print_tap(r) end
end

if opt.json then
  args.print_json { a = opt.a, b = opt.b, rows = #rows, rows_only_a = left.a, rows_only_b = left.b, rows_left_out = left.tokens,
    taps = results, only_a = only_a, only_b = only_b, k = opt.k,
    worst = worst and { tap = worst.tap, nmse = worst.nmse, at = worst.at } or nb.null,
    over = over }
else
  if worst then
    print(("worst: %s, NMSE %.3g, %.6g instead of %.6g at %s"):format(worst.tap, worst.nmse, worst.got, worst.want,
      spot(worst.at)))
  end
  if over > 0 then print(("%d of %d taps are not within the thresholds"):format(over, #taps)) end
end
return over == 0 and 0 or 1
