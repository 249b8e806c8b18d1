"""`gradshield apply`: write the data files of a decision."""

from __future__ import annotations

from typing import Annotated

import typer

from gradshield.cli import options as o
from gradshield.cli.closing import show_closing
from gradshield.cli.run_config import checked
from gradshield.config import RunConfig
from gradshield.run.apply import apply
from gradshield.run.folder import RunFolder
from gradshield.run.summary import write_summary


def apply_command(
    run: o.RunArgument,
    on_reject: Annotated[
        str | None,
        typer.Option(help="hold, keep or fail; default: what the run was started with."),
    ] = None,
    show_text: o.ShowTextOption = False,
    json: o.JsonOption = False,
) -> None:
    """Write kept, removed and rejected rows by the decision in RUN."""
    folder = RunFolder(run)
    config = folder.read_config()
    if on_reject is not None:
        config = checked(RunConfig, **{**config.model_dump(), "on_reject": on_reject})
        folder.write_config(config)
    write_summary(config, folder)
    apply(config, folder)
    show_closing(folder, as_json=json, show_text=show_text)
