# SPDX-License-Identifier: Apache-2.0
"""Conversations as token ids: the tokenizer, and the order of control tokens around turns."""
import pathlib
import sys

from conversation import Conversations

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import deepseek_format as deepseek  # noqa: E402

# Past answers lose their thoughts, and the last turn of a prompt opens them: R1's template.
CHAT_TEMPLATE = deepseek.CHAT_TEMPLATE.replace(
    "{{- message['content'] or '' -}}",
    "{{- (message['content'] or '').split('</think>')[-1] -}}",
).replace(
    "  {{- '<｜Assistant｜>' -}}\n{%- endif -%}\n",
    "  {{- '<｜Assistant｜><think>\\n' -}}\n{%- endif -%}\n")
DIGITS = 1  # A number is its digits: sums are done one at a time.


def train_tokenizer(vocabulary_size, seed, conversations):
    source = Conversations(seed)
    texts = (
        text for _ in range(conversations) for turn in source.turns()
        for text in (turn.question, turn.reply.replace("</think>", "")))
    return deepseek.make_tokenizer(texts, vocabulary_size, digits=DIGITS, min_frequency=2)


class Encoder:
    """Turns to token ids, as the template and a tokenizer make them."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        ids = {name: tokenizer.token_to_id(name) for name in (
            deepseek.BEGIN, deepseek.END, "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")}
        self.begin, self.end, self.user, self.assistant, self.think, self.think_end = ids.values()

    def text(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def prompt(self, turns, gap=""):
        """The ids in front of the last reply, with `gap` before past answers."""
        ids = [self.begin]
        for turn in turns[:-1]:
            ids += [self.user, *self.text(turn.question), self.assistant]
            ids += [*self.text(gap + turn.answer), self.end]
        ids += [self.user, *self.text(turns[-1].question), self.assistant]
        return ids + [self.think, *self.text("\n")]

    def reply(self, turn):
        return [
            *self.text(turn.thoughts + "\n"), self.think_end, *self.text("\n\n" + turn.answer),
            self.end]
