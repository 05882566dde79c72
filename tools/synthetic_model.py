#!/usr/bin/env python3
"""Writes a model of random weights, Qwen3.5-MoE in shape, to measure the forge with: numbered experts, bf16, an MTP head in
mtp.safetensors. Standard library only; the values come from one block of noise, written again and again.

usage: synthetic_model.py DIR [--layers 2] [--experts 256] [--vocab 100000] [--sparse]
--sparse writes holes instead of values: a folder of any size for whoever reads headers only."""
import argparse, array, json, os, random

p = argparse.ArgumentParser()
p.add_argument("dir")
p.add_argument("--layers", type=int, default=2)
p.add_argument("--experts", type=int, default=256)
p.add_argument("--vocab", type=int, default=100000)
p.add_argument("--sparse", action="store_true")
o = p.parse_args()
H, INTER, HEADS, KV, DIM, VH, KH, LD = 2048, 512, 16, 2, 256, 32, 16, 128
SHARD = 4_000_000_000


def noise(n=1 << 20):
    random.seed(1)
    f = array.array("f", (random.gauss(0, 0.02) for _ in range(n)))
    h = array.array("H", f.tobytes())
    return array.array("H", (h[i] for i in range(1, len(h), 2))).tobytes()


block = b"" if o.sparse else noise()
norm = array.array("H", [0x3E80]).tobytes()  # 0.25


def norms(prefix, n):
    return [(prefix, [n])]


def mlp(at):
    t = [(at + "mlp.gate.weight", [o.experts, H]), (at + "mlp.shared_expert_gate.weight", [1, H])]
    for e in [f"mlp.experts.{i}." for i in range(o.experts)] + ["mlp.shared_expert."]:
        t += [(at + e + "gate_proj.weight", [INTER, H]), (at + e + "up_proj.weight", [INTER, H]),
              (at + e + "down_proj.weight", [H, INTER])]
    return t


def layer(at, attention):
    t = norms(at + "input_layernorm.weight", H) + norms(at + "post_attention_layernorm.weight", H)
    if attention:
        a = at + "self_attn."
        t += [(a + "q_proj.weight", [2 * HEADS * DIM, H]), (a + "k_proj.weight", [KV * DIM, H]),
              (a + "v_proj.weight", [KV * DIM, H]), (a + "o_proj.weight", [H, HEADS * DIM]),
              (a + "q_norm.weight", [DIM]), (a + "k_norm.weight", [DIM])]
    else:
        a, key, value = at + "linear_attn.", KH * LD, VH * LD
        t += [(a + "in_proj_qkv.weight", [2 * key + value, H]), (a + "in_proj_z.weight", [value, H]),
              (a + "in_proj_b.weight", [VH, H]), (a + "in_proj_a.weight", [VH, H]), (a + "out_proj.weight", [H, value]),
              (a + "conv1d.weight", [2 * key + value, 1, 4]), (a + "A_log", [VH]), (a + "dt_bias", [VH]), (a + "norm.weight", [LD])]
    return t + mlp(at)


def write(name, tensors):
    header, at = {}, 0
    for key, shape in tensors:
        n = 2
        for d in shape:
            n *= d
        header[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    with open(os.path.join(o.dir, name), "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        if o.sparse:
            f.truncate(f.tell() + at)
        for i, (key, shape) in enumerate(tensors):
            b, e = header[key]["data_offsets"]
            n = e - b
            if len(shape) == 1:
                f.seek(8 + len(text) + b)
                f.write(norm * (n // 2))
                continue
            if o.sparse:
                continue
            f.seek(8 + len(text) + b)
            start = i * 4099 * 2 % (len(block) // 2)
            while n:
                part = block[start:start + n]
                f.write(part)
                n -= len(part)
                start = 0
    return at


os.makedirs(o.dir, exist_ok=True)
types = ["full_attention" if i % 4 == 3 or i == o.layers - 1 else "linear_attention" for i in range(o.layers)]
trunk = [("model.language_model.embed_tokens.weight", [o.vocab, H]), ("model.language_model.norm.weight", [H]),
         ("lm_head.weight", [o.vocab, H])]
for i, kind in enumerate(types):
    trunk += layer(f"model.language_model.layers.{i}.", kind == "full_attention")
head = [("mtp.fc.weight", [H, 2 * H]), ("mtp.norm.weight", [H]), ("mtp.pre_fc_norm_embedding.weight", [H]),
        ("mtp.pre_fc_norm_hidden.weight", [H])] + layer("mtp.layers.0.", True)
shards, size = [[]], 0
for t in trunk:
    n = 2
    for d in t[1]:
        n *= d
    if size + n > SHARD and shards[-1]:
        shards.append([])
        size = 0
    shards[-1].append(t)
    size += n
weight_map, total = {}, 0
for i, s in enumerate(shards):
    name = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
    total += write(name, s)
    weight_map.update({k: name for k, _ in s})
json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, open(os.path.join(o.dir, "model.safetensors.index.json"), "w"))
total += write("mtp.safetensors", head)
text = dict(model_type="qwen3_5_moe_text", vocab_size=o.vocab, hidden_size=H, num_hidden_layers=o.layers, num_attention_heads=HEADS,
            num_key_value_heads=KV, head_dim=DIM, hidden_act="silu", rms_norm_eps=1e-6, max_position_embeddings=262144,
            attention_bias=False, attn_output_gate=True, layer_types=types, full_attention_interval=4, linear_conv_kernel_dim=4,
            linear_key_head_dim=LD, linear_value_head_dim=LD, linear_num_key_heads=KH, linear_num_value_heads=VH,
            num_experts=o.experts, num_experts_per_tok=8, moe_intermediate_size=INTER, shared_expert_intermediate_size=INTER,
            mtp_num_hidden_layers=1, dtype="bfloat16", eos_token_id=0, tie_word_embeddings=False,
            rope_parameters=dict(rope_type="default", rope_theta=1e7, partial_rotary_factor=0.25))
json.dump(dict(architectures=["Qwen3_5MoeForConditionalGeneration"], model_type="qwen3_5_moe", dtype="bfloat16",
               tie_word_embeddings=False, text_config=text), open(os.path.join(o.dir, "config.json"), "w"), indent=1)
print(f"{o.dir}: {total / 1e9:.2f} GB")
