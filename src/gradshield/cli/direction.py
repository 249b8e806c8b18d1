"""`gradshield direction`: take the direction of a run elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradshield.cli.options import RunArgument
from gradshield.cli.terminal import SafeConsole
from gradshield.errors import UserError
from gradshield.probes.direction import load_direction
from gradshield.probes.export import ABOVE, BELOW, export_direction
from gradshield.run.folder import RunFolder


def export_command(
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the two adapters.")],
    rank: Annotated[
        int, typer.Option(min=1, help="Directions that each matrix keeps; see what is kept.")
    ] = 16,
    step: Annotated[
        float, typer.Option(min=0, help="Length of the step in parameter space, per adapter.")
    ] = 2e-3,
) -> None:
    """Write the direction of RUN as two LoRA adapters: the model a step above and a step below.

    Any engine that serves PEFT adapters can then score rows: with the summed losses of a row's
    response tokens under both, FIHS = (loss below - loss above) / (2 x step).

    Example: gradshield direction export runs/train --out adapters --rank 16
    """
    folder = RunFolder(run)
    config = folder.read_config()
    if not folder.direction.is_file():
        raise UserError(f"{run} holds no direction yet: finish `gradshield score` first.")
    if step == 0:
        raise UserError("--step 0.0: must be greater than 0.")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} exists and is not empty: name another --out.")
    kept = export_direction(
        load_direction(folder.direction), out, rank=rank, step=step, base_model=config.model.name
    )
    console = SafeConsole()
    console.print(f"{kept:.1%} of the direction's energy kept at rank {rank}.")
    merged = "" if config.model.adapter is None else f" with {config.model.adapter} merged"
    console.print(
        f"{out / ABOVE} and {out / BELOW} are adapters of {config.model.name}{merged}, step {step}."
        f" FIHS of a row = (its loss under {BELOW} - its loss under {ABOVE}) / {2 * step}.",
        soft_wrap=True,
    )
