#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A step of decoding in PyTorch, to stand beside Silica's: the matrices of a dense model in bf16,
the attention of torch.nn.functional, batch 1 and 32, as one CUDA graph. Weights are random, and
one layer's are those of all, so that caches help PyTorch if anything."""
import argparse
import json
import sys

SHAPES = {
    "qwen-7b": dict(layers=28, hidden=3584, inner=18944, heads=28, keys=4, vocabulary=152064),
    "llama-8b": dict(layers=32, hidden=4096, inner=14336, heads=32, keys=8, vocabulary=128256),
}
CONTEXT = 1024


def step_time(torch, shape: dict, batch: int) -> float:
    functional = torch.nn.functional
    hidden, inner, heads, keys = (shape[k] for k in ("hidden", "inner", "heads", "keys"))
    width = 128

    def random(*size):
        return torch.randn(*size, device="cuda", dtype=torch.bfloat16) * 0.02

    layers = []
    for _ in range(shape["layers"]):
        layers.append((
            random((heads + 2 * keys) * width, hidden), random(hidden, heads * width),
            random(2 * inner, hidden), random(hidden, inner),
            random(batch, keys, CONTEXT, width), random(batch, keys, CONTEXT, width)))
    head, norm = random(shape["vocabulary"], hidden), random(hidden)
    x = random(batch, hidden)

    def step():
        h = x
        for qkv, out, gate_up, down, k, v in layers:
            q = functional.linear(functional.rms_norm(h, (hidden,), norm), qkv)
            q = q[:, : heads * width].view(batch, heads, 1, width)
            a = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            h = h + functional.linear(a.reshape(batch, heads * width), out)
            gate, up = functional.linear(
                functional.rms_norm(h, (hidden,), norm), gate_up).chunk(2, dim=1)
            h = h + functional.linear(functional.silu(gate) * up, down)
        return functional.linear(h, head)

    with torch.no_grad():
        for _ in range(3):
            step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        times = []
        for _ in range(30):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2] / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--json", required=True)
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
    for name, shape in SHAPES.items():
        for batch in (1, 32):
            seconds = step_time(torch, shape, batch)
            torch.cuda.empty_cache()
            print(f"PyTorch {torch.__version__} {name} bf16, batch {batch}, context {CONTEXT}: "
                  f"step {seconds * 1000:.3f} ms, {batch / seconds:.1f} tokens/s")
            with open(arguments.json, "a", encoding="utf8") as file:
                file.write(json.dumps({
                    "peer": f"torch {torch.__version__}", "model": name, "precision": "bf16",
                    "batch": batch, "context": CONTEXT, "step_ms": seconds * 1000,
                    "tokens_per_s": batch / seconds}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
