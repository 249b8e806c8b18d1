"""`gradshield verify`: is a run folder still what its record says?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from gradshield.cli import options as o
from gradshield.cli.display import Display
from gradshield.cli.terminal import SafeConsole, print_json
from gradshield.printable import printable
from gradshield.run.folder import RunFolder
from gradshield.run.verify import Check, verify_files
from gradshield.run.verify_scores import verify_scores


def verify_command(
    run: o.RunArgument,
    sample: Annotated[int, typer.Option(min=0, help="Rows to score again with the model.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of their choice.")] = 0,
    scores: Annotated[
        bool, typer.Option(help="Score the sample; without it no model is needed.")
    ] = True,
    device: Annotated[
        str | None,
        typer.Option(
            help="Where to score: cpu, cuda, … Default: as the run did.", show_default=False
        ),
    ] = None,
    trust_remote_code: o.TrustOption = False,
    quiet: o.QuietOption = False,
    json: o.JsonOption = False,
) -> None:
    """Check that nothing in RUN has changed, and that its scores come out again.

    Hashes of input and outputs, that every row is accounted for once, that the three files are what
    decision and overrides say, that every override is of the row as it is, and the scores of a
    sample. One line a check. Exit codes: 0 all hold, 1 it could not be checked, 2 a check failed.

    Example: gradshield verify runs/train --sample 32
    """
    folder = RunFolder(run)
    config = folder.read_config()
    checks = verify_files(config, folder)
    if not json:
        _show(checks)
    # Without its input nothing can be scored again.
    if scores and sample and checks[0].holds:
        # A run folder cannot grant this by itself.
        asked: dict[str, object] = {"trust_remote_code": trust_remote_code}
        if device is not None:
            asked["device"] = device
        model = config.model.model_copy(update=asked)
        config = config.model_copy(update={"model": model})
        display = Display(quiet=quiet or json)
        again = verify_scores(config, folder, display, sample=sample, seed=seed)
        if not json:
            _show(again)
        checks += again
    if json:
        print_json([asdict(check) for check in checks])
    if not all(check.holds for check in checks):
        raise typer.Exit(2)


def _show(checks: list[Check]) -> None:
    console = SafeConsole()
    for check in checks:
        word, style = ("OK", "green") if check.holds else ("FAILED", "bold red")
        line = Text(f"{word:<7}", style=style) + Text(printable(f"{check.name}: {check.text}"))
        console.print(line, soft_wrap=True)
