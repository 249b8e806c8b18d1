"""Reading the input of a run: looked through and read some rows at a time, or whole to train on."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from gradshield.config import RunConfig
from gradshield.data import DataSource, LoadedData, load_examples, omission_notes
from gradshield.data.survey import Survey, survey_rows
from gradshield.models.load import LoadedModel
from gradshield.models.usable import readable_by
from gradshield.progress import Progress
from gradshield.scoring.parts import Account


def read_rows(
    config: RunConfig,
    tokenizer: PreTrainedTokenizerBase,
    progress: Progress,
    source: DataSource,
) -> Survey:
    """Look through the input of a run, and say what was found."""
    survey = survey_rows(source, tokenizer, **dict(config.data))
    notes = (*source.facts.notes, *survey.notes)
    _say_found(config, source, survey.statement, notes, survey.holds_pairs, progress)
    return survey


def say_account(config: RunConfig, account: Account, progress: Progress) -> None:
    """Say what is known of the rows once each was read: what of them is not in their scores."""
    for note in omission_notes(account.left_out):
        progress.say(note)
    _say_truncated(config, account.truncated, progress)


def read_data(
    config: RunConfig, loaded: LoadedModel, progress: Progress, source: DataSource
) -> LoadedData:
    """Read and tokenise all rows, as training needs them, and say what was found."""
    data = load_examples(source, loaded.tokenizer, **dict(config.data))
    _say_found(config, source, data.format_statement, data.notes, bool(data.pairs), progress)
    _say_truncated(config, data.truncated, progress)
    return readable_by(loaded.model, data)


def _say_found(
    config: RunConfig,
    source: DataSource,
    statement: str,
    notes: Sequence[str],
    holds_pairs: bool,
    progress: Progress,
) -> None:
    progress.say(f"{source.description}; {statement}")
    for note in notes:
        progress.say(note)
    if not holds_pairs:
        profile = config.data.profile
        progress.say(f"Profile {profile.name}: loss on {profile.carries_loss}.")


def _say_truncated(config: RunConfig, rows: int, progress: Progress) -> None:
    if rows:
        progress.say(
            f"{rows} rows are longer than {config.data.max_length} tokens. What becomes of such a "
            f"row: {config.data.profile.cuts}."
        )
