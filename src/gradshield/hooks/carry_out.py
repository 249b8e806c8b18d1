"""Carry out a plan: filter each data file, then write the new configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gradshield.errors import UserError
from gradshield.files import sha256_of, write_text
from gradshield.hooks.base import Filtering, Hook, Plan
from gradshield.progress import Progress
from gradshield.run.filter import filter_data
from gradshield.run.folder import RunFolder
from gradshield.run.summary import keeps_nothing
from gradshield.run.threshold import read_decision

MARK = "# Written by `gradshield hook "
"""How a configuration of ours begins."""


@dataclass(frozen=True)
class Outcome:
    """What became of one data file."""

    filtering: Filtering
    kept: int
    removed: int
    rejected: int


def new_path(config: Path, out: Path | None) -> Path:
    """Where the new configuration goes: by default beside the old one.

    Raises:
        UserError: There is no configuration, it is ours already, or `out` is the very file.
    """
    if not config.is_file():
        raise UserError(f"There is no configuration {config}: check the path.")
    if config.read_bytes().startswith(MARK.encode()):
        raise UserError(
            f"{config} was written by this command and reads filtered rows: name the configuration "
            "that it was made from."
        )
    new = out or config.with_name(f"{config.stem}.gradshield{config.suffix}")
    if new.exists() and new.samefile(config):
        raise UserError(f"--out {new} is the configuration itself, which stays as it is.")
    return new


def carry_out(
    hook: Hook, config: Path, plan: Plan, progress: Progress, *, force: bool
) -> list[Outcome]:
    """Filter, then write; a run that is done is not done again.

    Args:
        hook: Whose configuration it is.
        config: That configuration; it stays as it is.
        plan: What is to be done.
        progress: Told how far it is.
        force: Start runs of other inputs over, and overwrite files that are not ours.

    Raises:
        UserError: A data file cannot be filtered, nothing of it is kept, or another file is in
            the way. No configuration is written then.
        RowsRejected: Under `on_reject: fail`.
    """
    _check_free(_with_mark(hook, config, plan.rewrite("")), force)
    outcomes = [_filter(filtering, progress, force) for filtering in plan.filterings]
    for path, text in _with_mark(hook, config, plan.rewrite(_version(plan))).items():
        write_text(path, text)
    return outcomes


def _filter(filtering: Filtering, progress: Progress, force: bool) -> Outcome:
    progress.say(f"{filtering.label}: {filtering.command}")
    folder = RunFolder(filtering.run)
    filter_data(filtering.config, folder, progress, force=force)
    decision = read_decision(folder)
    if keeps_nothing(filtering.config, decision):
        raise UserError(
            f"No row of {filtering.config.data_path} ({filtering.label}) is kept, so there is no "
            f"configuration to train with: see {folder.summary}."
        )
    counts = {name: int(decision[name]) for name in ("kept", "removed", "rejected")}
    return Outcome(filtering, **counts)


def _version(plan: Plan) -> str:
    """A name that changes when any kept row does."""
    digests = [sha256_of(filtering.kept) for filtering in plan.filterings]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:12]


def _with_mark(hook: Hook, config: Path, files: Mapping[Path, str]) -> dict[Path, str]:
    """The files, of which those that can say so tell where they are from; JSON cannot."""
    line = f"{MARK}{hook.name} {config.name}`: change that file and run this again.\n"
    return {path: text if path.suffix == ".json" else line + text for path, text in files.items()}


def _check_free(files: Mapping[Path, str], force: bool) -> None:
    """Refuse to overwrite what this command did not write."""
    there = [path for path in files if path.exists()]
    ours = [path for path in there if _is_ours(path, files[path])]
    for path in there:
        # JSON cannot say where it is from: what stands beside it does.
        if not (force or path in ours or (ours and path.suffix == ".json")):
            raise UserError(
                f"{path} is there already and is none of ours: name another --out, or overwrite it "
                "by --force."
            )


def _is_ours(path: Path, text: str) -> bool:
    content = path.read_bytes()
    return content.startswith(MARK.encode()) or content == text.encode()
