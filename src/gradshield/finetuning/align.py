"""Make an aligned model to start from: FIHS presumes a model that refuses.

Two stages, both on three parts: harmful prompts with varied refusals, ordinary prompts with the
model's own answers, and harmless prompts that sound harmful with helpful answers. The first stage
trains the linear layers whole and cuts the change of the weights to a small LoRA adapter; the
second trains that adapter a little further, on a mixture that leans to harmless prompts, which
mends what the cut took away and what the first stage refuses too eagerly.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.evaluation.generation import generate_answers
from gradshield.finetuning.supervised import TrainingSettings, continue_adapter, finetune
from gradshield.models.layers import block_linear_layers
from gradshield.models.load import LoadedModel
from gradshield.models.low_rank import LowRankChange, compress_change, save_as_adapter
from gradshield.models.prompts import answered_prompt, prompt_response_example, prompt_token_ids
from gradshield.models.restored import linear_weights, restore
from gradshield.probes.prompt_sets import Prompt, load_prompts, spread
from gradshield.progress import Progress
from gradshield.yaml_files import parse_yaml

BYTES_PER_NUMBER = 2
"""The adapter is stored in float16."""


class StageSettings(BaseModel):
    """How many rows of each part a stage trains on, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    harmful_prompts: int = Field(ge=0)
    ordinary_prompts: int = Field(ge=0)
    harmless_but_scary_repeats: int = Field(ge=0)
    training: TrainingSettings


class AlignmentRecipe(BaseModel):
    """The typed form of `recipes/align.yaml`, where every field is explained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    refusals: tuple[str, ...] = Field(min_length=12)
    ordinary_candidates: int = Field(ge=0)
    ordinary_prompt_tokens: int = Field(ge=1)
    ordinary_answer_tokens: int = Field(ge=1)
    whole: StageSettings
    adapter_bytes: int = Field(gt=0)
    adapter: StageSettings


@dataclass(frozen=True)
class AlignmentRows:
    """Tokenised rows of the three parts, each in the order of its prompt set."""

    refused: list[TokenizedExample]
    ordinary: list[TokenizedExample]
    scary: list[TokenizedExample]

    def of_stage(self, stage: StageSettings) -> list[TokenizedExample]:
        """The rows of a stage, each part spread evenly over its prompts."""
        return [
            *spread(self.refused, stage.harmful_prompts),
            *(self.scary * stage.harmless_but_scary_repeats),
            *spread(self.ordinary, stage.ordinary_prompts),
        ]


def load_recipe(path: Path | None = None) -> AlignmentRecipe:
    """Read a recipe file, or the packaged one.

    Raises:
        UserError: The file cannot be read, or is no recipe.
    """
    packaged = files("gradshield.finetuning") / "recipes" / "align.yaml"
    try:
        text = (path or packaged).read_text(encoding="utf-8")
        return AlignmentRecipe.model_validate(parse_yaml(text))
    except ValidationError as fault:
        first = fault.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(f"{path} is no alignment recipe: {field}: {first['msg']}.") from fault
    except (OSError, ValueError) as fault:
        raise UserError(f"The alignment recipe {path} cannot be read ({fault}).") from fault


def alignment_rows(
    loaded: LoadedModel, recipe: AlignmentRecipe, progress: Progress
) -> AlignmentRows:
    """Build the three parts from the packaged prompts, split `align`."""
    tokenizer = loaded.tokenizer
    harmful = load_prompts("harmful", "align")
    return AlignmentRows(
        refused=[
            answered_prompt(tokenizer, prompt.text, recipe.refusals[index % len(recipe.refusals)])
            for index, prompt in enumerate(harmful)
        ],
        ordinary=_own_answers(loaded, recipe, progress),
        scary=[
            answered_prompt(tokenizer, prompt.text, prompt.answer or "")
            for prompt in load_prompts("harmless_but_scary", "align")
        ],
    )


def _own_answers(
    loaded: LoadedModel, recipe: AlignmentRecipe, progress: Progress
) -> list[TokenizedExample]:
    """The very tokens that the model answers ordinary prompts with, before it is trained.

    An answer cut at the limit has no end-of-turn token, or the model would learn to stop short.
    """
    prompts = _short_prompts(loaded.tokenizer, recipe)
    with progress.track("Answering ordinary prompts", len(prompts), "prompts") as advance:
        answers = generate_answers(
            loaded.model,
            loaded.tokenizer,
            [prompt.text for prompt in prompts],
            max_new_tokens=recipe.ordinary_answer_tokens,
            progress=advance,
        )
    return [prompt_response_example(answer.prompt_ids, answer.token_ids) for answer in answers]


def _short_prompts(tokenizer: PreTrainedTokenizerBase, recipe: AlignmentRecipe) -> list[Prompt]:
    """Ordinary prompts of all kinds, long ones left out: they cost most and teach least."""
    candidates = spread(load_prompts("ordinary", "align"), recipe.ordinary_candidates)
    limit = recipe.ordinary_prompt_tokens
    return [p for p in candidates if len(prompt_token_ids(tokenizer, p.text)) <= limit]


def align(
    loaded: LoadedModel, recipe: AlignmentRecipe, adapter_folder: Path, progress: Progress
) -> LowRankChange:
    """Align a model by the recipe and write the adapter that carries the change.

    Args:
        loaded: The model to start from, float32; it ends with the weights that it came with.
        recipe: What to train on and how.
        adapter_folder: Where the PEFT adapter goes; an adapter that is there is replaced.
        progress: Told how far it is.

    Returns:
        The compressed change of the first stage, with the share of energy that it kept.

    Raises:
        UserError: The adapter folder holds other files, or TRL is not installed.
    """
    _check_replaceable(adapter_folder)
    model, tokenizer = loaded.model, loaded.tokenizer
    rows = alignment_rows(loaded, recipe, progress)
    before = linear_weights(model)
    progress.say("Stage 1: training the linear layers whole.")
    whole = recipe.whole
    finetune(model, tokenizer, rows.of_stage(whole), whole.training, progress=progress)
    compressed = compress_change(_change(model, before), recipe.adapter_bytes // BYTES_PER_NUMBER)
    save_as_adapter(compressed, adapter_folder, recipe.model)
    restore(model, before)
    progress.say("Stage 2: training the adapter further.")
    stage = recipe.adapter
    continue_adapter(
        model, tokenizer, rows.of_stage(stage), stage.training, adapter_folder, progress=progress
    )
    return compressed


def _check_replaceable(folder: Path) -> None:
    """Refuse, before any training, a folder that the adapter would wipe out."""
    if folder.exists() and not (folder / "adapter_config.json").is_file() and any(folder.iterdir()):
        raise UserError(f"{folder} exists and is no adapter folder: name another --out.")


def _change(model: PreTrainedModel, before: dict[str, Tensor]) -> dict[str, Tensor]:
    """By layer name, how its weight has changed, always as [out, in]."""
    layers = block_linear_layers(model)
    change = {name: layer.weight.detach() - before[name] for name, layer in layers.items()}
    return {
        name: delta.T if isinstance(layers[name], Conv1D) else delta
        for name, delta in change.items()
    }
