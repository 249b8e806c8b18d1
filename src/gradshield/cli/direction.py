"""`gradshield direction`: measure the direction of a run by itself, and take it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradshield.cli import options as o
from gradshield.cli.display import Display
from gradshield.cli.run_config import build_config
from gradshield.cli.terminal import SafeConsole
from gradshield.config import DEFAULT_BETA
from gradshield.errors import UserError
from gradshield.models.layers import LATE_MLP
from gradshield.probes.calibration import DEFAULT_NORMALISATION, DEFAULT_TAKE_OUT
from gradshield.probes.direction import load_direction
from gradshield.probes.export import ABOVE, BELOW, export_direction
from gradshield.run.folder import RunFolder
from gradshield.run.lock import at_work_on
from gradshield.run.score import measure
from gradshield.scoring.engines.base import DEFAULT_REDUCTION


def measure_command(
    out: o.OutOption,
    data: o.ScoredDataArgument = None,
    model: o.ModelOption = o.DEFAULT_MODEL,
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
    proxy: o.ProxyOption = o.DEFAULT_PROXY,
    modules: o.ModulesOption = LATE_MLP,
    take_out: o.TakeOutOption = DEFAULT_TAKE_OUT,
    normalise: o.NormaliseOption = DEFAULT_NORMALISATION,
    reduction: o.ReductionOption = DEFAULT_REDUCTION,
    preference_loss: o.PreferenceLossOption = "dpo",
    beta: o.BetaOption = DEFAULT_BETA,
    engine: o.EngineOption = "auto",
    batch_tokens: o.BatchTokensOption = None,
    compile: o.CompileOption = False,
    probes_seed: o.ProbesSeedOption = None,
    force: o.ForceOption = False,
    quiet: o.QuietOption = False,
) -> None:
    """Do of `gradshield score` all that comes before the rows, and keep it in OUT.

    That is the direction, the engine and the scores of the reference rows, which all shards of a
    run then take from the folder, and which `gradshield direction export` makes adapters of.

    Example: gradshield direction measure train.jsonl --out runs/train
    """
    config = build_config(
        data,
        split=split,
        subset=subset,
        data_revision=data_revision,
        model=model,
        adapter=adapter,
        revision=revision,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        format=format,
        response=response,
        max_length=max_length,
        profile=profile,
        profile_option=profile_option,
        axolotl=axolotl,
        dataset_info=dataset_info,
        dataset=dataset,
        llamafactory=llamafactory,
        proxy=proxy,
        modules=modules,
        take_out=take_out,
        normalise=normalise,
        reduction=reduction,
        preference_loss=preference_loss,
        beta=beta,
        engine=engine,
        batch_tokens=batch_tokens,
        compile=compile,
        probes_seed=probes_seed,
        rule=o.DEFAULT_RULE,
        level=0.02,
        seed=0,
        on_reject="hold",
    )
    measure(config, RunFolder(out), Display(quiet=quiet), force=force)


def export_command(
    run: o.RunArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the two adapters.")],
    rank: Annotated[
        int, typer.Option(min=1, help="Directions that each matrix keeps; see what is kept.")
    ] = 16,
    step: Annotated[
        float,
        typer.Option(
            min=0,
            help=(
                "Length of the step in parameter space, per adapter. The default suits float32; in "
                "half precision it drowns in rounding: try 0.5."
            ),
        ),
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
        raise UserError(f"{run} holds no direction yet: run `gradshield direction measure` first.")
    if step == 0:
        raise UserError("--step 0.0: must be greater than 0.")
    direction = load_direction(folder.direction)
    with at_work_on(out):
        if out.exists() and any(out.iterdir()):
            raise UserError(f"{out} exists and is not empty: name another --out.")
        kept = export_direction(direction, out, rank=rank, step=step, base_model=config.model.name)
    console = SafeConsole()
    console.print(f"{kept:.1%} of the direction's energy kept at rank {rank}.")
    merged = "" if config.model.adapter is None else f" with {config.model.adapter} merged"
    console.print(
        f"{out / ABOVE} and {out / BELOW} are adapters of {config.model.name}{merged}, step {step}."
        f" FIHS of a row = (its loss under {BELOW} - its loss under {ABOVE}) / {2 * step}.",
        soft_wrap=True,
    )
