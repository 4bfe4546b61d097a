-- gate_data: what `nibble gate` knows about the families.
-- cases: besides the spec's small ones: extents at which every loop goes round several times and every warp has work, so that a
-- fault has an effect; `set` are tunables other than the first variant's.
-- reasons: mutants that survive because they are right. A row holds for mutants of that family and kind whose CUDA line contains
-- `at` (and whose instruction contains `text`), on every architecture or those that begin with `arch`; one that explains nothing is
-- an error.
local SAME_SCALE = "lanes of a quad that a selector may name hold the same scale word: "
  .. "each loads that of its own row or column"
local WHOLE = "every access to what lies there goes by this one address: it moves as a whole, into room that these extents leave"
local SPLIT = { warps = 4, split = 4, tiles = 1, across = 1, blocks = 1, stages = 0 }   -- rows straight from memory
return {
  cases = {
    attention = {
      { "long", rows = 4, heads = 4, kv_heads = 2, d = 40, d2 = 80, past = 300, seqs = 1 },
      { "long_fp8", rows = 4, heads = 4, kv_heads = 2, d = 40, d2 = 80, past = 300, seqs = 1, kv = "fp8" },
      { "wide", rows = 2, heads = 2, kv_heads = 1, d = 200, d2 = 400, past = 40, seqs = 1, set = { warps = 1 } },
    },
    attn_prep = { { "wide", rows = 3, heads = 3, kv_heads = 2, d = 72, d2 = 144, half = 20 } },
    gdn_delta = {
      { "warps", rows = 9, hk = 2, hv = 4, dk = 24, dv = 64, cd = 352, versions = 2 },
      { "rounds", rows = 5, hk = 1, hv = 2, dk = 200, dv = 16, cd = 432, set = { parts = 2 } },
    },
    lm_head_sample = {
      { "vocabulary", rows = 24, outs = 24, v = 2309, h = 32 }, { "vocabulary_few", rows = 8, outs = 8, v = 340, h = 520 },
      { "vocabulary_parts", rows = 24, outs = 24, v = 2309, h = 32, set = { top_part = 64 } },
    },
    moe_fc1 = {
      { "alone", rows = 1, slots = 1, top_k = 3, e = 3, i = 40, h = 320 },
      { "alone_w4a4", rows = 1, slots = 1, top_k = 3, e = 3, i = 40, h = 640, format = { x = "nvfp4", gate = "nvfp4", up = "nvfp4" } },
      { "crowded", rows = 45, slots = 1, top_k = 3, e = 3, i = 20, h = 80 },
      { "crowded_codes", rows = 45, slots = 1, top_k = 3, e = 3, i = 48, h = 80, with = { "y_codes" },
        quantizers = { y_codes = 7 } },
      { "crowded_split", rows = 21, slots = 1, top_k = 3, e = 3, i = 40, h = 320, set = SPLIT },
      { "queue", rows = 180, slots = 1, top_k = 3, e = 3, i = 20, h = 336, set = { warps = 4 } },
    },
    moe_fc2 = {
      { "alone", rows = 1, top_k = 3, e = 3, i = 320, h = 40 },
      { "crowded", rows = 45, top_k = 3, e = 3, i = 80, h = 20 },
      { "crowded_w4a4", rows = 45, top_k = 3, e = 3, i = 144, h = 20, format = { x = "nvfp4", down = "nvfp4" } },
      { "crowded_split", rows = 21, top_k = 3, e = 3, i = 320, h = 40, set = SPLIT },
      { "queue", rows = 180, top_k = 3, e = 3, i = 336, h = 20, set = { warps = 4 } },
    },
    router = {
      { "ragged_nvfp4", rows = 43, e = 37, h = 144, top_k = 5, format = { w = "nvfp4" } },
      { "wide", rows = 130, e = 130, h = 176, top_k = 3,
        set = { warps = 4, split = 1, ahead = 1, across = 2, blocks = 4, tiles = 8, stages = 2 } },
    },
    rmsnorm = { { "wide", rows = 2, groups = 2, h = 1500, with = { "delta", "sum" } } },
  },
  reasons = {
    { family = "attn_prep", kind = "offset", arch = "sm_90", at = "*s_turn = s_turns[warp]", text = "mov.u64", reason = WHOLE },
    { family = "attention", kind = "offset", at = "", text = "E6s_room;", reason = WHOLE },
    { family = "gdn_delta", kind = "offset", at = "", text = "E7s_batch;", reason = WHOLE },
    { family = "linear", kind = "offset", at = "float *s_sum = (float *)(ring()", text = "s_ring;", reason = WHOLE },
    { family = "lm_head_sample", kind = "offset", at = "float *s_sum = (float *)(ring()", text = "s_ring;", reason = WHOLE },
    { family = "moe_fc1", kind = "offset", arch = "sm_12", at = "", text = "s_ring;", reason = WHOLE },
    { family = "moe_fc1", kind = "offset", arch = "sm_12", at = "", text = "E6s_part;", reason = WHOLE },
    { family = "moe_fc2", kind = "offset", arch = "sm_12", at = "", text = "s_ring;", reason = WHOLE },
    { family = "moe_fc2", kind = "offset", arch = "sm_12", at = "", text = "E6s_part;", reason = WHOLE },
    { family = "router", kind = "offset", at = "float *s_sum = (float *)(ring()", text = "s_ring;", reason = WHOLE },
    { family = "linear", kind = "selector", arch = "sm_12", at = "\"r\"(scale_a), \"r\"(scale_b)", reason = SAME_SCALE },
    { family = "lm_head_sample", kind = "selector", arch = "sm_12", at = "\"r\"(scale_a), \"r\"(scale_b)", reason = SAME_SCALE },
    { family = "moe_fc1", kind = "selector", arch = "sm_12", at = "\"r\"(scale_a), \"r\"(scale_b)", reason = SAME_SCALE },
    { family = "moe_fc2", kind = "selector", arch = "sm_12", at = "\"r\"(scale_a), \"r\"(scale_b)", reason = SAME_SCALE },
  },
}
