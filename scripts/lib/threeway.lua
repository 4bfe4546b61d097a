-- threeway: where the error of a quantized model comes from. Three references of one checkpoint run over the tokens of a run, side
-- by side, f32 between ops and in the cache:
--   weights      ref(dequantized weights) - ref(the BF16 base)       only with `against`
--   activations  ref(as stored: activations quantized too) - ref(dequantized weights)
-- The third part, the kernels', is op-local (scripts/lib/oplocal.lua).
--   local three <close> = threeway.open(dir, { against = BASE or nil, taps = {globs}, chunk =, slots =, max_len = })
--   three:feed({ ids, ids, … })      the next tokens of every sequence, in the chunks that session's feed makes of them
--   three:result() →
--     { rows = tokens, taps = { { tap =, weights = NMSE, activations = NMSE }, … },
--       routers = { { tap =, weights = { equal = rows with one set, margin = }, activations = {…} }, … },
--       quantizers = { { name =, n =, clipped =, underflowed =, zeroed =, amax =, range = 6·448 input scales,
--                        experts = { { expert =, n =, … }, … } }, … } }       counts; of moe_h for each expert that was chosen too
-- Called once.
-- Taps in the order of a row's experts (router_weights, experts_fc1, experts_fc2) are compared in the rows whose experts are the
-- same; margin is the largest by which a set that differs was decided: the k-th logit less the next, in the run that is compared
-- with. nil: not measured.
local nb, args, session = require "nibble", require "scripts.lib.args", require "scripts.lib.session"
local threeway = {}

local Three = {}
Three.__index = Three

-- Runs a plan's programs op by op and measures what each quantizer is given.
local Watch = {}
Watch.__index = Watch

local counts = { "n", "nonzero", "clipped", "underflowed", "zeroed" }
local function add(to, c)
  for _, key in ipairs(counts) do to[key] = (to[key] or 0) + c[key] end
  to.amax = not (c.amax <= (to.amax or 0)) and c.amax or to.amax or 0.0
end

local function f32(x) return (string.unpack("<f", string.pack("<f", x))) end

function Watch:measure(op, rows)
  local seen = assert(self.plan:peek(op.id, rows))
  local x, y, r = seen.x:rows(0, rows), seen.y, self.known[op.id]
  if not r then
    r = { name = op.name }
    self.known[op.id], self.records[#self.records + 1] = r, r
  end
  local function inverse(scale) return y.is_divisor and f32(scale) or f32(1 / f32(scale)) end
  local shape, list = x:shape(), type(y.input_scale) == "table"
  local by_expert = list or op.bound.x == "moe_h"
  if not by_expert then
    local s = inverse(y.input_scale)
    r.range = 2688 / s
    return add(r, assert(nb.clipping(x, s)))
  end
  r.by_expert = r.by_expert or {}
  local slots, k = shape[2], shape[3]
  local experts = assert(self.plan:read("router_experts", 0, rows))
  local top_k, vectors = #experts // rows, x:reshape { rows * slots, k }
  for row = 0, rows - 1 do
    for slot = 0, top_k - 1 do
      local e = experts:get(row * top_k + slot) // 1 | 0
      local own = r.by_expert[e] or {}
      local s = inverse(list and y.input_scale[e + 1] or y.input_scale)
      r.by_expert[e], own.range = own, 2688 / s
      local c = assert(nb.clipping(vectors:rows(row * slots + (slots > 1 and slot or 0), 1), s))
      add(own, c)
      add(r, c)
      r.range = math.min(r.range or math.huge, own.range)
    end
  end
end

function Watch:run(program, step)
  local rows = 0
  for _, s in ipairs(step.seqs) do rows = rows + s.n end
  for _, op in ipairs(self.ops) do
    if op.program == program then
      assert(self.plan:run_op(op.id, step))
      if op.spec.name == "quantize_nvfp4" then self:measure(op, rows) end
    end
  end
  return true
end

function threeway.open(dir, opt)
  local globs = { "*/router_logits", "*/router_experts", table.unpack(opt.taps) }
  local function side(path, numerics)
    local model = session.open(path, { impl = "ref:" .. numerics, kv = "f32", chunk = opt.chunk, slots = opt.slots,
                                       max_len = opt.max_len, taps = globs })
    local side = { model = model, seqs = {} }
    for i = 1, opt.slots do side.seqs[i] = model:sequence() end
    return side
  end
  local self = setmetatable({ sides = {}, order = {}, sums = {}, routers = {}, rows = 0 }, Three)
  self.sides.weights = side(dir, "w4a16")
  self.sides.stored = side(dir, "stored")
  local stored = self.sides.stored.model
  self.watch = setmetatable({ plan = stored.plan, ops = stored.ops, known = {}, records = {} }, Watch)
  stored.check = self.watch
  if opt.against then
    self.sides.base = side(opt.against, "w4a16")
    local a, b = self.sides.base.model.cfg, stored.cfg
    for _, key in ipairs { "vocab", "hidden", "layers", "experts", "top_k" } do
      if a[key] ~= b[key] then
        args.fail("E_SHAPE", "--against %s: expected a model with %s = %d as %s has, found %d", opt.against, key,
          b[key], dir, a[key])
      end
    end
  end
  for _, t in ipairs(stored.plan:taps()) do if t.selected then self.order[#self.order + 1] = t end end
  return self
end

Three.__close = function(self) for _, side in pairs(self.sides) do side.model.plan:close() end end

-- The taps of every step of a feed.
local function steps_of(side, lists, taps)
  local items, steps = {}, {}
  for i, ids in ipairs(lists) do items[i] = { seq = side.seqs[i], ids = ids } end
  side.model:feed(items, { outs = "all", on_step = function(step)
    local seen = { rows = step.rows }
    for _, t in ipairs(taps) do seen[t.name] = assert(side.model.plan:tap(t.name)) end
    steps[#steps + 1] = seen
  end })
  return steps
end

local function rows_with_same(x, y, rows)
  local a, b, same, k = x:list(), y:list(), {}, #x // rows
  for row = 0, rows - 1 do
    local is_same = true
    for j = row * k + 1, (row + 1) * k do is_same = is_same and a[j] == b[j] end
    if is_same then same[#same + 1] = row end
  end
  return same
end

local by_slot = { router_weights = true, experts_fc1 = true, experts_fc2 = true }

local function kept(t, rows, n)
  if #rows == n then return t end
  local parts = {}
  for i, row in ipairs(rows) do parts[i] = t:rows(row, 1) end
  return nb.concat(parts)
end

-- The k-th largest logit of a row less the next one.
local function margin_of(logits, row, k)
  local list = logits:rows(row, 1):list()
  table.sort(list, function(p, q) return p > q end)
  return k < #list and list[k] - list[k + 1] or math.huge
end

function Three:compare_router(layer, part, got, want)
  local tap = layer .. "router_experts"
  local x, y, rows = got[tap]:list(), want[tap]:list(), want.rows
  local r = self.routers[tap] or { tap = tap }
  self.routers[tap], r[part] = r, r[part] or { equal = 0 }
  local own, k = r[part], #y // rows
  for row = 0, rows - 1 do
    local has, is_equal = {}, true
    for j = 1, k do has[y[row * k + j]] = true end
    for j = 1, k do is_equal = is_equal and has[x[row * k + j]] == true end
    if is_equal then own.equal = own.equal + 1
    else own.margin = math.max(own.margin or 0, margin_of(want[layer .. "router_logits"], row, k)) end
  end
end

function Three:compare(part, got, want)
  for _, t in ipairs(self.order) do
    local layer, last = t.name:match "^(.*/)([^/]+)$"
    if last == "router_experts" then self:compare_router(layer, part, got, want)
    elseif t.dtype == "F32" then
      local rows = {}
      if by_slot[last] then rows = rows_with_same(got[layer .. "router_experts"], want[layer .. "router_experts"], want.rows)
      else for row = 0, want.rows - 1 do rows[row + 1] = row end end
      if #rows > 0 then
        local x, y = kept(got[t.name], rows, want.rows), kept(want[t.name], rows, want.rows)
        local d = assert(nb.accept(x, y, nil, { store = "f32" }))
        local own = self.sums[t.name] or {}
        self.sums[t.name], own[part] = own, own[part] or { error = 0.0, squares = 0.0 }
        own[part].error, own[part].squares = own[part].error + d.error_squares, own[part].squares + d.squares
      end
    end
  end
end

function Three:feed(lists)
  local stored, plain = steps_of(self.sides.stored, lists, self.order), steps_of(self.sides.weights, lists, self.order)
  local base = self.sides.base and steps_of(self.sides.base, lists, self.order)
  for i, step in ipairs(plain) do
    self.rows = self.rows + step.rows
    self:compare("activations", stored[i], step)
    if base then self:compare("weights", step, base[i]) end
  end
end

local function nmse(sum)
  if not sum then return nil end
  return sum.squares > 0 and sum.error / sum.squares or sum.error > 0 and math.huge or 0.0
end

function Three:result()
  for _, r in ipairs(self.watch.records) do
    local list = r.by_expert and nb.json.array {}
    for e, own in pairs(r.by_expert or {}) do
      own.expert = e
      list[#list + 1] = own
    end
    if list then
      table.sort(list, function(a, b) return a.expert < b.expert end)
      r.experts = list
    end
  end
  local quantizers = nb.json.array {}
  for i, r in ipairs(self.watch.records) do
    quantizers[i] = r
    r.by_expert = nil
  end
  local out = { rows = self.rows, taps = nb.json.array {}, routers = nb.json.array {}, quantizers = quantizers }
  for _, t in ipairs(self.order) do
    local own = self.sums[t.name]
    if own then out.taps[#out.taps + 1] = { tap = t.name, weights = nmse(own.weights), activations = nmse(own.activations) } end
    if self.routers[t.name] then out.routers[#out.routers + 1] = self.routers[t.name] end
  end
  return out
end

local function share(c, key) return c.n > 0 and c[key] / c.n or 0.0 end

-- One line a quantizer; of those by expert the one whose values reach farthest beyond its input scale too.
function threeway.print_quantizers(list)
  print(("%-28s %9s %9s %9s %9s %11s"):format("quantizer", "elements", "clipped", "underflow", "to zero", "amax/range"))
  for _, r in ipairs(list) do
    local more, worst = "", nil
    for _, c in ipairs(r.experts or {}) do
      if not worst or c.amax / c.range > worst.amax / worst.range then worst = c end
    end
    if worst then
      more = ("  expert %d of %d elements: %.2g %% clipped, %.2g %% underflow"):format(worst.expert, worst.n,
        100 * share(worst, "clipped"), 100 * share(worst, "underflowed"))
    end
    local reach = worst or r
    print(("%-28s %9d %8.3g%% %8.3g%% %8.3g%% %11.3f%s"):format(r.name, r.n, 100 * share(r, "clipped"),
      100 * share(r, "underflowed"), 100 * share(r, "zeroed"), reach.amax / reach.range, more))
  end
end

return threeway
