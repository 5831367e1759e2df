# SPDX-License-Identifier: Apache-2.0
"""DeepSeek-V3 (arXiv 2412.19437) for training: the names and the maths of Hugging Face's model.

Latent attention is expanded, experts are taken by sorting tokens, and the layer for multi-token
prediction runs beside the rest. Matrices are multiplied in bf16, the router in f32.
"""
import torch
from torch import nn
from torch.nn import functional as F

CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 768,
    "kv_lora_rank": 128,
    "max_position_embeddings": 1024,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 128,
    "moe_layer_freq": 1,
    "n_group": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 5,
    "num_key_value_heads": 4,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 128,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 2,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "v_head_dim": 128,
    "vocab_size": 3072,
}
C = CONFIG
HIDDEN, HEADS = C["hidden_size"], C["num_attention_heads"]
ROW_UNIT = 64  # Rows of a product come in whole numbers of these.
NOPE, ROPE, VALUE = C["qk_nope_head_dim"], C["qk_rope_head_dim"], C["v_head_dim"]


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, C["rms_norm_eps"])


def linear(inputs, outputs, scale=1.0):
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=scale * inputs**-0.5)
    return layer


def rope_tables(length):
    """cos and sin of each position's angles, [length, ROPE / 2]."""
    frequencies = C["rope_theta"] ** (-torch.arange(0, ROPE, 2).float() / ROPE)
    angles = torch.arange(length).float()[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x, tables):
    """Turns the pairs (2i, 2i + 1) of the last axis of x, [..., length, ROPE]."""
    cos, sin = tables
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class Attention(nn.Module):
    """x, [batch, length, HIDDEN], attends to what is before it."""

    def __init__(self):
        super().__init__()
        query_rank, rank = C["q_lora_rank"], C["kv_lora_rank"]
        self.q_a_proj = linear(HIDDEN, query_rank)
        self.q_a_layernorm = RMSNorm(query_rank)
        self.q_b_proj = linear(query_rank, HEADS * (NOPE + ROPE))
        self.kv_a_proj_with_mqa = linear(HIDDEN, rank + ROPE)
        self.kv_a_layernorm = RMSNorm(rank)
        self.kv_b_proj = linear(rank, HEADS * (NOPE + VALUE))
        self.o_proj = linear(HEADS * VALUE, HIDDEN, 0.3)

    def forward(self, x, tables):
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        q_nope, q_rope = q.split([NOPE, ROPE], -1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([C["kv_lora_rank"], ROPE], -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent))
        k_nope, v = kv.unflatten(-1, (HEADS, -1)).transpose(1, 2).split([NOPE, VALUE], -1)
        k_rope = rotate(k_rope[:, None], tables).to(v.dtype).expand(-1, HEADS, -1, -1)
        q = torch.cat([q_nope, rotate(q_rope, tables).to(v.dtype)], -1)
        k = torch.cat([k_nope, k_rope], -1)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gate_proj, self.up_proj = linear(HIDDEN, width), linear(HIDDEN, width)
        self.down_proj = linear(width, HIDDEN, 0.3)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Router(nn.Module):
    """Sigmoid scores; a bias that only chooses balances the load without a loss (noaux_tc)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(C["n_routed_experts"], HIDDEN) * HIDDEN**-0.5)
        self.register_buffer("e_score_correction_bias", torch.zeros(C["n_routed_experts"]))
        self.load = torch.zeros(C["n_routed_experts"])

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            scores = F.linear(x.float(), self.weight).sigmoid()
        choice = (scores + self.e_score_correction_bias).detach()
        groups = choice.unflatten(-1, (C["n_group"], -1))
        kept = groups.topk(2, -1)[0].sum(-1).topk(C["topk_group"], -1)[1]
        outside = torch.ones_like(groups[..., 0], dtype=torch.bool).scatter(1, kept, False)
        choice = groups.masked_fill(outside[..., None], float("-inf")).flatten(-2)
        experts = choice.topk(C["num_experts_per_tok"], -1)[1]
        self.load += torch.bincount(experts.flatten(), minlength=C["n_routed_experts"])
        weights = scores.gather(1, experts)
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return experts, weights * C["routed_scaling_factor"]

    @torch.no_grad()
    def balance(self, rate):
        """Moves the bias of each expert towards an even load of the steps since the last call."""
        self.e_score_correction_bias += rate * (self.load.mean() - self.load).sign()
        self.load.zero_()


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        count, width = C["n_routed_experts"], C["moe_intermediate_size"]
        self.gate_up_proj = nn.Parameter(torch.randn(count, 2 * width, HIDDEN) * HIDDEN**-0.5)
        self.down_proj = nn.Parameter(torch.randn(count, HIDDEN, width) * 0.15 * width**-0.5)

    def forward(self, x, experts, weights):
        chosen, scale = experts.flatten(), weights.flatten()
        order = chosen.argsort(stable=True)
        counts = torch.bincount(chosen, minlength=len(self.down_proj)).tolist()
        result = torch.zeros(x.shape)
        for index, part in enumerate(order.split(counts)):
            # A few sizes only: a matrix product of a new one is compiled first.
            rows = F.pad(part // experts.shape[1], (0, -len(part) % ROW_UNIT))
            gate, up = F.linear(x[rows], self.gate_up_proj[index]).chunk(2, -1)
            outputs = F.linear(F.silu(gate) * up, self.down_proj[index])[:len(part)]
            scaled = outputs.float() * scale[part][:, None]
            result = result.index_add(0, rows[:len(part)], scaled)
        return result


class MixtureOfExperts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.experts = Router(), Experts()
        self.shared_experts = MLP(C["n_shared_experts"] * C["moe_intermediate_size"])

    def forward(self, x):
        flat = x.flatten(0, 1)
        return self.experts(flat, *self.gate(flat)).view(x.shape) + self.shared_experts(x)


class Layer(nn.Module):
    def __init__(self, is_dense):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(HIDDEN), RMSNorm(HIDDEN)
        self.self_attn = Attention()
        self.mlp = MLP(C["intermediate_size"]) if is_dense else MixtureOfExperts()

    def forward(self, x, tables):
        x = x + self.self_attn(self.input_layernorm(x), tables)
        return x + self.mlp(self.post_attention_layernorm(x))


class NextTokenLayer(Layer):
    """One more layer, for the token after the next (multi-token prediction, section 2.2)."""

    def __init__(self):
        super().__init__(is_dense=False)
        self.enorm, self.hnorm = RMSNorm(HIDDEN), RMSNorm(HIDDEN)
        self.eh_proj = linear(2 * HIDDEN, HIDDEN)
        self.shared_head = nn.ModuleDict({"norm": RMSNorm(HIDDEN)})

    def forward(self, next_embedding, hidden, tables):
        x = self.eh_proj(torch.cat([self.enorm(next_embedding), self.hnorm(hidden)], -1))
        return self.shared_head["norm"](super().forward(x.float(), tables))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        count = C["num_hidden_layers"]
        self.embed_tokens = nn.Embedding(C["vocab_size"], HIDDEN)
        nn.init.normal_(self.embed_tokens.weight, std=0.5)
        layers = [Layer(index < C["first_k_dense_replace"]) for index in range(count)]
        self.layers = nn.ModuleList([*layers, NextTokenLayer()])
        self.norm = RMSNorm(HIDDEN)
        self.lm_head = linear(HIDDEN, C["vocab_size"])

    def forward(self, tokens):
        """The hidden states for the next token [batch, length, HIDDEN], and for the one after it
        [batch, length - 1, HIDDEN]; `lm_head` makes logits of both."""
        tables = rope_tables(tokens.shape[1])
        x = embeddings = self.embed_tokens(tokens)
        for layer in self.layers[:-1]:
            x = layer(x, tables)
        hidden = self.norm(x)
        shorter = tuple(table[:-1] for table in tables)
        return hidden, self.layers[-1](embeddings[:, 1:], hidden[:, :-1], shorter)

    def routers(self):
        return [module for module in self.modules() if isinstance(module, Router)]

    def load(self, tensors):
        """Takes the weights of a checkpoint, as `checkpoint` gives them."""
        count, state = C["n_routed_experts"], self.state_dict()

        def stored(name):
            return torch.from_numpy(tensors[name][1].copy())

        for name in state:
            base = name if name.startswith("lm_head") else f"model.{name}"
            prefix, _, last = base.rpartition("experts.")
            if last == "gate_up_proj":
                state[name] = torch.stack([torch.cat([
                    stored(f"{prefix}experts.{index}.{half}_proj.weight")
                    for half in ("gate", "up")]) for index in range(count)])
            elif last == "down_proj":
                state[name] = torch.stack([
                    stored(f"{prefix}experts.{index}.down_proj.weight")
                    for index in range(count)])
            else:
                state[name] = stored(base)
        self.load_state_dict(state)

    def checkpoint(self):
        """Name to (dtype, f32 values) as Hugging Face stores them: one matrix for each expert."""
        tensors = {}
        for name, value in self.state_dict().items():
            values = value.detach().float().numpy()
            base = name if name.startswith("lm_head") else f"model.{name}"
            if base.endswith("experts.gate_up_proj"):
                for index, expert in enumerate(values):
                    gate, up = expert.reshape(2, -1, HIDDEN)
                    prefix = base.replace("gate_up_proj", str(index))
                    tensors[f"{prefix}.gate_proj.weight"] = ("BF16", gate)
                    tensors[f"{prefix}.up_proj.weight"] = ("BF16", up)
            elif base.endswith("experts.down_proj"):
                for index, expert in enumerate(values):
                    prefix = base.replace("down_proj", str(index))
                    tensors[f"{prefix}.down_proj.weight"] = ("BF16", expert)
            else:
                is_bias = base.endswith("e_score_correction_bias")
                tensors[base] = ("F32" if is_bias else "BF16", values)
        return tensors
