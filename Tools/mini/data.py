# SPDX-License-Identifier: Apache-2.0
"""Conversations in batches of about equal length."""
import random as randomness

import torch

from conversation import Conversations

WIDTH_UNIT = 8


def batch(examples, rows=0):
    """Tokens and targets, [rows, longest]; a target of -100 is not learned.

    The width is a multiple of WIDTH_UNIT and there are at least `rows` rows, the last ones empty: a
    product of a size not seen before costs more than a padded one.
    """
    width = max(len(prompt) + len(reply) for prompt, reply in examples) - 1
    width += -width % WIDTH_UNIT
    tokens = torch.zeros(max(rows, len(examples)), width, dtype=torch.long)
    targets = torch.full(tokens.shape, -100)
    for row, (prompt, reply) in enumerate(examples):
        ids = torch.tensor(prompt + reply)
        tokens[row, :len(ids) - 1] = ids[:-1]
        targets[row, len(prompt) - 1:len(ids) - 1] = ids[len(prompt):]
    return tokens, targets


def batches(encoder, seed, mix, token_count):
    """Batches without end, each of at most `token_count` tokens with padding."""
    source, random = Conversations(seed, mix=mix), randomness.Random(seed)
    while True:
        examples = []
        for _ in range(8192):
            turns = source.turns()
            examples.append(
                (encoder.prompt(turns, random.choice(["", "\n\n"])), encoder.reply(turns[-1])))
        examples.sort(key=lambda example: -len(example[0]) - len(example[1]))
        groups = []
        while examples:
            width = len(examples[0][0]) + len(examples[0][1]) - 1
            rows = token_count // (width + -width % WIDTH_UNIT)
            groups.append((examples[:rows], rows))
            examples = examples[rows:]
        random.shuffle(groups)
        yield from (batch(*group) for group in groups)
