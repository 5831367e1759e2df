#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch beside Silica: the matrices of dense models, every layer with its own, and the attention
of torch.nn.functional. Decoding is one CUDA graph for a step, prefill one call for all tokens.

bf16 is torch.nn.functional.linear. fp8 is torch._scaled_mm in e4m3 with one scale for a tensor:
what it multiplies with is cast with a fixed scale, and rows are padded to 16, as it needs. There
is no rope, nothing is written to the cache, and nothing is compiled: less to do than a model has.
First the GPU's own rate by cuBLAS: 8192 x 8192 x 8192 in bf16, of random numbers.
"""
import argparse
import json
import sys

SHAPES = {
    "qwen-7b": dict(layers=28, hidden=3584, inner=18944, heads=28, keys=4, vocabulary=152064),
    "llama-8b": dict(layers=32, hidden=4096, inner=14336, heads=32, keys=8, vocabulary=128256),
    "tiny-qwen": dict(layers=4, hidden=128, inner=192, heads=8, keys=2, vocabulary=256),
}


def median_time(torch, run, repeats: int) -> float:
    """Seconds, after two runs that do not count."""
    times = []
    for index in range(repeats + 2):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        if index > 1:
            times.append(start.elapsed_time(end) / 1000)
    return sorted(times)[len(times) // 2]


def matrix_rate(torch) -> float:
    side = 8192
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / median_time(torch, lambda: a @ b.t(), 10)


class Model:
    """A dense model with random weights."""

    def __init__(self, torch, name: str, precision: str):
        self.torch, self.shape, self.is_fp8 = torch, SHAPES[name], precision == "fp8"
        self.hidden, self.heads = self.shape["hidden"], self.shape["heads"]
        self.keys, self.width = self.shape["keys"], self.shape["hidden"] // self.shape["heads"]
        self.one = torch.ones((), device="cuda")
        self.weight_scale = torch.full((), 0.02, device="cuda")
        inner, heads = self.shape["inner"], self.heads * self.width
        self.layers = [
            (self.matrix(heads + 2 * self.keys * self.width, self.hidden),
             self.matrix(self.hidden, heads), self.matrix(2 * inner, self.hidden),
             self.matrix(self.hidden, inner))
            for _ in range(self.shape["layers"])]
        self.head = self.matrix(self.shape["vocabulary"], self.hidden)
        self.norm = torch.ones(self.hidden, device="cuda", dtype=torch.bfloat16)

    def random(self, *size):
        return self.torch.randn(*size, device="cuda", dtype=self.torch.bfloat16)

    def matrix(self, *size):
        values = self.random(*size)
        return values.to(self.torch.float8_e4m3fn) if self.is_fp8 else values * 0.02

    def linear(self, x, weight):
        if not self.is_fp8:
            return self.torch.nn.functional.linear(x, weight)
        rows = x.shape[0]
        padded = self.torch.nn.functional.pad(x, (0, 0, 0, -rows % 16))
        return self.torch._scaled_mm(
            padded.to(self.torch.float8_e4m3fn), weight.t(), scale_a=self.one,
            scale_b=self.weight_scale, out_dtype=self.torch.bfloat16)[:rows]

    def run(self, x, attention):
        """What the last layer gives; `attention` makes its output of a layer's queries, keys and
        values."""
        functional = self.torch.nn.functional
        for index, (qkv, out, gate_up, down) in enumerate(self.layers):
            columns = self.linear(functional.rms_norm(x, (self.hidden,), self.norm), qkv)
            x = x + self.linear(attention(index, columns), out)
            gate, up = self.linear(
                functional.rms_norm(x, (self.hidden,), self.norm), gate_up).chunk(2, dim=1)
            x = x + self.linear(functional.silu(gate) * up, down)
        return x

    def decode(self, batch: int, context: int, repeats: int) -> float:
        functional, width = self.torch.nn.functional, self.width
        caches = [[self.random(batch, self.keys, context, width) for _ in range(2)]
                  for _ in self.layers]
        x = self.random(batch, self.hidden)

        def attention(index, columns):
            q = columns[:, : self.heads * width].view(batch, self.heads, 1, width)
            a = functional.scaled_dot_product_attention(q, *caches[index], enable_gqa=True)
            return a.reshape(batch, self.heads * width)

        def step():
            return self.linear(self.run(x, attention), self.head)

        step()
        self.torch.cuda.synchronize()
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            step()
        return median_time(self.torch, graph.replay, repeats)

    def prefill(self, tokens: int, repeats: int) -> float:
        functional, width = self.torch.nn.functional, self.width
        x = self.random(tokens, self.hidden)

        def attention(_, columns):
            parts = columns.view(1, tokens, -1, width).transpose(1, 2)
            q, k, v = parts.split([self.heads, self.keys, self.keys], dim=1)
            a = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            return a.transpose(1, 2).reshape(tokens, self.heads * width)

        return median_time(
            self.torch, lambda: self.linear(self.run(x, attention)[-1:], self.head), repeats)

    def prefill_flops(self, tokens: int) -> int:
        weights = sum(matrix.numel() for layer in self.layers for matrix in layer)
        pairs = tokens * (tokens + 1) // 2
        return (2 * weights * tokens + 2 * self.head.numel()
                + 4 * pairs * self.heads * self.width * len(self.layers))


class Report:
    def __init__(self, torch, path: str):
        self.path, self.engine = path, f"PyTorch {torch.__version__}"

    def add(self, text: str, **line) -> None:
        print(f"{self.engine}: {text}", flush=True)
        with open(self.path, "a", encoding="utf8") as file:
            file.write(json.dumps({"engine": self.engine, **line}) + "\n")


def measure(torch, report: Report, arguments, name: str, precision: str) -> None:
    model = Model(torch, name, precision)
    about = dict(model=name, precision=precision)
    for tokens in map(int, arguments.prefill.split(",")):
        seconds, flops = model.prefill(tokens, 5), model.prefill_flops(tokens)
        report.add(
            f"{name} {precision}, prefill of {tokens}: {tokens / seconds:.0f} tokens/s, "
            f"{flops / seconds / 1e12:.1f} TF/s", kind="prefill", tokens=tokens, flops=flops,
            ms=seconds * 1000, tokens_per_s=tokens / seconds, **about)
    for batch in map(int, arguments.batch.split(",")):
        seconds = model.decode(batch, arguments.context, 15)
        torch.cuda.empty_cache()
        report.add(
            f"{name} {precision}, batch {batch}, context {arguments.context}: step "
            f"{seconds * 1000:.3f} ms, {batch / seconds:.1f} tokens/s", kind="decode",
            batch=batch, context=arguments.context, step_ms=seconds * 1000,
            tokens_per_s=batch / seconds, **about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--json", required=True)
    parser.add_argument("--models", default="qwen-7b,llama-8b")
    parser.add_argument("--batch", default="1,4,8,16,32,64")
    parser.add_argument("--prefill", default="1024,4096")
    parser.add_argument("--context", type=int, default=1024)
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("note: this python3 has no torch, so nothing was compared with PyTorch")
        return
    if not torch.cuda.is_available():
        print("note: torch sees no GPU, so nothing was compared with PyTorch")
        return
    torch.cuda.set_device(arguments.device)
    report = Report(torch, arguments.json)
    with torch.no_grad():
        rate = matrix_rate(torch)
        report.add(f"cuBLAS multiplies {rate / 1e12:.1f} TF/s in bf16", kind="limits",
                   matrix_flops_per_s=rate)
        for name in arguments.models.split(","):
            for precision in ("bf16", "fp8"):
                measure(torch, report, arguments, name, precision)
                torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
