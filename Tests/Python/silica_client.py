# SPDX-License-Identifier: Apache-2.0
"""What the checks of a running server share: the stubs of Examples/python, and requests."""
import importlib.util
import pathlib
import signal
import sys
import unittest

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "Examples/python/client.py"

spec = importlib.util.spec_from_file_location("example_client", EXAMPLE)
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
pb, pb_grpc = example.load_stubs()


class ServerChecks(unittest.TestCase):
    """Checks of the server whose address is the program's first argument."""

    target = ""

    @classmethod
    def setUpClass(cls):
        cls.channel = grpc.insecure_channel(
            cls.target, options=[("grpc.max_send_message_length", -1)]
        )
        cls.stub = pb_grpc.InferenceStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()


def main(time_limit=60):
    """Runs the checks of the calling script within a time limit."""
    signal.alarm(time_limit)
    ServerChecks.target = sys.argv.pop(1)
    unittest.main()


def greedy(text="Once upon a time", tokens=24, **fields):
    """A start that gives the same text each time, and exactly this many tokens."""
    start = pb.Start(text=text, **fields)
    start.sampling.temperature = 0
    start.stopping.max_tokens = tokens
    start.stopping.ignore_eos = True
    return start


def generate(stub, start, **options):
    """The text of one generation over `Generate`, and its end."""
    text, finished = "", None
    for response in stub.Generate(pb.GenerateRequest(start=start), timeout=30, **options):
        kind = response.WhichOneof("event")
        if kind == "delta":
            text += response.delta.text
        elif kind == "finished":
            finished = response.finished
    return text, finished


def frame(generation, **content):
    return pb.ClientFrame(generation=generation, **content)


def details(status):
    """The details of a google.rpc.Status by the name of their type."""
    found = {}
    for packed in status.details:
        name = packed.type_url.rpartition(".")[2]
        detail = getattr(error_details_pb2, name)()
        assert packed.Unpack(detail)
        found[name] = detail
    return found


def error_of(call):
    """The code, message and details that a call ends with, an error."""
    try:
        for _ in call() if callable(call) else call:
            pass
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        return error.code(), error.details(), details(status) if status else {}
    raise AssertionError("the call ended without an error")
