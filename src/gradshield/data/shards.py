"""Several files as one input: which files a name stands for, and in which order."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from gradshield.data.containers import CONTAINERS, Container, find_container
from gradshield.data.errors import DataError


def is_pattern(name: str) -> bool:
    """Whether a name that is no path has wildcards."""
    return glob.has_magic(name)


def files_of_pattern(pattern: str) -> list[Path]:
    """The files that a shell pattern stands for (`*`, `?`, `[...]`, and `**` for any folders).

    Raises:
        DataError: There is none.
    """
    found = [Path(name) for name in glob.glob(pattern, recursive=True)]
    files = natural_order(path for path in found if path.is_file())
    if not files:
        raise DataError(f"{pattern}: no file has a name of this pattern")
    return files


def files_of_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """The data files in a folder, not in those below it, and its other files.

    Names that begin with a point or a low line are passed over.

    Raises:
        DataError: There is no data file.
    """
    seen = [path for path in folder.iterdir() if not path.name.startswith((".", "_"))]
    files = natural_order(path for path in seen if path.is_file())
    data = [path for path in files if _has_known_suffix(path)]
    if any(path.suffix != ".json" for path in data):
        # Descriptions of a data set, such as dataset_infos.json, stand beside its rows.
        data = [path for path in data if find_container(path) or not path.stat().st_size]
    if not data:
        inner = " or, for those in its folders, a pattern such as " + repr(f"{folder}/**/*.jsonl")
        raise DataError(
            f"{folder}: there is no data file in this folder, and it was not written by "
            "save_to_disk of the datasets library; name a file"
            + (inner if any(path.is_dir() for path in seen) else "")
        )
    return data, [path for path in files if path not in data]


def common_container(files: Sequence[Path], name: str) -> Container:
    """The one container that all files are of; an empty file counts as one of the others' kind.

    Raises:
        DataError: They are of several kinds, or one is of none.
    """
    kinds: dict[Path, Container] = {}
    for path in files:
        container = find_container(path)
        if container is not None:
            kinds[path] = container
        elif path.stat().st_size > 0:
            raise DataError(
                f"{path}: the file is of no kind that can be read, among those of {name}"
            )
    counts = Counter(container.suffix + " " + container.name for container in kinds.values())
    if len(counts) > 1:
        groups = ", ".join(
            f"{count} of the kind {kind.split(' ', 1)[1]} ({kind.split(' ', 1)[0]})"
            for kind, count in sorted(counts.items())
        )
        raise DataError(
            f"{name}: the files are of several kinds: {groups}; name those of one kind by a "
            "pattern, such as 'data/*.jsonl'"
        )
    if not kinds:
        raise DataError(f"{name}: all files are empty, there are no rows to read")
    return next(iter(kinds.values()))


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Paths by name, with numbers in them by value: shard 2 before shard 10."""
    return sorted(set(paths), key=lambda path: (_natural(path.as_posix()), path.as_posix()))


def _natural(name: str) -> list[tuple[int, int, str]]:
    pieces = re.split(r"(\d+)", name)
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in pieces if p]


def _has_known_suffix(path: Path) -> bool:
    return path.name.lower().endswith(tuple(c.suffix for c in CONTAINERS if c.suffix))
