# SPDX-License-Identifier: Apache-2.0
"""Connections beyond what a server takes. Prints what it saw, a line each.

connections.py limit HOST:PORT LIMIT CLIENTS   clients that stay, each with a connection of its own
connections.py flood HOST:PORT CONNECTIONS     bare connections, until the server has no descriptor
"""
import signal
import socket
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


class Client:
    """A connection of its own, held by a call that stays."""

    def __init__(self, target):
        self.channel = grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)])
        self.stub = health_pb2_grpc.HealthStub(self.channel)

    def watch(self):
        """How the call began: the server's word, or the error."""
        call = self.stub.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        try:
            return health_pb2.HealthCheckResponse.ServingStatus.Name(next(call).status)
        except grpc.RpcError as error:
            return error.code().name

    def close(self):
        self.channel.close()


def watch_many(target, count):
    clients = [Client(target) for _ in range(count)]
    answers = [client.watch() for client in clients]
    return clients, {answer: answers.count(answer) for answer in sorted(set(answers))}


def serves(target, limit=10):
    """Whether a new client is answered within so many seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        client = Client(target)
        answer = client.watch()
        client.close()
        if answer == "SERVING":
            return True
        time.sleep(0.1)
    return False


def limit(target, limit, count):
    clients, answers = watch_many(target, int(count))
    print(answers)
    for client in clients:
        client.close()
    assert serves(target)
    time.sleep(0.5)
    clients, answers = watch_many(target, int(limit))
    print(answers)
    for client in clients:
        client.close()


def flood(target, count):
    host, _, port = target.rpartition(":")
    address = (host, int(port))
    kept = Client(target)
    print(kept.watch())
    for _ in range(3):
        sockets = [socket.create_connection(address, timeout=5) for _ in range(int(count))]
        time.sleep(0.5)
        for connection in sockets:
            connection.close()
        print(serves(target))
    kept.close()


def main():
    signal.alarm(90)
    scenario, target, *numbers = sys.argv[1:]
    globals()[scenario](target, *numbers)


if __name__ == "__main__":
    main()
