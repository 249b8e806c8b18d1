"""How far scores and decisions depend on what should not matter: batches, order, shards, threads.

In exact arithmetic a row's score is its own. In floating point the shape of a batch decides which
kernel multiplies it and in what order it adds, so that a score differs in its last digits, and a
finite difference divides those by its step. What is promised is therefore a tolerance: between two
arrangements of the same rows, a score differs by no more than that share of the scores' spread, and
a row changes sides only if it lies nearer than that to the threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gradshield.data.tokenization import TokenizedExample
from gradshield.models.load import LoadedModel
from gradshield.scoring.engines import PreparedEngine
from gradshield.scoring.score import score_examples
from gradshield.threshold import DEFAULT_RULE, decide

Floats = np.ndarray[Any, np.dtype[np.float64]]

TOLERANCES = {"per_example": 1e-4, "jvp": 1e-4, "finite_difference": 5e-3}
"""By engine: how far a score in float32 may differ, in standard deviations of the scores."""


@dataclass(frozen=True)
class Arrangement:
    """One of the ways to score the same rows.

    Attributes:
        batch_tokens: Padded tokens of one batch; 1 scores every row alone.
        order: Seed of the order in which the rows stand in the data; None for the one given.
        shards: Neighbouring rows are scored in so many pieces, one after the other.
        threads: Threads of torch; None leaves them as they are.
    """

    batch_tokens: int
    order: int | None = None
    shards: int = 1
    threads: int | None = None


@dataclass(frozen=True)
class DeterminismReport:
    """What several arrangements of the same rows have in common.

    Differences are from the first arrangement, in standard deviations of its scores.

    Attributes:
        rows: How many were scored.
        arrangements: In how many ways.
        score_difference: The greatest of any row in any arrangement.
        worst: The arrangement where it occurred.
        threshold_difference: The greatest of any threshold; 0 where all of them are infinite, and
            infinite where one is and another is not.
        rows_at_edge: Rows that lie no further from the first threshold than both together.
        rows_moved: Rows that some arrangement kept and another removed.
        repeats: Whether each arrangement gave the same numbers, bit for bit, a second time.
    """

    rows: int
    arrangements: int
    score_difference: float
    worst: Arrangement
    threshold_difference: float
    rows_at_edge: int
    rows_moved: int
    repeats: bool

    @property
    def same_decisions(self) -> bool:
        """Whether every row was kept by all arrangements or removed by all."""
        return self.rows_moved == 0


def score_spread(
    loaded: LoadedModel,
    examples: Sequence[TokenizedExample],
    engine: PreparedEngine,
    arrangements: Sequence[Arrangement],
    reference: Sequence[TokenizedExample] | None = None,
    *,
    rule: str = DEFAULT_RULE,
    level: float = 0.02,
) -> DeterminismReport:
    """Score rows in several arrangements, twice each, and compare scores and decisions.

    Args:
        loaded: The aligned model.
        examples: Rows of a data set, at least two, not all with the same score.
        engine: Made ready for the model.
        arrangements: At least one; the others are compared with the first.
        reference: Harmless rows, in the batches of each arrangement; None for a rule without.
        rule: The threshold rule.
        level: Share of harmless rows that it may lose.
    """
    scores, thresholds, repeats = [], [], []
    for arrangement in arrangements:
        found = arranged_scores(loaded, examples, engine, arrangement)
        again = arranged_scores(loaded, examples, engine, arrangement)
        plain = replace(arrangement, order=None, shards=1)
        harmless = None if reference is None else arranged_scores(loaded, reference, engine, plain)
        scores.append(found)
        thresholds.append(decide(found, harmless, rule=rule, level=level).threshold)
        repeats.append(np.array_equal(found, again))
    return _compared(np.array(scores), np.array(thresholds), arrangements, all(repeats))


def arranged_scores(
    loaded: LoadedModel,
    examples: Sequence[TokenizedExample],
    engine: PreparedEngine,
    arrangement: Arrangement,
) -> Floats:
    """FIHS in this arrangement, [rows], in the order of `examples`."""
    order = np.arange(len(examples))
    if arrangement.order is not None:
        order = np.random.default_rng(arrangement.order).permutation(order)
    # A row is numbered by its place, as it would be in a file of this order.
    placed = [replace(examples[old], row=new) for new, old in enumerate(order.tolist())]
    scores = np.empty(len(examples))
    with _threads(arrangement.threads):
        for piece in np.array_split(np.arange(len(examples)), arrangement.shards):
            rows = [placed[place] for place in piece]
            found = score_examples(loaded, rows, engine, batch_tokens=arrangement.batch_tokens)
            for place in piece:
                scores[order[place]] = found[place].fihs
    return scores


def _compared(
    scores: Floats, thresholds: Floats, arrangements: Sequence[Arrangement], repeats: bool
) -> DeterminismReport:
    """The report on scores, [arrangements, rows], and thresholds, [arrangements]."""
    unit = float(np.std(scores[0]))
    differences = np.abs(scores - scores[0]).max(axis=1) / unit
    removed = scores >= thresholds[:, None]
    score_difference = float(differences.max())
    threshold_difference = _greatest_difference(thresholds) / unit
    edge = (score_difference + threshold_difference) * unit
    return DeterminismReport(
        rows=scores.shape[1],
        arrangements=len(arrangements),
        score_difference=score_difference,
        worst=arrangements[int(differences.argmax())],
        threshold_difference=threshold_difference,
        rows_at_edge=int(np.count_nonzero(np.abs(scores[0] - thresholds[0]) <= edge)),
        rows_moved=int(np.count_nonzero(removed.any(axis=0) & ~removed.all(axis=0))),
        repeats=repeats,
    )


def _greatest_difference(thresholds: Floats) -> float:
    """From the first; a threshold that removes nothing differs by nothing from another such."""
    others = thresholds[thresholds != thresholds[0]]
    return float(np.abs(others - thresholds[0]).max(initial=0.0))


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
