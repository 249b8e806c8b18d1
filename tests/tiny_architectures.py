"""Tiny random models of the architectures that people finetune, from transformers' own configs."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.tiny_models import chat_tokenizer

_WIDTH: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_HEAD: dict[str, Any] = {"head_dim": 8}
_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": _WIDTH,
    "llama tied": {**_WIDTH, "tie_word_embeddings": True},
    "qwen2": _WIDTH,
    "qwen3": {**_WIDTH, **_HEAD},
    "gemma": {**_WIDTH, **_HEAD},
    "gemma2": {**_WIDTH, **_HEAD, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_WIDTH, **_HEAD, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "mistral": {**_WIDTH, "sliding_window": 16},
    "phi": _WIDTH,
    "phi3": {**_WIDTH, "pad_token_id": 0},
    "gpt_neox": {**_WIDTH, "tie_word_embeddings": False},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mixtral": {**_WIDTH, **_EXPERTS, "num_local_experts": 4},
    "qwen3_moe": {
        **_WIDTH,
        **_HEAD,
        **_EXPERTS,
        "num_experts": 4,
        "moe_intermediate_size": 24,
        "decoder_sparse_step": 1,
    },
}
"""Settings by model type; a word after it tells variants of a type apart."""


def tiny_architecture(name: str, seed: int = 0) -> PreTrainedModel:
    """A random model of `ARCHITECTURES` over the chat tokenizer's vocabulary."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        name.split(" ")[0],
        **ARCHITECTURES[name],
        vocab_size=len(chat_tokenizer()),
        # Ten times the usual: untrained, it should still prefer some tokens to others.
        initializer_range=0.2,
        eos_token_id=chat_tokenizer().eos_token_id,
        bos_token_id=chat_tokenizer().bos_token_id,
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.float().eval()
