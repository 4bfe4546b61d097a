-- The gated activation of the shared expert.
return {
  name = "swiglu",
  args = { "gate: in act[rows,i]", "up: in act[rows,i]", "y: out act[rows,i]" },
  numbers = {},
  bake = { "i" },
  tune = { { "threads", "t", { 32, 64, 128, 256, 512 } } },
  first = { threads = 128 },
  program = function(v, s) return { { entry = "swiglu", grid = { (s.i + v.threads - 1) // v.threads, s.rows },
    block = v.threads, smem = 0 } } end,
  cost = function(s) return { flop = 5 * s.rows * s.i, bytes = 6 * s.rows * s.i } end,
  accept = { ulp = 0.5, sums = 4 },   -- exp 2, the sum, the division and the product half a unit each, one to spare
  cases = { { "smallest", rows = 1, i = 1 }, { "ragged", rows = 5, i = 37 }, { "decode", rows = 1, i = 512 },
    { "prefill", rows = 128, i = 512 } },
}
