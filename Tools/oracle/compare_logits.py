#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares Silica's logits for any checkpoint with those of transformers, in f32.

  compare_logits.py MODEL_DIR [--tokens 1,2,3 | --count 37] [--silica .build/release/silica]
                    [--tolerance 2e-4] [-- ARGUMENTS OF `silica logits`]

Without ARGUMENTS, runs `--device reference`. Exits with 1 if a logit differs by more than the
tolerance. FP8 checkpoints are dequantised first, since transformers computes FP8 on GPUs only.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--tokens", help="ids divided by commas; random ones if left out")
    parser.add_argument("--count", type=int, default=37, help="how many random tokens")
    parser.add_argument("--silica", default=str(ROOT / ".build/release/silica"))
    parser.add_argument("--tolerance", type=float, default=2e-4)
    # What follows a lone "--" is for Silica.
    words = sys.argv[1:]
    border = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:border])
    options.rest = words[border + 1 :] or ["--device", "reference"]
    return options


def dequantized_weights(folder, block):
    """Every tensor of an FP8 checkpoint, in f32."""
    stored = {}
    for path in sorted(folder.glob("*.safetensors")):
        stored.update(load_file(path))
    weights = {}
    for name, tensor in stored.items():
        if name.endswith("_scale_inv"):
            continue
        value = tensor.float()
        if name + "_scale_inv" in stored:
            scales = stored[name + "_scale_inv"].float()
            scales = scales.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
            value = value * scales[: value.shape[0], : value.shape[1]]
        weights[name] = value
    return weights


def transformers_logits(folder, tokens):
    settings = {"dtype": torch.float32, "attn_implementation": "eager"}
    document = json.loads((folder / "config.json").read_text())
    quantization = document.pop("quantization_config", None)
    if quantization is None:
        model = AutoModelForCausalLM.from_pretrained(folder, **settings)
    else:
        with tempfile.TemporaryDirectory() as copy:
            (pathlib.Path(copy) / "config.json").write_text(json.dumps(document))
            weights = dequantized_weights(folder, quantization["weight_block_size"])
            save_file(weights, f"{copy}/model.safetensors", {"format": "pt"})
            model = AutoModelForCausalLM.from_pretrained(copy, **settings)
    with torch.no_grad():
        return model.eval()(torch.tensor([tokens])).logits[0].float().numpy()


def silica_logits(options, tokens):
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/logits.npy"
        ids = ",".join(map(str, tokens))
        command = [options.silica, "logits", "--model", str(options.model), "--tokens", ids]
        subprocess.run([*command, "--out", out, *options.rest], check=True)
        return np.load(out)


def main():
    options = arguments()
    config = json.loads((options.model / "config.json").read_text())
    if options.tokens:
        tokens = [int(word) for word in options.tokens.split(",")]
    else:
        generator = np.random.default_rng(0)
        tokens = generator.integers(0, config["vocab_size"], options.count).tolist()
    ours = silica_logits(options, tokens)
    theirs = transformers_logits(options.model, tokens)
    assert ours.shape == theirs.shape, f"shapes differ: {ours.shape} and {theirs.shape}"
    difference = np.abs(ours - theirs)
    same = (ours.argmax(-1) == theirs.argmax(-1)).mean()
    print(
        f"{len(tokens)} tokens: largest difference {difference.max():.2e} at position "
        f"{difference.max(-1).argmax()}, root mean square {np.sqrt((difference**2).mean()):.2e}, "
        f"deviation of logits {theirs.std():.2f}, same best token {100 * same:.1f} %"
    )
    return 0 if difference.max() <= options.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
