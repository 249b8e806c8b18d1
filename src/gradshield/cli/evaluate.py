"""`gradshield evaluate`: is a model safe, does it refuse too much, is it useful?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table

from gradshield.cli import options as o
from gradshield.cli.display import Display
from gradshield.cli.run_config import checked, model_settings
from gradshield.cli.terminal import SafeConsole, print_json
from gradshield.config import EvaluationConfig
from gradshield.evaluation.evaluate import ALL_KINDS
from gradshield.evaluation.judges import FORMS
from gradshield.evaluation.prompt_sets import SETS
from gradshield.evaluation.tasks import TASKS
from gradshield.run.evaluate import evaluate_model

_PROMPTS, _JUDGES, _TASKS = "Prompts", "Judges", "Tasks"


def evaluate_command(
    model: Annotated[
        str,
        typer.Argument(help="builtin:smollm2-aligned, a local folder or a hub name."),
    ] = o.DEFAULT_MODEL,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the evaluation to write.")
    ] = Path("evaluation"),
    adapter: o.AdapterOption = None,
    revision: o.RevisionOption = None,
    dtype: o.DTypeOption = "auto",
    device: o.DeviceOption = "auto",
    trust_remote_code: o.TrustOption = False,
    prompt_set: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            rich_help_panel=_PROMPTS,
            help=f"Prompt set, may be repeated: {', '.join(SETS)}. "
            "Default: harmful, ordinary and scary, which are packaged.",
        ),
    ] = None,
    harmful_prompts: Annotated[
        list[Path] | None,
        typer.Option(
            rich_help_panel=_PROMPTS,
            help="File of your own harmful prompts: text, .csv or .jsonl; may be repeated.",
        ),
    ] = None,
    harmless_prompts: Annotated[
        list[Path] | None,
        typer.Option(rich_help_panel=_PROMPTS, help="The same with prompts to be answered."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(rich_help_panel=_PROMPTS, help="Prompts of a set, and items of a task."),
    ] = None,
    answer_tokens: Annotated[
        int, typer.Option(rich_help_panel=_PROMPTS, help="Tokens of an answer at most.")
    ] = 64,
    temperature: Annotated[
        float, typer.Option(rich_help_panel=_PROMPTS, help="0 answers greedily.")
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option(rich_help_panel=_PROMPTS, help="Share of probability drawn from.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(rich_help_panel=_PROMPTS, help="Seed of the draws.")] = 0,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_JUDGES,
            help=f"Judge, may be repeated: {', '.join(FORMS.values())}. Default: the first two.",
        ),
    ] = None,
    aligned: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_JUDGES,
            help="The aligned model before finetuning; default: MODEL without the adapter.",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            rich_help_panel=_TASKS,
            help=f"Utility task, may be repeated: {', '.join(TASKS)}, harness:NAME.",
        ),
    ] = None,
    public_data: Annotated[
        Path | None,
        typer.Option(help="Folder of the public data sets, or the test file of a single task."),
    ] = None,
    quiet: o.QuietOption = False,
    json: o.JsonOption = False,
) -> None:
    """Measure attack success, over-refusal and utility of MODEL.

    Every answer is judged twice at least; where judges disagree, and answers that are babble, are
    counted apart. OUT holds evaluation.json, generations.parquet (every answer) and items.parquet
    (every task item). Compare two evaluations with `gradshield compare A B`.

    Example: gradshield evaluate ./my-model --adapter ./my-adapter --out after
    """
    config = checked(
        EvaluationConfig,
        model=model_settings(
            model=model,
            adapter=adapter,
            revision=revision,
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
        ),
        aligned=aligned,
        harmful_prompts=[str(path) for path in harmful_prompts or ()],
        harmless_prompts=[str(path) for path in harmless_prompts or ()],
        tasks=task or (),
        public_data=None if public_data is None else str(public_data),
        limit=limit,
        answer_tokens=answer_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        **({} if prompt_set is None else {"prompt_sets": prompt_set}),
        **({} if judge is None else {"judges": judge}),
    )
    content = evaluate_model(config, out, Display(quiet=quiet or json))
    if json:
        print_json(content)
        return
    console = SafeConsole()
    console.print(_safety(content["sets"]))
    if any(entry["kind"] != ALL_KINDS for entry in content["sets"]):
        console.print(_by_kind(content["sets"]))
    if content["tasks"]:
        console.print(_utility(content["tasks"]))
    console.print(f"Every answer is in {out}/generations.parquet.", soft_wrap=True)


def _safety(sets: list[dict[str, Any]]) -> Table:
    """A line for every set and judge: complied where a refusal is wanted, else refused."""
    table = Table(title="Safety and over-refusal", title_justify="left", box=SIMPLE)
    table.add_column("measured")
    table.add_column("judge", no_wrap=True)
    for heading in ("% (95 %)", "incoherent", "differ"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in sets:
        if entry["kind"] != ALL_KINDS:
            continue
        differ = "" if entry["agreement"] is None else len(entry["agreement"]["disagreeing"])
        for judge, counts in entry["judges"].items():
            table.add_row(
                f"{entry['set']}: {_wrong(entry)}",
                judge.partition(":")[0],
                _share(entry, counts),
                str(entry["incoherent"]),
                str(differ),
            )
    return table


def _by_kind(sets: list[dict[str, Any]]) -> Table:
    """Over-refusal by the sets' own types, by the first judge."""
    table = Table(title="Refused, by kind", title_justify="left", box=SIMPLE)
    for heading in ("set", "kind"):
        table.add_column(heading)
    for heading in ("% (95 %)", "of"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in sets:
        if entry["kind"] != ALL_KINDS:
            counts = next(iter(entry["judges"].values()))
            share = _share(entry, counts)
            table.add_row(entry["set"], entry["kind"], share, str(entry["prompts"]))
    return table


def _wrong(entry: dict[str, Any]) -> str:
    """What an aligned model would not do with the prompts of a set."""
    return "complied" if entry["expectation"] == "refuse" else "refused"


def _share(entry: dict[str, Any], counts: dict[str, Any]) -> str:
    wrong = counts[_wrong(entry)]
    low, high = wrong["interval"]
    return f"{100 * wrong['share']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _utility(tasks: list[dict[str, Any]]) -> Table:
    table = Table(title="Utility", title_justify="left", box=SIMPLE)
    table.add_column("task")
    table.add_column("metric")
    table.add_column("items", justify="right")
    table.add_column("value", justify="right")
    for entry in tasks:
        better = "" if entry["higher_is_better"] else " (lower is better)"
        table.add_row(
            entry["task"], entry["metric"] + better, str(entry["items"]), f"{entry['value']:.3f}"
        )
    return table
