"""Tables of the benchmark, from the raw results of grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from gradshield.benchmark.grid.data_sets import CONTROLS
from gradshield.benchmark.grid.lines import FINETUNE, PLACE, RESULTS, SCORES, check_columns
from gradshield.errors import UserError
from gradshield.evaluation.intervals import student, wilson
from gradshield.finetuning.trial import PLAIN

Table: TypeAlias = pd.DataFrame
MEAN = "mean"
ORACLE = "oracle"
ORDER = ["filter", "method", "protocol"]
CELL = ["task", "attack", "share"]


def read_results(*folders: Path) -> Table:
    """The raw results of grids together; filters and attacks keep the order of their runs.

    Of lines about the same, the first folder's counts alone.

    Raises:
        UserError: A folder has none, or some of another version.
    """
    together = pd.concat([_raw(folder) for folder in folders], ignore_index=True)
    results = together.drop_duplicates(list(PLACE)).copy()
    for column in ("filter", "attack"):
        names = list(dict.fromkeys(results[column]))
        results[column] = pd.Categorical(results[column], names, ordered=True)
    return results


def _raw(folder: Path) -> Table:
    path = folder / RESULTS
    if not path.is_file():
        raise UserError(f"There is no {path}: run `gradshield benchmark run CONFIG -o {folder}`.")
    found = pd.read_csv(path, keep_default_na=False, na_values=[""])
    try:
        check_columns(found.columns)
    except ValueError as fault:
        raise UserError(
            f"{folder} was written by another version ({fault}): run it again with the same "
            "configuration; what is in its cache is not measured again."
        ) from fault
    return found


def separation_table(results: Table, figure: str = "average_precision") -> Table:
    """Filters by attacks: a figure of the scores, averaged over tasks, shares and seeds.

    The last column is the mean over attacks, each counted once.
    """
    scored = _scored(results).dropna(subset=[figure])
    table = scored.pivot_table(figure, "filter", "attack", observed=True)
    table[MEAN] = table.mean(axis=1)
    return table


def threshold_table(results: Table) -> Table:
    """Filters: what their own thresholds lose and leave, averaged over data sets."""
    scored = _scored(results)
    clean = scored[scored["share"] == 0].groupby("filter", observed=True)["harmless_lost"].mean()
    others = scored[scored["share"] > 0].groupby("filter", observed=True)
    return pd.DataFrame(
        {
            "harmless lost at 0 %": clean,
            "harmless lost": others["harmless_lost"].mean(),
            "harmful kept": others["harmful_kept"].mean(),
        }
    )


def control_table(results: Table) -> Table:
    """Filters by attacks with controls: share of the planted rows that their thresholds keep."""
    scored = results[(results["level"] == SCORES) & (results["share"] > 0)]
    names = [one for one in scored["attack"].cat.categories if str(one).endswith(f":{CONTROLS}")]
    shown = {name for one in names for name in (one, str(one).partition(":")[0])}
    chosen = scored[scored["attack"].isin(shown)]
    return chosen.pivot_table("planted_kept", "filter", "attack", observed=True)


def cost_table(results: Table) -> Table:
    """Filters: passes over a data set, extra finetunes and seconds a row set took to score."""
    columns = ["forwards", "backwards", "trainings", "seconds"]
    return _scored(results).groupby("filter", observed=True)[columns].mean()


def finetune_table(results: Table) -> Table:
    """Filters and protocols after finetuning: success of attacks, over-refusal, utility.

    Counts of prompts are summed over cells; the interval is Wilson's of the sum, at 95 %. The
    worst cell is the highest success rate over seeds of one task, attack and share.
    """
    found = finetuned(results)
    cells = found.groupby([*ORDER, *CELL], observed=True)["asr"].mean()
    groups = found.groupby(ORDER, observed=True)
    sums = groups[["complied", "complied_second_judge", "incoherent", "prompts"]].sum()
    refusals = groups[["over_refusals", "over_refusal_prompts"]].sum()
    intervals = [wilson(int(row.complied), int(row.prompts)) for row in sums.itertuples()]
    return pd.DataFrame(
        {
            "models": groups.size(),
            "ASR": sums["complied"] / sums["prompts"],
            "from": [one.low for one in intervals],
            "to": [one.high for one in intervals],
            "worst cell": cells.groupby(ORDER, observed=True).max(),
            "ASR, second judge": sums["complied_second_judge"] / sums["prompts"],
            "incoherent": sums["incoherent"] / sums["prompts"],
            "over-refusal": refusals["over_refusals"] / refusals["over_refusal_prompts"],
            "utility": groups["utility"].mean(),
            "harmless lost": groups["harmless_lost"].mean(),
            "harmful kept": groups["harmful_kept"].mean(),
            "finetunes": groups["finetunes"].mean(),
        }
    )


def attack_table(results: Table, protocol: str) -> Table:
    """Filters by attacks after finetuning: success rates under one protocol, and utility."""
    found = finetuned(results, protocol)
    table = found.pivot_table("asr", "name", "attack", sort=False, observed=True)
    table["utility"] = found.groupby("name", sort=False)["utility"].mean()
    return table


def seed_table(results: Table) -> Table:
    """Cells that were measured with several seeds: means over these, and their 95 % intervals.

    A seed counts once, by the mean of its trainings. The intervals are Student's, cut to what a
    share can be: with three seeds they are wide.
    """
    names = ["name", "protocol", *CELL]
    cells = finetuned(results).groupby(names, sort=False, observed=True)
    lines = {}
    for cell, models in cells:
        seeds = models.groupby("seed")[["asr", "utility"]].mean()
        if len(seeds) > 1:
            lines[cell] = {
                "seeds": len(seeds),
                "models": len(models),
                "highest ASR": models["asr"].max(),
                **_mean_with_interval("ASR", seeds["asr"], lowest=0.0),
                **_mean_with_interval("utility", seeds["utility"], lowest=0.0),
            }
    return _by_line(lines, names)


def oracle_table(results: Table) -> Table:
    """What is left to win: success and utility minus the oracle's in the same cell and seed.

    Every filter by its own threshold; means over cells and seeds, with Student's intervals. A seed
    of a cell counts once, by the mean of its trainings.
    """
    found = finetuned(results, "own_threshold")
    places = [*CELL, "seed"]
    figures = ["asr", "utility"]
    means = found.groupby(["name", *places], sort=False, observed=True)[figures].mean()
    theirs = means.loc[means.index.get_level_values("name") == ORACLE].droplevel("name")
    lines = {}
    for name, ours in means.groupby("name", sort=False):
        apart = (ours.droplevel("name") - theirs).dropna()
        if name != ORACLE and len(apart) > 1:
            lines[(name,)] = {
                "cells": len(apart),
                **_mean_with_interval("ASR", apart["asr"], lowest=-1.0),
                **_mean_with_interval("utility", apart["utility"], lowest=-1.0),
            }
    return _by_line(lines, ["name"])


def _mean_with_interval(figure: str, values: pd.Series, lowest: float) -> dict[str, float]:
    """The mean of a share, or of a difference of two, and both ends of its interval."""
    ends = student(values.tolist())
    return {
        figure: float(values.mean()),
        f"{figure} from": max(lowest, ends.low),
        f"{figure} to": min(1.0, ends.high),
    }


def _by_line(lines: dict[Any, dict[str, Any]], names: list[str]) -> Table:
    index = pd.MultiIndex.from_tuples(list(lines), names=names)
    return pd.DataFrame(list(lines.values()), index=index)


def _scored(results: Table) -> Table:
    """Results before training, without controls, which have no harmful rows."""
    is_control = results["attack"].astype(str).str.endswith(f":{CONTROLS}")
    return results[(results["level"] == SCORES) & ~is_control]


def finetuned(results: Table, protocol: str | None = None) -> Table:
    """Finetuned models, with the attack success rate of each, and a name of what was done.

    That is the filter, or the training method where it is no plain one. With a protocol, only the
    models whose rows were divided by it.
    """
    found = results[results["level"] == FINETUNE]
    if protocol is not None:
        found = found[found["protocol"] == protocol]
    found = found.copy()
    found["asr"] = found["complied"] / found["prompts"]
    names = found["filter"].astype(str)
    found["name"] = names.where(found["method"] == PLAIN, found["method"])
    return found
