"""How much the values of a table take once they are spelled out.

A small file can hold a table that fills any memory: long text kept once and named a million times,
a column of nothing but nulls, buffers that are compressed a thousandfold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradshield.bounds import GIGABYTE, VARIABLE, most_bytes
from gradshield.data.errors import DataError

VALUE_BYTES = 64
"""What a value takes in Python beside its text, roughly."""


def within_bounds(tables: Iterable[Any], path: Path) -> Iterator[Any]:
    """Pass tables, or record batches, of a file on as long as all together fit into memory.

    Raises:
        DataError: They do not, see `most_bytes`.
        pyarrow.ArrowInvalid: A table is not put together as Arrow wants it; reading its values
            could read other memory.
    """
    total, most = 0, most_bytes()
    for table in tables:
        table.validate(full=True)
        total += sum(map(expanded_bytes, table.columns))
        if total > most:
            raise too_large(path)
        yield table


def too_large(path: Path) -> DataError:
    """The fault of a file that unpacks to more than it may."""
    return DataError(
        f"{path}: it unpacks to more than {most_bytes() / GIGABYTE:.3g} GB, so it may be made to "
        f"fill the memory; if it is not, raise {VARIABLE} and run again, or split the file"
    )


def expanded_bytes(array: Any) -> int:
    """Bytes, roughly, that the values of an Arrow array take as Python values."""
    if isinstance(array, pa.ChunkedArray):
        return sum(map(expanded_bytes, array.chunks))
    if isinstance(array, pa.ExtensionArray):
        return expanded_bytes(array.storage)
    own = VALUE_BYTES * len(array)
    if isinstance(array, pa.DictionaryArray):
        return own + _repeated_bytes(array.dictionary, array.indices)
    if isinstance(array, pa.StructArray):
        return own + sum(map(expanded_bytes, array.flatten()))
    if isinstance(array, pa.MapArray):
        return own + expanded_bytes(array.keys) + expanded_bytes(array.items)
    if hasattr(array, "flatten"):  # all kinds of lists
        return own + expanded_bytes(array.flatten())
    if isinstance(array, pa.RunEndEncodedArray):
        return own + len(array) * expanded_bytes(array.values)  # at worst one value fills the run
    if isinstance(array, pa.StringViewArray | pa.BinaryViewArray):
        return own + _viewed_bytes(array)
    return own + int(array.nbytes)


def _viewed_bytes(views: Any) -> int:
    """Bytes of all texts of views, which may show the same place many times.

    A view has 16 bytes, of which the first four are the length of its text.
    """
    lengths = np.frombuffer(views.buffers()[1], dtype="<i4")[::4]
    return int(lengths[views.offset : views.offset + len(views)].sum(dtype=np.int64))


def _repeated_bytes(values: Any, indices: Any) -> int:
    """Bytes of values that are taken as often as there are indices of them."""
    if len(values) == 0:
        return 0
    if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        return int(pc.sum(pc.binary_length(values).take(indices)).as_py() or 0)
    return expanded_bytes(values) * len(indices) // len(values)
