#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Silica's door against a C++ callback server, with one load client for both.

  run.py SILICA [--rounds N] [--streams 1,16,64,256,1000] [--connections N] [--methods M,...]

Each round starts both servers, by turns in the other order, and runs every number of streams on
each: 256 messages a stream, each one token, 64 bytes. Silica runs twice: "messages" sends every
token in a message of its own (`delta_tokens_max` 1), as the peer does; "merging" is its default,
one delta for what has gathered. Shows medians and ratios; writes rpc.json and rpc.svg into
Benchmarks/results. Uses nothing but Python's own library, make, g++ and strace.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

import report

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
BUILD = ROOT / ".build" / "bench-rpc"
RESULTS = FOLDER.parent / "results"

MESSAGE_BYTES = 64
TOLERANCE = 2
# Text of a token with which a message has 64 bytes: the frame around it has 13, or 8.
TOKEN_BYTES = {"session": 51, "generate": 56}
# Streams run at once and never wait for another: the default of 32 would queue the rest.
SILICA_OPTIONS = ["--max-batch", "1024", "--max-waiting", "1024", "--prefill-chunk", "1024"]
DELTA_TOKENS = {"messages": 1, "merging": 0}
# Generations of a stream in one run, at most.
REPEATS = 64


class Failure(Exception):
    pass


def server_command(arguments, name, method):
    size = ["--token-bytes", str(TOKEN_BYTES[method]), "--listen", "127.0.0.1:0"]
    if name == "peer":
        return [str(BUILD / "peer")] + size
    return [arguments.silica, "serve", "--model", "synthetic"] + size + SILICA_OPTIONS


@contextlib.contextmanager
def serving(command, environment=None, tracer=()):
    """Runs a server; gives its address and the process, the tracer's if there is one."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            list(tracer) + command, stdout=subprocess.PIPE, stderr=errors, text=True,
            env=dict(os.environ, **(environment or {})))
        try:
            line = process.stdout.readline()
            if "listening on " not in line:
                process.wait()
                errors.seek(0)
                raise Failure(f"{' '.join(command)} did not start: {errors.read()}")
            yield line.split("listening on ")[1].strip(), process
        finally:
            # A tracer passes nothing on; what it traces is its only child.
            for child in children(process.pid) if tracer else [process.pid]:
                os.kill(child, signal.SIGTERM)
            process.wait(60)
            process.stdout.close()


def children(pid):
    return [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def run_client(target, streams, options, tokens=256, repeat=1, delta_tokens=0):
    command = [str(BUILD / "client"), "--target", target, "--streams", str(streams)]
    command += ["--tokens", str(tokens), "--repeat", str(repeat)]
    command += ["--delta-tokens", str(delta_tokens)] + options
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300)
    if result.returncode != 0:
        raise Failure(f"{' '.join(command)}: {result.stdout or 'no result'}")
    return json.loads(result.stdout)


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise Failure(f"process {pid} has no VmRSS")


def cases(arguments):
    """Server, mode and method of everything that is measured, in the order of one round."""
    for method in arguments.methods:
        yield "silica", "messages", method
        yield "silica", "merging", method
        yield "peer", "messages", method


def check_size(record):
    if record["mode"] == "messages" and abs(record["message_bytes"] - MESSAGE_BYTES) > TOLERANCE:
        raise Failure(
            f"messages of {record['server']} have {record['message_bytes']} bytes on average; "
            f"expected {MESSAGE_BYTES} ± {TOLERANCE}")


def measure(arguments, server, mode, method):
    """One server from start to end: a record for each number of streams."""
    records = []
    with serving(server_command(arguments, server, method)) as (target, process):
        options = ["--method", method, "--server-pid", str(process.pid)]
        for streams in arguments.streams:
            connections = min(arguments.connections, streams)
            repeat = min(REPEATS, max(1, arguments.messages // (streams * 256)))
            record = run_client(
                target, streams, options + ["--connections", str(connections)], repeat=repeat,
                delta_tokens=DELTA_TOKENS[mode])
            record.update(server=server, mode=mode, method=method,
                          resident_mib=resident_mib(process.pid))
            check_size(record)
            records.append(record)
    return records


def count_syscalls(arguments, server, mode, method, streams):
    """System calls for each message, and which: the difference between a long and a short run."""
    counts = []
    for tokens in (16, 256):
        with tempfile.NamedTemporaryFile("r") as summary:
            tracer = ["strace", "-f", "-c", "-q", "-o", summary.name]
            command = server_command(arguments, server, method)
            with serving(command, tracer=tracer) as (target, _):
                record = run_client(target, streams, ["--method", method], tokens=tokens,
                                    delta_tokens=DELTA_TOKENS[mode])
            counts.append((record["messages"], strace_counts(summary.read())))
    (short_messages, short), (messages, full) = counts
    per_message = {
        name: (count - short.get(name, 0)) / (messages - short_messages)
        for name, count in full.items()}
    return {name: value for name, value in per_message.items() if value > 0.002}


def strace_counts(summary):
    """Calls by name, from strace's table."""
    counts = {}
    for line in summary.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            counts[fields[-1]] = int(fields[3])
    return counts


def count_allocations(arguments, server, mode, method, streams):
    with tempfile.NamedTemporaryFile() as counts:
        environment = {"LD_PRELOAD": str(BUILD / "allocations.so"),
                       "BENCH_ALLOCATIONS": counts.name}
        with serving(server_command(arguments, server, method), environment) as (target, _):
            record = run_client(target, streams, ["--method", method, "--allocations", counts.name],
                                repeat=4, delta_tokens=DELTA_TOKENS[mode])
    return {name: record[name] for name in ("allocations_per_token", "allocated_bytes_per_token")}


def details(arguments):
    """What costs too much to count while time is measured."""
    records = []
    for server, mode, method in cases(arguments):
        streams = arguments.detail_streams
        record = {"server": server, "mode": mode, "method": method, "streams": streams}
        record.update(count_allocations(arguments, server, mode, method, streams))
        record["syscalls"] = count_syscalls(arguments, server, mode, method, streams)
        record["syscalls_per_message"] = sum(record["syscalls"].values())
        records.append(record)
    return records


def medians(rounds):
    """Records of the same case in all rounds, as one with medians and extremes."""
    groups = {}
    for record in rounds:
        key = (record["method"], record["mode"], record["server"], record["streams"])
        groups.setdefault(key, []).append(record)
    results = []
    for (method, mode, server, streams), records in groups.items():
        result = {"method": method, "mode": mode, "server": server, "streams": streams,
                  "rounds": len(records)}
        for name, value in records[0].items():
            if isinstance(value, (int, float)) and name not in result:
                values = [record[name] for record in records]
                result[name] = statistics.median(values)
                result[name + "_range"] = [min(values), max(values)]
        results.append(result)
    return results


def run(arguments):
    subprocess.run(["make", "-s", "-C", str(FOLDER), f"OUT={BUILD}"], check=True)
    records = []
    for number in range(arguments.rounds):
        print(f"  round {number + 1} of {arguments.rounds}", file=sys.stderr)
        order = list(cases(arguments))
        for case in order if number % 2 == 0 else reversed(order):
            records += measure(arguments, *case)
    results = {"rounds": arguments.rounds, "connections": arguments.connections,
               "silica_options": SILICA_OPTIONS, "cpus": os.cpu_count(),
               "medians": medians(records), "details": []}
    if not arguments.no_details:
        print("  counting system calls and allocations", file=sys.stderr)
        results["details"] = details(arguments)
    print(report.table(results))
    output = pathlib.Path(arguments.output)
    output.mkdir(exist_ok=True)
    (output / "rpc.json").write_text(json.dumps(results, indent=1) + "\n")
    (output / "rpc.svg").write_text(report.plot(results))
    print(f"\nwritten: {output / 'rpc.json'} and rpc.svg")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("silica")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", default="1,16,64,256,1000")
    parser.add_argument("--connections", type=int, default=1, help="that the streams share")
    parser.add_argument("--methods", default="session", help="session, generate or both")
    parser.add_argument("--messages", type=int, default=131_072, help="of one run, about")
    parser.add_argument("--output", default=str(RESULTS), help="folder for the results")
    parser.add_argument("--detail-streams", type=int, default=64)
    parser.add_argument("--no-details", action="store_true",
                        help="do not count system calls and allocations")
    arguments = parser.parse_args()
    arguments.streams = [int(streams) for streams in arguments.streams.split(",")]
    arguments.methods = arguments.methods.split(",")
    try:
        run(arguments)
    except (Failure, subprocess.SubprocessError, OSError) as error:
        sys.exit(f"run.py: {error}")


if __name__ == "__main__":
    main()
