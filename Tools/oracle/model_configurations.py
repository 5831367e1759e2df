# SPDX-License-Identifier: Apache-2.0
"""The models whose logits are stored: small, and each stressing another path."""
from transformers import DeepseekV2Config, DeepseekV3Config, LlamaConfig, Qwen2Config

COMMON = dict(
    vocab_size=256,
    hidden_size=128,
    max_position_embeddings=512,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=None,
)
DENSE = dict(
    COMMON,
    intermediate_size=192,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=2,
)
LATENT = dict(
    COMMON,
    num_attention_heads=4,
    num_key_value_heads=4,
    kv_lora_rank=64,
    qk_nope_head_dim=32,
    qk_rope_head_dim=16,
    v_head_dim=32,
    intermediate_size=192,
    moe_intermediate_size=64,
)


def yarn(mscale, mscale_all_dim, **more):
    return dict(
        rope_type="yarn",
        rope_theta=1e4,
        factor=40.0,
        beta_fast=32,
        beta_slow=1,
        mscale=mscale,
        mscale_all_dim=mscale_all_dim,
        original_max_position_embeddings=64,
        **more,
    )


def v2(**more):
    return DeepseekV2Config(
        **{
            **LATENT,
            **dict(
                num_hidden_layers=3,
                q_lora_rank=None,
                n_routed_experts=8,
                num_experts_per_tok=3,
                n_shared_experts=2,
                first_k_dense_replace=1,
                topk_method="greedy",
                norm_topk_prob=False,
                routed_scaling_factor=1.0,
                rope_parameters=yarn(0.707, 0.707),
            ),
            **more,
        }
    )


V2_GROUPS = dict(
    q_lora_rank=96,
    n_routed_experts=16,
    num_experts_per_tok=4,
    n_group=4,
    topk_group=2,
    topk_method="group_limited_greedy",
    routed_scaling_factor=16.0,
    rope_parameters=yarn(1.0, 1.0),
)


def v3(**more):
    return DeepseekV3Config(
        **{
            **LATENT,
            **dict(
                num_hidden_layers=3,
                q_lora_rank=96,
                n_routed_experts=16,
                num_experts_per_tok=4,
                n_group=4,
                topk_group=2,
                n_shared_experts=1,
                first_k_dense_replace=1,
                norm_topk_prob=True,
                routed_scaling_factor=2.5,
                rope_parameters=yarn(1.0, 1.0),
            ),
            **more,
        }
    )


PLAIN = dict(rope_type="default", rope_theta=1e4)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=5e5,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)

# name: (configuration, how it is stored). `hub` writes config.json in the older dialect; `type` is
# the dtype of matrices; `calibrated` stores projections as calibrated_models.py says; `mtp` adds
# the layer for multi-token prediction; `shards` splits the file.
MODELS = {
    "qwen2": (Qwen2Config(**DENSE, tie_word_embeddings=False, rope_parameters=PLAIN), {}),
    "qwen2-tied": (
        Qwen2Config(**DENSE, tie_word_embeddings=True, rope_parameters=dict(PLAIN, rope_theta=1e6)),
        {"hub": True},
    ),
    "qwen2-deep": (
        Qwen2Config(**{**DENSE, "num_hidden_layers": 8}, rope_parameters=PLAIN),
        {"type": "F16", "shards": 3},
    ),
    "llama3": (LlamaConfig(**DENSE, rope_parameters=LLAMA3), {}),
    "llama3-hub": (LlamaConfig(**DENSE, rope_parameters=LLAMA3, rms_norm_eps=1e-5), {"hub": True}),
    "llama-biased": (
        LlamaConfig(
            **{**DENSE, "num_key_value_heads": 1},
            head_dim=24,
            attention_bias=True,
            mlp_bias=True,
            rope_parameters=PLAIN,
        ),
        {},
    ),
    "llama-yarn": (
        LlamaConfig(
            **{**DENSE, "num_key_value_heads": 8},
            rope_parameters=dict(
                rope_type="yarn",
                rope_theta=1e4,
                factor=8.0,
                original_max_position_embeddings=64,
                truncate=False,
            ),
        ),
        {},
    ),
    "v2-lite": (v2(), {}),
    "v2-lite-hub": (v2(), {"hub": True, "type": "BF16"}),
    "v2-groups": (v2(**V2_GROUPS), {}),
    "v2-attention-factor": (v2(rope_parameters=yarn(0.7, 0.5, attention_factor=0.9)), {}),
    "v3": (v3(num_hidden_layers=4), {}),
    "v3-hub-mtp": (v3(), {"hub": True, "mtp": True, "shards": 2}),
    "v3-no-query-rank": (
        v3(q_lora_rank=None, n_group=1, topk_group=1, norm_topk_prob=False, rope_parameters=PLAIN),
        {},
    ),
    "v3-mscale": (v3(rope_parameters=yarn(1.3, 0.8), n_shared_experts=2), {}),
    "v3-deep": (v3(num_hidden_layers=8, first_k_dense_replace=0), {}),
    "v3-dense-biased": (
        v3(first_k_dense_replace=3, attention_bias=True, rms_norm_eps=1e-4),
        {},
    ),
    "v3-halves": (v3(rope_interleave=False), {}),
    "v3-fp8": (
        v3(kv_lora_rank=144, hidden_size=192, intermediate_size=320, moe_intermediate_size=96),
        {"hub": True, "type": "F8_E4M3"},
    ),
    "v3-real-heads": (
        v3(
            hidden_size=256,
            num_hidden_layers=2,
            kv_lora_rank=512,
            qk_nope_head_dim=128,
            qk_rope_head_dim=64,
            v_head_dim=128,
        ),
        {"type": "BF16"},
    ),
    "qwen2-gptq": (Qwen2Config(**DENSE, rope_parameters=PLAIN), {"calibrated": "gptq"}),
    "llama-gptq8": (LlamaConfig(**DENSE, rope_parameters=LLAMA3), {"calibrated": "gptq8"}),
    "qwen2-awq": (Qwen2Config(**DENSE, rope_parameters=PLAIN), {"calibrated": "awq"}),
    "v3-int4": (v3(num_hidden_layers=2), {"calibrated": "int4", "type": "BF16"}),
    "v2-w8a8": (v2(num_hidden_layers=2), {"calibrated": "w8a8", "type": "BF16", "shards": 2}),
    "llama-fp8": (LlamaConfig(**DENSE, rope_parameters=PLAIN), {"calibrated": "fp8"}),
}
