"""`gradshield benchmark`: the comparison of filters, and studies that measure the product."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gradshield.benchmark.result import StudyResult, write_result
from gradshield.benchmark.studies import STUDIES
from gradshield.cli.display import Display
from gradshield.cli.terminal import SafeConsole

PublicDataOption = Annotated[
    Path, typer.Option(help="Folder of the public data sets (AdvBench, XSTest, SST-2, …).")
]
ResultsOption = Annotated[Path, typer.Option("--out", "-o", help="Folder of the result files.")]
GridFolder = Annotated[Path, typer.Argument(help="What `benchmark run` wrote.")]
WorkersOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Processes that measure at once. Each holds a model of its own: as many as fit into "
        "the memory. Several accelerators are taken in turn; on a CPU the workers share its "
        "cores. The results are the same with any number, and a run may go on with another one.",
    ),
]
KnownOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Results of another run, say from another machine: what they hold is taken over and "
        "not measured again. May be given several times.",
    ),
]
PUBLIC_DATA = Path("public-data")


def run_command(
    config: Annotated[Path, typer.Argument(help="YAML file, see benchmarks/configs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")],
    public_data: PublicDataOption = PUBLIC_DATA,
    workers: WorkersOption = 1,
    known: KnownOption = None,
) -> None:
    """Score, finetune and measure what CONFIG names, and write OUT/results.csv.

    An interrupted run goes on with the same command: OUT/cache keeps what was measured.
    """
    from gradshield.benchmark.grid.config import read_config
    from gradshield.benchmark.grid.run import run_grid

    path = run_grid(
        read_config(config), public_data, out, Display(), workers=workers, known=known or ()
    )
    SafeConsole().print(f"Raw results: {path}")


def table_command(
    folder: GridFolder,
    names: Annotated[
        list[str] | None, typer.Argument(help="Tables to print; all that have rows by default.")
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            help="Results of another run that are counted in, say of a task that was measured "
            "apart. May be given several times."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A Markdown file in place of the terminal.")
    ] = None,
) -> None:
    """Print tables of a grid's raw results, in Markdown."""
    from gradshield.benchmark.grid.table_text import as_text

    text = as_text([folder, *(beside or [])], names or [])
    if out is None:
        SafeConsole().print(text, end="", soft_wrap=True)
        return
    from gradshield.files import write_text

    write_text(out, text)


def plot_command(
    folder: GridFolder,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the SVG files; FOLDER by default.")
    ] = None,
) -> None:
    """Draw the figures of a grid's raw results as SVG files."""
    from gradshield.benchmark.grid.plots import draw

    for path in draw(folder, out or folder):
        SafeConsole().print(str(path))


def study_command(name: str) -> Callable[..., None]:
    """The command that runs a study."""

    def command(
        public_data: PublicDataOption = PUBLIC_DATA,
        out: ResultsOption = Path("benchmarks/results"),
    ) -> None:
        path = out / f"{name}.json"
        result = write_result(path, lambda: STUDIES[name](public_data, Display()))
        _show(result)
        SafeConsole().print(f"Result file: {path}")

    command.__doc__ = f"""Run the study `{name}` and write OUT/{name}.json.

    The file holds raw rows, bars, command, versions, hardware and seeds. A bar that does not hold
    is reported as such; the exit code is 0 all the same.
    """
    return command


COMMANDS: dict[str, Callable[..., None]] = {
    "run": run_command,
    "table": table_command,
    "plot": plot_command,
    **{name: study_command(name) for name in STUDIES},
}
"""By name: those of the grid, and one for each study."""


def _show(result: StudyResult) -> None:
    table = Table(title="Bars", title_justify="left")
    for heading in ("measured", "value", "target", "holds"):
        table.add_column(heading)
    for bar in result.bars:
        target = f"{bar.comparison} {bar.limit}"
        table.add_row(bar.name, f"{bar.value:.4f}", target, "yes" if bar.holds else "NO")
    SafeConsole().print(table)
