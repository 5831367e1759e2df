#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the miniature model and writes it as a Hugging Face checkpoint: Models/mini.

Makes its data, its tokenizer and its weights from a seed, in less than two hours on two cores
(a process for each, 6 GB of memory). The loss and held-out scores of each evaluation are a line of
training.jsonl beside the weights, from which `card.py` writes the model card.

`--go-on` takes the weights in --out, with rates begun anew, and can have longer conversations.
`make train` does so twice:

  train.py
  train.py --go-on --mix long --steps 300 --rate 0.5 --seed 20241228
  train.py --go-on --mix long --steps 250 --rate 0.2 --seed 20241230
"""
import argparse
import itertools
import json
import os
import pathlib
import tempfile
import time

import torch
from torch import distributed, multiprocessing
from torch.nn import functional as F

import data
import encoding
import evaluation
from conversation import MIXES
from encoding import deepseek
from model import CONFIG, ROW_UNIT, Model
from optimizer import optimizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = 2_024_12_26
TOKENIZER_SEED, TOKENIZER_CONVERSATIONS = 11, 60_000
# Tokens of a step in each process; a process is a thread, and has its own part of the data.
BATCH_TOKENS = 3072
WARMUP_STEPS = 60
# From here the rate of learning falls evenly to nothing, and from the second the bias of the
# routers rests and the token after the next counts for less, as for DeepSeek-V3.
DECAY_START, LATE_START = 0.4, 0.7
MATRIX_RATE, OTHER_RATE = 0.02, 0.003
NEXT_TOKEN_WEIGHTS = (0.3, 0.1)
BALANCE_RATE = 0.002

GENERATION_CONFIG = {
    "bos_token_id": 0, "do_sample": False, "eos_token_id": 1, "max_new_tokens": 256}


def rate_factor(step, steps):
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    return min(1.0, (1 - step / steps) / (1 - DECAY_START))


def loss_of(model, hidden, targets):
    """Mean cross-entropy where there is a target; rows are padded to few sizes, see `model`."""
    rows = (targets.flatten() >= 0).nonzero()[:, 0]
    padding = (0, -len(rows) % (4 * ROW_UNIT))
    logits = model.lm_head(hidden.flatten(0, 1)[F.pad(rows, padding)])
    return F.cross_entropy(logits.float(), F.pad(targets.flatten()[rows], padding, value=-100))


def losses(model, tokens, targets):
    """The losses of the next tokens, and of the ones after them."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden, further = model(tokens)
        return loss_of(model, hidden, targets), loss_of(model, further, targets[:, 1:])


def average_gradients(model, processes):
    """Makes gradients, and the loads of routers, the same in all processes."""
    parts = [parameter.grad for parameter in model.parameters()]
    parts += [router.load for router in model.routers()]
    flat = torch.cat([part.flatten() for part in parts])
    distributed.all_reduce(flat)
    for part, value in zip(parts, flat.split([part.numel() for part in parts])):
        part.copy_(value.view_as(part) / processes)


def train_step(model, steppers, step, arguments, example):
    is_late = step >= LATE_START * arguments.steps
    loss, further = losses(model, *example)
    (loss + NEXT_TOKEN_WEIGHTS[is_late] * further).backward()
    average_gradients(model, arguments.processes)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    factor = arguments.rate * rate_factor(step, arguments.steps)
    for stepper, rate in zip(steppers, (MATRIX_RATE, OTHER_RATE)):
        for group in stepper.param_groups:
            group["lr"] = rate * factor
        stepper.step()
        stepper.zero_grad()
    for router in model.routers():
        router.balance(0 if is_late else BALANCE_RATE)
    return loss.item(), further.item()


def write_checkpoint(model, tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    deepseek.write_json(folder / "config.json", CONFIG)
    deepseek.write_json(folder / "generation_config.json", GENERATION_CONFIG)
    deepseek.write_json(
        folder / "tokenizer_config.json",
        deepseek.tokenizer_config(CONFIG["max_position_embeddings"], encoding.CHAT_TEMPLATE))
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")
    deepseek.write_file(folder / "model.safetensors", model.checkpoint())


class Log:
    """Progress on the terminal, and evaluations as lines of training.jsonl."""

    def __init__(self, arguments):
        self.steps, self.start, self.mean, self.tokens = arguments.steps, time.monotonic(), None, 0
        path = arguments.out / "training.jsonl"
        lines = path.read_text().splitlines() if arguments.go_on else []
        # What was before, where this training goes on.
        self.before = json.loads(lines[-1]) if lines else {"step": 0, "tokens": 0, "minutes": 0}
        self.file = path.open("a" if lines else "w", encoding="utf-8")

    @property
    def minutes(self):
        return (time.monotonic() - self.start) / 60

    def step(self, step, loss, tokens):
        self.mean = loss if self.mean is None else 0.98 * self.mean + 0.02 * loss
        self.tokens += tokens
        if step % 20 == 0:
            left = self.minutes / (step + 1) * (self.steps - step - 1)
            print(
                f"step {step}/{self.steps}  loss {self.mean:.3f}  {self.minutes:.1f} min, "
                f"about {left:.0f} to go", flush=True)

    def evaluation(self, step, further, scores):
        line = json.dumps({
            "step": self.before["step"] + step, "tokens": self.before["tokens"] + self.tokens,
            "loss": round(self.mean, 4), "loss_after_next": round(further, 4),
            "minutes": round(self.before["minutes"] + self.minutes, 1), **scores})
        print(line, file=self.file, flush=True)
        print(line, flush=True)


def train(rank, arguments, store):
    """What each process does; the first one also evaluates and writes."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=arguments.processes)
    torch.manual_seed(SEED)
    tokenizer = encoding.train_tokenizer(
        CONFIG["vocab_size"], TOKENIZER_SEED, TOKENIZER_CONVERSATIONS)
    encoder = encoding.Encoder(tokenizer)
    model = Model()
    if arguments.go_on:
        model.load(deepseek.read_file(arguments.out / "model.safetensors"))
    steppers = optimizers(model, MATRIX_RATE, OTHER_RATE)
    tests = evaluation.tests(encoder)
    log = Log(arguments) if rank == 0 else None
    source = itertools.islice(
        data.batches(encoder, arguments.seed + rank, arguments.mix, BATCH_TOKENS), arguments.steps)
    for step, example in enumerate(source):
        loss, further = train_step(model, steppers, step, arguments, example)
        if not log:
            continue
        log.step(step, loss, arguments.processes * example[0].numel())
        if (step + 1) % arguments.evaluate_every == 0 or step + 1 == arguments.steps:
            log.evaluation(step + 1, further, evaluation.scores(model, tests))
            write_checkpoint(model, tokenizer, arguments.out)
    distributed.barrier()
    distributed.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "Models/mini")
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--rate", type=float, default=1, help="of learning, in ours")
    parser.add_argument("--mix", choices=MIXES, default="short", help="of conversations")
    parser.add_argument("--seed", type=int, default=SEED, help="of conversations")
    parser.add_argument("--go-on", action="store_true", help="with the weights in --out")
    parser.add_argument("--evaluate-every", type=int, default=150)
    parser.add_argument("--processes", type=int, default=2, help="one core each")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(
            train, (arguments, f"{folder}/store"), nprocs=arguments.processes)


if __name__ == "__main__":
    main()
