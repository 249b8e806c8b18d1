"""Fingerprints of rows and runs."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradshield.data import open_source
from gradshield.run.fingerprints import canonical_sha256, fingerprints_of, run_fingerprint
from tests.run.data_files import mixed_jsonl, mixed_lines, rows_of


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_json_lines_are_their_bytes_without_endings(tmp_path: Path) -> None:
    data = mixed_jsonl(tmp_path / "mixed.jsonl")
    expected = [_sha256(line.rstrip(b"\r\n")) for line in rows_of(mixed_lines())]
    assert fingerprints_of(open_source(data)) == expected
    assert len(set(expected)) == len(expected)  # those that cannot be parsed included


def test_compressed_rows_are_those_inside(tmp_path: Path) -> None:
    plain = mixed_jsonl(tmp_path / "mixed.jsonl")
    packed = tmp_path / "mixed.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert fingerprints_of(open_source(packed)) == fingerprints_of(open_source(plain))


def test_csv_records_are_their_bytes(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(b'prompt,completion\r\n"a\nb",c\r\nd,e,f\r\n"g",h')
    assert fingerprints_of(open_source(data)) == [
        _sha256(b'"a\nb",c'),
        _sha256(b"d,e,f"),
        _sha256(b'"g",h'),
    ]


def test_array_elements_are_their_bytes_also_where_they_are_no_rows(tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text('[ {"b": 1,\n "a": "é"} , 7 ]', encoding="utf-8")
    assert fingerprints_of(open_source(data)) == [
        _sha256('{"b": 1,\n "a": "é"}'.encode()),
        _sha256(b"7"),
    ]


def test_stored_values_are_canonical_json(tmp_path: Path) -> None:
    rows = [{"b": "é", "a": [1, None]}, {"b": "x", "a": []}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    expected = [_sha256(rb'{"a":[1,null],"b":"\u00e9"}'), _sha256(b'{"a":[],"b":"x"}')]
    assert fingerprints_of(open_source(tmp_path / "data.parquet")) == expected


def test_values_that_json_lacks_count_too() -> None:
    days = [canonical_sha256({"day": date(2026, 1, day)}) for day in (1, 2)]
    assert days[0] != days[1]
    assert canonical_sha256({"a": b"\xff"}) != canonical_sha256({"a": b"\xfe"})
    assert canonical_sha256({"a": "\ud800"})  # half of a surrogate pair


@pytest.mark.parametrize("change", [{"data_sha256": "b"}, {"engine": "jvp"}, {"more": None}])
def test_a_run_is_what_decides_its_scores(change: dict[str, str | None]) -> None:
    identity = {"data_sha256": "a", "model": "m", "max_length": 2048}
    again = json.loads(json.dumps(dict(reversed(identity.items()))))
    assert run_fingerprint(again) == run_fingerprint(identity)
    assert run_fingerprint({**identity, **change}) != run_fingerprint(identity)
