#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the miniature model's card, Models/mini/README.md, from its training log and `card.md`.

Usage: .venv/bin/python Tools/mini/card.py [FOLDER]
"""
import json
import math
import pathlib
import struct
import sys

import answers
import lexicon
import morphology
from conversation import Conversations

ROOT = pathlib.Path(__file__).resolve().parents[2]


def parameter_count(path):
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    count = 0
    for name, entry in header.items():
        if name != "__metadata__":
            size = 1
            for extent in entry["shape"]:
                size *= extent
            count += size
    return count


def loss_plot(log):
    """An SVG of the losses by step, on a logarithmic scale from 0.01 to 10 nats."""
    width, height, left, top = 640, 240, 48, 16
    steps = log[-1]["step"]

    def point(line, key):
        level = (math.log10(max(0.01, min(10, line[key]))) + 2) / 3
        return f"{left + line['step'] / steps * width:.0f},{top + (1 - level) * height:.0f}"

    def curve(key, colour):
        points = " ".join(point(line, key) for line in log)
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'

    grid = "".join(
        f'<line x1="{left}" x2="{left + width}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>'
        f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{label}</text>'
        for label, y in zip(("10", "1", "0.1", "0.01"), (top + i * height / 3 for i in range(4))))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 16} '
        f'{top + height + 40}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{grid}'
        f'{curve("loss", "#1f77b4")}{curve("loss_after_next", "#ff7f0e")}'
        f'<text x="{left + width}" y="{top + height + 18}" text-anchor="end">step {steps}</text>'
        f'<text x="{left}" y="{top + height + 34}"><tspan fill="#1f77b4">next token</tspan>'
        f'<tspan dx="16" fill="#ff7f0e">the one after (last batch)</tspan></text></svg>\n')


def table(log):
    header = ["step", "loss", "English to Chinese", "Chinese to English", "sums", "stories"]
    lines = [header, ["---:"] * len(header)]
    for line in log:
        lines.append(
            [str(line["step"]), f"{line['loss']:.3f}"]
            + [f"{100 * line[task]:.0f} %" for task in (
                "english_to_chinese", "chinese_to_english", "sums", "stories")])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def examples():
    source = Conversations(5)
    turns = [source.into_chinese(), source.into_english(), source.sum(), source.story()]
    return "\n\n".join(f"{turn.question}\n<think>\n{turn.reply}" for turn in turns)


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Models/mini"
    log = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    config = json.loads((folder / "config.json").read_text())
    weights = folder / "model.safetensors"
    template = pathlib.Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    card = template.format(
        parameters=parameter_count(weights) / 1e6, size=weights.stat().st_size / 1e6,
        layers=config["num_hidden_layers"], experts=config["n_routed_experts"],
        chosen=config["num_experts_per_tok"], groups=config["n_group"],
        heads=config["num_attention_heads"], nope=config["qk_nope_head_dim"],
        rope=config["qk_rope_head_dim"], value=config["v_head_dim"],
        query_rank=config["q_lora_rank"], rank=config["kv_lora_rank"],
        hidden=config["hidden_size"], vocabulary=config["vocab_size"],
        nouns=len(morphology.NOUNS), adjectives=len(morphology.ADJECTIVES),
        verbs=len(morphology.TRANSITIVES + morphology.STATES + morphology.INTRANSITIVES),
        names=len(lexicon.rows(lexicon.NAMES)), about=len(answers.ABOUT_PAIRS),
        examples=examples(), steps=log[-1]["step"], minutes=log[-1]["minutes"],
        step_tokens=round(log[-1]["tokens"] / log[-1]["step"]), tokens=log[-1]["tokens"] / 1e6,
        table=table(log))
    (folder / "loss.svg").write_text(loss_plot(log), encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
