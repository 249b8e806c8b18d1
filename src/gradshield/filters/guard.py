"""A guard as filter: what moderation would do with the rows.

A guard has to be downloaded or asked over the network, so none is in `FILTERS`; `guard_filter`
makes one from its name. Guards judge what a text says, not what training on it does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gradshield.errors import UserError
from gradshield.evaluation.judges import COMPLIED_FROM, KEY_VARIABLE, Judge, make_judge
from gradshield.evaluation.judges.moderation import ModerationJudge
from gradshield.filters.base import Material, Need, Row, Scores, fixed
from gradshield.filters.exchanges import last_exchange
from gradshield.models.load import LoadedModel

ROWS_AT_A_TIME = 64
"""Between two steps of the progress bar."""
MODERATION_MODEL = "omni-moderation-latest"
"""Asked for where a moderation endpoint is named without a model; OpenAI's."""
FORMS = ("guard:MODEL", "classifier:MODEL:LABEL", "moderation:URL", "moderation:MODEL@URL")
"""How guards are named."""
GUARDS = ("guard", "classifier", "moderation")
"""What their names begin with."""
_MODERATION = re.compile(r"(?:(?P<model>.+?)@)?(?P<url>https?://.+)")


@dataclass(frozen=True)
class GuardFilter:
    """Rows that a guard calls unsafe count as harmful.

    Attributes:
        name: Of the filter.
        make_guard: Makes the guard for one data set, given the aligned model, on whose device it
            may be put; it is let go afterwards.
    """

    name: str
    make_guard: Callable[[LoadedModel], Judge]
    needs: frozenset[Need] = frozenset({Need.GUARD})
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """The guard's belief that the last exchange does harm, in [0, 1]; see `Filter`.

        Rows from 0.5 on are removed: there the guard itself says "unsafe", or flags.
        """
        guard = self.make_guard(material.loaded)
        exchanges = [last_exchange(row.conversation) for row in rows]
        values: list[float] = []
        with material.progress.track("Guard", len(rows), "rows") as advance:
            for start in range(0, len(exchanges), ROWS_AT_A_TIME):
                some = exchanges[start : start + ROWS_AT_A_TIME]
                values += guard.complied(some)
                advance(len(some))
        return Scores(np.array(values), fixed(COMPLIED_FROM))


def guard_filter(name: str) -> GuardFilter:
    """Make a guard filter by its name, in one of the `FORMS`; nothing is loaded before it scores.

    Args:
        name: A generative guard model (`gradshield.evaluation.judges.guard`), a text-classification
            model with its label for harm, or a moderation endpoint. The endpoint's key is taken
            from the environment variable of `KEY_VARIABLE`, if it is set.

    Raises:
        UserError: There is no such kind of guard, or what follows the colon is incomplete. When it
            scores: the guard cannot be had.
    """
    kind, _, setting = name.partition(":")
    if kind == "moderation" and (found := _MODERATION.fullmatch(setting)):
        return GuardFilter(
            name, partial(_moderation, found["url"], found["model"] or MODERATION_MODEL)
        )
    model = setting.rpartition(":")[0] if kind == "classifier" else setting
    if kind in ("guard", "classifier") and model:
        return GuardFilter(name, partial(make_judge, name))
    raise UserError(f"Unknown guard {name}: write it as {', '.join(FORMS)}.")


def _moderation(url: str, model: str, aligned: LoadedModel) -> Judge:
    key_variable = KEY_VARIABLE if KEY_VARIABLE in os.environ else None
    return ModerationJudge(url, model, key_variable)
