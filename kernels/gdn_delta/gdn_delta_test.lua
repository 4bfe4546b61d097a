local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "gdn_delta"
TestGdnDelta = {}

-- Small heads: hk key heads of dk, hv value heads of dv.
local S = { hk = 2, hv = 6, dk = 5, dv = 3 }
local function cd(s) return 2 * s.hk * s.dk + s.hv * s.dv end
local EPS = 1e-6

local function inputs(s, n, seed)
  local rng = op.random(seed)
  return { n = n, qkv = op.f32({ n, cd(s) }, rng), a = op.f32({ n, s.hv }, rng), b = op.f32({ n, s.hv }, rng) }
end

local function gates(s)
  local rng = op.random(77)
  return op.f32({ s.hv }, rng), op.bf16({ s.hv }, rng)
end

local function part(x, first, n)
  return { n = n, qkv = x.qkv:rows(first, n), a = x.a:rows(first, n), b = x.b:rows(first, n) }
end

local function run(s, x, state, o)
  o = o or {}
  local a_log, dt_bias = gates(s)
  local y = op.poison(x.n, s.hv, s.dv)
  local pos = o.pos
  if not pos then
    pos = {}
    for i = 1, x.n do pos[i] = (o.first or 0) + i - 1 end
  end
  op.run(spec, { args = { qkv = x.qkv, a = x.a, b = x.b, a_log = o.a_log or a_log, dt_bias = o.dt_bias or dt_bias,
    state = state, y = y, rejected = o.rejected },
                 numbers = { hk = s.hk, eps = EPS }, round = o.round,
                 step = { pos = pos, slot = o.slot or { 0 }, back = o.back, seq_start = o.seq_start } })
  return y
end

local function states(s, slots, versions, from) return op.f32({ slots, versions, s.hv, s.dk, s.dv }, from) end

local function softplus(x) return x > 20 and x or math.log(1 + math.exp(x)) end

-- The recurrence of one head in doubles: state S[i][j] as a list of rows, returns y per row.
local function define_head(s, x, head, state, a_log, dt_bias)
  local key_head, out = head // (s.hv // s.hk), {}
  local qkv, a, b = x.qkv:list(), x.a:list(), x.b:list()
  for t = 0, x.n - 1 do
    local base = t * cd(s)
    local function vector(first, n) return op.slice(qkv, base + first, n) end
    local function unit(v, factor)
      local squares = 0
      for _, e in ipairs(v) do squares = squares + e * e end
      for i = 1, #v do v[i] = v[i] * factor / math.sqrt(squares + EPS) end
      return v
    end
    local q = unit(vector(key_head * s.dk, s.dk), s.dk ^ -0.5)
    local k = unit(vector((s.hk + key_head) * s.dk, s.dk), 1)
    local v = vector(2 * s.hk * s.dk + head * s.dv, s.dv)
    local g = -math.exp(a_log[head + 1]) * softplus(a[t * s.hv + head + 1] + dt_bias[head + 1])
    local beta = op.sigmoid(b[t * s.hv + head + 1])
    for i = 1, s.dk do for j = 1, s.dv do state[i][j] = state[i][j] * math.exp(g) end end
    for j = 1, s.dv do
      local read = 0
      for i = 1, s.dk do read = read + k[i] * state[i][j] end
      local d = beta * (v[j] - read)
      local sum = 0
      for i = 1, s.dk do
        state[i][j] = state[i][j] + k[i] * d
        sum = sum + q[i] * state[i][j]
      end
      out[t * s.dv + j] = sum
    end
    for i = 1, s.dk do for j = 1, s.dv do state[i][j] = op.to_f32(state[i][j]) end end
  end
  return out
end

local function define(s, x, a_log, dt_bias)
  local y, final = {}, {}
  for head = 0, s.hv - 1 do
    local state = {}
    for i = 1, s.dk do
      state[i] = {}
      for j = 1, s.dv do state[i][j] = 0 end
    end
    local out = define_head(s, x, head, state, a_log, dt_bias)
    for t = 0, x.n - 1 do
      for j = 1, s.dv do y[(t * s.hv + head) * s.dv + j] = out[t * s.dv + j] end
    end
    for i = 1, s.dk do table.move(state[i], 1, s.dv, #final + 1, final) end
  end
  return y, final
end

function TestGdnDelta:test_definition()
  for _, s in ipairs { S, { hk = 1, hv = 1, dk = 1, dv = 1 }, { hk = 2, hv = 2, dk = 16, dv = 32 } } do
    local x, state = inputs(s, 7, s.dk), states(s, 1, 1, 0 / 0)
    local a_log, dt_bias = gates(s)
    local y, final = define(s, x, a_log:list(), dt_bias:list())
    op.same(run(s, x, state), y, "y", 1.3e-7, 1e-9)
    op.same(state, final, "state", 1.3e-7, 1e-9)
  end
end

-- Rows in one step, ragged chunks and one by one: the same bits. Large enough for several threads.
function TestGdnDelta:test_chunks_equal_one_step()
  for _, s in ipairs { S, { hk = 2, hv = 4, dk = 64, dv = 64 } } do
    local x, whole_state, state = inputs(s, 13, 2), states(s, 1, 1), states(s, 1, 1)
    local whole = run(s, x, whole_state)
    for _, cuts in ipairs { { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, { 4, 1, 8 } } do
      local first = 0
      for _, n in ipairs(cuts) do
        op.equal(run(s, part(x, first, n), state, { first = first }), whole:rows(first, n), "y")
        first = first + n
      end
      op.equal(state, whole_state, "state")
    end
  end
end

-- Version v is the state after the step's v-th newest row; those older than the step come from before it.
function TestGdnDelta:test_versions()
  local x, state = inputs(S, 6, 3), states(S, 1, 3)
  run(S, part(x, 0, 4), state)
  run(S, part(x, 4, 2), state, { first = 4 })
  local got = state:list()
  local size = S.hv * S.dk * S.dv
  for v = 0, 2 do
    local clean = states(S, 1, 1)
    run(S, part(x, 0, 6 - v), clean)
    lu.assertEquals(op.slice(got, v * size, size), clean:list(), "version " .. v)
  end
end

function TestGdnDelta:test_going_back_is_never_having_run()
  local good, bad = inputs(S, 9, 4), inputs(S, 3, 5)
  for back = 0, 3 do
    for next_n = 1, 4 do
      local clean, state = states(S, 1, 4), states(S, 1, 4, 0 / 0)
      run(S, part(good, 0, 5), clean)
      local want = run(S, part(good, 5, next_n), clean, { first = 5 })
      run(S, part(good, 0, 5), state)
      if back > 0 then run(S, part(bad, 0, back), state, { first = 5 }) end
      local got = run(S, part(good, 5, next_n), state, { first = 5, back = { back } })
      op.equal(got, want, ("y after going back %d"):format(back))
      -- Going back by more rows than follow loses the oldest versions.
      local held = math.min(4, 4 - back + next_n) * S.hv * S.dk * S.dv
      lu.assertEquals(op.slice(state:list(), 0, held), op.slice(clean:list(), 0, held))
    end
  end
end

function TestGdnDelta:test_a_step_without_rows_only_goes_back()
  local x, state, clean = inputs(S, 5, 6), states(S, 2, 3), states(S, 2, 3)
  run(S, part(x, 0, 4), state)
  run(S, part(x, 0, 2), clean)
  run(S, part(x, 0, 1), state, { slot = { 1, 0 }, seq_start = { 0, 1, 1 }, pos = { 0 }, back = { 0, 2 } })
  local size = S.hv * S.dk * S.dv
  lu.assertEquals(op.slice(state:list(), 0, size), op.slice(clean:list(), 0, size))
end

function TestGdnDelta:test_sequences_of_different_lengths()
  local x, state = inputs(S, 8, 7), states(S, 4, 2, op.random(8))
  local alone = states(S, 4, 2, state:list())
  local y = run(S, x, state, { seq_start = { 0, 5, 6, 8 }, slot = { 2, 0, 3 }, pos = { 0, 1, 2, 3, 4, 17, 0, 1 } })
  op.equal(y:rows(0, 5), run(S, part(x, 0, 5), alone, { slot = { 2 } }))
  op.equal(y:rows(5, 1), run(S, part(x, 5, 1), alone, { slot = { 0 }, first = 17 }))
  op.equal(y:rows(6, 2), run(S, part(x, 6, 2), alone, { slot = { 3 } }))
  op.equal(state, alone, "state")
end

-- Value heads r·j .. r·j+r-1 use key head j: what differs in one key head reaches exactly those.
function TestGdnDelta:test_value_heads_share_key_heads_in_groups()
  local x = inputs(S, 3, 9)
  local other = op.f32({ 3, cd(S) }, function(i) return x.qkv:get(i) * (i % cd(S) < S.dk and 0.5 or 1) + (i % cd(S) == 1 and 1
    or 0) end)
  local a, b = run(S, x, states(S, 1, 1)):list(), run(S, { n = 3, qkv = other, a = x.a, b = x.b }, states(S, 1, 1)):list()
  for t = 0, 2 do
    for head = 0, S.hv - 1 do
      local first = (t * S.hv + head) * S.dv
      local is_equal = true
      for j = 1, S.dv do is_equal = is_equal and a[first + j] == b[first + j] end
      lu.assertEquals(is_equal, head >= S.hv // S.hk, "head " .. head)
    end
  end
end

-- Behind 20 softplus is the identity; below, log(1 + exp). A state that nothing is written to shows the decay, and with it the argument;
-- where the two differ by a billionth, some of many states fall on the other side of a rounding.
function TestGdnDelta:test_softplus_threshold()
  local s = { hk = 1, hv = 1, dk = 512, dv = 1 }
  local rate = math.exp(op.to_f32(1.25))
  for _, a in ipairs { 0, 19.5, 20, 20.000001907348633, 21 } do
    local before = states(s, 1, 1, function(i) return (1 + i / 512) * 1e30 end)
    local state = states(s, 1, 1, before:list())
    local x = { n = 1, qkv = op.f32({ 1, cd(s) }, 0), a = op.f32({ 1, 1 }, a), b = op.f32({ 1, 1 }, -1000) }
    run(s, x, state, { first = 5, a_log = op.f32({ 1 }, 1.25), dt_bias = op.f32({ 1 }, 0) })
    local want, other, differ = {}, {}, 0
    for i, v in ipairs(before:list()) do
      want[i] = op.to_f32(math.exp(-rate * softplus(a)) * v)
      other[i] = op.to_f32(math.exp(-rate * (a > 20 and math.log(1 + math.exp(a)) or a)) * v)
      differ = differ + (want[i] ~= other[i] and 1 or 0)
    end
    lu.assertTrue(differ > 0, "the states cannot tell the formulas apart")
    local wrong = 0
    for i, v in ipairs(state:list()) do wrong = wrong + (v ~= want[i] and 1 or 0) end
    lu.assertTrue(wrong < differ, ("at %g, %d states are not as defined"):format(a, wrong)) -- log1p(x) and log(1 + x) may round apart
    if a > 20 then lu.assertEquals(wrong, 0) end
  end
  for _, a in ipairs { 80, 1000 } do
    local state = states({ hk = 1, hv = 1, dk = 1, dv = 1 }, 1, 1, 0.75)
    local x = { n = 1, qkv = op.f32({ 1, 3 }, 0), a = op.f32({ 1, 1 }, a), b = op.f32({ 1, 1 }, -1000) }
    run({ hk = 1, hv = 1, dk = 1, dv = 1 }, x, state, { first = 5, a_log = op.f32({ 1 }, -3), dt_bias = op.f32({ 1 }, 0) })
    op.same(state, { 0.75 * math.exp(-math.exp(-3) * a) }, "decayed state", nil, 0)
  end
end

-- The epsilon stands inside the root: a vector far below it shrinks by 1/sqrt(eps), and a zero vector stays zero.
function TestGdnDelta:test_l2norm_epsilon()
  local s = { hk = 1, hv = 1, dk = 2, dv = 1 }
  local function keyed(k1, k2, q1)
    local state = states(s, 1, 1)
    local x = { n = 1, qkv = op.f32({ 1, 5 }, { q1, 0, k1, k2, 1 }), a = op.f32({ 1, 1 }), b = op.f32({ 1, 1 }, 1000) }
    return run(s, x, state):get(0), state:list()
  end
  local _, state = keyed(0, 0, 1)
  lu.assertEquals(state, { 0, 0 })
  for _, size in ipairs { 1e-5, 1e-3, 1 } do
    local k = op.to_f32(size)
    local y, stored = keyed(k, k, 1)
    local unit = k / math.sqrt(2 * k * k + EPS)
    op.same(stored, { unit, unit }, "state is the key")
    op.same({ y }, { unit / math.sqrt(1 + EPS) / math.sqrt(2) }, "y")
  end
end

function TestGdnDelta:test_rounds_y_not_the_state()
  local x, plain, state = inputs(S, 3, 10), states(S, 1, 1), states(S, 1, 1)
  local want = run(S, x, plain):list()
  local got = run(S, x, state, { round = "bf16" })
  op.equal(state, plain, "state")
  for i = 1, #want do want[i] = op.to_bf16(want[i]) end
  op.same(got, want, "y", 0, 0)
end

-- What lies on the device counts, by slot and whatever the step says.
function TestGdnDelta:test_rejected_instead_of_back()
  local x, state, other = inputs(S, 2, 12), states(S, 3, 4, op.random(13)), states(S, 3, 4, op.random(13))
  local o = { pos = { 7, 9 }, slot = { 2, 0 }, seq_start = { 0, 1, 2 }, back = { 3, 1 } }
  local want = run(S, x, state, o)
  o.back, o.rejected = { 2, 2 }, op.i32({ 3 }, { 1, 9, 3 })
  op.equal(run(S, x, other, o), want)
  op.equal(other, state, "state")
end

function TestGdnDelta:test_wrong_calls()
  local a_log, dt_bias = gates(S)
  local x = inputs(S, 1, 11)
  local function call(hk, versions, back, rejected)
    return { args = { qkv = x.qkv, a = x.a, b = x.b, a_log = a_log, dt_bias = dt_bias, state = states(S, 1, versions),
                      y = op.f32 { 1, S.hv, S.dv }, rejected = rejected }, numbers = { hk = hk, eps = EPS }, step = { back = { back } } }
  end
  op.fails(spec, call(4, 1, 0), "E_SHAPE", "multiple of 4")
  op.fails(spec, call(3, 1, 0), "E_SHAPE", "channels")
  op.fails(spec, call(2, 2, 2), "E_VALUE", "go back less than 2")
  op.fails(spec, call(2, 2, 0, op.i32({ 1 }, 2)), "E_VALUE", "go back less than 2 rows, found 2")
  op.fails(spec, call(2, 2, 0, op.i32({ 1 }, -1)), "E_VALUE", "found -1")
end

os.exit(lu.LuaUnit.run())
