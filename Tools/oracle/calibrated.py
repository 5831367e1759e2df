# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of calibrated weights: how GPTQ and AWQ pack codes, written from the formats'
definitions, and what compressed-tensors' own package makes of its files.

GPTQ: `qweight[k / n, r]` holds the codes of columns k ... k + n - 1 of row r, the first in the low
bits; `qzeros[g, r / n]` those of the zeros of n rows, each less one in the first version of the
format; `scales[g, r]`; `g_idx[k]` the group of a column.
AWQ: `qweight[k, r / 8]` holds the codes of rows r ... r + 7 of column k, half byte i being that of
row r + ORDER[i]; `qzeros` alike, the zeros as they are; `scales[g, r]`.
A weight is (code - zero) * scale. The stored goldens of the first version of GPTQ and of AWQ were
once compared with what auto-gptq 0.7.1 (qlinear_cuda_old on a CPU) and autoawq 0.2.7.post3
(packing_utils) make of them: the values were the same.
"""
import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def pack(codes, bits, order=None):
    """Codes [..., n * m] to words [..., m], n = 32 / bits along the last dimension."""
    per_word = 32 // bits
    parts = codes.reshape(*codes.shape[:-1], -1, per_word).astype(np.uint32)
    words = np.zeros(parts.shape[:-1], dtype=np.uint32)
    for place, element in enumerate(order or range(per_word)):
        words |= parts[..., element] << np.uint32(bits * place)
    return words.view(np.int32)


def unpack(words, bits, order=None):
    """The reverse of pack."""
    per_word = 32 // bits
    parts = np.zeros((*words.shape, per_word), dtype=np.uint32)
    for place, element in enumerate(order or range(per_word)):
        parts[..., element] = words.view(np.uint32) >> np.uint32(bits * place) & (2**bits - 1)
    return parts.reshape(*words.shape[:-1], -1).astype(np.int32)


def dequantized(codes, zeros, scales, groups):
    """All [rows, columns or groups], `groups` of each column; f32, rounded once."""
    return (codes - zeros[:, groups]).astype(np.float32) * scales.astype(np.float32)[:, groups]


def gptq_parts(codes, zeros, scales, groups, bits, version):
    """What a module of a GPTQ checkpoint holds."""
    stored_zeros = zeros - 1 if version == 1 else zeros
    return {
        "qweight": np.ascontiguousarray(pack(codes, bits).T),
        "qzeros": pack(stored_zeros.T, bits),
        "scales": np.ascontiguousarray(scales.T),
        "g_idx": groups.astype(np.int32),
    }


def gptq_value(parts, bits, group, version):
    codes = unpack(np.ascontiguousarray(parts["qweight"].T), bits)
    zeros = unpack(parts["qzeros"], bits).T + (1 if version == 1 else 0)
    groups = parts.get("g_idx", np.arange(codes.shape[1]) // group)
    return dequantized(codes, zeros % 2**bits, parts["scales"].T, groups)


def awq_parts(codes, zeros, scales):
    return {
        "qweight": pack(codes.T, 4, ORDER),
        "qzeros": pack(zeros.T, 4, ORDER),
        "scales": np.ascontiguousarray(scales.T),
    }


def awq_value(parts, group):
    codes = unpack(parts["qweight"], 4, ORDER).T
    groups = np.arange(codes.shape[1]) // group
    return dequantized(codes, unpack(parts["qzeros"], 4, ORDER).T, parts["scales"].T, groups)


def scheme(targets, activations=None, **weights):
    """A group of compressed-tensors' configuration."""
    return QuantizationScheme(
        targets=targets,
        weights=QuantizationArgs(**weights),
        input_activations=QuantizationArgs(**activations) if activations else None,
    )


def compressed_tensors_parts(weight, scale, zero, scheme, form):
    """What the package stores for a module."""
    state = {"weight": weight, "weight_scale": scale}
    if zero is not None:
        state["weight_zero_point"] = zero
    return BaseCompressor.get_value_from_registry(form).compress(state, scheme)


def compressed_tensors_value(parts, scheme, form):
    """What the package makes of a module, its scales being wide enough for an exact product."""
    parts = dict(parts, weight_scale=parts["weight_scale"].float())
    return BaseCompressor.get_value_from_registry(form).decompress(parts, scheme)["weight"].float()
