# SPDX-License-Identifier: Apache-2.0
"""Docs/quality.md from what was measured and the text of `report.md`."""
import pathlib

import sacrebleu

COMMAND = "make quality"

HEADER = [
    "precision", "size MB", "of f32", "decode b1", "decode b16", "BLEU en→zh", "BLEU zh→en",
    "sums %", "stories %", "KL", "same token %", "logit error %"]


def cells(row, largest):
    size = f"{row['bytes'] / 1e6:.2f}"
    share, speeds = f"{100 * row['bytes'] / largest:.0f} %", row["speed"]
    first = [size, share, f"{speeds[1]:.2f} ×", f"{speeds[16]:.2f} ×"]
    if row["is_sparse"]:
        first = ["unsupported"] + ["–"] * 3
    return [
        row["name"], *first, f"{row['bleu_into_chinese']:.1f}", f"{row['bleu_into_english']:.1f}",
        f"{row['sums_right']:.1f}", f"{row['stories_right']:.1f}", f"{row['kl']:.2g}",
        f"{row['same_token']:.1f}", f"{row['logit_error']:.1f}"]


def table(rows):
    largest = max(row["bytes"] for row in rows)
    lines = [HEADER, ["---"] * len(HEADER)] + [cells(row, largest) for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def claims(rows):
    """Claims that are often seen, each with what was measured."""
    row = {row["name"]: row for row in rows}

    def share(name, of):
        return f"{100 * row[name]['bytes'] / row[of]['bytes']:.0f} %"

    lost = row["f32"]["sums_right"] - row["f32 + 2:4"]["sums_right"]
    return "\n".join([
        "| claim | measured here |",
        "|---|---|",
        f"| FP8 is 38 % of the size | {share('fp8 blocks', 'f32')} of f32, "
        f"{share('fp8 blocks', 'bf16')} of bf16: what is not a matrix of a layer stays wide. The "
        "bound for a large model is 25 % and 50 % |",
        "| 2:4 is 1.8 × faster | not shown: CPUs have no 2:4 kernels, those of GPUs were not "
        "measured. The bound by storage alone is 16 bits / (8 + 1) = 1.78 × for bf16, "
        "1.6 × for FP8, 1.33 × for 4 bits |",
        "| 2:4 costs little | without training after it, "
        f"{lost:.0f} points of right sums, and BLEU falls from "
        f"{row['f32']['bleu_into_english']:.0f} to {row['f32 + 2:4']['bleu_into_english']:.0f} |",
        f"| 8 bits are free | BLEU {row['w8']['bleu_into_chinese']:.1f} and "
        f"{row['w8']['bleu_into_english']:.1f} beside {row['f32']['bleu_into_chinese']:.1f} and "
        f"{row['f32']['bleu_into_english']:.1f} |",
    ])


def document(result):
    template = pathlib.Path(__file__).with_name("report.md").read_text(encoding="utf-8")
    return template.format(
        command=COMMAND, count=result["count"], rounds=result["rounds"],
        table=table(result["rows"]), claims=claims(result["rows"]),
        sacrebleu=sacrebleu.__version__, hits=result["next_token_hits"])
