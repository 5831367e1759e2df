# SPDX-License-Identifier: Apache-2.0
"""Streams on many connections while their server stops.

  drain.py HOST:PORT COUNT TOKENS all|some|now

Opens COUNT streams that generate TOKENS tokens each, by turns: sessions, `Generate` calls, sessions
that read slowly, sessions with a long prompt; and a tenth as many sessions that do nothing. Says
"ready" when every generation is accepted: now the server is to be told to stop. Then every stream
must end with a frame of its own: `finished`, or but for "all" also `failed` with SHUT_DOWN. What
begins after `go_away` must be refused with DRAINING; with "now" the server has no grace time, and
nothing begins.
"""
import asyncio
import collections
import json
import os
import signal
import sys

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # It tells of every connection that goes.

import grpc
from google.rpc import status_pb2
from silica_client import details, frame, greedy, pb, pb_grpc

STREAMS_PER_CONNECTION = 5
SLOW_READER_SECONDS = 0.02
REFUSAL = "the server is shutting down; start on another one"
counts = collections.Counter()
cut = []


def start_of(number, tokens):
    start = greedy(tokens=tokens)
    length = 2_000 if number % 10 == 9 else 8
    start.token_ids.ids.extend((17 * i + 31 * number) % 250 + 10 for i in range(length))
    return start


def refusal(status):
    """The reason of a refusal, which must say when to try again."""
    typed = details(status)
    assert status.code == grpc.StatusCode.UNAVAILABLE.value[0], status
    delay = typed["RetryInfo"].retry_delay
    assert delay.seconds + delay.nanos > 0, status
    return typed["ErrorInfo"].reason


def refusal_of(error):
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert packed, f"{error.code()}: {error.details()}"
    return refusal(status_pb2.Status.FromString(packed))


class Stream:
    """One call and the ends of its generation."""

    def __init__(self, number, stub, begun):
        self.number, self.stub, self.begun = number, stub, begun
        self.ends = []

    async def run(self, tokens):
        try:
            if self.number % 10 in (3, 6):
                await self.generate(tokens)
            else:
                await self.session(tokens)
        except (grpc.aio.AioRpcError, AssertionError) as error:
            cut.append(f"stream {self.number}: {error!r}")
            self.begun.release()  # Nobody is to wait for it.
        if len(self.ends) != 1:
            cut.append(f"stream {self.number} has the ends {self.ends}")
        counts.update(self.ends)

    async def generate(self, tokens):
        call = self.stub.Generate(pb.GenerateRequest(start=start_of(self.number, tokens)))
        try:
            async for received in call:
                if received.HasField("accepted"):
                    self.begun.release()
                if received.HasField("finished"):
                    assert received.finished.reason == pb.FINISH_REASON_LENGTH
                    self.ends.append("finished")
        except grpc.aio.AioRpcError as error:
            self.ends.append(refusal_of(error))

    async def session(self, tokens):
        call = self.stub.Session()
        await call.write(frame(1, start=start_of(self.number, tokens)))
        async for received in call:
            kind = received.WhichOneof("frame")
            if kind == "accepted":
                self.begun.release()
            elif kind == "go_away":
                counts["go_away"] += 1
            elif kind == "finished":
                assert received.finished.reason == pb.FINISH_REASON_LENGTH
                self.ends.append("finished")
            elif kind == "failed":
                self.ends.append(refusal(received.failed.status))
            if self.number % 10 == 8:
                await asyncio.sleep(SLOW_READER_SECONDS)
        assert await call.code() == grpc.StatusCode.OK, await call.details()


async def idle(stub, target, wants_more):
    """Does nothing until the server goes away; what it wants then is refused."""
    call = stub.Session()
    await call.write(frame(0, ping=pb.Ping()))
    async for received in call:
        kind = received.WhichOneof("frame")
        if kind == "go_away":
            counts["go_away"] += 1
            if wants_more:
                await call.write(frame(1, start=start_of(1, 1)))
                await late_call(target)
        elif kind == "failed":
            counts["late " + refusal(received.failed.status)] += 1
    if await call.code() != grpc.StatusCode.OK:
        cut.append(f"an idle session ended with {await call.details()}")


async def late_call(target):
    """A call on a connection of its own that comes while the server stops."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options) as channel:
        request = pb.GenerateRequest(start=start_of(1, 1))
        try:
            async for _ in pb_grpc.InferenceStub(channel).Generate(request, timeout=10):
                cut.append("a call was served that came too late")
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                cut.append(f"a late call ended with {error.code()}: {error.details()}")
            elif error.details() == REFUSAL:
                counts["late call " + refusal_of(error)] += 1


async def main():
    target, count, tokens, ends = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    options = [("grpc.use_local_subchannel_pool", 1)]
    idle_count = count // 10
    channels = [
        grpc.aio.insecure_channel(target, options)
        for _ in range((count + idle_count) // STREAMS_PER_CONNECTION + 1)
    ]
    stubs = [pb_grpc.InferenceStub(channel) for channel in channels]
    begun = asyncio.Semaphore(0)
    streams = [Stream(i, stubs[i % len(stubs)], begun) for i in range(count)]
    jobs = [asyncio.create_task(stream.run(tokens)) for stream in streams]
    for stub in stubs[-idle_count:]:
        jobs.append(asyncio.create_task(idle(stub, target, wants_more=ends != "now")))
    for _ in range(count):
        await begun.acquire()
    print("ready", flush=True)
    await asyncio.gather(*jobs)
    print(json.dumps({**counts, "cut": cut}), flush=True)
    sessions = sum(stream.number % 10 not in (3, 6) for stream in streams)
    assert counts["finished"] + (counts["SHUT_DOWN"] if ends != "all" else 0) == count, counts
    assert counts["go_away"] >= (sessions if ends != "all" else 0) + idle_count, counts
    if ends != "all":
        assert counts["SHUT_DOWN"] > 0, counts
    if ends != "now":
        assert counts["late DRAINING"] == counts["late call DRAINING"] == idle_count, counts
    assert not cut
    for channel in channels:
        await channel.close()


if __name__ == "__main__":
    signal.alarm(100)
    asyncio.run(main())
