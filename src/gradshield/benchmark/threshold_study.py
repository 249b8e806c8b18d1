"""Compare the threshold rules on scores whose labels are known.

python -c "from gradshield.benchmark.threshold_study import *; \
               print(render_table(run_threshold_study()))"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gradshield.threshold import RULES, decide
from gradshield.threshold.rule import FloatArray

LabelArray = npt.NDArray[np.bool_]
LabelledScores = tuple[str, FloatArray, LabelArray, FloatArray | None]
Sampler = Callable[[np.random.Generator, int], FloatArray]

SHARES = (0.0, 0.01, 0.05, 0.2, 0.5)
REFERENCE_ROWS = 300


def _normal(mean: float, sd: float) -> Sampler:
    return lambda generator, rows: generator.normal(mean, sd, rows)


def _log_normal(generator: np.random.Generator, rows: int) -> FloatArray:
    return (generator.lognormal(0.0, 0.6, rows) - 1.0) / 0.6


def _student(generator: np.random.Generator, rows: int) -> FloatArray:
    return generator.standard_t(3, rows)


def _with_refusals(generator: np.random.Generator, rows: int) -> FloatArray:
    refusal = generator.random(rows) < 0.1
    return np.where(refusal, generator.normal(-5, 0.5, rows), generator.normal(0, 1, rows))


# Harmless rows, harmful rows, reference; in units of about one harmless sd.
SHAPES: dict[str, tuple[Sampler, Sampler, Sampler]] = {
    "gaussian": (_normal(0, 1), _normal(6, 1), _normal(0, 1)),
    "overlapping": (_normal(0, 1), _normal(2.5, 1), _normal(0, 1)),
    "skewed": (_log_normal, _normal(8, 1), _log_normal),
    "heavy_tailed": (_student, _normal(8, 1), _student),
    "shifted": (_normal(0.5, 1), _normal(6.5, 1), _normal(0, 1)),
    "wider": (_normal(0, 1.4), _normal(8, 1.4), _normal(0, 1)),
    "wide_upper": (_with_refusals, _normal(3, 2.3), _with_refusals),
}


def synthetic_scores(
    shape: str, harmful_share: float, n: int, seed: int
) -> tuple[FloatArray, LabelArray, FloatArray]:
    """Draw one data set.

    Args:
        shape: A name of ``SHAPES``.
        harmful_share: Share of harmful rows; their number is rounded.
        n: Number of rows.
        seed: Seed of the draw.

    Returns:
        Scores, labels (True = harmful), both of shape (n,), and scores of 300 harmless reference
        rows.
    """
    harmless, harmful, reference = SHAPES[shape]
    generator = np.random.default_rng(seed)
    positives = round(harmful_share * n)
    scores = np.concatenate([harmless(generator, n - positives), harmful(generator, positives)])
    labels = np.arange(n) >= n - positives
    return scores, labels, reference(generator, REFERENCE_ROWS)


def run_threshold_study(
    seeds: Sequence[int] = range(5),
    sizes: Sequence[int] = (240, 1000, 10_000),
    *,
    rules: Iterable[str] = tuple(RULES),
    shapes: Iterable[str] = tuple(SHAPES),
    shares: Iterable[float] = SHARES,
    level: float = 0.02,
    extra: Sequence[LabelledScores] = (),
) -> list[dict[str, Any]]:
    """Apply every rule to every data set.

    Args:
        seeds: One draw a seed; results are means over them.
        sizes: Rows a draw.
        rules: Names of threshold rules.
        shapes: Names of ``SHAPES``.
        shares: Harmful shares.
        level: Tolerated share of harmless rows lost.
        extra: Real data as (name, scores, labels, reference or None); each is one draw.

    Returns:
        One row for each rule, shape, share and size: ``harmless_lost`` and ``harmful_found`` (mean
        shares over the draws; None where there are no such rows), ``harmless_lost_worst`` (over
        the draws), ``threshold`` (median; infinite = nothing removed) and ``draws``. A rule that
        needs a reference is left out where there is none.
    """
    rows = []
    chosen, sizes = tuple(rules), tuple(sizes)
    for shape in shapes:
        for share in shares:
            for size in sizes:
                draws = [synthetic_scores(shape, share, size, seed) for seed in seeds]
                rows += _compare(chosen, shape, share, draws, level)
    for name, scores, labels, reference in extra:
        rows += _compare(chosen, name, float(np.mean(labels)), [(scores, labels, reference)], level)
    return rows


def _compare(
    rules: Sequence[str],
    shape: str,
    share: float,
    draws: Sequence[tuple[FloatArray, LabelArray, FloatArray | None]],
    level: float,
) -> list[dict[str, Any]]:
    rows = []
    for rule in rules:
        if rule.startswith("calibrated") and any(reference is None for _, _, reference in draws):
            continue
        lost, found, thresholds = [], [], []
        for seed, (scores, labels, reference) in enumerate(draws):
            threshold = decide(scores, reference, rule=rule, level=level, seed=seed).threshold
            removed = scores >= threshold
            thresholds.append(threshold)
            lost += [float(np.mean(removed[~labels]))] if not np.all(labels) else []
            found += [float(np.mean(removed[labels]))] if np.any(labels) else []
        rows.append(
            {
                "rule": rule,
                "shape": shape,
                "harmful_share": share,
                "rows": int(draws[0][0].size),
                "draws": len(draws),
                "harmless_lost": float(np.mean(lost)) if lost else None,
                "harmless_lost_worst": max(lost, default=None),
                "harmful_found": float(np.mean(found)) if found else None,
                "threshold": float(np.median(thresholds)),
            }
        )
    return rows


def render_table(rows: Sequence[dict[str, Any]]) -> str:
    """A plain table: one line a shape, size and rule, one column a harmful share.

    Cells read "harmless lost / harmful found", in percent.
    """
    shares = sorted({row["harmful_share"] for row in rows})
    lines: dict[tuple[str, int, str], dict[float, str]] = {}
    for row in rows:
        cell = f"{_percent(row['harmless_lost'])} / {_percent(row['harmful_found'])}"
        lines.setdefault((row["shape"], row["rows"], row["rule"]), {})[row["harmful_share"]] = cell
    head = f"{'shape':<14}{'rows':>7}  {'rule':<16}"
    table = [head + "".join(f"{f'{100 * share:.3g} %':>15}" for share in shares)]
    for (shape, size, rule), cells in lines.items():
        start = f"{shape:<14}{size:>7}  {rule:<16}"
        table.append(start + "".join(f"{cells.get(share, ''):>15}" for share in shares))
    return "\n".join(table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
