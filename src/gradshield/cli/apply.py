"""`gradshield apply`: write the data files of a decision."""

from __future__ import annotations

from typing import Annotated

import typer

from gradshield.cli import options as o
from gradshield.cli.closing import show_closing
from gradshield.cli.run_config import checked
from gradshield.config import RunConfig
from gradshield.run.apply import apply, check_input
from gradshield.run.folder import RunFolder
from gradshield.run.summary import write_summary


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
    show_text: o.ShowTextOption = False,
    json: o.JsonOption = False,
) -> None:
    """Write kept, removed and rejected rows by the decision in RUN.

    With --action annotate or downweight nothing is lost: one more file, annotated.jsonl or
    annotated.parquet, holds all rows with new columns. With --action mask, masked.parquet holds
    them as tokens, without loss where they harm. If DATA is several files, each of the others is a
    folder with as many. summary.md says which file to train on.
    It can be run again with another choice, in seconds and without the model.

    Example: gradshield apply runs/train --action downweight
    """
    folder = RunFolder(run)
    config = folder.read_config()
    given = {"on_reject": on_reject, "action": action, "shards": shards}
    chosen = {name: value for name, value in given.items() if value is not None}
    config = checked(RunConfig, **{**config.model_dump(), **chosen})
    # Nothing is written for a choice that cannot be carried out.
    source = check_input(config, folder)
    if chosen:
        folder.write_config(config)
    write_summary(config, folder)
    apply(config, folder, source)
    show_closing(folder, as_json=json, show_text=show_text)
