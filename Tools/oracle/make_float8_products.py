#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/DeviceTests/Goldens/float8: an FP8 matrix, rows, and their product as float8.py
computes it, with any scales (`plain`) and with powers of two (`ue8m0`).

Usage: .venv/bin/python Tools/oracle/make_float8_products.py
"""
import json
import pathlib

import torch
from safetensors.torch import save_file

import float8

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "Tests/DeviceTests/Goldens/float8"
# Ragged in both directions.
ROWS, COLUMNS, INNER = 19, 150, 300


def main():
    torch.manual_seed(88)
    for name, powers_of_two in [("plain", False), ("ue8m0", True)]:
        codes = (torch.randn(COLUMNS, INNER) * 60).to(torch.float8_e4m3fn)
        scales = torch.rand(-(-COLUMNS // float8.BLOCK), -(-INNER // float8.BLOCK)) * 0.001
        # Rows of all sizes: channels far above the others, below 1e-4, zeros, powers of two.
        rows = torch.randn(ROWS, INNER) * torch.logspace(-6, 3, ROWS)[:, None]
        rows[3, 40] = 2000
        rows[4, 128:256] = 0
        # Halfway between two codes, with a scale of one.
        rows[6] = torch.randint(0, 28, [INNER]) * 1.0
        rows[6, :: float8.BLOCK] = 448
        rows[5] = torch.exp2(torch.randint(-9, 9, [INNER]).float())
        if powers_of_two:
            scales = torch.exp2(torch.floor(torch.log2(scales)))
        expected = float8.linear(rows, codes, scales, powers_of_two)
        tensors = {
            "rows": rows, "matrix.weight": codes, "matrix.weight_scale_inv": scales,
            "expected": expected}
        section = {
            "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
            "weight_block_size": [float8.BLOCK, float8.BLOCK]}
        if powers_of_two:
            section["scale_fmt"] = "ue8m0"
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors")
        (folder / "model.safetensors").chmod(0o644)
        document = {
            "architectures": ["DeepseekV3ForCausalLM"], "max_position_embeddings": 64,
            "quantization_config": section, "vocab_size": 16}
        (folder / "config.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
