# SPDX-License-Identifier: Apache-2.0
"""Writes goldens.json: what Hugging Face's logits processors make of random logits.

Run in an environment with torch and transformers: python make_goldens.py
Presence and frequency penalties are not in transformers; they are computed here by their formula.
"""

import json
import pathlib

import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

VOCABULARY = 48

CASES = [
    {},
    {"temperature": 0.3},
    {"temperature": 2.5},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 47},
    {"top_k": 48},
    {"top_p": 0.01},
    {"top_p": 0.5},
    {"top_p": 0.9},
    {"top_p": 0.999},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"temperature": 0.7, "top_k": 12, "top_p": 0.8},
    {"temperature": 1.5, "top_k": 20, "top_p": 0.95, "min_p": 0.02},
    {"temperature": 3.0, "top_p": 0.6, "min_p": 0.3},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7, "top_k": 10},
    {"presence_penalty": 1.5},
    {"frequency_penalty": 0.8, "top_p": 0.9},
    {"frequency_penalty": -1.2, "presence_penalty": -0.5},
    {"repetition_penalty": 1.2, "frequency_penalty": 0.4, "presence_penalty": 0.3,
     "temperature": 0.8, "top_k": 25, "top_p": 0.9, "min_p": 0.01},
    {"logit_bias": {"3": 4.5, "7": -100.0, "11": 1.0}},
    {"logit_bias": {"5": 2.0}, "repetition_penalty": 1.5, "top_k": 15},
]


def distribution(case, logits, prompt, output):
    scores = logits.clone()
    for token, bias in case.get("logit_bias", {}).items():
        scores[0, int(token)] += bias
    ids = torch.tensor([prompt + output])
    if "repetition_penalty" in case:
        scores = RepetitionPenaltyLogitsProcessor(case["repetition_penalty"])(ids, scores)
    for token in set(output):
        scores[0, token] -= output.count(token) * case.get("frequency_penalty", 0)
        scores[0, token] -= case.get("presence_penalty", 0)
    if case.get("temperature", 1.0) != 1.0:
        scores = TemperatureLogitsWarper(case["temperature"])(ids, scores)
    if case.get("top_k", 0):
        scores = TopKLogitsWarper(case["top_k"])(ids, scores)
    if case.get("top_p", 1.0) < 1.0:
        scores = TopPLogitsWarper(case["top_p"])(ids, scores)
    if case.get("min_p", 0.0) > 0.0:
        scores = MinPLogitsWarper(case["min_p"])(ids, scores)
    return torch.softmax(scores, -1)[0].tolist()


def main():
    generator = torch.Generator().manual_seed(20)
    entries = []
    for index, case in enumerate(CASES):
        logits = torch.randn(1, VOCABULARY, generator=generator, dtype=torch.float64) * 2
        # Values that a 32-bit float holds exactly, so that both sides start alike.
        logits = logits.float().double()
        prompt = torch.randint(0, VOCABULARY, (9,), generator=generator).tolist()
        output = torch.randint(0, 12, (8,), generator=generator).tolist()
        entries.append({
            "parameters": case,
            "logits": logits[0].tolist(),
            "prompt": prompt,
            "output": output,
            "probabilities": distribution(case, logits, prompt, output),
            "logprobs": torch.log_softmax(logits, -1)[0].tolist(),
        })
    path = pathlib.Path(__file__).with_name("goldens.json")
    path.write_text(json.dumps(entries, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
