# SPDX-License-Identifier: Apache-2.0
"""What `Tools/gpu/bench` measured on a GPU, as JSON, tables and a plot.

usage: report.py bench.jsonl [--name h200]

Writes ../results/gpu-NAME.json, .md and .svg; NAME is made of the GPU's, if not given. Uses nothing
but Python's own library.
"""

import argparse
import json
import math
import pathlib
import re

RESULTS = pathlib.Path(__file__).resolve().parent.parent / "results"
COLOURS = {
    ("silica", "fp8"): "#1f77b4", ("silica", "bf16"): "#2ca02c", ("silica", "w4"): "#9467bd",
    ("silica", "w8"): "#17becf", ("silica", "w8a8"): "#e377c2", ("silica", "int4-128"): "#8c564b",
    ("silica", "fp8a8"): "#bcbd22",
    ("peer", "fp8"): "#d62728", ("peer", "bf16"): "#ff9896",
}


def side(line):
    return "silica" if line["engine"] == "silica" else "peer"


class Bench:
    def __init__(self, path):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.lines = lines
        self.limits = {}
        for line in lines:
            if line["kind"] != "limits":
                continue
            # The first of each engine: all runs of one measure the same.
            self.limits.setdefault(side(line), line)
        self.models = self.unlike(line["model"] for line in lines if "model" in line)

    @staticmethod
    def unlike(values):
        return list(dict.fromkeys(values))

    def of(self, kind, model):
        """Of each (engine, precision): its lines. Other keys, and other steps, are others."""
        found = {}
        for line in self.lines:
            if line["kind"] == kind and line["model"] == model:
                precision = line["precision"]
                if line.get("kv_precision") == "fp8":
                    precision += ", keys fp8"
                if line.get("steps") == "one-launch":
                    precision += ", one launch"
                found.setdefault((line["engine"], precision), []).append(line)
        # Silica first, its precisions from wide to narrow.
        order = ["bf16", "fp8", "fp8a8", "w8", "w8a8", "w4", "int4-128"]
        return dict(sorted(found.items(), key=lambda item: (
            item[0][0] != "silica", order.index(item[0][1]) if item[0][1] in order else 9)))

    @property
    def device(self):
        names = [line["device"] for line in self.lines if "device" in line]
        return re.sub(r"cuda:\d+ \(|, [^,]*\)$", "", names[0]) if names else "a GPU"

    @property
    def matrix_limit(self):
        """What products are compared with: cuBLAS's rate where it was measured."""
        rates = [limit["matrix_flops_per_s"] for limit in self.limits.values()]
        return max(rates) if rates else float("inf")


def row(cells):
    return "| " + " | ".join(cells) + " |"


def table(head, rows):
    return [row(head), "|" + "---|" * len(head)] + [row(cells) for cells in rows] + [""]


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def limits_text(bench):
    parts = []
    if ours := bench.limits.get("silica"):
        parts += [f"reads {ours['read_bytes_per_s'] / 1e9:,.0f} GB/s",
                  f"copies {ours['copy_bytes_per_s'] / 1e9:,.0f} GB/s (read and written)",
                  f"`mma.sync` {ours['matrix_flops_per_s'] / 1e12:.0f} TF/s in bf16"]
    if peer := bench.limits.get("peer"):
        parts.append(f"cuBLAS {peer['matrix_flops_per_s'] / 1e12:.0f} TF/s in bf16 "
                     f"(8,192³, random numbers, {peer['engine']})")
    return f"{bench.device}: " + "; ".join(parts) + "."


def ratio(line, others, key):
    """Silica's speed over the peer's in the same precision and at the same size."""
    for other in others:
        if other[key] == line[key]:
            return line["tokens_per_s"] / other["tokens_per_s"]
    return None


def peers_of(runs, precision):
    return [line for (engine, kind), lines in runs.items() for line in lines
            if engine != "silica" and kind == precision]


def decode_table(bench, model):
    runs = bench.of("decode", model)
    batches = sorted({line["batch"] for lines in runs.values() for line in lines})
    rows = []
    for (engine, precision), lines in runs.items():
        cells = [f"{engine} {precision}"]
        for batch in batches:
            line = next((line for line in lines if line["batch"] == batch), None)
            if line is None:
                cells.append("")
                continue
            text = number(line["tokens_per_s"])
            if engine == "silica":
                text += f" ({100 * line['fraction_of_limit']:.0f} %"
                times = ratio(line, peers_of(runs, precision), "batch")
                text += f", {times:.2f}×)" if times else ")"
            cells.append(text)
        rows.append(cells)
    return table(["tokens/s at batch"] + [str(batch) for batch in batches], rows) if rows else []


def prefill_table(bench, model):
    runs = bench.of("prefill", model)
    rows = []
    for (engine, precision), lines in runs.items():
        for line in lines:
            rate = line["flops"] / line["ms"] * 1e3
            times = ratio(line, peers_of(runs, precision), "tokens") if engine == "silica" else None
            # Latent attention of prompts has two forms.
            name = f"{engine} {precision}" + (
                ", expanded" if line.get("mla_prefill") == "expanded" else "")
            rows.append([name, f"{line['tokens']:,}", f"{line['ms']:.1f}",
                         number(line["tokens_per_s"]), f"{rate / 1e12:.1f}",
                         f"{100 * rate / bench.matrix_limit:.0f} %",
                         f"{times:.2f}×" if times else ""])
    head = ["prefill", "tokens", "ms", "tokens/s", "TF/s", "of bf16", "of PyTorch"]
    return table(head, rows) if rows else []


def operations_tables(bench, model):
    out = []
    for (_, precision), lines in bench.of("decode", model).items():
        for line in lines:
            if not line.get("operations"):
                continue
            rows = [[o["operation"], str(o["count"]), f"{o['ms']:.3f}",
                     f"{1000 * o['ms'] / o['count']:.1f}", f"{100 * o['fraction_of_limit']:.0f} %"]
                    for o in sorted(line["operations"], key=lambda o: -o["ms"])]
            out += [f"{model} {precision}, batch {line['batch']}, a step of "
                    f"{line['step_ms']:.3f} ms:", ""]
            out += table(["operation", "times", "ms", "µs each", "of bandwidth"], rows)
    return out


def document(bench):
    contexts = Bench.unlike(
        str(line["context"]) for line in bench.lines if line["kind"] == "decode")
    out = [f"## {bench.device}", "", limits_text(bench), "",
           "Random weights in the shapes of published models. Decode: steps of one token for each "
           f"sequence, behind {', '.join(contexts)} keys; in brackets the share of the read "
           "bandwidth that the bytes of weights, keys and values are, and how many times as fast "
           "as PyTorch in the same precision. Prefill: all tokens in one step; TF/s count two for "
           "each weight and token and what attention needs, their share is that of the fastest "
           "bf16 above. PyTorch's matrices and attention only, decoding as a CUDA graph; its fp8 "
           "is `torch._scaled_mm` with a scale for each tensor, rows padded to 16.", ""]
    for model in bench.models:
        out += [f"### {model}", ""] + decode_table(bench, model) + prefill_table(bench, model)
    out += ["### Where the time goes", "",
            "By marks between operations, which take a microsecond or so each. Each operation "
            "runs by itself here; in a step neighbours are fused (of a gated unit, `swiglu` is "
            "part of its linears), and so the sum is more than a step.", ""]
    for model in bench.models:
        out += operations_tables(bench, model)
    return "\n".join(out)


def panel(bench, model, left, width, height):
    """Decode speed by batch size, both logarithmic."""
    runs = bench.of("decode", model)
    batches = sorted({line["batch"] for lines in runs.values() for line in lines})
    speeds = [line["tokens_per_s"] for lines in runs.values() for line in lines]
    bottom, top = 10 ** (len(str(int(min(speeds)))) - 1), max(speeds) * 1.3

    def point(batch, speed):
        x = left + batches.index(batch) * (width - 130) / max(1, len(batches) - 1)
        return x, 24 + height * (1 - math.log(speed / bottom) / math.log(top / bottom))

    parts = [f'<text x="{left}" y="16">{model}: decode tokens/s by batch size</text>']
    for batch in batches:
        x, _ = point(batch, bottom)
        parts.append(f'<text x="{x:.0f}" y="{height + 42}" text-anchor="middle">{batch}</text>')
    value = bottom
    while value <= top:
        x, y = point(batches[0], value)
        parts.append(f'<line x1="{left}" y1="{y:.0f}" x2="{left + width - 130}" y2="{y:.0f}" '
                     f'stroke="#ddd"/><text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">'
                     f'{value:,}</text>')
        value *= 10
    taken = []
    # The highest first, so that names give way downwards.
    for (engine, precision), lines in sorted(
            runs.items(), key=lambda item: -item[1][-1]["tokens_per_s"]):
        colour = COLOURS.get((side(lines[0]), precision), "#7f7f7f")
        points = [point(line["batch"], line["tokens_per_s"]) for line in lines]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        x, y = points[-1]
        while any(abs(y - other) < 13 for other in taken):
            y += 13
        taken.append(y)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
                     f'<text x="{x + 4:.0f}" y="{y + 4:.0f}" fill="{colour}">'
                     f'{engine.split()[0]} {precision}</text>')
    return parts


def plot(bench):
    models = [model for model in bench.models if bench.of("decode", model)]
    width, height = 420, 300
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width * len(models) + 10} '
             f'{height + 55}" font-family="sans-serif" font-size="12"><rect width="100%" '
             'height="100%" fill="white"/>']
    for index, model in enumerate(models):
        parts += panel(bench, model, 55 + index * width, width, height)
    return "\n".join(parts + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lines", type=pathlib.Path)
    parser.add_argument("--name")
    parser.add_argument("--folder", type=pathlib.Path, default=RESULTS)
    arguments = parser.parse_args()
    bench = Bench(arguments.lines)
    name = arguments.name or re.sub(r"[^a-z0-9]+", "-", bench.device.lower()).strip("-")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    stem = arguments.folder / f"gpu-{name}"
    stem.with_suffix(".json").write_text(json.dumps(bench.lines, indent=1) + "\n")
    stem.with_suffix(".md").write_text(document(bench))
    stem.with_suffix(".svg").write_text(plot(bench))
    print(document(bench))
    print(f"written: {stem}.json, .md and .svg")


if __name__ == "__main__":
    main()
