-- Rows of the embedding table.
return {
  name = "embed_gather",
  args = { "ids: in i32[rows]", "w: weight any[v,h]", "y: out act[rows,h]" },
  numbers = {},
  bake = { "v", "h" },
  tune = { { "threads", "t", { 32, 64, 128, 256, 512 } } },
  first = { threads = 128 },
  rules = { { "the table is bf16", function(_, s) return s.format.w == "bf16" or s.format.w == "f32" or s.format.w == "f16" end } },
  program = function(v, s) return { { entry = "embed_gather", grid = s.rows, block = v.threads, smem = 0 } } end,
}
