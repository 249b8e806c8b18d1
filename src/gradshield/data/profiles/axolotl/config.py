"""Reading axolotl's own configuration: the profile, the data file and the length in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradshield.data.errors import DataError
from gradshield.data.profiles.given import GivenData
from gradshield.yaml_files import parse_yaml

# Keys of the file, and of one of its data sets, that settings of the profile are made of.
_FILE_SETTINGS = (
    "train_on_inputs",
    "eot_tokens",
    "special_tokens",
    "tokens",
    "excess_length_strategy",
)
_DATA_SETTINGS = (
    "roles_to_train",
    "train_on_eos",
    "train_on_eot",
    "field_messages",
    "message_property_mappings",
    "message_field_training",
    "roles",
    "drop_system_message",
    "field",
)
# Keys that change which tokens carry loss, or the tokens, in ways that are not supported. All
# other keys have no such influence.
_UNSUPPORTED_IN_FILE = {
    "rl": "it trains on pairs of answers, and a profile is for single answers",
    "reward_model": "it trains no chat model",
    "process_reward_model": "it trains no chat model",
    "pretraining_dataset": "name the texts under datasets, with type: completion",
    "chat_template_kwargs": "templates are printed without extra variables",
    "added_tokens_overrides": "the scoring model's tokenizer must have the tokens already",
    "tokenizer_use_mistral_common": "turns are found by a Jinja template",
    "processor_type": "only text can be scored",
    "default_system_message": "write it into the template",
}
_UNSUPPORTED_IN_DATA = {
    "message_field_training_detail": "only whole turns can be left out",
    "split_thinking": "reasoning is not read apart from the answer",
    "field_thinking": "reasoning is not read apart from the answer",
    "template_thinking_key": "reasoning is not read apart from the answer",
    "field_tools": "tools are not supported in this profile",
    "input_transform": "use type: chat_template",
    "conversation": "use type: chat_template",
}
_TOKENIZER_DEFAULT = "tokenizer_default"
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def read_axolotl(path: Path, dataset: str | None = None) -> GivenData:
    """What a configuration of axolotl says about data.

    Args:
        path: The YAML file.
        dataset: Path of one of its data sets, where there are several.

    Raises:
        DataError: The file cannot be read, or has a key that decides the tokens and that is not
            supported; the text names it.
    """
    content = _read(path)
    return axolotl_data(content, _choose(content.get("datasets"), dataset, path), path)


def axolotl_data(content: Mapping[str, Any], entry: Mapping[str, Any], path: Path) -> GivenData:
    """What a configuration that is read already says about one of its data sets.

    Args:
        content: The configuration.
        entry: One of its `datasets`.
        path: Where it was read from, for messages and for files that it names.

    Raises:
        DataError: A key decides the tokens and is not supported.
    """
    _refuse(content, _UNSUPPORTED_IN_FILE, str(path))
    _refuse(entry, _UNSUPPORTED_IN_DATA, f"{path}, data set {entry.get('path')}")
    settings = {key: content[key] for key in _FILE_SETTINGS if content.get(key) is not None}
    settings |= {key: entry[key] for key in _DATA_SETTINGS if entry.get(key) is not None}
    settings |= _old_names(entry)
    if entry.get("type") is not None:
        settings["type"] = _type(entry["type"], path)
    template = _template(content, entry, path)
    if template is not None:
        settings["chat_template"] = template
    return GivenData(
        profile={"name": "axolotl", **settings},
        max_length=content.get("sequence_len"),
        data=_local(entry, path),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(f"the axolotl configuration {path} cannot be read ({fault})") from fault
    if not isinstance(content, dict):
        raise DataError(f"{path} is no axolotl configuration: it holds no list of keys and values")
    return content


def _refuse(content: Mapping[str, Any], unsupported: Mapping[str, str], where: str) -> None:
    for key, why in unsupported.items():
        if content.get(key) not in (None, False, {}, []):
            raise DataError(
                f"{where}: {key} decides which tokens carry loss and is not supported: {why}"
            )


def _choose(entries: object, wanted: str | None, path: Path) -> dict[str, Any]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: datasets must be a list, each with a path and a type")
    names = [str(entry.get("path")) for entry in entries]
    chosen = [e for e, name in zip(entries, names, strict=True) if wanted in (None, name)]
    if len(chosen) != 1:
        raise DataError(
            f"{path} names {len(entries)} data sets ({', '.join(names) or 'none'}); choose one "
            "with --dataset PATH"
        )
    return dict(chosen[0])


def _old_names(entry: Mapping[str, Any]) -> dict[str, Any]:
    """`message_field_role` and `message_field_content`, which axolotl still takes."""
    old = {
        name: entry[f"message_field_{name}"]
        for name in ("role", "content")
        if entry.get(f"message_field_{name}") is not None
    }
    mappings = {**(entry.get("message_property_mappings") or {}), **old}
    return {"message_property_mappings": mappings} if mappings else {}


def _type(given: object, path: Path) -> object:
    if isinstance(given, str) and given.startswith("sharegpt"):
        raise DataError(
            f"{path}: type: {given} is refused by axolotl itself; write type: chat_template, "
            "field_messages: conversations, message_property_mappings: {role: from, content: value}"
        )
    if isinstance(given, dict):
        return {key: value for key, value in given.items() if value is not None}
    return given


def _template(content: Mapping[str, Any], entry: Mapping[str, Any], path: Path) -> str | None:
    """The Jinja template, None for the tokenizer's own."""
    if entry.get("chat_template_jinja") and not entry.get("chat_template"):
        raise DataError(
            f"{path}: axolotl ignores the data set's chat_template_jinja without chat_template: "
            "jinja beside it; add that line"
        )
    source = entry if entry.get("chat_template") else content
    jinja = source.get("chat_template_jinja")
    choice = source.get("chat_template") or ("jinja" if jinja else _TOKENIZER_DEFAULT)
    if str(choice).startswith(_TOKENIZER_DEFAULT):
        return None
    if choice == "chatml":
        return _CHATML
    if choice == "jinja" and isinstance(jinja, str):
        return _file_or_text(jinja, path)
    raise DataError(
        f"{path}: chat_template: {choice} is a template of axolotl's own; write chat_template: "
        f"{_TOKENIZER_DEFAULT} if the model's own is the same, or chat_template: jinja with its "
        "text under chat_template_jinja"
    )


def _file_or_text(jinja: str, path: Path) -> str:
    try:
        if Path(jinja).is_file():
            return Path(jinja).read_text(encoding="utf-8")
    except (OSError, ValueError) as fault:
        if len(jinja) < 256 and "{" not in jinja:
            raise DataError(f"{path}: the template {jinja} cannot be read ({fault})") from fault
    return jinja


def _local(entry: Mapping[str, Any], config: Path) -> Path | None:
    """The data file if it is here, as seen from the working folder or from the configuration.

    `data_files` names a file in the folder `path`, or by itself where `path` is a kind of file.
    """
    path, file = entry.get("path"), entry.get("data_files")
    if not isinstance(path, str):
        return None
    if file is not None and not isinstance(file, str):
        return None  # several files: the data has to be named
    names = [path] if file is None else [f"{path}/{file}", file]
    found = (folder / name for name in names for folder in (Path(), config.parent))
    return next((candidate for candidate in found if candidate.exists()), None)
