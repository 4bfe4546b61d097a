-- Causal depthwise convolution over the DeltaNet projections, then silu. The window holds the inputs, newest column last;
-- cols = width - 1 + versions - 1, so that a step may go back by up to versions - 1 rows.
return {
  name = "gdn_conv",
  args = { "x: in act[rows,cd]", "w: weight any[cd,width]", "window: state act[slots,cols,cd]", "y: out act[rows,cd]" },
  numbers = {},
  bake = { "cd", "width" },
  tune = { { "threads", "t", { 32, 64, 128, 256, 512 } } },
  first = { threads = 64 },
  rules = { { "filters are bf16", function(_, s) return s.format.w == "bf16" or s.format.w == "f32" or s.format.w == "f16" end } },
  program = function(v, s) return { { entry = "gdn_conv", grid = { (s.cd + v.threads - 1) // v.threads, s.seqs }, block = v.threads, smem = 0 } } end,
}
