# SPDX-License-Identifier: Apache-2.0
"""The same model in several precisions, each a checkpoint on disk.

FP8 is DeepSeek-V3's format: e4m3 with one f32 scale for each block of 128 x 128 (arXiv 2412.19437,
section 3.3). 2:4 keeps the two largest of each four weights that are multiplied with neighbouring
inputs (arXiv 2104.08378), by magnitude and without training again.
"""
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import ml_dtypes
import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools/oracle"))
import deepseek_format as deepseek  # noqa: E402

BLOCK = 128
FP8_LARGEST = 448.0
# How each is stored, and what the server is told to compute with.
PRECISIONS = {"f32": "f32", "bf16": "bf16", "fp8 blocks": "auto", "w8": "w8", "w4": "w4"}
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]


@dataclasses.dataclass
class Variant:
    name: str
    precision: str
    is_sparse: bool
    folder: pathlib.Path
    # What else `silica logits` is given.
    options: tuple[str, ...] = ()

    @property
    def weight_bytes(self):
        """Of the files with weights."""
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))


def pruned(values):
    """`values` with the two smallest of each four in a row set to 0."""
    fours = values.reshape(len(values), -1, 4)
    order = numpy.argsort(-numpy.abs(fours), axis=-1, kind="stable")
    kept = numpy.zeros(fours.shape, dtype=bool)
    numpy.put_along_axis(kept, order[..., :2], True, axis=-1)
    return numpy.where(kept, fours, 0).reshape(values.shape)


def blocks_of_fp8(values):
    """Codes of e4m3 and the scales of their blocks, by which the codes are multiplied."""
    rows, columns = (-(-n // BLOCK) for n in values.shape)
    padded = numpy.zeros((rows * BLOCK, columns * BLOCK), dtype=numpy.float32)
    padded[:values.shape[0], :values.shape[1]] = values
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK)
    largest = numpy.abs(blocks).max(axis=(1, 3))
    scales = numpy.where(largest > 0, largest / FP8_LARGEST, 1).astype(numpy.float32)
    codes = (blocks / scales[:, None, :, None]).astype(ml_dtypes.float8_e4m3fn)
    codes = codes.reshape(padded.shape)[:values.shape[0], :values.shape[1]]
    return codes.view(numpy.uint8), scales


def stored_as(dtype, tensors):
    """The tensors of a checkpoint of that dtype."""
    result = {}
    for name, (own, values) in tensors.items():
        if dtype == "F8_E4M3" and deepseek.is_stored_in_fp8(name):
            codes, scales = blocks_of_fp8(values)
            result[name] = ("F8_E4M3", codes)
            result[name + "_scale_inv"] = ("F32", scales)
        else:
            result[name] = ("F32" if dtype == "F32" else own, values)
    return result


def write(model, folder, tensors, dtype):
    folder.mkdir(parents=True)
    config = json.loads((model / "config.json").read_text())
    if dtype == "F32":
        config["torch_dtype"] = "float32"
    if dtype == "F8_E4M3":
        config["quantization_config"] = {
            "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
            "weight_block_size": [BLOCK, BLOCK]}
    deepseek.write_json(folder / "config.json", config)
    for file in TOKENIZER_FILES:
        shutil.copy(model / file, folder / file)
    deepseek.write_file(folder / "model.safetensors", stored_as(dtype, tensors))


def make(model, work, silica):
    """Writes every variant of the checkpoint `model` into the new folder `work`."""
    shutil.rmtree(work, ignore_errors=True)
    dense = deepseek.read_file(model / "model.safetensors")
    sparse = {
        name: (dtype, pruned(values) if deepseek.is_stored_in_fp8(name) else values)
        for name, (dtype, values) in dense.items()}
    variants = []
    for is_sparse, tensors in ((False, dense), (True, sparse)):
        folders = {}
        for name, dtype in (("f32", "F32"), ("bf16", "BF16"), ("fp8 blocks", "F8_E4M3")):
            folders[name] = work / f"{name.replace(' ', '-')}{'-2to4' if is_sparse else ''}"
            write(model, folders[name], tensors, dtype)
        for name in ("w8", "w4"):
            folders[name] = work / f"{name}{'-2to4' if is_sparse else ''}"
            subprocess.run(
                [silica, "quantize", "--model", folders["bf16"], "--precision", name, "--out",
                 folders[name]], check=True, stdout=subprocess.DEVNULL)
        for name, precision in PRECISIONS.items():
            packed = "auto" if name in ("w8", "w4") else precision
            variants.append(Variant(
                name + (" + 2:4" if is_sparse else ""), packed, is_sparse, folders[name]))
    return variants
