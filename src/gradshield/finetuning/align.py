"""Make an aligned model to start from: FIHS presumes a model that refuses.

The recipe trains on three parts (harmful prompts with varied refusals, ordinary prompts with the
model's own answers, harmless-but-scary prompts with helpful answers), then cuts the change of the
weights to a small LoRA adapter.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.data.tokenization import TokenizedExample
from gradshield.evaluation.generation import Answer, generate_answers
from gradshield.finetuning.compression import LowRankChange, compress_change, save_as_adapter
from gradshield.finetuning.supervised import TrainingSettings, finetune
from gradshield.models.layers import block_linear_layers
from gradshield.models.load import LoadedModel
from gradshield.models.prompts import prompt_response_example, prompt_token_ids
from gradshield.probes.prompt_sets import load_prompts, spread
from gradshield.progress import Progress

BYTES_PER_NUMBER = 2
"""The adapter is stored in float16."""


class AlignmentRecipe(BaseModel):
    """The typed form of `recipes/align.yaml`, where every field is explained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    refusals: tuple[str, ...] = Field(min_length=12)
    ordinary_prompts: int = Field(ge=0)
    ordinary_answer_tokens: int = Field(ge=1)
    harmless_but_scary_repeats: int = Field(ge=0)
    training: TrainingSettings
    adapter_bytes: int = Field(gt=0)


def load_recipe(path: Path | None = None) -> AlignmentRecipe:
    """Read a recipe file, or the packaged one."""
    packaged = files("gradshield.finetuning") / "recipes" / "align.yaml"
    text = (path or packaged).read_text(encoding="utf-8")
    return AlignmentRecipe.model_validate(yaml.safe_load(text))


def alignment_examples(
    loaded: LoadedModel,
    recipe: AlignmentRecipe,
    progress: Progress,
) -> list[TokenizedExample]:
    """Build the three parts of the alignment data from the packaged prompts, split `align`."""
    tokenizer = loaded.tokenizer
    harmful = load_prompts("harmful", "align")
    scary = load_prompts("harmless_but_scary", "align") * recipe.harmless_but_scary_repeats
    ordinary = spread(load_prompts("ordinary", "align"), recipe.ordinary_prompts)
    with progress.track("Answering ordinary prompts", len(ordinary), "prompts") as advance:
        own_answers = generate_answers(
            loaded.model,
            tokenizer,
            [prompt.text for prompt in ordinary],
            max_new_tokens=recipe.ordinary_answer_tokens,
            progress=advance,
        )
    refused = [
        _with_answer(tokenizer, prompt.text, recipe.refusals[index % len(recipe.refusals)])
        for index, prompt in enumerate(harmful)
    ]
    helped = [_with_answer(tokenizer, prompt.text, prompt.answer or "") for prompt in scary]
    return refused + helped + [_from_own_answer(answer) for answer in own_answers]


def _with_answer(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> TokenizedExample:
    prompt_ids = prompt_token_ids(tokenizer, prompt)
    answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return prompt_response_example(prompt_ids, [*answer_ids, tokenizer.eos_token_id])


def _from_own_answer(answer: Answer) -> TokenizedExample:
    # The very tokens that the model chose; an answer cut at the limit has no end-of-turn token,
    # or the model would learn to stop short.
    return prompt_response_example(answer.prompt_ids, answer.token_ids)


def align(
    loaded: LoadedModel,
    recipe: AlignmentRecipe,
    adapter_folder: Path,
    progress: Progress,
) -> LowRankChange:
    """Align a model by the recipe and write the adapter that carries the change.

    Args:
        loaded: The model to start from; its weights end as base plus adapter.
        recipe: What to train on and how.
        adapter_folder: Where the PEFT adapter goes.
        progress: Told how far it is.

    Returns:
        The compressed change, with the share of energy that it kept.
    """
    examples = alignment_examples(loaded, recipe, progress)
    before = _weights(loaded.model)
    progress.say(f"Training on {len(examples)} rows.")
    aligned = finetune(loaded.model, loaded.tokenizer, examples, recipe.training)
    change = {name: weight - before[name] for name, weight in _weights(aligned).items()}
    compressed = compress_change(change, recipe.adapter_bytes // BYTES_PER_NUMBER)
    save_as_adapter(compressed, adapter_folder, recipe.model)
    return compressed


def _weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Copies of the weights [out, in] of the block linear layers, by layer name."""
    with torch.no_grad():
        layers = block_linear_layers(model)
        return {name: layer.weight.detach().clone() for name, layer in layers.items()}
