"""The record of what `apply` wrote: from what, and the SHA-256 of each file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gradshield.config import RunConfig
from gradshield.durable import remove
from gradshield.errors import UserError
from gradshield.files import sha256_of, write_text
from gradshield.run.folder import RunFolder, read_json, write_json
from gradshield.run.overrides import Override
from gradshield.run.provenance import versions

WRITTEN = ("kept", "removed", "rejected", "annotated", "masked")


def record_outputs(folder: RunFolder, config: RunConfig, overrides: Mapping[int, Override]) -> None:
    """Write `outputs.json`, once all data files are there.

    Args:
        folder: The run.
        config: With what the files were written.
        overrides: Those in effect, by row.
    """
    written = [path for name in WRITTEN for path in folder.written(name)]
    write_json(
        folder.outputs,
        {
            "gradshield": versions()["gradshield"],
            "on_reject": config.on_reject,
            "action": config.action,
            "overrides": {str(row): override.action for row, override in overrides.items()},
            "trail": trail_record(folder),
            "scores_sha256": sha256_of(folder.scores),
            "files": {path.name: sha256_of(path) for path in written},
        },
    )


def trail_record(folder: RunFolder, size: int | None = None) -> dict[str, Any]:
    """Bytes of the trail of overrides and their SHA-256; of the first `size` of them, if given."""
    content = folder.overrides.read_bytes() if folder.overrides.is_file() else b""
    content = content[:size]
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@contextmanager
def record_withdrawn(folder: RunFolder) -> Iterator[None]:
    """Be without the record while the files change, so that it never tells of other files.

    It stays away at the end. It comes back where the block fails for something that the user can
    mend, and so has changed nothing.
    """
    record = folder.outputs.read_bytes() if folder.outputs.is_file() else None
    remove(folder.outputs)
    try:
        yield
    except UserError:
        if record is not None:
            write_text(folder.outputs, record.decode("utf-8"))
        raise


def read_outputs(folder: RunFolder) -> dict[str, Any]:
    """Read `outputs.json`.

    Raises:
        UserError: There is none: the files were not written, or not all of them.
    """
    if not folder.outputs.is_file():
        raise UserError(
            f"{folder.path} has no outputs.json: its data files were not written to the end, or by "
            "an earlier version. Run `gradshield apply` again."
        )
    content: dict[str, Any] = read_json(folder.outputs)
    return content
