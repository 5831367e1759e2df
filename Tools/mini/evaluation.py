# SPDX-License-Identifier: Apache-2.0
"""How many held-out turns a model in training would answer word for word.

A greedy reply equals the expected one exactly if each of its tokens is the likeliest after those
before it; so one pass over the expected reply says what generating would give.
"""
import torch

import data
import held_out

COUNT = 200  # Turns of each task.


def tests(encoder):
    """Task to batches of its held-out turns."""
    result = {}
    for task in held_out.TASKS:
        examples = sorted(
            ((encoder.prompt([turn]), encoder.reply(turn)) for turn in held_out.turns(task, COUNT)),
            key=lambda example: len(example[0]) + len(example[1]))
        result[task] = [data.batch(examples[i:i + 50]) for i in range(0, COUNT, 50)]
    return result


@torch.no_grad()
def scores(model, tests):
    """Task to the share of its turns that the model would answer word for word."""
    result = {}
    for task, parts in tests.items():
        right = 0
        for tokens, targets in parts:
            with torch.autocast("cpu", torch.bfloat16):
                choice = model.lm_head(model(tokens)[0]).argmax(-1)
            right += int(((choice == targets) | (targets < 0)).all(-1).sum())
        result[task] = right / sum(len(tokens) for tokens, _ in parts)
    for router in model.routers():
        router.load.zero_()  # What it counted is no part of training.
    return result
