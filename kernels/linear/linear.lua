-- y = x · wᵀ, whatever the weight is stored as; x plain or NVFP4.
local tiled = require "kernels.include.tiles"
local function tiles(s) return (s.rows + 7) // 8 end
local function product(s)
  return { format = s.format.w, coded = s.type.x == "nvfp4", n = s.n, k = s.k, ld = s.ld.x, rows = s.rows, mats = 1, inputs = 1 }
end
local chunk = { bf16 = 32, fp8 = 64, fp8_block = 64, nvfp4 = 128 }   -- of k (weight.cuh)

-- Few rows: k is split until there are about 2000 warps, which is what keeps enough bytes on their way, or a warp has no more
-- than a chunk. Depends on the matrix alone, so a row's bits do not on how many rows there are.
local function few(s)
  local chunks, split = (s.k + chunk[s.format.w] - 1) // chunk[s.format.w], 1
  while split < 16 and split < chunks and (split < 4 or (s.n + 15) // 16 * split < 2048) do split = 2 * split end
  local ahead = 4
  while ahead > 1 and (ahead - 1) * split >= chunks do ahead = ahead // 2 end
  return tiled.direct { warps = math.max(4, split), split = split, tiles = 1, ahead = ahead }
end
return {
  name = "linear",
  args = { "x: in act|nvfp4[rows,k]", "w: weight any[n,k]", "y: out act[rows,n]" },
  numbers = {},
  bake = { "n", "k" },
  tune = { { "warps", "w", { 1, 2, 4, 8, 16 } }, { "split", "s", { 1, 2, 4, 8, 16 } }, { "tiles", "t", { 1, 2, 4, 8 } },
    { "ahead", "a", { 1, 2, 4 } }, table.unpack(tiled.tune) },
  first = function(s, arch)   -- few rows: warps share the chunks of k, many rows: through shared memory
    if s.rows <= 8 then return few(s) end
    if tiled.covers(product(s)) then return tiled.first(product(s), arch) end
    return tiled.direct { warps = 4, split = 1, tiles = math.min(8, tiles(s)), ahead = 1 }
  end,
  rules = {
    { "quantized activations meet NVFP4 weights", function(_, s) return s.type.x == "act"
      or s.format.w == "nvfp4" end },
    { "splits are whole warps", function(v) return v.warps % v.split == 0 end },
    { "partial sums fit static shared memory", function(v) return v.split == 1 or v.warps * v.tiles <= 64 end },
    { "a block's tiles are not more than the rows need", function(v, s) return v.tiles <= tiles(s) end },
    { "scale blocks are whole chunks", function(_, s) return s.format.w ~= "fp8_block" or s.block.w.k % 64 == 0 end },
    table.unpack(tiled.rules(product)),
  },
  program = function(v, s) return { tiled.launch("linear", v, product(s)) } end,
  cost = function(s) return { flop = 2 * s.rows * s.n * s.k,
    bytes = s.weight_bytes.w * s.n * s.k + s.rows * (2 * s.n + s.act_bytes.x * s.k) } end,
  accept = { ulp = 0.5, sums = function(v, s, order) return order.mma(s.format.w, s.k, v.split, s.type.x) end },
  cases = {
    { "smallest", rows = 1, n = 1, k = 1 },
    { "ragged", rows = 5, n = 37, k = 99 }, { "ragged_nvfp4", rows = 11, n = 37, k = 144, format = { w = "nvfp4" } },
    { "ragged_fp8", rows = 3, n = 50, k = 200, format = { w = "fp8" } },
    { "ragged_tiles", rows = 43, n = 70, k = 136 }, { "ragged_tiles_nvfp4", rows = 35, n = 150, k = 144, format = { w = "nvfp4" } },
    { "ragged_tiles_fp8", rows = 19, n = 50, k = 200, format = { w = "fp8" } },
    { "ragged_tiles_fp8_block", rows = 19, n = 150, k = 200, format = { w = "fp8_block" } },
    { "ragged_tiles_w4a4", rows = 35, n = 150, k = 384, format = { x = "nvfp4", w = "nvfp4" } },
    { "ragged_fp8_block", rows = 3, n = 150, k = 200, format = { w = "fp8_block" } },
    { "smallest_w4a4", rows = 1, n = 1, k = 16, format = { x = "nvfp4", w = "nvfp4" } },
    { "ragged_w4a4", rows = 11, n = 37, k = 400, format = { x = "nvfp4", w = "nvfp4" } },
    { "decode_w4a4", rows = 1, n = 8192, k = 2048, format = { x = "nvfp4", w = "nvfp4" } },
    { "prefill_w4a4", rows = 128, n = 8192, k = 2048, format = { x = "nvfp4", w = "nvfp4" } },
    { "decode", rows = 1, n = 8192, k = 2048, format = { w = "nvfp4" } },
    { "prefill", rows = 128, n = 8192, k = 2048, format = { w = "nvfp4" } },
    { "prefill_bf16", rows = 512, n = 8192, k = 2048 },
  },
}
