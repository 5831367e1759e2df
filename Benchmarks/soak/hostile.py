#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks a server of its own on the loopback, and sees what is left of it.

  hostile.py                               every attack for two seconds, two rounds
  hostile.py --seconds 30 --only random_bytes mutated_bytes

After each attack a normal generation must be served within 100 ms, on a connection from before and
on a new one. At the end memory and descriptors must be as they were: after a round that has
seen every attack, another one may add little. Exits with 1 and says why if not.
"""
import argparse
import json
import multiprocessing
import signal
import sys
import threading
import time

import attacks
from server import Certificates, Server, add_options, load_stubs

WORKERS = 2
# What a round may leave in memory: a little more than what the server keeps before it asks the
# allocator to give back what was freed.
GROWTH_KIB = 48 << 10


def work(name, address, seconds, seed, authority, report):
    """One attacker, in a process of its own."""
    signal.alarm(int(seconds) + 20)
    attacker = attacks.Attacker(address, seconds, seed, authority)
    getattr(attacks, name)(attacker)
    report.put((attacker.connections, attacker.refused, attacker.sent))
    report.close()


class Probe:
    """A normal client of the server."""

    def __init__(self, target, authority=None):
        import grpc

        self.grpc, self.target, self.authority = grpc, target, authority
        self.pb, self.pb_grpc = load_stubs()
        start = self.pb.Start(token_ids=self.pb.TokenIds(ids=[5, 6, 7]))
        start.sampling.temperature = 0
        start.stopping.max_tokens = 5
        start.stopping.ignore_eos = True
        self.request = self.pb.GenerateRequest(start=start)
        self.kept = self.channel()

    def channel(self):
        options = [("grpc.use_local_subchannel_pool", 1)]
        if not self.authority:
            return self.grpc.insecure_channel(self.target, options)
        with open(self.authority, "rb") as file:
            trusted = self.grpc.ssl_channel_credentials(file.read())
        return self.grpc.secure_channel(self.target, trusted, options)

    def generate(self, channel):
        """One generation to its end."""
        stub = self.pb_grpc.InferenceStub(channel)
        last = None
        for last in stub.Generate(self.request, timeout=10):
            pass
        if last.finished.usage.generated_tokens != 5:
            raise RuntimeError(f"a generation ended with {last}")

    def time_to_serve(self, since, channel=None):
        """Seconds from `since` to the end of the first generation that is served."""
        while True:
            own = channel or self.channel()
            try:
                self.generate(own)
                return time.monotonic() - since
            except self.grpc.RpcError as error:
                if time.monotonic() - since > 20:
                    raise SystemExit(f"hostile.py: the server serves no more: {error}") from error
                time.sleep(0.002)
            finally:
                if not channel:
                    own.close()


class Beside:
    """A client that goes on generating while the server is attacked."""

    def __init__(self, probe):
        self.probe, self.times, self.failures = probe, [], 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.is_over.wait(0.05):
            before = time.monotonic()
            try:
                self.probe.generate(self.probe.kept)
            except self.probe.grpc.RpcError:
                self.failures += 1
            self.times.append(time.monotonic() - before)

    def finish(self):
        self.is_over.set()
        self.thread.join()
        return max(self.times, default=0)


def attack(name, server, probe, seconds, seed):
    """Runs one attack; says what it did and what it left."""
    host, _, port = server.target.rpartition(":")
    context = multiprocessing.get_context("spawn")
    report = context.Queue()
    log_before, cpu_before = server.log_bytes, server.cpu_seconds()
    server.reset_peak()
    workers = [
        context.Process(target=work, args=(name, (host, int(port)), seconds, seed + i,
                                           probe.authority, report))
        for i in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    beside = Beside(probe)
    counts = [report.get(timeout=seconds + 30) for _ in workers]
    stopped = time.monotonic()
    kept = probe.time_to_serve(stopped, probe.kept)
    new = probe.time_to_serve(time.monotonic())
    slowest = beside.finish()
    for worker in workers:
        worker.join()
    cpu = server.cpu_seconds() - cpu_before
    server.settle_files()
    return {
        "attack": name, "connections": sum(c[0] for c in counts),
        "refused": sum(c[1] for c in counts), "sent_mb": sum(c[2] for c in counts) / 1e6,
        "cpu_s": cpu, "peak_kib": server.peak_kib(), "resident_kib": server.resident_kib(),
        "open_files": server.open_files(), "log_bytes": server.log_bytes - log_before,
        "served_beside_s": slowest, "failed_beside": beside.failures,
        "kept_s": kept, "new_s": new,
    }


HEAD = ("attack                   connections sent/MB  cpu/s peak/MiB after/MiB files  log/KB "
        "beside/ms kept/ms new/ms")
LINE = ("{attack:24} {connections:11} {sent_mb:7.1f} {cpu_s:6.1f} {peak:8.1f} {after:9.1f} "
        "{open_files:5} {log:7.1f} {beside:9.1f} {kept:7.1f} {new:6.1f}")


def show(result):
    print(LINE.format(
        peak=result["peak_kib"] / 1024, after=result["resident_kib"] / 1024,
        log=result["log_bytes"] / 1e3, beside=result["served_beside_s"] * 1e3,
        kept=result["kept_s"] * 1e3, new=result["new_s"] * 1e3, **result), flush=True)


def run(arguments, server, authority):
    """All rounds; gives the results and what is wrong with them."""
    probe = Probe(server.target, authority)
    for _ in range(200):
        probe.generate(probe.kept)
    names = arguments.only or [attack.__name__ for attack in attacks.ALL]
    results, problems, ends = [], [], []
    start = {"resident_kib": server.resident_kib(), "open_files": server.open_files()}
    print(f"before: {start['resident_kib'] / 1024:.1f} MiB, {start['open_files']} files")
    print(HEAD)
    for round_ in range(arguments.rounds):
        for number, name in enumerate(names):
            seed = arguments.seed + 1000 * round_ + 10 * number
            result = attack(name, server, probe, arguments.seconds, seed)
            results.append(result)
            show(result)
            if not server.is_running:
                raise SystemExit(f"hostile.py: {name} ended the server: {server.log()[-2000:]}")
            if result["peak_kib"] / 1024 > arguments.peak_mib:
                problems.append(f"{name}: the server held {result['peak_kib'] / 1024:.0f} MiB")
            for kind in ("kept_s", "new_s"):
                if result[kind] * 1e3 > arguments.within_ms:
                    problems.append(f"{name}: {kind} is {result[kind] * 1e3:.0f} ms")
        server.settle(start["open_files"], start["resident_kib"] + GROWTH_KIB)
        ends.append({"resident_kib": server.resident_kib(), "open_files": server.open_files()})
        print(f"after round {round_ + 1}: {ends[-1]['resident_kib'] / 1024:.1f} MiB, "
              f"{ends[-1]['open_files']} files")
    if ends[-1]["open_files"] > start["open_files"] + 1:
        problems.append(f"descriptors: {start['open_files']}, then {ends[-1]['open_files']}")
    first = ends[-2] if len(ends) > 1 else start
    if ends[-1]["resident_kib"] - first["resident_kib"] > GROWTH_KIB:
        sizes = [moment["resident_kib"] for moment in [start, *ends]]
        problems.append(f"memory grows: {sizes} KiB before and after each round")
    return {"start": start, "rounds": ends, "attacks": results}, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--seconds", type=float, default=2, help="of each attack")
    parser.add_argument(
        "--within-ms", type=float, default=100, help="what a generation may take after an attack")
    parser.add_argument(
        "--peak-mib", type=float, default=1024, help="the most that the server may hold")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--tls", action="store_true", help="speak TLS to the server")
    parser.add_argument("--only", nargs="+", metavar="ATTACK", help="these and no others")
    arguments = parser.parse_args()
    certificates = Certificates() if arguments.tls else None
    options = certificates.server_options if certificates else []
    authority = certificates.authority if certificates else None
    with Server(arguments.silica, arguments.model, *options) as server:
        measured, problems = run(arguments, server, authority)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(measured, file, indent=1)
    for problem in problems:
        print(f"hostile.py: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
