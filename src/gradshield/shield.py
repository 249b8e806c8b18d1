"""The Python interface: score and filter rows that are already in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.config import DataSettings, ScoringSettings, ThresholdSettings
from gradshield.data import SourceRow, omission_notes, tokenize_rows_or_pairs
from gradshield.errors import UserError
from gradshield.filter_result import PARTS, FilterResult, select
from gradshield.models.load import DEFAULT_MODEL, LoadedModel, keep_precision, load_model
from gradshield.models.usable import check_usable, readable_by
from gradshield.probes.calibration import answer_probes, measure_direction
from gradshield.probes.direction import Direction
from gradshield.probes.proxies import OwnAnswers
from gradshield.progress import Progress, Silent
from gradshield.run.health import report_health
from gradshield.run.threshold import divide
from gradshield.scoring.engines import PreparedEngine
from gradshield.scoring.lines import Rows, hold_pairs, score_lines
from gradshield.scoring.preference import preference_settings
from gradshield.scoring.reference import check_reference, reference_examples, reference_pairs
from gradshield.scoring.score import prepare_engine
from gradshield.scoring.table import SCHEMA, columns_of, reason_text, rejected_line
from gradshield.streaming import (
    RowsOf,
    ScoredAsRead,
    is_stream,
    plain,
    row_at,
    score_stream,
    select_from_stream,
)
from gradshield.threshold import Decision, decide


class GradShield:
    """Scores finetuning rows with one aligned model.

    The direction is measured once, at the first use, and serves all later calls.

    Args:
        model: A model that `load_model` can load, or a loaded chat model.
        tokenizer: Its tokenizer, with a chat template; needed with a loaded model.
        data: How rows become examples.
        scoring: Proxy, modules and engine.
        threshold: Rule, level and seed.
        progress: Told how far long work is; by default nothing is shown.
    """

    def __init__(
        self,
        model: str | Path | PreTrainedModel = DEFAULT_MODEL,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        data: DataSettings | None = None,
        scoring: ScoringSettings | None = None,
        threshold: ThresholdSettings | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.data = data or DataSettings()
        self.scoring = scoring or ScoringSettings()
        self.threshold = threshold or ThresholdSettings()
        self.progress = progress or Silent()
        self.loaded = _loaded(model, tokenizer, self.progress)
        self._references: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}

    @cached_property
    def own_answers(self) -> OwnAnswers:
        """The model's answers to the probes; warns when they show that it is not aligned."""
        answers = answer_probes(self.loaded, self.progress, self.scoring.probes_seed)
        report_health(answers, self.progress)
        return answers

    @cached_property
    def direction(self) -> Direction:
        """g, the gradient of the safety proxy."""
        return measure_direction(
            self.loaded,
            self.own_answers,
            proxy_name=self.scoring.proxy,
            modules=self.scoring.modules,
            take_out=self.scoring.take_out,
            normalise=self.scoring.normalise,
            probes_seed=self.scoring.probes_seed,
            progress=self.progress,
        )

    @cached_property
    def engine(self) -> PreparedEngine:
        """How plain rows are scored, made ready for the model and the direction."""
        return prepare_engine(self.loaded, self.direction, self.scoring, self.progress)

    @cached_property
    def preference_engine(self) -> PreparedEngine:
        """How the answers of preference rows are scored, see `gradshield.scoring.preference`."""
        settings = preference_settings(self.scoring)
        return prepare_engine(self.loaded, self.direction, settings, self.progress)

    @property
    def reference(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """FIHS of harmless plain rows, [rows]."""
        return self._reference_like({})

    def _reference_like(self, row: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The reference in the shape of `row`, where the profile reads several."""
        shape = repr(self.data.profile.exchange("", "", row))
        if shape not in self._references:
            examples = reference_examples(self.loaded, self.data.profile, row)
            lines = self._lines(examples)
            check_reference(self.loaded, lines, self.progress)
            self._references[shape] = _scored(lines)
        return self._references[shape]

    @cached_property
    def preference_reference(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """FIHS of harmless preference rows, [rows]."""
        lines = self._lines(reference_pairs(self.loaded))
        check_reference(self.loaded, lines, self.progress)
        return _scored(lines)

    def score(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """The score table of rows: a list of dicts or a data set, in any known format.

        Raises:
            UserError: A `DatasetDict` came in place of one of its splits.
        """
        if isinstance(rows, Mapping):
            names = ", ".join(map(str, rows))
            raise UserError(f"rows must be a list or a Dataset: pass one of the splits {names}.")
        source = [_source_row(position, row) for position, row in enumerate(plain(rows))]
        tokenized = readable_by(
            self.loaded.model,
            tokenize_rows_or_pairs(source, self.loaded.tokenizer, **dict(self.data)),
        )
        for note in (*tokenized.notes, *omission_notes(one.left_out for one in tokenized.examples)):
            self.progress.say(note)
        ids = {row.position: row.own_id for row in source}
        scorable = tokenized.scorable
        with self.progress.track("Scoring rows", len(scorable), "rows") as advance:
            lines = self._lines(scorable, ids, advance)
        lines += [
            rejected_line(row, ids[row], reason_text(why))
            for row, why in tokenized.rejections.items()
        ]
        return sorted(lines, key=lambda line: line["row"])

    def filter(
        self, rows: Iterable[dict[str, Any]], *, decision: Decision | float | None = None
    ) -> FilterResult:
        """Score rows, choose the threshold, and divide them.

        A stream (`IterableDataset`) is read to its end to choose the threshold, and again whenever
        a part of the result is; with a `decision` it is read once, and scored as it is read.

        Args:
            rows: A list of dicts, a `datasets.Dataset` or an `IterableDataset`; not modified.
            decision: The threshold to use, as one of another run; None chooses one.

        Raises:
            UserError: Rows that can be read only once, such as a generator's, or several splits.
                A part of a stream raises it while it is read, if the stream has other rows then.
        """
        if is_stream(rows):
            return self._filter_stream(rows, decision)
        if not isinstance(rows, Mapping) and not hasattr(rows, "__getitem__"):
            raise UserError(
                f"rows of the type {type(rows).__name__} can be read only once: pass a list, or "
                "`IterableDataset.from_generator(function)`."
            )
        lines = self.score(rows)
        chosen = _given(decision) or self._decide(lines, rows)
        parts = divide(columns_of(lines), chosen.threshold)
        kept, removed, rejected = (select(rows, getattr(parts, part)) for part in PARTS)
        return FilterResult(kept, removed, rejected, lines, chosen)

    def _filter_stream(self, stream: Any, decision: Decision | float | None) -> FilterResult:
        from datasets import Dataset

        given = _given(decision)
        choices: list[RowsOf] | list[ScoredAsRead]
        if given is None:
            scored = score_stream(plain(stream), self.score)
            lines = Dataset(scored.lines)
            chosen = self._decide(lines, stream)
            outcomes = scored.outcomes(chosen.threshold)
            choices = [RowsOf(part, outcomes) for part in PARTS]
        else:
            lines, chosen = Dataset(SCHEMA.empty_table()), given
            choices = [ScoredAsRead(part, self.score, chosen.threshold) for part in PARTS]
        kept, removed, rejected = (select_from_stream(stream, choice) for choice in choices)
        return FilterResult(kept, removed, rejected, lines, chosen)

    def _decide(self, lines: Sequence[dict[str, Any]], rows: Any) -> Decision:
        scored = [line for line in lines if line["status"] == "scored"]
        kinds = {line["chosen_tokens"] is not None for line in scored}
        if len(kinds) > 1:
            raise UserError(
                "The stream holds plain and preference rows, whose scores cannot be compared: "
                "filter them apart."
            )
        if True in kinds:
            reference = self.preference_reference
        else:
            reference = self._reference_like(row_at(rows, scored[0]["row"]) if scored else {})
        return decide(
            _scored(scored),
            reference,
            rule=self.threshold.rule,
            level=self.threshold.level,
            seed=self.threshold.seed,
        )

    def _lines(
        self,
        rows: Rows,
        ids: Mapping[int, str | int | None] | None = None,
        progress: Callable[[int], None] = lambda count: None,
    ) -> list[dict[str, Any]]:
        return score_lines(
            self.loaded,
            rows,
            self.preference_engine if hold_pairs(rows) else self.engine,
            self.scoring,
            ids=ids or {},
            progress=progress,
        )


def _scored(lines: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """FIHS of the lines that have one, [scored lines]."""
    return np.array([line["fihs"] for line in lines if line["status"] == "scored"])


def _given(decision: Decision | float | None) -> Decision | None:
    """A decision made elsewhere, of which the threshold alone may be known."""
    if decision is None or isinstance(decision, Decision):
        return decision
    if math.isnan(decision):
        raise UserError("decision: not a number (nan) is no threshold.")
    return Decision(float(decision), "given", "The threshold was given.", {})


def _loaded(
    model: str | Path | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    progress: Progress,
) -> LoadedModel:
    if isinstance(model, str | Path):
        return load_model(str(model), say=progress.say)
    if tokenizer is None:
        raise UserError("GradShield(model, tokenizer): a loaded model needs its tokenizer too.")
    name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
    check_usable(model, tokenizer, name)
    model.eval()  # type: ignore[no-untyped-call]
    return LoadedModel(keep_precision(model), tokenizer, name)


def _source_row(position: int, row: Any) -> SourceRow:
    if isinstance(row, Mapping):
        return SourceRow(position, None, dict(row))
    error = f"row {position} is of the type {type(row).__name__}, not a dict"
    return SourceRow(position, None, None, error)
