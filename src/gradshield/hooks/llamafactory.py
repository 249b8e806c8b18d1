"""LLaMA-Factory: names of data sets, which `dataset_info.json` in its `dataset_dir` explains.

Source: `llamafactory.data.parser` and `llamafactory.data.loader` for where files are looked for,
and `llamafactory.hparams` for the names and defaults of the settings (version 0.9.5).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradshield.data.profiles.llamafactory.config import llamafactory_data
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

_INFO = "dataset_info.json"
_SUFFIX = "_gradshield"
_LOSSES = {"sigmoid": "dpo", "ipo": "ipo"}
_ELSEWHERE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")


@dataclass(frozen=True)
class _Info:
    """`dataset_info.json`, and the folder from which it names files."""

    folder: Path
    entries: dict[str, Any]


@dataclass(frozen=True)
class LlamaFactoryHook:
    """`gradshield hook llamafactory`."""

    name: str = "llamafactory"

    def plan(self, config: Path, new: Path, settings: HookSettings) -> Plan:
        """See `Hook.plan`."""
        text, content = read_yaml(config)
        info = _info(content)
        names = _names(content, config)
        sources = {name: _source(name, info, settings) for name in names}
        local = {name: source for name, source in sources.items() if source is not None}
        if not local:
            raise UserError(f"{config} names no data on this machine: there is nothing to filter.")
        filterings = {
            name: planned(
                name,
                source,
                runs_folder(new) / run_name(number, Path(name)),
                model=_model(content),
                reading=_reading(content, info.entries[name], config, name, settings),
                settings=settings,
            )
            for number, (name, source) in enumerate(local.items())
        }

        def rewrite(version: str) -> Mapping[Path, str]:
            folder = new.with_suffix(".data")
            kept = {name: filtering.kept for name, filtering in filterings.items()}
            changes = _changes(content, folder, set(kept), version)
            return {folder / _INFO: _new_info(info, folder, kept), new: edited(text, changes)}

        notes = tuple(_notes(content, info, names, set(local), settings))
        train = f"llamafactory-cli train {new}"
        return Plan(tuple(filterings.values()), rewrite, notes, train)


def _model(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": content.get("model_name_or_path"),
        "adapter": only_adapter(content.get("adapter_name_or_path"), "adapter_name_or_path"),
        "revision": content.get("model_revision"),
    }


def _reading(
    content: Mapping[str, Any],
    entry: Mapping[str, Any],
    config: Path,
    name: str,
    settings: HookSettings,
) -> Reading:
    stage, loss = content.get("stage", "sft"), content.get("pref_loss", "sigmoid")
    if stage not in ("sft", "dpo") or (stage == "dpo" and loss not in _LOSSES):
        what = f"stage: {stage}" if stage != "dpo" else f"pref_loss: {loss}"
        raise UserError(f"{config}: {what} is not supported, only sft and dpo (sigmoid or ipo).")
    if stage == "sft" and not settings.only_answers:
        # What tokens were made of before does not matter: new ones are made of the kept rows.
        own = {key: value for key, value in content.items() if key != "tokenized_path"}
        options = ("--llamafactory", str(config), "--dataset", name)
        return as_trained(lambda: llamafactory_data(own, entry, config, name), options)
    limit = content.get("cutoff_len") or 2048
    last = bool(content.get("mask_history")) and stage == "sft"
    return Reading(
        {"max_length": limit, "response": "last" if last else "all"},
        ("--max-length", str(limit), *(("--response", "last") if last else ())),
        _LOSSES[loss] if stage == "dpo" else "dpo",
    )


def _names(content: Mapping[str, Any], config: Path) -> list[str]:
    given = content.get("dataset")
    names = given if isinstance(given, list) else str(given or "").split(",")
    found = [str(name).strip() for name in names if str(name).strip()]
    if not found:
        raise UserError(f"{config} names no `dataset`, so there is nothing to filter.")
    return found


def _info(content: Mapping[str, Any]) -> _Info:
    folder = Path(str(content.get("dataset_dir") or "data"))
    path = folder / _INFO
    if not path.is_file():
        raise UserError(
            f"There is no {path}, seen from the folder that you are in: start from the folder "
            "that you train in, and keep the data in a `dataset_dir` on this machine."
        )
    try:
        entries = json.loads(path.read_bytes())
    except ValueError as fault:
        raise UserError(f"{path} is no JSON ({fault}): mend it there.") from fault
    if not isinstance(entries, dict):
        raise UserError(f"{path} must be a JSON object with an entry for each data set.")
    return _Info(folder, entries)


def _source(name: str, info: _Info, settings: HookSettings) -> Path | None:
    """The file of a data set; None if it is elsewhere, and to be left there."""
    entry = info.entries.get(name)
    if not isinstance(entry, dict):
        known = ", ".join(list(info.entries)[:10])
        raise UserError(f"{info.folder / _INFO} has no entry {name}; it has {known}.")
    if any(key in entry for key in _ELSEWHERE) or "file_name" not in entry:
        if settings.leave_remote:
            return None
        raise UserError(
            f"{name} in {info.folder / _INFO} is no file on this machine: download it and name it "
            "in `file_name`, or leave it unfiltered by --leave-remote."
        )
    path = info.folder / str(entry["file_name"])
    if path.is_dir():
        raise UserError(
            f"{name} in {info.folder / _INFO} is a folder, {path}: make an entry of each of its "
            "files, so that each can be filtered."
        )
    if not path.is_file():
        raise UserError(f"{name} in {info.folder / _INFO} names {path}, which is not there.")
    return path


def _new_info(info: _Info, folder: Path, kept: Mapping[str, Path]) -> str:
    """All entries, seen from the new folder, and one more for each file of kept rows."""
    seen = {name: _seen_from(folder, info.folder, entry) for name, entry in info.entries.items()}
    filtered = {
        name + _SUFFIX: {**info.entries[name], "file_name": _relative(path, folder)}
        for name, path in kept.items()
    }
    return json.dumps({**seen, **filtered}, indent=2, ensure_ascii=False) + "\n"


def _seen_from(folder: Path, old: Path, entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    files = {key: str(entry[key]) for key in ("file_name", "script_url") if key in entry}
    return {**entry, **{key: _relative(old / name, folder) for key, name in files.items()}}


def _relative(path: Path, folder: Path) -> str:
    return path.as_posix() if path.is_absolute() else Path(os.path.relpath(path, folder)).as_posix()


def _changes(
    content: Mapping[str, Any], folder: Path, filtered: set[str], version: str
) -> dict[KeyPath, str]:
    given = content["dataset"]
    changes: dict[KeyPath, str] = {("dataset_dir",): folder.as_posix()}
    if isinstance(given, list):
        for index, name in enumerate(given):
            if str(name).strip() in filtered:
                changes["dataset", index] = str(name).strip() + _SUFFIX
    else:
        names = [name.strip() for name in str(given).split(",") if name.strip()]
        new = [name + _SUFFIX if name in filtered else name for name in names]
        changes[("dataset",)] = ",".join(new)
    if not content.get("media_dir"):
        # By default it is the folder of the data, from which pictures are named too.
        changes[("media_dir",)] = str(content.get("dataset_dir") or "data")
    if content.get("tokenized_path"):
        # What is there was made of other rows, and would be trained on in their place.
        changes[("tokenized_path",)] = f"{content['tokenized_path']}-gradshield-{version}"
    return changes


def _notes(
    content: Mapping[str, Any],
    info: _Info,
    names: list[str],
    local: set[str],
    settings: HookSettings,
) -> Iterator[str]:
    for name in names:
        if name not in local:
            yield f"{name} is left as it is: its rows are NOT filtered."
        if "[" in str(info.entries[name].get("split") or ""):
            yield (
                f"{name}: split {info.entries[name]['split']} is a part by place, which now counts "
                "kept rows: other rows are in it than before."
            )
    if content.get("train_on_prompt") and settings.only_answers:
        yield "train_on_prompt: prompts are trained on too, but only responses are scored."
