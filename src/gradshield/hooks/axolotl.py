"""axolotl: the `datasets` of its configuration, which name files, folders or hub names.

Source: `axolotl.utils.data.shared.load_dataset_with_config` for what a path can be, and
`axolotl.utils.schemas` for the names of the settings (version 0.19).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradshield.data.containers.base import is_saved_dataset
from gradshield.data.profiles.axolotl.config import axolotl_data
from gradshield.errors import UserError
from gradshield.hooks.base import (
    HookSettings,
    Plan,
    Reading,
    as_trained,
    only_adapter,
    planned,
    read_yaml,
    run_name,
    runs_folder,
)
from gradshield.hooks.yaml_edit import KeyPath, edited

_SEQUENCE_LEN = 512
"""What axolotl takes where the configuration names no `sequence_len`."""

_PREPARED = "last_run_prepared"
"""Where axolotl keeps prepared rows by default; it finds them again by the paths of the data."""


@dataclass(frozen=True)
class _Place:
    """A data file, where in the configuration its path stands, and the data set's other keys."""

    keys: KeyPath
    source: Path
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class AxolotlHook:
    """`gradshield hook axolotl`."""

    name: str = "axolotl"

    def plan(self, config: Path, new: Path, settings: HookSettings) -> Plan:
        """See `Hook.plan`."""
        text, content = read_yaml(config)
        places, notes = _places(content, config, settings)
        filterings = tuple(
            planned(
                ".".join(map(str, place.keys)),
                place.source,
                runs_folder(new) / run_name(number, place.source),
                model=_model(content),
                reading=_reading(content, place.entry, config, settings),
                settings=settings,
            )
            for number, place in enumerate(places)
        )

        def rewrite(version: str) -> Mapping[Path, str]:
            kept = {p.keys: f.kept.as_posix() for p, f in zip(places, filterings, strict=True)}
            # Else axolotl would take the rows that it prepared for other kept files of that name.
            prepared = content.get("dataset_prepared_path") or _PREPARED
            return {
                new: edited(
                    text, {**kept, ("dataset_prepared_path",): f"{prepared}-gradshield-{version}"}
                )
            }

        return Plan(filterings, rewrite, notes, f"axolotl train {new}")


def _model(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": content.get("base_model"),
        "adapter": only_adapter(content.get("lora_model_dir"), "lora_model_dir"),
        "revision": content.get("revision_of_model") or content.get("model_revision"),
    }


def _reading(
    content: Mapping[str, Any], entry: Mapping[str, Any], config: Path, settings: HookSettings
) -> Reading:
    limit = content.get("sequence_len") or _SEQUENCE_LEN
    loss = content.get("rl") or "dpo"
    if loss not in ("dpo", "ipo"):
        raise UserError(f"{config}: rl: {loss} is not supported, only dpo and ipo.")
    if content.get("rl") or settings.only_answers:
        return Reading({"max_length": limit}, ("--max-length", str(limit)), loss)
    options = ("--axolotl", str(config), "--dataset", str(entry["path"]))
    return as_trained(lambda: axolotl_data(content, entry, config), options)


def _places(
    content: Mapping[str, Any], config: Path, settings: HookSettings
) -> tuple[list[_Place], tuple[str, ...]]:
    """The data files, and what is to be said of the entries."""
    entries = content.get("datasets")
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{config} names no `datasets`, so there is nothing to filter.")
    places: list[_Place] = []
    notes: list[str] = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise UserError(f"{config}: datasets.{index} has no `path`, so it names no data.")
        found = list(_files_of(index, entry))
        if not found and not settings.leave_remote:
            raise UserError(
                f"{config}: datasets.{index} ({entry['path']}) is nothing on this machine, seen "
                "from the folder that you are in. Start from the folder that you train in, "
                "download the data and name the file, or leave it unfiltered by --leave-remote."
            )
        places += found
        notes += _notes(index, entry, bool(found))
    if not places:
        raise UserError(f"{config} names no data on this machine, so there is nothing to filter.")
    if content.get("train_on_inputs") and settings.only_answers:
        notes.append("train_on_inputs: prompts are trained on too, but only responses are scored.")
    return places, tuple(notes)


def _files_of(index: int, entry: Mapping[str, Any]) -> Iterator[_Place]:
    """The data files of one entry; none if it is not on this machine."""
    path, files = Path(entry["path"]), entry.get("data_files")
    at: KeyPath = ("datasets", index)
    if path.is_file():
        yield _Place((*at, "path"), path, entry)
    elif files:
        at = (*at, "data_files")
        places = (
            [_Place((*at, number), Path(name), entry) for number, name in enumerate(files)]
            if isinstance(files, list)
            else [_Place(at, Path(files), entry)]
        )
        if all(place.source.is_file() for place in places):
            yield from places
    elif path.is_dir():
        yield _Place((*at, "path"), _saved(index, entry, path), entry)


def _saved(index: int, entry: Mapping[str, Any], path: Path) -> Path:
    """The folder of the split that axolotl trains on."""
    if not is_saved_dataset(path):
        raise UserError(
            f"datasets.{index}: {path} is a folder of files: name them one by one in "
            "`data_files`, so that each can be filtered."
        )
    if not (path / "dataset_dict.json").is_file():
        return path
    split = entry.get("split") or "train"
    if not (path / split).is_dir():
        raise UserError(f"datasets.{index}: {path} has no split {split}: name one in `split`.")
    return path / split


def _notes(index: int, entry: Mapping[str, Any], found: bool) -> Iterator[str]:
    if not found:
        yield f"datasets.{index} ({entry['path']}) is left as it is: its rows are NOT filtered."
    if "[" in str(entry.get("split") or ""):
        yield (
            f"datasets.{index}: split {entry['split']} is a part by place, which now counts kept "
            "rows: other rows are in it than before."
        )
