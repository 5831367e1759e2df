# SPDX-License-Identifier: Apache-2.0
"""The numerics of DeepSeek's FP8 products, emulated in torch.

Activations: for each row and 128 channels s = max(|x|, 1e-4) / 448, or the next power of two with
`ue8m0`; the codes are x / s in e4m3. Products: for each 128 channels the exact sum of code times
code, rounded to f32 (a GPU's tensor cores keep fewer bits), then times the activations' scale and
the weights', and added to the others in f32, in order.
"""
import hashlib

import numpy as np
import torch

BLOCK = 128
plain_linear = torch.nn.functional.linear


def quantized(x, powers_of_two=False):
    """The codes of one block of columns, in doubles, and its scales, f32 [rows, 1]."""
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-4) / 448
    if powers_of_two:
        mantissa, exponent = torch.frexp(scale)
        exponent = torch.where(mantissa == 0.5, exponent - 1, exponent)
        scale = torch.ldexp(torch.ones_like(scale), exponent)
    return (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).double(), scale


def linear(x, codes, scales, powers_of_two=False):
    """x [rows, K] f32 times codes [N, K] e4m3 with scales [N / 128, K / 128], f32."""
    row_scales = scales.repeat_interleave(BLOCK, 0)[: codes.shape[0]]
    total = None
    for block, start in enumerate(range(0, x.shape[1], BLOCK)):
        part, scale = quantized(x[:, start : start + BLOCK], powers_of_two)
        exact = part @ codes[:, start : start + BLOCK].double().T
        scaled = exact.float() * scale * row_scales[:, block]
        total = scaled if total is None else total + scaled
    return total


def dequantized(codes, scales):
    blocks = scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    return codes.float() * blocks[: codes.shape[0], : codes.shape[1]]


def digest(weight):
    data = np.ascontiguousarray(weight.detach().numpy())
    return hashlib.sha256(str(data.shape).encode() + data.tobytes()).hexdigest()


class Products:
    """While it is entered, torch multiplies by the weights that `add` was given in FP8."""

    def __init__(self):
        self.parts = {}

    def add(self, *weights):
        """Weights, (codes, scales) each, whose values torch multiplies by as one matrix."""
        self.parts[digest(torch.cat([dequantized(*weight) for weight in weights]))] = weights

    def _linear(self, x, weight, bias=None):
        parts = self.parts.get(digest(weight))
        if parts is None:
            return plain_linear(x, weight, bias)
        rows = x.reshape(-1, x.shape[-1])
        result = torch.cat([linear(rows, *part) for part in parts], -1)
        result = result.reshape(*x.shape[:-1], -1)
        return result if bias is None else result + bias

    def __enter__(self):
        torch.nn.functional.linear = self._linear

    def __exit__(self, *_):
        torch.nn.functional.linear = plain_linear
