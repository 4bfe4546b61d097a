local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "moe_fc2"
TestMoeFc2 = {}

local function define(rows, top_k, h, i_n, x, experts, down)
  local y = {}
  for pair = 0, rows * top_k - 1 do
    for r = 0, h - 1 do
      local sum = 0
      for c = 0, i_n - 1 do sum = sum + down[experts[pair + 1] + 1][r * i_n + c + 1] * x(pair, c) end
      y[#y + 1] = sum
    end
  end
  return y
end

local function stack(e, h, i_n, seed)
  local rng, tensors, lists = op.random(seed), {}, {}
  for n = 1, e do
    tensors[n] = op.bf16({ h, i_n }, rng)
    lists[n] = tensors[n]:list()
  end
  return tensors, lists
end

local function run(x, ids, down, rows, top_k, h, round)
  local y = op.poison(rows, top_k, h)
  op.run(spec, { args = { x = x, experts = op.i32({ rows, top_k }, ids), down = down, y = y }, round = round })
  return y
end

function TestMoeFc2:test_definition()
  for _, s in ipairs { { 1, 1, 1, 1, 1 }, { 5, 2, 4, 9, 7 }, { 2, 3, 3, 4, 18 } } do
    local rows, top_k, e, h, i_n = table.unpack(s)
    local down, downs = stack(e, h, i_n, 1)
    local x, ids = op.f32({ rows, top_k, i_n }, op.random(2)), {}
    for pair = 0, rows * top_k - 1 do ids[pair + 1] = (pair * 5 + pair // top_k) % e end
    local want = define(rows, top_k, h, i_n, function(pair, c) return x:get(pair * i_n + c) end, ids, downs)
    op.same(run(x, ids, down, rows, top_k, h), want, "y")
    for i = 1, #want do want[i] = op.to_bf16(want[i]) end
    op.same(run(x, ids, down, rows, top_k, h, "bf16"), want, "bf16", 0, 0)
  end
end

function TestMoeFc2:test_quantized_x_with_a_scale_per_expert()
  local rows, top_k, e, h, i_n = 2, 2, 3, 5, 32
  local down, downs = {}, {}
  for n = 1, e do down[n], downs[n] = op.nvfp4_weight(h, i_n, n) end
  local ids, own = { 1, 2, 0, 1 }, { op.to_f32(0.3), op.to_f32(0.01), op.to_f32(0.07) }
  local codes, scales, values = op.nvfp4_act({ rows, top_k, i_n }, 3)
  op.same(run({ codes = codes, scales = scales, input_scale = own }, ids, down, rows, top_k, h),
    define(rows, top_k, h, i_n, function(pair, c) return values[pair * i_n + c + 1] * own[ids[pair + 1] + 1] end, ids, downs),
      "y", nil, 1e-9)
end

-- Large enough for several threads: rows alone, and experts in another order, give the same bits.
function TestMoeFc2:test_rows_and_experts_permuted()
  local rows, top_k, e, h, i_n = 16, 4, 8, 48, 80
  local down = stack(e, h, i_n, 4)
  local x, ids = op.f32({ rows, top_k, i_n }, op.random(5)), {}
  for pair = 0, rows * top_k - 1 do ids[pair + 1] = (pair * 3 + pair // 7) % e end
  local all = run(x, ids, down, rows, top_k, h)
  for row = 0, rows - 1 do
    op.equal(all:rows(row, 1), run(x:rows(row, 1), op.slice(ids, row * top_k, top_k), down, 1, top_k, h), "row " .. row)
  end
  local moved, moved_ids = {}, {}
  for n = 0, e - 1 do moved[(n * 5 + 1) % e + 1] = down[n + 1] end
  for i, id in ipairs(ids) do moved_ids[i] = (id * 5 + 1) % e end
  op.equal(all, run(x, moved_ids, moved, rows, top_k, h))
end

function TestMoeFc2:test_experts_that_are_not_there()
  for _, id in ipairs { -1, 2 } do
    op.fails(spec, { args = { x = op.f32 { 1, 1, 3 }, experts = op.i32({ 1, 1 }, { id }),
      down = { op.f32 { 2, 3 }, op.f32 { 2, 3 } },
                              y = op.f32 { 1, 1, 2 } } }, "E_VALUE", "expert below 2")
  end
end

os.exit(lu.LuaUnit.run())
