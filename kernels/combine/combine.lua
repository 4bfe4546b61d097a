-- The experts' outputs weighed and added, then the gated shared expert.
return {
  name = "combine",
  args = {
    "y: in act[rows,top_k,h]", "weights: in act[rows,top_k]", "shared: in act[rows,h]", "shared_gate: in act[rows,one]",
    "routed: out act[rows,h]", "sum: out act[rows,h]",
  },
  numbers = {},
  bake = { "top_k", "h" },
  tune = { { "threads", "t", { 32, 64, 128, 256, 512 } } },
  first = { threads = 128 },
  program = function(v, s) return { { entry = "combine", grid = { (s.h + v.threads - 1) // v.threads, s.rows }, block = v.threads, smem = 0 } } end,
}
