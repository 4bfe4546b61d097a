-- Rows of the embedding table.
return {
  name = "embed_gather",
  args = { "ids: in i32[rows]", "w: weight any[v,h]", "y: out act[rows,h]" },
  numbers = {},
  bake = { "v", "h" },
}
