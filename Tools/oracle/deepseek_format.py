# SPDX-License-Identifier: Apache-2.0
"""The files of a DeepSeek-V3 checkpoint as the hub has them: tokenizer, chat template, shards."""
import json
import struct

import numpy
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

BEGIN, END, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
# As in DeepSeek-V3, these are added tokens but not "special" ones.
CONTROL_TOKENS = [
    "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>",
    "<think>", "</think>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>", "<｜tool▁sep｜>",
]

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

def make_tokenizer(corpus, vocabulary_size, digits=3, min_frequency=1):
    """A byte-level BPE behind DeepSeek-V3's pre-tokenizer, learned from the texts of `corpus`.

    `digits` is how many of a number may be one token.
    """
    tokenizer = Tokenizer(models.BPE())
    words = (
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    splits = [r"\p{N}{1,%d}" % digits if digits > 1 else r"\p{N}", "[一-龥\u3040-ゟ゠-ヿ]+", words]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in splits]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(CONTROL_TOKENS),
        min_frequency=min_frequency,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(t, normalized=True, special=False) for t in CONTROL_TOKENS])
    assert tokenizer.get_vocab_size() == vocabulary_size
    return tokenizer


def tokenizer_config(length_max, chat_template=CHAT_TEMPLATE):
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
        "model_max_length": length_max,
        "pad_token": token(END),
        "tokenizer_class": "LlamaTokenizerFast",
        "unk_token": None,
        "chat_template": chat_template.strip(),
    }


def is_stored_in_fp8(name):
    """Whether DeepSeek's FP8 checkpoints hold it so; not embedding, head, norms and routers."""
    return "_proj" in name and name.endswith(".weight")


SIZES = {"F8_E4M3": 1, "BF16": 2, "F32": 4}


def encode(dtype, values):
    """Little-endian bytes of f32 values; bf16 rounded to nearest, ties to even. Those of F8_E4M3
    are codes already."""
    if dtype == "F8_E4M3":
        return numpy.ascontiguousarray(values, dtype="u1").tobytes()
    floats = numpy.ascontiguousarray(values, dtype="<f4")
    if dtype == "F32":
        return floats.tobytes()
    bits = floats.view("<u4").astype("u8")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def write_file(path, tensors):
    """Writes name to (dtype, f32 values) as one safetensors file; returns the bytes of the data."""
    header, parts, offset = {"__metadata__": {"format": "pt"}}, [], 0
    # Widest elements first, so that each tensor is aligned to its own.
    for name, (dtype, values) in sorted(tensors.items(), key=lambda tensor: tensor[1][0] != "F32"):
        parts.append(encode(dtype, values))
        end = offset + len(parts[-1])
        header[name] = {
            "dtype": dtype, "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    return offset


def read_file(path):
    """Name to (dtype, f32 values) of a safetensors file of bf16 and f32."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        part = data[8 + length + begin:8 + length + end]
        if entry["dtype"] == "BF16":
            floats = (numpy.frombuffer(part, "<u2").astype("<u4") << 16).view("<f4")
        else:
            floats = numpy.frombuffer(part, "<f4")
        tensors[name] = (entry["dtype"], floats.reshape(entry["shape"]))
    return tensors


def write_shards(folder, tensors, shard_bytes_max):
    """Writes name to (dtype, f32 values) as shards with an index; other shards there go first."""
    for old in folder.glob("*.safetensors"):
        old.unlink()
    shards, size = [{}], 0
    for name, (dtype, values) in tensors.items():
        bytes_ = values.size * SIZES[dtype]
        if size + bytes_ > shard_bytes_max:
            shards.append({})
            size = 0
        shards[-1][name] = (dtype, values)
        size += bytes_
    weight_map, total = {}, 0
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        total += write_file(folder / file, shard)
        weight_map.update(dict.fromkeys(shard, file))
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / "model.safetensors.index.json", index)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
