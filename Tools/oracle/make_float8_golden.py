#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/CheckpointTests/Goldens/float8: FP8 weights and what torch makes of them.

`X.weight` and `X.weight_scale_inv` are stored as in DeepSeek-V3; `X.expected` is their product in
f32. `codes` holds every 8-bit pattern, `codes.expected` its value.

Usage: .venv/bin/python Tools/oracle/make_float8_golden.py
"""

import json
import pathlib

import torch
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "Tests/CheckpointTests/Goldens/float8"
BLOCK = [32, 64]
# Whole blocks, ragged in both directions, in one, and smaller than a block.
SHAPES = {"whole": [64, 128], "ragged": [80, 150], "wide": [32, 65], "small": [5, 7]}

CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "max_position_embeddings": 64,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": BLOCK,
    },
    "vocab_size": 16,
}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(8)
    codes = torch.arange(256, dtype=torch.uint8).reshape(16, 16).view(torch.float8_e4m3fn)
    tensors = {"codes": codes, "codes_scale_inv": torch.ones(1, 1), "codes.expected": codes.float()}
    for name, (rows, columns) in SHAPES.items():
        weight = (torch.randn(rows, columns) * 50).to(torch.float8_e4m3fn)
        scales = torch.rand(-(-rows // BLOCK[0]), -(-columns // BLOCK[1])) * 0.01
        if name == "wide":
            scales = scales.bfloat16()
        blocks = scales.float().repeat_interleave(BLOCK[0], 0).repeat_interleave(BLOCK[1], 1)
        tensors[f"{name}.weight"] = weight
        tensors[f"{name}.weight_scale_inv"] = scales
        tensors[f"{name}.expected"] = weight.float() * blocks[:rows, :columns]
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()},
              FOLDER / "model.safetensors")
    (FOLDER / "model.safetensors").chmod(0o644)
    (FOLDER / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
