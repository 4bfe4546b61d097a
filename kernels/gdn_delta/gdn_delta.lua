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
}
