"""`gradshield check`: is this model, template and data fit for scoring?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gradshield.cli import options as o
from gradshield.cli.display import Display
from gradshield.data import load_examples, preview
from gradshield.models.load import LoadedModel, load_model
from gradshield.run.check import Finding, check_model


def check_command(
    model: o.ModelOption = o.DEFAULT_MODEL,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="Data file to look at as well.")
    ] = None,
    adapter: o.AdapterOption = None,
    revision: o.RevisionOption = None,
    dtype: o.DTypeOption = "auto",
    device: o.DeviceOption = "auto",
    trust_remote_code: o.TrustOption = False,
    format: o.FormatOption = "auto",
    response: o.ResponseOption = "all",
    max_length: o.MaxLengthOption = 2048,
    show_text: o.ShowTextOption = False,
    quiet: o.QuietOption = False,
) -> None:
    """Check a model, and a data file, before scoring.

    Looks at the probes' attack success rate, the model's first tokens, its chat template, whether
    a row scores the same alone and in a mixed batch, and shows the response mask of one row.
    Exit code 1 when something must be mended first.
    """
    display = Display(quiet=quiet)
    loaded = load_model(
        model,
        adapter=adapter,
        dtype=dtype,  # type: ignore[arg-type]
        device=device,
        revision=revision,
        trust_remote_code=trust_remote_code,
        say=display.say,
    )
    console = Console(highlight=False)
    findings = check_model(loaded, display)
    for finding in findings:
        _show(console, finding)
    if data is not None:
        _show_data(console, loaded, data, format, response, max_length, show_text)
    if any(finding.verdict == "MAJOR" for finding in findings):
        raise typer.Exit(1)


_STYLES = {"OK": "green", "MINOR": "yellow", "MAJOR": "bold red"}


def _show(console: Console, finding: Finding) -> None:
    line = Text(f"{finding.verdict:<6}", style=_STYLES[finding.verdict])
    console.print(line + Text(f"{finding.subject}: {finding.text}"), soft_wrap=True)


def _show_data(
    console: Console,
    loaded: LoadedModel,
    path: Path,
    format: str,
    response: str,
    max_length: int,
    show_text: bool,
) -> None:
    data = load_examples(
        path,
        loaded.tokenizer,
        format=format,
        response=response,  # type: ignore[arg-type]
        max_length=max_length,
    )
    console.print(
        Text(
            f"Data  {path}: {len(data.rows)} rows; {data.format_statement}; "
            f"{len(data.examples)} can be scored, {len(data.rejections)} cannot, "
            f"{data.truncated} are cut to {max_length} tokens."
        ),
        soft_wrap=True,
    )
    for position, rejection in list(sorted(data.rejections.items()))[:5]:
        line = data.rows[position].line
        console.print(Text(f"      row {position} (line {line}): {rejection}"), soft_wrap=True)
    if data.examples:
        _show_mask(console, loaded, data.examples[0], show_text)


def _show_mask(
    console: Console, loaded: LoadedModel, example: o.TokenizedExample, show_text: bool
) -> None:
    """One row in colour: what carries loss stands out from what does not."""
    console.print(Text(f"Mask  row {example.row}; coloured tokens carry loss:"))
    shown = Text()
    for text, is_response in preview(example, loaded.tokenizer):
        visible = text if show_text or not is_response else text
        shown.append(visible, style="black on green" if is_response else "dim")
    console.print(shown, soft_wrap=True)
