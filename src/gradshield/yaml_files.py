"""Settings in YAML: plain data, never objects, and no more of it than settings have."""

from __future__ import annotations

from typing import Any

import yaml

MOST_CHARACTERS = 10**6
MOST_VALUES = 10**5
"""Values of the whole, with those that aliases repeat counted each time: a few lines of aliases to
aliases stand for more than any memory holds."""


class _OnceOnly(yaml.SafeLoader):
    """Refuses a mapping that names a key twice, of which YAML's loaders silently take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping as it is written, before other mappings are merged into it."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {line} names {key.value} a second time")
            seen.add(key.value)
        return node


def parse_yaml(text: str) -> Any:
    """The content of a YAML document.

    Raises:
        ValueError: It is no YAML, has a tag that would make an object, is nested too deeply to be
            read, or is larger than settings are; the text says why.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"more than {MOST_CHARACTERS:,} characters are no settings")
    try:
        content = _loaded(text)
        size = _size(content, {})
    except yaml.YAMLError as fault:
        raise ValueError(" ".join(str(fault).split())) from fault
    except RecursionError as fault:
        raise ValueError("it is nested too deeply, or in itself") from fault
    if size > MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values")
    return content


def _loaded(text: str) -> Any:
    loader = _OnceOnly(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _size(value: Any, known: dict[int, int]) -> int:
    """Number of values in a value, itself included; each object is walked through once."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]
