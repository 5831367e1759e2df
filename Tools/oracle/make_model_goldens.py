#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks transformers for the logits of small models of every family and stores them.

  make_model_goldens.py [NAME ...]

Each model gets a folder in Tests/Fixtures/models: config.json as its checkpoint has it,
tensors.json (name, shape and dtype of every stored tensor; the weights come from synthetic.py),
golden.json (37 token ids, and 24 greedily generated ones) and logits.npy, f32 [37, vocabulary];
with a layer for multi-token prediction also after_next.npy, f32 [36, vocabulary]; of a model that
is stored in FP8 also float8.npy, its logits with products of FP8 (float8.py), as logits.npy.
"""
import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import calibrated_models
import deepseek_format
import float8
import next_token
import synthetic
from model_configurations import MODELS

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "Tests/Fixtures/models"
PROMPT_LENGTH = 37
GENERATED_LENGTH = 24
BLOCK = 128


def stored_shapes(config):
    """The tensors that transformers stores for a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        shapes = {}
        for path in pathlib.Path(folder).glob("*.safetensors"):
            shapes.update(synthetic.read_shapes(path))
    return shapes


def mtp_shapes(shapes, config):
    """The layer after the last: a decoder layer, what joins it to the model, and copies."""
    last, extra = config.num_hidden_layers - 1, config.num_hidden_layers
    prefix = f"model.layers.{extra}."
    layer = {
        name.replace(f"model.layers.{last}.", prefix): shape
        for name, shape in shapes.items()
        if name.startswith(f"model.layers.{last}.")
    }
    hidden, vocabulary = config.hidden_size, config.vocab_size
    layer[prefix + "enorm.weight"] = layer[prefix + "hnorm.weight"] = [hidden]
    layer[prefix + "shared_head.norm.weight"] = [hidden]
    layer[prefix + "eh_proj.weight"] = [hidden, 2 * hidden]
    layer[prefix + "embed_tokens.weight"] = [vocabulary, hidden]
    layer[prefix + "shared_head.head.weight"] = [vocabulary, hidden]
    return layer


def tensor_list(shapes, dtype, calibrated=None):
    """Name, shape and dtype of every stored tensor, in order of names."""
    entries = []
    for name, shape in sorted(shapes.items()):
        if calibrated and calibrated_models.is_calibrated(name):
            entries += calibrated_models.entries(name, shape, calibrated)
        elif dtype == "F8_E4M3" and deepseek_format.is_stored_in_fp8(name):
            entries.append([name, shape, "F8_E4M3"])
            entries.append([name + "_scale_inv", [-(-n // BLOCK) for n in shape], "F32"])
        else:
            is_matrix = len(shape) == 2 and dtype not in ("F32", "F8_E4M3")
            entries.append([name, shape, dtype if is_matrix else "F32"])
    return entries


def tensor_value(name, shape, dtype):
    """What a stored tensor stands for, in f32."""
    if dtype == "F8_E4M3":
        codes = torch.from_numpy(synthetic.fp8_bytes(name, shape)).view(torch.float8_e4m3fn)
        scale_shape = [-(-n // BLOCK) for n in shape]
        scales = torch.from_numpy(synthetic.values(name + "_scale_inv", scale_shape))
        scales = scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
        return codes.float() * scales[: shape[0], : shape[1]]
    value = torch.from_numpy(synthetic.values(name, shape))
    rounding = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    return value.to(rounding[dtype]).float()


def hub_dialect(config):
    """config.json as the hub has it: rope_theta, rope_scaling with `type`, torch_dtype."""
    rope = dict(config.pop("rope_parameters"))
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    config["torch_dtype"] = config.pop("dtype", None) or "bfloat16"
    return config


def configuration_file(config, options):
    document = config.to_dict()
    document["architectures"] = [document["model_type"]]
    names = {
        "qwen2": "Qwen2ForCausalLM",
        "llama": "LlamaForCausalLM",
        "deepseek_v2": "DeepseekV2ForCausalLM",
        "deepseek_v3": "DeepseekV3ForCausalLM",
    }
    document["architectures"] = [names[document["model_type"]]]
    document["dtype"] = "float32"
    if options.get("hub"):
        document = hub_dialect(document)
    if options.get("type") == "F8_E4M3":
        document["quantization_config"] = {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [BLOCK, BLOCK],
        }
    if options.get("calibrated"):
        section = calibrated_models.FORMATS[options["calibrated"]].section()
        document["quantization_config"] = section
    if options.get("shards"):
        document["silica_shards"] = options["shards"]
    return document


def weight_values(shapes, entries, calibrated):
    """What the weights stand for, in f32."""
    types = {name: dtype for name, _, dtype in entries}
    return {
        name: calibrated_models.value(name, shape, calibrated)
        if calibrated and calibrated_models.is_calibrated(name)
        else tensor_value(name, shape, types[name])
        for name, shape in shapes.items()
    }


def reference_model(config, weights, folder):
    """transformers' model with these values, loaded as a user would from `folder`, where they are
    written."""
    config.save_pretrained(folder)
    save_file(weights, f"{folder}/model.safetensors", {"format": "pt"})
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not report["missing_keys"], report
    return model.eval()


def float8_logits(model, entries, prompt):
    """Logits with FP8 products, the matrices of single heads (kv_b_proj) in bf16 but for that."""
    products = float8.Products()
    stored = {}
    for name, shape, dtype in entries:
        if dtype == "F8_E4M3":
            codes = torch.from_numpy(synthetic.fp8_bytes(name, shape)).view(torch.float8_e4m3fn)
            scale_shape = [-(-n // BLOCK) for n in shape]
            scales = torch.from_numpy(synthetic.values(name + "_scale_inv", scale_shape))
            stored[name] = (codes, scales)
    for name, weight in stored.items():
        if "kv_b_proj" in name:
            module = model.get_submodule(name.removesuffix(".weight"))
            module.weight.data = module.weight.data.bfloat16().float()
            continue
        products.add(weight)
        if ".experts." in name and "gate_proj" in name:
            products.add(weight, stored[name.replace("gate_proj", "up_proj")])
    with torch.no_grad(), products:
        return model(torch.tensor([prompt])).logits[0].float().numpy()


def make(name):
    config, options = MODELS[name]
    shapes = stored_shapes(config)
    if options.get("mtp"):
        shapes.update(mtp_shapes(shapes, config))
    calibrated = options.get("calibrated")
    entries = tensor_list(shapes, options.get("type", "F32"), calibrated)
    generator = np.random.default_rng(synthetic.fnv1a64(name))
    prompt = generator.integers(0, config.vocab_size, PROMPT_LENGTH).tolist()
    with tempfile.TemporaryDirectory() as checkpoint:
        model = reference_model(config, weight_values(shapes, entries, calibrated), checkpoint)
        after_next = next_token.after_next_logits(model, prompt) if options.get("mtp") else None
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0].float().numpy()
        generated = list(prompt)
        margins = []
        for _ in range(GENERATED_LENGTH):
            top = model(torch.tensor([generated])).logits[0, -1].topk(2)
            margins.append((top.values[0] - top.values[1]).item())
            generated.append(int(top.indices[0]))
    in_float8 = None
    if options.get("type") == "F8_E4M3":
        model.set_experts_implementation("eager")
        in_float8 = float8_logits(model, entries, prompt)
    folder = FIXTURES / name
    folder.mkdir(parents=True, exist_ok=True)
    document = configuration_file(config, options)
    (folder / "config.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    (folder / "tensors.json").write_text(f"[\n{lines}\n]\n")
    greedy = generated[PROMPT_LENGTH:]
    golden = {"prompt": prompt, "greedy": greedy, "smallest_margin": min(margins)}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    np.save(folder / "logits.npy", logits.astype(np.float32))
    if after_next is not None:
        np.save(folder / "after_next.npy", after_next.astype(np.float32))
    if in_float8 is not None:
        np.save(folder / "float8.npy", in_float8.astype(np.float32))
        print(f"{name}: FP8 products change logits by {np.std(in_float8 - logits):.4f}")
    print(
        f"{name}: {len(entries)} tensors, logit deviation {logits.std():.2f}, "
        f"{len(set(greedy))} different tokens, smallest margin {min(margins):.4f}"
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    for wanted in sys.argv[1:] or MODELS:
        make(wanted)
