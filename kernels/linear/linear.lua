-- y = x · wᵀ, whatever the weight is stored as; x plain or NVFP4.
local function tiles(s) return (s.rows + 7) // 8 end
return {
  name = "linear",
  args = { "x: in act|nvfp4[rows,k]", "w: weight any[n,k]", "y: out act[rows,n]" },
  numbers = {},
  bake = { "n", "k" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } }, { "split", "s", { 1, 2, 4, 8 } }, { "tiles", "t", { 1, 2, 4, 8 } },
    { "ahead", "a", { 1, 2, 4 } } },
  first = function(s)   -- few rows: warps share the chunks of k, many rows: each warp has its own weight rows
    local many = s.rows > 8
    return { warps = 4, split = many and 1 or 4, tiles = math.min(many and 8 or 1, tiles(s)), ahead = many and 1 or 4 }
  end,
  rules = {
    { "quantized activations meet NVFP4 weights", function(_, s) return s.type.x == "act"
      or s.format.w == "nvfp4" end },
    { "splits are whole warps", function(v) return v.warps % v.split == 0 end },
    { "a block's tiles are not more than the rows need", function(v, s) return v.tiles <= tiles(s) end },
    { "scale blocks are whole chunks", function(_, s) return s.format.w ~= "fp8_block" or s.block.w.k % 64 == 0 end },
  },
  program = function(v, s)
    local rows_n = 16 * (v.warps // v.split)
    return { { entry = "linear", grid = { (s.n + rows_n - 1) // rows_n, (s.rows + 8 * v.tiles - 1) // (8 * v.tiles) },
      block = 32 * v.warps, smem = 0 } }
  end,
  cost = function(s) return { flop = 2 * s.rows * s.n * s.k,
    bytes = s.weight_bytes.w * s.n * s.k + s.rows * (2 * s.n + s.act_bytes.x * s.k) } end,
  accept = { ulp = 0.5, sums = function(v, s, order) return order.mma(s.format.w, s.k, v.split, s.type.x) end },
  cases = {
    { "smallest", rows = 1, n = 1, k = 1 },
    { "ragged", rows = 5, n = 37, k = 99 }, { "ragged_nvfp4", rows = 11, n = 37, k = 144, format = { w = "nvfp4" } },
    { "ragged_fp8", rows = 3, n = 50, k = 200, format = { w = "fp8" } },
    { "ragged_fp8_block", rows = 3, n = 150, k = 200, format = { w = "fp8_block" } },
    { "smallest_w4a4", rows = 1, n = 1, k = 16, format = { x = "nvfp4", w = "nvfp4" } },
    { "ragged_w4a4", rows = 11, n = 37, k = 400, format = { x = "nvfp4", w = "nvfp4" } },
    { "decode_w4a4", rows = 1, n = 8192, k = 2048, format = { x = "nvfp4", w = "nvfp4" } },
    { "prefill_w4a4", rows = 128, n = 8192, k = 2048, format = { x = "nvfp4", w = "nvfp4" } },
    { "decode", rows = 1, n = 8192, k = 2048, format = { w = "nvfp4" } },
    { "prefill", rows = 128, n = 8192, k = 2048, format = { w = "nvfp4" } },
  },
}
