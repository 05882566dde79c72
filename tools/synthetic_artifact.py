#!/usr/bin/env python3
"""Writes an artifact of random weights in the shape of Qwen3.5-35B-A3B, as mlx-lm packs it (4 bits, group 64; routers 8 bits), with
an MTP head and a tokenizer of full size: to measure what only files show, the time to the first token and the memory of a model that
is mapped. Standard library only. All 40 layers take 20 GB of disk.

usage: synthetic_artifact.py DIR [--layers 40]
The values are those of `alula bench --synthetic`: codes of mean zero, and embeddings that mark the experts of their token, 8 of 256
from 8*token on, which routers read. Matrices come from one block of noise, read from another place each time."""
import argparse, json, math, os, random, struct

p = argparse.ArgumentParser()
p.add_argument("dir")
p.add_argument("--layers", type=int, default=40)
o = p.parse_args()
H, VOCAB, EXPERTS, TOP, INTER, HEADS, KV, DIM, VH, KH, LD = 2048, 248320, 256, 8, 512, 16, 2, 256, 32, 16, 128
GROUP, UNIFORM = 64, 4.6  # the standard deviation of a uniform code of 4 bits
ADDED = 0.02  # what a mixer or an MLP adds to the residual stream, beside marks of about 2

random.seed(1)
NOISE = random.randbytes(1 << 26)
HALF = len(NOISE) // 2


def bf16(f):
    return struct.pack("<f", f)[2:]


def packed(name, shape, gain=1.0, bits=4, fill=None):
    """Entries (name, dtype, shape, chunks) of a packed matrix; fill gives the codes in place of noise."""
    rows, cols = math.prod(shape[:-1]), shape[-1]
    scale = 2.0 ** round(math.log2(gain / (UNIFORM * math.sqrt(cols))))
    scale, bias = {"embed": (0.25, -7.5 * 0.25), "router": (0.0625, -8.0)}.get(fill, (scale, -7.5 * scale))
    lead, n = shape[:-1], rows * cols // GROUP
    codes = {"embed": embedding, "router": router}.get(fill, noise)
    return [(name + ".weight", "U32", lead + [cols * bits // 32], codes(rows, cols * bits // 8)),
            (name + ".scales", "BF16", lead + [cols // GROUP], repeated(bf16(scale), n)),
            (name + ".biases", "BF16", lead + [cols // GROUP], repeated(bf16(bias), n))]


def repeated(value, n):
    whole = value * (1 << 16)
    while n > 0:
        yield whole[:n * len(value)]
        n -= 1 << 16


def noise(rows, row_bytes):
    left = rows * row_bytes
    at = random.randrange(0, HALF, 64)
    while left > 0:
        part = NOISE[at:at + left]
        yield part
        left, at = left - len(part), 0


def embedding(rows, row_bytes):
    marks = []
    for c in range(EXPERTS // TOP):  # columns 0..255: 15 for the token's experts, 7 and 8 for the others
        code = [7 + (i & 1) for i in range(EXPERTS)]
        code[c * TOP:(c + 1) * TOP] = [15] * TOP
        marks.append(bytes(code[i] | code[i + 1] << 4 for i in range(0, EXPERTS, 2)))
    rest = row_bytes - EXPERTS // 2
    for r in range(0, rows, 1024):
        yield b"".join(marks[t % len(marks)] + NOISE[t * 64 % HALF:t * 64 % HALF + rest] for t in range(r, min(r + 1024, rows)))


def router(rows, row_bytes):
    for r in range(rows):
        row = bytearray(b"\x80" * row_bytes)
        row[r] = 255
        yield bytes(row)


def vector(name, shape, value=1.0):
    return [(name, "BF16", shape, repeated(bf16(value), math.prod(shape)))]


def mlp(at):
    t = packed(at + "gate", [EXPERTS, H], bits=8, fill="router") + packed(at + "shared_expert_gate", [1, H], bits=8, fill="router")
    for part, lead in (("switch_mlp.", [EXPERTS]), ("shared_expert.", [])):
        t += packed(at + part + "gate_proj", lead + [INTER, H]) + packed(at + part + "up_proj", lead + [INTER, H])
        t += packed(at + part + "down_proj", lead + [H, INTER], ADDED)
    return t


def layer(at, attention):
    t = vector(at + "input_layernorm.weight", [H]) + vector(at + "post_attention_layernorm.weight", [H])
    if attention:
        a = at + "self_attn."
        t += packed(a + "q_proj", [2 * HEADS * DIM, H]) + packed(a + "k_proj", [KV * DIM, H])
        t += packed(a + "v_proj", [KV * DIM, H]) + packed(a + "o_proj", [H, HEADS * DIM], ADDED)
        t += vector(a + "q_norm.weight", [DIM]) + vector(a + "k_norm.weight", [DIM])
    else:
        a, key, value = at + "linear_attn.", KH * LD, VH * LD
        t += packed(a + "in_proj_qkv", [2 * key + value, H]) + packed(a + "in_proj_z", [value, H])
        t += packed(a + "in_proj_b", [VH, H]) + packed(a + "in_proj_a", [VH, H]) + packed(a + "out_proj", [H, value], ADDED)
        t += vector(a + "conv1d.weight", [2 * key + value, 4, 1], 0.5) + vector(a + "norm.weight", [LD])
        t += vector(a + "A_log", [VH], 0.0) + vector(a + "dt_bias", [VH], 0.0)
    return t + mlp(at + "mlp.")


def write(name, tensors):
    header, at = {"__metadata__": {"format": "mlx"}}, 0
    for key, dtype, shape, _ in tensors:
        n = math.prod(shape) * (4 if dtype == "U32" else 2)
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    with open(os.path.join(o.dir, name), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, _, chunks in tensors:
            for chunk in chunks:
                f.write(chunk)
        if f.tell() != 8 + len(text) + at:
            raise SystemExit(f"{name}: {f.tell()} bytes were written, {8 + len(text) + at} declared")
    return at


def tokenizer():
    """Byte pairs as the real one has them, merged at random: as many, and about as long."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    other = iter(range(256, 512))
    words = [chr(b) if b in printable else chr(next(other)) for b in range(256)]
    seen, merges = set(words), []
    while len(words) < VOCAB - 256:
        a, b = random.choice(words), random.choice(words[:256])
        if a + b not in seen and len(a) < 8:
            seen.add(a + b)
            words.append(a + b)
            merges.append([a, b])
    with open("models/tiny-trunk/tokenizer.json") as f:
        t = json.load(f)
    t["model"]["vocab"] = {w: i for i, w in enumerate(words)}
    t["model"]["merges"] = merges
    for i, a in enumerate(t["added_tokens"]):
        a["id"] = len(words) + i
    return t, [a["id"] for a in t["added_tokens"] if a["content"] in ("<|im_end|>", "<|endoftext|>")]


os.makedirs(o.dir, exist_ok=True)
types = ["full_attention" if i % 4 == 3 else "linear_attention" for i in range(o.layers)]
root = "language_model."
trunk = packed(root + "model.embed_tokens", [VOCAB, H], fill="embed") + vector(root + "model.norm.weight", [H])
trunk += packed(root + "lm_head", [VOCAB, H])
for i, kind in enumerate(types):
    trunk += layer(f"{root}model.layers.{i}.", kind == "full_attention")
head = packed("mtp.fc", [H, 2 * H]) + vector("mtp.norm.weight", [H]) + vector("mtp.pre_fc_norm_embedding.weight", [H])
head += vector("mtp.pre_fc_norm_hidden.weight", [H]) + layer("mtp.layers.0.", True)
total = write("model.safetensors", trunk) + write("mtp.safetensors", head)

tokens, stops = tokenizer()
text = dict(model_type="qwen3_5_moe_text", vocab_size=VOCAB, hidden_size=H, num_hidden_layers=o.layers, num_attention_heads=HEADS,
            num_key_value_heads=KV, head_dim=DIM, hidden_act="silu", rms_norm_eps=1e-6, max_position_embeddings=262144,
            attention_bias=False, attn_output_gate=True, layer_types=types, full_attention_interval=4, linear_conv_kernel_dim=4,
            linear_key_head_dim=LD, linear_value_head_dim=LD, linear_num_key_heads=KH, linear_num_value_heads=VH,
            num_experts=EXPERTS, num_experts_per_tok=TOP, moe_intermediate_size=INTER, shared_expert_intermediate_size=INTER,
            mtp_num_hidden_layers=1, dtype="bfloat16", eos_token_id=stops, tie_word_embeddings=False,
            rope_parameters=dict(rope_type="default", rope_theta=1e7, partial_rotary_factor=0.25))
quant = dict(group_size=GROUP, bits=4, mode="affine")
wide = {f"{at}mlp.{m}": dict(group_size=GROUP, bits=8) for m in ("gate", "shared_expert_gate")
        for at in [f"{root}model.layers.{i}." for i in range(o.layers)] + ["mtp.layers.0."]}
config = dict(architectures=["Qwen3_5MoeForConditionalGeneration"], model_type="qwen3_5_moe", dtype="bfloat16",
              eos_token_id=stops, tie_word_embeddings=False, text_config=text, quantization={**quant, **wide},
              mlx_lm_extra_tensors=dict(mtp_file="mtp.safetensors"),
              mtplx_mtp_quantization=dict(**quant, policy="all", prequantized=True))
for name, value in (("config.json", config), ("tokenizer.json", tokens)):
    with open(os.path.join(o.dir, name), "w") as f:
        json.dump(value, f)
print(f"{o.dir}: {total / 1e9:.2f} GB")
