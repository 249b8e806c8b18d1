"""The Python interface: score and filter rows that are already in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.config import DataSettings, ScoringSettings, ThresholdSettings
from gradshield.data import SourceRow, tokenize_rows
from gradshield.errors import UserError
from gradshield.models.load import DEFAULT_MODEL, LoadedModel, keep_precision, load_model
from gradshield.models.usable import check_usable, without_unknown_tokens
from gradshield.probes.calibration import answer_probes, measure_direction
from gradshield.probes.direction import Direction
from gradshield.probes.proxies import OwnAnswers
from gradshield.progress import Progress, Silent
from gradshield.run.health import report_health
from gradshield.run.score import reason_text
from gradshield.run.threshold import divide
from gradshield.scoring.engines import PreparedEngine
from gradshield.scoring.reference import check_reference, reference_examples
from gradshield.scoring.score import prepare_engine, score_examples
from gradshield.scoring.table import rejected_line, scored_line
from gradshield.threshold import Decision, decide


@dataclass(frozen=True)
class FilterResult:
    """What became of the rows; every row is in exactly one of the three parts.

    Attributes:
        kept: Rows below the threshold, of the type that came in (a `datasets.Dataset` or a list).
        removed: Rows at or above it.
        rejected: Rows that could not be scored; `scores` holds the reasons.
        scores: The score table, one line per row, with the columns of `RUN/scores`.
        decision: The threshold, the rule and its diagnostics.
    """

    kept: Any
    removed: Any
    rejected: Any
    scores: list[dict[str, Any]]
    decision: Decision


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
        """How scores are computed, made ready for the model and the direction."""
        return prepare_engine(self.loaded, self.direction, self.scoring, self.progress)

    @cached_property
    def reference(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """FIHS of harmless reference rows, [rows]."""
        examples = reference_examples(self.loaded)
        scores = score_examples(
            self.loaded,
            examples,
            self.engine,
            batch_tokens=self.scoring.batch_tokens,
        )
        lines = [scored_line(example, scores[example.row], None) for example in examples]
        check_reference(self.loaded, lines, self.progress)
        return np.array([line["fihs"] for line in lines if line["status"] == "scored"])

    def score(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The score table of rows: a list of dicts or a `datasets.Dataset`, any known format.

        Raises:
            UserError: A `DatasetDict` came in place of one of its splits.
        """
        if isinstance(rows, Mapping):
            names = ", ".join(map(str, rows))
            raise UserError(f"rows must be a list or a Dataset: pass one of the splits {names}.")
        source = [_source_row(position, row) for position, row in enumerate(rows)]
        examples, rejections, _ = tokenize_rows(
            source, self.loaded.tokenizer, **self.data.model_dump()
        )
        examples, unknown = without_unknown_tokens(self.loaded.model, examples)
        rejections |= unknown
        with self.progress.track("Scoring rows", len(examples), "rows") as advance:
            scores = score_examples(
                self.loaded,
                examples,
                self.engine,
                batch_tokens=self.scoring.batch_tokens,
                progress=advance,
            )
        ids = [row.own_id for row in source]
        lines = [scored_line(e, scores[e.row], ids[e.row]) for e in examples]
        lines += [rejected_line(row, ids[row], reason_text(why)) for row, why in rejections.items()]
        return sorted(lines, key=lambda line: line["row"])

    def filter(self, rows: Sequence[dict[str, Any]]) -> FilterResult:
        """Score rows, choose the threshold, and divide them.

        Args:
            rows: A list of dicts or a `datasets.Dataset`; not modified.
        """
        lines = self.score(rows)
        scores = np.array([line["fihs"] for line in lines if line["status"] == "scored"])
        decision = decide(
            scores,
            self.reference,
            rule=self.threshold.rule,
            level=self.threshold.level,
            seed=self.threshold.seed,
        )
        parts = divide(lines, decision.threshold)
        return FilterResult(
            kept=_select(rows, parts.kept),
            removed=_select(rows, parts.removed),
            rejected=_select(rows, parts.rejected),
            scores=lines,
            decision=decision,
        )


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


def _select(rows: Any, positions: Sequence[int]) -> Any:
    """Rows at positions, as a data set where one came in."""
    if hasattr(rows, "select"):
        return rows.select(positions)
    return [rows[position] for position in positions]
