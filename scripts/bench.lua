-- bench: speed of a checkpoint's model on a device: decode at N sequences and prefill, beside the bytes a step must move
-- needs: a device that measures (cuda:N); weights may be random (nibble synthetic): the figures do not depend on them
-- prints medians over repeats after a warm-up, with their spread; the floor is bytes over the bandwidth given with --gbps
local nb, args, session = require "nibble", require "scripts.lib.args", require "scripts.lib.session"
local uv = require "luv"

local opt = args.parse({
  name = "bench", summary = "Times decode and prefill of CKPT on a device.",
  positional = { { "ckpt", "checkpoint folder" } },
  options = session.options {
    { "prefill", 2048, "tokens of the prefill, 0: none", min = 0 }, { "decode", 64, "steps of decode", min = 1 },
    { "sequences", 1, "sequences decoded at once", min = 1, max = 256 }, { "repeats", 5, "runs of each", min = 1 },
    { "gbps", 0.0, "memory bandwidth measured on this device, for the floor", min = 0 },
    { "tflops", 0.0, "bf16 matrix rate measured on this device, for the floor", min = 0 },
  },
}, ...)

opt.slots, opt.max_len = opt.sequences, opt.prefill + opt.decode + 8
opt.impl = opt.impl or "w4a16"
local start = uv.hrtime()
local model <close> = session.open(opt.ckpt, opt)
local load_s = (uv.hrtime() - start) / 1e9
local c, ckpt = model.cfg, model.ckpt

-- Stored bytes of the matrices that one token needs: everything but the table of embeddings, and top_k of the experts.
local function bytes_of(logical, k, n)
  local w = ckpt:weight(logical)
  local bits = ({ nvfp4 = 4.5, fp8 = 8, fp8_block = 8 })[w.format] or 16
  return w.n * w.k * bits / 8
end
local dense, expert, flop = bytes_of "lm_head", 0.0, 2.0 * c.vocab * c.hidden
for i, kind in ipairs(c.types) do
  local at = "layers." .. (i - 1)
  local names = kind == "full_attention" and { "attn.q", "attn.k", "attn.v", "attn.o" }
    or { "gdn.qkv", "gdn.z", "gdn.a", "gdn.b", "gdn.out" }
  for _, name in ipairs { "router", "shared.gate", "shared.up", "shared.down", table.unpack(names) } do
    dense = dense + bytes_of(at .. "." .. name)
    local w = ckpt:weight(at .. "." .. name)
    flop = flop + 2 * w.n * w.k
  end
  for _, p in ipairs { "gate", "up", "down" } do
    expert = expert + bytes_of(at .. ".experts.0." .. p)
    flop = flop + 2 * c.top_k * c.hidden * c.expert_width
  end
end

local function stats(list)
  table.sort(list)
  return { median = list[#list // 2 + 1], min = list[1], max = list[#list] }
end

local seqs = {}
for i = 1, opt.sequences do seqs[i] = model:sequence() end
local function tokens(n, seed)
  local ids = {}
  for i = 1, n do ids[i] = (i * 7919 + seed * 104729) % c.vocab end
  return ids
end

local result = { device = model.desc.device and model.desc.device:name() or "host", load_s = load_s, numerics = model.numerics,
                 compilations = model.launches and model.launches.compilations }
if opt.prefill > 0 then
  local times = {}
  for r = 0, opt.repeats do
    model:reset(seqs[1])
    local ids = tokens(opt.prefill, r)
    local t0 = uv.hrtime()
    model:feed({ { seq = seqs[1], ids = ids } })
    if r > 0 then times[r] = opt.prefill / ((uv.hrtime() - t0) / 1e9) end
  end
  result.prefill = stats(times)
end
local function decode(steps)
  local t0 = uv.hrtime()
  for s = 1, steps do
    local ids, list, outs = {}, {}, {}
    for i, seq in ipairs(seqs) do
      ids[i], outs[i] = (s * 31 + i * 977) % c.vocab, i - 1
      list[i] = { slot = seq.slot, pos = seq.pos, n = 1, back = 0 }
      seq.pos = seq.pos + 1
    end
    local step = { seqs = list, outs = outs }
    assert(model.plan:write("ids", ids))
    assert(model.plan:run("embed", step))
    assert(model.plan:run("main", step))
    assert(model.plan:read("token", 0, #seqs))
  end
  return (uv.hrtime() - t0) / 1e9 / steps
end
local times = {}
for r = 0, opt.repeats do
  for _, seq in ipairs(seqs) do model:reset(seq) end
  local seconds = decode(opt.decode)
  if r > 0 then times[r] = opt.sequences / seconds end
end
result.decode = stats(times)
local experts_read = 1 - (1 - c.top_k / c.experts) ^ opt.sequences
result.bytes_per_step = dense + expert * c.experts * experts_read
if opt.gbps > 0 then result.decode_floor = opt.sequences / (result.bytes_per_step / (opt.gbps * 1e9)) end
if opt.tflops > 0 then result.prefill_floor = opt.tflops * 1e12 / flop end

if opt.json then args.print_json(result) return 0 end
print(("%s: loaded in %.1f s"):format(result.device, load_s))
if result.prefill then
  print(("prefill %d: %.0f tokens/s (%.0f to %.0f)%s"):format(opt.prefill, result.prefill.median, result.prefill.min,
    result.prefill.max,
    result.prefill_floor and (", math floor %.0f"):format(result.prefill_floor) or ""))
end
print(("decode, %d at once: %.1f tokens/s (%.1f to %.1f), %.3f GB a step%s"):format(opt.sequences, result.decode.median,
  result.decode.min, result.decode.max,
  result.bytes_per_step / 1e9, result.decode_floor and (", byte floor %.0f tokens/s"):format(result.decode_floor) or ""))
return 0
