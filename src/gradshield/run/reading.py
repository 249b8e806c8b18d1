"""Reading the input of a run, whole or in parts."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from gradshield.config import RunConfig
from gradshield.data import LoadedData, load_examples
from gradshield.data.survey import InMemory, RowsSource, survey_rows
from gradshield.errors import UserError
from gradshield.progress import Progress
from gradshield.scoring import parts


def check_apart(source: Path, run: Path) -> None:
    """See that input and run folder do not lie in each other.

    Starting over deletes the run folder, and a run in a data folder would change the data.

    Raises:
        UserError: They do.
    """
    if source.is_relative_to(run) or run.is_relative_to(source):
        raise UserError(
            f"The input {source} and the run folder {run} lie in each other, but the input must "
            "stay as it is: name another --out."
        )


def read_whole(
    config: RunConfig, tokenizer: PreTrainedTokenizerBase, progress: Progress
) -> LoadedData:
    """Read and tokenise the input whole, and say what was found."""
    data = load_examples(Path(config.data_path), tokenizer, **config.data.model_dump())
    kind = data.container.name
    progress.say(f"{config.data_path}: {len(data.rows)} rows ({kind}); {data.format_statement}")
    for note in data.notes:
        progress.say(note)
    if data.truncated:
        progress.say(
            f"{data.truncated} rows are longer than {config.data.max_length} tokens: the prompt's "
            "end and the response's beginning are scored."
        )
    return data


def read_rows(
    config: RunConfig, tokenizer: PreTrainedTokenizerBase, progress: Progress, *, in_parts: bool
) -> RowsSource:
    """The input of a run, whole in memory, or only looked through where it is read in parts."""
    if not in_parts:
        return InMemory(read_whole(config, tokenizer, progress))
    source = Path(config.data_path).resolve()
    survey = survey_rows(source, tokenizer, **config.data.model_dump(), stride=parts.ROWS_PER_PART)
    progress.say(f"{config.data_path}: {survey.total} rows; {survey.statement}")
    return survey
