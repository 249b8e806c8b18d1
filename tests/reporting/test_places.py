"""Places of rows, put in and taken out."""

from __future__ import annotations

import hashlib

import pytest

from gradshield.reporting.places import MOST_SOURCES, Places, RowPlace


def _place(row: int, source: str | None, line: int | None = 1, file: str | None = None) -> RowPlace:
    return RowPlace(line, source, hashlib.sha256(bytes([row])).hexdigest(), file)


def test_what_was_put_in_comes_out() -> None:
    given = [
        _place(0, "b", line=3),
        _place(1, None, line=None),
        _place(2, "a", file="one.jsonl"),
        _place(3, "b", file="two.jsonl"),
    ]
    places = Places()
    for place in given:
        places.append(place)
    assert [places[row] for row in range(len(places))] == given
    assert places.sources == ("b", "a")
    assert places.source_numbers().tolist() == [0, -1, 1, 0]


@pytest.mark.parametrize("different", [MOST_SOURCES, MOST_SOURCES + 1, 10 * MOST_SOURCES])
def test_too_many_sources_are_told_by_one_too_many(different: int) -> None:
    places = Places()
    for row in range(different):
        places.append(_place(0, f"source {row}"))
    assert len(places.sources) == min(different, MOST_SOURCES + 1)
