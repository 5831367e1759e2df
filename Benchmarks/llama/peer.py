# SPDX-License-Identifier: Apache-2.0
"""Measures llama.cpp on a GGUF file: prefill of one prompt, and decoding by batch size.

usage: peer.py MODEL.gguf --batch 1,4,16 --prompt 512 --generate 16 --threads 2

Prints a line of JSON for each batch size, as `silica bench` does. Each batch size starts with an
empty cache; every sequence gets a short prompt of its own, then a step decodes a token of each.
"""

import argparse
import ctypes
import json
import os
import random
import statistics
import sys
import time

import llama_cpp

PROMPT_OF_BATCH = 16


def quiet():
    """llama.cpp logs to stderr what nobody asked for."""
    callback = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    return callback


class Peer:
    def __init__(self, path, threads, sequences, context):
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), parameters)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = context
        parameters.n_batch = parameters.n_ubatch = 512
        parameters.n_seq_max = sequences
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = True
        self.context = llama_cpp.llama_init_from_model(self.model, parameters)
        if not self.context:
            sys.exit("llama.cpp cannot make a context")
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)

    def decode(self, tokens):
        """One call for (sequence, position, wants logits) rows with random tokens; seconds."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (sequence, position, wanted) in enumerate(tokens):
            batch.token[i] = random.randrange(self.vocabulary)
            batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = position, 1, sequence
            batch.logits[i] = wanted
        start = time.perf_counter()
        code = llama_cpp.llama_decode(self.context, batch)
        if code != 0:
            sys.exit(f"llama_decode gave {code}")
        llama_cpp.llama_synchronize(self.context)
        return time.perf_counter() - start

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def prefill(self, count):
        """Seconds for one prompt."""
        self.clear()
        seconds = 0.0
        for start in range(0, count, 512):
            end = min(count, start + 512)
            seconds += self.decode([(0, p, p == count - 1) for p in range(start, end)])
        return seconds

    def steps(self, size, count):
        """Seconds of each decode step of `size` sequences."""
        self.clear()
        for sequence in range(size):
            self.decode([(sequence, p, p == PROMPT_OF_BATCH - 1) for p in range(PROMPT_OF_BATCH)])
        return [self.decode([(s, PROMPT_OF_BATCH + i, True) for s in range(size)])
                for i in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--batch", default="1,4,16")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    callback = quiet()
    batches = [int(word) for word in arguments.batch.split(",")]
    context = max(arguments.prompt, max(batches) * (PROMPT_OF_BATCH + arguments.generate)) + 512
    peer = Peer(arguments.model, arguments.threads, max(batches), context)
    build = llama_cpp.llama_print_system_info().decode()
    peer.prefill(64)  # pages in the file
    prefill = arguments.prompt / peer.prefill(arguments.prompt)
    for size in batches:
        step = statistics.median(peer.steps(size, arguments.generate))
        print(json.dumps(dict(
            batch=size, prefill_tokens_per_s=prefill, decode_tokens_per_s=size / step,
            step_ms_p50=step * 1e3, device=f"llama.cpp {llama_cpp.__version__}: {build}")),
            flush=True)
    del callback


if __name__ == "__main__":
    main()
