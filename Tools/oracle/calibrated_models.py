# SPDX-License-Identifier: Apache-2.0
"""How the projections of the small models are stored in formats of calibrated weights: names,
shapes and dtypes of what a module holds, and its values by another way than Silica's."""
import json

import numpy as np
import torch
from compressed_tensors.quantization import QuantizationConfig

import calibrated
import synthetic


class Gptq:
    def __init__(self, bits, group, version):
        self.bits, self.group, self.version = bits, group, version

    def parts(self, shape):
        (rows, columns), per_word = shape, 32 // self.bits
        groups = -(-columns // self.group)
        return {
            "qweight": ([columns // per_word, rows], "I32"),
            "qzeros": ([groups, rows // per_word], "I32"),
            "scales": ([groups, rows], "F16"),
        }

    def value(self, parts, shape):
        return calibrated.gptq_value(parts, self.bits, self.group, self.version)

    def section(self):
        section = {
            "quant_method": "gptq", "bits": self.bits, "group_size": self.group, "sym": False,
            "desc_act": False}
        return section | ({"checkpoint_format": "gptq_v2"} if self.version == 2 else {})


class Awq:
    group = 64

    def parts(self, shape):
        (rows, columns), groups = shape, -(-shape[1] // self.group)
        return {
            "qweight": ([columns, rows // 8], "I32"),
            "qzeros": ([groups, rows // 8], "I32"),
            "scales": ([groups, rows], "F16"),
        }

    def value(self, parts, shape):
        return calibrated.awq_value(parts, self.group)

    def section(self):
        return {
            "quant_method": "awq", "bits": 4, "group_size": self.group, "zero_point": True,
            "version": "gemm", "modules_to_not_convert": ["lm_head"]}


class CompressedTensors:
    def __init__(self, form, **weights):
        self.form = form
        self.scheme = calibrated.scheme(["Linear"], **weights)

    def parts(self, shape):
        rows, columns = shape
        group = self.scheme.weights.group_size
        groups = columns // group if group else 1
        parts = {"weight_scale": ([rows, groups], "BF16")}
        if self.form == "pack-quantized":
            parts["weight_packed"] = ([rows, columns // 8], "I32")
            parts["weight_zero_point"] = ([-(-rows // 8), groups], "I32")
        else:
            parts["weight"] = (shape, "I8" if self.form == "int-quantized" else "F8_E4M3")
        return parts

    def value(self, parts, shape):
        tensors = {name: torch.from_numpy(np.array(part)) for name, part in parts.items()}
        if self.form == "float-quantized":
            tensors["weight"] = tensors["weight"].view(torch.float8_e4m3fn)
        if self.form == "pack-quantized":
            tensors["weight_shape"] = torch.tensor(shape)
        value = calibrated.compressed_tensors_value(tensors, self.scheme, self.form)
        return value.numpy()

    def section(self):
        config = QuantizationConfig(
            config_groups={"group_0": self.scheme}, format=self.form,
            ignore=["lm_head", "re:.*gate$"], quantization_status="compressed")
        return json.loads(config.model_dump_json())


FORMATS = {
    "gptq": Gptq(4, 32, 1),
    "gptq8": Gptq(8, 64, 2),
    "awq": Awq(),
    "int4": CompressedTensors(
        "pack-quantized", num_bits=4, strategy="group", group_size=32, symmetric=False),
    "w8a8": CompressedTensors("int-quantized", num_bits=8, strategy="channel"),
    "fp8": CompressedTensors("float-quantized", num_bits=8, type="float", strategy="channel"),
}


def is_calibrated(name):
    return "_proj" in name and name.endswith(".weight")


def entries(name, shape, form):
    """Name, shape and dtype of what is stored of a weight."""
    module = name.removesuffix(".weight")
    parts = FORMATS[form].parts(shape)
    return [[f"{module}.{part}", size, dtype] for part, (size, dtype) in parts.items()]


def stored(name, shape, dtype):
    """A stored tensor by the formula, as wide as it is stored."""
    match dtype:
        case "I32":
            return synthetic.code_words(name, shape)
        case "I8":
            return synthetic.code_bytes(name, shape)
        case "F8_E4M3":
            return synthetic.fp8_bytes(name, shape)
    values = torch.from_numpy(synthetic.values(name, shape))
    return values.to(torch.float16 if dtype == "F16" else torch.bfloat16).float().numpy()


def value(name, shape, form):
    """What the weight stands for, in f32."""
    module = name.removesuffix(".weight")
    parts = {
        entry.removeprefix(module + "."): stored(entry, size, dtype)
        for entry, size, dtype in entries(name, shape, form)
    }
    return torch.from_numpy(np.ascontiguousarray(FORMATS[form].value(parts, shape)))
