# SPDX-License-Identifier: Apache-2.0
"""How far the logits of one variant of a model are from those of another."""
import pathlib
import subprocess
import sys
import tempfile

import numpy
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools/mini"))
import encoding  # noqa: E402
import held_out  # noqa: E402

# Held-out conversations whose replies are compared token by token, and tokens of one run.
COMPARED, RUN_TOKENS_MAX = 120, 900


def reply_runs(model, conversations=COMPARED):
    """Token ids of held-out conversations, some to a run, and which of them belong to replies."""
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    encoder = encoding.Encoder(tokenizer)
    runs, tokens, is_reply = [], [], []
    for turns in zip(*(held_out.turns(task, conversations // 4) for task in held_out.TASKS)):
        for turn in turns:
            prompt, reply = encoder.prompt([turn]), encoder.reply(turn)
            if len(tokens) + len(prompt) + len(reply) > RUN_TOKENS_MAX:
                runs.append((tokens, is_reply))
                tokens, is_reply = [], []
            tokens = tokens + prompt + reply
            is_reply = is_reply + [False] * len(prompt) + [True] * len(reply)
    return [*runs, (tokens, is_reply)]


def logits(silica, variant, tokens, *options):
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/logits.npy"
        subprocess.run(
            [silica, "logits", "--model", variant.folder, "--precision", variant.precision,
             "--tokens", ",".join(map(str, tokens)), "--out", out, *variant.options, *options],
            check=True)
        return numpy.load(out).astype(numpy.float64)


def log_probabilities(values):
    shifted = values - values.max(-1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(-1, keepdims=True))


class Reference:
    """The logits of f32 for the tokens of held-out replies."""

    def __init__(self, silica, variant, runs):
        self.silica, self.runs = silica, runs
        self.values = self.replies(variant)

    def replies(self, variant):
        """The logits that a reply's tokens are drawn from, [tokens, vocabulary]."""
        return numpy.concatenate([
            logits(self.silica, variant, tokens)[:-1][numpy.array(is_reply[1:])]
            for tokens, is_reply in self.runs])

    def distance(self, variant):
        """Of a variant: nats of KL divergence for a token, the share of tokens that greedy
        decoding would choose the same, in percent, and the error of logits relative to their
        deviation, in percent."""
        other = self.replies(variant)
        ours, theirs = log_probabilities(self.values), log_probabilities(other)
        same = self.values.argmax(-1) == other.argmax(-1)
        error = numpy.sqrt(((other - self.values) ** 2).mean()) / self.values.std()
        return {
            "kl": float((numpy.exp(ours) * (ours - theirs)).sum(-1).mean()),
            "same_token": 100 * float(same.mean()),
            "logit_error": 100 * float(error),
        }
