"""Kill a run at many moments, start it again until it is through, and compare every byte.

Half of the kills come at a random time. The other half come right before an operation on the run
folder (a file that is opened for writing, renamed, linked or deleted), spread over all of them, so
that no step between two writes is left out by chance. Some runs are killed several times in a row.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from gradshield.errors import UserError
from gradshield.files import sha256_of
from gradshield.run.folder import RunFolder

Start = Callable[[Path], Any]
"""Runs in a folder, from the start or from where an earlier run stopped; can be pickled."""

MOST_IN_A_ROW = 4
PRELOADED = ("gradshield.run.filter", "datasets", "transformers.models.llama.modeling_llama")
"""Modules that are imported once, in the process that all runs are forked from."""


@dataclass
class KillReport:
    """What came of killing runs.

    Attributes:
        trials: Runs that were killed at least once and then brought to their end.
        seconds: What an undisturbed run takes.
        operations: Operations of an undisturbed run on its folder.
        timed_kills: Processes killed at a random time.
        aimed_kills: Processes killed right before an operation on the folder.
        restarts: Further starts, some of which were killed again.
        failed: Restarts that ended in a fault.
        differing: Files that are not as after an undisturbed run, missing ones and further ones.
        leftovers: Drafts and locks that are still there at the end.
        untrue_records: Right after a kill, files of which `outputs.json` tells what is not so.
    """

    trials: int = 0
    seconds: float = 0.0
    operations: int = 0
    timed_kills: int = 0
    aimed_kills: int = 0
    restarts: int = 0
    failed: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    untrue_records: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """All that went wrong, a line each."""
        return [*self.failed, *self.differing, *self.leftovers, *self.untrue_records]


@dataclass(frozen=True)
class Moment:
    """When to kill: after so many seconds, or right before the operation of a number, from 1."""

    seconds: float | None = None
    operation: int | None = None


def kill_trials(
    start: Start,
    folder: Path,
    trials: int,
    seed: int,
    *,
    prepared: Path | None = None,
    preload: Sequence[str] = PRELOADED,
) -> KillReport:
    """Kill runs and compare what they end with.

    Args:
        start: How to run; a function of a module, or a partial of one. Every start is a process of
            its own, forked from one that has imported `preload`.
        folder: The run folder, which must not be there; it is gone at the end.
        trials: How many runs to kill, each at least once.
        seed: Of the moments.
        prepared: A run folder of which each run starts with a copy; without it, with nothing.
        preload: Modules that runs need and that take long to import.

    Raises:
        UserError: The undisturbed run fails, or the system cannot fork.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        raise UserError("Runs are killed in forked processes, which this system does not have.")
    runs = _Runs(start, folder.resolve(), prepared, preload)
    report, draws = KillReport(), random.Random(seed)
    report.seconds, report.operations = runs.undisturbed()
    expected = contents(folder)
    for trial in range(trials):
        runs.prepare()
        place = f"run {trial}"
        for moment in _moments(draws, trial, trials, report):
            if not runs.killed_at(moment):
                break
            report.timed_kills += moment.seconds is not None
            report.aimed_kills += moment.operation is not None
            report.restarts += 1
            report.untrue_records += [f"{place}: {name}" for name in untrue_records(folder)]
        else:
            code = runs.to_the_end()
            report.failed += [f"{place}: exit code {code}"] if code else []
        report.trials += 1
        found = contents(folder)
        names = sorted({*expected, *found})
        report.differing += [f"{place}: {n}" for n in names if expected.get(n) != found.get(n)]
        report.leftovers += [f"{place}: {name}" for name in leftovers(folder)]
    shutil.rmtree(folder, ignore_errors=True)
    return report


def _moments(
    draws: random.Random, trial: int, trials: int, undisturbed: KillReport
) -> Iterator[Moment]:
    """When to kill one run, again and again; every second run by time, the others by operation."""
    # The first ones of a run are spread evenly over all that it does.
    share = (trial // 2 + draws.random()) / -(-trials // 2)
    for _ in range(draws.choice((1, 1, 1, 2, MOST_IN_A_ROW))):
        if trial % 2:
            yield Moment(seconds=share * undisturbed.seconds)
        else:
            yield Moment(operation=1 + int(share * undisturbed.operations))
        share = draws.random()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run folder by its path, without the time at which the run was started.

    That time is in `provenance.json` as `started`, and in the reports, which take it from there.
    Nothing else differs between two runs on one machine.
    """
    started = _started(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): _without(started, path.read_bytes()) for path in files
    }


def _started(folder: Path) -> bytes:
    provenance = RunFolder(folder).provenance
    if not provenance.is_file():
        return b""
    return str(json.loads(provenance.read_text("utf-8"))["started"]).encode()


def _without(time: bytes, content: bytes) -> bytes:
    return content.replace(time, b"*" * len(time)) if time else content


def leftovers(folder: Path) -> list[str]:
    """Drafts and locks in a folder, none of which a run that is through leaves."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.name.startswith(".")
    )


def untrue_records(folder: Path) -> list[str]:
    """Names of the files that are not as `outputs.json`, if it is there, tells of them."""
    record = RunFolder(folder).outputs
    if not record.is_file():
        return []
    told = json.loads(record.read_text("utf-8"))["files"]
    return [
        name
        for name, sha256 in told.items()
        if not (folder / name).exists() or sha256_of(folder / name) != sha256
    ]


class _Runs:
    """Starts runs in processes of their own, and kills them."""

    def __init__(
        self, start: Start, folder: Path, prepared: Path | None, preload: Sequence[str]
    ) -> None:
        self.start, self.folder, self.prepared = start, folder, prepared
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(list(preload))
        self.operations = self.context.RawValue("q", 0)

    def undisturbed(self) -> tuple[float, int]:
        """Seconds and operations of a run, whose folder stays; a first one imports the rest."""
        for _ in range(2):
            self.prepare()
            began = time.monotonic()
            if code := self.to_the_end():
                raise UserError(f"The undisturbed run ended with exit code {code}: see its output.")
            seconds = time.monotonic() - began
        return seconds, int(self.operations.value)

    def prepare(self) -> None:
        """Have the folder as it is before a run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.prepared is not None:
            shutil.copytree(self.prepared, self.folder)

    def killed_at(self, moment: Moment) -> bool:
        """Run until a moment; False where the run was through before."""
        process = self._started(moment.operation)
        if moment.seconds is not None:
            process.join(moment.seconds)
            process.kill()
        return self._wait(process) == -signal.SIGKILL

    def to_the_end(self) -> int:
        """Run, and give the exit code."""
        return self._wait(self._started(None))

    def _started(self, death: int | None) -> Any:
        self.operations.value = 0
        arguments = (self.start, self.folder, death, self.operations)
        process = self.context.Process(target=_run, args=arguments)
        process.start()
        return process

    def _wait(self, process: Any) -> int:
        process.join()
        code: int = process.exitcode
        process.close()
        return code


def _run(start: Start, folder: Path, death: int | None, operations: Any) -> None:
    """In the new process: run, and count operations on the folder, up to that of death."""
    below = (str(folder), os.fsencode(folder))

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES and _changes(event, arguments, below):
            operations.value += 1
            if operations.value == death:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    start(folder)


_CHANGES = frozenset({"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"})
"""Audit events of Python, each raised right before the operation."""


def _changes(event: str, arguments: tuple[Any, ...], below: tuple[str, bytes]) -> bool:
    """Whether an operation changes the folder, or opens a folder to wait for its names."""
    if event == "open":
        path, mode, flags = arguments
        if mode is not None and not flags & (os.O_WRONLY | os.O_RDWR):
            return False
        return _is_below(path, below)
    # What deletes a tree names its files within folders that it has opened.
    relative = event in ("os.remove", "os.rmdir") and arguments[-1] != -1
    return relative or any(_is_below(path, below) for path in arguments[:2])


def _is_below(path: object, below: tuple[str, bytes]) -> bool:
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if isinstance(path, str):
        return path.startswith(below[0])
    return isinstance(path, bytes) and path.startswith(below[1])
