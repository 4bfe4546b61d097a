-- Bounds hold and bite: every family computed in plain f32 here, in several orders of sums, stays inside of its
-- acceptance; the same with one fault in it (a product dropped, sums kept in bf16, a wrong neighbour, an eps, a
-- sign, a stale state …) does not.
local lu, nb = require "luaunit", require "nibble"
local inputs, verdict, variant = require "scripts.lib.inputs", require "scripts.lib.verdict",
  require "scripts.lib.variant"
local families = require "scripts.lib.families"
TestVerdict = {}

local pack, unpack = string.pack, string.unpack
local function f(x) return (unpack("<f", pack("<f", x))) end                       -- to f32
local function b(x)                                                                 -- to bf16, nearest even
  local bits = unpack("<I4", pack("<f", x))
  return (unpack("<f", pack("<I4", bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000)))
end
local function exp(x) return f(math.exp(x)) end
local function sigmoid(x) return f(1 / f(1 + exp(-x))) end
local function silu(x) return f(x / f(1 + exp(-x))) end
local function softplus(x) return x > 20 and x or f(math.log(f(1 + exp(x)))) end

-- A permutation of 1 .. n from a seed; seed 0: in order.
local function order(n, seed)
  local p, state = {}, seed
  for i = 1, n do p[i] = i end
  if seed == 0 then return p end
  for i = n, 2, -1 do
    state = state * 6364136223846793005 + 1442695040888963407
    local j = (state >> 33) % i + 1
    p[i], p[j] = p[j], p[i]
  end
  return p
end

-- Sum of n terms in the order of `way` = { seed =, parts =, keep = rounding of the running sums, drop = index left out }.
local function sum(n, term, way)
  local p, parts, keep = order(n, way.seed or 0), {}, way.keep or f
  for i = 1, way.parts or 1 do parts[i] = 0 end
  for i = 1, n do
    if p[i] ~= way.drop then
      local at = i % #parts + 1
      parts[at] = keep(parts[at] + term(p[i]))
    end
  end
  local total = parts[1]
  for i = 2, #parts do total = keep(total + parts[i]) end
  return total
end

-- f32 values of a weight, row-major.
local function dequantized(w)
  if type(w) == "table" then
    local values = assert(nb.num.nvfp4_decode(w.data, w.scales, w.tensor_scale, false))
    return values:list()
  end
  return w:list()
end

-- f32 values of an activation, plain or NVFP4.
local function activation(x)
  if type(x) ~= "table" then return x:list() end
  local shape = x.codes:shape()
  local vectors = 1
  for i = 1, #shape - 1 do vectors = vectors * shape[i] end
  local k = 2 * shape[#shape]
  return assert(nb.num.nvfp4_decode(x.codes:reshape { vectors, k // 2 }, x.scales:reshape { vectors, k // 16 }, x.input_scale,
    false)):list()
end

local function put(t, list, store)
  for i, x in ipairs(list) do t:set(i - 1, (store or b)(x)) end
end

-- family → function(call, got, way): fills got's outputs from call's inputs, as a plain kernel would.
local kernel = {}

function kernel.linear(call, got, way)
  local x, w, y = activation(call.args.x), dequantized(call.args.w), {}
  local n = got.args.y:shape()[2]
  local k = #w // n
  for row = 0, call.rows - 1 do
    for i = 0, n - 1 do
      y[#y + 1] = sum(k, function(j) return f(x[row * k + j] * w[i * k + j]) end, way)
    end
  end
  put(got.args.y, y)
end

function kernel.rmsnorm(call, got, way)
  local a = call.args
  local x, delta, w, h, y, t = a.x:list(), a.delta:list(), a.w:list(), a.x:shape()[3], {}, {}
  for first = 0, #x - 1, h do
    for i = 1, h do t[first + i] = way.loose and f(x[first + i] + delta[first + i])
      or b(f(x[first + i] + delta[first + i])) end
    local mean = f(sum(h, function(i) return f(t[first + i] * t[first + i]) end, way) / h)
    local scale = f(1 / f(math.sqrt(f(mean + (way.eps or call.numbers.eps)))))
    for i = 1, h do y[first + i] = f(f(t[first + i] * scale) * f(call.numbers.plus + w[i])) end
  end
  put(got.args.sum, t)
  put(got.args.y, y)
end

function kernel.gated_norm(call, got, way)
  local a = call.args
  local x, z, w, dv, y = a.x:list(), a.z:list(), a.w:list(), a.x:shape()[3], {}
  for first = 0, #x - 1, dv do
    local scale = f(1 / f(math.sqrt(f(f(sum(dv, function(i) return f(x[first + i] * x[first + i]) end,
      way) / dv) + call.numbers.eps))))
    for i = 1, dv do
      local gate = way.gate == "sigmoid" and sigmoid(z[first + i]) or silu(z[first + i])
      y[first + i] = f(f(f(x[first + i] * scale) * w[i]) * gate)
    end
  end
  put(got.args.y, y)
end

function kernel.swiglu(call, got, way)
  local gate, up, y = call.args.gate:list(), call.args.up:list(), {}
  for i, g in ipairs(gate) do y[i] = way.keep and way.keep(way.keep(silu(g)) * up[i]) or f(silu(g) * up[i]) end
  put(got.args.y, y)
end

function kernel.combine(call, got, way)
  local a = call.args
  local y, weights, shared, gate = a.y:list(), a.weights:list(), a.shared:list(), a.shared_gate:list()
  local k, h, routed, all = a.y:shape()[2], a.y:shape()[3], {}, {}
  for row = 0, call.rows - 1 do
    for c = 1, h do
      local r = sum(k, function(j) return f(weights[row * k + j] * y[(row * k + j - 1) * h + c]) end, way)
      routed[#routed + 1] = r
      all[#all + 1] = f((way.rounded and b(r) or r) + f(sigmoid(gate[row + 1]) * shared[row * h + c]))
    end
  end
  put(got.args.routed, routed)
  put(got.args.sum, all)
end

function kernel.gdn_conv(call, got, way)
  local a, step = call.args, call.step
  local x, w, window, y = a.x:list(), a.w:list(), a.window:list(), {}
  local cd, width, cols = a.x:shape()[2], a.w:shape()[2], a.window:shape()[2]
  for s = 1, #step.slot do
    local first, count = step.seq_start[s], step.seq_start[s + 1] - step.seq_start[s]
    local is_fresh = step.pos[first + 1] == 0 and not way.stale
    local kept = is_fresh and cols or cols - (way.no_back and 0 or step.back[s])
    for c = 1, cd do
      local history, base = {}, step.slot[s] * cols * cd
      for i = 1, kept do history[i] = is_fresh and 0 or window[base + (i - 1) * cd + c] end
      for t = 1, count do history[kept + t] = x[(first + t - 1) * cd + c] end
      for t = 1, count do
        local v = sum(width, function(j) return f(w[(c - 1) * width + j] * history[kept + t - width + j]) end, way)
        y[(first + t - 1) * cd + c] = silu(v)
      end
      for i = 1, cols do got.args.window:set(base + (i - 1) * cd + c - 1, history[kept + count - cols + i] or 0) end
    end
  end
  put(got.args.y, y)
end

local function l2(list, first, n, eps, way)
  return f(1 / f(math.sqrt(f(sum(n, function(i) return f(list[first + i] * list[first + i]) end, way) + eps))))
end

function kernel.gdn_delta(call, got, way)
  local a, step, hk = call.args, call.step, call.numbers.hk
  local shape = a.state:shape()
  local versions, hv, dk, dv = shape[2], shape[3], shape[4], shape[5]
  local qkv, ga, gb, a_log, bias, old, y = a.qkv:list(), a.a:list(), a.b:list(), a.a_log:list(), a.dt_bias:list(),
    a.state:list(), {}
  local cd = a.qkv:shape()[2]
  local function at(slot, version, head) return ((slot * versions + version) * hv + head) * dk * dv end
  for s = 1, #step.slot do
    local first, count, back = step.seq_start[s], step.seq_start[s + 1] - step.seq_start[s], step.back[s]
    local is_fresh = step.pos[first + 1] == 0
    for head = 0, hv - 1 do
      local now = {}
      for i = 1, dk * dv do now[i] = is_fresh and 0 or old[at(step.slot[s], back, head) + i] end
      for v = count, versions - 1 do
        local from = back + v - count
        for i = 1, dk * dv do
          local moved = (is_fresh or from >= versions) and 0 or old[at(step.slot[s], from, head) + i]
          got.args.state:set(at(step.slot[s], v, head) + i - 1, moved)
        end
      end
      for t = 0, count - 1 do
        local row = (first + t) * cd
        local q0, k0, v0 = row + head // (hv // hk) * dk, row + (hk + head // (hv // hk)) * dk,
          row + 2 * hk * dk + head * dv
        local q_scale, k_scale = f(l2(qkv, q0, dk, call.numbers.eps, way) / f(math.sqrt(dk))),
          l2(qkv, k0, dk, call.numbers.eps, way)
        local alpha = exp(-f(exp(a_log[head + 1]) * softplus(f(ga[(first + t) * hv + head + 1] + bias[head + 1]))))
        local beta = sigmoid(gb[(first + t) * hv + head + 1])
        for j = 1, dv do
          for i = 1, dk do now[(i - 1) * dv + j] = f(now[(i - 1) * dv + j] * alpha) end
          local read = sum(dk, function(i) return f(f(qkv[k0 + i] * k_scale) * now[(i - 1) * dv + j]) end, way)
          local d = f(beta * f(qkv[v0 + j] - read))
          for i = 1, dk do
            local x = f(now[(i - 1) * dv + j] + f(f(qkv[k0 + i] * k_scale) * d))
            now[(i - 1) * dv + j] = way.state and way.state(x) or x
          end
          y[((first + t) * hv + head) * dv + j] = sum(dk,
            function(i) return f(f(qkv[q0 + i] * q_scale) * now[(i - 1) * dv + j]) end, way)
        end
        local v = count - 1 - t + (way.version or 0)
        if v < versions then
          for i = 1, dk * dv do got.args.state:set(at(step.slot[s], v, head) + i - 1, now[i]) end
        end
      end
    end
  end
  put(got.args.y, y)
end

function kernel.attn_prep(call, got, way)
  local a, step, n = call.args, call.step, call.numbers
  local freq, half = a.inv_freq:list(), #a.inv_freq
  local keys = a.keys:shape()
  local kv_heads, max_len, d = keys[2], keys[3], keys[4]
  local seq = {}
  for s = 1, #step.slot do
    for row = step.seq_start[s], step.seq_start[s + 1] - 1 do seq[row] = s end
  end
  local function head(x, first, w, pos, normed, rotated)
    local scale = f(1 / f(math.sqrt(f(f(sum(d, function(i) return f(x[first + i] * x[first + i]) end,
      way) / d) + n.eps))))
    local v = {}
    for i = 1, d do
      v[i] = f(f(x[first + i] * scale) * f(1 + w[i]))
      normed[#normed + 1] = v[i]
      if way.from_rounded then v[i] = b(v[i]) end
    end
    for i = 1, half do
      local angle = f((pos + (way.shift or 0)) * freq[i])
      local c, s, p, q = f(math.cos(angle)), f(math.sin(angle)), v[i], v[i + half]
      v[i], v[i + half] = f(f(p * c) - f(q * s)), f(f(q * c) + f(p * s))
    end
    for i = 1, d do rotated[#rotated + 1] = v[i] end
  end
  local q, k, v, q_norm, k_norm = a.q:list(), a.k:list(), a.v:list(), a.q_norm:list(), a.k_norm:list()
  local heads, out = a.q:shape()[2], { q = {}, q_rot = {}, k = {}, k_rot = {} }
  for row = 0, call.rows - 1 do
    for h = 0, heads - 1 do head(q, (row * heads + h) * 2 * d, q_norm, step.pos[row + 1], out.q, out.q_rot) end
    for h = 0, kv_heads - 1 do
      head(k, (row * kv_heads + h) * d, k_norm, step.pos[row + 1], out.k, out.k_rot)
      local place = ((step.slot[seq[row]] * kv_heads + h) * max_len + step.pos[row + 1]) * d
      for i = 1, d do
        local key, value = b(out.k_rot[#out.k_rot - d + i]), v[(row * kv_heads + h) * d + i]
        if call.kv == "fp8" then key, value = f(key / n.k_scale), f(value / n.v_scale) end
        got.args.keys:set(place + i - 1, key)
        got.args.values:set(place + i - 1, value)
      end
    end
  end
  put(got.args.q_normed, out.q)
  put(got.args.k_normed, out.k)
  put(got.args.q_rot, out.q_rot)
end

function kernel.attention(call, got, way)
  local a, step, n = call.args, call.step, call.numbers
  local shape, q, gate = a.keys:shape(), a.q:list(), a.gate:list()
  local kv_heads, max_len, d, heads, y = shape[2], shape[3], shape[4], a.q:shape()[2], {}
  local keys, values = a.keys:list(), a.values:list()
  local k_scale, v_scale = call.kv == "fp8" and n.k_scale or 1, call.kv == "fp8" and n.v_scale or 1
  for s = 1, #step.slot do
    for row = step.seq_start[s], step.seq_start[s + 1] - 1 do
      for head = 0, heads - 1 do
        local len, base = step.pos[row + 1] + 1 - (way.short or 0),
          (step.slot[s] * kv_heads + head // (heads // kv_heads)) * max_len * d
        local scores, largest, p = {}, -math.huge, {}
        for t = 1, len do
          scores[t] = f(sum(d, function(i)
            return f(f(q[(row * heads + head) * d + i] * k_scale) * keys[base + (t - 1) * d + i])
          end, way) * f(1 / math.sqrt(d)))
          largest = math.max(largest, scores[t])
        end
        for t = 1, len do p[t] = exp(f(scores[t] - largest)) end
        local total = sum(len, function(t) return p[t] end, way)
        for i = 1, d do
          local v = sum(len, function(t) return f(p[t] * f(values[base + (t - 1) * d + i] * v_scale)) end, way)
          y[(row * heads + head) * d + i] = f(f(v / total) * sigmoid(gate[(row * heads + head) * 2 * d + (way.gate
            or d) + i]))
        end
      end
    end
  end
  put(got.args.y, y)
end

function kernel.router(call, got, way)
  local x, w, logits = call.args.x:list(), dequantized(call.args.w), {}
  local h, e, k = call.args.x:shape()[2], call.args.w:shape()[1], got.args.weights:shape()[2]
  local weights, experts = {}, {}
  for row = 0, call.rows - 1 do
    local all, taken, chosen, total = {}, {}, {}, 0
    for i = 0, e - 1 do
      all[i] = sum(h, function(j) return f(x[row * h + j] * w[i * h + j]) end, way)
      logits[#logits + 1] = all[i]
    end
    for j = 1, k do
      local best
      for i = 0, e - 1 do
        if not taken[i] and (not best or all[i] > all[best]) then best = i end
      end
      taken[best], chosen[j] = true, best
    end
    if way.swap then chosen[k], chosen[k - 1] = chosen[k - 1], chosen[k] end
    if way.next_best then
      for i = 0, e - 1 do
        if not taken[i] then chosen[k] = i break end
      end
    end
    for j = 1, k do total = f(total + exp(f(all[chosen[j]] - all[chosen[1]]))) end
    for j = 1, k do
      weights[#weights + 1] = f(exp(f(all[chosen[j]] - all[chosen[1]])) / total)
      experts[#experts + 1] = chosen[j]
    end
  end
  put(got.args.logits, logits, f)
  put(got.args.weights, weights)
  put(got.args.experts, experts, function(i) return i end)
end

function kernel.moe_fc1(call, got, way)
  local a = call.args
  local x, ids, y = a.x:list(), a.experts:list(), {}
  local h, k, n = a.x:shape()[3], a.experts:shape()[2], got.args.y:shape()[3]
  for pair, e in ipairs(ids) do
    local gate, up, first = dequantized(a.gate[e + 1]), dequantized(a.up[(way.same_up and 0 or e) + 1]),
      (pair - 1) // k * h
    for i = 0, n - 1 do
      local g = sum(h, function(j) return f(x[first + j] * gate[i * h + j]) end, way)
      local u = sum(h, function(j) return f(x[first + j] * up[i * h + j]) end, way)
      y[#y + 1] = f(silu(g) * u)
    end
  end
  put(got.args.y, y)
end

function kernel.moe_fc2(call, got, way)
  local a = call.args
  local x, ids, y = a.x:list(), a.experts:list(), {}
  local k, n = a.x:shape()[3], got.args.y:shape()[3]
  for pair, e in ipairs(ids) do
    local down = dequantized(a.down[e + 1])
    for i = 0, n - 1 do
      y[#y + 1] = sum(k, function(j) return f(x[(pair - 1) * k + j] * down[i * k + j]) end, way)
    end
  end
  put(got.args.y, y)
end

function kernel.lm_head_sample(call, got, way)
  local a = call.args
  local x, w, logits, tokens = a.x:list(), dequantized(a.w), {}, {}
  local h, v = a.x:shape()[2], got.args.logits:shape()[2]
  for out, row in ipairs(call.step.out_row) do
    local first, best = #logits + 1, 0
    for i = 0, v - 1 do
      logits[first + i] = sum(h, function(j) return f(x[(way.row or row) * h + j] * w[i * h + j]) end, way)
      if logits[first + i] > logits[first + best] then best = i end
    end
    tokens[out] = best + (way.token or 0)
  end
  put(got.args.logits, logits, f)
  put(got.args.token, tokens, function(i) return i end)
end

function kernel.embed_gather(call, got, way)
  local ids, w, h, y = call.args.ids:list(), call.args.w:list(), got.args.y:shape()[2], {}
  for _, id in ipairs(ids) do
    for i = 1, h do y[#y + 1] = w[(id + (way.row or 0)) * h + i] end
  end
  put(got.args.y, y)
end

function kernel.quantize_nvfp4(call, got, way)
  local x = call.args.x
  local shape, y = x:shape(), got.args.y
  local codes, scales = assert(nb.num.quantize_activation(x:reshape { #x // shape[3], shape[3] },
    1 / y.input_scale * (way.s or 1)))
  y.codes, y.scales = codes:reshape(y.codes:shape()), scales:reshape(y.scales:shape())
  if way.code then y.codes:set(way.code, y.codes:get(way.code) // 16 * 16 + (y.codes:get(way.code) + 1) % 8) end
end

function kernel.draft_next(call, got, way)
  local a, step, begin = call.args, call.step, 0
  for s, slot in ipairs(step.slot) do
    local first, n = step.seq_start[s], step.seq_start[s + 1] - step.seq_start[s]
    local row = way.first and first or first + math.min(a.accepted:get(slot), n - 1)
    local behind = (step.pos[first + 1] == 0 and 0 or a.mtp_taken:get(slot)) + row - first + 1
    local h, draft = a.x:shape()[2], behind - a.taken:get(slot) + 1
    if draft <= a.drafts:get(slot) then got.args.ids:set(begin + draft - (way.early and 1 or 0), a.token:get(row)) end
    got.args.mtp_ids:set(s - 1, a.token:get(row))
    if not way.stays then got.args.mtp_taken:set(slot, behind) end
    for i = 0, h - 1 do got.args.hidden:set((s - 1) * h + i, a.x:get((way.hidden or row) * h + i)) end
    begin = begin + a.drafts:get(slot) + 1
  end
end

function kernel.draft_accept(call, got, way)
  local a, step, out, versions = call.args, call.step, got.args, got.args.followed:shape()[2]
  for s, slot in ipairs(step.slot) do
    local drafts, first, last = way.drafts or a.drafts:get(slot), step.seq_start[s], step.seq_start[s + 1] - 1
    local row, n = step.seq_start[s + 1] - 1 - drafts, 0
    for i = 0, drafts - 1 do
      local is_right = a.token:get(row + i) == a.ids:get(row + i + 1)
      if is_right and (n == i or way.any) then n = n + 1 end
    end
    local next_token, before = a.token:get(row + (way.last and drafts or n)), step.pos[first + 1] == 0 and 0 or a.taken:get(slot)
    for i = 0, versions - 1 do
      out.followed:set(slot * versions + i, i < n and a.ids:get(row + 1 + i) or i == n and next_token or way.garbage or -1)
    end
    out.accepted:set(slot, n)
    out.rejected:set(slot, drafts - n)
    out.taken:set(slot, before + last - first + 1 - (way.all and 0 or drafts - n))
    if drafts > 0 then
      out.mtp_taken:set(slot, before)
      for r = first, last do out.mtp_ids:set(r, r < row + n and a.ids:get(r + 1) or next_token) end
      out.ids:set(row, next_token)
    end
  end
end

local HONEST = { { seed = 0 }, { seed = 7 }, { seed = 3, parts = 4 } }
local BF16_SUMS, DROPPED = { keep = b }, { drop = 3 }

-- family → shape (as a case of the spec), faults.
local cases = {
  { "linear", { rows = 3, n = 13, k = 96 }, { BF16_SUMS, DROPPED } },
  { "linear", { rows = 3, n = 9, k = 160, format = { w = "nvfp4" } }, { BF16_SUMS, DROPPED } },
  { "linear", { rows = 3, n = 9, k = 160, format = { x = "nvfp4", w = "nvfp4" } }, { BF16_SUMS, DROPPED } },
  { "rmsnorm", { rows = 3, groups = 2, h = 50, with = { "delta", "sum" } },
    { BF16_SUMS, DROPPED, { loose = true }, { eps = 0.1 } } },
  { "gated_norm", { rows = 3, hv = 3, dv = 40 }, { BF16_SUMS, DROPPED, { gate = "sigmoid" } } },
  { "swiglu", { rows = 5, i = 37 }, { BF16_SUMS } },
  { "combine", { rows = 5, top_k = 4, h = 37 }, { BF16_SUMS, DROPPED, { rounded = true } } },
  { "gdn_conv", { rows = 9, cd = 13, width = 4, cols = 5, versions = 3 },
    { BF16_SUMS, DROPPED, { stale = true }, { no_back = true } } },
  { "gdn_delta", { rows = 9, hk = 2, hv = 4, dk = 12, dv = 16, cd = 112, versions = 3 },
    { BF16_SUMS, DROPPED, { state = b }, { version = 1 } } },
  { "attn_prep", { rows = 7, heads = 4, kv_heads = 2, d = 24, d2 = 48, half = 5 },
    { BF16_SUMS, DROPPED, { shift = 1 }, { from_rounded = true } } },
  { "attn_prep", { rows = 7, heads = 4, kv_heads = 2, d = 24, d2 = 48, half = 5, kv = "fp8" },
    { DROPPED, { shift = 1 } } },
  { "attention", { rows = 5, heads = 4, kv_heads = 2, d = 24, d2 = 48, past = 20 },
    { BF16_SUMS, DROPPED, { gate = 0 } } },
  { "attention", { rows = 4, seqs = 1, heads = 4, kv_heads = 2, d = 24, d2 = 48, past = 20, kv = "fp8" },
    { DROPPED, { short = 1 } } },
  { "router", { rows = 4, e = 12, h = 64, top_k = 4 }, { BF16_SUMS, DROPPED, { swap = true }, { next_best = true } } },
  { "moe_fc1", { rows = 3, slots = 1, top_k = 2, e = 4, i = 11, h = 96 }, { BF16_SUMS, DROPPED, { same_up = true } } },
  { "moe_fc2", { rows = 3, top_k = 2, e = 4, i = 96, h = 11 }, { BF16_SUMS, DROPPED } },
  { "lm_head_sample", { rows = 4, outs = 2, v = 30, h = 64 }, { BF16_SUMS, DROPPED, { row = 0 }, { token = 1 } } },
  { "embed_gather", { rows = 4, v = 30, h = 24 }, { { row = -1 } } },
  { "draft_accept", { rows = 13, outs = 13, seqs = { 1, 4, 3, 5 }, versions = 5 },
    { { any = true }, { last = true }, { drafts = 0 }, { all = true }, { garbage = 0 } } },
  { "draft_next", { rows = 12, outs = 12, seqs = { 4, 4, 4 }, h = 13 },
    { { first = true }, { early = true }, { stays = true }, { hidden = 0 } } },
  { "quantize_nvfp4", { rows = 3, slots_in = 1, slots = 1, k = 64 }, { { s = 1.07 }, { code = 0 } } },
}

local function judge(family, shape, way, seed)
  local spec = families.load(family)
  local call = inputs.make(spec, shape, seed)
  local what = assert(nb.op_describe(spec, call))
  local s, got = variant.shape(what), inputs.copy(call)
  local values = spec.first and variant.first(spec, what, { smem_block_max = 101376 }) or {}
  kernel[family](call, got, way)
  return verdict.judge(spec, call, got, verdict.reference(spec, call), values, s)
end

local function text(way)
  local parts = {}
  for k, v in pairs(way) do parts[#parts + 1] = k .. "=" .. (type(v) == "function" and "bf16" or tostring(v)) end
  return table.concat(parts, " ")
end

function TestVerdict:test_plain_f32_is_inside()
  for _, c in ipairs(cases) do
    for i, way in ipairs(HONEST) do
      local v = judge(c[1], c[2], way, i)
      local r = verdict.worst(v)
      lu.assertTrue(v.ok, ("%s, %s: %s at %s: found %.9g, expected %.9g, bound %.3g %s"):format(c[1], text(way), r.name,
        table.concat(r.at, ","),
        r.got, r.want, r.bound, r.problem or ""))
    end
  end
end

function TestVerdict:test_faults_are_outside()
  local missed = {}
  for _, c in ipairs(cases) do
    for _, way in ipairs(c[3]) do
      if judge(c[1], c[2], way, 1).ok then missed[#missed + 1] = c[1] .. ": " .. text(way) end
    end
  end
  lu.assertEquals(missed, {})
end

function TestVerdict:test_every_family_is_here()
  local here = {}
  for _, c in ipairs(cases) do here[c[1]] = true end
  for _, family in ipairs(nb.op.families()) do lu.assertTrue(here[family], family) end
end

os.exit(lu.LuaUnit.run())
