# SPDX-License-Identifier: Apache-2.0
"""What a precision costs: answers of a server, and speed of one variant of a model."""
import concurrent.futures
import json
import pathlib
import subprocess
import sys

import grpc
import numpy
import sacrebleu

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Tools/mini"), str(ROOT / "Benchmarks/soak")]
import held_out  # noqa: E402
from distance import logits  # noqa: E402
from server import Server, load_stubs  # noqa: E402

CONCURRENT = 32
TOKENS_MAX = 300
pb, pb_grpc = load_stubs()


class Answers:
    """Greedy answers of a server of one variant, without the thoughts."""

    def __init__(self, silica, variant):
        self.server = Server(
            silica, str(variant.folder), "--precision", variant.precision,
            "--max-batch", str(CONCURRENT))
        self.channel = grpc.insecure_channel(self.server.target)
        self.stub = pb_grpc.InferenceStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.channel.close()
        self.server.__exit__(*error)

    def to(self, turns):
        with concurrent.futures.ThreadPoolExecutor(CONCURRENT) as pool:
            return list(pool.map(self.answer, turns))

    def answer(self, turn):
        start = pb.Start()
        start.chat.messages.add(role=pb.ROLE_USER, content=turn.question)
        start.sampling.temperature = 0
        start.stopping.max_tokens = TOKENS_MAX
        responses = self.stub.Generate(pb.GenerateRequest(start=start), timeout=120)
        text = "".join(response.delta.text for response in responses)
        return text.rpartition("</think>")[2].strip()


def answer_scores(silica, variant, tests):
    """BLEU of each direction and the share of right sums, in percent."""
    with Answers(silica, variant) as answers:
        said = {task: answers.to(turns) for task, turns in tests.items()}
    expected = {task: [turn.answer for turn in turns] for task, turns in tests.items()}

    def bleu(task, tokenize):
        return sacrebleu.corpus_bleu(said[task], [expected[task]], tokenize=tokenize).score

    def exact(task):
        right = sum(a == b for a, b in zip(said[task], expected[task]))
        return 100 * right / len(expected[task])

    return {
        "bleu_into_chinese": bleu("english_to_chinese", "zh"),
        "bleu_into_english": bleu("chinese_to_english", "13a"),
        "sums_right": exact("sums"),
        "stories_right": exact("stories"),
    }


def next_token_hits(silica, variant, runs):
    """The share of replies' tokens that the layer for multi-token prediction guesses one early."""
    hits = count = 0
    for tokens, is_reply in runs:
        guesses = logits(silica, variant, tokens, "--after-next").argmax(-1)[:-1]
        targets, counted = numpy.array(tokens[2:]), numpy.array(is_reply[2:])
        hits += int((guesses == targets)[counted].sum())
        count += int(counted.sum())
    return 100 * hits / count


def decode_speeds(silica, variants, rounds, batches=(1, 16)):
    """Name to decode tokens/s at each batch size, relative to f32 in the same round: medians."""
    ratios = {variant.name: {batch: [] for batch in batches} for variant in variants}
    for _ in range(rounds):
        speeds = {}
        for variant in variants:
            lines = subprocess.run(
                [silica, "bench", "--model", variant.folder, "--precision", variant.precision,
                 "--batch", ",".join(map(str, batches)), "--prompt", "64", "--generate", "128"],
                check=True, capture_output=True, text=True).stdout.splitlines()
            speeds[variant.name] = {
                line["batch"]: line["decode_tokens_per_s"] for line in map(json.loads, lines)}
        for name, found in speeds.items():
            for batch in batches:
                ratios[name][batch].append(found[batch] / speeds["f32"][batch])
    return {
        name: {batch: float(numpy.median(values)) for batch, values in found.items()}
        for name, found in ratios.items()}
