"""PEFT adapters, merged into the weights of a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel

from gradshield.errors import UserError, first_line

SAFE_WEIGHTS, PICKLED_WEIGHTS = "adapter_model.safetensors", "adapter_model.bin"


def merge_adapter(
    model: PreTrainedModel, adapter: str, name: str, say: Callable[[str], None]
) -> PreTrainedModel:
    """Merge an adapter into a model's weights, in place.

    Args:
        model: The base model.
        adapter: Folder of the adapter, or its hub name.
        name: What the user calls the base model.
        say: Told when the adapter names another base model; by name alone nothing is refused.

    Raises:
        UserError: The adapter cannot be read, is a pickle, has other weights than its
            configuration asks for on this model, or has none that can be merged.
    """
    from peft import PeftModel

    _refuse_pickle(Path(adapter))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it would warn of is an error below
            adapted: Any = PeftModel.from_pretrained(model, adapter)
            # PEFT leaves at zero what the file lacks, and leaves out what it has too many.
            loaded = adapted.load_adapter(adapter, adapted.active_adapter)
    # What a damaged configuration makes PEFT raise is not limited to any type.
    except Exception as fault:
        raise UserError(
            f"The adapter {adapter} could not be loaded ({first_line(fault)}). It must be a PEFT "
            "folder with adapter_config.json, trained on this very base model."
        ) from fault
    if not hasattr(adapted.base_model, "merge_and_unload"):
        kind = adapted.active_peft_config.peft_type.value
        raise UserError(
            f"The adapter {adapter} is of the type {kind}, which cannot be merged into weights: "
            "FIHS is a derivative by these. Use LoRA or another adapter of weights."
        )
    unmatched = [*loaded.missing_keys, *loaded.unexpected_keys]
    if unmatched:
        raise UserError(
            f"The adapter {adapter} does not fit the model {name}: {len(loaded.missing_keys)} of "
            f"its weights are missing and {len(loaded.unexpected_keys)} have no place (the first "
            f"is {unmatched[0]}). Name the base model that it was trained on."
        )
    base = adapted.active_peft_config.base_model_name_or_path
    if base and Path(base).name != Path(name).name and not name.startswith("builtin:"):
        say(f"The adapter {adapter} says that its base model is {base}; it is merged into {name}.")
    return cast(PreTrainedModel, adapted.merge_and_unload())


def _refuse_pickle(folder: Path) -> None:
    if (folder / PICKLED_WEIGHTS).exists() and not (folder / SAFE_WEIGHTS).exists():
        raise UserError(
            f"The adapter {folder} has its weights in {PICKLED_WEIGHTS}, a pickle, which may hold "
            f"code: only {SAFE_WEIGHTS} is read. Where you trust it, load it with PEFT and save it "
            "again."
        )
