#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures how long a token takes from the end of its step until gRPC C-core is called with it.

  hand_over.py SILICA [--rounds N] [--batches 1,4,8,16,32,256,32/256] [--rate N]

Every stream gets a token in each step, so many steps a second; with 32/256, 32 of 256 streams do,
and the others wait for their turn. Silica keeps its books, turns the token into text and encodes
it; the C++ callback server, beside it, only encodes: it has its texts ready, and the time counts
from its tick to `StartWrite`. Both run by turns, for each number of sequences in a step (the C++
server has no queue, so no 32/256). With --step-wait spin, Silica's device keeps its core until a
step ends, as that of a GPU does, and does not sleep. Shows medians of the rounds; writes
hand-over.json into Benchmarks/results.
"""
import argparse
import json
import pathlib
import statistics
import sys

import run

SERVERS = ["silica", "peer"]
TIMES = ["p50_us", "p99_us"]
TOKENS = 200


def measure(arguments, server, batch, streams):
    """The times of one run, in microseconds."""
    command = run.server_command(arguments, server, "session") + ["--token-rate", arguments.rate]
    if server == "silica":
        command[command.index("--max-batch") + 1] = str(batch)
        command += ["--step-wait", arguments.step_wait]
    with run.serving(command) as (target, process):
        options = ["--server-pid", str(process.pid)]
        options += ["--statistics", "1"] if server == "silica" else []
        record = run.run_client(target, streams, options, tokens=TOKENS, delta_tokens=1)
        if server == "silica":
            return {"p50_us": record["send_p50_us"], "p99_us": record["send_p99_us"]}
        process.terminate()
        line = process.stdout.readline()
    return json.loads(line.split("hand-over ")[1])


def table(results):
    head = ["sequences", "silica p50", "p99", "C++ p50", "p99", "p50 ratio"]
    rows = []
    for batch, servers in results.items():
        row = [batch]
        for server in SERVERS:
            row += [servers[server][name] if server in servers else "" for name in TIMES]
        if "peer" in servers:
            row.append(f"{servers['silica']['p50_us'] / servers['peer']['p50_us']:.2f}")
        rows.append(row + [""] * (len(head) - len(row)))
    widths = [max(len(str(row[i])) for row in [head] + rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(str(cell).rjust(width) for cell, width in zip(row, widths))
        for row in [head] + rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("silica")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", default="1,4,8,16,32,256,32/256",
                        help="sequences in a step, or of how many streams")
    parser.add_argument("--rate", default="200", help="steps a second")
    parser.add_argument("--step-wait", default="sleep", choices=["sleep", "spin"])
    parser.add_argument("--output", default=str(run.RESULTS), help="folder for the result")
    arguments = parser.parse_args()
    runs = {}
    for number in range(arguments.rounds):
        for case in arguments.batches.split(","):
            batch, streams = int(case.split("/")[0]), int(case.split("/")[-1])
            servers = SERVERS if batch == streams else ["silica"]
            for server in servers if number % 2 == 0 else servers[::-1]:
                times = measure(arguments, server, batch, streams)
                runs.setdefault((case, server), []).append(times)
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    results = {}
    for (batch, server), values in runs.items():
        of_server = results.setdefault(batch, {}).setdefault(server, {})
        for name in TIMES:
            times = [value[name] for value in values]
            of_server[name] = round(statistics.median(times), 1)
            of_server[f"{name}_range"] = [min(times), max(times)]
    print(table(results))
    record = {"rounds": arguments.rounds, "steps_per_s": float(arguments.rate),
              "step_wait": arguments.step_wait, "times": results}
    path = pathlib.Path(arguments.output) / "hand-over.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except run.Failure as failure:
        sys.exit(f"hand_over.py: {failure}")
