# SPDX-License-Identifier: Apache-2.0
"""Weights from a formula, so that tests can make a checkpoint again without storing it.

Element i of tensor n comes from z = mix(fnv1a64(n) + (i + 1) * 0x9E3779B97F4A7C15), mix being
SplitMix64's finaliser (Steele et al. 2014). u = (z >> 40) / 2^24 is uniform in [0, 1), and
unit = (2u - 1) * sqrt(3) has standard deviation 1. Then
  norms 1 + 0.2 unit, biases 0.1 unit, matrices 0.08 unit, each in doubles, rounded to 32 bits;
  FP8 elements: the byte (z >> 32) & 0xff, with 0x7f and 0xff (NaN) lowered by one;
  FP8 block scales 0.0008 (1 + u);
  codes: the byte (z >> 32) & 0xff of I8, the word z >> 32 of I32, those of zeros being
  (word & 0x33333333) + 0x66666666, which are zeros near the middle in 4 bits and in 8;
  scales of codes 0.0012 (1 + u).
Tests/TestSupport/SyntheticCheckpoint.swift is the same in Swift.
"""
import json
import struct

import numpy as np

MASK = (1 << 64) - 1


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def mixed(name, count):
    with np.errstate(over="ignore"):
        index = np.arange(1, count + 1, dtype=np.uint64)
        z = np.uint64(fnv1a64(name)) + index * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def values(name, shape):
    """The tensor as 32-bit floats."""
    count = int(np.prod(shape))
    u = (mixed(name, count) >> np.uint64(40)).astype(np.float64) / float(1 << 24)
    if name.endswith("_scale_inv"):
        result = 0.0008 * (1.0 + u)
    elif name.endswith("scale") or name.endswith("scales"):
        result = 0.0012 * (1.0 + u)
    else:
        unit = (2.0 * u - 1.0) * np.sqrt(3.0)
        if name.endswith("norm.weight"):
            result = 1.0 + 0.2 * unit
        elif name.endswith("bias"):
            result = 0.1 * unit
        else:
            result = 0.08 * unit
    return result.astype(np.float32).reshape(shape)


def fp8_bytes(name, shape):
    """The tensor as the bytes of F8_E4M3 elements, none of them NaN."""
    codes = ((mixed(name, int(np.prod(shape))) >> np.uint64(32)) & np.uint64(0xFF)).astype(np.uint8)
    return np.where((codes & 0x7F) == 0x7F, codes - 1, codes).astype(np.uint8).reshape(shape)


def code_bytes(name, shape):
    """The tensor as elements of I8."""
    codes = (mixed(name, int(np.prod(shape))) >> np.uint64(32)) & np.uint64(0xFF)
    return codes.astype(np.uint8).view(np.int8).reshape(shape)


def code_words(name, shape):
    """The tensor as elements of I32, each several codes or zeros."""
    words = (mixed(name, int(np.prod(shape))) >> np.uint64(32)).astype(np.uint32)
    if "zero" in name:
        words = (words & np.uint32(0x33333333)) + np.uint32(0x66666666)
    return words.view(np.int32).reshape(shape)


def read_shapes(path):
    """Name and shape of every tensor of a safetensors file."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {n: entry["shape"] for n, entry in sorted(header.items()) if n != "__metadata__"}
