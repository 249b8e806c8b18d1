"""`gradshield check`: is this model, template and data fit for scoring?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from gradshield.cli import options as o
from gradshield.cli.closing import blur
from gradshield.cli.display import Display
from gradshield.cli.run_config import checked, model_settings
from gradshield.cli.terminal import SafeConsole
from gradshield.config import DataSettings
from gradshield.data import LoadedData, TokenizedExample, load_examples, preview
from gradshield.models.load import LoadedModel, load_model
from gradshield.models.usable import readable_by
from gradshield.run.check import Finding, Verdict, check_model


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

    Looks at the probes' attack success rate, the model's first tokens, its chat template and
    vocabulary, whether it predicts plain rows at all, whether a row scores the same alone and in a
    mixed batch, and shows the response mask of one row.
    Writes no file. Exit code 1 when something must be mended first.
    """
    settings = model_settings(
        model=model,
        adapter=adapter,
        revision=revision,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    reading = checked(DataSettings, format=format, response=response, max_length=max_length)
    display = Display(quiet=quiet)
    loaded = load_model(**settings.model_dump(), say=display.say)
    # Read first, since it takes seconds and may fail, but shown last.
    examples = None if data is None else _read(data, loaded, reading)
    console = SafeConsole()
    findings = check_model(loaded, display)
    if examples is not None:
        findings.append(_data_finding(examples, max_length))
    for finding in findings:
        _show(console, finding)
    if examples is not None:
        _show_data(console, loaded, examples, show_text)
    if any(finding.verdict == "MAJOR" for finding in findings):
        raise typer.Exit(1)


SHOWN_REJECTIONS = 5
_STYLES = {"OK": "green", "MINOR": "yellow", "MAJOR": "bold red"}


def _show(console: SafeConsole, finding: Finding) -> None:
    line = Text(f"{finding.verdict:<6}", style=_STYLES[finding.verdict])
    console.print(line + Text(f"{finding.subject}: {finding.text}"), soft_wrap=True)


def _read(path: Path, loaded: LoadedModel, settings: DataSettings) -> LoadedData:
    data = load_examples(path, loaded.tokenizer, **settings.model_dump())
    return readable_by(loaded.model, data)


def _data_finding(data: LoadedData, max_length: int) -> Finding:
    verdict: Verdict = "MINOR" if data.rejections else "OK"
    return Finding(
        verdict if data.examples else "MAJOR",
        "data",
        f"{data.source}: {len(data.rows)} rows; {data.format_statement}; "
        f"{len(data.examples)} can be scored, {len(data.rejections)} cannot, "
        f"{data.truncated} are cut to {max_length} tokens.",
    )


def _show_data(
    console: SafeConsole, loaded: LoadedModel, data: LoadedData, show_text: bool
) -> None:
    for position, rejection in sorted(data.rejections.items())[:SHOWN_REJECTIONS]:
        place = data.rows[position].place
        console.print(Text(f"      {place}: {rejection}"), soft_wrap=True)
    if data.examples:
        _show_mask(console, loaded, data.examples[0], show_text)


def _show_mask(
    console: SafeConsole, loaded: LoadedModel, example: TokenizedExample, show_text: bool
) -> None:
    """One row in colour: what carries loss stands out from what does not."""
    console.print(Text(f"Mask  row {example.row}; coloured tokens carry loss:"))
    shown = Text()
    for text, is_response in preview(example, loaded.tokenizer):
        style = "black on green" if is_response else "dim"
        shown.append(text if show_text else blur(text), style=style)
    console.print(shown, soft_wrap=True)
