#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One reader stops reading while others run: nobody else may feel it, and it loses nothing.

  slow_reader.py [--rounds N] [--readers N] [--windows N] [--stall-windows N] [--window-ms N]
                 [--slow-tokens N] [--gap-max PERCENT] [--memory-max KIB] [--json FILE]
                 [-- OPTIONS OF silica serve]

A client (slow_reader.cc) measures the gaps between the deltas of --readers streams in windows of
time: some before, some while one more stream of the same connection is not read, some after.
Meanwhile the server's statistics and memory are looked at ten times a second. Compares the medians
of the windows' 99th percentiles; the memory that the server holds before the stall and in the pause
of the slow reader's generation, where the tokens that wait (`ServingLimits.unsentTokens`) and what
HTTP/2 buffers are to be seen; and its tokens with those that a second server
gives to one that reads.
"""
import argparse
import json
import statistics
import subprocess
import sys
import threading
import time

import server
import watch

SERVER_OPTIONS = ["--token-rate", "100", "--token-bytes", "200", "--max-batch", "256"]


class Sampler(threading.Thread):
    """Memory that a server holds, and its load, over time."""

    def __init__(self, eyes, held):
        super().__init__(daemon=True)
        self.eyes = eyes
        self.held = held
        self.samples = []
        self.is_over = threading.Event()

    def run(self):
        while not self.is_over.wait(0.1):
            load = self.eyes.statistics().load
            self.samples.append((time.monotonic_ns(), self.held.kib(), load.paused))

    def between(self, start, end):
        return [sample for sample in self.samples if start <= sample[0] <= end]


def held_kib(samples):
    """The median: what the other streams hold for a moment comes and goes."""
    return round(statistics.median(sample[1] for sample in samples))


def without(options, name):
    """Server options without one that has a value."""
    if name not in options:
        return options
    place = options.index(name)
    return options[:place] + options[place + 2:]


def run_client(arguments, options, number):
    """One round on a server of its own: the client's lines, and what the sampler saw."""
    reference = without(options, "--token-rate")
    held = watch.HeldMemory()
    with server.Server(arguments.silica, arguments.model, *options,
                       environment=held.environment) as running:
        eyes = watch.Watch(running)
        sampler = Sampler(eyes, held)
        sampler.start()
        with server.Server(arguments.silica, arguments.model, *reference) as other:
            command = [str(watch.BUILD / "slow_reader"), "--target", running.target,
                       "--reference", other.target, "--readers", str(arguments.readers),
                       "--window-ms", str(arguments.window_ms),
                       "--base-windows", str(arguments.windows),
                       "--stall-windows", str(arguments.stall_windows),
                       "--slow-tokens", str(arguments.slow_tokens)]
            client = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=180)
        sampler.is_over.set()
        sampler.join()
        if client.returncode != 0:
            raise watch.Failure(f"{' '.join(command)}: {client.stdout or 'no result'}")
        eyes.settle()
        eyes.close()
    record = judge([json.loads(line) for line in client.stdout.splitlines()], sampler)
    print(f"round {number + 1}: " + line(record), flush=True)
    return record


def judge(lines, sampler):
    windows = [line for line in lines if "window" in line]
    record = next(line for line in lines if "stall_s" in line)
    for name in ("base", "stall"):
        mine = [window for window in windows if window["window"] == name]
        record[name + "_gap_p99_us"] = [window["gap_p99_us"] for window in mine]
        record[name + "_gap_p50_us"] = [window["gap_p50_us"] for window in mine]
    stalls = [window for window in windows if window["window"] == "stall"]
    samples = sampler.between(stalls[0]["start_ns"], stalls[-1]["end_ns"])
    paused = [sample for sample in samples if sample[2] > 0]
    if not paused:
        raise watch.Failure("the slow reader's generation was not paused; stall it for longer")
    record.update(
        paused_after_s=(paused[0][0] - stalls[0]["start_ns"]) / 1e9,
        paused_max=max(sample[2] for sample in paused),
        # It stays paused to the end of the stall.
        lapses=sum(1 for sample in samples if sample[0] > paused[0][0] and sample[2] == 0),
        held_kib=[held_kib(sampler.between(windows[0]["end_ns"], stalls[0]["start_ns"])),
                  held_kib(paused[:len(paused) // 2 + 1]), held_kib(paused[len(paused) // 2:])])
    return record


def line(record):
    return ("stalled {stall_s:.0f} s, paused after {paused_after_s:.1f} s; memory held before it, "
            "in the first and second half of the pause: {held_kib} KiB; "
            "p99 gap without {base_gap_p99_us} and with it {stall_gap_p99_us} us; "
            "then read {read} of {expected} tokens, equal: {is_equal}"
            ).format(**record)


def summary(records):
    gaps = {name: statistics.median(gap for record in records for gap in record[name])
            for name in ("base_gap_p50_us", "stall_gap_p50_us", "base_gap_p99_us",
                         "stall_gap_p99_us")}
    return {
        **gaps,
        "p99_change_percent": 100 * (gaps["stall_gap_p99_us"] / gaps["base_gap_p99_us"] - 1),
        "kib_held_for_it": max(max(r["held_kib"][1:]) - r["held_kib"][0] for r in records),
    }


def check(arguments, records, found):
    if any(record["lapses"] > 0 or record["paused_max"] != 1 for record in records):
        raise watch.Failure("not exactly one generation stayed paused to the end of its stall")
    if found["p99_change_percent"] > arguments.gap_max:
        raise watch.Failure(f"the others' p99 gap grew by {found['p99_change_percent']:.1f} %; "
                            f"expected {arguments.gap_max} at most")
    if found["kib_held_for_it"] > arguments.memory_max:
        raise watch.Failure(f"the server held {found['kib_held_for_it']:.0f} KiB for the slow "
                            f"reader; expected {arguments.memory_max} at most")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    server.add_options(parser)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--readers", type=int, default=63)
    parser.add_argument("--windows", type=int, default=2, help="before a stall, and after it")
    parser.add_argument("--stall-windows", type=int, default=12)
    parser.add_argument("--window-ms", type=int, default=5_000)
    parser.add_argument("--slow-tokens", type=int, default=2_500)
    parser.add_argument("--gap-max", type=float, default=10, help="percent")
    parser.add_argument("--memory-max", type=int, default=512,
                        help="KiB that the server may hold for the slow reader")
    arguments, options = parser.parse_known_args()
    options = [option for option in options if option != "--"] or SERVER_OPTIONS
    try:
        watch.build_clients()
        records = [run_client(arguments, options, n) for n in range(arguments.rounds)]
        found = summary(records)
        watch.write_json(arguments.json, {"server": options, "rounds": records, **found})
        print("p99 gap: {base_gap_p99_us:.0f} us without, {stall_gap_p99_us:.0f} us with the slow "
              "reader, {p99_change_percent:+.1f} %; memory held for it: {kib_held_for_it:.0f} KiB"
              .format(**found))
        check(arguments, records, found)
    except (watch.Failure, subprocess.SubprocessError, OSError) as error:
        sys.exit(f"slow_reader.py: {error}")


if __name__ == "__main__":
    main()
