"""Checkpoints of a training that can go on, whatever ended it.

The trainer writes a checkpoint file by file and in place. It counts once it is on the disk with all
its files and has a mark that says so; only then are those before it deleted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradshield.durable import remove, sync
from gradshield.files import write_text

WHOLE = "whole"
"""File of a checkpoint that was written to its end."""


def last_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that was written to its end, or None."""
    numbered = sorted((number, path) for path, number in _checkpoints(folder).items())
    return next((path for _, path in reversed(numbered) if (path / WHOLE).is_file()), None)


def _checkpoints(folder: Path) -> dict[Path, int]:
    """Folders of checkpoints, and after how many steps each was written."""
    ends = {path: path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")}
    return {path: int(end) for path, end in ends.items() if end.isdecimal()}


class KeepLast(TrainerCallback):
    """Makes a new checkpoint count, and deletes the others."""

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """After the trainer has written the last file."""
        folder = Path(str(args.output_dir))
        new = folder / f"checkpoint-{state.global_step}"
        sync(new)
        write_text(new / WHOLE, "")
        for other in _checkpoints(folder):
            if other != new:
                remove(other)
