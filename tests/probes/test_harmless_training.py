"""Cleaning by parts leaves what cleaning at once leaves, and parts keep to their size."""

from __future__ import annotations

from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradshield.models.load import LoadedModel
from gradshield.probes import harmless_training
from gradshield.probes.direction import training_direction, without_span
from gradshield.probes.harmless_training import (
    harmless_groups,
    parts_within,
    without_harmless_training,
)
from gradshield.progress import Silent
from tests.tiny_models import random_direction, tiny_loaded


@pytest.fixture
def few_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of the packaged groups: as many as a tiny model's smallest matrix stays apart from."""

    def three(loaded: LoadedModel) -> list:  # type: ignore[type-arg]
        return harmless_groups(loaded)[:3]

    monkeypatch.setattr(harmless_training, "harmless_groups", three)


@pytest.mark.usefixtures("few_groups")
@pytest.mark.parametrize("most_bytes", [1, 3 * 4 * 5000, 10**9])
def test_what_is_left_does_not_depend_on_how_many_layers_fit(most_bytes: int) -> None:
    loaded = tiny_loaded()
    directions = [random_direction(loaded.model, seed=seed) for seed in range(2)]
    span = [training_direction(loaded.model, group) for group in harmless_groups(loaded)[:3]]
    found = without_harmless_training(loaded, directions, Silent(), most_bytes=most_bytes)
    for direction, left in zip(directions, found, strict=True):
        expected = without_span(direction, span)
        assert list(left.tensors) == list(direction.tensors)
        for name, tensor in expected.tensors.items():
            assert torch.equal(left.tensors[name], tensor)
        assert left.record == expected.record


def test_all_packaged_rows_are_in_a_group_of_twelve() -> None:
    groups = harmless_groups(tiny_loaded())
    assert [len(group) for group in groups[:-1]] == [12] * (len(groups) - 1)
    assert 1 <= len(groups[-1]) <= 12


def test_parts_by_hand() -> None:
    sizes = {"a": 4, "b": 3, "c": 3, "d": 20, "e": 1, "f": 9}
    assert parts_within(sizes, 10) == [["a", "b", "c"], ["d"], ["e", "f"]]


@given(st.lists(st.integers(1, 50)), st.integers(0, 100))
def test_parts_keep_all_names_and_the_bound(sizes: list[int], most: int) -> None:
    parts = parts_within(dict(zip(map(str, range(len(sizes))), sizes, strict=True)), most)
    assert [*chain.from_iterable(parts)] == [str(place) for place in range(len(sizes))]
    for part in parts:
        assert len(part) == 1 or sum(sizes[int(name)] for name in part) <= most
    for one, following in pairwise(parts):
        assert sum(sizes[int(name)] for name in [*one, following[0]]) > most
