#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/CheckpointTests/Goldens/calibrated: weights in the formats of programs that
calibrate them, and their values in f32 as `X.expected`. See calibrated.py.

Usage: .venv/bin/python Tools/oracle/make_calibrated_goldens.py
"""
import json
import pathlib
import shutil

import numpy as np
import torch
from compressed_tensors.quantization import QuantizationConfig
from safetensors.torch import save_file

import calibrated

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "Tests/CheckpointTests/Goldens/calibrated"
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"], "max_position_embeddings": 64, "vocab_size": 16}
DYNAMIC = dict(num_bits=8, type="int", strategy="token", dynamic=True, symmetric=True)
DYNAMIC_FLOAT = dict(DYNAMIC, type="float")
PACK, INTEGER, FLOAT = "pack-quantized", "int-quantized", "float-quantized"

# name: shape, format, dtype of scales, activations, weights of the scheme
MODULES = {
    "sym4": (
        [24, 96], PACK, torch.float16, None,
        dict(num_bits=4, strategy="group", group_size=32)),
    "asym4": (
        [19, 192], PACK, torch.bfloat16, None,
        dict(num_bits=4, strategy="group", group_size=64, symmetric=False)),
    "rows4": ([17, 70], PACK, torch.float32, None, dict(num_bits=4, strategy="channel")),
    "asymrows4": (
        [9, 37], PACK, torch.float16, None,
        dict(num_bits=4, strategy="channel", symmetric=False)),
    "sym8": (
        [5, 256], PACK, torch.bfloat16, None,
        dict(num_bits=8, strategy="group", group_size=128)),
    "asym8": (
        [6, 64], PACK, torch.float16, None,
        dict(num_bits=8, strategy="group", group_size=32, symmetric=False)),
    "rows8": ([20, 50], INTEGER, torch.bfloat16, DYNAMIC, dict(num_bits=8, strategy="channel")),
    "asymrows8": (
        [7, 33], INTEGER, torch.float32, DYNAMIC,
        dict(num_bits=8, strategy="channel", symmetric=False)),
    "tensor8": ([6, 40], INTEGER, torch.float32, DYNAMIC, dict(num_bits=8, strategy="tensor")),
    "floatrows": (
        [12, 40], FLOAT, torch.bfloat16, DYNAMIC_FLOAT,
        dict(num_bits=8, type="float", strategy="channel")),
    "floattensor": (
        [8, 24], FLOAT, torch.float32, DYNAMIC_FLOAT,
        dict(num_bits=8, type="float", strategy="tensor")),
    "floatblocks": (
        [40, 72], FLOAT, torch.float32, DYNAMIC_FLOAT,
        dict(num_bits=8, type="float", strategy="block", block_structure=[16, 32])),
}


def scale_shape(shape, weights):
    match weights["strategy"]:
        case "group":
            return [shape[0], shape[1] // weights["group_size"]]
        case "channel":
            return [shape[0], 1]
        case "tensor":
            return [1]
    return [-(-n // b) for n, b in zip(shape, weights["block_structure"])]


def compressed_tensors(name):
    shape, form, dtype, activations, weights = MODULES[name]
    scheme = calibrated.scheme([f"re:.*{name}"], activations, **weights)
    largest = 448 if weights.get("type") == "float" else 2 ** (weights["num_bits"] - 1)
    scales = (torch.rand(scale_shape(shape, weights)) + 1).mul(0.1 / largest).to(dtype)
    weight = torch.randn(shape) * 0.05
    zero = None
    if not weights.get("symmetric", True):
        zero = torch.randint(-largest, largest, scales.shape).to(torch.int8)
    # The package asks the weight to be of the scales' type, and rounds to it.
    parts = calibrated.compressed_tensors_parts(weight, scales.float(), zero, scheme, form)
    parts["weight_scale"] = scales
    expected = calibrated.compressed_tensors_value(parts, scheme, form)
    return scheme, form, {**parts, "expected": expected}


def groupwise(rows, columns, bits, group):
    """Codes, zeros, scales and groups as a calibration without one makes them."""
    generator = np.random.default_rng(columns * bits)
    groups = np.arange(columns) // group
    shape = [rows, groups[-1] + 1]
    codes = generator.integers(0, 2**bits, [rows, columns])
    zeros = generator.integers(1, 2**bits, shape)
    scales = ((generator.random(shape) + 1) * 0.01).astype(np.float16)
    return codes, zeros, scales, groups


def save(name, quantization, modules):
    folder = FOLDER / name
    folder.mkdir(parents=True)
    tensors = {}
    for module, parts in modules.items():
        for part, value in parts.items():
            tensor = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            tensors[f"{module}.{part}"] = tensor.contiguous()
    path = folder / "model.safetensors"
    save_file(tensors, path, {"format": "pt"})
    path.chmod(0o644)
    document = dict(CONFIG, quantization_config=quantization)
    (folder / "config.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def gptq(name, bits, group, version, shapes, shuffled=False):
    modules = {}
    for module, (rows, columns) in shapes.items():
        size = group if group > 0 else columns
        codes, zeros, scales, groups = groupwise(rows, columns, bits, size)
        if shuffled:
            groups = np.random.default_rng(7).permutation(groups)
        parts = calibrated.gptq_parts(codes, zeros, scales, groups, bits, version)
        value = calibrated.gptq_value(parts, bits, group, version)
        assert np.array_equal(value, calibrated.dequantized(codes, zeros, scales, groups))
        modules[module] = {**parts, "expected": value}
    quantization = {
        "quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": shuffled,
        "sym": False, "damp_percent": 0.1, "true_sequential": True, "lm_head": False,
        "checkpoint_format": "gptq" if version == 1 else "gptq_v2", "pack_dtype": "int32",
    }
    if version == 1:
        del quantization["checkpoint_format"], quantization["pack_dtype"]
    save(name, quantization, modules)


def awq(name, group, shapes):
    modules = {}
    for module, (rows, columns) in shapes.items():
        codes, zeros, scales, groups = groupwise(rows, columns, 4, group)
        parts = calibrated.awq_parts(codes, zeros, scales)
        value = calibrated.awq_value(parts, group)
        assert np.array_equal(value, calibrated.dequantized(codes, zeros, scales, groups))
        modules[module] = {**parts, "expected": value}
    save(name, {
        "quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True,
        "version": "gemm", "modules_to_not_convert": None,
    }, modules)


def main():
    torch.manual_seed(4)
    shutil.rmtree(FOLDER, ignore_errors=True)
    made = {name: compressed_tensors(name) for name in MODULES}
    for form in [PACK, INTEGER, FLOAT]:
        chosen = {n: (s, parts) for n, (s, f, parts) in made.items() if f == form}
        config = QuantizationConfig(
            config_groups={f"group_{i}": s for i, (s, _) in enumerate(chosen.values())},
            format=form, ignore=["lm_head"], quantization_status="compressed")
        save(form, json.loads(config.model_dump_json()), {n: p for n, (_, p) in chosen.items()})
    gptq("gptq-4", 4, 32, 1, {"even": (24, 96), "ragged": (40, 72)})
    gptq("gptq-8", 8, 64, 2, {"even": (12, 128), "ragged": (8, 100)})
    gptq("gptq-rows", 4, -1, 1, {"rows": (16, 80)})
    gptq("gptq-order", 4, 32, 2, {"shuffled": (8, 96)}, shuffled=True)
    awq("awq", 32, {"even": (24, 96), "ragged": (16, 70)})


if __name__ == "__main__":
    main()
