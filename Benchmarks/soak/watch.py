# SPDX-License-Identifier: Apache-2.0
"""What a server says of itself and holds of the machine, and the clients of the soak programs."""
import json
import pathlib
import struct
import subprocess
import tempfile
import time

import server

BUILD = server.ROOT / ".build" / "bench-rpc"
pb, pb_grpc = server.load_stubs()

import grpc  # noqa: E402  After its verbosity was set.


class Failure(Exception):
    pass


def build_clients():
    folder = pathlib.Path(__file__).resolve().parent
    subprocess.run(["make", "-s", "-C", str(folder), f"OUT={BUILD}"], check=True)


class HeldMemory:
    """How many bytes a server has allocated and not freed, counted in it by allocations.so.

    What the process has of the machine is more, and moves: glibc keeps freed memory in pools whose
    holes depend on which thread freed what first. Only this tells a leak from that.
    """

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile()
        self.environment = {"LD_PRELOAD": str(BUILD / "allocations.so"),
                            "BENCH_ALLOCATIONS": self.file.name}

    def kib(self):
        counts = struct.Struct("=QQq")  # struct allocation_counts
        with open(self.file.name, "rb") as file:
            return counts.unpack(file.read(counts.size))[2] / 1024


class Watch:
    """Asks a server for its statistics, over one connection that stays open."""

    def __init__(self, running):
        self.running = running
        self.channel = grpc.insecure_channel(running.target)
        self.stub = pb_grpc.InferenceStub(self.channel)
        self.statistics()

    def close(self):
        self.channel.close()

    def statistics(self):
        return self.stub.GetStatistics(pb.GetStatisticsRequest(), timeout=10)

    def settle(self, open_files=None, seconds=15):
        """Waits until nothing runs, waits or is held; fails if something stays."""
        end = time.monotonic() + seconds
        while True:
            left = leftovers(self.statistics())
            if open_files is not None and self.running.open_files() > open_files:
                left.append(f"{self.running.open_files()} open files, {open_files} before")
            if not left:
                return
            if time.monotonic() > end:
                raise Failure(f"{seconds} s after the last client: " + ", ".join(left))
            time.sleep(0.05)


def leftovers(statistics):
    """What a server without clients should not have, in words."""
    begun, ended = statistics.generations_begun, statistics.generations_ended
    left = {
        "running": statistics.load.running,
        "waiting": statistics.load.waiting,
        "paused": statistics.load.paused,
        "detached": statistics.generations_detached,
        "KV blocks in use": statistics.kv_blocks_used,
        # The call that asks is one itself.
        "calls open": statistics.calls_open - 1,
        f"generations of {begun} not ended, or ended twice": begun - ended,
    }
    return [f"{count} {what}" for what, count in left.items() if count != 0]


def slope(values):
    """The slope of a line through values at 0, 1, 2, …, and its standard error; None for one."""
    count = len(values)
    if count < 2:
        return None, None
    mean_x, mean_y = (count - 1) / 2, sum(values) / count
    squares = sum((x - mean_x) ** 2 for x in range(count))
    found = sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values)) / squares
    if count < 3:
        return found, None
    rest = sum((y - mean_y - found * (x - mean_x)) ** 2 for x, y in enumerate(values))
    return found, (rest / (count - 2) / squares) ** 0.5


def write_json(path, results):
    if path is not None:
        pathlib.Path(path).write_text(json.dumps(results, indent=1) + "\n")
