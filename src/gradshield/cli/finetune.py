"""`gradshield finetune`: train a chat model on a data file, read as it is for scoring."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from gradshield.cli import options as o
from gradshield.cli.display import Display
from gradshield.cli.run_config import checked, model_settings
from gradshield.config import DataSettings, RunConfig, first_problem
from gradshield.errors import UserError
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from gradshield.run.finetune import finetune_data
from gradshield.yaml_files import parse_yaml

WHOLE_LEARNING_RATE = 2e-5
"""Default rate for whole layers, a tenth of that of LoRA."""

_TRAINING = "Training"
_DEFAULTS = TrainingSettings(lora=LoraSettings())


def _training_option(text: str, **limits: Any) -> Any:
    return typer.Option(rich_help_panel=_TRAINING, help=text, show_default=False, **limits)


def finetune_command(
    data: o.DataArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the adapter or model to write.")
    ],
    model: o.ModelOption = o.DEFAULT_MODEL,
    adapter: Annotated[
        Path | None,
        typer.Option(rich_help_panel="Model", help="PEFT adapter to merge before training."),
    ] = None,
    revision: o.RevisionOption = None,
    dtype: Annotated[
        str,
        typer.Option(
            rich_help_panel="Model",
            help=(
                "auto, float32, bfloat16 or float16. auto: with LoRA float32 on a CPU and bfloat16 "
                "on a GPU; with --full float32, since bfloat16 rounds small steps away."
            ),
        ),
    ] = "auto",
    device: o.DeviceOption = "auto",
    trust_remote_code: o.TrustOption = False,
    format: o.FormatOption = "auto",
    response: o.ResponseOption = "all",
    max_length: o.MaxLengthOption = 2048,
    config: Annotated[
        Path | None,
        _training_option("YAML file of the settings below; options given too override it."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            rich_help_panel=_TRAINING,
            help="Train the linear layers of the blocks whole, not a LoRA adapter on them.",
        ),
    ] = False,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            rich_help_panel=_TRAINING,
            help="Write a whole model, the trained adapter merged.",
        ),
    ] = False,
    learning_rate: Annotated[
        float | None,
        _training_option(
            f"Highest learning rate. Default: {_DEFAULTS.learning_rate:g}, with --full "
            f"{WHOLE_LEARNING_RATE:g}."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        _training_option(f"Times that every row is trained on. Default: {_DEFAULTS.epochs}."),
    ] = None,
    batch_size: Annotated[
        int | None, _training_option(f"Rows of a step. Default: {_DEFAULTS.batch_size}.")
    ] = None,
    micro_batch_size: Annotated[
        int | None,
        _training_option(
            f"Rows that go through the model at once. Default: {_DEFAULTS.micro_batch_size}."
        ),
    ] = None,
    warmup_steps: Annotated[
        int | None,
        _training_option(f"Steps over which the rate rises. Default: {_DEFAULTS.warmup_steps}."),
    ] = None,
    rank: Annotated[
        int | None, _training_option(f"Rank of the adapter. Default: {LoraSettings().rank}.")
    ] = None,
    alpha: Annotated[
        int | None,
        _training_option(f"Its alpha, scale times rank. Default: {LoraSettings().alpha}."),
    ] = None,
    modules: Annotated[
        str | None,
        _training_option(
            "Layers that get an adapter: late_mlp (linear layers outside attention, last half of "
            "the blocks), or a regular expression over their dotted names. Default: all linear "
            "layers of the blocks."
        ),
    ] = None,
    save_every: Annotated[
        int | None,
        _training_option(f"Steps between checkpoints. Default: {_DEFAULTS.save_every}."),
    ] = None,
    seed: Annotated[
        int | None,
        _training_option(f"Of the order of rows and the adapter. Default: {_DEFAULTS.seed}."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what another training left in --out.")
    ] = False,
    quiet: o.QuietOption = False,
) -> None:
    """Finetune a chat model on the response tokens of DATA, by LoRA or whole.

    The rows and the loss are those of scoring. OUT is a PEFT adapter, ready for `--adapter OUT`, or
    a whole model, ready for `--model OUT`; `OUT/training.json` says how it came about. An
    interrupted training goes on with the same command. Needs `gradshield[align]`.
    """
    training = training_settings(
        config,
        full=full,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        warmup_steps=warmup_steps,
        rank=rank,
        alpha=alpha,
        modules=modules,
        save_every=save_every,
        seed=seed,
    )
    if dtype == "auto" and training.lora is None:
        dtype = "float32"
    run = RunConfig(
        data_path=data,
        model=model_settings(
            model=model,
            adapter=adapter,
            revision=revision,
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
        ),
        data=checked(DataSettings, format=format, response=response, max_length=max_length),
    )
    display = Display(quiet=quiet)
    record = finetune_data(run, training, out, display, merge=merge, force=force)
    use = f"--model {model} --adapter {out}" if record["result"] == "adapter" else f"--model {out}"
    display.say(f"The {record['result']} is in {out}: use it with `{use}`.")


def training_settings(config: Path | None, *, full: bool, **options: Any) -> TrainingSettings:
    """The settings of a file, or LoRA by default, with what the options say put over them.

    Args:
        config: YAML file of `TrainingSettings`; without a `lora` in it, LoRA's defaults are meant,
            and `lora: null` trains whole layers.
        full: Train whole layers, whatever the file says.
        options: Fields of `TrainingSettings` and of `LoraSettings`; None leaves them as they are.

    Raises:
        UserError: The file cannot be read, or a value cannot be; the text names it.
    """
    content = {} if config is None else _read(config)
    lora = None if full else content.get("lora", {})
    given = {name: value for name, value in options.items() if value is not None}
    adapter_options = {name: given.pop(name) for name in LoraSettings.model_fields if name in given}
    if lora is None and adapter_options:
        name = next(iter(adapter_options))
        raise UserError(
            f"--{name} is for a LoRA adapter, and whole layers are trained: leave out "
            f"--{name}, or train an adapter."
        )
    values = {**content, **given}
    if lora is None:
        values.setdefault("learning_rate", WHOLE_LEARNING_RATE)
    values["lora"] = None if lora is None else {**lora, **adapter_options}
    return _validated(values, "The options")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError) as fault:
        raise UserError(f"The settings {path} cannot be read ({fault}).") from fault
    if not isinstance(content, dict):
        raise UserError(f"The settings {path} are no list of names and values.")
    _validated(content, f"The settings {path}")
    return content


def _validated(values: dict[str, Any], place: str) -> TrainingSettings:
    """Checked settings; a batch that the default micro-batch does not divide gets one that does."""
    if isinstance(values.get("batch_size"), int):
        fitting = math.gcd(values["batch_size"], _DEFAULTS.micro_batch_size)
        values = {"micro_batch_size": fitting, **values}
    try:
        return TrainingSettings.model_validate(values)
    except ValidationError as fault:
        raise UserError(f"{place}: {first_problem(fault)}.") from fault
