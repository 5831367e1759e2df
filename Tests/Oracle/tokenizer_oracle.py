# SPDX-License-Identifier: Apache-2.0
"""Answers tokenizer questions with Hugging Face `tokenizers`, for tests.

A frame is a length of 4 bytes, least first, and JSON. Requests are
{"op": "encode", "file": path, "texts": […]}         -> [[id…]…]
{"op": "decode", "file": path, "ids": [[id…]…], "skip": bool} -> [text…]
{"op": "nfc", "texts": […]}                          -> [text…]
{"op": "time", "file": path, "text": text}           -> seconds
A request that fails is answered by {"error": text}.
"""

import functools
import json
import struct
import sys
import time

from tokenizers import Tokenizer, normalizers


@functools.cache
def load(path):
    return Tokenizer.from_file(path)


def encode(request):
    tokenizer = load(request["file"])
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in request["texts"]]


def decode(request):
    tokenizer = load(request["file"])
    return [tokenizer.decode(ids, skip_special_tokens=request["skip"]) for ids in request["ids"]]


def nfc(request):
    normalizer = normalizers.NFC()
    return [normalizer.normalize_str(text) for text in request["texts"]]


def timed(request):
    tokenizer = load(request["file"])
    start = time.perf_counter()
    tokenizer.encode(request["text"], add_special_tokens=False)
    return time.perf_counter() - start


OPERATIONS = {"encode": encode, "decode": decode, "nfc": nfc, "time": timed}


def main():
    stream = sys.stdin.buffer
    while header := stream.read(4):
        request = json.loads(stream.read(struct.unpack("<I", header)[0]))
        try:
            answer = OPERATIONS[request["op"]](request)
        except BaseException as error:  # Errors of the Rust side derive from BaseException.
            answer = {"error": str(error)}
        data = json.dumps(answer).encode()
        sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
