#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Models/tiny-deepseek-v3: DeepSeek-V3's architecture, small, with random weights.

The folder has the files, names and dialect of a download from the hub, so that the demo takes
the same path as the real model: shards, bf16, noaux_tc routing, YaRN, V3's tokenizer pipeline,
control tokens and chat template. What it says means nothing: it is untrained.

Usage: .venv/bin/python Tools/oracle/make_demo_model.py [FOLDER]
The same files come out of every run.
"""

import json
import pathlib
import struct
import sys

import numpy
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = 20_241_226
SHARD_BYTES_MAX = 900_000

BEGIN, END, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
# As in DeepSeek-V3, these are added tokens but not "special" ones.
CONTROL_TOKENS = [
    "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>",
    "<think>", "</think>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>", "<｜tool▁sep｜>",
]

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

# DeepSeek-V3's format in the words of this script: what a user or the model says between control
# tokens, the system's text in front, tool calls fenced as JSON.
CHAT_TEMPLATE = """
{%- set state = namespace(system='', is_first_sp=true, in_tools=false) -%}
{%- for message in messages if message['role'] == 'system' -%}
  {%- set gap = '' if state.is_first_sp else '\\n\\n' -%}
  {%- set state.system = state.system + gap + message['content'] -%}
  {%- set state.is_first_sp = false -%}
{%- endfor -%}
{{- bos_token + state.system -}}
{%- for message in messages -%}
  {%- if message['role'] == 'tool' -%}
    {{- '\\n' if state.in_tools else '<｜tool▁outputs▁begin｜>' -}}
    {{- '<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>' -}}
    {%- set state.in_tools = true -%}
  {%- else -%}
    {%- if state.in_tools -%}{{- '<｜tool▁outputs▁end｜>' -}}{%- endif -%}
    {%- if message['role'] == 'user' -%}
      {{- '<｜User｜>' + message['content'] -}}
    {%- elif message['role'] == 'assistant' -%}
      {%- if not state.in_tools -%}{{- '<｜Assistant｜>' -}}{%- endif -%}
      {{- message['content'] or '' -}}
      {%- for call in message['tool_calls'] or [] -%}
        {{- '<｜tool▁calls▁begin｜>' if loop.first else '\\n' -}}
        {{- '<｜tool▁call▁begin｜>' + call['type'] + '<｜tool▁sep｜>' + call['function']['name'] -}}
        {{- '\\n```json\\n' + call['function']['arguments'] + '\\n```<｜tool▁call▁end｜>' -}}
        {{- '<｜tool▁calls▁end｜>' if loop.last else '' -}}
      {%- endfor -%}
      {{- eos_token -}}
    {%- endif -%}
    {%- set state.in_tools = false -%}
  {%- endif -%}
{%- endfor -%}
{%- if state.in_tools -%}
  {{- '<｜tool▁outputs▁end｜>' -}}
{%- elif add_generation_prompt -%}
  {{- '<｜Assistant｜>' -}}
{%- endif -%}
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


def make_tokenizer():
    """A byte-level BPE of 1,024 tokens behind DeepSeek-V3's pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    words = (
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    splits = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", words]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in splits]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"] - len(CONTROL_TOKENS),
        min_frequency=1,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    tokenizer.add_tokens([AddedToken(t, normalized=True, special=False) for t in CONTROL_TOKENS])
    assert tokenizer.get_vocab_size() == CONFIG["vocab_size"]
    return tokenizer


def tokenizer_config():
    def token(content):
        return {
            "__type": "AddedToken", "content": content, "lstrip": False, "normalized": True,
            "rstrip": False, "single_word": False,
        }

    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": token(BEGIN),
        "clean_up_tokenization_spaces": False,
        "eos_token": token(END),
        "legacy": True,
        "model_max_length": CONFIG["max_position_embeddings"],
        "pad_token": token(END),
        "tokenizer_class": "LlamaTokenizerFast",
        "unk_token": None,
        "chat_template": CHAT_TEMPLATE.strip(),
    }


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


def encode(dtype, values):
    """Little-endian bytes; bf16 rounded to nearest, ties to even."""
    floats = numpy.ascontiguousarray(values, dtype="<f4")
    if dtype == "F32":
        return floats.tobytes()
    bits = floats.view("<u4").astype("u8")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def write_shards(folder, tensors):
    shards, size = [[]], 0
    for name, (dtype, values) in tensors.items():
        data = encode(dtype, values)
        if size + len(data) > SHARD_BYTES_MAX:
            shards.append([])
            size = 0
        shards[-1].append((name, dtype, values.shape, data))
        size += len(data)
    weight_map, total = {}, 0
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        header, offset = {"__metadata__": {"format": "pt"}}, 0
        # Widest elements first, so that each tensor is aligned to its own.
        shard.sort(key=lambda tensor: tensor[1] != "F32")
        for name, dtype, shape, data in shard:
            header[name] = {
                "dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
            offset += len(data)
            weight_map[name] = file
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        data = b"".join(tensor[3] for tensor in shard)
        (folder / file).write_bytes(struct.pack("<Q", len(text)) + text + data)
        total += offset
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / "model.safetensors.index.json", index)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Models/tiny-deepseek-v3"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "generation_config.json", GENERATION_CONFIG)
    write_json(folder / "tokenizer_config.json", tokenizer_config())
    tokenizer = make_tokenizer()
    text = tokenizer.to_str(pretty=True) + "\n"
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    write_shards(folder, make_tensors(tokenizer))
    (folder / "README.md").write_text(README, encoding="utf-8")


if __name__ == "__main__":
    main()
