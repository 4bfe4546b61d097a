local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "moe_fc1"
TestMoeFc1 = {}

-- x, x_up: functions (row, slot, column) → value; gate, up: lists of lists.
local function define(rows, top_k, i_n, h, x, x_up, experts, gate, up)
  local y = {}
  for row = 0, rows - 1 do
    for slot = 0, top_k - 1 do
      local e = experts[row * top_k + slot + 1] + 1
      for i = 0, i_n - 1 do
        local g, u = 0, 0
        for c = 0, h - 1 do
          g = g + gate[e][i * h + c + 1] * x(row, slot, c)
          u = u + up[e][i * h + c + 1] * x_up(row, slot, c)
        end
        y[#y + 1] = op.silu(g) * u
      end
    end
  end
  return y
end

local function stack(e, i_n, h, seed)
  local rng, tensors, lists = op.random(seed), {}, {}
  for n = 1, e do
    tensors[n] = op.f32({ i_n, h }, rng)
    lists[n] = tensors[n]:list()
  end
  return tensors, lists
end

-- Ids of each row differ, as the router makes them.
local function route(rows, top_k, e, seed)
  local _, uniform = op.random(seed)
  local ids = {}
  for _ = 1, rows do
    local first, stride = math.floor(uniform() * e), 1
    for j = 0, top_k - 1 do ids[#ids + 1] = (first + j * stride) % e end
  end
  return ids
end

local function run(args, rows, top_k, i_n, round)
  args.y = op.poison(rows, top_k, i_n)
  op.run(spec, { args = args, round = round })
  return args.y
end

function TestMoeFc1:test_definition()
  for _, s in ipairs { { 1, 1, 1, 1, 1 }, { 6, 3, 5, 7, 11 }, { 2, 4, 4, 3, 8 } } do
    local rows, top_k, e, i_n, h = table.unpack(s)
    local gate, gates = stack(e, i_n, h, 1)
    local up, ups = stack(e, i_n, h, 2)
    local x, ids = op.f32({ rows, 1, h }, op.random(3)), route(rows, top_k, e, 4)
    local function value(row, _, c) return x:get(row * h + c) end
    local want = define(rows, top_k, i_n, h, value, value, ids, gates, ups)
    op.same(run({ x = x, experts = op.i32({ rows, top_k }, ids), gate = gate, up = up }, rows, top_k, i_n), want, "y")
    for i = 1, #want do want[i] = op.to_bf16(want[i]) end
    op.same(run({ x = x, experts = op.i32({ rows, top_k }, ids), gate = gate, up = up }, rows, top_k, i_n, "bf16"), want,
      "bf16", 0, 0)
  end
end

function TestMoeFc1:test_a_slot_per_expert_and_another_input_for_up()
  local rows, top_k, e, i_n, h = 3, 2, 4, 5, 6
  local gate, gates = stack(e, i_n, h, 5)
  local up, ups = stack(e, i_n, h, 6)
  local rng = op.random(7)
  local x, x_up, ids = op.f32({ rows, top_k, h }, rng), op.f32({ rows, 1, h }, rng), route(rows, top_k, e, 8)
  op.same(run({ x = x, x_up = x_up, experts = op.i32({ rows, top_k }, ids), gate = gate, up = up }, rows, top_k, i_n),
    define(rows, top_k, i_n, h, function(r, s, c) return x:get((r * top_k + s) * h + c) end,
      function(r, _, c) return x_up:get(r * h + c) end, ids, gates, ups), "y")
end

-- Quantized inputs: one scale for all experts, or a slot per expert with that expert's own.
function TestMoeFc1:test_quantized_x()
  local rows, top_k, e, i_n, h = 2, 2, 3, 4, 32
  local gate, gates = stack(e, i_n, h, 9)
  local up, ups = stack(e, i_n, h, 10)
  local ids = { 2, 0, 1, 2 }
  local experts = op.i32({ rows, top_k }, ids)
  local codes, scales, values = op.nvfp4_act({ rows, 1, h }, 11)
  local function one(r, _, c) return values[r * h + c + 1] * op.to_f32(0.01) end
  op.same(run({ x = { codes = codes, scales = scales, input_scale = 0.01 }, experts = experts, gate = gate, up = up }, rows,
    top_k, i_n),
    define(rows, top_k, i_n, h, one, one, ids, gates, ups), "one scale", nil, 1e-9)
  local own = { op.to_f32(0.01), op.to_f32(0.02), op.to_f32(0.005) }
  local codes_k, scales_k, values_k = op.nvfp4_act({ rows, top_k, h }, 12)
  local function each(r, s, c) return values_k[(r * top_k + s) * h + c + 1] * own[ids[r * top_k + s + 1] + 1] end
  op.same(run({ x = { codes = codes_k, scales = scales_k, input_scale = own }, experts = experts, gate = gate, up = up }, rows,
    top_k, i_n),
    define(rows, top_k, i_n, h, each, each, ids, gates, ups), "own scales", nil, 1e-9)
end

function TestMoeFc1:test_quantized_experts_and_a_stack()
  local rows, top_k, e, i_n, h = 3, 2, 3, 4, 32
  local gate, up, gates, ups = {}, {}, {}, {}
  for n = 1, e do
    gate[n], gates[n] = op.nvfp4_weight(i_n, h, n)
    up[n], ups[n] = op.nvfp4_weight(i_n, h, 10 + n)
  end
  local x, ids = op.f32({ rows, 1, h }, op.random(13)), route(rows, top_k, e, 14)
  local function value(row, _, c) return x:get(row * h + c) end
  op.same(run({ x = x, experts = op.i32({ rows, top_k }, ids), gate = gate, up = up }, rows, top_k, i_n),
    define(rows, top_k, i_n, h, value, value, ids, gates, ups), "nvfp4")
  local slab = op.bf16({ e, i_n, h }, op.random(15))
  for n = 1, e do gates[n] = op.slice(slab:list(), (n - 1) * i_n * h, i_n * h) end
  op.same(run({ x = x, experts = op.i32({ rows, top_k }, ids), gate = slab, up = slab }, rows, top_k, i_n),
    define(rows, top_k, i_n, h, value, value, ids, gates, gates), "stack")
end

-- Large enough for several threads: rows alone, and experts in another order, give the same bits.
function TestMoeFc1:test_rows_and_experts_permuted()
  local rows, top_k, e, i_n, h = 16, 4, 8, 24, 40
  local gate, up = stack(e, i_n, h, 16), stack(e, i_n, h, 17)
  local x, ids = op.f32({ rows, 1, h }, op.random(18)), route(rows, top_k, e, 19)
  local all = run({ x = x, experts = op.i32({ rows, top_k }, ids), gate = gate, up = up }, rows, top_k, i_n)
  for row = 0, rows - 1 do
    op.equal(all:rows(row, 1), run({ x = x:rows(row, 1), experts = op.i32({ 1, top_k }, op.slice(ids, row * top_k, top_k)),
      gate = gate,
                                     up = up }, 1, top_k, i_n), "row " .. row)
  end
  local moved_gate, moved_up, moved_ids = {}, {}, {}
  for n = 0, e - 1 do moved_gate[(n * 3 + 2) % e + 1], moved_up[(n * 3 + 2) % e + 1] = gate[n + 1], up[n + 1] end
  for i, id in ipairs(ids) do moved_ids[i] = (id * 3 + 2) % e end
  op.equal(all, run({ x = x, experts = op.i32({ rows, top_k }, moved_ids), gate = moved_gate, up = moved_up }, rows, top_k, i_n))
end

function TestMoeFc1:test_wrong_calls()
  local w = { op.f32 { 2, 16 }, op.f32 { 2, 16 } }
  local function call(o)
    return { args = { x = o.x or op.f32 { 1, 1, 16 }, x_up = o.x_up, experts = op.i32({ 1, 2 }, o.ids or { 0, 1 }), gate = w,
      up = o.up or w,
                      y = op.f32 { 1, 2, 2 } } }
  end
  op.fails(spec, call { ids = { 0, 2 } }, "E_VALUE", "expert below 2, found 2")
  op.fails(spec, call { ids = { -1, 0 } }, "E_VALUE", "found -1")
  op.fails(spec, call { x = op.f32 { 1, 3, 16 } }, "E_SHAPE", "1 or 2 slots")
  op.fails(spec, call { x_up = op.f32 { 1, 3, 16 } }, "E_SHAPE", "x_up: expected 1 or 2")
  op.fails(spec, call { up = { w[1] } }, "E_SHAPE", "expected e = 2")
  op.fails(spec, call { up = { w[1], op.f32 { 3, 16 } } }, "E_SHAPE", "expected i = 2")
  local codes, scales = op.nvfp4_act({ 1, 1, 16 }, 20)
  op.fails(spec, call { x = { codes = codes, scales = scales, input_scale = { 1, 1 } } }, "E_SHAPE", "one slot for all")
end

-- The quantized form is that of y as it is stored, with one input scale or each expert's own.
function TestMoeFc1:test_codes_of_y()
  local rows, top_k, e, i_n, h = 3, 2, 4, 32, 6
  local gate, up = stack(e, i_n, h, 21), stack(e, i_n, h, 22)
  local experts = op.i32({ rows, top_k }, route(rows, top_k, e, 23))
  for _, scale in ipairs { 0.003, { 0.003, 0.002, 0.004, 0.001 } } do
    local codes = op.codes(rows, top_k, i_n, scale)
    local y = run({ x = op.f32({ rows, 1, h }, op.random(24)), experts = experts, gate = gate, up = up, y_codes = codes }, rows,
      top_k, i_n, "bf16")
    op.same_codes(y, codes, type(scale) == "table" and experts or nil)
  end
end

os.exit(lu.LuaUnit.run())
