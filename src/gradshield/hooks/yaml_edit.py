"""Change single values in YAML text: comments, order and style of all the rest stay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import yaml

from gradshield.errors import UserError

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys of mappings and indices of sequences, from the root."""


def edited(text: str, values: Mapping[KeyPath, str]) -> str:
    """The text with other values; a key of the root that is not there is put before the others.

    JSON is YAML too, and stays JSON.

    Args:
        text: One YAML document, whose root is a mapping.
        values: What each place is to hold. It must hold a single value now.

    Raises:
        UserError: A place is not there or holds more than a value, as by an anchor or a merge.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    original = text
    changes: dict[int, tuple[int, str]] = {}
    for path, value in values.items():
        node = _node(root, path)
        if node is None and len(path) == 1:
            start, end, new = _new_entry(root, str(path[0]), value)
            new = changes.get(start, (end, ""))[1] + new
        elif isinstance(node, yaml.ScalarNode):
            start, end = node.start_mark.index, node.end_mark.index
            new = _in_place_of(node, value, text)
            if changes.get(start, (end, new)) != (end, new):
                raise _not_plain(path)
        else:
            raise _not_plain(path)
        changes[start] = (end, new)
    for start, (end, new) in sorted(changes.items(), reverse=True):
        text = text[:start] + new + text[end:]
    _check(text, original, values)
    return text


def _not_plain(path: KeyPath) -> UserError:
    return UserError(
        f"The value of {'.'.join(map(str, path))} is shared or put together in the YAML (an "
        "anchor, an alias or a merge), so it cannot be changed alone: write it out there."
    )


def _node(node: Any, path: KeyPath) -> Any:
    """The node at a path, None if there is none."""
    for step in path:
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == step), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step] if step < len(node.value) else None
        else:
            return None
    return node


def _new_entry(root: Any, key: str, value: str) -> tuple[int, int, str]:
    """Where a new entry of the root goes, and its text."""
    if root.flow_style:
        place = root.start_mark.index + 1
        return place, place, f"{_quoted(key)}: {_quoted(value)}, "
    place = root.start_mark.index
    return place, place, f"{key}: {_scalar(value)}\n{' ' * root.start_mark.column}"


def _in_place_of(node: yaml.ScalarNode, value: str, text: str) -> str:
    """The value as it is written where the node stands."""
    new = _scalar(value) if node.style is None else _quoted(value)
    if node.style in ("|", ">"):
        return new + "\n"
    # An empty value stands right behind the colon.
    return new if text[node.start_mark.index - 1].isspace() or node.value else f" {new}"


def _scalar(value: str) -> str:
    plain = re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./,-]*", value)
    if plain and yaml.safe_load(value) == value:
        return value
    return _quoted(value)


def _quoted(value: str) -> str:
    """In double quotes, as YAML and JSON both read it."""
    # Escapes of JSON for rarer characters are pairs, which YAML does not put together again.
    return json.dumps(value, ensure_ascii=False)


def _check(text: str, original: str, values: Mapping[KeyPath, str]) -> None:
    """Read the new text again: it must say just what it is meant to."""
    expected = yaml.safe_load(original)
    for path, value in values.items():
        place = expected
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
    if yaml.safe_load(text) != expected:
        raise _not_plain(next(iter(values)))
