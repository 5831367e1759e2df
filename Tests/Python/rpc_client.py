# SPDX-License-Identifier: Apache-2.0
"""A client of gRPC's own making for Tests/RPCTests: raw bytes over generic calls.

Usage: rpc_client.py SCENARIO HOST:PORT [CA [CERTIFICATE KEY]]. Prints what it saw, a line each.
"""

import pathlib
import sys
import time

import grpc


def channel_to(target, files, **options):
    arguments = [("grpc." + k, v) for k, v in options.items()]
    if not files:
        return grpc.insecure_channel(target, arguments)
    authorities, certificate, key = [
        pathlib.Path(file).read_bytes() if file else None for file in (files + [None, None])[:3]
    ]
    credentials = grpc.ssl_channel_credentials(authorities, key, certificate)
    return grpc.secure_channel(target, credentials, arguments)


def echo(channel):
    """Two messages there and back on one stream, then the server's OK."""
    call = channel.stream_stream("/test.Echo/Echo")(iter([b"one", b"\x00\xff"]), timeout=20)
    for message in call:
        print(message.hex())
    print(call.code().name)


def unary(channel):
    print(channel.unary_unary("/test.Echo/Echo")(b"ping", timeout=20).hex())


def stream(channel):
    messages = list(channel.unary_stream("/test.Echo/Count")(b"500 100", timeout=20))
    numbers = [int.from_bytes(message[:4], "little") for message in messages]
    print(len(messages), numbers == list(range(500)), {len(message) for message in messages})


def status(channel):
    """Metadata both ways, and a status with text and details."""
    metadata = (("x-text", "hello"), ("x-raw-bin", b"\x00\x01\xfe\xff"))
    call = channel.stream_stream("/test.Echo/Status")(iter([]), timeout=20, metadata=metadata)
    headers = dict(call.initial_metadata())
    trailers = dict(call.trailing_metadata())
    print(call.code().name)
    print(call.details())
    print(headers["x-text"], headers["x-raw-bin"].hex())
    print(trailers["x-text"], trailers["x-raw-bin"].hex())
    print(trailers["grpc-status-details-bin"].hex())


def unknown(channel):
    try:
        channel.unary_unary("/test.Echo/Nothing")(b"", timeout=20)
    except grpc.RpcError as error:
        print(error.code().name, error.details())


def oversized(channel):
    try:
        channel.unary_unary("/test.Echo/Echo")(bytes(100 << 20), timeout=30)
    except grpc.RpcError as error:
        print(error.code().name)
    print(channel.unary_unary("/test.Echo/Echo")(b"after", timeout=20).decode())


def refused(channel):
    try:
        channel.unary_unary("/test.Echo/Echo")(b"", timeout=10)
    except grpc.RpcError as error:
        print(error.code().name)


def quiet(channel):
    """Pings every second, unanswered by data for six; a strict server would cut the third."""
    call = channel.stream_stream("/test.Echo/Silent")(iter([]), timeout=6)
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        print(error.code().name)


def vanish(channel):
    """Three streams in use, then sleep until killed."""
    calls = []
    for _ in range(3):
        def messages():
            yield b"hello"
            time.sleep(60)
        call = channel.stream_stream("/test.Echo/Echo")(messages(), timeout=60)
        next(call)
        calls.append(call)
    print("streaming", flush=True)
    time.sleep(60)


def main():
    scenario, target, *files = sys.argv[1:]
    options = {}
    if scenario == "quiet":
        options = {
            "keepalive_time_ms": 1000,
            "keepalive_timeout_ms": 2000,
            "keepalive_permit_without_calls": 1,
            "http2.max_pings_without_data": 0,
        }
    with channel_to(target, files, **options) as channel:
        globals()[scenario](channel)


if __name__ == "__main__":
    main()
