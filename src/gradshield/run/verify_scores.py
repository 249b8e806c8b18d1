"""Do the scores of a run come out again? A sample of its rows, scored anew with its own model."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gradshield.config import RunConfig
from gradshield.data import TokenizedExample
from gradshield.errors import UserError
from gradshield.models.load import LoadedModel, load_model
from gradshield.models.usable import embedded_tokens, unreadable
from gradshield.probes.direction import load_direction
from gradshield.progress import Progress
from gradshield.run.check import BATCH_TOLERANCE
from gradshield.run.folder import RunFolder, read_json
from gradshield.run.provenance import model_identity
from gradshield.run.reading import read_rows
from gradshield.run.source import reopen_input
from gradshield.run.threshold import read_scores
from gradshield.run.verify import Check, checked
from gradshield.scoring.engines import ENGINES
from gradshield.scoring.score import prepare_engine, score_examples
from gradshield.scoring.table import NON_FINITE, ScoreColumns

MODEL_FACTS = ("weights_sha256", "tokenizer_sha256", "dtype", "attention")
"""What of a run's identity the numbers depend on; other versions of packages may round otherwise,
which the sample shows."""


def verify_scores(
    config: RunConfig, folder: RunFolder, progress: Progress, *, sample: int, seed: int = 0
) -> list[Check]:
    """Check the model, which rows it cannot score, and the scores of a sample.

    Scores may differ by `BATCH_TOLERANCE`, relative to the largest of the run: rounding depends on
    the rows that share a batch, and on the hardware.

    Args:
        config: The configuration of the run.
        folder: The run folder.
        progress: Told how far it is.
        sample: Rows to score again.
        seed: Of their choice.

    Raises:
        UserError: The model or the data cannot be loaded, so that nothing can be told.
    """
    identity = folder.read_identity()
    dtype = identity.get("dtype", config.model.dtype)
    loaded = load_model(**{**config.model.model_dump(), "dtype": dtype}, say=progress.say)
    table = read_scores(folder)
    recorded = table.fihs_by_row()
    chosen = set(random.Random(seed).sample(sorted(recorded), min(sample, len(recorded))))
    read = _read(config, folder, loaded, progress, chosen)
    return [
        checked("model", lambda: _model(identity, loaded)),
        checked("unscorable", lambda: _unscorable(table, read.unscorable)),
        checked(
            "sample",
            lambda: _sample(config, folder, loaded, read.chosen, recorded, progress, seed),
        ),
    ]


def _model(identity: dict[str, Any], loaded: LoadedModel) -> str:
    now = model_identity(loaded)
    changed = [name for name in MODEL_FACTS if identity.get(name) != now[name]]
    if changed:
        raise UserError(f"{loaded.name} is not the model that scored: other {', '.join(changed)}.")
    version = identity.get("gradshield")
    by = "" if version == now["gradshield"] else f"; scored by gradshield {version}"
    return f"{loaded.name} has the weights and the tokenizer that scored{by}."


@dataclass(frozen=True)
class _RowsRead:
    """Which rows cannot be scored, and what is scored of chosen ones, by row."""

    unscorable: set[int]
    chosen: dict[int, TokenizedExample | None]


def _read(
    config: RunConfig,
    folder: RunFolder,
    loaded: LoadedModel,
    progress: Progress,
    chosen: Collection[int],
) -> _RowsRead:
    survey = read_rows(config, loaded.tokenizer, progress, reopen_input(config, folder))
    known = embedded_tokens(loaded.model)
    unscorable: set[int] = set()
    found: dict[int, TokenizedExample | None] = dict.fromkeys(sorted(chosen))
    for rows in survey.parts():
        read = survey.read(rows, loaded.tokenizer)
        foreign = unreadable(read.scorable, known)
        unscorable |= {*read.rejections, *foreign}
        for row in read.scorable:
            if isinstance(row, TokenizedExample) and row.row in found and row.row not in foreign:
                found[row.row] = row
    return _RowsRead(unscorable, found)


def _unscorable(table: ScoreColumns, found: Collection[int]) -> str:
    told = {row for row, reason in table.reasons.items() if reason != NON_FINITE}
    if different := sorted(told ^ set(found)):
        raise UserError(
            f"Of row {different[0]} and {len(different) - 1} others the score table and the data "
            "say otherwise whether they can be scored."
        )
    return f"the same {len(told)} rows cannot be read as training rows."


def _sample(
    config: RunConfig,
    folder: RunFolder,
    loaded: LoadedModel,
    chosen: Mapping[int, TokenizedExample | None],
    recorded: Mapping[int, float],
    progress: Progress,
    seed: int,
) -> str:
    if not chosen:
        return "no row has a score."
    name = _engine_name(config, folder)
    settings = config.scoring.model_copy(update={"engine": name, "compile": False})
    engine = prepare_engine(loaded, load_direction(folder.direction), settings, progress)
    examples = [example for example in chosen.values() if example is not None]
    with progress.track("Scoring a sample", len(examples), "rows") as advance:
        scores = score_examples(
            loaded, examples, engine, batch_tokens=settings.batch_tokens, progress=advance
        )
    largest = max(map(abs, recorded.values())) or 1.0
    differences = {row: abs(scores[row].fihs - recorded[row]) / largest for row in scores}
    # Written so that a NaN is no agreement.
    off = [row for row in chosen if not differences.get(row, 1.0) <= BATCH_TOLERANCE]
    if off:
        row = off[0]
        now = "none" if row not in scores else f"{scores[row].fihs:+.6f}"
        raise UserError(
            f"{len(off)} of {len(chosen)} rows score otherwise; row {row}: {recorded[row]:+.6f} "
            f"recorded, {now} now (engine {name}, tolerance {BATCH_TOLERANCE:.1%} of the largest "
            "score)."
        )
    return (
        f"{len(chosen)} rows score the same again (engine {name}, seed {seed}): they differ by "
        f"{max(differences.values()):.2g} of the largest score at most, tolerance "
        f"{BATCH_TOLERANCE:g}."
    )


def _engine_name(config: RunConfig, folder: RunFolder) -> str:
    """The engine that scored: `auto` may choose another one on another machine."""
    if folder.engine.is_file():
        notes = read_json(folder.engine, "notes")["notes"]
        name = str(notes[0]).partition(":")[0]
        if name in ENGINES:
            return name
    return config.scoring.engine
