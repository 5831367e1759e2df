# SPDX-License-Identifier: Apache-2.0
"""HTTP/2, HPACK, gRPC and protobuf as bytes: just enough to say right and wrong things."""
import random
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4

HEADER_TABLE_SIZE, MAX_CONCURRENT, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = 1, 3, 4, 5, 6


def frame(kind, flags, stream, payload=b""):
    head = struct.pack(">I", len(payload))[1:]
    return head + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst_stream(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def hpack_integer(value, prefix, first=0):
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


def literal(name, value, indexed=False):
    """A header field in full; `indexed` adds it to the peer's table."""
    name, value = name.encode(), value if isinstance(value, bytes) else value.encode()
    head = bytes([0x40 if indexed else 0])
    return head + hpack_integer(len(name), 7) + name + hpack_integer(len(value), 7) + value


def request_headers(path="/silica.v1.Inference/Generate", *more):
    fields = [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
        ("te", "trailers"), ("content-type", "application/grpc"), *more,
    ]
    return b"".join(literal(name, value) for name, value in fields)


def message(body, flag=0):
    """A gRPC message: flag, length, body."""
    return struct.pack(">BI", flag, len(body)) + body


def varint(value):
    out = []
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


def field(number, content):
    """A protobuf field: bytes, or an integer."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def start(tokens, prompt=(5, 6, 7)):
    """A `Start` with greedy sampling that gives exactly so many tokens."""
    ids = field(1, b"".join(varint(token) for token in prompt))
    temperature = varint(1 << 3 | 5) + struct.pack("<f", 0)
    stopping = field(1, tokens) + field(5, 1)
    return field(3, ids) + field(5, temperature) + field(6, stopping)


def generate_request(tokens):
    return message(field(1, start(tokens)))


def generate_call(stream, tokens):
    """The frames of one `Generate` call."""
    return frame(HEADERS, END_HEADERS, stream, request_headers()) + frame(
        DATA, END_STREAM, stream, generate_request(tokens))


def session_call(stream, generations, tokens):
    """The frames of a `Session` with some generations, left open."""
    body = b"".join(
        message(field(1, number) + field(2, start(tokens)))
        for number in range(1, generations + 1))
    return frame(HEADERS, END_HEADERS, stream, request_headers("/silica.v1.Inference/Session")
                 ) + frame(DATA, 0, stream, body)


def hello(*pairs):
    """What a client says first."""
    return PREFACE + settings(*pairs)


class Windows:
    """What the server lets one connection send, from the frames that it sends itself."""

    def __init__(self):
        self.unread, self.connection, self.initial, self.streams = b"", 65_535, 65_535, {}

    def take(self, stream, size):
        """Whether so many bytes may be sent now; they count as sent."""
        used = self.streams.get(stream, 0)
        if self.connection < size or self.initial + used < size:
            return False
        self.connection -= size
        self.streams[stream] = used - size
        return True

    def receive(self, connection, seconds=0.01):
        """Takes in frames; false once the server has hung up."""
        connection.settimeout(seconds)
        try:
            data = connection.recv(1 << 16)
        except TimeoutError:
            return True
        except OSError:
            return False
        finally:
            connection.settimeout(0.5)
        self.unread += data
        while len(self.unread) >= 9:
            size = int.from_bytes(self.unread[:3], "big")
            if len(self.unread) < 9 + size:
                break
            self.apply(self.unread[:9], self.unread[9:9 + size], connection)
            self.unread = self.unread[9 + size:]
        return bool(data)

    def apply(self, head, payload, connection):
        stream = int.from_bytes(head[5:], "big")
        if head[3] == WINDOW_UPDATE and stream == 0:
            self.connection += int.from_bytes(payload, "big")
        elif head[3] == WINDOW_UPDATE:
            self.streams[stream] = self.streams.get(stream, 0) + int.from_bytes(payload, "big")
        elif head[3] == SETTINGS and not head[4] & ACK:
            for at in range(0, len(payload), 6):
                key, value = struct.unpack_from(">HI", payload, at)
                if key == INITIAL_WINDOW:
                    self.initial = value
            # A larger window counts from here on.
            connection.sendall(frame(SETTINGS, ACK, 0))


def mutate(data, random_: random.Random):
    """Valid bytes with some damage."""
    data = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 5, 30))):
        if not data:
            break
        at = random_.randrange(len(data))
        kind = random_.randrange(6)
        if kind == 0:
            data[at] ^= 1 << random_.randrange(8)
        elif kind == 1:
            data[at] = random_.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del data[at:at + random_.randrange(1, 20)]
        elif kind == 3:
            data[at:at] = random_.randbytes(random_.randrange(1, 20))
        elif kind == 4:
            piece = data[at:at + random_.randrange(1, 200)]
            data[at:at] = piece
        else:
            del data[at:]
    return bytes(data)
