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
  program = function(v, s) return { { entry = "combine", grid = { (s.h + v.threads - 1) // v.threads, s.rows },
    block = v.threads, smem = 0 } } end,
  cost = function(s)
    return { flop = s.rows * s.h * (2 * s.top_k + 2), bytes = s.rows * (2 * s.h * (s.top_k + 3) + 2 * s.top_k + 2) }
  end,
  -- the sum in order; sigmoid 3, two more operations
  accept = { ulp = 0.5, sums = function(_, s) return s.top_k / 2 + 5 end },
  cases = {
    { "smallest", rows = 1, top_k = 1, h = 1 }, { "ragged", rows = 5, top_k = 3, h = 37 },
    { "decode", rows = 1, top_k = 8, h = 2048 },
    { "prefill", rows = 128, top_k = 8, h = 2048 },
  },
}
