"""How long work reports on itself; the core knows this protocol and no terminal."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told what goes on."""

    def say(self, line: str) -> None:
        """Show one line."""
        ...

    def warn(self, line: str) -> None:
        """Show one line that must not be missed."""
        ...

    def track(
        self, label: str, total: int, unit: str
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Show a bar while the block runs; the yielded function advances it by a number."""
        ...


class Silent:
    """Shows nothing: the default of the Python interface."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def warn(self, line: str) -> None:
        """Raise a Python warning: silence must not hide it."""
        warnings.warn(line, stacklevel=2)

    @contextmanager
    def track(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Advance nothing."""
        yield lambda count: None
