-- The gated activation of the shared expert; y_codes: y as NVFP4 as well, as quantize_nvfp4 makes it of the stored y.
return {
  name = "swiglu",
  args = { "gate: in act[rows,i]", "up: in act[rows,i]", "y: out act[rows,i]",
    "y_codes: out? nvfp4[rows,i]" },
  numbers = {},
  bake = { "i" },
  tune = { { "threads", "t", { 32, 64, 128, 256, 512 } } },
  first = { threads = 128 },
  program = function(v, s) return { { entry = "swiglu", grid = { (s.i + v.threads - 1) // v.threads, s.rows },
    block = v.threads, smem = 0 } } end,
  cost = function(s) return { flop = 5 * s.rows * s.i, bytes = s.rows * s.i * (s.has.y_codes and 6.5625 or 6) } end,
  -- exp 2, the sum, the division and the product half a unit each, one to spare; codes of the kernel's own y
  accept = { ulp = 0.5, sums = 4, codes = { y_codes = "y" }, exact = true },
  cases = { { "smallest", rows = 1, i = 1 }, { "ragged", rows = 5, i = 37 }, { "ragged_codes", rows = 5, i = 80, with = { "y_codes" } }, { "decode", rows = 1, i = 512 },
    { "prefill", rows = 128, i = 512 } },
}
