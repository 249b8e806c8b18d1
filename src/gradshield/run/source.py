"""The input of a run: opened for the first time, and found again by a later step."""

from __future__ import annotations

from pathlib import Path

from gradshield.config import RunConfig
from gradshield.data import DataError, DataSource, open_source
from gradshield.data.opening import is_on_hub
from gradshield.errors import UserError
from gradshield.progress import Progress
from gradshield.run.folder import RunFolder, read_json


def open_input(config: RunConfig, progress: Progress) -> DataSource:
    """The input that the configuration names.

    Raises:
        DataError: There is none, or it cannot be used.
    """
    if is_on_hub(config.data_path):
        progress.say(f"Fetching {config.data_path} from the hub, unless it is there already …")
    return open_source(config.data_path, **config.input.model_dump())


def reopen_input(config: RunConfig, folder: RunFolder) -> DataSource:
    """The input of a run, from whatever folder the step is started in, without any network.

    Raises:
        UserError: It is gone, or cannot be read any more.
    """
    location = config.data_path
    if not Path(location).is_absolute():
        # Relative to the folder that the run was started in, or fetched into a file.
        provenance = read_json(folder.provenance, "data")
        location = provenance["data"]
    # What was fetched is the split alone.
    split = None if Path(location).is_file() else config.input.split
    try:
        return open_source(location, split=split)
    except DataError as error:
        if Path(location).exists():
            raise
        raise UserError(
            f"The input {location} is gone: put it back, or score it where it is now ({error})."
        ) from error


def check_unchanged(source: DataSource, sha256: str) -> None:
    """Refuse an input that is not the one that was scored.

    Raises:
        UserError: It has changed.
    """
    if source.sha256() != sha256:
        raise UserError(
            f"The input {source.location} has changed since it was scored: score it again with "
            "--force."
        )


def check_apart(source: DataSource, run: Path) -> None:
    """Refuse a folder to write to in which the input lies, or that lies in the input.

    Starting over deletes the folder, and what is written into a data folder would change the data.

    Raises:
        UserError: Names both.
    """
    run = run.resolve()
    reads_all = Path(source.name).is_dir() or "**" in source.name
    around = reads_all and run.is_relative_to(source.root.resolve())
    if around or any(path.resolve().is_relative_to(run) for path in source.files):
        raise UserError(
            f"The input {source.name} and the folder {run} lie in each other, but the input must "
            "stay as it is: name another --out."
        )
