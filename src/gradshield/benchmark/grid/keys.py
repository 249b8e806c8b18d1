"""Keys of what a grid keeps: the same in every process, so that all read what one has written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any


def digest(parts: Sequence[str]) -> str:
    """128 bits of SHA-256 over texts, in hexadecimal."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def stable_repr(value: Any) -> str:
    """`repr`, with sets in sorted order.

    The order of a set of texts hangs on a number that Python draws anew in every process, so
    that `repr` of a dataclass with a set in it names it differently from start to start.
    """
    if isinstance(value, frozenset) and value:
        return f"frozenset({{{', '.join(sorted(map(repr, value)))}}})"
    if is_dataclass(value) and not isinstance(value, type):
        shown = [one.name for one in fields(value) if one.repr]
        parts = (f"{name}={stable_repr(getattr(value, name))}" for name in shown)
        return f"{type(value).__qualname__}({', '.join(parts)})"
    return repr(value)
