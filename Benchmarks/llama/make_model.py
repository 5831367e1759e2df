# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint of random weights twice: for Silica and for llama.cpp.

usage: make_model.py dense|moe DIRECTORY

DIRECTORY/silica is a Hugging Face checkpoint in bf16 (config.json, model.safetensors, and the
tokenizer of the bundled model, which the benchmark never uses); DIRECTORY/q8_0.gguf and q4_0.gguf
are the same matrices for llama.cpp, all in that format (routers and vectors in f32). Tensors are
drawn from one seed, so that both hold the same weights. Needs 7 GB of disk and some minutes.
"""

import json
import pathlib
import shutil
import struct
import sys

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "Models" / "tiny-deepseek-v3"
SCALE = 0.02

# The shape of DeepSeek-R1-Distill-Qwen-1.5B: 1.78 billion weights, 1.54 billion read for a token.
DENSE = dict(
    architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_size=1536,
    intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2,
    vocab_size=151936, max_position_embeddings=4096, rms_norm_eps=1e-6, rope_theta=10000.0,
    tie_word_embeddings=False, hidden_act="silu", torch_dtype="bfloat16",
    bos_token_id=0, eos_token_id=1)

# DeepSeek-V2 made smaller: 1.7 billion weights, about 0.3 billion read for a token. With a
# compressed query, because llama.cpp expects one in any number of layers but those of V2-Lite.
MOE = dict(
    architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", hidden_size=1024,
    intermediate_size=5632, moe_intermediate_size=704, num_hidden_layers=12,
    num_attention_heads=16, num_key_value_heads=16, q_lora_rank=512, kv_lora_rank=512,
    qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=64,
    n_shared_experts=2, num_experts_per_tok=6, first_k_dense_replace=1, moe_layer_freq=1,
    n_group=1, topk_group=1, topk_method="greedy", scoring_func="softmax", norm_topk_prob=False,
    routed_scaling_factor=1.0, vocab_size=32000, max_position_embeddings=4096, rms_norm_eps=1e-6,
    rope_theta=10000.0, tie_word_embeddings=False, hidden_act="silu", torch_dtype="bfloat16",
    attention_bias=False, bos_token_id=0, eos_token_id=1)


def dense_tensors(c):
    """(Hugging Face name, GGUF name, shape) of each tensor."""
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    head = hidden // c["num_attention_heads"]
    keys = c["num_key_value_heads"] * head
    yield from ends(c)
    for i in range(c["num_hidden_layers"]):
        for name, gguf_name, rows in [("q", "q", hidden), ("k", "k", keys), ("v", "v", keys)]:
            prefix = f"model.layers.{i}.self_attn.{name}_proj"
            yield f"{prefix}.weight", f"blk.{i}.attn_{gguf_name}.weight", (rows, hidden)
            yield f"{prefix}.bias", f"blk.{i}.attn_{gguf_name}.bias", (rows,)
        yield (f"model.layers.{i}.self_attn.o_proj.weight", f"blk.{i}.attn_output.weight",
               (hidden, hidden))
        yield from norms_and_mlp(i, hidden, inner)


def ends(c):
    hidden, vocabulary = c["hidden_size"], c["vocab_size"]
    yield "model.embed_tokens.weight", "token_embd.weight", (vocabulary, hidden)
    yield "model.norm.weight", "output_norm.weight", (hidden,)
    yield "lm_head.weight", "output.weight", (vocabulary, hidden)


def norms_and_mlp(i, hidden, inner, mlp=True):
    prefix = f"model.layers.{i}"
    yield f"{prefix}.input_layernorm.weight", f"blk.{i}.attn_norm.weight", (hidden,)
    yield f"{prefix}.post_attention_layernorm.weight", f"blk.{i}.ffn_norm.weight", (hidden,)
    if mlp:
        yield f"{prefix}.mlp.gate_proj.weight", f"blk.{i}.ffn_gate.weight", (inner, hidden)
        yield f"{prefix}.mlp.up_proj.weight", f"blk.{i}.ffn_up.weight", (inner, hidden)
        yield f"{prefix}.mlp.down_proj.weight", f"blk.{i}.ffn_down.weight", (hidden, inner)


def moe_tensors(c):
    hidden, heads, latent = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    yield from ends(c)
    for i in range(c["num_hidden_layers"]):
        attention = f"model.layers.{i}.self_attn"
        rank = c["q_lora_rank"]
        yield f"{attention}.q_a_proj.weight", f"blk.{i}.attn_q_a.weight", (rank, hidden)
        yield f"{attention}.q_a_layernorm.weight", f"blk.{i}.attn_q_a_norm.weight", (rank,)
        yield (f"{attention}.q_b_proj.weight", f"blk.{i}.attn_q_b.weight",
               (heads * (nope + rope), rank))
        yield (f"{attention}.kv_a_proj_with_mqa.weight", f"blk.{i}.attn_kv_a_mqa.weight",
               (latent + rope, hidden))
        yield f"{attention}.kv_a_layernorm.weight", f"blk.{i}.attn_kv_a_norm.weight", (latent,)
        yield f"{attention}.kv_b_proj.weight", None, (heads * (nope + value), latent)
        yield f"{attention}.o_proj.weight", f"blk.{i}.attn_output.weight", (hidden, heads * value)
        is_dense = i < c["first_k_dense_replace"]
        yield from norms_and_mlp(i, hidden, c["intermediate_size"], mlp=is_dense)
        if not is_dense:
            yield from expert_tensors(c, i)


def expert_tensors(c, i):
    hidden, inner, mlp = c["hidden_size"], c["moe_intermediate_size"], f"model.layers.{i}.mlp"
    shared = c["n_shared_experts"] * inner
    experts = c["n_routed_experts"]
    yield f"{mlp}.gate.weight", f"blk.{i}.ffn_gate_inp.weight", (experts, hidden)
    for name, rows, columns in [("gate", inner, hidden), ("up", inner, hidden),
                                ("down", hidden, inner)]:
        for e in range(experts):
            yield f"{mlp}.experts.{e}.{name}_proj.weight", (i, name, e), (rows, columns)
    for name, shape in [("gate", (shared, hidden)), ("up", (shared, hidden)),
                        ("down", (hidden, shared))]:
        yield (f"{mlp}.shared_experts.{name}_proj.weight", f"blk.{i}.ffn_{name}_shexp.weight",
               shape)


def values(shape, rng):
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(SCALE)


def bf16(array):
    """Rounded to nearest even, as 16-bit integers."""
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def write_silica(config, tensors, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for path in TOKENIZER.glob("tokenizer*.json"):
        shutil.copy(path, folder)
    header, start = {}, 0
    for name, _, shape in tensors:
        size = 2 * int(np.prod(shape))
        header[name] = dict(dtype="BF16", shape=list(shape), data_offsets=[start, start + size])
        start += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(1)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, shape in tensors:
            file.write(bf16(values(shape, rng)).tobytes())


def metadata(writer, c):
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_rope_freq_base(c["rope_theta"])
    writer.add_vocab_size(c["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    if c["model_type"] == "qwen2":
        writer.add_head_count_kv(c["num_key_value_heads"])
        return
    nope, rope, latent = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["kv_lora_rank"]
    writer.add_head_count_kv(1)  # the latent form: one key head for all
    writer.add_key_length(latent + rope)
    writer.add_value_length(latent)
    writer.add_key_length_mla(nope + rope)
    writer.add_value_length_mla(c["v_head_dim"])
    writer.add_q_lora_rank(c["q_lora_rank"])
    writer.add_kv_lora_rank(latent)
    writer.add_rope_dimension_count(rope)
    writer.add_leading_dense_block_count(c["first_k_dense_replace"])
    writer.add_expert_feed_forward_length(c["moe_intermediate_size"])
    writer.add_expert_count(c["n_routed_experts"])
    writer.add_expert_used_count(c["num_experts_per_tok"])
    writer.add_expert_shared_count(c["n_shared_experts"])
    writer.add_expert_weights_scale(c["routed_scaling_factor"])
    writer.add_expert_weights_norm(c["norm_topk_prob"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)


def write_gguf(config, tensors, path, kind):
    arch = "qwen2" if config["model_type"] == "qwen2" else "deepseek2"
    writer = gguf.GGUFWriter(path, arch, use_temp_file=False)
    metadata(writer, config)
    rng = np.random.default_rng(1)
    stacks = {}

    def add(name, array):
        if array.ndim == 1 or "ffn_gate_inp" in name:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)

    for hf_name, name, shape in tensors:
        array = values(shape, rng)
        if isinstance(name, tuple):
            layer, part, expert = name
            stack = stacks.setdefault((layer, part), [])
            stack.append(gguf.quants.quantize(array, kind))
            if len(stack) == config["n_routed_experts"]:
                writer.add_tensor(f"blk.{layer}.ffn_{part}_exps.weight",
                                  np.stack(stacks.pop((layer, part))), raw_dtype=kind)
        elif name is None:
            layer = hf_name.split(".")[2]
            nope, value = config["qk_nope_head_dim"], config["v_head_dim"]
            both = array.reshape(config["num_attention_heads"], nope + value, -1)
            add(f"blk.{layer}.attn_k_b.weight",
                np.ascontiguousarray(both[:, :nope].transpose(0, 2, 1)))
            add(f"blk.{layer}.attn_v_b.weight", np.ascontiguousarray(both[:, nope:]))
        else:
            add(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("dense", "moe"):
        sys.exit(__doc__)
    config, tensors = (DENSE, dense_tensors) if sys.argv[1] == "dense" else (MOE, moe_tensors)
    tensors = list(tensors(config))
    folder = pathlib.Path(sys.argv[2])
    done = folder / "done"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    print(f"writing {folder / 'silica'}", flush=True)
    write_silica(config, tensors, folder / "silica")
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
        path = folder / f"{kind.name.lower()}.gguf"
        print(f"writing {path}", flush=True)
        write_gguf(config, tensors, path, kind)
    done.touch()


if __name__ == "__main__":
    main()
