# SPDX-License-Identifier: Apache-2.0
"""Python's protobuf, answering over standard input and output.

A request and an answer are frames: a length of 4 bytes, least first, and the bytes. A request is
an operation (one letter), a message's name, a newline, and the rest:

  R  the rest is a seed in decimal: a random message, encoded
  T  the rest is text format: that message, encoded
  P  the rest is an encoded message: "+" and what Python understood, encoded without unknown
     fields, or "-" when Python refuses it

"Encoded" is deterministic: maps in the order of their keys.
"""

import random
import struct
import sys

sys.path.insert(0, sys.argv[1])
import kinds_pb2  # noqa: E402
from google.protobuf import message as protobuf_message  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from google.protobuf.descriptor import FieldDescriptor as F  # noqa: E402

DEPTH_MAX = 3
INTEGERS = {
    F.TYPE_INT32: (32, True), F.TYPE_SINT32: (32, True), F.TYPE_SFIXED32: (32, True),
    F.TYPE_INT64: (64, True), F.TYPE_SINT64: (64, True), F.TYPE_SFIXED64: (64, True),
    F.TYPE_UINT32: (32, False), F.TYPE_FIXED32: (32, False),
    F.TYPE_UINT64: (64, False), F.TYPE_FIXED64: (64, False),
}
DOUBLES = [
    0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 5e-324, 1.7976931348623157e308
]
FLOATS = [0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 1e-45, 3.4028234663852886e38]
CHARACTERS = "aZ \x00\x7f\u0080\u07ff\u0800\uffff\U00010000\U0010ffff\u4f60\U0001f600"


def integer(rng, bits, signed):
    value = rng.getrandbits(rng.randrange(bits + 1))
    if rng.random() < 0.2:
        value = rng.choice([0, 1, 127, 128, (1 << bits) - 1, 1 << (bits - 1)])
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def scalar(rng, field):
    if field.type in INTEGERS:
        return integer(rng, *INTEGERS[field.type])
    if field.type == F.TYPE_DOUBLE:
        return rng.choice(DOUBLES + [rng.gauss(0, 1e6)])
    if field.type == F.TYPE_FLOAT:
        return rng.choice(FLOATS + [struct.unpack("f", struct.pack("f", rng.gauss(0, 1)))[0]])
    if field.type == F.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == F.TYPE_ENUM:
        return rng.choice([0, 1, 7, -3, integer(rng, 32, True)])
    length = rng.choice([0, 1, 3, 20, 200])
    if field.type == F.TYPE_STRING:
        return "".join(rng.choice(CHARACTERS) for _ in range(length))
    return rng.randbytes(length)


def fill_map(rng, message, field, depth):
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    target = getattr(message, field.name)
    for _ in range(rng.choice([0, 1, 2, 2 if value.message_type else 6])):
        if value.message_type:
            fill(rng, target[scalar(rng, key)], depth + 1)
        else:
            target[scalar(rng, key)] = scalar(rng, value)


def fill(rng, message, depth=0):
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.5 or (field.message_type and depth >= DEPTH_MAX):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            fill_map(rng, message, field, depth)
        elif field.is_repeated:
            for _ in range(rng.choice([1, 2, 2 if field.message_type else 9])):
                if field.message_type:
                    fill(rng, getattr(message, field.name).add(), depth + 1)
                else:
                    getattr(message, field.name).append(scalar(rng, field))
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            fill(rng, getattr(message, field.name), depth + 1)
        else:
            setattr(message, field.name, scalar(rng, field))


def answer(operation, cls, rest):
    message = cls()
    if operation == b"R":
        fill(random.Random(int(rest)), message)
    elif operation == b"T":
        text_format.Parse(rest.decode(), message)
    else:
        try:
            message.ParseFromString(rest)
        except protobuf_message.DecodeError:
            return b"-"
        message.DiscardUnknownFields()
        return b"+" + message.SerializeToString(deterministic=True)
    return message.SerializeToString(deterministic=True)


def main():
    read, write = sys.stdin.buffer.read, sys.stdout.buffer
    while header := read(4):
        request = read(struct.unpack("<I", header)[0])
        name, rest = request[1:].split(b"\n", 1)
        reply = answer(request[:1], getattr(kinds_pb2, name.decode()), rest)
        write.write(struct.pack("<I", len(reply)) + reply)
        write.flush()


main()
