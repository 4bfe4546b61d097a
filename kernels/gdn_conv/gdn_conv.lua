-- Causal depthwise convolution over the DeltaNet projections, then silu. The window holds the inputs, newest column last;
-- cols = width - 1 + versions - 1, so that a step may go back by up to versions - 1 rows: by rejected[slot], which lies on the device,
-- where that is there, else by what the step says.
local counts = require "kernels.include.counts"
return {
  name = "gdn_conv",
  args = { "x: in act[rows,cd]", "w: weight any[cd,width]", "window: state act[slots,cols,cd]", "y: out act[rows,cd]",
    "rejected: in? i32[slots]" },
  numbers = {},
  bake = { "cd", "width" },
  tune = { { "threads", "t", { 32, 64, 128, 256, 512 } }, { "part", "r", { 8, 16, 32, 64 } } },
  first = function(s) return { threads = 64, part = math.max(32, s.width - 1) } end,
  rules = {
    { "only the first rows reach into the window", function(v, s) return v.part >= s.width - 1 end },
    { "filters are bf16", function(_, s) return s.format.w == "bf16" or s.format.w == "f32" or s.format.w == "f16" end },
  },
  program = function(v, s) return { { entry = "gdn_conv", grid = { (s.cd + v.threads - 1) // v.threads, s.seqs,
    (s.rows + v.part - 1) // v.part },
    block = v.threads, smem = 0 } } end,
  cost = function(s)
    return { flop = s.rows * s.cd * (2 * s.width + 4),
      bytes = s.cd * (4 * s.rows + 2 * s.width + 4 * s.seqs * (s.width - 1)) }
  end,
  accept = { ulp = 0.5, sums = function(_, s) return s.width / 2 + 3 end },   -- the filter's products in order; silu
  integers = counts.rejected,
  cases = {
    { "smallest", rows = 1, cd = 1, width = 2, cols = 1 },
    { "ragged", rows = 7, cd = 37, width = 4, cols = 5, versions = 3 },
    { "ragged_rejected", rows = 7, cd = 37, width = 4, cols = 5, versions = 3, with = { "rejected" } },
    { "ragged_parts", rows = 83, cd = 37, width = 4, cols = 5, versions = 3 },
    { "decode", rows = 1, cd = 8192, width = 4, cols = 3 }, { "prefill", rows = 128, cd = 8192, width = 4, cols = 3 },
  },
}
