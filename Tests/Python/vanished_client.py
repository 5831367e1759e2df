# SPDX-License-Identifier: Apache-2.0
"""Clients that vanish without a word, on a server that pings: HOST:PORT LIMIT_SECONDS.

  vanished_client.py HOST:PORT hold     one generation on each method, and nothing but reading

The server must notice within the limit, and drop their generations with all that these hold.
"""
import asyncio
import os
import signal
import subprocess
import sys
import time
import unittest

import grpc
from silica_client import ServerChecks, frame, greedy, main, pb, pb_grpc
from tcp_proxy import Proxy


class VanishingChecks(ServerChecks):
    limit = 0.0

    def setUp(self):
        self.assertEqual(self.statistics().kv_blocks_used, 0)

    def statistics(self):
        return self.stub.GetStatistics(pb.GetStatisticsRequest(), timeout=10)

    def hold(self, target):
        """A client with two generations that are running."""
        before = self.statistics()
        client = subprocess.Popen(
            [sys.executable, __file__, target, "hold"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(client.wait)
        self.addCleanup(client.stdout.close)
        self.addCleanup(client.kill)
        self.assertEqual(client.stdout.readline().strip(), "holding")
        now = self.statistics()
        self.assertEqual(now.generations_begun - before.generations_begun, 2)
        self.assertEqual(now.calls_open - before.calls_open, 2)
        self.assertGreater(now.kv_blocks_used, 0)
        return client

    def expect_notice(self):
        begin = time.monotonic()
        while True:
            now = self.statistics()
            seconds = time.monotonic() - begin
            if (now.calls_open, now.kv_blocks_used, now.load.running) == (1, 0, 0):
                break
            self.assertLess(seconds, self.limit + 10, f"they are still there: {now}")
            time.sleep(0.02)
        self.assertEqual(now.generations_begun, now.generations_ended)
        self.assertLess(seconds, self.limit)
        print(f"noticed after {seconds:.2f} s", flush=True)

    def test_a_client_whose_process_is_stopped(self):
        client = self.hold(self.target)
        client.send_signal(signal.SIGSTOP)
        self.expect_notice()

    def test_a_connection_that_loses_everything(self):
        proxy = Proxy(self.target)
        self.addCleanup(proxy.close)
        self.hold(proxy.address)
        proxy.freeze()
        self.expect_notice()

    def test_a_client_that_lives_is_left_alone(self):
        client = self.hold(self.target)
        time.sleep(2 * self.limit)
        self.assertEqual(self.statistics().load.running, 2)
        client.kill()
        self.expect_notice()


async def hold(target):
    async with grpc.aio.insecure_channel(target) as channel:
        stub = pb_grpc.InferenceStub(channel)
        start = greedy(tokens=100_000)
        session = stub.Session()
        await session.write(frame(1, start=start))
        generate = stub.Generate(pb.GenerateRequest(start=start))

        async def read(call):
            kinds = set()
            async for received in call:
                kind = "frame" if call is session else "event"
                kinds.add(received.WhichOneof(kind))
                if "delta" in kinds and call not in running:
                    running.append(call)
                    if len(running) == 2:
                        print("holding", flush=True)

        running = []
        await asyncio.gather(read(session), read(generate))


if __name__ == "__main__":
    signal.alarm(90)
    if sys.argv[2] == "hold":
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        asyncio.run(hold(sys.argv[1]))
    else:
        VanishingChecks.limit = float(sys.argv.pop(2))
        main(time_limit=90)
