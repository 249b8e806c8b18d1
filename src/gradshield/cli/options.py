"""Options that several commands share, and how they become a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from gradshield.data import DEFAULT_PROFILE, FORMATS, PROFILES
from gradshield.evaluation.tasks import TASKS
from gradshield.models.load import DEFAULT_MODEL
from gradshield.probes.proxies import DEFAULT_PROXY, PROXIES
from gradshield.scoring.engines import ENGINES
from gradshield.threshold import DEFAULT_RULE, RULES

_MODEL, _DATA, _SCORING, _DECISION, _SEARCH = "Model", "Data", "Scoring", "Decision", "Search"


def _names(registry: Iterable[str]) -> str:
    return ", ".join(registry)


DATA_HELP = (
    "Data: a file (.jsonl, .json, .csv, .tsv, .txt, each also .gz or .zst; .parquet, .arrow), a "
    "folder of such files or of `save_to_disk`, a pattern in quotes ('data/*.jsonl.gz'), or "
    "hub:OWNER/NAME."
)
DataArgument = Annotated[str, typer.Argument(help=DATA_HELP, show_default=False)]
SplitOption = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=_DATA,
        help="Split to read of a `datasets` folder or a data set of the hub with several.",
    ),
]
ScoredDataArgument = Annotated[
    str | None,
    typer.Argument(
        help=(
            f"{DATA_HELP} Can be left out where --axolotl, --dataset-info or --llamafactory names "
            "a file that is here."
        ),
        show_default=False,
    ),
]
SubsetOption = Annotated[
    str | None,
    typer.Option(
        "--subset",
        "--config",
        rich_help_panel=_DATA,
        help="Configuration to read of a data set of the hub with several.",
    ),
]
DataRevisionOption = Annotated[
    str | None,
    typer.Option(rich_help_panel=_DATA, help="Branch, tag or commit of a data set of the hub."),
]
SHARDS_HELP = (
    "Write kept, removed, rejected (and annotated) rows as so many files each, of nearly equal "
    "numbers of rows. Default: the files of DATA, with their names."
)
ShardsOption = Annotated[
    int | None, typer.Option(rich_help_panel=_DECISION, min=1, help=SHARDS_HELP)
]
OutOption = Annotated[
    Path, typer.Option("--out", "-o", help="Run folder to write, or to go on with.")
]
RunArgument = Annotated[Path, typer.Argument(help="Run folder.", show_default=False)]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        rich_help_panel=_MODEL,
        help="builtin:smollm2-aligned, builtin:smollm2, a local folder or a hub name.",
    ),
]
AdapterOption = Annotated[
    Path | None,
    typer.Option(rich_help_panel=_MODEL, help="PEFT adapter to merge before scoring."),
]
RevisionOption = Annotated[
    str | None, typer.Option(rich_help_panel=_MODEL, help="Branch, tag or commit of a hub model.")
]
DTypeOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_MODEL,
        help="auto, float32, bfloat16 or float16. auto: float32 on a CPU, bfloat16 on a GPU.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option(rich_help_panel=_MODEL, help="auto, cpu, cuda, cuda:1, mps, …")
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        rich_help_panel=_MODEL,
        help="Run Python code that comes with the hub model.",
    ),
]
FormatOption = Annotated[
    str,
    typer.Option(rich_help_panel=_DATA, help=f"auto, or one of {_names(f.name for f in FORMATS)}."),
]
ResponseOption = Annotated[
    str,
    typer.Option(rich_help_panel=_DATA, help="Which assistant turns carry loss: all, or the last."),
]
MaxLengthOption = Annotated[
    int | None,
    typer.Option(
        rich_help_panel=_DATA,
        min=2,
        help=(
            "Tokens of a row at most; longer ones are cut as the profile says. Default: the "
            "limit of the trainer's file or the trainer, 2048 without a profile."
        ),
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=_DATA,
        help=(
            f"Trainer that decides which tokens carry loss: {_names(PROFILES)}. "
            f"Default: {DEFAULT_PROFILE}."
        ),
    ),
]
ProfileSettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--profile-option",
        rich_help_panel=_DATA,
        metavar="KEY=VALUE",
        help="A setting of the profile, in YAML: assistant_only_loss=true. Can be repeated.",
    ),
]
AxolotlOption = Annotated[
    Path | None,
    typer.Option(
        "--axolotl", rich_help_panel=_DATA, help="Your axolotl YAML: profile, data and length."
    ),
]
DatasetInfoOption = Annotated[
    Path | None,
    typer.Option(
        "--dataset-info",
        rich_help_panel=_DATA,
        help="LLaMA-Factory's dataset_info.json: how the rows of --dataset are written.",
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=_DATA,
        help="Which data set of --dataset-info or --llamafactory (name), or of --axolotl (path).",
    ),
]
LlamaFactoryOption = Annotated[
    Path | None,
    typer.Option(
        "--llamafactory",
        rich_help_panel=_DATA,
        help="LLaMA-Factory's YAML of the training: template, cutoff_len, what carries loss.",
    ),
]
ProxyOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_SCORING,
        help=f"Safety proxy: {_names(PROXIES)}, or several joined by a plus.",
    ),
]
ModulesOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_SCORING,
        help=(
            "late_mlp (linear layers outside attention, last half of the blocks), or a regular "
            "expression over layer names; '.' takes all linear layers."
        ),
    ),
]
ProbesSeedOption = Annotated[
    int | None,
    typer.Option(
        rich_help_panel=_SCORING,
        min=0,
        help=(
            "Draw the probes by this number, which is best large and told to nobody; without it "
            "they are those that everybody knows."
        ),
    ),
]
TakeOutOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_SCORING,
        help=(
            "What is taken out of the direction: harmless (all that training on packaged harmless "
            "rows spans), benign (what raises compliance on ordinary prompts), or nothing."
        ),
    ),
]
NormaliseOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_SCORING,
        help="Make the direction a unit long as a whole, or in each module.",
    ),
]
ReductionOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_SCORING,
        help=(
            "What counts of a row: sum or mean over its response tokens, root (the sum divided by "
            "the square root of their number), worst_window (the 24 tokens side by side that harm "
            "most), sum_and_worst (sum and worst_window, so that a harmful turn in a long answer "
            "is not lost), or worst_tokens (the sum over the tokens that harm alone, so that none "
            "makes up for them; for data of one task). "
            "For preference rows the loss decides."
        ),
    ),
]
PreferenceLossOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_SCORING,
        help="Loss of rows with a chosen and a rejected answer: dpo or ipo.",
    ),
]
BetaOption = Annotated[
    float,
    typer.Option(
        rich_help_panel=_SCORING,
        help="Beta of that loss; it scales all scores alike, so no decision depends on it.",
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(rich_help_panel=_SCORING, help=f"auto, or one of {_names(ENGINES)}."),
]
BatchTokensOption = Annotated[
    int | None,
    typer.Option(
        rich_help_panel=_SCORING,
        min=1,
        help="Padded tokens of one batch. Default: 2048 on a CPU, all that fit on a CUDA device.",
    ),
]
CompileOption = Annotated[
    bool,
    typer.Option(
        "--compile",
        rich_help_panel=_SCORING,
        help="Compile the blocks below the direction; takes minutes before the first score.",
    ),
]
RuleOption = Annotated[
    str,
    typer.Option(
        "--threshold",
        rich_help_panel=_DECISION,
        help=f"Rule: {_names(RULES)}; one_task is adaptive for data of one task, all of which "
        "scores far below varied chat: it takes chat rows among them for harm.",
    ),
]
LevelOption = Annotated[
    float,
    typer.Option(
        rich_help_panel=_DECISION, help="Share of harmless rows that may be lost, 0 to 1."
    ),
]
SeedOption = Annotated[int, typer.Option(rich_help_panel=_DECISION, help="Seed of the rule.")]
OnRejectOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_DECISION,
        help=(
            "Rows that cannot be scored: hold (out of the kept file), keep (in it), "
            "fail (write no kept file, exit code 2)."
        ),
    ),
]
ACTION_HELP = (
    "What to do with the rows besides writing kept, removed and rejected ones: drop (nothing "
    "more: train on the kept file), annotate (one more file, annotated.*, of all rows with their "
    "gradshield_fihs and gradshield_decision), downweight (that file with a gradshield_weight too: "
    "1 for kept rows, threshold / FIHS for removed ones, 0 for rejected ones; for trainers that "
    "multiply a row's loss by a weight), mask (one more file, masked.parquet, of the rows as "
    "input_ids and labels, in which the spans that harm carry no loss)."
)
ActionOption = Annotated[str, typer.Option(rich_help_panel=_DECISION, help=ACTION_HELP)]
SearchOption = Annotated[
    bool,
    typer.Option(
        "--search",
        rich_help_panel=_SEARCH,
        help=(
            "Finetune on what is kept, measure, and move the threshold until the model is safe: "
            "minutes to hours, and the proof at its end. Needs gradshield[search]."
        ),
    ),
]
TargetOption = Annotated[
    float,
    typer.Option(
        "--target-asr",
        rich_help_panel=_SEARCH,
        help="Highest attack success rate of the finetuned model, on validation prompts.",
    ),
]
FloorOption = Annotated[
    float,
    typer.Option(
        "--utility-floor",
        rich_help_panel=_SEARCH,
        help="Lowest utility, as a share of that of training on everything.",
    ),
]
ToleranceOption = Annotated[
    float,
    typer.Option(
        rich_help_panel=_SEARCH, help="Stop when no more than this share of rows is undecided."
    ),
]
FinetunesOption = Annotated[
    int, typer.Option("--max-finetunes", rich_help_panel=_SEARCH, help="Stop after as many.")
]
ValidationOption = Annotated[
    Path | None,
    typer.Option(
        "--validation-prompts",
        rich_help_panel=_SEARCH,
        help=(
            "File of harmful prompts like those that you fear (text, .csv or .jsonl), asked beside "
            "the packaged ones: a model can lose its refusals for these and keep them for those."
        ),
    ),
]
TrainingOption = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=_SEARCH,
        help="YAML file of training settings, best those you will train with yourself.",
    ),
]
UtilityOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_SEARCH,
        help=f"held_out (a tenth of your own rows) or a task: {_names(TASKS)}.",
    ),
]
UtilityDataOption = Annotated[
    Path | None,
    typer.Option(rich_help_panel=_SEARCH, help="File or folder with the test rows of the task."),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Start over where --out holds a run of other inputs.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and results only.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")
]
ShowTextOption = Annotated[
    bool, typer.Option("--show-text", help="Show the text of rows, which can be harmful.")
]

__all__ = ["DEFAULT_MODEL", "DEFAULT_PROXY", "DEFAULT_RULE"]
