#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Silica client in Python, on stubs that grpcio-tools makes from the proto files.

  pip install grpcio grpcio-tools googleapis-common-protos
  python client.py localhost:50051 "Write a haiku" "Name three rivers"

Every prompt becomes a generation of its own on one stream; each line that is printed is one delta.
With --cancel N, generation N is cancelled at its first delta. A server with TLS needs --ca FILE,
one with tokens --token-file FILE.
"""
import argparse
import pathlib
import queue
import sys
import tempfile

import grpc
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "Proto"


def load_stubs():
    """Compiles the proto files into a temporary folder and imports the result."""
    with tempfile.TemporaryDirectory(prefix="silica-stubs-") as out:
        arguments = ["protoc", f"-I{PROTO}", f"-I{well_known_types()}"]
        arguments += [f"--python_out={out}", f"--grpc_python_out={out}"]
        if protoc.main([*arguments, "silica/v1/inference.proto"]) != 0:
            sys.exit("client.py: the proto files do not compile")
        sys.path.insert(0, out)
        try:
            from silica.v1 import inference_pb2, inference_pb2_grpc
        finally:
            sys.path.remove(out)
    return inference_pb2, inference_pb2_grpc


def well_known_types():
    """The folder in which grpcio-tools keeps google/protobuf/*.proto."""
    import grpc_tools

    return pathlib.Path(grpc_tools.__file__).parent / "_proto"


def frames(pb, arguments, outgoing):
    """The client's side of the stream: a start for each prompt, then what `outgoing` holds."""
    for number, prompt in enumerate(arguments.prompts, start=1):
        start = pb.Start(stopping=pb.Stopping(max_tokens=arguments.max_tokens))
        start.sampling.temperature = arguments.temperature
        if arguments.seed is not None:
            start.sampling.seed = arguments.seed
        if arguments.text:
            start.text = prompt
        else:
            start.chat.messages.add(role=pb.ROLE_USER, content=prompt)
        yield pb.ClientFrame(generation=number, start=start)
    while (frame := outgoing.get()) is not None:
        yield frame


def channel_to(arguments):
    """A connection, over TLS if there is a file of authorities."""
    if arguments.ca is None:
        return grpc.insecure_channel(arguments.target)
    credentials = grpc.ssl_channel_credentials(pathlib.Path(arguments.ca).read_bytes())
    return grpc.secure_channel(arguments.target, credentials)


def call_metadata(arguments):
    """The API token, as every call carries it."""
    if arguments.token_file is None:
        return ()
    return (("authorization", "Bearer " + pathlib.Path(arguments.token_file).read_text().strip()),)


def run(arguments):
    pb, pb_grpc = load_stubs()
    outgoing = queue.Queue()
    running = set(range(1, len(arguments.prompts) + 1))
    to_cancel = arguments.cancel
    failures = 0
    with channel_to(arguments) as channel:
        stub = pb_grpc.InferenceStub(channel)
        metadata = call_metadata(arguments)
        for frame in stub.Session(frames(pb, arguments, outgoing), metadata=metadata):
            number, kind = frame.generation, frame.WhichOneof("frame")
            if kind == "delta":
                print(f"[{number}] {frame.delta.text!r}", flush=True)
                if number == to_cancel:
                    outgoing.put(pb.ClientFrame(generation=number, cancel=pb.Cancel()))
                    to_cancel = None
            elif kind == "finished":
                usage = frame.finished.usage
                reason = pb.FinishReason.Name(frame.finished.reason)
                print(f"[{number}] {reason}: {usage.generated_tokens} tokens", flush=True)
                running.discard(number)
            elif kind == "failed":
                print(f"[{number}] failed: {frame.failed.status.message}", flush=True)
                failures += 1
                if not frame.failed.generation_continues:
                    running.discard(number)
            if not running:
                outgoing.put(None)
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", help="HOST:PORT of the server")
    parser.add_argument("prompts", nargs="+", help="one generation each")
    parser.add_argument("--text", action="store_true", help="prompts are whole texts, not chats")
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--cancel", type=int, help="cancel this generation at its first delta")
    parser.add_argument("--ca", help="use TLS; who signed the server's certificate (PEM)")
    parser.add_argument("--token-file", help="a file with the API token")
    sys.exit(run(parser.parse_args()))


if __name__ == "__main__":
    main()
