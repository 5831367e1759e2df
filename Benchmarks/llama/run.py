# SPDX-License-Identifier: Apache-2.0
"""Silica and llama.cpp by turns on checkpoints of random weights: a table, JSON and a plot.

usage: run.py SILICA [--shapes dense,moe] [--rounds 3] [--batch 1,2,4,…] [--folder .build/bench]

Run by `make bench`. Both get the same weights in the same bits (W8 beside Q8_0, W4 beside Q4_0),
the same number of threads and the same work: decode steps of some sequences behind prompts of 16
tokens, and the prefill of one prompt of 512. Figures are medians over the rounds.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import gguf

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
# Precision of Silica, format of llama.cpp.
PAIRS = [("w8", "q8_0"), ("w4", "q4_0")]
PROMPT, PREFILL = 16, 512


def lines(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def packed(arguments, folder, precision):
    """The checkpoint as `silica quantize` packs it, made at first use."""
    path = folder / f"silica-{precision}"
    if not path.exists():
        subprocess.run([arguments.silica, "quantize", "--model", folder / "silica", "--precision",
                        precision, "--out", path], check=True, stdout=subprocess.DEVNULL)
    return path


def silica(arguments, folder, precision):
    command = [arguments.silica, "bench", "--model", packed(arguments, folder, precision),
               "--threads", arguments.threads, "--context-length", 1024]
    decode = lines(command + ["--batch", arguments.batch, "--prompt", PROMPT,
                              "--generate", arguments.generate])
    # The first prompt pages in what is mapped; the peer's is one of its own.
    prefill = lines(command + ["--batch", "1,1", "--prompt", PREFILL, "--prefill-chunk", PREFILL,
                               "--generate", 2])
    return decode, prefill[-1]["prefill_tokens_per_s"]


def llama(arguments, folder, kind):
    decode = lines([sys.executable, HERE / "peer.py", folder / f"{kind}.gguf",
                    "--batch", arguments.batch, "--prompt", PREFILL,
                    "--generate", arguments.generate, "--threads", arguments.threads])
    return decode, decode[0]["prefill_tokens_per_s"]


def bytes_of_step(path):
    """Bytes of weights that llama.cpp reads for a token of a dense model: all but embeddings."""
    return sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(path).tensors
               if tensor.name != "token_embd.weight" and "_exps" not in tensor.name)


def measure(arguments, shape):
    """{(engine, format): {"prefill": [...], "steps": {batch: [...]}, "device": …}}"""
    folder = arguments.folder / shape
    subprocess.run([sys.executable, HERE / "make_model.py", shape, folder], check=True)
    results = {}
    for turn in range(arguments.rounds):
        for precision, kind in PAIRS:
            for engine, name, run in [("silica", precision, silica), ("llama.cpp", kind, llama)]:
                print(f"{shape}: round {turn + 1} of {arguments.rounds}, {engine} {name}",
                      file=sys.stderr, flush=True)
                decode, prefill = run(arguments, folder, name)
                entry = results.setdefault((engine, name), dict(prefill=[], steps={}, bandwidth=[]))
                entry["device"] = decode[0]["device"]
                entry["prefill"].append(prefill)
                for line in decode:
                    entry["steps"].setdefault(line["batch"], []).append(line["step_ms_p50"])
                if engine == "silica":
                    entry["bytes"] = decode[0]["weight_bytes_per_step"]
                    entry["bandwidth"].append(decode[0]["memory_bandwidth_bytes_per_s"])
                elif shape == "dense":
                    entry["bytes"] = bytes_of_step(folder / f"{name}.gguf")
    return results


def summary(results):
    """Medians, and the ratio of each Silica figure to the peer's at the same bits and its best."""
    rows = []
    for (engine, name), entry in results.items():
        row = dict(engine=engine, format=name, device=entry["device"],
                   prefill_tokens_per_s=statistics.median(entry["prefill"]),
                   step_ms={b: statistics.median(v) for b, v in entry["steps"].items()},
                   extremes_ms={b: [min(v), max(v)] for b, v in entry["steps"].items()})
        # Each round's own: what a machine reads may change within the hour.
        if entry["bandwidth"]:
            row["read_bandwidth_gb_per_s"] = [b / 1e9 for b in entry["bandwidth"]]
        if "bytes" in entry and 1 in entry["steps"]:
            row["batch_1_bytes"] = entry["bytes"]
            row["batch_1_gb_per_s"] = [entry["bytes"] / ms / 1e6 for ms in entry["steps"][1]]
        rows.append(row)
    return rows


def speed(row, batch):
    return 1e3 * batch / row["step_ms"][batch]


def listed(values):
    return ", ".join(f"{value:.1f}" for value in values)


def table(shape, rows):
    peers = [row for row in rows if row["engine"] != "silica"]
    batches = list(rows[0]["step_ms"])
    out = [f"## {shape}", "",
           "tokens/s (times the peer at the same bits / times its best format)", ""]
    head = ["", "prefill 512"] + [f"batch {b}" for b in batches]
    out += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        figures = [("prefill", row["prefill_tokens_per_s"], lambda r: r["prefill_tokens_per_s"])]
        figures += [(b, speed(row, b), lambda r, b=b: speed(r, b)) for b in batches]
        cells = []
        for _, value, of in figures:
            cell = f"{value:.1f}"
            if row["engine"] == "silica":
                same = dict(PAIRS)[row["format"]]
                peer = next(r for r in peers if r["format"] == same)
                cell += f" ({value / of(peer):.2f} / {value / max(map(of, peers)):.2f})"
            cells.append(cell)
        out.append("| " + " | ".join([f"{row['engine']} {row['format']}"] + cells) + " |")
    for row in rows:
        if "batch_1_bytes" in row:
            out.append(f"\n{row['engine']} {row['format']}: a step of batch 1 reads "
                       f"{row['batch_1_bytes'] / 1e9:.2f} GB of weights, "
                       f"{listed(row['batch_1_gb_per_s'])} GB/s in the rounds"
                       + (f"; reading alone, beside it: {listed(row['read_bandwidth_gb_per_s'])}"
                          if "read_bandwidth_gb_per_s" in row else ""))
    out += ["", peers[0]["device"], ""]
    return "\n".join(out)


def plot(shape, rows):
    """Milliseconds of a step by batch size, as SVG."""
    width, height, left, bottom = 640, 360, 60, 40
    batches = list(rows[0]["step_ms"])
    top = max(max(row["step_ms"].values()) for row in rows) * 1.05
    colours = dict(zip([(r["engine"], r["format"]) for r in rows],
                       ["#1f77b4", "#aec7e8", "#d62728", "#ff9896"]))

    def point(batch, milliseconds):
        return (left + batch * (width - left - 90) / max(batches),
                (height - bottom) * (1 - milliseconds / top) + 10)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 10}" '
             'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" '
             f'fill="white"/><text x="10" y="14">{shape}: ms of a step by batch size</text>']
    for batch in batches:
        x, y = point(batch, 0)
        parts.append(f'<text x="{x:.0f}" y="{y + 16:.0f}" text-anchor="middle">{batch}</text>')
    for step in range(5):
        x, y = point(0, top * step / 4)
        parts.append(f'<line x1="{x}" y1="{y:.0f}" x2="{width - 90}" y2="{y:.0f}" stroke="#ddd"/>'
                     f'<text x="{x - 6}" y="{y + 4:.0f}" text-anchor="end">{top * step / 4:.0f}'
                     '</text>')
    for row in rows:
        colour = colours[row["engine"], row["format"]]
        points = [point(b, row["step_ms"][b]) for b in batches]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        x, y = points[-1]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
                     f'<text x="{x + 4:.0f}" y="{y + 4:.0f}" fill="{colour}">{row["engine"]} '
                     f'{row["format"]}</text>')
    return "\n".join(parts + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("silica")
    parser.add_argument("--shapes", default="dense,moe")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", default="1,2,3,4,5,6,7,8,12,16,20,24,32")
    parser.add_argument("--generate", type=int, default=12)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(".build/bench"))
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for shape in arguments.shapes.split(","):
        rows = summary(measure(arguments, shape))
        print(table(shape, rows), flush=True)
        (RESULTS / f"llama-{shape}.json").write_text(json.dumps(rows, indent=1) + "\n")
        (RESULTS / f"llama-{shape}.svg").write_text(plot(shape, rows))
        (RESULTS / f"llama-{shape}.md").write_text(table(shape, rows))
    print(f"written: {RESULTS}/llama-*.json, .md and .svg")


if __name__ == "__main__":
    main()
