"""From the options that name a trainer, or its file, to data settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradshield.data import DEFAULT_PROFILE, make_profile
from gradshield.data.profiles.axolotl.config import read_axolotl
from gradshield.data.profiles.given import GivenData
from gradshield.data.profiles.llamafactory.config import read_llamafactory
from gradshield.errors import UserError
from gradshield.yaml_files import parse_yaml

DATA_OPTIONS = (
    "format",
    "response",
    "max_length",
    "profile",
    "profile_option",
    "axolotl",
    "dataset_info",
    "dataset",
    "llamafactory",
)
"""Options of every command that reads rows to score them."""


@dataclass(frozen=True)
class DataChoice:
    """Which rows are meant, and how they become examples.

    Attributes:
        path: The input, as `open_source` takes it; None if nobody names one.
        settings: Fields of `DataSettings`.
    """

    path: str | None
    settings: dict[str, Any]


def data_choice(
    data: str | Path | None,
    *,
    format: str = "auto",
    response: str = "all",
    max_length: int | None = None,
    profile: str | None = None,
    profile_option: Sequence[str] | None = None,
    axolotl: Path | None = None,
    dataset_info: Path | None = None,
    dataset: str | None = None,
    llamafactory: Path | None = None,
) -> DataChoice:
    """What the options and the trainer's file say; the options go before the file.

    Raises:
        UserError: They contradict each other, a file cannot be used, or a setting cannot be.
    """
    given = _from_files(axolotl, dataset_info, dataset, llamafactory)
    name = given.profile["name"] if given.profile else profile or DEFAULT_PROFILE
    if profile not in (None, name):
        raise UserError(f"--profile {profile} contradicts the {name} file: leave one of them out.")
    settings = {**given.profile, "name": name, **_set(profile_option or ())}
    reading: dict[str, Any] = {"format": format, "response": response}
    reading["profile"] = make_profile(settings)
    length = max_length if max_length is not None else given.max_length
    if length is not None:
        reading["max_length"] = length
    path = data or given.data
    return DataChoice(None if path is None else str(path), reading)


def _from_files(
    axolotl: Path | None, dataset_info: Path | None, dataset: str | None, llamafactory: Path | None
) -> GivenData:
    if axolotl is not None and (dataset_info is not None or llamafactory is not None):
        raise UserError("--axolotl and LLaMA-Factory's files are of two trainers: name one.")
    if axolotl is not None:
        return read_axolotl(axolotl, dataset)
    if dataset_info is not None or llamafactory is not None:
        return read_llamafactory(dataset_info, dataset, llamafactory)
    if dataset is not None:
        raise UserError(
            "--dataset names a data set of --dataset-info, --llamafactory or --axolotl."
        )
    return GivenData({}, None, None)


def _set(options: Sequence[str]) -> dict[str, Any]:
    """Settings given as KEY=VALUE, the value in YAML."""
    settings = {}
    for option in options:
        key, equals, value = option.partition("=")
        try:
            settings[key.strip()] = parse_yaml(value)
        except ValueError as fault:
            raise UserError(
                f"--profile-option {option}: the value is no YAML ({fault})."
            ) from fault
        if not equals or not key.strip():
            raise UserError(f"--profile-option {option}: write KEY=VALUE.")
    return settings
