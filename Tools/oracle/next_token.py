# SPDX-License-Identifier: Apache-2.0
"""What transformers' layer for multi-token prediction says of given tokens."""
import re

import torch
from transformers.modeling_layers import MtpModel


def after_next_logits(model, tokens):
    """f32 [tokens - 1, vocabulary]: row t is of the token at t + 2.

    `model` was loaded from a folder that still is there. Its class expects the layer of the
    released models, the 62nd, and is told where this one is.
    """
    layer = model.config.num_hidden_layers
    model._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{layer}\."]
    mtp = MtpModel.from_pretrained(model).eval()
    stored = {name for name, _ in mtp.named_parameters() if re.match(r"layers\.", name)}
    assert stored, "transformers made no layer for multi-token prediction"
    ids = torch.tensor([tokens])
    positions = torch.arange(1, len(tokens))[None]
    with torch.no_grad():
        hidden = model(ids, output_hidden_states=True).hidden_states[-1]
        after = mtp.forward_layer(0, hidden[:, :-1], positions, None, input_ids=ids[:, 1:])
        return mtp._project_to_logits(after)[0].float().numpy()
