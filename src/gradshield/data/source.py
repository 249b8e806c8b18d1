"""The input as a whole: one file, a saved data set, many shards, or a data set of the hub."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

from gradshield.data.containers import Container, FileFacts
from gradshield.data.containers.base import check_positions, is_saved_dataset
from gradshield.data.containers.datasets_folder import DatasetsFolderContainer, chosen_split
from gradshield.data.parts import Part, divide_evenly, write_parts
from gradshield.data.rows import SourceRow
from gradshield.data.shards import natural_order
from gradshield.files import sha256_of


@dataclass(frozen=True)
class DataSource:
    """An input; its rows are numbered through all of its files, in their order.

    Attributes:
        name: What the user called it.
        location: By what it can be opened again: an absolute path, or a pattern of one.
        root: The file, or the folder in which all files are, at any depth.
        files: The files, or the one saved data set, in natural order of their names.
        container: The kind that all files are of.
        counts: Number of rows of each file.
        facts: Counts and notes of all files together.
    """

    name: str
    location: str
    root: Path
    files: tuple[Path, ...]
    container: Container
    counts: tuple[int, ...]
    facts: FileFacts

    @property
    def is_sharded(self) -> bool:
        """Whether it is made of several files, so that subsets are folders."""
        return len(self.files) > 1

    @property
    def split(self) -> str | None:
        """The split that is read of a saved data set with splits."""
        if isinstance(self.container, DatasetsFolderContainer):
            return chosen_split(self.files[0], self.container.split)
        return None

    @property
    def description(self) -> str:
        """The input in a few words: name, files, rows, kind and split."""
        files = f"{len(self.files)} files, " if self.is_sharded else ""
        split = "" if self.split is None else f", split {self.split}"
        return f"{self.name}: {files}{self.facts.rows} rows ({self.container.name}{split})"

    def label(self, path: Path) -> str:
        """A file as messages and subsets call it: its path below the root."""
        return path.relative_to(self.root).as_posix() if self.is_sharded else path.name

    def rows(self) -> Iterator[SourceRow]:
        """Every row, in order, as `Container.rows` gives them.

        Raises:
            DataError: While rows are taken: a file as a whole cannot be read.
        """
        starts = accumulate(self.counts, initial=0)
        for path, start in zip(self.files, starts, strict=False):
            rows = self.container.rows(path)
            if self.is_sharded:
                label = self.label(path)
                yield from (replace(row, position=start + row.position, file=label) for row in rows)
            else:
                yield from rows

    def read(self) -> list[SourceRow]:
        """Every row at once; for small inputs, and where all rows are needed together.

        Raises:
            DataError: A file as a whole cannot be read.
        """
        return list(self.rows())

    def sha256(self) -> str:
        """SHA-256 over the content of all files, and over their names where they are several."""
        if not self.is_sharded:
            path = self.files[0]
            if isinstance(self.container, DatasetsFolderContainer) and self.container.split:
                path = path / self.container.split
            return sha256_of(path)
        listing = [f"{self.label(path)} {sha256_of(path)}" for path in self.files]
        return hashlib.sha256("\n".join(listing).encode("utf-8", "surrogateescape")).hexdigest()

    def parts(
        self, rows: Sequence[int], name: str, suffix: str, shards: int | None = None
    ) -> list[Part]:
        """The files to write rows to.

        Args:
            rows: Positions in ascending order.
            name: What to call the file or folder.
            suffix: Ending of each file.
            shards: Number of files, of nearly equal numbers of rows; None for one, or for one for
                each of the input, with its name, also where none of its rows is written.

        Raises:
            DataError: There is no row at a position.
        """
        check_positions(rows, sum(self.counts), Path(self.name))
        if shards is not None:
            chunks = list(divide_evenly(rows, shards))
            names = [f"{name}/{name}-{i:05d}-of-{len(chunks):05d}" for i in range(len(chunks))]
            return [
                Part(stem + suffix, chunk, self._pieces(chunk))
                for stem, chunk in zip(names, chunks, strict=True)
            ]
        if not self.is_sharded:
            return [Part(name + suffix, rows, [(self.files[0], rows)])]
        return [
            Part(f"{name}/{label}", own, [(path, local)])
            for label, (path, (own, local)) in zip(
                self._labels(suffix), self._by_file(rows), strict=True
            )
        ]

    def write_subset(
        self, rows: Sequence[int], folder: Path, name: str, shards: int | None = None
    ) -> Path:
        """Write rows unchanged, in the container of the input; see `parts`.

        A saved data set becomes one, `name_rows`, with so many shards.

        Returns:
            The file or folder.

        Raises:
            DataError: There is no row at a position, or rows of files with different columns would
                come into one file.
        """
        if isinstance(self.container, DatasetsFolderContainer):
            target = folder / f"{name}_rows"
            number = None if shards is None else max(1, min(shards, len(rows)))
            replace(self.container, shards=number).write_subset(self.files[0], rows, target)
            return target
        return write_parts(
            self.parts(rows, name, self.container.suffix, shards), folder, self._write
        )

    def subset_rows(self, written: Path) -> Iterator[SourceRow]:
        """Every row of what `write_subset` wrote, also where that has none.

        Raises:
            DataError: While rows are taken: a file as a whole cannot be read.
        """
        files = [written]
        if written.is_dir() and not is_saved_dataset(written):
            files = natural_order(path for path in written.rglob("*") if path.is_file())
        return (row for path in files for row in self.container.rows(path))

    def check_layout(self, shards: int | None) -> None:
        """Find out, before anything is written, whether rows of all files can stand in one.

        Raises:
            DataError: `shards` asks for that, and the files have different columns.
        """
        if shards is None or not self.is_sharded:
            return
        none: list[int] = []
        with TemporaryDirectory(prefix="gradshield-") as scratch:
            self._write(
                Part("", none, [(path, none) for path in self.files]), Path(scratch) / "all"
            )

    def _labels(self, suffix: str) -> list[str]:
        """The files' labels with another ending, or with their own."""
        labels = [self.label(path) for path in self.files]
        if suffix == self.container.suffix:
            return labels
        other = [label[: -len(self.container.suffix)] + suffix for label in labels]
        # Of names that differ in capitals of the ending only, both would be one.
        return other if len(set(other)) == len(other) else [label + suffix for label in labels]

    def _by_file(
        self, rows: Sequence[int]
    ) -> Iterator[tuple[Path, tuple[Sequence[int], Sequence[int]]]]:
        """Each file, with its rows by their positions in the input and in the file."""
        start = 0
        for path, count in zip(self.files, self.counts, strict=True):
            own = rows[bisect_left(rows, start) : bisect_left(rows, start + count)]
            yield path, (own, [row - start for row in own])
            start += count

    def _pieces(self, rows: Sequence[int]) -> list[tuple[Path, Sequence[int]]]:
        found = [(path, local) for path, (_, local) in self._by_file(rows) if local]
        return found or [(self.files[0], [])]

    def _write(self, part: Part, target: Path) -> None:
        if len(part.pieces) == 1:
            path, local = part.pieces[0]
            self.container.write_subset(path, local, target)
            return
        with TemporaryDirectory(prefix="gradshield-") as scratch:
            drafts = [
                Path(scratch) / str(number) / path.name
                for number, (path, _) in enumerate(part.pieces)
            ]
            for draft, (path, local) in zip(drafts, part.pieces, strict=True):
                self.container.write_subset(path, local, draft)
            self.container.join(drafts, target)
