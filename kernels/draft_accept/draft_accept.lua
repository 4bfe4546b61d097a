-- Verified drafts, and what follows from them, left on the device by slot for the next steps' ops and for whoever reads it.
-- A sequence's newest drafts[slot] rows were fed guesses; token is the model's greedy choice behind each wanted row. A draft is accepted
-- when the choice behind the row before it is that draft and all drafts before it were accepted.
--   accepted   how many; rejected: the others, which the next step takes back
--   followed   what comes behind the row in front of the drafts: the accepted ones, then the model's own choice, then -1; all of it -1
--              where that row is not wanted
--   taken      rows of the sequence so far, rejected ones left out (a sequence whose first row has position 0 starts over)
-- and, of a sequence with drafts, for the draft head, which runs over the same rows next, and for a next step laid out like this one:
--   mtp_taken  taken before the step; mtp_ids: the token behind each row, the model's choice from the last accepted row on
--   ids        that choice, where the row in front of the drafts was
return {
  name = "draft_accept",
  args = {
    "ids: inout i32[rows]", "token: in i32[outs]", "drafts: in i32[slots]", "accepted: inout i32[slots]",
    "rejected: inout i32[slots]", "followed: inout i32[slots,versions]", "taken: inout i32[slots]",
    "mtp_taken: inout i32[slots]", "mtp_ids: inout i32[rows]",
  },
  numbers = {},
  bake = {},
  tune = { { "threads", "t", { 32, 64, 128 } } },
  first = { threads = 32 },
  program = function(v, s)
    return { { entry = "draft_accept", grid = (s.seqs + v.threads - 1) // v.threads, block = v.threads, smem = 0 } }
  end,
  cost = function(s) return { flop = 0, bytes = 4 * (3 * s.rows + s.outs + (6 + s.versions) * s.seqs) } end,
  accept = {},   -- whole numbers: exactly the reference's
  -- All rows but a sequence's first are drafts, as many as there are versions for. Of the last one's all are right, of others' all but
  -- two: a wrong one and one that is right and lost behind it. Every row is wanted.
  integers = function(s, step)
    local lists = { ids = {}, token = {}, drafts = {}, accepted = {}, rejected = {}, followed = {}, taken = {}, mtp_taken = {},
      mtp_ids = {} }
    step.out_row = {}
    for row = 1, step.rows do step.out_row[row], lists.ids[row], lists.token[row] = row - 1, 100 + row, 900 + row end
    for row = step.rows + 1, s.rows do lists.ids[row] = 7 end
    for out = step.rows + 1, s.outs do lists.token[out] = 7 end
    for row = 1, s.rows do lists.mtp_ids[row] = 300 + row end
    for slot = 1, s.slots do
      lists.drafts[slot], lists.accepted[slot], lists.rejected[slot], lists.mtp_taken[slot] = 5, 50 + slot, 60 + slot, 70 + slot
      lists.taken[slot] = 80 + slot
    end
    for i = 1, s.slots * s.versions do lists.followed[i] = 400 + i end
    for i, slot in ipairs(step.slot) do
      local first, last = step.seq_start[i], step.seq_start[i + 1]
      local drafts = math.min(last - first, s.versions) - 1
      lists.drafts[slot + 1] = drafts
      local right = i == #step.slot and drafts or math.max(drafts - 2, 0)
      for j = 1, right do lists.token[last - drafts + j - 1] = lists.ids[last - drafts + j] end
      if right + 2 <= drafts then lists.token[last - drafts + right + 1] = lists.ids[last - drafts + right + 2] end
    end
    return lists
  end,
  cases = {
    { "smallest", rows = 1, outs = 1 }, { "ragged", rows = 15, outs = 15, seqs = { 1, 4, 3, 7 }, versions = 5 },
    { "decode", rows = 5, outs = 5, seqs = { 5 }, versions = 5 }, { "prefill", rows = 128, outs = 128 },
  },
}
