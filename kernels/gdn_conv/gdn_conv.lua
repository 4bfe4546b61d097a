-- Causal depthwise convolution over the DeltaNet projections, then silu. The window holds the inputs, newest column last;
-- cols = width - 1 + versions - 1, so that a step may go back by up to versions - 1 rows.
return {
  name = "gdn_conv",
  args = { "x: in act[rows,cd]", "w: weight any[cd,width]", "window: state act[slots,cols,cd]", "y: out act[rows,cd]" },
  numbers = {},
  bake = { "cd", "width" },
}
