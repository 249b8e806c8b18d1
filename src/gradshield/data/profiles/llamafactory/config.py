"""Reading LLaMA-Factory's own files: `dataset_info.json` and the YAML file of a training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradshield.data.errors import DataError
from gradshield.data.formats import FORMATS
from gradshield.data.profiles.given import GivenData
from gradshield.yaml_files import parse_yaml

_DATASET_INFO = "dataset_info.json"

_TRAINING_SETTINGS = (
    "template",
    "default_system",
    "train_on_prompt",
    "mask_history",
    "enable_thinking",
    "preserve_thinking",
)
_UNSUPPORTED_IN_TRAINING = {
    "tool_format": "tools are not supported in this profile",
    "add_tokens": "the scoring model's tokenizer must have the tokens already",
    "add_special_tokens": "the scoring model's tokenizer must have the tokens already",
    "new_special_tokens_config": "the scoring model's tokenizer must have the tokens already",
    "tokenized_path": "tokens that were made before cannot be compared with the rows",
}
_MEDIA = ("images", "videos", "audios")
_COLUMNS = ("prompt", "query", "response", "history", "messages", "system", "tools")
_TAGS = (
    "role_tag",
    "content_tag",
    "user_tag",
    "assistant_tag",
    "observation_tag",
    "function_tag",
    "system_tag",
)
_HUBS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")


def read_llamafactory(
    dataset_info: Path | None, dataset: str | None, training: Path | None
) -> GivenData:
    """What LLaMA-Factory's files say about data.

    Args:
        dataset_info: `dataset_info.json`; None for that in the `dataset_dir` of the training.
        dataset: Name of a data set in it; None for that of the training.
        training: YAML file of the training, for template, cut-off length and what carries loss;
            None for LLaMA-Factory's defaults.

    Raises:
        DataError: A file cannot be read, or has a key that decides the tokens and that is not
            supported; the text names it.
    """
    settings = {} if training is None else _training(training)
    if dataset_info is None and dataset is None and "dataset" not in settings:
        return _given({}, settings, None)
    path = dataset_info or Path(settings.get("dataset_dir") or "data") / _DATASET_INFO
    entries = _json(path)
    name = dataset or _only(settings.get("dataset"), path, entries)
    if not isinstance(entries.get(name), dict):
        raise DataError(f"{path} has no data set {name!r}; it has {', '.join(entries) or 'none'}")
    entry = entries[name]
    return _given(_row_settings(entry, f"{path}, {name}"), settings, _local(entry, path))


def _given(rows: Mapping[str, Any], training: Mapping[str, Any], data: Path | None) -> GivenData:
    own = {key: training[key] for key in _TRAINING_SETTINGS if training.get(key) is not None}
    length = training.get("cutoff_len")
    if isinstance(length, int) and (training.get("packing") or training.get("neat_packing")):
        length -= 1  # LLaMA-Factory keeps one token free where it packs rows
    return GivenData({"name": "llamafactory", **rows, **own}, length, data)


def _training(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(f"the LLaMA-Factory file {path} cannot be read ({fault})") from fault
    if not isinstance(content, dict):
        raise DataError(f"{path} is no LLaMA-Factory file: it holds no list of keys and values")
    _check_training(content, path)
    return content


def llamafactory_data(
    content: Mapping[str, Any], entry: Mapping[str, Any], path: Path, name: str
) -> GivenData:
    """What a training file that is read already says about one data set.

    Args:
        content: The training file.
        entry: The data set's entry in `dataset_info.json`.
        path: Where the training file is, for messages.
        name: The data set, for messages.

    Raises:
        DataError: A key decides the tokens and is not supported.
    """
    _check_training(content, path)
    return _given(_row_settings(entry, f"{path}, {name}"), content, None)


def _check_training(content: Mapping[str, Any], path: Path) -> None:
    if content.get("stage", "sft") != "sft":
        raise DataError(
            f"{path}: stage: {content['stage']} is not supported, only sft, which trains on answers"
        )
    _refuse(content, _UNSUPPORTED_IN_TRAINING, str(path))


def _refuse(content: Mapping[str, Any], unsupported: Mapping[str, str], where: str) -> None:
    for key, why in unsupported.items():
        if content.get(key):
            raise DataError(f"{where}: {key} decides the tokens and is not supported: {why}")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(f"the list of data sets {path} cannot be read ({fault})") from fault
    if not isinstance(content, dict):
        raise DataError(f"{path} is no list of data sets: it must hold names and their settings")
    return content


def _only(named: object, path: Path, entries: Mapping[str, Any]) -> str:
    names = [name.strip() for name in named.split(",")] if isinstance(named, str) else []
    if isinstance(named, list):
        names = [str(name) for name in named]
    if len(names) == 1:
        return names[0]
    choice = names or list(entries)
    raise DataError(f"{path}: choose one data set with --dataset: {', '.join(choice) or 'none'}")


def _row_settings(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    if entry.get("ranking"):
        raise DataError(f"{where}: ranking: true means pairs of answers. {_pairs()}")
    columns, tags = entry.get("columns"), entry.get("tags")
    for mapping in (columns, tags):
        if mapping is not None and not isinstance(mapping, dict):
            raise DataError(f"{where}: columns and tags must each be names and their values")
    for name in _MEDIA:
        if columns and columns.get(name):
            raise DataError(f"{where}: the column {name} is not supported: only text is scored")
    if columns and columns.get("kto_tag"):
        raise DataError(f"{where}: kto_tag means answers marked good or bad. {_pairs()}")
    # A column or tag that the mapping does not name does not exist.
    settings: dict[str, Any] = {"formatting": entry.get("formatting", "alpaca")}
    if columns is not None:
        settings["columns"] = {name: columns.get(name) for name in _COLUMNS}
    if tags is not None:
        settings["tags"] = {name: tags.get(name) for name in _TAGS}
    return settings


def _pairs() -> str:
    if any(known.name == "preference" for known in FORMATS):
        return "Score them with --format preference, without a profile"
    return "A profile is for single answers: give the chosen answers as rows of their own"


def _local(entry: Mapping[str, Any], path: Path) -> Path | None:
    """The data file, which stands beside `dataset_info.json`, if it is here."""
    if any(entry.get(hub) for hub in _HUBS) or not isinstance(entry.get("file_name"), str):
        return None
    data = path.parent / entry["file_name"]
    return data if data.exists() else None
