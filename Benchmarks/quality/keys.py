#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what formats of a GPU, real or emulated, cost the miniature model.

  keys.py SILICA [--model Models/mini] [--device cuda:0] [--conversations 24]
          [--precisions bf16] [--keys bf16,fp8]

Compares logits for the tokens of held-out replies with those of f32 on the CPU: with matrices in
each precision, and keys and values in each of theirs. Prints a line for each.
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


def words(text):
    return text.split(",")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("silica")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "Models/mini")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--conversations", type=int, default=24, help="a multiple of 4")
    parser.add_argument("--precisions", type=words, default=["bf16"], help="of matrices")
    parser.add_argument("--keys", type=words, default=["bf16", "fp8"], help="of keys and values")
    arguments = parser.parse_args()

    runs = distance.reply_runs(arguments.model, arguments.conversations)
    reference = distance.Reference(arguments.silica, Run(arguments.model, "f32"), runs)
    print(f"{len(reference.values)} tokens of replies")
    for precision in arguments.precisions:
        for keys in arguments.keys:
            options = ("--device", arguments.device, "--kv-precision", keys)
            found = reference.distance(Run(arguments.model, precision, options))
            print(f"matrices in {precision}, keys and values in {keys}: KL {found['kl']:.2e} nats, "
                  f"same token {found['same_token']:.2f} %, error of logits "
                  f"{found['logit_error']:.2f} %", flush=True)


if __name__ == "__main__":
    main()
