#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what keys and values in FP8 cost the miniature model on a GPU, real or emulated.

  keys.py SILICA [--model Models/mini] [--device cuda:0] [--conversations 24]

Compares logits for the tokens of held-out replies with those of f32 on the CPU: matrices in bf16,
keys and values in bf16 and in FP8. Prints a line for each.
"""
import argparse
import dataclasses
import pathlib

import distance

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Run:
    folder: pathlib.Path
    precision: str
    options: tuple[str, ...] = ()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("silica")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "Models/mini")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--conversations", type=int, default=24, help="a multiple of 4")
    arguments = parser.parse_args()

    runs = distance.reply_runs(arguments.model, arguments.conversations)
    reference = distance.Reference(arguments.silica, Run(arguments.model, "f32"), runs)
    print(f"{len(reference.values)} tokens of replies")
    for keys in ["bf16", "fp8"]:
        options = ("--device", arguments.device, "--kv-precision", keys)
        found = reference.distance(Run(arguments.model, "bf16", options))
        print(f"keys and values in {keys}: KL {found['kl']:.2e} nats, same token "
              f"{found['same_token']:.2f} %, error of logits {found['logit_error']:.2f} %",
              flush=True)


if __name__ == "__main__":
    main()
