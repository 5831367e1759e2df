# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy on the loopback that counts a client's HTTP/2 pings, and can fall silent.

It stands for what lies between client and server: silent, it is a network that lost them to each
other, while both ends still have a connection.
"""
import socket
import threading

PREFACE_LENGTH = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
PING, ACK = 6, 1


class PingCounter:
    """Counts PING frames in the bytes of one connection's client."""

    def __init__(self):
        self.count = 0
        self.skip = PREFACE_LENGTH
        self.header = b""

    def feed(self, data):
        while data:
            if self.skip:
                taken = min(self.skip, len(data))
                self.skip -= taken
                data = data[taken:]
                continue
            taken = 9 - len(self.header)
            self.header += data[:taken]
            data = data[taken:]
            if len(self.header) == 9:
                if self.header[3] == PING and not self.header[4] & ACK:
                    self.count += 1
                self.skip = int.from_bytes(self.header[:3], "big")
                self.header = b""


class Proxy:
    def __init__(self, target):
        host, _, port = target.rpartition(":")
        self.server = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.counters = []
        self.sockets = []
        self.forwards = threading.Event()
        self.forwards.set()
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def connections(self):
        return len(self.counters)

    @property
    def pings(self):
        return sum(counter.count for counter in self.counters)

    def freeze(self):
        """Forwards nothing any more, and closes nothing."""
        self.forwards.clear()

    def close(self):
        for one in [self.listener, *self.sockets]:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # Its peer was faster.
            one.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.server)
            except OSError:
                return
            counter = PingCounter()
            self.counters.append(counter)
            self.sockets += [client, server]
            for pair in [(client, server, counter.feed), (server, client, lambda data: None)]:
                threading.Thread(target=self.forward, args=pair, daemon=True).start()

    def forward(self, source, target, look):
        try:
            while data := source.recv(65_536):
                look(data)
                self.forwards.wait()
                target.sendall(data)
        except OSError:
            pass
        if not self.forwards.is_set():
            return
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
