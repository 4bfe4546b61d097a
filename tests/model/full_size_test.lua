-- One layer at the extents of Qwen3.6-35B-A3B (hidden 2048, 256 experts top-8 of width 512, NVFP4) on the host: right, and
-- without memory for more than a few dequantized rows. The weights are random; what is compared is computed here from single
-- dequantized experts.
local lu, nb, command = require "luaunit", require "nibble", require "tests.scripts.command"
local session = require "scripts.lib.session"

TestFullSize = {}

-- Private memory of the process in bytes: mapped files do not count.
local function anonymous()
  local f = assert(io.open "/proc/self/status")
  local kb = f:read "a":match "RssAnon:%s*(%d+)"
  f:close()
  return tonumber(kb) * 1024
end

local function row_of(t, row) return t:rows(row, 1):list() end

local function dot(weights, x, k, row)
  local sum = 0
  for i = 1, k do sum = sum + weights[row * k + i] * x[i] end
  return sum
end

local function silu(v) return v / (1 + math.exp(-v)) end

function TestFullSize:test_an_expert_layer_without_a_dequantized_copy()
  local dir = command.folder() .. "/full"
  local status, out, err = command.run("synthetic", dir, "--layers", "A", "--json")
  lu.assertEquals(status, 0, err)
  local H, I = 2048, 512
  do
    local model <close> = session.open(dir, { max_len = 16, chunk = 4,
      taps = { "layer00/post_norm", "layer00/router_experts", "layer00/experts_fc1", "layer00/experts_fc2" } })
    local before = anonymous()
    model:feed({ { seq = model:sequence(), ids = { 17, 4095, 1, 2900 } } })
    local grown = anonymous() - before
    -- gate, up and down of one expert as f32 are 12.6 MB; code and threads need a little too
    print(("# full-size expert layer: private memory grew by %.1f MB"):format(grown / 1e6))
    lu.assertTrue(grown < 3 * H * I * 4, ("private memory grew by %.1f MB"):format(grown / 1e6))
    local x, experts = assert(model.plan:tap "layer00/post_norm"), assert(model.plan:tap "layer00/router_experts")
    local h, y = assert(model.plan:tap "layer00/experts_fc1"), assert(model.plan:tap "layer00/experts_fc2")
    for _, at in ipairs { { 0, 0 }, { 3, 7 } } do
      local row, slot = at[1], at[2]
      local name = ("layers.0.experts.%d."):format(experts:get(row * 8 + slot) // 1 | 0)
      local gate, up, down = model.ckpt:dequant(name .. "gate"), model.ckpt:dequant(name .. "up"),
        model.ckpt:dequant(name .. "down")
      local w = model.ckpt:weight(name .. "gate")
      local codes, scales = nb.num.quantize_activation(nb.tensor("F32", { 1, H }, row_of(x, row)), 1 / w.input_scale)
      local xq = nb.num.nvfp4_decode(codes, scales, w.input_scale, false):list()
      local gates, ups, want = gate:list(), up:list(), {}
      for i = 0, I - 1 do want[i + 1] = silu(dot(gates, xq, H, i)) * dot(ups, xq, H, i) end
      local got = {}
      for i = 0, I - 1 do got[i + 1] = h:get((row * 8 + slot) * I + i) end
      for i = 1, I do lu.assertAlmostEquals(got[i], want[i], 1e-5 * (1 + math.abs(want[i]))) end
      codes, scales = nb.num.quantize_activation(nb.tensor("F32", { 1, I }, got),
        1 / model.ckpt:weight(name .. "down").input_scale)
      local hq, downs = nb.num.nvfp4_decode(codes, scales, model.ckpt:weight(name .. "down").input_scale, false):list(),
        down:list()
      for i = 0, H - 1, 37 do
        local v = dot(downs, hq, I, i)
        lu.assertAlmostEquals(y:get((row * 8 + slot) * H + i), v, 1e-5 * (1 + math.abs(v)))
      end
    end
  end
  command.remove(dir:match "^(.*)/")
end

os.exit(lu.LuaUnit.run())
