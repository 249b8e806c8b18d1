"""Filters that need no thought: none, random, oracle, mean loss."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradshield.filters import FILTERS
from gradshield.filters.mean_loss import MeanLoss
from gradshield.filters.no_filter import NoFilter
from gradshield.filters.oracle import Oracle
from gradshield.filters.random_order import LengthMatchedRandom, RandomOrder, shuffled_among_like
from gradshield.filters.response_length import ResponseLength
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material


def test_names_are_those_of_the_registry() -> None:
    assert all(name == one.name for name, one in FILTERS.items())


def test_no_filter_keeps_every_row() -> None:
    material = tiny_material()
    scores = NoFilter().score(as_rows(material.loaded, PAIRS), material)
    assert scores.threshold == math.inf


def test_random_removes_a_fifth_and_depends_on_the_seed() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS * 5)
    scores = RandomOrder().score(rows, material)
    assert (scores.values >= scores.threshold).sum() == 4
    again = RandomOrder().score(rows, material)
    other = RandomOrder().score(rows, tiny_material(seed=1))
    assert np.array_equal(scores.values, again.values)
    assert not np.array_equal(scores.values, other.values)


def test_the_shuffled_scores_stay_among_rows_of_like_length() -> None:
    lengths = np.repeat([3, 50, 9], 8)
    values = lengths + np.arange(24) / 100
    shuffled = shuffled_among_like(values, lengths, seed=0)
    assert np.array_equal(np.floor(shuffled), lengths)
    assert sorted(shuffled) == sorted(values)
    assert not np.array_equal(shuffled, values)


def test_matched_random_keeps_values_and_threshold() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    theirs = MeanLoss().score(rows, material)
    shuffled = LengthMatchedRandom(MeanLoss()).score(rows, material)
    assert sorted(shuffled.values) == sorted(theirs.values)
    assert shuffled.threshold == theirs.threshold


def test_the_oracle_removes_the_harmful_rows() -> None:
    material = tiny_material(labels=[False, False, True, False])
    scores = Oracle().score(as_rows(material.loaded, PAIRS), material)
    assert (scores.values >= scores.threshold).tolist() == [False, False, True, False]


@pytest.mark.parametrize("labels", [None, [True]])
def test_the_oracle_needs_all_labels(labels: list[bool] | None) -> None:
    material = tiny_material(labels=labels)
    with pytest.raises(ValueError, match="label for every row"):
        Oracle().score(as_rows(material.loaded, PAIRS), material)


def test_the_length_is_the_number_of_response_tokens() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS * 5)
    scores = ResponseLength().score(rows, material)
    assert scores.values.tolist() == [sum(row.example.response_mask) for row in rows]
    assert scores.threshold == sorted(scores.values)[-4]


def test_mean_loss_is_that_of_the_models_own_forward() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    scores = MeanLoss().score(rows, material)
    for row, value in zip(rows, scores.values, strict=True):
        example = row.example
        ids = material.loaded.model.dummy_inputs["input_ids"].new_tensor([example.input_ids])
        labels = ids.clone()
        labels[0, [not wanted for wanted in example.response_mask]] = -100
        expected = float(material.loaded.model(input_ids=ids, labels=labels).loss)
        assert value == pytest.approx(expected, rel=1e-5)
