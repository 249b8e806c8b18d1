"""Names of filters and methods for keys: as `repr` has them, and the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gradshield.benchmark.grid.keys import digest, stable_repr
from gradshield.benchmark.training_methods import TRAINING_METHODS
from gradshield.filters import Need

PROGRAM = """
from dataclasses import dataclass
from gradshield.benchmark.grid.keys import stable_repr
@dataclass
class Chosen:
    needs: frozenset
print(stable_repr(Chosen(frozenset("abcdef"))))
"""
NAME = "Chosen(needs=frozenset({'a', 'b', 'c', 'd', 'e', 'f'}))"


@pytest.mark.parametrize("value", [frozenset(), frozenset({1}), 0.1, "a", {"b": (1, None)}])
def test_it_is_repr_where_there_is_no_order_to_choose(value: object) -> None:
    assert stable_repr(value) == repr(value)


def test_a_dataclass_is_named_as_by_repr() -> None:
    chosen = TRAINING_METHODS["safe_instruct"]
    assert stable_repr(chosen) == repr(chosen)


def test_sets_are_sorted() -> None:
    found = stable_repr(frozenset({Need.REFUSALS, Need.LABELS}))
    assert found == f"frozenset({{{Need.LABELS!r}, {Need.REFUSALS!r}}})"


def test_a_set_among_the_fields_has_one_name_in_all_processes() -> None:
    names = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert names == {f"{NAME}\n"}


def test_parts_are_told_apart() -> None:
    assert digest(["a", "b"]) != digest(["ab"])
    assert len(digest([])) == 32
