"""The command `gradshield`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer
from transformers.utils import logging as transformers_logging
from typer.exceptions import TyperException

from gradshield import __version__
from gradshield.cli.align import align_command
from gradshield.cli.apply import apply_command
from gradshield.cli.benchmark import COMMANDS as BENCHMARK_COMMANDS
from gradshield.cli.check import check_command
from gradshield.cli.compare import compare_command
from gradshield.cli.direction import export_command, measure_command
from gradshield.cli.evaluate import evaluate_command
from gradshield.cli.filter import filter_command
from gradshield.cli.finetune import finetune_command
from gradshield.cli.hook import hook_command
from gradshield.cli.merge import merge_command
from gradshield.cli.report import report_command
from gradshield.cli.review import review_command
from gradshield.cli.score import score_command
from gradshield.cli.show import show_command
from gradshield.cli.stopping import STOPPED, exit_code, stoppable
from gradshield.cli.terminal import SafeConsole
from gradshield.cli.threshold import threshold_command
from gradshield.cli.verify import verify_command
from gradshield.durable import full_disk, is_full_disk
from gradshield.errors import UserError
from gradshield.run.apply import RowsRejected

typer_app = typer.Typer(
    help=(
        "Find and remove the finetuning examples that would erode a chat model's refusals.\n\n"
        "Start with `gradshield check --model M --data D`, then `gradshield filter D --model M "
        "--out RUN`. Exit codes: 0 done, 1 something to mend (one line says what), 2 rows were "
        "rejected under --on-reject fail, or a check of `verify` failed, 130 interrupted, 143 "
        "terminated."
    ),
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gradshield {__version__}")
        raise typer.Exit


@typer_app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Options that come before a command."""


_COMMANDS: dict[str, Callable[..., Any]] = {
    "filter": filter_command,
    "check": check_command,
    "score": score_command,
    "merge": merge_command,
    "threshold": threshold_command,
    "apply": apply_command,
    "show": show_command,
    "review": review_command,
    "report": report_command,
    "verify": verify_command,
    "hook": hook_command,
    "finetune": finetune_command,
    "evaluate": evaluate_command,
    "compare": compare_command,
    "align": align_command,
}


def _with_exit_codes(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn what a command may raise into one line on standard error and an exit code."""

    # Inside the command, since Typer's own treatment of an interrupt differs between versions.
    @wraps(command)
    def run(**options: Any) -> None:
        try:
            command(**options)
        except UserError as fault:
            raise _exit(f"Error: {fault}", 1) from fault
        except RowsRejected as fault:
            raise _exit(f"Error: {fault}", 2) from fault
        except OSError as fault:
            raise _exit(f"Error: {_of_system(fault)}", 1) from fault
        except KeyboardInterrupt as stop:
            raise _exit(STOPPED, exit_code(stop)) from stop
        except Exception as fault:
            # What torch raises when it cannot write is no OSError.
            if not is_full_disk(fault):
                raise
            raise _exit(f"Error: {full_disk('A file')}", 1) from fault

    return run


def _of_system(fault: OSError) -> str:
    """What the operating system refused, in one line."""
    if is_full_disk(fault):
        return str(full_disk(fault.filename or "A file"))
    place = "" if fault.filename is None else f": {fault.filename}"
    return f"{fault.strerror or fault}{place}"


def _exit(text: str, code: int) -> typer.Exit:
    console = SafeConsole(stderr=True, style="bold red")
    console.print(" ".join(text.splitlines()), soft_wrap=True)
    return typer.Exit(code)


for _name, _command in _COMMANDS.items():
    typer_app.command(_name)(_with_exit_codes(_command))

_direction_app = typer.Typer(help="Work with the direction of a run.", no_args_is_help=True)
_direction_app.command("measure")(_with_exit_codes(measure_command))
_direction_app.command("export")(_with_exit_codes(export_command))
typer_app.add_typer(_direction_app, name="direction")

_benchmark_app = typer.Typer(
    help=(
        "Compare filters on a grid of tasks, attacks and harmful shares: `run` writes "
        "OUT/results.csv, `table` and `plot` read it. Or run one of the studies behind the figures "
        "of the documentation, which write OUT/STUDY.json."
    ),
    no_args_is_help=True,
)
for _name, _command in BENCHMARK_COMMANDS.items():
    _benchmark_app.command(_name)(_with_exit_codes(_command))
typer_app.add_typer(_benchmark_app, name="benchmark")


def app() -> None:
    """Run the command line; the exit codes are those of its help."""
    _quieten_libraries()
    try:
        with stoppable():
            outcome = typer_app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except TyperException as mistyped:
        # By itself Typer exits with 2 here, which means rejected rows with us.
        text = mistyped.format_message()
        # The shell has made many names of a pattern.
        quotes = " A pattern of files goes in quotes." if "unexpected extra" in text else ""
        _exit(f"Error: {text}{quotes} See gradshield COMMAND --help.", 1)
        sys.exit(1)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _quieten_libraries() -> None:
    """Keep what other libraries say to developers off the user's screen."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
