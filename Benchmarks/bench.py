#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs `silica bench` in each precision by turns and shows the medians.

  bench.py SILICA MODEL [--rounds N] [--batch 1,4,16,32]

Uses nothing but Python's own library. Writes bench.json and bench.svg into Benchmarks/results.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
PRECISIONS = ["f32", "bf16", "w8", "w4"]
FIGURES = ["prefill_tokens_per_s", "decode_tokens_per_s", "step_ms_p50",
           "fraction_of_memory_bandwidth"]


def run(arguments, precision):
    """One run: a record for each batch size."""
    command = [arguments.silica, "bench", "--model", arguments.model, "--precision", precision]
    command += ["--batch", arguments.batch, "--prompt", str(arguments.prompt)]
    command += ["--generate", str(arguments.generate)]
    print("  " + " ".join(command), file=sys.stderr)
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def medians(arguments):
    """The median of every figure, for each precision and batch size."""
    runs = {precision: [] for precision in PRECISIONS}
    for _ in range(arguments.rounds):
        for precision in PRECISIONS:
            runs[precision].append(run(arguments, precision))
    results = []
    for precision, rounds in runs.items():
        for same_batch in zip(*rounds):
            record = dict(same_batch[0], precision=precision)
            for figure in FIGURES:
                record[figure] = statistics.median(r[figure] for r in same_batch)
            results.append(record)
    return results


def table(results):
    head = ["precision", "batch", "prefill t/s", "decode t/s", "step ms", "of bandwidth"]
    rows = [
        [r["precision"], str(r["batch"])]
        + [f"{r[f]:.3g}" if r[f] < 100 else f"{r[f]:.0f}" for f in FIGURES]
        for r in results
    ]
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths)) for row in [head] + rows)


def plot(results):
    """Decode speed by batch size, one line for each precision, as SVG."""
    width, height, left, bottom = 640, 360, 70, 40
    batches = sorted({r["batch"] for r in results})
    top = max(r["decode_tokens_per_s"] for r in results) * 1.1

    def point(record):
        x = left + batches.index(record["batch"]) * (width - left - 20) / max(1, len(batches) - 1)
        y = (height - bottom) * (1 - record["decode_tokens_per_s"] / top)
        return x, y

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" '
             'fill="white"/>', '<text x="10" y="16">decode tokens/s by batch size</text>']
    for batch in batches:
        x = left + batches.index(batch) * (width - left - 20) / max(1, len(batches) - 1)
        parts.append(f'<text x="{x:.0f}" y="{height - 15}" text-anchor="middle">{batch}</text>')
    for step in range(5):
        value = top * step / 4
        y = (height - bottom) * (1 - step / 4)
        parts.append(f'<line x1="{left}" y1="{y:.0f}" x2="{width - 20}" y2="{y:.0f}" '
                     'stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{value:.0f}</text>')
    for colour, precision in zip(["#1f77b4", "#d62728", "#2ca02c", "#9467bd"], PRECISIONS):
        points = [point(r) for r in results if r["precision"] == precision]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = points[-1]
        parts.append(f'<text x="{x - 4:.0f}" y="{y - 8:.0f}" fill="{colour}" '
                     f'text-anchor="end">{precision}</text>')
    return "\n".join(parts + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("silica")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", default="1,4,16,32")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--generate", type=int, default=32)
    arguments = parser.parse_args()
    results = medians(arguments)
    print(table(results))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "bench.svg").write_text(plot(results))
    print(f"\nwritten: {RESULTS / 'bench.json'} and bench.svg")


if __name__ == "__main__":
    main()
