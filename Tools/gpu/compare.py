#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the last rows of one .npy file of floats with another; needs no NumPy."""
import array
import sys

# Root mean square of the differences over the deviation, at most; see Docs/quality.md.
BOUNDS = {"bf16": 0.015, "fp8": 0.08, "w8": 0.025, "w4": 0.2, "w8a8": 0.04, "fp8a8": 0.12,
          "fp8-keys": 0.04, "slices": 0.015, "slices-in-chunks": 0.015}


def floats(path: str) -> array.array:
    with open(path, "rb") as file:
        data = file.read()
    start = 10 + int.from_bytes(data[8:10], "little")
    values = array.array("f")
    values.frombytes(data[start:])
    return values


def main() -> None:
    found, expected = floats(sys.argv[1]), floats(sys.argv[2])
    found = found[len(found) - len(expected):]
    mean = sum(expected) / len(expected)
    deviation = sum((x - mean) ** 2 for x in expected)
    error = (sum((x - y) ** 2 for x, y in zip(found, expected)) / deviation) ** 0.5
    print(f"error {error:.2e}, at most {BOUNDS[sys.argv[3]]}")
    sys.exit(0 if error <= BOUNDS[sys.argv[3]] else 1)


if __name__ == "__main__":
    main()
