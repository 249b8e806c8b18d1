"""Load a chat model and its tokenizer from a built-in name, a local folder or a hub name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal, cast

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gradshield.errors import UserError, first_line
from gradshield.models.builtin import BUILTIN_MODELS, smollm2_folder
from gradshield.models.merging import merge_adapter
from gradshield.models.threads import limit_threads
from gradshield.models.usable import check_usable

DTypeName = Literal["auto", "float32", "bfloat16", "float16"]
DEFAULT_MODEL = "builtin:smollm2-aligned"
_one_at_a_time = Lock()
"""transformers changes its own classes while it loads, and two threads at once leave them changed:
no later model of the process would tie its weights."""


@dataclass(frozen=True)
class LoadedModel:
    """A chat model ready for scoring.

    Attributes:
        model: In evaluation mode, any adapter merged into its weights.
        tokenizer: With a chat template.
        name: As the user gave it.
        adapter: The adapter that was merged, as the user gave it, or None.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    adapter: str | None = None


def load_model(
    name: str = DEFAULT_MODEL,
    *,
    adapter: str | Path | None = None,
    dtype: DTypeName = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> LoadedModel:
    """Load a model for scoring or measuring.

    Args:
        name: `builtin:smollm2`, `builtin:smollm2-aligned`, a local folder or a hub name.
        adapter: A PEFT adapter, merged into the weights: a fresh LoRA has B = 0, so scores must
            be taken on whole weights.
        dtype: `auto` is float32 on a CPU and bfloat16 on an accelerator that has it.
        device: `auto` is the first accelerator, or else the CPU.
        revision: Branch, tag or commit of a hub name.
        trust_remote_code: Run Python code that comes with a hub model; never without being asked.
        say: Told in one line what takes long.

    Returns:
        The model in evaluation mode with its tokenizer.

    Raises:
        UserError: The model, a part of its weights, the adapter, the chat template or the device
            cannot be had, or the model cannot be scored with, see `check_usable`.
    """
    limit_threads()
    place = _place(device)
    precision = _choose_dtype(place) if dtype == "auto" else getattr(torch, dtype)
    folder, builtin_adapter = _resolve(name, say)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    tokenizer = load_tokenizer(name, **options)
    try:
        model = _load_weights(name, folder, dtype=precision, **options)
    except UserError:
        raise
    # What damaged files make the libraries raise is not limited to any type.
    except Exception as fault:
        raise UserError(_load_failure(name, fault)) from fault
    for part in (builtin_adapter, adapter):
        if part is not None:
            model = merge_adapter(model, str(part), name, say)
    check_usable(model, tokenizer, name if adapter is None else f"{name} with {adapter}")
    model = _move(model, place)
    return LoadedModel(model, tokenizer, name, None if adapter is None else str(adapter))


def load_tokenizer(
    name: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, without its weights; the arguments are those of `load_model`.

    Raises:
        UserError: It is not there, or has no chat template.
    """
    folder, _ = _resolve(name, say)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    # What damaged files make the libraries raise is not limited to any type.
    except Exception as fault:
        raise UserError(_load_failure(name, fault)) from fault
    if not tokenizer.chat_template:
        raise UserError(
            f"The tokenizer of {name} has no chat template, so GradShield cannot tell which tokens "
            "are the response. Use the chat (instruct) version of the model, or save a "
            "chat_template.jinja beside its tokenizer."
        )
    return cast(PreTrainedTokenizerBase, tokenizer)


def _resolve(name: str, say: Callable[[str], None]) -> tuple[str, Path | None]:
    if not name.startswith("builtin:"):
        _check_folder(name)
        return name, None
    if name not in BUILTIN_MODELS:
        raise UserError(f"No built-in model {name}: choose one of {', '.join(BUILTIN_MODELS)}.")
    return str(smollm2_folder(say)), BUILTIN_MODELS[name]


def _check_folder(name: str) -> None:
    path = Path(name)
    ggufs = [path] if path.is_file() else sorted(path.glob("*.gguf"))
    if any(one.suffix == ".gguf" for one in ggufs) and not (path / "config.json").is_file():
        raise UserError(
            f"{name} holds a GGUF model, whose packed weights have no gradients: use the model "
            "that it was made from, with config.json, tokenizer and safetensors."
        )
    if path.is_file():
        raise UserError(f"{name} is a file, but a model is a folder: name the one that it is in.")
    if name.startswith((".", "/", "~")) and not path.is_dir():
        raise UserError(f"There is no model folder {name}: check the path.")


def _load_weights(name: str, folder: str, **options: Any) -> PreTrainedModel:
    # Asked for the report, it returns a pair, which its types do not tell.
    load: Any = AutoModelForCausalLM.from_pretrained
    with _one_at_a_time:
        # Safetensors alone: other files of weights are pickles, which may hold code.
        model, report = load(folder, output_loading_info=True, use_safetensors=True, **options)
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"The model {name} lacks {len(missing)} of its weights ({missing[0]}): random numbers "
            "would stand in for them. Save or download the whole model again."
        )
    return cast(PreTrainedModel, model)


def _place(device: str) -> torch.device:
    try:
        place = torch.device(_choose_device() if device == "auto" else device)
    except RuntimeError as fault:
        raise UserError(f"No device {device} ({first_line(fault)}).") from fault
    if place.type == "meta":
        raise UserError("The device meta holds no numbers to score with: use --device cpu.")
    return place


def _move(model: PreTrainedModel, place: torch.device) -> PreTrainedModel:
    """Put a model on its device, in evaluation mode."""
    try:
        moved = cast(PreTrainedModel, cast(nn.Module, model).to(place).eval())
    except (AssertionError, RuntimeError) as fault:
        raise UserError(
            f"The model cannot be put on the device {place} ({first_line(fault)}). Use --device "
            "cpu, or a device that this machine has and that holds the model."
        ) from fault
    return keep_precision(moved)


def keep_precision(model: PreTrainedModel) -> PreTrainedModel:
    """Keep 4-bit layers from repacking themselves in bfloat16 at their first use.

    bitsandbytes does so on CPUs with AVX-512 BF16, for inputs without gradients only: scores would
    depend on the machine, and on what was computed before.
    """
    layer: Any
    for layer in cast(nn.Module, model).modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    return model


def _choose_device() -> str:
    if torch.accelerator.is_available():
        return str(torch.accelerator.current_accelerator())
    return "cpu"


def _choose_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32


def _load_failure(name: str, fault: Exception) -> str:
    return (
        f"The model {name} could not be loaded ({first_line(fault)}). Give a folder with "
        "config.json, tokenizer and safetensors, a hub name, or builtin:smollm2-aligned."
    )
