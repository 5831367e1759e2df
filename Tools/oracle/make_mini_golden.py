#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks transformers for the logits of Models/mini and stores some in Tests/Fixtures/mini.

tokens.json: the ids of three held-out conversations, one after another. logits.npy and
after_next.npy: f32 [ROWS, vocabulary], the last rows of the next token and of the one after it.
"""
import json
import pathlib
import sys

import numpy as np
import tokenizers
import torch
from transformers import AutoModelForCausalLM

import next_token

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools/mini"))
import encoding  # noqa: E402
import held_out  # noqa: E402

MODEL, FIXTURE = ROOT / "Models/mini", ROOT / "Tests/Fixtures/mini"
ROWS = 16


def main():
    encoder = encoding.Encoder(tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json")))
    tokens = []
    for task in ("english_to_chinese", "sums", "chinese_to_english"):
        (turn,) = held_out.turns(task, 1)
        tokens += encoder.prompt([turn]) + encoder.reply(turn)
    model = AutoModelForCausalLM.from_pretrained(
        MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].numpy()
    after_next = next_token.after_next_logits(model, tokens)
    FIXTURE.mkdir(parents=True, exist_ok=True)
    (FIXTURE / "tokens.json").write_text(json.dumps(tokens) + "\n")
    np.save(FIXTURE / "logits.npy", logits[-ROWS:])
    np.save(FIXTURE / "after_next.npy", after_next[-ROWS:])
    print(f"mini: {len(tokens)} tokens, logit deviation {logits.std():.2f}")


if __name__ == "__main__":
    main()
