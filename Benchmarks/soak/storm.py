#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A storm on one server: calls, cancels, killed clients; then nothing may be left of them.

  storm.py [--rounds N] [--warm-up N] [--calls N] [--streams N] [--cancels N] [--kills N]
           [--cancel-ms N] [--tokens N] [--slope-max KIB] [--json FILE] [-- OPTIONS OF silica serve]

In each round a client (storm.cc) makes --calls calls, --streams of them open at a time, and cancels
--cancels of them at random moments, while --kills other clients with four streams each are killed
at random moments. The client checks every frame: numbers without a gap, one end for each
generation, nothing after it, as many tokens as the end says. After each round the server must have
ended as many generations as it began, and hold no block of the KV cache, no call and no file more
than before. Shows from round to round what memory the server holds and what the process has of the
machine. A server that holds more with each round after the warm-up leaks, which is a failure.
"""
import argparse
import json
import random
import subprocess
import sys
import threading
import time

import server
import watch

SERVER_OPTIONS = ["--token-rate", "1000", "--max-batch", "1024", "--max-waiting", "2048"]
KILLERS = 4
STREAMS_OF_A_KILLED_CLIENT = 4
RESUME_MS = 500


def kill_clients(target, count, seed, killed):
    """Starts so many clients, one after the other, and kills each."""
    draw = random.Random(seed)
    command = [str(watch.BUILD / "storm"), "--target", target, "--connections", "1"]
    command += ["--hold", str(STREAMS_OF_A_KILLED_CLIENT), "--resume-ms", str(RESUME_MS)]
    for number in range(count):
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        # One in eight is killed wherever it is: connecting, starting, waiting.
        is_holding = number % 8 != 0 and client.stdout.readline() == "holding\n"
        time.sleep(draw.uniform(0, 0.1))
        client.kill()
        client.wait()
        client.stdout.close()
        killed.append(is_holding)


def run_round(arguments, target, seed):
    command = [str(watch.BUILD / "storm"), "--target", target, "--seed", str(seed)]
    for name in ("calls", "streams", "cancels", "cancel-ms", "tokens"):
        command += ["--" + name, str(getattr(arguments, name.replace("-", "_")))]
    killed = []
    shares = [len(range(i, arguments.kills, KILLERS)) for i in range(KILLERS)]
    killers = [
        threading.Thread(target=kill_clients, args=(target, share, seed * KILLERS + i, killed))
        for i, share in enumerate(shares)]
    for killer in killers:
        killer.start()
    client = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=110)
    for killer in killers:
        killer.join()
    if client.returncode != 0:
        raise watch.Failure(f"{' '.join(command)}: {client.stdout or 'no result'}")
    record = json.loads(client.stdout)
    record.update(killed=len(killed), killed_mid_stream=sum(killed))
    return record


def run(arguments, options):
    records = []
    held = watch.HeldMemory()
    with server.Server(arguments.silica, arguments.model, *options,
                       environment=held.environment) as running:
        eyes = watch.Watch(running)
        files = running.open_files()
        for number in range(arguments.warm_up + arguments.rounds):
            record = run_round(arguments, running.target, number + 1)
            if not running.is_running:
                raise watch.Failure(f"the server ended: {running.log()}")
            eyes.settle(files)
            statistics = eyes.statistics()
            record.update(
                counted=number >= arguments.warm_up, held_kib=held.kib(),
                anonymous_kib=running.status("RssAnon"), open_files=running.open_files(),
                begun=statistics.generations_begun, ended=statistics.generations_ended,
                kv_blocks_used=statistics.kv_blocks_used)
            print(line(record), flush=True)
            records.append(record)
        eyes.close()
    return summary(arguments, options, records)


def line(record):
    return ("{calls} calls in {seconds:.1f} s, {cancels} cancels ({cancelled_by_frame} generations "
            "and {cancelled_calls} calls ended by them), {killed} clients killed "
            "({killed_mid_stream} mid-stream); begun {begun}, ended {ended}, KV blocks "
            "{kv_blocks_used}, {held_kib:.0f} KiB held, {anonymous_kib} KiB of the machine, "
            "{open_files} files").format(**record)


def summary(arguments, options, records):
    counted = [record for record in records if record["counted"]]
    scale = 10_000 / arguments.calls
    results = {"server": options, "rounds": records}
    for name in ("held_kib", "anonymous_kib", "open_files"):
        found, error = watch.slope([record[name] for record in counted])
        results[name + "_per_10000_calls"] = None if found is None else found * scale
        results[name + "_error"] = None if error is None else error * scale
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    server.add_options(parser)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--warm-up", type=int, default=4, help="rounds that do not count")
    parser.add_argument("--calls", type=int, default=10_000, help="of a round")
    parser.add_argument("--streams", type=int, default=1_000, help="open at a time")
    parser.add_argument("--cancels", type=int, default=1_000, help="of a round")
    parser.add_argument("--cancel-ms", type=int, default=200, help="when they come, at most")
    parser.add_argument("--kills", type=int, default=200, help="clients killed in a round")
    parser.add_argument("--tokens", type=int, default=80, help="of a generation, at most")
    parser.add_argument("--slope-max", type=float, default=64,
                        help="KiB of memory held more after 10,000 calls that are too many")
    arguments, options = parser.parse_known_args()
    options = [option for option in options if option != "--"] or SERVER_OPTIONS
    try:
        watch.build_clients()
        results = run(arguments, options)
    except (watch.Failure, subprocess.SubprocessError, OSError) as error:
        sys.exit(f"storm.py: {error}")
    watch.write_json(arguments.json, results)
    gained, error = (results["held_kib" + end] for end in ("_per_10000_calls", "_error"))
    if gained is None:
        return
    print(f"in 10,000 calls: memory held {gained:+.1f} KiB (standard error {error or 0:.1f}), "
          f"of the machine {results['anonymous_kib_per_10000_calls']:+.0f} KiB, "
          f"open files {results['open_files_per_10000_calls']:+.2f}")
    if gained > arguments.slope_max:
        sys.exit(f"storm.py: the server held {gained:.1f} KiB more after 10,000 calls; "
                 f"expected {arguments.slope_max:.1f} at most")


if __name__ == "__main__":
    main()
