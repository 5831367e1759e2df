# SPDX-License-Identifier: Apache-2.0
"""What is not gRPC, on the server's port: HOST:PORT. Ends when the server has taken all of it."""
import random
import signal
import socket
import struct
import sys

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def http2_frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream) + payload


def payloads(random_):
    """Bytes for one connection each."""
    for size in (1, 9, 24, 1000, 100_000):
        yield random_.randbytes(size)
        yield PREFACE + random_.randbytes(size)
        yield PREFACE + SETTINGS + random_.randbytes(size)
    yield b""
    yield PREFACE[:10]
    yield b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random_.randbytes(508)
    yield PREFACE + SETTINGS + http2_frame(1, 4, 1, random_.randbytes(200))
    yield PREFACE + SETTINGS + http2_frame(0, 0, 7, b"data of no stream")
    yield PREFACE + SETTINGS + http2_frame(9, 4, 1, b"continuation of nothing")
    for kind in range(12):
        payload = random_.randbytes(random_.randrange(64))
        yield PREFACE + SETTINGS + http2_frame(kind, random_.randrange(256), 1, payload)


def main():
    signal.alarm(60)
    host, _, port = sys.argv[1].rpartition(":")
    random_ = random.Random(20_26)
    kept = []
    for number, payload in enumerate(payloads(random_)):
        connection = socket.create_connection((host, int(port)), timeout=5)
        try:
            connection.sendall(payload)
            if number % 3 == 0:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.05)
            while connection.recv(65_536):
                pass
        except OSError:
            pass  # The server has nothing more to say, or hung up.
        # Some stay open and silent until the end; some are reset instead of closed.
        if number % 4 == 0:
            kept.append(connection)
        else:
            if number % 4 == 1:
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    for connection in kept:
        connection.close()


if __name__ == "__main__":
    main()
