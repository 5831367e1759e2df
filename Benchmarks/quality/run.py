#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what each precision costs the miniature model, and writes Docs/quality.md.

  run.py SILICA [--model Models/mini] [--count 500] [--rounds 3] [--out Docs/quality.md]

Makes a checkpoint for each precision, serves each and asks it held-out translations and sums, and
compares its logits with those of f32. Takes some ten minutes on two cores, and 0.3 GB of disk.
"""
import argparse
import json
import pathlib
import sys

import distance
import measure
import report
import variants as variant_files

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("silica")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "Models/mini")
    parser.add_argument("--count", type=int, default=500, help="held-out questions of each task")
    parser.add_argument("--rounds", type=int, default=3, help="of the speed measurement")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / ".build/quality")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "Docs/quality.md")
    arguments = parser.parse_args()

    variants = variant_files.make(arguments.model, arguments.work, arguments.silica)
    tests = {
        task: measure.held_out.turns(task, arguments.count) for task in measure.held_out.TASKS}
    runs = distance.reply_runs(arguments.model)
    reference = distance.Reference(arguments.silica, variants[0], runs)
    rows = []
    for variant in variants:
        print(f"quality: {variant.name} ...", file=sys.stderr, flush=True)
        rows.append({
            "name": variant.name, "is_sparse": variant.is_sparse,
            "bytes": variant.weight_bytes,
            **measure.answer_scores(arguments.silica, variant, tests),
            **reference.distance(variant)})
    speeds = measure.decode_speeds(arguments.silica, variants, arguments.rounds)
    for row in rows:
        row["speed"] = speeds[row["name"]]
    result = {
        "count": arguments.count, "rounds": arguments.rounds, "rows": rows,
        "next_token_hits": measure.next_token_hits(arguments.silica, variants[0], runs)}
    (arguments.work / "quality.json").write_text(json.dumps(result, indent=1) + "\n")
    text = report.document(result)
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
