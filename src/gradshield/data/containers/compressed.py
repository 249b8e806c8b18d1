"""Line formats compressed with gzip or Zstandard."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import pyarrow as pa  # Its wheels bring Zstandard, so that no package is needed for that alone.

from gradshield.bounds import most_bytes
from gradshield.data.containers.base import Container, FileFacts, replacing
from gradshield.data.containers.expansion import too_large
from gradshield.data.containers.text import first_character, is_one_json_object
from gradshield.data.errors import DataError
from gradshield.data.rows import SourceRow

# A small file can be made to decompress to one that fills the disk. No data set for finetuning
# comes near this ratio; below RATIO_COUNTS_FROM any ratio is harmless.
MOST_RATIO = 1000
RATIO_COUNTS_FROM = 100 * 10**6

BLOCK = 1 << 20


@dataclass(frozen=True)
class Compression:
    """A way to compress; the two functions wrap a binary file, which they may close.

    What `writer` makes depends on nothing but the bytes written: no time and no name.
    """

    suffix: str
    name: str
    reader: Callable[[BinaryIO], AbstractContextManager[Any]]
    writer: Callable[[BinaryIO], AbstractContextManager[Any]]


@dataclass(frozen=True)
class CompressedContainer:
    """A compressed file of another container, of which a subset is compressed the same way.

    The rows keep their bytes as they are in the decompressed file, which lies in a temporary
    folder while it is read. In `.json` files only JSON Lines are known.
    """

    inner: Container
    compression: Compression

    @property
    def name(self) -> str:
        """See `Container.name`."""
        return f"{self.inner.name}, {self.compression.name}"

    @property
    def suffix(self) -> str:
        """See `Container.suffix`."""
        return self.inner.suffix + self.compression.suffix

    def matches(self, path: Path) -> bool:
        """See `Container.matches`."""
        return path.is_file() and path.name.lower().endswith(self.suffix)

    def facts(self, path: Path) -> FileFacts:
        """See `Container.facts`."""
        with self._decompressed(path) as plain:
            return self.inner.facts(plain)

    def rows(self, path: Path) -> Iterator[SourceRow]:
        """See `Container.rows`."""
        with self._decompressed(path) as plain:
            yield from self.inner.rows(plain)

    def read(self, path: Path) -> list[SourceRow]:
        """See `Container.read`."""
        return list(self.rows(path))

    def write_subset(self, source: Path, positions: Sequence[int], target: Path) -> None:
        """See `Container.write_subset`."""
        with replacing(source, target) as temporary, self._decompressed(source) as plain:
            subset = plain.with_name("subset")
            self.inner.write_subset(plain, positions, subset)
            self._compress(subset, temporary)

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """See `Container.join`."""
        with replacing(parts[0], target) as temporary, ExitStack() as stack:
            plain = [stack.enter_context(self._decompressed(part)) for part in parts]
            joined = plain[0].with_name("joined")
            self.inner.join(plain, joined)
            self._compress(joined, temporary)

    def _compress(self, plain: Path, target: Path) -> None:
        with (
            plain.open("rb") as content,
            target.open("wb") as file,
            self.compression.writer(file) as compressed,
        ):
            while block := content.read(BLOCK):
                compressed.write(block)

    @contextmanager
    def _decompressed(self, path: Path) -> Iterator[Path]:
        """A decompressed copy of the same name, so that messages about rows name the file."""
        with TemporaryDirectory(prefix="gradshield-") as folder:
            plain = Path(folder) / path.name
            with plain.open("wb") as file:
                for block in _blocks(path, self.compression):
                    file.write(block)
            if self.inner.suffix == ".json":
                _check_json_lines(plain, path)
            try:
                yield plain
            except DataError as error:
                raise DataError(str(error).replace(str(plain), str(path))) from error


def _blocks(path: Path, compression: Compression) -> Iterator[bytes]:
    """The decompressed content, up to the limits."""
    compressed_size, size = path.stat().st_size, 0
    with path.open("rb") as file:
        try:
            with compression.reader(file) as reader:
                while block := reader.read(BLOCK):
                    size += len(block)
                    _check_size(path, size, compressed_size)
                    yield block
        # Only reading is in the block: a fault of whoever takes the blocks is not thrown in here.
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            raise DataError(
                f"{path}: not a readable {compression.name} file, or cut short ({error}); "
                "fetch or compress it again"
            ) from error


def _check_size(path: Path, size: int, compressed_size: int) -> None:
    """Refuse what decompresses beyond any data set; `size` is what has come out so far."""
    if size > most_bytes():
        raise too_large(path)
    if size > RATIO_COUNTS_FROM and size > MOST_RATIO * compressed_size:
        raise DataError(
            f"{path}: the file decompresses to more than {MOST_RATIO} times its size, so it may be "
            "made to fill the disk; if it is not, decompress it yourself and name the result"
        )


def _check_json_lines(plain: Path, path: Path) -> None:
    if first_character(plain) == b"[" or is_one_json_object(plain):
        raise DataError(
            f"{path}: a compressed .json file must hold JSON Lines; decompress it, or write one "
            "object a line"
        )


def _read_gzip(file: BinaryIO) -> AbstractContextManager[Any]:
    return gzip.GzipFile(fileobj=file, mode="rb")


def _write_gzip(file: BinaryIO) -> AbstractContextManager[Any]:
    # Level 6 is that of the gzip program.
    return gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0)


def _read_zstandard(file: BinaryIO) -> AbstractContextManager[Any]:
    _check_zstandard(file)
    stream: AbstractContextManager[Any] = pa.CompressedInputStream(pa.PythonFile(file), "zstd")
    return stream


def _write_zstandard(file: BinaryIO) -> AbstractContextManager[Any]:
    stream: AbstractContextManager[Any] = pa.CompressedOutputStream(pa.PythonFile(file), "zstd")
    return stream


def _check_zstandard(file: BinaryIO) -> None:
    """Refuse in words what a build of pyarrow without Zstandard would refuse in a traceback."""
    if not _zstandard_is_there():
        raise DataError(
            f"{file.name}: the installed pyarrow was built without Zstandard; "
            "`pip install --force-reinstall pyarrow`, or decompress the file"
        )


def _zstandard_is_there() -> bool:
    return bool(pa.Codec.is_available("zstd"))


GZIP = Compression(".gz", "gzip", _read_gzip, _write_gzip)
ZSTANDARD = Compression(".zst", "Zstandard", _read_zstandard, _write_zstandard)
COMPRESSIONS = (GZIP, ZSTANDARD)
