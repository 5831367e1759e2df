# SPDX-License-Identifier: Apache-2.0
"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for matrices, AdamW for the rest."""
import torch


def orthogonalised(gradient):
    """Nearly the closest matrix with orthogonal rows or columns, for each of a stack of matrices.

    Five Newton-Schulz steps with Muon's coefficients, in bf16.
    """
    x = gradient.bfloat16()
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT if is_tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if is_tall else x).float()


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonalised momentum of a matrix or a stack of them."""

    def __init__(self, parameters, rate, momentum=0.95, decay=0.0):
        super().__init__(parameters, {"lr": rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                direction = parameter.grad.lerp(momentum, group["momentum"])
                rows, columns = parameter.shape[-2:]
                scale = group["lr"] * max(1, rows / columns) ** 0.5
                parameter.mul_(1 - group["lr"] * group["decay"])
                parameter.add_(orthogonalised(direction), alpha=-scale)


def optimizers(model, matrix_rate, other_rate):
    """Muon for matrices inside of layers, AdamW for embeddings, head, routers and norms."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim > 1 and name.startswith("layers.") and "mlp.gate." not in name
        (matrices if is_matrix else others).append(parameter)
    return [
        Muon(matrices, matrix_rate, decay=0.1),
        torch.optim.AdamW(others, other_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
