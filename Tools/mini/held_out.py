# SPDX-License-Identifier: Apache-2.0
"""Held-out turns by task: what training never sees."""
from conversation import Conversations

SEED = 99
TASKS = {
    "english_to_chinese": Conversations.into_chinese,
    "chinese_to_english": Conversations.into_english,
    "sums": Conversations.sum,
    "stories": Conversations.story,
}


def turns(task, count):
    source = Conversations(SEED, held_out=True)
    return [TASKS[task](source) for _ in range(count)]
