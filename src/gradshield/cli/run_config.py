"""From the options of the command line to a checked configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gradshield.config import RunConfig
from gradshield.data import FORMATS
from gradshield.errors import UserError
from gradshield.probes.proxies import PROXIES
from gradshield.scoring.engines import ENGINES
from gradshield.threshold import RULES

Settings = TypeVar("Settings", bound=BaseModel)

_NAMES: dict[str, tuple[str, ...]] = {
    "proxy": tuple(PROXIES),
    "rule": tuple(RULES),
    "engine": ("auto", *ENGINES),
    "format": ("auto", *(known.name for known in FORMATS)),
}
"""What the registries offer, by field of the configuration."""
_OPTIONS = {"rule": "--threshold", "name": "--model"}
"""Options that are called otherwise than the field they set."""


def build_config(data: Path, **options: Any) -> RunConfig:
    """Make the configuration of a run.

    Args:
        data: The data file.
        options: `model`, `adapter`, `revision`, … as the commands name them.

    Raises:
        UserError: An option has a value that it cannot have; the text names it.
    """
    adapter = options["adapter"]
    return checked(
        RunConfig,
        data_path=str(data),
        model={
            "name": options["model"],
            "adapter": None if adapter is None else str(adapter),
            **{n: options[n] for n in ("revision", "dtype", "device", "trust_remote_code")},
        },
        data={name: options[name] for name in ("format", "response", "max_length")},
        scoring={
            name: options[name]
            for name in ("proxy", "modules", "remove_benign", "engine", "batch_tokens")
        },
        threshold={name: options[name] for name in ("rule", "level", "seed")},
        on_reject=options["on_reject"],
    )


def checked(kind: type[Settings], **values: Any) -> Settings:
    """Make settings, before anything that takes long is started.

    Raises:
        UserError: A value cannot be; the text names the option.
    """
    for group in (values, *(part for part in values.values() if isinstance(part, dict))):
        for field in _NAMES.keys() & group.keys():
            if group[field] not in _NAMES[field]:
                raise UserError(
                    f"{_option(field)} {group[field]}: unknown, choose one of "
                    f"{', '.join(_NAMES[field])}."
                )
    try:
        return kind.model_validate(values)
    except ValidationError as fault:
        first = fault.errors()[0]
        field = str(first["loc"][-1])
        raise UserError(f"{_option(field)} {first['input']}: {first['msg']}.") from fault


def _option(field: str) -> str:
    return _OPTIONS.get(field, "--" + field.replace("_", "-"))
