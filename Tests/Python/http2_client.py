# SPDX-License-Identifier: Apache-2.0
"""One gRPC call on a connection of its own, by python-hyper's h2: it says what it is told to."""
import socket
import struct
import urllib.parse

import h2.config
import h2.connection
import h2.events


class Answer:
    """What a call got: headers, messages, trailers, and how it ended."""

    def __init__(self):
        self.headers, self.trailers, self.messages = {}, {}, []
        self.was_reset = self.was_closed = False

    def trailer(self, key):
        """Without messages, the trailers come as headers."""
        return self.trailers.get(key, self.headers.get(key))

    @property
    def status(self):
        """The gRPC status; None if there was none."""
        text = self.trailer("grpc-status")
        return None if text is None else int(text)

    @property
    def message(self):
        """What the status says."""
        return urllib.parse.unquote(self.trailer("grpc-message") or "")


class Http2Call:
    """A call to HOST:PORT. Nothing that it sends is checked, so that it may be wrong."""

    def __init__(self, target, path, headers, timeout=20):
        host, _, port = target.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        config = h2.config.H2Configuration(
            client_side=True, header_encoding=None, validate_outbound_headers=False,
            normalize_outbound_headers=False, validate_inbound_headers=False)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.answer = Answer()
        self.ended = False
        own = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", target),
            ("te", "trailers"), ("content-type", "application/grpc"), *headers.items(),
        ]
        self.connection.send_headers(1, own)
        self.flush()

    def send(self, data):
        """Sends bytes of the body, as the server's window allows."""
        while data and not self.ended:
            room = min(
                self.connection.local_flow_control_window(1),
                self.connection.max_outbound_frame_size, len(data))
            if room == 0:
                self.receive()
                continue
            self.connection.send_data(1, data[:room])
            data = data[room:]
            self.flush()

    def end(self):
        """Half-closes."""
        if not self.ended:
            self.connection.end_stream(1)
            self.flush()

    def finish(self):
        """Reads to the end of the call, and closes the connection."""
        body = b""
        while not self.ended:
            body += self.receive()
        self.socket.close()
        while len(body) >= 5:
            size = struct.unpack(">I", body[1:5])[0]
            self.answer.messages.append(body[5:5 + size])
            body = body[5 + size:]
        return self.answer

    def flush(self):
        try:
            self.socket.sendall(self.connection.data_to_send())
        except OSError:
            self.ended = self.answer.was_closed = True

    def receive(self):
        """Takes in what is there; returns the bytes of the body."""
        try:
            data = self.socket.recv(65_536)
        except ConnectionError:
            data = b""
        if not data:
            self.ended = self.answer.was_closed = True
            return b""
        body = b""
        for event in self.connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.answer.headers.update(text(event.headers))
            elif isinstance(event, h2.events.TrailersReceived):
                self.answer.trailers.update(text(event.headers))
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
                self.connection.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamReset):
                self.ended = self.answer.was_reset = True
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = True
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.ended = self.answer.was_closed = True
        if not self.ended:
            self.flush()
        return body


def text(headers):
    return {key.decode(): value.decode("latin-1") for key, value in headers}
