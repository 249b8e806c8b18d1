"""From the options of the command line to a checked configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gradshield.cli.profile_options import DATA_OPTIONS, data_choice
from gradshield.config import (
    InputSettings,
    ModelSettings,
    RunConfig,
    ScoringSettings,
    SearchSettings,
    ThresholdSettings,
)
from gradshield.errors import UserError
from gradshield.finetuning.supervised import TrainingSettings

Settings = TypeVar("Settings", bound=BaseModel)

MODEL_OPTIONS = ("model", "adapter", "revision", "dtype", "device", "trust_remote_code")
"""Options of every command that loads a model."""

NO_DATA = (
    "No data: name DATA. A trainer's file names none here, or none that is on this machine (for "
    "one of the hub, name hub:OWNER/NAME)."
)

_OPTIONS = {"rule": "--threshold", "name": "--model"}
"""Options that are called otherwise than the field they set."""


def build_config(data: str | Path | None, **options: Any) -> RunConfig:
    """Make the configuration of a run.

    Args:
        data: The input, as `open_source` takes it; None where a trainer's file names it.
        options: `model`, `adapter`, `revision`, … as the commands name them.

    Raises:
        UserError: An option has a value that it cannot have; the text names it.
    """
    given = {name: options[name] for name in DATA_OPTIONS if name in options}
    choice = data_choice(data, **given)
    if choice.path is None:
        raise UserError(NO_DATA)
    return checked(
        RunConfig,
        data_path=choice.path,
        input={name: options.get(name) for name in InputSettings.model_fields},
        model=model_settings(**{name: options[name] for name in MODEL_OPTIONS}),
        data=choice.settings,
        scoring={name: options[name] for name in ScoringSettings.model_fields},
        threshold={name: options[name] for name in ThresholdSettings.model_fields},
        on_reject=options["on_reject"],
        action=options.get("action", "drop"),
        shards=options.get("shards"),
        search=options.get("search"),
    )


def model_settings(*, model: str, adapter: Path | None, **options: Any) -> ModelSettings:
    """Which model the options name, as every command that loads one has them.

    Raises:
        UserError: An option has a value that it cannot have.
    """
    adapter_name = None if adapter is None else str(adapter)
    return checked(ModelSettings, name=model, adapter=adapter_name, **options)


def search_settings(
    wanted: bool, *, training: TrainingSettings | None, **options: Any
) -> SearchSettings | None:
    """Settings of the search for the threshold, or None where none is wanted.

    Raises:
        UserError: An option has a value that it cannot have.
    """
    if not wanted:
        return None
    given = {} if training is None else {"training": training}
    plain = {n: str(value) if isinstance(value, Path) else value for n, value in options.items()}
    return checked(SearchSettings, **given, **plain)


def checked(kind: type[Settings], **values: Any) -> Settings:
    """Make settings, before anything that takes long is started.

    Raises:
        UserError: A value cannot be; the text names the option.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as fault:
        first = fault.errors()[0]
        field = str(first["loc"][-1])
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{_option(field)} {first['input']}: {reason}.") from fault


def _option(field: str) -> str:
    return _OPTIONS.get(field, "--" + field.replace("_", "-"))
