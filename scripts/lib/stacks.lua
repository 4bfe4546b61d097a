-- stacks: what serving stacks make of a checkpoint, as data. Per stack a list of rules:
--   verdict  "refuses" (does not load) · "wrong" (loads and computes something else) · "unsure" (not
-- known) · "loses" (loads, a feature is gone)
--   on       ids of findings of which one suffices; or when = function(facts) → evidence (text) or nil
--   because, help (which conversion or change helps), source (F = nvfp4-formats specification; repository
-- and number as of 2026-09)
-- The verdict of a stack is its heaviest rule that fires, "loads" if none does.
local excludes = require "scripts.lib.excludes"
local stacks = {}

local WEIGHT = { refuses = 4, wrong = 3, unsure = 2, loses = 1 }

-- The first matrix whose stored form is not the one the stack builds: "plain but built packed" or the
-- reverse. never: classes the stack builds plain whatever the list says.
local function mismatch(reader, never)
  return function(f)
    local label = f.label
    if not label or label.layers or not (label.weight == "nvfp4" or label.weight == "fp8")
        or f.has.label_without_packed then
      return nil
    end
    local match = excludes[reader](label, f.class)
    for _, lin in ipairs(f.representatives) do
      if lin.class ~= "other" then
        local builds_plain = never[lin.class] or match(lin.module) ~= nil
        if builds_plain and lin.form ~= "plain" then
          return lin.module .. " is stored " .. lin.form .. " and built plain"
        end
        if not builds_plain and lin.form == "plain" then
          return lin.module .. " is stored plain and built " .. label.weight
        end
      end
    end
  end
end

local function stored(class, form)
  return function(f)
    for _, lin in ipairs(f.representatives) do
      if lin.class == class and lin.form == form then return lin.module end
    end
  end
end

local function ct_weight_only(f)
  return f.label and f.label.method == "compressed-tensors" and f.label.inputs == false
    and f.counts.nvfp4 > 0 and "no input activations in config_groups" or nil
end

local function modelopt_weight_only_experts(f)
  if not f.label or f.label.method ~= "modelopt" or f.label.inputs ~= false or f.has.label_weight_only_inputs then
    return nil
  end
  return stored("experts", "nvfp4")(f)
end

-- Plain MTP layers that vLLM builds quantized; it makes an exception for mtp.fc.
local function plain_mtp(f)
  local label = f.label
  if not label or label.layers or not label.weight or f.has.label_without_packed then return nil end
  local match = excludes.vllm(label, f.class)
  for _, lin in ipairs(f.representatives) do
    if lin.class == "mtp" and lin.form == "plain" and lin.module ~= "mtp.fc" and not match(lin.module) then
      return lin.module
    end
  end
end

local UNREADABLE = { "file_unreadable", "file_truncated", "header_length", "header_json", "header_entry",
  "dtype_unknown", "shape_bytes", "offset_range",
  "offset_overlap", "file_rejected", "no_weights", "index_json", "index_path", "shard_missing",
    "index_tensor_missing" }
local CONFIG = { "config_missing", "config_json", "config_key_missing", "config_value",
  "config_model_type", "config_layer_types", "config_architectures",
  "quant_config_json", "label_unknown" }
local SHAPES = { "tensor_shape", "weight_scale_shape", "weight_scale_swizzled", "weight_scale_dtype",
  "tensor_dtype", "scalar_shape", "fp8_scale_shape", "conv_layout" }
local FOREIGN = { "names_qwen3_next", "names_mlx", "names_gguf", "names_mixed" }
local POISON = { "tensor_nan", "block_scale_nan", "block_scale_negative", "weight_scale_2_value",
  "input_scale_value", "fp8_scale_value", "kv_scale_value" }
local INVERTED = { "global_scale_inverted", "input_scale_inverted" }
local ABSENT = { "tensor_missing", "weight_scale_missing", "weight_scale_2_missing", "fp8_scale_missing",
  "tie_lm_head_missing" }

-- What no stack survives.
local common = {
  { "refuses", on = UNREADABLE, because = "the files cannot be read whole",
    help = "download or write the named files again", source = "F §3.8" },
  { "refuses", on = CONFIG, because = "the config is not one of this family",
    help = "take config.json from the base model", source = "F §6" },
  { "refuses", on = SHAPES, because = "a shape or type is not the one the model allocates",
    help = "quantize again from the base model", source = "F §6.1" },
  { "refuses", on = FOREIGN, because = "tensor names of another program",
    help = "start from the Hugging Face checkpoint", source = "F §6.4" },
  { "refuses", on = { "label_ct_modelopt_names", "label_modelopt_ct_names" },
    because = "the labelled loader looks for other tensor names",
    help = "relabel, or convert (profiles modelopt-vl, ct-vl)", source = "F §6.3" },
  { "refuses", on = { "packed_without_label", "label_without_packed" },
    because = "label and content do not belong together", help = "write the label that fits the tensors",
    source = "F §10.1" },
  { "wrong", on = POISON, because = "NaN, zero or negative scales reach the GEMM",
    help = "quantize or calibrate the named layers again", source = "F §2.5" },
  { "wrong", on = INVERTED, because = "a scale is used as stored, and it is stored the wrong way round",
    help = "store the reciprocal", source = "F §10.1" },
  { "wrong", on = { "norm_shifted" }, because = "1 + w is applied to norms that hold 1 + w already",
    help = "subtract 1 from the norms", source = "F §6" },
  { "wrong", on = { "svdquant", "pre_quant_scale" },
    because = "corrections of the activations are stored and dropped", help = "quantize without them",
    source = "F §3.1" },
  { "unsure", on = { "label_disagree", "label_kv_one_file", "label_two" },
    because = "two labels, and which one counts depends on the version",
    help = "write both from one source", source = "F §6.6" },
  { "loses", on = { "mtp_absent", "mtp_unannounced" }, because = "no speculative decoding with MTP",
    help = "copy mtp.* from the base model", source = "F §3.2" },
  { "loses", on = { "vision_absent" }, because = "no pictures",
    help = "copy model.visual.* from the base model, or profile modelopt-text", source = "F §6.6" },
}

stacks.list = {
  {
    name = "SGLang", version = "main",
    rules = {
      { "wrong", on = ABSENT, because = "absent tensors are not noticed and stay uninitialised",
        help = "take them from the base model", source = "F §6.1" },
      { "refuses", when = mismatch("sglang", { router = true, shared_expert_gate = true, visual = true,
        mtp = true }),
        because = "the exclude list, as SGLang reads it, does not fit what is stored: shape assertion while loading",
          help = "exclude list of profile modelopt-vl",
        source = "F §6.1; SGLang #18189, #23467, #31220" },
      { "refuses", when = ct_weight_only,
        because = "no scheme for weight-only NVFP4 experts of compressed-tensors",
        help = "convert to modelopt names, or calibrate inputs",
        source = "SGLang #10851, #33711" },
      { "unsure", when = modelopt_weight_only_experts,
        because = "W4A16_NVFP4 is known to be read inside mixed precision only",
        help = "calibrate inputs and label NVFP4", source = "SGLang #27906" },
      { "refuses", on = { "fused_experts" }, because = "fused 3-D packed experts have no loader",
        help = "split them (profile modelopt-vl)", source = "SGLang #18965" },
      { "wrong", on = { "gate_up_weight_scale" },
        because = "gate's tensor scale is used for up as well, except by the FlashInfer TRT-LLM kernels",
        help = "quantize gate and up with one scale",
        source = "SGLang #27588" },
      { "wrong", on = { "qkv_weight_scale" }, because = "fused projections use the largest tensor scale",
        help = "quantize them with one scale", source = "F §2.4" },
      { "wrong", on = { "input_scale_missing", "label_w4a4_no_inputs" },
        because = "an absent input scale keeps its initial value",
        help = "fill in the layer's maximum, or calibrate", source = "F §2.5" },
      { "unsure", on = { "arch_prefix", "arch_nesting" },
        because = "prefixes are rewritten while loading, other parts go by the class",
        help = "profile modelopt-vl", source = "F §6.1" },
      { "unsure", when = function(f) return f.class == "text" and f.counts.nvfp4 > 0
        and "Qwen3_5MoeForCausalLM" or nil end,
        because = "text-only NVFP4 checkpoints stopped at the first forward pass",
          help = "profile modelopt-vl", source = "SGLang #29577" },
      { "loses", when = function(f) return f.label and f.label.method == "compressed-tensors"
        and f.counts.mtp > 0 and "mtp.*" or nil end,
        because = "plain MTP weights beside a compressed-tensors label are skipped without a word: drafts are never accepted",
          help = "name fused MTP modules in ignore as well",
        source = "SGLang #35797" },
      { "loses", when = function(f) return stored("experts", "nvfp4")(f)
        and stored("shared_expert", "plain")(f) end,
        because = "where shared-expert fusion is on, a plain shared expert beside packed ones fails",
          help = "switch shared-expert fusion off", source = "SGLang #33759" },
    },
  },
  {
    name = "SGLang", version = "0.5.9",
    rules = { { "refuses", when = function() return "model_type qwen3_5_moe" end,
      because = "the transformers it brings (4.57) does not know this family",
      help = "no conversion; a newer SGLang",
      source = "F §6.2" } },
  },
  {
    name = "vLLM", version = "main",
    rules = {
      { "refuses", on = ABSENT, because = "parameters without a tensor",
        help = "take them from the base model", source = "F §6.3" },
      { "refuses", on = { "arch_prefix", "arch_nesting" },
        because = "KeyError: the class looks for names with the other prefix",
        help = "names that fit architectures (profiles modelopt-vl, modelopt-text)",
        source = "F §6.3; vLLM #50210" },
      { "refuses", when = mismatch("vllm", { router = true, shared_expert_gate = true, visual = true,
        mtp = true, lm_head = true }),
        because = "the exclude list, as vLLM reads it (substrings), does not fit what is stored",
          help = "exclude list of profile modelopt-vl", source = "F §6.3" },
      { "refuses", on = { "fused_experts" }, because = "scales of fused 3-D experts are dropped",
        help = "split them (profile modelopt-vl)", source = "vLLM #49638" },
      { "wrong", on = { "gate_up_weight_scale" }, because = "gate's tensor scale is used for up as well",
        help = "quantize gate and up with one scale", source = "vLLM #54974, #55073 (open)" },
      { "wrong", on = { "qkv_weight_scale" }, because = "fused projections use the largest tensor scale",
        help = "quantize them with one scale", source = "F §2.4" },
      { "wrong", on = { "input_scale_missing", "label_w4a4_no_inputs" },
        because = "absent input scales stay zero, 1/0 gives NaN for tokens routed there",
        help = "fill in the layer's maximum, or calibrate",
        source = "vLLM #45212" },
      { "wrong", when = modelopt_weight_only_experts,
        because = "the MoE path takes W4A16_NVFP4 for W4A4 and finds no input scales, unless Marlin is chosen",
        help = "profile ct-vl (NVFP4A16), or calibrate inputs",
        source = "vLLM #41769, #42428 (open)" },
      { "loses", on = { "kv_scale_dropped" },
        because = "KV scales of this family are ignored: 1.0 is used", help = "nothing in the file",
        source = "vLLM #54623" },
      { "loses", when = plain_mtp, because = "the MTP layer is built quantized and its plain weights do not fit",
        help = "add mtp* to the exclude list", source = "vLLM #35031" },
    },
  },
  {
    name = "TensorRT-LLM", version = "main",
    rules = {
      { "refuses", on = ABSENT, because = "the weight mapper misses tensors",
        help = "take them from the base model", source = "F §6.4" },
      { "refuses", when = function(f) return stored("linear_attn", "nvfp4")(f) end,
        because = "linear_attn is loaded as weight, bias, weight_scale_inv only: no NVFP4",
        help = "keep linear_attn in BF16 or FP8", source = "F §6.4" },
      { "refuses", when = mismatch("trtllm", { router = true, shared_expert_gate = true, visual = true,
        mtp = true, lm_head = true }),
        because = "the exclude list does not fit what is stored",
          help = "exclude list of profile modelopt-vl", source = "F §6.4" },
      { "refuses", on = { "fused_experts" }, because = "the mapper wants one matrix per expert",
        help = "split them (profile modelopt-vl)", source = "F §6.4" },
      { "wrong", on = { "gate_up_weight_scale" },
        because = "the larger tensor scale is used for both, except by the trtllm-gen kernels",
        help = "quantize gate and up with one scale",
        source = "TensorRT-LLM #14199 (open), #18772" },
      { "wrong", on = { "input_scale_missing", "label_w4a4_no_inputs" },
        because = "input scales of all experts enter the common scale",
        help = "fill in the layer's maximum, or calibrate", source = "F §2.5" },
      { "unsure", when = modelopt_weight_only_experts,
        because = "W4A16_NVFP4 is read as NVFP4, which wants input scales", help = "calibrate inputs",
        source = "F §6.4; TensorRT-LLM #15680" },
      { "loses", when = function(f) return f.counts.visual > 0 and "model.visual.*" or nil end,
        because = "the text model is served, the vision tower is dropped", help = "nothing in the file",
        source = "F §6.4" },
    },
  },
  {
    name = "TensorRT-LLM", version = "1.2",
    rules = { { "refuses", when = function() return "model_type qwen3_5_moe" end,
      because = "the transformers it pins (4.57.3) does not know this family",
      help = "no conversion; the main branch",
      source = "F §6.4; TensorRT-LLM #12321" } },
  },
  {
    name = "llama.cpp", version = "main, after conversion",
    rules = {
      { "refuses", on = ABSENT, because = "the converter or the loader misses tensors",
        help = "take them from the base model", source = "F §8.3" },
      { "refuses", when = function(f)
        for _, lin in ipairs(f.representatives) do
          if lin.form == "nvfp4" and lin.spec and lin.spec.k % 64 ~= 0 then
            return ("%s has %d columns"):format(lin.module, lin.spec.k)
          end
        end
      end, because = "its NVFP4 block is 64 wide", help = "keep those layers in BF16", source = "F §8.3" },
      { "refuses", on = { "fused_experts" }, because = "the converter wants one matrix per expert",
        help = "split them (profile modelopt-vl)", source = "llama.cpp #20505" },
      { "refuses", when = function(f) return f.label and f.label.method == "compressed-tensors"
        and f.counts.nvfp4 > 0 and f.counts.fp8 > 0 and "NVFP4 and FP8 layers" or nil end,
        because = "compressed-tensors with both NVFP4 and FP8 layers is not converted",
          help = "one format throughout", source = "llama.cpp #28636 (open)" },
      { "unsure", when = function(f) return f.label and f.label.layers and "quantized_layers" or nil end,
        because = "mixed precision of ModelOpt is not known to be converted",
        help = "one format throughout",
        source = "llama.cpp #28636" },
      { "loses", when = function(f) return f.kv_layers > 0 and "KV scales" or nil end,
        because = "KV scales are dropped", help = "nothing in the file", source = "F §8.3" },
    },
  },
}

local function fires(rule, f)
  if rule.when then return rule.when(f) end
  for _, id in ipairs(rule.on) do
    local finding = f.has[id]
    if finding then return finding.tensor .. ": " .. id end
  end
end

-- facts: { has = id → finding, label, class, counts, representatives, kv_layers }. Returns a list of {
-- stack, version, verdict, reasons }.
function stacks.judge(f)
  local results = {}
  for _, stack in ipairs(stacks.list) do
    local reasons, verdict = {}, "loads"
    for _, list in ipairs { common, stack.rules } do
      for _, rule in ipairs(list) do
        local evidence = fires(rule, f)
        if evidence then
          reasons[#reasons + 1] = { verdict = rule[1], because = rule.because, evidence = evidence,
            help = rule.help, source = rule.source }
          if rule[1] ~= "loses" and (verdict == "loads" or WEIGHT[rule[1]] > WEIGHT[verdict]) then
            verdict = rule[1]
          end
        end
      end
    end
    table.sort(reasons, function(a, b) return WEIGHT[a.verdict] > WEIGHT[b.verdict]
      or WEIGHT[a.verdict] == WEIGHT[b.verdict] and a.because < b.because end)
    results[#results + 1] = { stack = stack.name, version = stack.version, verdict = verdict, reasons = reasons }
  end
  return results
end

return stacks
