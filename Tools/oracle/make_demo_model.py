#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Models/tiny-deepseek-v3: DeepSeek-V3's architecture, small, with random weights.

The folder has the files, names and dialect of a download from the hub, so that the demo takes
the same path as the real model: shards, bf16, noaux_tc routing, YaRN, V3's tokenizer pipeline,
control tokens and chat template. What it says means nothing: it is untrained.

Usage: .venv/bin/python Tools/oracle/make_demo_model.py [FOLDER]
The same files come out of every run.
"""

import pathlib
import sys

import numpy

from deepseek_format import CONTROL_TOKENS, END, make_tokenizer, tokenizer_config, write_json
from deepseek_format import write_shards

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = 20_241_226
SHARD_BYTES_MAX = 900_000

CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "ep_size": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 256,
    "kv_lora_rank": 32,
    "max_position_embeddings": 4096,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 32,
    "moe_layer_freq": 1,
    "n_group": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "num_nextn_predict_layers": 0,
    "q_lora_rank": 48,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 4,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 1024,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "silica_untrained": True,
    "tie_word_embeddings": False,
    "topk_group": 2,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "v_head_dim": 32,
    "vocab_size": 1024,
}

GENERATION_CONFIG = {
    "bos_token_id": 0,
    "do_sample": True,
    "eos_token_id": 1,
    "temperature": 0.6,
    "top_p": 0.95,
}

# What the tokenizer learns its merges from: a little of each script and style that it will meet.
CORPUS = """
A server for language models answers many people at once. Each of them sends a text, the text is
cut into tokens, and the tokens flow through the layers of the model, one after the other.
Attention looks back at every token before; experts are chosen for each token by a small router;
in the end there are as many numbers as there are words in the vocabulary, and one of them is
chosen. Then it starts again with one token more. What has been computed for the tokens before is
kept in a cache, so that the next step is short. When several requests run in the same step, the
weights are read from memory only once for all of them, and this is why serving together is so
much cheaper than serving alone.
Once upon a time there was a small river that wanted to see the ocean. It asked the mountain for
the way, and the mountain said: go down, and never stop. So the river went down through the
forest, past the old stone bridge and the sleeping villages, day and night, through summer and
winter, until the water tasted of salt and the light went on for ever. The river said: how wide
this is, and how quiet.
The first thing to do is to think about the question: what is given, what is asked, and which
steps lead from here to there? Let us write it down. If x is the number of apples, then 3x + 4 =
19, and so x = 5. We can check this: 3 * 5 + 4 = 19. Therefore the answer is 5. Wait, is there
another solution? There is not, because the equation is linear. In 2024 there were 366 days;
1,000,000 seconds are a little less than 12 days; the speed of light is 299792458 metres per
second.
func main() { let values = [1, 2, 3]; for value in values { print("value: \\(value)") } return 0; }
def step(state, tokens):\n    for token in tokens:\n        state.add(token)\n    return state
import numpy as np\nresult = np.zeros((16, 32), dtype=np.float32)  # one row for each token
if (error != null) { throw new Error("cannot read file: " + error.message); } else { close(file); }
{"name": "silica", "version": "0.1.0", "description": "tokens over streams", "private": true}
Die Sprache ist ein Fluss. Le modèle est petit, mais la forêt est grande. ¿Qué es una palabra?
Привет, мир! Τι είναι μια λέξη; 你好,世界。我们今天学习语言模型的工作原理,一个词接着一个词。深度学习是人工智能的一
个重要部分。今日は良い天気ですね。日本語の文章も少しあります。안녕하세요, 반갑습니다. مرحبا بالعالم नमस्ते
"""

README = """# tiny-deepseek-v3

**This model is untrained.** Its weights are random numbers, so its text means nothing. It is here
so that `make demo` and the tests can take the whole path of a DeepSeek-V3 checkpoint in a second:
multi-head latent attention with a query low-rank projection and YaRN, one dense and three
mixture-of-experts layers (sigmoid scores with a correction bias, expert groups, a shared expert),
bf16 shards with an index, the tokenizer pipeline, control tokens and chat template of DeepSeek-V3
over a vocabulary of 1,024.

`"silica_untrained": true` in `config.json` tells the program, which says so in its output.

Written by `Tools/oracle/make_demo_model.py`; the same files come out of every run. Apache-2.0, as
the rest of the repository.
"""


def unreadable_tokens(tokenizer):
    """Ids of control tokens (but the end), parts of characters and what no terminal shows."""
    for token in range(tokenizer.get_vocab_size()):
        if tokenizer.id_to_token(token) == END:
            continue
        text = tokenizer.decode([token])
        readable = text.replace("\n", "").isprintable() and "\ufffd" not in text
        if not readable or text in ["", *CONTROL_TOKENS]:
            yield token


def make_tensors(tokenizer):
    """Name to (dtype, f32 values); scaled so that each layer changes the residual stream a lot.

    Then a token depends on all before it, and greedy text does not run in a short circle. Rows of
    the head are 0 for unreadable tokens, which so are hardly ever chosen.
    """
    random = numpy.random.Generator(numpy.random.PCG64(SEED))
    c = CONFIG
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    key_width = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
    tensors = {}

    def linear(name, rows, columns, gain=1.0):
        values = random.standard_normal((rows, columns)) * (gain / columns**0.5)
        tensors[f"{name}.weight"] = ("BF16", values)

    def norm(name, width):
        tensors[f"{name}.weight"] = ("BF16", 1 + 0.1 * random.standard_normal(width))

    def mlp(name, width):
        linear(f"{name}.gate_proj", width, hidden, gain=2)
        linear(f"{name}.up_proj", width, hidden, gain=1.5)
        linear(f"{name}.down_proj", hidden, width, gain=1.5)

    tensors["model.embed_tokens.weight"] = (
        "BF16", 0.5 * random.standard_normal((c["vocab_size"], hidden)))
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        norm(f"{prefix}.input_layernorm", hidden)
        attention = f"{prefix}.self_attn"
        linear(f"{attention}.q_a_proj", c["q_lora_rank"], hidden)
        norm(f"{attention}.q_a_layernorm", c["q_lora_rank"])
        linear(f"{attention}.q_b_proj", heads * key_width, c["q_lora_rank"], gain=1.5)
        linear(
            f"{attention}.kv_a_proj_with_mqa", c["kv_lora_rank"] + c["qk_rope_head_dim"], hidden,
            gain=1.5)
        norm(f"{attention}.kv_a_layernorm", c["kv_lora_rank"])
        linear(
            f"{attention}.kv_b_proj", heads * (c["qk_nope_head_dim"] + c["v_head_dim"]),
            c["kv_lora_rank"], gain=1.5)
        linear(f"{attention}.o_proj", hidden, heads * c["v_head_dim"], gain=2)
        norm(f"{prefix}.post_attention_layernorm", hidden)
        if layer < c["first_k_dense_replace"]:
            mlp(f"{prefix}.mlp", c["intermediate_size"])
            continue
        linear(f"{prefix}.mlp.gate", c["n_routed_experts"], hidden)
        tensors[f"{prefix}.mlp.gate.e_score_correction_bias"] = (
            "F32", 0.1 * random.standard_normal(c["n_routed_experts"]))
        for expert in range(c["n_routed_experts"]):
            mlp(f"{prefix}.mlp.experts.{expert}", c["moe_intermediate_size"])
        mlp(f"{prefix}.mlp.shared_experts", c["n_shared_experts"] * c["moe_intermediate_size"])
    norm("model.norm", hidden)
    linear("lm_head", c["vocab_size"], hidden, gain=2.5)
    tensors["lm_head.weight"][1][list(unreadable_tokens(tokenizer))] = 0
    return tensors


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Models/tiny-deepseek-v3"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "generation_config.json", GENERATION_CONFIG)
    write_json(
        folder / "tokenizer_config.json", tokenizer_config(CONFIG["max_position_embeddings"]))
    tokenizer = make_tokenizer(CORPUS.splitlines(keepends=True), CONFIG["vocab_size"])
    text = tokenizer.to_str(pretty=True) + "\n"
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    write_shards(folder, make_tensors(tokenizer), SHARD_BYTES_MAX)
    (folder / "README.md").write_text(README, encoding="utf-8")


if __name__ == "__main__":
    main()
