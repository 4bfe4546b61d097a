-- margin: may greedy tokens of a run differ from its reference's, and where? Judged teacher-forced: both were fed the same tokens, so
-- every row stands behind one past and is judged by itself.
--   margin.judge(got, want, runs)     got, want: logits [n,V] of the run and of the reference; runs: of the reference with its
--                                     embeddings perturbed by 1e-6 (tests/lib/spread.lua), at least 8 of them
--       → { ok =, rows = n, flips = rows whose largest logit is another token's (the lowest index among equals),
--           beyond = flips that nothing excuses, worst = { row =, got =, want =, margin =, spread =, ratio = margin / spread } of the
--           flip with the largest ratio, nil without flips }
-- The rule: where the run takes token a and the reference b, the reference's margin z_b - z_a must be below FACTOR times the spread of
-- that same difference at that same row, which is the root mean square, over the perturbed runs, of how far z_b - z_a moved.
-- The reason: a flip by itself proves that the run's difference deviates by more than the margin, whatever made it do so; so how far
-- the run deviates excuses nothing. What may excuse it is how far the model itself moves there for a cause too small to be called
-- one: sums in another order differ by about 1e-6, as perturbed embeddings do, and rounding to bf16, router choices and NVFP4 codes
-- make of both what this row makes of them, next to nothing at one row and whole units at another. A largest deviation over all
-- rows would lend the worst row's chaos to every row.
-- FACTOR 4: with 12 runs the spread is known to a fifth, and a sound run's difference is one more draw of it. Perturbed runs judged
-- by others' spread stayed below 3.3 over 1280 rows of ten checkpoints, kernels on emu:sm_120a below 2.9 (2026-11-24, x86-64); a
-- doubled epsilon or one wrong expert of one layer reaches 14 to 90 in bf16, FP8 and W4A16. W4A4 moves by half a unit at most rows
-- whatever is done to it: there a fault may have to be as large as a tenfold epsilon to be told from chaos by tokens, and only the
-- op-local bounds see smaller ones.
local nb = require "nibble"
local margin = {}
local FACTOR = 4

function margin.judge(got, want, runs)
  local n, vocab = table.unpack(want:shape())
  assert(#runs >= 8 and got:shape()[1] == n and got:shape()[2] == vocab)
  local v, greedy = { ok = true, rows = n, flips = 0, beyond = 0 }, nb.sampler {}
  for row = 0, n - 1 do
    local b, a = assert(greedy:pick(want, row)), greedy:pick(got, row)
    if a ~= b then   -- nil, too: a row with NaN is no choice
      local function difference(logits) return logits:get(row * vocab + b) - logits:get(row * vocab + (a or b)) end
      local m, squares = difference(want), 0.0
      for _, run in ipairs(runs) do squares = squares + (difference(run) - m) ^ 2 end
      local spread = math.sqrt(squares / #runs)
      local ratio = m / spread
      if not a or ratio ~= ratio or spread == math.huge then ratio = math.huge end   -- what is not finite excuses nothing
      v.flips = v.flips + 1
      if not (ratio < FACTOR) then v.ok, v.beyond = false, v.beyond + 1 end
      if not v.worst or ratio > v.worst.ratio then
        v.worst = { row = row, got = a, want = b, margin = m, spread = spread, ratio = ratio }
      end
    end
  end
  return v
end

-- A verdict in words.
function margin.text(v)
  local w = v.worst
  return ("%d of %d rows choose another token, %d beyond what the reference moves by itself%s"):format(v.flips, v.rows, v.beyond,
    w and ("; largest margin/spread %.3g at row %d: %.3g of %.3g"):format(w.ratio, w.row, w.margin, w.spread) or "")
end

return margin
