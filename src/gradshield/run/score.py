"""The step `score`: direction, reference scores and the score table of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from gradshield.config import RunConfig, ScoringSettings
from gradshield.data import DataSource, LoadedData, Rejection, load_examples
from gradshield.errors import UserError
from gradshield.evaluation.generation import Answer
from gradshield.models.load import LoadedModel, load_model
from gradshield.models.usable import readable_by
from gradshield.probes.calibration import answer_probes, measure_direction
from gradshield.probes.direction import Direction, load_direction, save_direction
from gradshield.probes.proxies import OwnAnswers
from gradshield.progress import Progress
from gradshield.run.folder import RunFolder, read_json, write_json
from gradshield.run.health import report_health
from gradshield.run.provenance import loss_record, run_identity, run_record
from gradshield.run.source import check_apart, open_input
from gradshield.scoring.engines import PreparedEngine
from gradshield.scoring.lines import reference_for, score_lines, settings_for
from gradshield.scoring.preference import preference_statement
from gradshield.scoring.reference import check_reference
from gradshield.scoring.score import prepare_engine, try_longest
from gradshield.scoring.table import read_table, rejected_line, write_part

ROWS_PER_PART = 128
"""Rows of one part of the score table; an interrupted run repeats at most this many."""

MOST_REASON = 1000
"""Characters of a row's reason: a field name of the data's can be megabytes long."""


def score(
    config: RunConfig,
    folder: RunFolder,
    progress: Progress,
    *,
    force: bool = False,
    source: DataSource | None = None,
) -> None:
    """Score every row of the input, or go on where an earlier run stopped.

    Args:
        config: The configuration.
        folder: The run folder.
        progress: Told how far it is.
        force: Throw away what a run of other inputs left in the folder.
        source: The input, where it has been opened already.

    Raises:
        UserError: The data, the model or the folder cannot be used.
    """
    # Unusable data is to be known before the model is loaded.
    source = source or open_input(config, progress)
    check_apart(source, folder.path)
    loaded = load_model(**config.model.model_dump(), say=progress.say)
    data = read_data(config, loaded, progress, source)
    settings = settings_for(data.scorable, config.scoring)
    if data.pairs:
        _check_no_search(config)
        progress.say(preference_statement(settings))
    identity = run_identity(config, loaded, source)
    loss = {} if data.pairs else {"loss": loss_record(config)}
    continued = folder.claim(identity, {**loss, **run_record(source)}, force=force)
    folder.write_config(config)
    if continued:
        progress.say(f"Going on with the run in {folder.path}: what is done is kept.")
    answers = probe_answers(config, folder, loaded, progress)
    report_health(answers, progress)
    direction = _direction(config, folder, loaded, answers, progress)
    if not _is_scored(folder, data):
        engine = prepare_engine(loaded, direction, settings, progress)
        preference = preference_statement(settings) if data.pairs else None
        write_json(
            folder.engine,
            {"notes": engine.notes, "warning": engine.warning, "preference": preference},
        )
        try_longest(loaded, data.examples, engine)
        _score_reference(config, folder, loaded, engine, data, progress)
        _score_rows(settings, folder, loaded, engine, data, progress)
    _write_rejections(folder, data)


def _check_no_search(config: RunConfig) -> None:
    """A search trains on plain answers, which is not what preference rows are for."""
    if config.search is not None:
        raise UserError(
            "--search finetunes on plain rows, and these are preference rows: use `filter` without "
            "--search, and measure the model that you train on kept.* with `gradshield evaluate`."
        )


def read_data(
    config: RunConfig, loaded: LoadedModel, progress: Progress, source: DataSource
) -> LoadedData:
    """Read and tokenise the input, and say what was found."""
    data = load_examples(source, loaded.tokenizer, **dict(config.data))
    data = readable_by(loaded.model, data)
    progress.say(f"{source.description}; {data.format_statement}")
    for note in data.notes:
        progress.say(note)
    profile = config.data.profile
    if not data.pairs:
        progress.say(f"Profile {profile.name}: loss on {profile.carries_loss}.")
    if data.truncated:
        progress.say(
            f"{data.truncated} rows are longer than {config.data.max_length} tokens. What becomes "
            f"of such a row: {profile.cuts}."
        )
    return data


def _write_rejections(folder: RunFolder, data: LoadedData) -> None:
    """Keep the reasons of the score table, which knows of scores that are not finite too.

    Written last: that it is there tells that scoring is complete.
    """
    rejected = []
    for line in read_table(folder.scores):
        if line["status"] == "rejected":
            reason, _, detail = line["reason"].partition(": ")
            row = data.rows[line["row"]]
            place = {"row": row.position, "line": row.line}
            file = {} if row.file is None else {"file": row.file}
            rejected.append({**place, **file, "reason": reason, "detail": detail})
    write_json(folder.rejections, rejected)


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
    write_json(folder.answers, content)
    return answers


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
        save_direction(direction, folder.direction)
    # Always from the file, whose layers have an order of their own: sums over layers then round
    # alike in a run that goes on.
    return load_direction(folder.direction)


def _score_reference(
    config: RunConfig,
    folder: RunFolder,
    loaded: LoadedModel,
    engine: PreparedEngine,
    data: LoadedData,
    progress: Progress,
) -> None:
    if folder.reference.is_file():
        return
    like = data.rows[data.examples[0].row].value if data.examples else None
    rows = reference_for(data.scorable, loaded, config.data.profile, like)
    settings = settings_for(rows, config.scoring)
    with progress.track("Scoring reference rows", len(rows), "rows") as advance:
        lines = score_lines(loaded, rows, engine, settings, ids={}, progress=advance)
    check_reference(loaded, lines, progress)
    write_part(lines, folder.reference)


def _parts(folder: RunFolder, data: LoadedData) -> dict[Path, range]:
    """The files of the score table, and the rows that each holds."""
    return {
        folder.scores / f"part-{number:05d}.parquet": range(
            start, min(start + ROWS_PER_PART, len(data.rows))
        )
        for number, start in enumerate(range(0, len(data.rows), ROWS_PER_PART))
    }


def _is_scored(folder: RunFolder, data: LoadedData) -> bool:
    return all(path.is_file() for path in (folder.reference, *_parts(folder, data)))


def _score_rows(
    settings: ScoringSettings,
    folder: RunFolder,
    loaded: LoadedModel,
    engine: PreparedEngine,
    data: LoadedData,
    progress: Progress,
) -> None:
    examples = {row.row: row for row in data.scorable}
    ids = dict(enumerate(data.ids))
    with progress.track("Scoring rows", len(data.rows), "rows") as advance:
        for path, positions in _parts(folder, data).items():
            if path.is_file():
                advance(len(positions))
                continue
            scorable = [examples[row] for row in positions if row in examples]
            lines = score_lines(loaded, scorable, engine, settings, ids=ids, progress=advance)
            rejected = [row for row in positions if row not in examples]
            reasons = {row: reason_text(data.rejections[row]) for row in rejected}
            lines += [rejected_line(row, ids[row], reason) for row, reason in reasons.items()]
            write_part(lines, path)
            advance(len(rejected))


def reason_text(rejection: Rejection) -> str:
    """The reason for the table; half of a surrogate pair, which no file takes, as its escape.

    Cut to `MOST_REASON` characters: some reasons quote a role, or name the fields that were found.
    """
    text = str(rejection)
    short = text if len(text) <= MOST_REASON else text[:MOST_REASON] + "…"
    return short.encode("utf-8", "backslashreplace").decode("utf-8")
