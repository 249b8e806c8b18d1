"""`gradshield check`: is this model, template and data fit for scoring?"""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from gradshield.cli import options as o
from gradshield.cli.closing import blur
from gradshield.cli.display import Display
from gradshield.cli.profile_options import data_choice
from gradshield.cli.run_config import checked, model_settings
from gradshield.cli.terminal import SafeConsole
from gradshield.config import DataSettings
from gradshield.data import (
    DataSource,
    LoadedData,
    TokenizedExample,
    load_examples,
    open_source,
    preview,
)
from gradshield.models.load import LoadedModel, load_model
from gradshield.models.usable import readable_by
from gradshield.run.check import Finding, Verdict, check_model


def check_command(
    model: o.ModelOption = o.DEFAULT_MODEL,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            help=f"Data to look at as well; a trainer's file can name it too. {o.DATA_HELP}",
        ),
    ] = None,
    adapter: o.AdapterOption = None,
    revision: o.RevisionOption = None,
    dtype: o.DTypeOption = "auto",
    device: o.DeviceOption = "auto",
    trust_remote_code: o.TrustOption = False,
    split: o.SplitOption = None,
    subset: o.SubsetOption = None,
    data_revision: o.DataRevisionOption = None,
    format: o.FormatOption = "auto",
    response: o.ResponseOption = "all",
    max_length: o.MaxLengthOption = None,
    profile: o.ProfileOption = None,
    profile_option: o.ProfileSettingOption = None,
    axolotl: o.AxolotlOption = None,
    dataset_info: o.DatasetInfoOption = None,
    dataset: o.DatasetOption = None,
    llamafactory: o.LlamaFactoryOption = None,
    show_text: o.ShowTextOption = False,
    quiet: o.QuietOption = False,
) -> None:
    """Check a model, and a data file, before scoring.

    Looks at the probes' attack success rate, the model's first tokens, its chat template and
    vocabulary, whether it predicts plain rows at all, whether a row scores the same alone and in a
    mixed batch; of the data, at what it is made of (files, formats, what would be left out or
    rejected), and shows which tokens of three rows carry loss under the profile. Writes no file.
    Exit code 1 when something must be mended first.
    """
    settings = model_settings(
        model=model,
        adapter=adapter,
        revision=revision,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    choice = data_choice(
        data,
        format=format,
        response=response,
        max_length=max_length,
        profile=profile,
        profile_option=profile_option,
        axolotl=axolotl,
        dataset_info=dataset_info,
        dataset=dataset,
        llamafactory=llamafactory,
    )
    reading = checked(DataSettings, **choice.settings)
    display = Display(quiet=quiet)
    which = {"split": split, "subset": subset, "data_revision": data_revision}
    source = None if choice.path is None else open_source(choice.path, **which)
    loaded = load_model(**settings.model_dump(), say=display.say)
    # Read first, since it takes seconds and may fail, but shown last.
    examples = None if source is None else _read(source, loaded, reading)
    console = SafeConsole()
    findings = check_model(loaded, display)
    if examples is not None:
        findings += [_profile_finding(reading), _data_finding(examples, reading.max_length)]
    for finding in findings:
        _show(console, finding)
    if examples is not None:
        _show_data(console, loaded, examples, show_text)
    if any(finding.verdict == "MAJOR" for finding in findings):
        raise typer.Exit(1)


SHOWN_REJECTIONS = 5
SHOWN_ROWS = 3
SHOWN_FILES = 8
_STYLES = {"OK": "green", "MINOR": "yellow", "MAJOR": "bold red"}


def _show(console: SafeConsole, finding: Finding) -> None:
    line = Text(f"{finding.verdict:<6}", style=_STYLES[finding.verdict])
    console.print(line + Text(f"{finding.subject}: {finding.text}"), soft_wrap=True)


def _read(source: DataSource, loaded: LoadedModel, settings: DataSettings) -> LoadedData:
    data = load_examples(source, loaded.tokenizer, **dict(settings))
    return readable_by(loaded.model, data)


def _profile_finding(settings: DataSettings) -> Finding:
    profile = settings.profile
    return Finding(
        "OK",
        "profile",
        f"{profile.name}: loss on {profile.carries_loss}; a row longer than "
        f"{settings.max_length} tokens: {profile.cuts}; the trainer averages: {profile.averaging}.",
    )


def _data_finding(data: LoadedData, max_length: int) -> Finding:
    verdict: Verdict = "MINOR" if data.rejections else "OK"
    return Finding(
        verdict if data.scorable else "MAJOR",
        "data",
        f"{data.origin.description}; {data.format_statement}; "
        f"{len(data.scorable)} can be scored, {len(data.rejections)} cannot, "
        f"{data.truncated} are cut to {max_length} tokens.{_main_reason(data)}",
    )


def _main_reason(data: LoadedData) -> str:
    """The commonest reason where most rows cannot be scored: then it is hardly the rows' fault."""
    if 2 * len(data.rejections) <= len(data.rows):
        return ""
    counts = Counter(rejection.reason for rejection in data.rejections.values())
    reason, count = counts.most_common(1)[0]
    return f" Most cannot: {reason} in {count} of {len(data.rows)}."


def _file_lines(source: DataSource) -> list[str]:
    """The files of an input of several, the first ones, with their numbers of rows."""
    if not source.is_sharded:
        return []
    counted = list(zip(source.files, source.counts, strict=True))
    lines = [f"{source.label(path)}: {count} rows" for path, count in counted[:SHOWN_FILES]]
    more = len(counted) - SHOWN_FILES
    return lines + ([f"and {more} more files"] if more > 0 else [])


def _show_data(
    console: SafeConsole, loaded: LoadedModel, data: LoadedData, show_text: bool
) -> None:
    for line in (*_file_lines(data.origin), *data.notes):
        console.print(Text(f"      {line}"), soft_wrap=True)
    for position, rejection in sorted(data.rejections.items())[:SHOWN_REJECTIONS]:
        place = data.rows[position].place
        console.print(Text(f"      {place}: {rejection}"), soft_wrap=True)
    for example in data.examples[:SHOWN_ROWS]:
        _show_mask(console, loaded, example, "", show_text)
    for pair in data.pairs[:1]:
        _show_mask(console, loaded, pair.chosen, ", chosen answer", show_text)
        _show_mask(console, loaded, pair.rejected, ", rejected answer", show_text)


def _show_mask(
    console: SafeConsole, loaded: LoadedModel, example: TokenizedExample, side: str, show_text: bool
) -> None:
    """One row: what carries loss stands in brackets, and in colour where there are colours."""
    console.print(
        Text(
            f"Mask  row {example.row}{side}, {example.response_tokens} of "
            f"{len(example.input_ids)} tokens carry loss, ⟦in brackets⟧:"
        ),
        soft_wrap=True,
    )
    shown = Text()
    tokens = preview(example, loaded.tokenizer)
    for carries_loss, run in groupby(tokens, key=lambda token: token[1]):
        text = "".join(piece if show_text else blur(piece) for piece, _ in run)
        if carries_loss:
            shown.append(f"⟦{text}⟧", style="black on green")
        else:
            shown.append(text, style="dim")
    console.print(shown, soft_wrap=True)
