"""The terminal: progress, warnings and the closing table of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from gradshield.cli.terminal import SafeConsole


class RateColumn(ProgressColumn):
    """Units per second."""

    def render(self, task: Task) -> Text:
        """Show the rate of one bar."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {task.fields['unit']}/s")


class Display:
    """Shows what goes on, on standard error: standard output is for results.

    On a terminal long work has a bar; elsewhere one plain line when it starts and ends.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = SafeConsole(stderr=True)

    def say(self, line: str) -> None:
        """Show one line, unless quiet."""
        if not self.quiet:
            self.console.print(line, soft_wrap=True)

    def warn(self, line: str) -> None:
        """Show a warning, also when quiet."""
        self.console.print(f"Warning: {line}", style="bold yellow", soft_wrap=True)

    @contextmanager
    def track(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Show a bar with rate and time left while the block runs."""
        if self.quiet:
            yield lambda count: None
            return
        if not self.console.is_terminal:
            self.say(f"{label}: {total} {unit} …")
            yield lambda count: None
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self.console) as bars:
            task = bars.add_task(label, total=total, unit=unit)
            yield lambda count: bars.advance(task, count)
