"""`gradshield report`: the report of a run for people and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradshield.cli import options as o
from gradshield.cli.display import Display
from gradshield.cli.terminal import SafeConsole
from gradshield.run.folder import RunFolder
from gradshield.run.lock import at_work
from gradshield.run.report import write_report
from gradshield.run.summary import write_summary


def report_command(
    run: o.RunArgument,
    redact: Annotated[
        bool,
        typer.Option(
            "--redact",
            help=(
                "Leave out every text of the data, ids and reviewers' reasons too, to share the "
                "report outside. Written to RUN/redacted unless --out names a folder."
            ),
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write to.", show_default="RUN"),
    ] = None,
    quiet: o.QuietOption = False,
) -> None:
    """Write the report of RUN: report.html to read, report.json, report.sarif and data_card.md.

    `filter`, `threshold` and `apply` write it as well. The page is one file that opens without a
    network; texts of rows are hidden until asked for. The data and the tokenizer are read again,
    the model's weights are not.

    Example: gradshield report runs/train --redact
    """
    folder = RunFolder(run)
    if out is None:
        out = folder.redacted if redact else folder.path
    display = Display(quiet=quiet)
    with at_work(folder, display):
        config = folder.read_config()
        page = write_report(config, folder, display, out=out, redact=redact)
        if not redact:
            write_summary(config, folder)
    SafeConsole().print(str(page), soft_wrap=True)
