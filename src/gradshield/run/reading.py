"""Reading the input of a run, whole or in parts."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from gradshield.config import RunConfig
from gradshield.data import DataSource, LoadedData, load_examples
from gradshield.data.survey import InMemory, RowsSource, survey_rows
from gradshield.progress import Progress


def read_whole(
    config: RunConfig,
    tokenizer: PreTrainedTokenizerBase,
    progress: Progress,
    source: DataSource,
) -> LoadedData:
    """Read and tokenise the input whole, and say what was found."""
    data = load_examples(source, tokenizer, **dict(config.data))
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


def read_rows(
    config: RunConfig,
    tokenizer: PreTrainedTokenizerBase,
    progress: Progress,
    source: DataSource,
    *,
    in_parts: bool,
) -> RowsSource:
    """The input of a run, whole in memory, or only looked through where it is read in parts."""
    if not in_parts:
        return InMemory(read_whole(config, tokenizer, progress, source))
    survey = survey_rows(source, tokenizer, **dict(config.data))
    progress.say(f"{source.description}; {survey.statement}")
    for note in (*source.facts.notes, *survey.notes):
        progress.say(note)
    if not survey.holds_pairs:
        profile = config.data.profile
        progress.say(f"Profile {profile.name}: loss on {profile.carries_loss}.")
    return survey
