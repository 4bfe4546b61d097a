-- The gated delta rule: recurrent state per value head, read and corrected row by row.
-- qkv holds q, k (hk heads of dk) and v (hv heads of dv) side by side; value head j uses key head j / (hv / hk).
-- numbers: hk, eps (inside the root of the q and k l2 norm).
return {
  name = "gdn_delta",
  args = {
    "qkv: in act[rows,cd]", "a: in act[rows,hv]", "b: in act[rows,hv]", "a_log: weight any[one,hv]", "dt_bias: weight any[one,hv]",
    "state: state f32[slots,versions,hv,dk,dv]", "y: out act[rows,hv,dv]",
  },
  numbers = { "hk", "eps" },
  bake = { "cd", "hv", "dk", "dv" },
  tune = { { "parts", "p", { 1, 2, 4, 8 } } },
  first = function(s)   -- at most 32 state elements a thread, whole warps
    local parts = 1
    while parts < 8 and (s.dk > 32 * parts or s.dv * parts % 32 ~= 0) do parts = 2 * parts end
    return { parts = parts }
  end,
  rules = {
    { "whole warps", function(v, s) return s.dv * v.parts % 32 == 0 and s.dv * v.parts <= 1024 end },
    { "the state fits registers", function(v, s) return s.dk <= 128 * v.parts end },
  },
  program = function(v, s) return { { entry = "gdn_delta", grid = s.seqs * s.hv, block = s.dv * v.parts, smem = 0 } } end,
}
