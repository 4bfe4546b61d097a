-- The gated delta rule: recurrent state per value head, read and corrected row by row.
-- qkv holds q, k (hk heads of dk) and v (hv heads of dv) side by side; value head j uses key head j / (hv / hk).
-- A step starts from the state of rejected[slot] rows ago, which lies on the device, where that is there, else of the step's back.
-- numbers: hk, eps (inside the root of the q and k l2 norm).
local counts = require "kernels.include.counts"
return {
  name = "gdn_delta",
  args = {
    "qkv: in act[rows,cd]", "a: in act[rows,hv]", "b: in act[rows,hv]", "a_log: weight any[one,hv]",
    "dt_bias: weight any[one,hv]",
    "state: state f32[slots,versions,hv,dk,dv]", "y: out act[rows,hv,dv]", "rejected: in? i32[slots]",
  },
  numbers = { "hk", "eps" },
  bake = { "cd", "hv", "dk", "dv" },
  tune = { { "parts", "p", { 1, 2, 4, 8 } }, { "columns", "c", { 4, 8, 16, 32, 64, 128 } }, { "batch", "b", { 4, 8, 16 } } },
  first = function(s)   -- at most 32 state elements a thread, four warps of them, or fewer where there are few columns
    local parts, columns = 1, 32
    while parts < 8 and s.dk > 32 * parts do parts = 2 * parts end
    columns = 128 // parts
    while columns * parts > 32 and columns // 2 >= s.dv do columns = columns // 2 end
    return { parts = parts, columns = columns, batch = s.dk > 128 and 8 or 16 }
  end,
  rules = {
    { "whole warps", function(v) return v.columns * v.parts % 32 == 0 and v.columns * v.parts <= 512 end },
    { "the state fits registers", function(v, s) return s.dk <= 128 * v.parts end },
    { "two batches fit static shared memory", function(v, s)
      return 8 * v.batch * (2 * (s.dk + 4 * v.parts) + v.columns + 2) <= 49152
    end },
  },
  program = function(v, s)
    return { { entry = "gdn_delta", grid = s.seqs * s.hv * ((s.dv + v.columns - 1) // v.columns),
      block = v.columns * v.parts + 128, smem = 0 } }
  end,
  cost = function(s)
    local state = s.hv * s.dk * s.dv
    return { flop = 7 * s.rows * state, bytes = 8 * s.seqs * state + 2 * s.rows * (s.cd + 2 * s.hv + s.hv * s.dv) }
  end,
  -- the read's and the output's additions over dk; the norms of q and k; β, the rounded state and second-order terms
  accept = {
    ulp = 0.5, sums = function(v, s, order)
      local parts = math.log(v.parts, 2)
      return ((s.dk + v.parts - 1) // v.parts + 3 + parts) / 2 + order.block(s.dk, 32) / 4 + 8
    end,
  },
  example = function(s) return { hk = s.hk, eps = 1e-6 } end,
  integers = counts.rejected,
  cases = {   -- cd = 2 hk dk + hv dv
    { "smallest", rows = 1, hk = 1, hv = 1, dk = 4, dv = 4, cd = 12 },
    { "ragged", rows = 7, hk = 2, hv = 4, dk = 12, dv = 16, cd = 112, versions = 3 },
    { "ragged_rejected", rows = 7, hk = 2, hv = 4, dk = 12, dv = 16, cd = 112, versions = 3, with = { "rejected" } },
    { "decode", rows = 1, hk = 16, hv = 32, dk = 128, dv = 128, cd = 8192 },
    { "prefill", rows = 128, hk = 16, hv = 32, dk = 128, dv = 128, cd = 8192 },
  },
}
