"""`gradshield align`: teach a chat model to refuse, as a LoRA adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradshield.cli.display import Display
from gradshield.finetuning.align import align, load_recipe
from gradshield.models.load import load_model
from gradshield.run.lock import at_work_on


def align_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the PEFT adapter to write.")],
    recipe: Annotated[
        Path | None,
        typer.Option(help="Recipe file; default: the packaged one for the built-in model."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model to align; default: the recipe's.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings only.")] = False,
) -> None:
    """Train a model to refuse harmful requests and keep answering the others.

    Takes about half an hour on two cores for the built-in model. Needs `gradshield[align]`. Use
    the adapter with `--model M --adapter OUT`.
    """
    settings = load_recipe(recipe)
    if model is not None:
        settings = settings.model_copy(update={"model": model})
    display = Display(quiet=quiet)
    loaded = load_model(settings.model, dtype="float32", device=device, say=display.say)
    with at_work_on(out, display):
        change = align(loaded, settings, out, display)
    display.say(
        f"The adapter is in {out}; the cut kept {change.energy_kept:.0%} of the energy of the "
        f"whole change. Check it with `gradshield check --model {settings.model} --adapter {out}`."
    )
