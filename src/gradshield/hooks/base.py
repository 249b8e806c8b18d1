"""What a hook reads from a trainer's configuration, and what it makes of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from gradshield.config import (
    DataSettings,
    ModelSettings,
    RunConfig,
    ThresholdSettings,
    first_problem,
)
from gradshield.data import DataError, make_profile, open_container
from gradshield.data.profiles.given import GivenData
from gradshield.errors import UserError
from gradshield.run.folder import RunFolder
from gradshield.yaml_files import parse_yaml


@dataclass(frozen=True)
class HookSettings:
    """What the user says besides the trainer's configuration.

    Attributes:
        model: Fields of `ModelSettings` that take the place of what the configuration says.
        threshold: How each data file's threshold is chosen.
        on_reject: What becomes of rows that cannot be scored, as in `gradshield filter`.
        leave_remote: Leave data that is not on this machine as it is, unfiltered.
        only_answers: Read rows by the model's own template and score their answers, in place of
            what the trainer puts into its loss.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    threshold: ThresholdSettings = field(default_factory=ThresholdSettings)
    on_reject: str = "hold"
    leave_remote: bool = False
    only_answers: bool = False


@dataclass(frozen=True)
class Reading:
    """How the rows of a data file are to be scored.

    Attributes:
        data: Fields of `DataSettings`.
        options: The options of `gradshield filter` that say the same.
        preference_loss: The loss of rows that are preferences.
    """

    data: Mapping[str, Any]
    options: tuple[str, ...]
    preference_loss: str = "dpo"


@dataclass(frozen=True)
class Filtering:
    """One data file that a trainer's configuration names, and the run that filters it.

    Attributes:
        label: What the configuration calls it.
        config: The run, data file included.
        run: The run folder.
        reading: Options that say how rows are read.
    """

    label: str
    config: RunConfig
    run: Path
    reading: tuple[str, ...]

    @property
    def kept(self) -> Path:
        """The file of rows to train on, once the run is done.

        Raises:
            DataError: The data file cannot be used.
        """
        container = open_container(self.config.data_path)
        return RunFolder(self.run).output("kept", container.suffix or "_rows")

    @property
    def command(self) -> str:
        """The same run as a command line."""
        given = ["--out", str(self.run), *self.reading, *_options(self.config)]
        return shlex.join(["gradshield", "filter", self.config.data_path, *given])


@dataclass(frozen=True)
class Plan:
    """What is to be done for a trainer's configuration; nothing of it is done yet.

    Attributes:
        filterings: One for each data file.
        rewrite: From a name that changes with the kept rows to the files to write, by path.
        notes: What the user should know.
        train: The command that trains with the new configuration.
    """

    filterings: tuple[Filtering, ...]
    rewrite: Callable[[str], Mapping[Path, str]]
    notes: tuple[str, ...]
    train: str


class Hook(Protocol):
    """How one trainer's configuration is read and rewritten."""

    @property
    def name(self) -> str:
        """What the trainer is called on the command line."""

    def plan(self, config: Path, new: Path, settings: HookSettings) -> Plan:
        """What is to be done; reads the configuration and looks for the data, writes nothing.

        Args:
            config: The trainer's configuration.
            new: Where the new one will be.
            settings: What the user says besides.

        Raises:
            UserError: The configuration, or the data that it names, cannot be used.
        """


def read_yaml(path: Path) -> tuple[str, dict[str, Any]]:
    """Text and content of a configuration in YAML or JSON.

    Raises:
        UserError: It is no mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        content = parse_yaml(text)
    except ValueError as fault:
        reason = " ".join(str(fault).split())
        raise UserError(f"{path} cannot be read as YAML ({reason}): mend it there.") from fault
    if not isinstance(content, dict):
        raise UserError(f"{path} is no configuration: it must be a mapping of settings.")
    return text, content


def as_trained(read: Callable[[], GivenData], options: tuple[str, ...]) -> Reading:
    """What the trainer does to the rows, with a way out told where it cannot be followed.

    Args:
        read: Reads the profile from the trainer's configuration.
        options: The options that say the same.

    Raises:
        UserError: A setting decides which tokens carry loss, and is not supported.
    """
    try:
        given = read()
        profile = make_profile(given.profile)
    except DataError as fault:
        raise UserError(
            f"{fault}. Or score the answers alone, by the model's own template: --only-answers."
        ) from fault
    return Reading({"profile": profile, "max_length": given.max_length}, options)


def planned(
    label: str,
    source: Path,
    run: Path,
    *,
    model: Mapping[str, Any],
    reading: Reading,
    settings: HookSettings,
) -> Filtering:
    """The filtering of a data file; what the user says goes before the trainer's configuration.

    Raises:
        UserError: A value cannot be used.
    """
    chosen = {**model, **settings.model}
    if not chosen.get("name"):
        raise UserError("The configuration names no model: say with --model which one is trained.")
    try:
        config = RunConfig.model_validate(
            {
                "data_path": str(source),
                "model": ModelSettings.model_validate(chosen),
                "data": DataSettings.model_validate(dict(reading.data)),
                "scoring": {"preference_loss": reading.preference_loss},
                "threshold": settings.threshold,
                "on_reject": settings.on_reject,
            }
        )
    except ValidationError as fault:
        raise UserError(f"The run for {source} cannot be: {first_problem(fault)}.") from fault
    return Filtering(label, config, run, reading.options)


def runs_folder(new: Path) -> Path:
    """Where the run folders of a new configuration are: beside it, under its name."""
    return new.with_suffix(".runs")


def run_name(number: int, source: Path) -> str:
    """A folder name that tells the data file; without dots, in which trainers see file types."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", source.name.split(".")[0]).strip("-")
    return f"{number}-{plain or 'data'}"


def only_adapter(value: object, key: str) -> str | None:
    """The adapter that training starts from, which is part of the model that is scored.

    Raises:
        UserError: There are several.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str) or "," in value:
        raise UserError(f"{key} names several adapters: merge them, and name the model by --model.")
    return value


def _options(config: RunConfig) -> Iterator[str]:
    """Options of `gradshield filter` that say what is not its default anyway."""
    default = RunConfig(data_path=config.data_path)
    names = {"name": "--model", "rule": "--threshold"}
    for group in ("model", "scoring", "threshold"):
        usual = getattr(default, group).model_dump()
        for key, value in getattr(config, group).model_dump().items():
            if value != usual[key]:
                yield names.get(key, "--" + key.replace("_", "-"))
                yield from () if value is True else (str(value),)
    if config.on_reject != default.on_reject:
        yield from ("--on-reject", config.on_reject)
