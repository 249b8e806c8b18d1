"""`gradshield hook`: the filter as a step before a trainer, from its own configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from gradshield.cli import options as o
from gradshield.cli.display import Display
from gradshield.cli.run_config import checked
from gradshield.cli.terminal import SafeConsole
from gradshield.config import ThresholdSettings
from gradshield.errors import UserError
from gradshield.hooks import HOOKS, HookSettings, Plan
from gradshield.hooks.carry_out import Outcome, carry_out, new_path


def hook_command(
    trainer: Annotated[
        str, typer.Argument(help=f"Whose configuration: {', '.join(HOOKS)}.", show_default=False)
    ],
    config: Annotated[
        Path, typer.Argument(help="The trainer's configuration.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="New configuration; default: NAME.gradshield.yaml."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Model that scores. Default: the one that is trained."),
    ] = None,
    adapter: o.AdapterOption = None,
    dtype: o.DTypeOption = "auto",
    device: o.DeviceOption = "auto",
    trust_remote_code: o.TrustOption = False,
    threshold: o.RuleOption = o.DEFAULT_RULE,
    level: o.LevelOption = 0.02,
    seed: o.SeedOption = 0,
    on_reject: o.OnRejectOption = "hold",
    leave_remote: Annotated[
        bool,
        typer.Option(
            "--leave-remote", help="Leave data that is not on this machine in, unfiltered."
        ),
    ] = False,
    only_answers: Annotated[
        bool,
        typer.Option(
            "--only-answers",
            help="Score answers by the model's own template, not what the trainer trains on.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be run and written, and stop.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Start runs of other inputs over; overwrite --out."),
    ] = False,
    quiet: o.QuietOption = False,
) -> None:
    """Filter every data file that a trainer's configuration names, and write a new one.

    CONFIG and the data stay as they are. Beside them are then NAME.gradshield.yaml, which reads
    the kept rows and is CONFIG else, and a run folder for each data file in NAME.gradshield.runs;
    for LLaMA-Factory also a folder NAME.gradshield.data with its dataset_info.json. The same
    command again changes nothing, unless data, model or options have changed.

    Rows are scored by what the trainer puts into its loss. Start the command in the folder that you
    train in: paths are read as the trainer reads them.

    Example: gradshield hook axolotl train.yaml
    """
    if trainer not in HOOKS:
        raise UserError(f"No hook for {trainer}: choose one of {', '.join(HOOKS)}.")
    hook = HOOKS[trainer]
    new = new_path(config, out)
    given: dict[str, Any] = {
        "name": model,
        "adapter": None if adapter is None else str(adapter),
        "dtype": dtype,
        "device": device,
        "trust_remote_code": trust_remote_code,
    }
    settings = HookSettings(
        model={name: value for name, value in given.items() if value is not None},
        threshold=checked(ThresholdSettings, rule=threshold, level=level, seed=seed),
        on_reject=on_reject,
        leave_remote=leave_remote,
        only_answers=only_answers,
    )
    plan = hook.plan(config, new, settings)
    display = Display(quiet=quiet)
    for note in plan.notes:
        display.warn(note)
    if dry_run:
        _show_plan(plan)
        return
    outcomes = carry_out(hook, config, plan, display, force=force)
    _show_outcomes(plan, outcomes, new)


def _show_plan(plan: Plan) -> None:
    console = SafeConsole()
    for filtering in plan.filterings:
        console.print(filtering.command, soft_wrap=True)
    for path in plan.rewrite("VERSION"):
        console.print(f"# then writes {path}", soft_wrap=True)
    console.print(plan.train, soft_wrap=True)


def _show_outcomes(plan: Plan, outcomes: list[Outcome], new: Path) -> None:
    table = Table(title="Filtered", title_justify="left")
    table.add_column("data")
    for heading in ("kept", "removed", "rejected"):
        table.add_column(heading, justify="right")
    table.add_column("train on", overflow="fold")
    for one in outcomes:
        counts = map(str, (one.kept, one.removed, one.rejected))
        table.add_row(Text(one.filtering.label), *counts, Text(str(one.filtering.kept)))
    console = SafeConsole()
    console.print(table)
    console.print(Text(f"Wrote {new}. Train with: {plan.train}"), soft_wrap=True)
