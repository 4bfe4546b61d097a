-- Verified drafts: of each sequence's newest drafts[slot] rows the longest run that the model itself would have chosen. Row i of a step
-- was fed ids[i]; token is the greedy choice behind each wanted row. A draft is accepted when the choice behind the row before it is
-- the draft itself and all drafts before it were; next is the choice behind the last accepted row, rejected what is to be taken back.
-- All three stay on the device by slot, for the next step's ops and for whoever reads them; slots outside of the step keep theirs.
return {
  name = "draft_accept",
  args = {
    "ids: in i32[rows]", "token: in i32[outs]", "drafts: in i32[slots]",
    "accepted: inout i32[slots]", "next: inout i32[slots]", "rejected: inout i32[slots]",
  },
  numbers = {},
  bake = {},
  tune = { { "threads", "t", { 32, 64, 128 } } },
  first = { threads = 32 },
  program = function(v, s)
    return { { entry = "draft_accept", grid = (s.seqs + v.threads - 1) // v.threads, block = v.threads, smem = 0 } }
  end,
  cost = function(s) return { flop = 0, bytes = 4 * (s.rows + s.outs + 4 * s.seqs) } end,
  accept = {},   -- whole numbers: exactly the reference's
  -- All rows but a sequence's first are drafts. Of the last one's all are right, of others' all but two: a wrong one and one that is
  -- right and lost behind it. Every row is wanted.
  integers = function(s, step)
    local lists = { ids = {}, token = {}, drafts = {}, accepted = {}, next = {}, rejected = {} }
    step.out_row = {}
    for row = 1, step.rows do step.out_row[row], lists.ids[row], lists.token[row] = row - 1, 100 + row, 900 + row end
    for row = step.rows + 1, s.rows do lists.ids[row] = 7 end
    for out = step.rows + 1, s.outs do lists.token[out] = 7 end
    for slot = 1, s.slots do
      lists.drafts[slot], lists.accepted[slot], lists.next[slot], lists.rejected[slot] = 5, 50 + slot, 60 + slot, 70 + slot
    end
    for i, slot in ipairs(step.slot) do
      local first, last = step.seq_start[i], step.seq_start[i + 1]
      local drafts = last - first - 1
      lists.drafts[slot + 1] = drafts
      local right = i == #step.slot and drafts or math.max(drafts - 2, 0)
      for j = 1, right do lists.token[last - drafts + j - 1] = lists.ids[last - drafts + j] end
      if right + 2 <= drafts then lists.token[last - drafts + right + 1] = lists.ids[last - drafts + right + 2] end
    end
    return lists
  end,
  cases = {
    { "smallest", rows = 1, outs = 1 }, { "ragged", rows = 13, outs = 13, seqs = { 1, 4, 3, 5 } },
    { "decode", rows = 5, outs = 5, seqs = { 5 } }, { "prefill", rows = 128, outs = 128 },
  },
}
