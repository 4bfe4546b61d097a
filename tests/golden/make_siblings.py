#!/usr/bin/env python3
"""Two siblings of the tiny model with other extents, and what transformers computes from them.

  sib_a/bf16      Qwen3_5MoeForConditionalGeneration as the Hub stores it: model.language_model.*, stacked experts, mtp.*,
                  model.visual.*
  sib_a/modelopt  the same weights, experts in NVFP4 in the layout of ModelOpt exports, two experts with unequal scalars
  sib_b/bf16      flat Qwen3_5MoeForCausalLM export: model.*, one tensor per expert, tied embeddings, YaRN, no MTP, no vision
  sib_?/golden.h5 taps, states, logits and greedy tokens, laid out as tiny/golden.h5

  make_siblings.py weights DIR             numpy alone: DIR/sib_a/{bf16,modelopt}, DIR/sib_b/bf16; the same files each time
  make_siblings.py goldens DIR             torch, transformers, h5py: DIR/sib_?/golden.h5
  make_siblings.py generate DIR            whether transformers' own generate() finds the greedy tokens of the goldens
  make_siblings.py verify CKPT GOLDEN.h5   computes every dataset of a golden file anew and prints the worst NMSE of each tap
  make_siblings.py formats FORMATS.h5      the NVFP4 writer below against ModelOpt's bytes (tiny/formats.h5)

The goldens were made with numpy 2.5.2, torch 2.11.0 and transformers 5.17.0 on a CPU, float32, eager attention.

The weights are random but not arbitrary: every path carries signal, norms are off their neutral value, decays reach from fast to
slow, routers prefer some experts. Rows of large matrices are drawn without replacement from one pool per width, in a fresh order
for each matrix: the functions differ, and the archive still stores each row once.
"""
import json
import math
import os
import struct
import sys

import numpy as np

SEED = 20


# ---- numbers -------------------------------------------------------------------------------------------------------------------

def bf16_bits(x):
    """float32 to the nearest BF16, ties to even, as uint16."""
    u = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def bf16_value(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=np.float64)
E4M3 = np.array([m * 2.0 ** -9 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7) for e in range(16) for m in range(8)][:127])


def nearest_code(x, values):
    """Index of the nearest of ascending values; ties go to the even index, what is beyond the last value to the last."""
    middle = (values[:-1] + values[1:]) / 2
    i = np.searchsorted(middle, x, side="left")
    tie = (i < len(middle)) & (x == middle[np.minimum(i, len(middle) - 1)])
    return np.where(tie & (i % 2 == 1), i + 1, i)


def modelopt_scalar(amax):
    """amax / 2688 as ModelOpt computes it on CUDA: times the float32 reciprocal."""
    return np.float32(amax) * np.float32(1 / 2688)


def modelopt_encode(w, scalar):
    """Codes u8[n,k/2], low nibble first, and scales u8[n,k/16] of w f32[n,k], by ModelOpt's max path with the lower clamp."""
    n, k = w.shape
    blocks = w.reshape(n, k // 16, 16)
    s = np.abs(blocks).max(axis=2) / (np.float32(6) * scalar)
    s = np.clip(np.where(s == 0, np.float32(1), s), np.float32(2.0 ** -9), np.float32(448)).astype(np.float32)
    scales = nearest_code(s.astype(np.float64), E4M3).astype(np.uint8)
    step = E4M3[scales].astype(np.float32) * scalar
    x = blocks / step[:, :, None]
    codes = nearest_code(np.abs(x).astype(np.float64), E2M1) | np.where(x < 0, 8, 0)
    codes = codes.reshape(n, k).astype(np.uint8)
    return codes[:, 0::2] | (codes[:, 1::2] << 4), scales


# ---- files ---------------------------------------------------------------------------------------------------------------------

DTYPES = {"BF16": 2, "F32": 4, "U8": 1, "F8_E4M3": 1}


def write_safetensors(path, tensors):
    """tensors: name -> (dtype of DTYPES, array of raw little-endian elements); sorted by name, header padded to 8 bytes."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        dtype, data = tensors[name]
        assert data.itemsize == DTYPES[dtype], name
        header[name] = {"dtype": dtype, "shape": list(data.shape), "data_offsets": [at, at + data.nbytes]}
        at += data.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            f.write(np.ascontiguousarray(tensors[name][1]).tobytes())


def write_sharded(folder, tensors, first):
    """Two shards and their index; `first` says which names belong to shard 1."""
    parts = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
    one, two = parts.values()
    for name, t in tensors.items():
        (one if first(name) else two)[name] = t
    for file, part in parts.items():
        write_safetensors(os.path.join(folder, file), part)
    index = {"metadata": {"total_size": sum(t[1].nbytes for t in tensors.values())},
             "weight_map": {name: file for name in sorted(tensors) for file, part in parts.items() if name in part}}
    write_json(os.path.join(folder, "model.safetensors.index.json"), index)


def write_json(path, value):
    with open(path, "w") as f:
        f.write(json.dumps(value, indent=2) + "\n")


# ---- configurations ------------------------------------------------------------------------------------------------------------

A_TEXT = {
    "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": None, "dtype": "bfloat16", "eos_token_id": 379,
    "head_dim": 32, "hidden_act": "silu", "hidden_size": 160, "initializer_range": 0.02,
    "layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"],
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 16, "linear_num_key_heads": 3, "linear_num_value_heads": 6,
    "linear_value_head_dim": 24, "max_position_embeddings": 2048, "model_type": "qwen3_5_moe_text", "moe_intermediate_size": 96,
    "mtp_num_hidden_layers": 1, "mtp_use_dedicated_embeddings": False, "num_attention_heads": 6, "num_experts": 5,
    "num_experts_per_tok": 3, "num_hidden_layers": 4, "num_key_value_heads": 3, "pad_token_id": None,
    "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-5,
    "rope_parameters": {"mrope_interleaved": True, "mrope_section": [3, 3, 2], "partial_rotary_factor": 0.5,
                        "rope_theta": 500000.0, "rope_type": "default"},
    "shared_expert_intermediate_size": 48, "tie_word_embeddings": False, "use_cache": True, "vocab_size": 384,
}
A_VISION = {
    "depth": 1, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 16, "in_channels": 3, "initializer_range": 0.02,
    "intermediate_size": 32, "model_type": "qwen3_5_moe_vision", "num_heads": 2, "num_position_embeddings": 16,
    "out_hidden_size": 160, "patch_size": 4, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "axial"},
    "spatial_merge_size": 2, "temporal_patch_size": 2,
}
A_CONFIG = {
    "architectures": ["Qwen3_5MoeForConditionalGeneration"], "dtype": "bfloat16", "image_token_id": 382,
    "model_type": "qwen3_5_moe", "text_config": A_TEXT, "tie_word_embeddings": False, "transformers_version": "5.17.0",
    "video_token_id": 383, "vision_config": A_VISION, "vision_end_token_id": 381, "vision_start_token_id": 380,
}
B_CONFIG = {   # no layer_types: the interval decides
    "architectures": ["Qwen3_5MoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": None,
    "dtype": "bfloat16", "eos_token_id": None, "full_attention_interval": 2, "head_dim": 48, "hidden_act": "silu",
    "hidden_size": 96, "initializer_range": 0.02, "linear_conv_kernel_dim": 3, "linear_key_head_dim": 24,
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_value_head_dim": 16, "max_position_embeddings": 256,
    "model_type": "qwen3_5_moe_text", "moe_intermediate_size": 40, "num_attention_heads": 4, "num_experts": 12,
    "num_experts_per_tok": 2, "num_hidden_layers": 4, "num_key_value_heads": 1, "pad_token_id": None,
    "rms_norm_eps": 1e-4,
    "rope_parameters": {"factor": 4.0, "original_max_position_embeddings": 64, "partial_rotary_factor": 0.25,
                        "rope_theta": 10000.0, "rope_type": "yarn"},
    "shared_expert_intermediate_size": 72, "tie_word_embeddings": True, "transformers_version": "5.17.0", "use_cache": True,
    "vocab_size": 320,
}


# ---- weights -------------------------------------------------------------------------------------------------------------------

class Weights:
    """Draws the tensors of one model. pools: width k -> (rows, gain); a row of gain 1 keeps the size of what it reads."""

    def __init__(self, seed, pools):
        self.rng = np.random.default_rng(seed)
        self.pools = {k: bf16_bits(self.rng.standard_normal((n, k)) * gain / math.sqrt(k)) for k, (n, gain) in pools.items()}
        self.top = {k: int(np.abs(bf16_value(p)).max(axis=1).argmax()) for k, p in self.pools.items()}
        self.tensors = {}

    def put(self, name, bits):
        self.tensors[name] = ("BF16", bits)

    def normal(self, name, shape, std, mean=0.0):
        self.put(name, bf16_bits(mean + std * self.rng.standard_normal(shape)))

    def uniform(self, name, shape, low, high, to=lambda x: x):
        self.put(name, bf16_bits(to(self.rng.uniform(low, high, shape))))

    def rows(self, n, k, top=None):
        """n rows of width k; the row with the largest element is in or out where `top` says so."""
        order = self.rng.permutation(len(self.pools[k]))
        if top is not None:
            order = order[order != self.top[k]][:n]
            if top:
                order[self.rng.integers(n)] = self.top[k]
        return self.pools[k][order[:n]]

    def linear(self, name, n, k):
        self.put(name + ".weight", self.rows(n, k))

    def attention(self, p, c):
        h, d, nq, nkv = c["hidden_size"], c["head_dim"], c["num_attention_heads"], c["num_key_value_heads"]
        self.linear(p + "q_proj", 2 * nq * d, h)
        self.linear(p + "k_proj", nkv * d, h)
        self.linear(p + "v_proj", nkv * d, h)
        self.linear(p + "o_proj", h, nq * d)
        self.normal(p + "q_norm.weight", d, 0.2, 0.5)
        self.normal(p + "k_norm.weight", d, 0.2, 0.5)

    def delta(self, p, c):
        h, hk, hv = c["hidden_size"], c["linear_num_key_heads"], c["linear_num_value_heads"]
        dk, dv, w = c["linear_key_head_dim"], c["linear_value_head_dim"], c["linear_conv_kernel_dim"]
        self.linear(p + "in_proj_qkv", 2 * hk * dk + hv * dv, h)
        self.linear(p + "in_proj_z", hv * dv, h)
        self.normal(p + "in_proj_a.weight", (hv, h), 1 / math.sqrt(h))
        self.normal(p + "in_proj_b.weight", (hv, h), 1 / math.sqrt(h))
        self.normal(p + "conv1d.weight", (2 * hk * dk + hv * dv, 1, w), 0.5)
        self.uniform(p + "A_log", hv, math.log(0.03), math.log(6))
        self.uniform(p + "dt_bias", hv, -4, 1)
        self.normal(p + "norm.weight", dv, 0.2, 1.0)
        self.linear(p + "out_proj", h, hv * dv)

    def moe(self, p, c, stacked, loose=()):
        """loose: experts whose gate and up have different largest elements."""
        h, e, i, i_shared = c["hidden_size"], c["num_experts"], c["moe_intermediate_size"], c["shared_expert_intermediate_size"]
        self.normal(p + "gate.weight", (e, h), 2 / math.sqrt(h))
        gate = [self.rows(i, h, top=True) for _ in range(e)]
        up = [self.rows(i, h, top=x not in loose) for x in range(e)]
        down = [self.rows(h, i) for _ in range(e)]
        if stacked:
            self.put(p + "experts.gate_up_proj", np.stack([np.concatenate([g, u]) for g, u in zip(gate, up)]))
            self.put(p + "experts.down_proj", np.stack(down))
        else:
            for x in range(e):
                self.put(f"{p}experts.{x}.gate_proj.weight", gate[x])
                self.put(f"{p}experts.{x}.up_proj.weight", up[x])
                self.put(f"{p}experts.{x}.down_proj.weight", down[x])
        self.linear(p + "shared_expert.gate_proj", i_shared, h)
        self.linear(p + "shared_expert.up_proj", i_shared, h)
        self.linear(p + "shared_expert.down_proj", h, i_shared)
        self.normal(p + "shared_expert_gate.weight", (1, h), 1 / math.sqrt(h))

    def layer(self, p, c, kind, stacked, loose=()):
        h = c["hidden_size"]
        self.normal(p + "input_layernorm.weight", h, 0.2)
        self.normal(p + "post_attention_layernorm.weight", h, 0.2)
        if kind == "full_attention":
            self.attention(p + "self_attn.", c)
        else:
            self.delta(p + "linear_attn.", c)
        self.moe(p + "mlp.", c, stacked, loose)

    def text(self, p, c, kinds, stacked, loose=()):
        h, v = c["hidden_size"], c["vocab_size"]
        self.linear(p + "embed_tokens", v, h)
        self.normal(p + "norm.weight", h, 0.3, 2.0)   # 1 + w = 3: logits with clear winners
        if not c["tie_word_embeddings"]:
            self.linear("lm_head", v, h)
        for i, kind in enumerate(kinds):
            self.layer(f"{p}layers.{i}.", c, kind, stacked, [x for at, x in loose if at == i])

    def mtp(self, c):
        h = c["hidden_size"]
        self.put("mtp.fc.weight", np.concatenate([self.rows(h, h), self.rows(h, h)], axis=1))
        self.normal("mtp.pre_fc_norm_embedding.weight", h, 0.2)
        self.normal("mtp.pre_fc_norm_hidden.weight", h, 0.2)
        self.normal("mtp.norm.weight", h, 0.3, 2.0)
        self.layer("mtp.layers.0.", c, "full_attention", True)

    def vision(self, p, c):
        h, i, m = c["hidden_size"], c["intermediate_size"], c["hidden_size"] * c["spatial_merge_size"] ** 2
        for name, shape in {
            "patch_embed.proj": (h, c["in_channels"], c["temporal_patch_size"], c["patch_size"], c["patch_size"]),
            "blocks.0.attn.qkv": (3 * h, h), "blocks.0.attn.proj": (h, h), "blocks.0.mlp.linear_fc1": (i, h),
            "blocks.0.mlp.linear_fc2": (h, i), "blocks.0.norm1": (h,), "blocks.0.norm2": (h,),
            "merger.norm": (h,), "merger.linear_fc1": (m, m), "merger.linear_fc2": (c["out_hidden_size"], m),
        }.items():
            self.normal(f"{p}{name}.weight", shape, 0.05, 1.0 if len(shape) == 1 else 0.0)
            self.normal(f"{p}{name}.bias", shape[0], 0.05)
        self.normal(p + "pos_embed.weight", (c["num_position_embeddings"], h), 0.05)


LOOSE_SCALAR = (1, 2)   # layer, expert of sib_a whose gate and up keep their own weight_scale_2
LOOSE_INPUT = (3, 4)    # and whose input_scale differ


def modelopt_tensors(tensors, c):
    """Experts of the backbone as per-expert NVFP4; everything else, MTP included, as it is."""
    out = {}
    for name, (dtype, bits) in tensors.items():
        if not (name.startswith("model.language_model.layers.") and ".mlp.experts." in name):
            out[name] = (dtype, bits)
            continue
        layer = int(name.split(".")[3])
        stem, kind = name.rsplit(".", 1)
        for e in range(c["num_experts"]):
            w = bf16_value(bits[e])
            half = c["moe_intermediate_size"]
            parts = {"gate_proj": w[:half], "up_proj": w[half:]} if kind == "gate_up_proj" else {"down_proj": w}
            own = (layer, e) == LOOSE_SCALAR
            for proj, part in parts.items():
                scalar = modelopt_scalar(np.abs(part if own else w).max())
                amax_in = (5.0 if proj == "down_proj" else 7.5) + layer
                if (layer, e) == LOOSE_INPUT and proj == "up_proj":
                    amax_in += 1.5
                codes, scales = modelopt_encode(part, scalar)
                out[f"{stem}.{e}.{proj}.weight"] = ("U8", codes)
                out[f"{stem}.{e}.{proj}.weight_scale"] = ("F8_E4M3", scales)
                out[f"{stem}.{e}.{proj}.weight_scale_2"] = ("F32", np.array(scalar, dtype=np.float32))
                out[f"{stem}.{e}.{proj}.input_scale"] = ("F32", np.array(modelopt_scalar(amax_in), dtype=np.float32))
    return out


def modelopt_configs(config):
    """config.json with quantization_config, and hf_quant_config.json."""
    kinds = config["text_config"]["layer_types"]
    exclude = ["lm_head", "model.language_model.embed_tokens", "model.visual*", "mtp.layers.0*"]
    for i, kind in enumerate(kinds):
        p = f"model.language_model.layers.{i}."
        exclude += [p + ("self_attn*" if kind == "full_attention" else "linear_attn*"),
                    p + "mlp.gate", p + "mlp.shared_expert*", p + "mlp.shared_expert_gate"]
    exclude.sort()
    producer = {"name": "make_siblings", "version": "1"}
    fp4 = {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16}
    group = {"input_activations": fp4, "weights": fp4, "targets": ["Linear"]}
    own = {"producer": producer, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16,
                                                  "exclude_modules": exclude}}
    inside = {"config_groups": {"group_0": group}, "ignore": exclude, "quant_algo": "NVFP4", "producer": producer,
              "quant_method": "modelopt"}
    return dict(config, quantization_config=inside), own


def make_weights(folder):
    a = Weights(SEED, {160: (448, 1.0), 144: (160, 0.8), 192: (160, 1.2), 96: (160, 1.6), 48: (160, 1.6)})
    a.text("model.language_model.", A_TEXT, A_TEXT["layer_types"], True, [LOOSE_SCALAR])
    a.mtp(A_TEXT)
    a.vision("model.visual.", A_VISION)
    at = os.path.join(folder, "sib_a", "bf16")
    os.makedirs(at, exist_ok=True)
    late = (".layers.2.", ".layers.3.")
    write_sharded(at, a.tensors, lambda name: name.startswith("model.l") and not any(x in name for x in late))
    write_json(os.path.join(at, "config.json"), A_CONFIG)
    write_json(os.path.join(at, "generation_config.json"), {"eos_token_id": [379], "do_sample": False})

    at = os.path.join(folder, "sib_a", "modelopt")
    os.makedirs(at, exist_ok=True)
    config, own = modelopt_configs(A_CONFIG)
    write_safetensors(os.path.join(at, "model.safetensors"), modelopt_tensors(a.tensors, A_TEXT))
    write_json(os.path.join(at, "config.json"), config)
    write_json(os.path.join(at, "hf_quant_config.json"), own)

    b = Weights(SEED + 1, {96: (400, 1.0), 32: (96, 0.8), 192: (96, 1.2), 40: (96, 1.6), 72: (96, 1.6)})
    kinds = ["linear_attention", "full_attention"] * 2
    b.text("model.", B_CONFIG, kinds, False)
    at = os.path.join(folder, "sib_b", "bf16")
    os.makedirs(at, exist_ok=True)
    write_safetensors(os.path.join(at, "model.safetensors"), b.tensors)
    write_json(os.path.join(at, "config.json"), B_CONFIG)


def check_formats(path):
    """Every matrix of tiny/formats.h5 through modelopt_encode; returns how many give other bytes than ModelOpt's."""
    import h5py
    wrong = []
    with h5py.File(path) as f:
        for name in f:
            w, want = bf16_value(f[name]["weight_bf16"][()]), f[name]["modelopt_cuda"]
            scalar = modelopt_scalar(np.abs(w).max())
            with np.errstate(invalid="ignore", divide="ignore"):
                codes, scales = modelopt_encode(w, scalar)
            same = (scalar == want["weight_scale_2"][()].reshape(()) and np.array_equal(codes, want["weight"][()])
                    and np.array_equal(scales, want["weight_scale"][()]))
            if not same:
                wrong.append(name)
        print(f"{len(f)} matrices, {len(wrong)} differ from ModelOpt's bytes {wrong}")
    return len(wrong)


# ---- goldens -------------------------------------------------------------------------------------------------------------------

FULL = "full"
LEAN = ("output", "router_experts")
PROMPTS = {   # name -> length, taps of a layer, whether 32 greedy tokens and the states are recorded
    "one1": (1, FULL, False), "short5": (5, FULL, True), "mid40": (40, LEAN, False), "long70": (70, LEAN, True),
}


class Model:
    """A checkpoint in transformers, float32 on the CPU, with hooks that collect the taps of one forward pass."""

    def __init__(self, folder):
        import torch
        import transformers
        self.torch = torch
        torch.manual_seed(0)
        with open(os.path.join(folder, "config.json")) as f:
            name = json.load(f)["architectures"][0]
        self.model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                                 experts_implementation="eager").eval()
        self.text = self.model.model.language_model if hasattr(self.model.model, "language_model") else self.model.model
        self.taps, self.rows = {}, 0   # hooks collect while rows > 0
        for i, layer in enumerate(self.text.layers):
            self.hook(f"layer{i:02d}/", layer)
        self.keep("embed", self.text.embed_tokens)
        self.keep("final_norm", self.text.norm)
        self.mtp = self.load_mtp(folder)

    def put(self, name, value):
        if self.rows:
            self.taps[name] = value.detach().reshape(self.rows, -1).clone()

    def keep(self, name, module, pick=lambda out: out):
        module.register_forward_hook(lambda _module, _args, out: self.put(name, pick(out)))

    def hook(self, p, layer):
        self.keep(p + "input_norm", layer.input_layernorm)
        self.keep(p + "post_norm", layer.post_attention_layernorm)
        self.keep(p + "router_logits", layer.mlp.gate, lambda out: out[0])
        self.keep(p + "router_weights", layer.mlp.gate, lambda out: out[1])
        self.keep(p + "router_experts", layer.mlp.gate, lambda out: out[2])
        self.keep(p + "experts", layer.mlp.experts)
        self.keep(p + "shared_expert", layer.mlp.shared_expert)
        self.keep(p + "shared_gate", layer.mlp.shared_expert_gate)
        self.keep(p + "moe", layer.mlp)
        self.keep(p + "output", layer)
        if hasattr(layer, "linear_attn"):
            self.keep(p + "mixer", layer.linear_attn)
            for part in "qkv", "z", "a", "b":
                self.keep(p + "gdn_in_proj_" + part, getattr(layer.linear_attn, "in_proj_" + part))
            self.keep(p + "gdn_norm", layer.linear_attn.norm)
        else:
            self.keep(p + "mixer", layer.self_attn, lambda out: out[0])
            for part in "q_proj", "k_proj", "v_proj", "q_norm", "k_norm":
                self.keep(p + "attn_" + part, getattr(layer.self_attn, part))
            layer.self_attn.o_proj.register_forward_pre_hook(lambda _module, args: self.put(p + "attn_o_proj_in", args[0]))

    def load_mtp(self, folder):
        """transformers has no MTP head; it is put together from its attention layer and norms."""
        import copy
        import glob
        from safetensors.torch import load_file
        from transformers.models.qwen3_5_moe import modeling_qwen3_5_moe as family
        tensors = {}
        for file in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
            tensors.update({k[4:]: v.float() for k, v in load_file(file).items() if k.startswith("mtp.")})
        if not tensors:
            return None
        config = copy.deepcopy(self.text.config)
        config.layer_types, config.num_hidden_layers = ["full_attention"], 1
        norm = lambda: family.Qwen3_5MoeRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        nn = self.torch.nn
        head = nn.ModuleDict({
            "fc": nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False),
            "pre_fc_norm_embedding": norm(), "pre_fc_norm_hidden": norm(), "norm": norm(),
            "layers": nn.ModuleList([family.Qwen3_5MoeDecoderLayer(config, 0)]),
        })
        head.load_state_dict(tensors, strict=True)
        return head.float().eval()

    def forward(self, ids, cache=None, start=0):
        torch = self.torch
        self.taps, self.rows = {}, len(ids)
        position = torch.arange(start, start + len(ids))[None]
        out = self.text(input_ids=torch.tensor([ids]), position_ids=position, past_key_values=cache, use_cache=True)
        self.rows = 0
        return out.last_hidden_state, out.past_key_values

    def logits(self, hidden):
        return self.model.lm_head(hidden)[0]

    def mtp_logits(self, ids, hidden):
        """Row t: final-normed hidden of token t with the embedding of token t+1."""
        torch, m, n = self.torch, self.mtp, len(ids) - 1
        embedded = m["pre_fc_norm_embedding"](self.text.embed_tokens(torch.tensor([ids[1:]])))
        x = m["fc"](torch.cat([embedded, m["pre_fc_norm_hidden"](hidden[:, :-1])], dim=-1))
        mask = torch.full((n, n), torch.finfo(torch.float32).min).triu(1)[None, None]
        rope = self.text.rotary_emb(x, torch.arange(n)[None, None].expand(3, 1, n))
        x = m["layers"][0](x, position_embeddings=rope, attention_mask=mask)
        x = x[0] if isinstance(x, tuple) else x
        return self.logits(m["norm"](x))

    def states(self, cache):
        out = {}
        for i, layer in enumerate(self.text.layers):
            p, c = f"state/layer{i:02d}/", cache.layers[i]
            if hasattr(layer, "linear_attn"):
                out[p + "conv_states"] = c.conv_states[0][0].clone()
                out[p + "recurrent_states"] = c.recurrent_states[0][0].clone()
            else:
                out[p + "keys"], out[p + "values"] = c.keys[0].clone(), c.values[0].clone()
        return out

    def record(self, ids, greedy_n):
        """Every dataset of one prompt as numpy arrays."""
        with self.torch.no_grad():
            hidden, cache = self.forward(ids)
            out = dict(self.taps)
            out["input_ids"] = self.torch.tensor(ids)
            out["logits"] = self.logits(hidden)
            if self.mtp is not None and len(ids) > 1:
                out["mtp_logits"] = self.mtp_logits(ids, hidden)
            if greedy_n:
                out.update(self.states(cache))
                token, rows, greedy = out["logits"][-1].argmax(), [], []
                for i in range(greedy_n):
                    greedy.append(int(token))
                    if i + 1 == greedy_n:
                        break
                    hidden, cache = self.forward([greedy[-1]], cache, len(ids) + i)
                    rows.append(self.logits(hidden)[0])
                    token = rows[-1].argmax()
                out["greedy"], out["decode_logits"] = self.torch.tensor(greedy), self.torch.stack(rows)
        return {k: v.numpy().astype(np.float32 if v.is_floating_point() else np.int32) for k, v in out.items()}

    def generate(self, ids, n):
        self.model.generation_config.eos_token_id = None
        with self.torch.no_grad():
            t = self.torch.tensor([ids])
            out = self.model.generate(input_ids=t, attention_mask=self.torch.ones_like(t), max_new_tokens=n, do_sample=False,
                                      pad_token_id=0)
        return out[0, len(ids):].tolist()


def wanted(name, taps):
    if not name.startswith("layer"):
        return taps == FULL or name not in ("embed", "final_norm")
    return taps == FULL or name.split("/")[1] in taps


def describe(name, data):
    """Says whether the weights do what they are meant to: sizes along the residual, spread of the router, clear winners."""
    rms = [float(np.sqrt(np.mean(np.square(data[k], dtype=np.float64)))) for k in sorted(data) if k.endswith("/output")]
    experts = np.bincount(np.concatenate([data[k].ravel() for k in data if k.endswith("router_experts")]))
    line = f"{name}: residual rms {' '.join(f'{x:.2f}' for x in rms)}, experts chosen {experts.tolist()}"
    if "greedy" in data:
        top = np.sort(np.concatenate([data["logits"][-1:], data["decode_logits"]]), axis=1)
        line += f", least greedy margin {float((top[:, -1] - top[:, -2]).min()):.4f}, {len(set(data['greedy'].tolist()))} tokens"
    print(line, flush=True)


def make_goldens(folder):
    import h5py
    import torch
    import transformers
    for sibling in "sib_a", "sib_b":
        model = Model(os.path.join(folder, sibling, "bf16"))
        vocab = model.text.config.vocab_size
        rng = np.random.default_rng(SEED + 2)
        with h5py.File(os.path.join(folder, sibling, "golden.h5"), "w", track_order=False) as f:
            f.attrs["source"] = (f"transformers {transformers.__version__}, torch {torch.__version__}, "
                                 "float32 on CPU, eager attention; make_siblings.py")
            for name, (n, taps, greedy) in PROMPTS.items():
                ids = rng.integers(0, vocab - 5, n).tolist()
                data = model.record(ids, 32 if greedy else 0)
                describe(f"{sibling}/{name}", data)
                assert all(np.isfinite(v).all() for v in data.values())
                for k in sorted(data):
                    if wanted(k, taps):
                        small = data[k].nbytes < 512
                        f.create_dataset(f"{name}/{k}", data=data[k], **({} if small else dict(
                            chunks=data[k].shape, shuffle=True, compression="gzip", compression_opts=9)))


def check_generate(folder):
    """Returns the number of prompts whose greedy tokens generate() does not find."""
    import h5py
    wrong = 0
    for sibling in "sib_a", "sib_b":
        model = Model(os.path.join(folder, sibling, "bf16"))
        with h5py.File(os.path.join(folder, sibling, "golden.h5")) as f:
            for name in sorted(n for n in f if "greedy" in f[n]):
                want = f[name]["greedy"][()].tolist()
                got = model.generate(f[name]["input_ids"][()].tolist(), len(want))
                wrong += got != want
                print(f"{sibling}/{name}: generate() {'agrees' if got == want else f'finds {got}, not {want}'}", flush=True)
    return wrong


def verify(ckpt, golden):
    """Returns the worst NMSE over all datasets of a golden file, infinity where integers differ."""
    import h5py
    model, worst = Model(ckpt), {}
    with h5py.File(golden) as f:
        for name in sorted(f):
            want = {}
            f[name].visititems(lambda k, d: want.update({k: d[()]}) if isinstance(d, h5py.Dataset) else None)
            got = model.record(want["input_ids"].tolist(), len(want["greedy"]) if "greedy" in want else 0)
            for k, w in want.items():
                if k.endswith("router_experts"):
                    nmse = 0.0 if np.array_equal(np.sort(got[k]), np.sort(w)) else math.inf
                elif w.dtype.kind == "i":
                    nmse = 0.0 if np.array_equal(got[k], w) else math.inf
                else:
                    g, w = got[k].astype(np.float64), w.astype(np.float64)
                    if k.endswith("conv_states"):   # the oldest column is never read
                        g, w = g[:, 1:], w[:, 1:]
                    nmse = float(((g - w) ** 2).sum() / (w ** 2).sum())
                tap = k.rsplit("/", 1)[-1]
                if nmse >= worst.get(tap, (-1.0, ""))[0]:
                    worst[tap] = (nmse, f"{name}/{k}")
            print(f"{name}: {len(want)} datasets", flush=True)
    for tap, (nmse, where) in sorted(worst.items()):
        print(f"{tap:20s} {nmse:.2e}  {where}")
    return max(nmse for nmse, _ in worst.values())


def main(argv):
    if len(argv) == 3 and argv[1] == "weights":
        make_weights(argv[2])
    elif len(argv) == 3 and argv[1] == "goldens":
        make_goldens(argv[2])
    elif len(argv) == 3 and argv[1] == "generate":
        return 1 if check_generate(argv[2]) else 0
    elif len(argv) == 4 and argv[1] == "verify":
        worst = verify(argv[2], argv[3])
        print(f"worst NMSE {worst:.2e}")
        return 0 if worst <= 1e-9 else 1
    elif len(argv) == 3 and argv[1] == "formats":
        return 1 if check_formats(argv[2]) else 0
    else:
        print(__doc__, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
