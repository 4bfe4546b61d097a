-- The gated activation of the shared expert.
return {
  name = "swiglu",
  args = { "gate: in act[rows,i]", "up: in act[rows,i]", "y: out act[rows,i]" },
  numbers = {},
  bake = { "i" },
  tune = { { "threads", "t", { 32, 64, 128, 256, 512 } } },
  first = { threads = 128 },
  program = function(v, s) return { { entry = "swiglu", grid = { (s.i + v.threads - 1) // v.threads, s.rows }, block = v.threads, smem = 0 } } end,
}
