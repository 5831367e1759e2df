# SPDX-License-Identifier: Apache-2.0
"""A client that pings through a long silence of its generation must not be cut off.

  quiet_stream.py SILICA [--seconds 600] [--ping-seconds 10] [--idle-seconds 60]

Starts `SILICA serve --model synthetic` whose generation gives its one token after --seconds, and an
ordinary gRPC client that pings whatever else happens: first --idle-seconds without any call, then
through the silence. A proxy between them counts pings and connections. Beside it two clients that
speak plain HTTP/2 ping every --harsh-seconds, more often than gRPC's own client would, one with a
call that is silent and one without any. Prints a line of JSON; exits with 1 if a client was cut
off, or did not ping.
"""
import argparse
import json
import pathlib
import subprocess
import socket
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests/Python"))

import grpc  # noqa: E402
import h2.config  # noqa: E402
import h2.connection  # noqa: E402
import h2.events  # noqa: E402
import h2.exceptions  # noqa: E402
from silica_client import frame, greedy, pb, pb_grpc  # noqa: E402
from tcp_proxy import Proxy  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("silica", help="the program")
    parser.add_argument("--seconds", type=float, default=600, help="silence of the generation")
    parser.add_argument("--ping-seconds", type=float, default=10, help="time between two pings")
    parser.add_argument("--idle-seconds", type=float, default=60, help="time without a call before")
    parser.add_argument("--harsh-seconds", type=float, default=0.3, help="of the harsh clients")
    return parser.parse_args()


def serve(silica, seconds):
    """A server of a generation that takes so long; gives it with its address."""
    server = subprocess.Popen(
        [silica, "serve", "--model", "synthetic", "--listen", "127.0.0.1:0",
         "--token-rate", f"{1 / seconds:.9f}", "--step-limit", f"{seconds + 60:.0f}",
         "--grace", "0"],
        stdout=subprocess.PIPE, text=True,
    )
    word = "silica: listening on "
    for line in server.stdout:
        if line.startswith(word):
            return server, line[len(word):].strip()
    sys.exit("quiet_stream.py: the server did not start")


def quiet_generation(stub, seconds):
    """One generation of one token; gives the seconds until that came."""
    begin = time.monotonic()
    frames = stub.Session(iter([frame(1, start=greedy(tokens=1))]), timeout=seconds + 60)
    first = None
    for received in frames:
        if received.HasField("failed"):
            raise RuntimeError(received.failed.status.message)
        if received.HasField("delta") and first is None:
            first = time.monotonic() - begin
        if received.HasField("finished"):
            assert received.finished.reason == pb.FINISH_REASON_LENGTH, received
    return first


class HarshClient(threading.Thread):
    """Pings on a connection of its own until it is stopped or cut off."""

    def __init__(self, target, seconds, has_call):
        super().__init__(daemon=True)
        self.target, self.seconds, self.has_call = target, seconds, has_call
        self.result = {"call": has_call, "pings": 0, "answers": 0, "cut": None}
        self.is_stopping = threading.Event()
        self.start()

    def run(self):
        host, _, port = self.target.rpartition(":")
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        with socket.create_connection((host, int(port)), timeout=self.seconds) as self.socket:
            connection.initiate_connection()
            if self.has_call:
                connection.send_headers(1, [
                    (":method", "POST"), (":scheme", "http"), (":authority", self.target),
                    (":path", "/silica.v1.Inference/Session"), ("te", "trailers"),
                    ("content-type", "application/grpc"),
                ])
            try:
                while not self.is_stopping.is_set() and self.result["cut"] is None:
                    connection.ping(b"12345678")
                    self.socket.sendall(connection.data_to_send())
                    self.result["pings"] += 1
                    self.listen(connection, time.monotonic() + self.seconds)
            except (OSError, h2.exceptions.ProtocolError) as error:
                self.result["cut"] = str(error)

    def listen(self, connection, end):
        while (left := end - time.monotonic()) > 0 and self.result["cut"] is None:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65_536)
            except TimeoutError:
                return
            if not data:
                self.result["cut"] = "closed"
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.PingAckReceived):
                    self.result["answers"] += 1
                elif isinstance(event, (h2.events.ConnectionTerminated, h2.events.StreamEnded)):
                    self.result["cut"] = str(event)

    def finish(self):
        self.is_stopping.set()
        self.join()
        return self.result


def soak(options, target):
    harsh = [HarshClient(target, options.harsh_seconds, has_call) for has_call in (True, False)]
    proxy = Proxy(target)
    milliseconds = int(options.ping_seconds * 1_000)
    channel = grpc.insecure_channel(proxy.address, [
        ("grpc.keepalive_time_ms", milliseconds),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ])
    stub = pb_grpc.InferenceStub(channel)
    stub.GetModel(pb.GetModelRequest(), timeout=30)
    time.sleep(options.idle_seconds)
    result = {"ping_seconds": options.ping_seconds, "idle_seconds": options.idle_seconds,
              "idle_pings": proxy.pings}
    try:
        stub.GetModel(pb.GetModelRequest(), timeout=30)
        result["silence_seconds"] = round(quiet_generation(stub, options.seconds), 1)
    except (grpc.RpcError, RuntimeError) as error:
        result["error"] = str(error)
    result["harsh"] = [client.finish() for client in harsh]
    result["pings"] = proxy.pings
    result["connections"] = proxy.connections
    channel.close()
    proxy.close()
    return result


def expected_pings(seconds, interval):
    """How many there must be at least: a ping waits for the answer to the one before, and timers
    come late on a busy machine. gRPC's own client does not ping more than once a second."""
    return 0.6 * seconds / interval - 1


def main():
    options = arguments()
    server, target = serve(options.silica, options.seconds)
    try:
        result = soak(options, target)
    finally:
        server.terminate()
        server.wait(timeout=30)
    print(json.dumps(result))
    seconds = options.idle_seconds + options.seconds
    is_good = (
        "error" not in result and result["connections"] == 1
        and result["pings"] >= expected_pings(seconds, max(1, options.ping_seconds))
        and result["silence_seconds"] >= 0.95 * options.seconds
    )
    for client in result["harsh"]:
        expected = expected_pings(seconds, options.harsh_seconds)
        is_good &= client["cut"] is None and client["answers"] >= expected
    sys.exit(0 if is_good else "quiet_stream.py: a client was cut off, or did not ping")


if __name__ == "__main__":
    main()
