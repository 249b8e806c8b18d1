"""`gradshield apply`: write the data files of a decision."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradshield.cli import options as o
from gradshield.cli.closing import show_closing
from gradshield.cli.display import Display
from gradshield.cli.run_config import checked
from gradshield.config import RunConfig
from gradshield.run.apply import apply, check_input, review_of
from gradshield.run.folder import RunFolder
from gradshield.run.incoming_overrides import read_exported
from gradshield.run.lock import at_work
from gradshield.run.overrides import not_recorded, record_overrides
from gradshield.run.report import write_report
from gradshield.run.summary import write_summary
from gradshield.run.threshold import count_again


def apply_command(
    run: o.RunArgument,
    on_reject: Annotated[
        str | None,
        typer.Option(help="hold, keep or fail; default: what the run was started with."),
    ] = None,
    action: Annotated[
        str | None,
        typer.Option(help=f"{o.ACTION_HELP} Default: what was chosen last."),
    ] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help=f"{o.SHARDS_HELP} Or what was chosen last.")
    ] = None,
    overrides: Annotated[
        Path | None,
        typer.Option(
            help=(
                "overrides.json, exported from the report: what reviewers say of rows, against "
                "or with the score. It is added to RUN/overrides.jsonl for good."
            ),
            show_default=False,
        ),
    ] = None,
    reviewer: Annotated[
        str | None, typer.Option(help="Name for the overrides in that file that have none.")
    ] = None,
    show_text: o.ShowTextOption = False,
    json: o.JsonOption = False,
) -> None:
    """Write kept, removed and rejected rows by the decision in RUN.

    With --action annotate or downweight nothing is lost: one more file, annotated.jsonl or
    annotated.parquet, holds all rows with new columns. With --action mask, masked.parquet holds
    them as tokens, without loss where they harm. If DATA is several files, each of the others is a
    folder with as many. report.md says which file to train on.
    It can be run again with another choice, in seconds and without the model.

    Rows that reviewers ruled on go where they said. Their word stays with the run: it is applied
    again each time, whatever the threshold then, until it expires or is withdrawn.

    Example: gradshield apply runs/train --overrides overrides.json
    """
    folder = RunFolder(run)
    given = {"on_reject": on_reject, "action": action, "shards": shards}
    chosen = {name: value for name, value in given.items() if value is not None}
    display = Display(quiet=True)
    with at_work(folder, display):
        config = checked(RunConfig, **{**folder.read_config().model_dump(), **chosen})
        # Nothing is written for a choice that cannot be carried out.
        source = check_input(config, folder)
        if overrides is not None:
            reviewed = review_of(folder, source)
            marks = not_recorded(folder, read_exported(overrides, reviewed, reviewer))
            record_overrides(folder, marks, reviewed)
        count_again(folder)
        if chosen:
            folder.write_config(config)
        write_summary(config, folder)
        write_report(config, folder, display)
        apply(config, folder, source)
    show_closing(folder, as_json=json, show_text=show_text)
