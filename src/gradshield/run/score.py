"""The step `score`: direction, reference scores and the score table of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from gradshield.config import ModelSettings, RunConfig, ScoringSettings
from gradshield.data import DEFAULT_PROFILE, DataSource, TokenizedExample
from gradshield.data.survey import Scorable, Survey
from gradshield.errors import UserError
from gradshield.evaluation.generation import Answer
from gradshield.models.load import LoadedModel, load_model
from gradshield.models.usable import embedded_tokens, unreadable
from gradshield.probes.calibration import answer_probes, measure_direction
from gradshield.probes.direction import Direction, load_direction, save_direction
from gradshield.probes.proxies import OwnAnswers
from gradshield.progress import Progress, Silent
from gradshield.run.engine import keep_engine, stored_step
from gradshield.run.fingerprints import run_fingerprint
from gradshield.run.folder import RunFolder, read_json, write_json
from gradshield.run.health import report_health
from gradshield.run.lock import at_work
from gradshield.run.provenance import (
    loss_record,
    model_identity,
    run_identity,
    run_record,
)
from gradshield.run.reading import read_rows, say_account
from gradshield.run.served import prepare_served
from gradshield.run.source import check_apart, open_input
from gradshield.scoring.engines import PreparedEngine
from gradshield.scoring.executors import Executor, LocalExecutor, Recipe, ServedExecutor, Work
from gradshield.scoring.model_lines import lines_by_model
from gradshield.scoring.parts import Part, account_of, cut_into_parts
from gradshield.scoring.preference import preference_settings, preference_statement
from gradshield.scoring.reference import (
    check_reference,
    reference_examples_for,
    reference_pairs_for,
)
from gradshield.scoring.score import prepare_engine, try_longest
from gradshield.scoring.shards import WHOLE, Shard
from gradshield.scoring.table import write_part

LOCAL = LocalExecutor()


def score(
    config: RunConfig,
    folder: RunFolder,
    progress: Progress,
    *,
    force: bool = False,
    source: DataSource | None = None,
    executor: Executor = LOCAL,
    shard: Shard = WHOLE,
) -> None:
    """Score every row of the input, or go on where an earlier run stopped.

    Args:
        config: The configuration.
        folder: The run folder; several shards may share one.
        progress: Told of what goes on.
        force: Start over where the folder holds a run of other inputs.
        source: The input, where it has been opened already.
        executor: Where and how rows are scored; the scores do not depend on it, but for a served
            model's, which has the direction in low rank.
        shard: The share of the rows to score; `merge` makes a whole run of all of them.

    Raises:
        UserError: The data, the model or the folder cannot be used, or another run is at work in
            it.
    """
    executor.check()
    if force and not shard.is_whole:
        raise UserError("--force would delete what other shards wrote: name another --out.")
    # Unusable data is to be known before the model is loaded.
    source = source or open_input(config, progress)
    with at_work(folder, progress, shard=shard):
        _score(config, folder, progress, source, force=force, executor=executor, shard=shard)


def _score(
    config: RunConfig,
    folder: RunFolder,
    progress: Progress,
    source: DataSource,
    *,
    force: bool,
    executor: Executor,
    shard: Shard,
) -> None:
    run = prepare(config, folder, progress, source, force=force, executor=executor)
    parts = cut_into_parts(run.rows.total, folder.scores.resolve(), run.fingerprint)
    mine = shard.of(parts)
    if not shard.is_whole:
        progress.say(shard_text(shard, mine, run.rows.total))
    if not (folder.reference.is_file() and all(part.is_done for part in mine)):
        work = run.work(config, folder, progress)
        _score_reference(config, run, work, folder, progress)
        executor.run(work, mine, progress)
    if shard.is_whole:
        # Last: that it is there tells that scoring is complete. The reasons are those of the score
        # table, which knows of scores that are not finite too.
        account = account_of(folder.scores)
        say_account(config, account, progress)
        write_json(folder.rejections, account.rejected)


def measure(
    config: RunConfig, folder: RunFolder, progress: Progress, *, force: bool = False
) -> None:
    """Do of `score` what comes before the rows: direction, engine and reference scores.

    Shards then find them in the folder and use the same ones.

    Raises:
        UserError: The data, the model or the folder cannot be used.
    """
    source = open_input(config, progress)
    with at_work(folder, progress):
        run = prepare(config, folder, progress, source, force=force)
        if not (folder.reference.is_file() and folder.engine.is_file()):
            _score_reference(config, run, run.work(config, folder, progress), folder, progress)


class ReadyRun(Protocol):
    """A run whose folder is claimed and whose direction is there."""

    @property
    def rows(self) -> Survey:
        """The input."""

    @property
    def fingerprint(self) -> str:
        """Of what decides the scores."""

    def work(self, config: RunConfig, folder: RunFolder, progress: Progress) -> Work:
        """Make an engine ready, and keep what it chose.

        Raises:
            UserError: The engine cannot serve the model.
        """

    def check_reference(self, lines: Sequence[Mapping[str, Any]], progress: Progress) -> None:
        """Find out from the lines of the reference rows whether scores mean anything.

        Raises:
            UserError: They do not.
        """


def prepare(
    config: RunConfig,
    folder: RunFolder,
    progress: Progress,
    source: DataSource,
    *,
    force: bool = False,
    executor: Executor = LOCAL,
) -> ReadyRun:
    """Claim the folder and see that it holds a direction; the arguments are those of `score`.

    Raises:
        UserError: The data, the model or the folder cannot be used.
    """
    check_apart(source, folder.path)
    if isinstance(executor, ServedExecutor):
        return prepare_served(config, folder, progress, executor, source)
    loaded = load_model(**config.model.model_dump(), say=progress.say)
    rows = read_rows(config, loaded.tokenizer, progress, source)
    settings, loss = config.scoring, {"loss": loss_record(config)}
    if rows.holds_pairs:
        _check_no_search(config)
        settings, loss = preference_settings(settings), {}
        progress.say(preference_statement(settings))
    identity = run_identity(config, loaded, source)
    continued = folder.claim(identity, {**loss, **run_record(source)}, force=force)
    folder.write_config(config)
    if continued:
        progress.say(f"Going on with the run in {folder.path}: what is done is kept.")
    answers = probe_answers(config, folder, loaded, progress)
    report_health(answers, progress)
    direction = _direction(config, folder, loaded, answers, progress)
    return LoadedRun(loaded, rows, run_fingerprint(identity), direction, settings)


@dataclass(frozen=True)
class LoadedRun:
    """A run with its model in this process; see `ReadyRun`."""

    loaded: LoadedModel
    rows: Survey
    fingerprint: str
    direction: Direction
    settings: ScoringSettings

    def work(self, config: RunConfig, folder: RunFolder, progress: Progress) -> Work:
        """See `ReadyRun`: the step of an earlier start, or of another shard, is kept."""
        settings, step = self.settings, stored_step(folder)
        engine = prepare_engine(self.loaded, self.direction, settings, progress, step)
        about = {
            "notes": engine.notes,
            "warning": engine.warning,
            "preference": preference_statement(settings) if self.rows.holds_pairs else None,
            "step": engine.step,
        }
        self._try_longest(engine)
        step = keep_engine(folder, about)["step"]
        if step != engine.step:  # another shard was faster
            engine = prepare_engine(self.loaded, self.direction, settings, Silent(), step)
        return Work(
            self.rows,
            self.loaded.tokenizer,
            lines_by_model(self.loaded, engine, settings),
            Recipe(
                portable(config.model, self.loaded),
                settings,
                folder.direction.resolve(),
                step,
                model_identity,
                model_identity(self.loaded),
            ),
        )

    def _try_longest(self, engine: PreparedEngine) -> None:
        """Try the row with most text; were all tokenised to find the longest, none could wait."""
        row = self.rows.bulkiest
        if row is None:
            return
        found = self.rows.read(range(row, row + 1), self.loaded.tokenizer).scorable
        foreign = unreadable(found, embedded_tokens(self.loaded.model))
        examples = [one for one in found if isinstance(one, TokenizedExample)]
        try_longest(self.loaded, [one for one in examples if one.row not in foreign], engine)

    def check_reference(self, lines: Sequence[Mapping[str, Any]], progress: Progress) -> None:
        """See `ReadyRun`."""
        check_reference(self.loaded, lines, progress)


def portable(settings: ModelSettings, loaded: LoadedModel) -> ModelSettings:
    """The settings as another process needs them: the same precision, and whole paths."""
    return settings.model_copy(
        update={
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "name": _whole_path(settings.name),
            "adapter": None if settings.adapter is None else _whole_path(settings.adapter),
        }
    )


def _whole_path(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def shard_text(shard: Shard, parts: Sequence[Part], total: int) -> str:
    """Which rows a shard scores, for people."""
    if not parts:
        return f"Shard {shard} has nothing to score: {total} rows make too few parts for so many."
    first, last = parts[0].rows[0], parts[-1].rows[-1]
    return f"Shard {shard}: rows {first} to {last} of {total}."


def _check_no_search(config: RunConfig) -> None:
    """A search trains on plain answers, which is not what preference rows are for."""
    if config.search is not None:
        raise UserError(
            "--search finetunes on plain rows, and these are preference rows: use `filter` without "
            "--search, and measure the model that you train on kept.* with `gradshield evaluate`."
        )


def probe_answers(
    config: RunConfig, folder: RunFolder, loaded: LoadedModel, progress: Progress
) -> OwnAnswers:
    """The model's own answers to the probes: those of the run, or new ones, which are kept."""
    if folder.answers.is_file():
        stored = read_json(folder.answers, "harmful", "ordinary")
        return OwnAnswers(**{name: _answers_from(loaded, stored[name]) for name in stored})
    answers = answer_probes(loaded, progress, config.scoring.probes_seed)
    # Tokens only: the text of a model that complies is nobody's business.
    content = {
        name: [[a["prompt_ids"], a["token_ids"], a["finished"]] for a in group]
        for name, group in asdict(answers).items()
    }
    write_json(folder.answers, content, once=True)
    return probe_answers(config, folder, loaded, progress)


def _answers_from(loaded: LoadedModel, stored: list[list[list[int]]]) -> list[Answer]:
    decode = loaded.tokenizer.decode
    return [
        Answer(
            prompt_ids=tuple(prompt_ids),
            token_ids=tuple(token_ids),
            text=str(decode(token_ids, skip_special_tokens=True)).strip(),
            finished=bool(finished),
        )
        for prompt_ids, token_ids, finished in stored
    ]


def _direction(
    config: RunConfig,
    folder: RunFolder,
    loaded: LoadedModel,
    answers: OwnAnswers,
    progress: Progress,
) -> Direction:
    if not folder.direction.is_file():
        scoring = config.scoring
        direction = measure_direction(
            loaded,
            answers,
            proxy_name=scoring.proxy,
            modules=scoring.modules,
            take_out=scoring.take_out,
            normalise=scoring.normalise,
            probes_seed=scoring.probes_seed,
            progress=progress,
        )
        save_direction(direction, folder.direction, once=True)
    # Always from the file, whose layers have an order of their own: sums over layers then round
    # alike in a run that goes on, and in all shards.
    return load_direction(folder.direction)


def _score_reference(
    config: RunConfig, run: ReadyRun, work: Work, folder: RunFolder, progress: Progress
) -> None:
    if folder.reference.is_file():
        return
    rows = _reference(config, work)
    with progress.track("Scoring reference rows", len(rows), "rows") as advance:
        lines = work.score(rows, {}, advance)
    run.check_reference(lines, progress)
    write_part(lines, folder.reference, once=True)


def _reference(config: RunConfig, work: Work) -> Sequence[Scorable]:
    """Harmless rows of the same kind and under the same profile."""
    if work.rows.holds_pairs:
        return reference_pairs_for(work.tokenizer)
    profile = config.data.profile
    like = None if profile.name == DEFAULT_PROFILE else work.rows.first_plain(work.tokenizer)
    return reference_examples_for(work.tokenizer, profile, like)
