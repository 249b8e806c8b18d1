"""Finding out what the name of an input stands for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gradshield.data.containers import FileFacts, open_container
from gradshield.data.containers.base import is_saved_dataset
from gradshield.data.errors import DataError
from gradshield.data.hub import fetch, hub_name
from gradshield.data.shards import (
    common_container,
    files_of_folder,
    files_of_pattern,
    is_pattern,
)
from gradshield.data.source import DataSource


def open_source(
    name: str | Path,
    *,
    split: str | None = None,
    subset: str | None = None,
    data_revision: str | None = None,
) -> DataSource:
    """Find out what an input is, and look through it.

    Args:
        name: A file; a folder written by `save_to_disk`, or with data files of one kind; a pattern
            such as `data/*.jsonl.gz`; `hub:OWNER/NAME`, or OWNER/NAME where no such path exists.
        split: Which split, of a saved `DatasetDict` or on the hub.
        subset: Which configuration, on the hub.
        data_revision: Which revision, on the hub.

    Raises:
        DataError: There is no such input, it is of no known kind or of several, or has no rows.
    """
    name, path = str(name), Path(name)
    if is_on_hub(name):
        return _single(name, _fetched(name, split, subset, data_revision), None)
    if not path.exists() and not is_pattern(name) and hub_name(name) is not None:
        raise DataError(f"{name}: no such file or folder; if the hub is meant, name hub:{name}")
    _refuse_hub_options(name, subset, data_revision)
    if not path.exists() and is_pattern(name):
        files, others = files_of_pattern(name), list[Path]()
        root = Path(os.path.commonpath([file.parent for file in files]))
    elif path.is_dir() and not is_saved_dataset(path):
        (files, others), root = files_of_folder(path), path
    else:
        return _single(name, path, split)
    if len(files) == 1:
        return replace(_single(name, files[0], split), location=os.path.abspath(name))
    if split is not None:
        raise DataError(
            f"{name}: --split {split} is for saved data sets and the hub, not for files"
        )
    return _sharded(name, files, others, root)


def is_on_hub(name: str) -> bool:
    """Whether a name is looked for on the hub; not if it may be a mistyped path."""
    on_hub = None if Path(name).exists() or is_pattern(name) else hub_name(name)
    return on_hub is not None and (on_hub != name or not Path(name).parent.is_dir())


def _fetched(name: str, split: str | None, subset: str | None, revision: str | None) -> Path:
    """The file that a data set of the hub is fetched to."""
    on_hub = str(hub_name(name))
    try:
        return fetch(on_hub, split=split, subset=subset, revision=revision)
    except DataError as error:
        if on_hub != name:
            raise
        raise DataError(f"{name}: no such file or folder, and on the hub, {error}") from error


def _single(name: str, path: Path, split: str | None) -> DataSource:
    container = open_container(path, split)
    facts = container.facts(path)
    location = str(path.resolve())
    return DataSource(name, location, path, (path,), container, (facts.rows,), facts)


def _sharded(name: str, files: Sequence[Path], others: Sequence[Path], root: Path) -> DataSource:
    container = common_container(files, name)
    facts = [container.facts(path) for path in files]
    if not any(fact.rows for fact in facts):
        raise DataError(f"{name}: there are no rows in its {len(files)} files")
    notes = [note for fact in facts for note in fact.notes]
    if others:
        names = ", ".join(path.name for path in others[:5]) + (", …" if others[5:] else "")
        notes.append(f"not read, since they are no data files: {names} in {name}")
    return DataSource(
        name=name,
        location=os.path.abspath(name),
        root=root,
        files=tuple(files),
        container=container,
        counts=tuple(fact.rows for fact in facts),
        facts=FileFacts(
            rows=sum(fact.rows for fact in facts),
            blank_lines=sum(fact.blank_lines for fact in facts),
            notes=tuple(notes),
        ),
    )


def _refuse_hub_options(name: str, subset: str | None, data_revision: str | None) -> None:
    for option, value in (("--subset", subset), ("--data-revision", data_revision)):
        if value is not None:
            raise DataError(f"{name}: {option} {value} is for data sets of the hub only")
