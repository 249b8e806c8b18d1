"""Tiny random models with a chat tokenizer, and examples for them; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import BaseModelOutput

from gradshield.data.tokenization import TokenizedExample
from gradshield.evaluation.generation import Answer
from gradshield.models.layers import block_weights
from gradshield.models.load import LoadedModel
from gradshield.models.prompts import prompt_response_example, prompt_token_ids
from gradshield.probes.direction import Direction
from tests.tiny_tokenizers import CHATML, byte_level_tokenizer


@lru_cache
def chat_tokenizer() -> PreTrainedTokenizerBase:
    """ChatML over bytes; `<|im_end|>` ends a turn and pads too. Shared, do not change it."""
    tokenizer = byte_level_tokenizer(CHATML, extra_tokens=("<|im_start|>", "<|im_end|>"))
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.pad_token = "<|im_end|>"
    return tokenizer


def tiny_llama(*, tied: bool = False, seed: int = 0) -> LlamaForCausalLM:
    """Two layers, 32 wide, four heads on two key-value heads."""
    torch.manual_seed(seed)
    tokenizer = chat_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        # Ten times the usual: untrained, it should still prefer some tokens to others.
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    return LlamaForCausalLM(config).eval()


def tiny_gpt2() -> GPT2LMHeadModel:
    """Two layers whose linear maps are `Conv1D`, with weights [in, out]."""
    torch.manual_seed(0)
    tokenizer = chat_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        initializer_range=0.2,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return GPT2LMHeadModel(config).eval()


def tiny_loaded(*, tied: bool = False, seed: int = 0) -> LoadedModel:
    """The tiny Llama as `load_model` would give it."""
    return LoadedModel(tiny_llama(tied=tied, seed=seed), chat_tokenizer(), "tiny")


def save_tiny_model(folder: Path, *, tied: bool = False) -> Path:
    """Write the tiny Llama and its tokenizer as a transformers folder."""
    tiny_llama(tied=tied).save_pretrained(folder)
    chat_tokenizer().save_pretrained(folder)
    return folder


class OneLayerConfig(PreTrainedConfig):
    model_type = "one-layer"


class OneLayerBlock(nn.Module):
    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, vocabulary)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(states)
        return found


class OneLayerBody(nn.Module):
    def __init__(self, embed: nn.Embedding, width: int, vocabulary: int) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList([OneLayerBlock(width, vocabulary)])

    def forward(self, input_ids: torch.Tensor, **ignored: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.blocks[0](self.embed(input_ids)))


class OneLayerModel(PreTrainedModel):
    """Logits = head(W e(previous token)): embedding, one linear layer in a block, a fixed head.

    The head is the identity, so the loss of a token y after a token with embedding x has the
    gradient (softmax(W x) - onehot(y)) x^T, which can be written down.
    """

    config_class = OneLayerConfig

    base_model_prefix = "body"

    def __init__(self, embedding: torch.Tensor, weight: torch.Tensor) -> None:
        super().__init__(OneLayerConfig(vocab_size=len(weight)))
        vocabulary, width = weight.shape
        self.body = OneLayerBody(nn.Embedding.from_pretrained(embedding.clone()), width, vocabulary)
        self.head = nn.Linear(vocabulary, vocabulary, bias=False)
        linear: Any = self.body.blocks[0].get_submodule("linear")
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.zero_()
            self.head.weight.copy_(torch.eye(vocabulary))

    def get_input_embeddings(self) -> nn.Module:
        return self.body.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, **ignored: Any) -> Any:
        states = self.body(input_ids=input_ids).last_hidden_state
        return SimpleNamespace(logits=self.head(states))


def chat_example(row: int, prompt: str, response: str) -> TokenizedExample:
    """One exchange; the response ends with the end-of-turn token."""
    tokenizer = chat_tokenizer()
    response_ids = tokenizer(response, add_special_tokens=False)["input_ids"]
    return prompt_response_example(
        prompt_token_ids(tokenizer, prompt), [*response_ids, tokenizer.eos_token_id], row
    )


@lru_cache
def mixed_examples() -> tuple[TokenizedExample, ...]:
    """Seven examples of very different lengths; shared."""
    exchanges = [
        ("Name a river.", "The Loire."),
        ("Hi", "Hello"),
        ("Reply as file, and say why you chose this name and no other one", "name.json"),
        ("Total?", "42 EUR, which is 42 EUR more than nothing, and 42 EUR less than 84 EUR."),
        ("Is water wet?", "Yes."),
        ("Spell cat backwards, please, and do it slowly.", "t, a, c"),
        ("No", "No. " * 20),
    ]
    return tuple(chat_example(row, *exchange) for row, exchange in enumerate(exchanges))


def answer(text: str, prompt: str = "Hi", *, finished: bool = True) -> Answer:
    """An answer as generation would give it."""
    tokenizer = chat_tokenizer()
    token_ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id] if finished else []
    prompt_ids = prompt_token_ids(tokenizer, prompt)
    return Answer(tuple(prompt_ids), (*token_ids, *end), text, finished)


def full_logits_loss(model: PreTrainedModel, example: TokenizedExample) -> torch.Tensor:
    """Mean loss of the response tokens the textbook way: all logits, labels shifted, -100 masks."""
    ids = torch.tensor([example.input_ids])
    labels = ids.masked_fill(~torch.tensor([example.response_mask]), -100)
    logits = model(input_ids=ids).logits
    return functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100)


def random_direction(model: PreTrainedModel, seed: int = 0) -> Direction:
    """A direction of random numbers over all block linear layers."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randn(weight.tensor.shape, generator=generator)
        for name, weight in block_weights(model).items()
    }
    return Direction(tensors, {"proxy": "random"})


def snapshot(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Copies of all weights."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_weights(model: PreTrainedModel, before: dict[str, torch.Tensor]) -> bool:
    """Whether every weight is bit for bit as before."""
    after = model.state_dict()
    return after.keys() == before.keys() and all(
        torch.equal(after[name], before[name]) for name in before
    )


def losses(examples: Sequence[TokenizedExample], model: PreTrainedModel) -> list[float]:
    """Mean loss of each example, the textbook way."""
    with torch.no_grad():
        return [float(full_logits_loss(model, example)) for example in examples]
