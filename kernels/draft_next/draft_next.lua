-- Behind a run of the draft head: what it chose becomes the next draft. Its step holds, of each sequence, the rows that draft_accept
-- verified (the first run, where the last accepted row counts) or one row (later runs).
--   ids        of the next step of the model, in which a sequence has a row more than drafts: the choice, at the draft's place
-- and for the draft head's next run, one row a sequence, in the order of the step:
--   mtp_ids    the choice; hidden: what the head made of the row that counts (x); mtp_taken: the position behind that row
return {
  name = "draft_next",
  args = {
    "token: in i32[outs]", "x: in act[rows,h]", "drafts: in i32[slots]", "accepted: in i32[slots]", "taken: in i32[slots]",
    "ids: inout i32[rows]", "mtp_ids: inout i32[rows]", "mtp_taken: inout i32[slots]", "hidden: inout act[rows,h]",
  },
  numbers = {},
  whole = true,   -- ids are of a step with more rows than this one
  bake = { "h" },
  tune = { { "threads", "t", { 32, 64, 128, 256 } } },
  first = function(s) return { threads = s.h >= 1024 and 256 or 64 } end,
  program = function(v, s) return { { entry = "draft_next", grid = s.seqs, block = v.threads, smem = 0 } } end,
  cost = function(s) return { flop = 0, bytes = s.seqs * (4 * s.h + 32) } end,
  accept = { ulp = 0.5 },   -- copies
  -- A first run of three drafts a sequence: 0, 1, … of the rows were accepted.
  integers = function(s, step)
    local lists = { token = {}, drafts = {}, accepted = {}, taken = {}, ids = {}, mtp_ids = {}, mtp_taken = {} }
    step.out_row = {}
    for row = 1, step.rows do step.out_row[row] = row - 1 end
    for out = 1, s.outs do lists.token[out] = 900 + out end
    for row = 1, s.rows do lists.ids[row], lists.mtp_ids[row] = 100 + row, 200 + row end
    for slot = 1, s.slots do
      lists.drafts[slot], lists.accepted[slot], lists.mtp_taken[slot] = 3, slot, 80 + slot
      lists.taken[slot] = lists.mtp_taken[slot] + 1
    end
    for i, slot in ipairs(step.slot) do
      local n = step.seq_start[i + 1] - step.seq_start[i]
      lists.accepted[slot + 1] = (i - 1) % 4
      local row = math.min(lists.accepted[slot + 1], n - 1)
      lists.taken[slot + 1] = (step.pos[step.seq_start[i] + 1] == 0 and 0 or lists.mtp_taken[slot + 1]) + row + 1 - (n == 1 and 1 or 0)
    end
    return lists
  end,
  cases = {
    { "smallest", rows = 4, seqs = { 4 }, outs = 4, h = 1 }, { "ragged", rows = 12, seqs = { 4, 4, 4 }, outs = 12, h = 37 },
    { "later", rows = 12, live = 3, seqs = { 1, 1, 1 }, outs = 3, h = 80 }, { "decode", rows = 4, seqs = { 4 }, outs = 4, h = 2048 },
  },
}
