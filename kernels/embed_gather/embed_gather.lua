-- Rows of the embedding table.
return {
  name = "embed_gather",
  args = { "ids: in i32[rows]", "w: weight any[v,h]", "y: out act[rows,h]" },
  numbers = {},
  bake = { "v", "h" },
  tune = { { "threads", "t", { 32, 64, 128, 256, 512 } } },
  first = { threads = 128 },
  rules = { { "the table is bf16", function(_, s) return s.format.w == "bf16" or s.format.w == "f32"
    or s.format.w == "f16" end } },
  program = function(v, s) return { { entry = "embed_gather", grid = s.rows, block = v.threads, smem = 0 } } end,
  cost = function(s) return { flop = 0, bytes = s.rows * (4 + 4 * s.h) } end,
  accept = { ulp = 0.5, sums = 0 },   -- a copy; cases have a part of the model's 248320 rows, which differ in nothing
  cases = {
    { "smallest", rows = 1, v = 1, h = 1 }, { "ragged", rows = 5, v = 33, h = 37 },
    { "decode", rows = 1, v = 16384, h = 2048 },
    { "prefill", rows = 128, v = 16384, h = 2048 },
  },
}
