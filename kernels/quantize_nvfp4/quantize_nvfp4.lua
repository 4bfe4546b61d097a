-- Activations to NVFP4 codes and block scales, with the input scale of the weights that will read them.
-- slots = slots_in, or slots_in = 1 and slots = top_k: then every routed slot is quantized with its own expert's
-- input scale.
return {
  name = "quantize_nvfp4",
  args = { "x: in act[rows,slots_in,k]", "experts: in? i32[rows,top_k]", "y: out nvfp4[rows,slots,k]" },
  numbers = {},
  bake = { "slots_in", "top_k", "slots", "k" },
  tune = { { "threads", "t", { 32, 64, 128, 256 } } },
  first = function(s)   -- a thread a block of 16; enough blocks for every multiprocessor at one row
    local threads = 32
    while threads < 128 and s.rows > 8 and threads < s.slots * s.k // 16 do threads = 2 * threads end
    return { threads = threads }
  end,
  rules = {
    { "vectors begin at 16 bytes", function(_, s) return s.ld.x % 8 == 0 end },
    { "a slot reads its own vector or the row's only one", function(_, s) return s.slots_in == s.slots
      or s.slots_in == 1 end },
  },
  program = function(v, s)
    local blocks_n = s.slots * s.k // 16
    return { { entry = "quantize_nvfp4", grid = { (blocks_n + v.threads - 1) // v.threads, s.rows }, block = v.threads,
      smem = 0 } }
  end,
  cost = function(s) return { flop = 4 * s.rows * s.slots * s.k,
    bytes = s.rows * (2 * s.slots_in * s.k + s.slots * s.k * 0.5625) } end,
  -- every operation is the exact build's, so no code and no scale differs from the reference's; another kernel's may,
  -- δ beside a tie: product, division and inverse of the quotient each round, twice over (s and the scale)
  accept = { exact = true, tie = 2.0 ^ -21 },
  cases = {
    { "smallest", rows = 1, slots_in = 1, slots = 1, k = 16 }, { "ragged", rows = 5, slots_in = 3, slots = 3, k = 48 },
    { "each_expert", rows = 6, slots_in = 1, slots = 3, top_k = 3, e = 5, k = 80, with = { "experts" },
      quantizers = { y = 5 } },
    { "decode", rows = 1, slots_in = 1, slots = 1, k = 2048 },
    { "prefill", rows = 128, slots_in = 1, slots = 1, k = 2048 },
  },
}
