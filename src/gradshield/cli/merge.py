"""`gradshield merge`: one run of the shards of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradshield.cli import options as o
from gradshield.cli.display import Display
from gradshield.errors import UserError
from gradshield.run.folder import RunFolder
from gradshield.run.merge import merge


def merge_command(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders that shards wrote.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the whole run; needed for several folders."),
    ] = None,
    quiet: o.QuietOption = False,
) -> None:
    """Make a whole run of the shards that `gradshield score --shard` wrote to RUNS.

    Shards that share one folder are completed in place. Every row must be there once: otherwise
    the rows are named and nothing is written.

    Example: gradshield merge runs/node0 runs/node1 --out runs/all
    """
    if out is None and len(runs) > 1:
        raise UserError("Several folders need an --out for the whole run.")
    display = Display(quiet=quiet)
    whole = out or runs[0]
    merge([RunFolder(run) for run in runs], RunFolder(whole), display)
    display.say(f"Scores are in {whole}/scores. Next: gradshield threshold {whole}")
