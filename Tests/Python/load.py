# SPDX-License-Identifier: Apache-2.0
"""Bounded load on a running server, from one thread.

  load.py HOST:PORT streams COUNT       COUNT sessions at once, one generation each
  load.py HOST:PORT calls COUNT         COUNT calls: GetModel, Check, Generate, Session, cancelled
  load.py HOST:PORT fill PROMPT OUTPUT  one generation of this size must finish
  load.py HOST:PORT hold COUNT          COUNT endless generations; says "holding" and goes on

Exits with 1 and says why when anything is not as it must be.
"""
import asyncio
import signal
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from silica_client import frame, greedy, pb, pb_grpc

CHANNELS = 4
IN_FLIGHT = 32


def tokens(prompt, output, salt=0):
    start = greedy(tokens=output)
    start.token_ids.ids.extend((17 * i + 31 * salt) % 1000 + 10 for i in range(prompt))
    return start


def expect(condition, message):
    if not condition:
        sys.exit(f"load.py: {message}")


async def session_ids(stub, start):
    """The token ids and the end of one generation on a stream of its own."""
    ids, reason = [], None
    call = stub.Session(timeout=60)
    await call.write(frame(1, start=start))
    await call.done_writing()
    async for received in call:
        expect(not received.HasField("failed"), f"failed: {received.failed.status.message}")
        if received.HasField("delta"):
            ids += received.delta.token_ids
        if received.HasField("finished"):
            reason = received.finished.reason
    return ids, reason


async def streams(channels, count):
    """All open before the first is read to its end; equal prompts must give equal ids."""
    stubs = [pb_grpc.InferenceStub(channel) for channel in channels]
    jobs = [session_ids(stubs[i % CHANNELS], tokens(12, 24, i % 5)) for i in range(count)]
    results = await asyncio.gather(*jobs)
    for i, (ids, reason) in enumerate(results):
        expect(reason == pb.FINISH_REASON_LENGTH, f"stream {i} ended with {reason}")
        expect(len(ids) == 24, f"stream {i} has {len(ids)} tokens")
        expect(ids == results[i % 5][0], f"stream {i} differs from stream {i % 5}")


async def one_call(channel, number):
    stub = pb_grpc.InferenceStub(channel)
    kind = number % 10
    if kind == 0:
        ids, _ = await session_ids(stub, tokens(4, 3, number % 7))
        expect(len(ids) == 3, f"call {number} has {len(ids)} tokens")
    elif kind == 1:
        request = pb.GenerateRequest(start=tokens(4, 3, number % 7))
        last = None
        async for last in stub.Generate(request, timeout=60):
            pass
        expect(last.HasField("finished"), f"call {number} has no end")
    elif kind == 2:
        call = stub.Generate(pb.GenerateRequest(start=tokens(4, 2000)), timeout=60)
        await call.read()
        call.cancel()
    elif kind < 6:
        health = health_pb2_grpc.HealthStub(channel)
        response = await health.Check(health_pb2.HealthCheckRequest(), timeout=60)
        expect(response.status == health_pb2.HealthCheckResponse.SERVING, "the server is not well")
    else:
        model = await stub.GetModel(pb.GetModelRequest(), timeout=60)
        expect(model.vocabulary_size == 1024, "another model answers")


async def calls(channels, count):
    numbers = iter(range(count))

    async def worker():
        for number in numbers:
            await one_call(channels[number % CHANNELS], number)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def fill(channels, prompt, output):
    ids, reason = await session_ids(pb_grpc.InferenceStub(channels[0]), tokens(prompt, output))
    expect(reason == pb.FINISH_REASON_LENGTH, f"ended with {reason}")
    expect(len(ids) == output, f"{len(ids)} tokens, not {output}")


async def hold(channels, count):
    open_calls = []
    for i in range(count):
        call = pb_grpc.InferenceStub(channels[i % CHANNELS]).Session()
        await call.write(frame(1, start=tokens(20, 4000, i)))
        open_calls.append(call)
    await open_calls[0].read()
    print("holding", flush=True)
    while True:
        for call in open_calls:
            await call.read()


async def main():
    target, mode, numbers = sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]]
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(CHANNELS)]
    modes = {"streams": streams, "calls": calls, "fill": fill, "hold": hold}
    await modes[mode](channels, *numbers)
    for channel in channels:
        await channel.close()


if __name__ == "__main__":
    signal.alarm(100)
    asyncio.run(main())
