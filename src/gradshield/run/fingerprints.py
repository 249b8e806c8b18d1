"""Fingerprints: what tells that a row, or a run, is still the one that a reviewer looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gradshield.data import DataSource, SourceRow


def row_fingerprint(row: SourceRow) -> str:
    """SHA-256, in hexadecimal, of what a row holds, wherever in its file it stands.

    Taken of the row's bytes without their line ending where the container has bytes for a row
    (JSON Lines, JSON, CSV and TSV, compressed or not), else of its value as canonical JSON. Rows
    that are equal have equal fingerprints.
    """
    if row.content is not None:
        return hashlib.sha256(row.content).hexdigest()
    return canonical_sha256(row.value)


def fingerprints_of(source: DataSource) -> list[str]:
    """The fingerprint of every row of an input, in its order.

    Raises:
        DataError: The file cannot be read.
    """
    return [row_fingerprint(row) for row in source.rows()]


def digests_of(source: DataSource) -> npt.NDArray[np.bytes_]:
    """The same as `fingerprints_of` in 32 bytes a row, to be compared; [rows].

    Raises:
        DataError: The file cannot be read.
    """
    digests = bytearray()
    for row in source.rows():
        digests += bytes.fromhex(row_fingerprint(row))
    return np.frombuffer(digests, dtype="S32")


def run_fingerprint(identity: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of the `identity` in `provenance.json`: data, model and scoring.

    It stays when the threshold is chosen again, and changes when anything is that makes scores.
    """
    return canonical_sha256(identity)


def canonical_sha256(value: Any) -> str:
    """SHA-256 of a value as JSON with sorted keys, without spaces and in ASCII.

    Values that JSON lacks, such as the dates and bytes of Parquet, count as Python writes them.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
