"""What works without an extra, and what is said where one is missing; see `.ci/matrix`.

Nothing is made to look absent here: in an environment with all extras, what needs one is imported.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.main import get_command

import gradshield as package
from gradshield.cli.main import typer_app
from tests.cli.command_line import gradshield
from tests.run.data_files import good_rows, write_jsonl
from tests.tiny_models import save_tiny_model

MODULES = [module.name for module in pkgutil.walk_packages(package.__path__, "gradshield.")]
NEEDS_TRL = {"gradshield.finetuning.response_trainer", "gradshield.finetuning.weighted_trainer"}
"""Subclasses of TRL's trainer, which nothing imports before it is known that there is a TRL."""


def commands() -> list[list[str]]:
    """The words of each command and subcommand."""
    top = get_command(typer_app)
    found: list[list[str]] = [[]]
    for name, command in getattr(top, "commands", {}).items():
        found.append([name])
        found += [[name, below] for below in getattr(command, "commands", {})]
    return found


@pytest.mark.parametrize("name", MODULES)
def test_every_module_can_be_imported(name: str) -> None:
    if name in NEEDS_TRL and find_spec("trl") is None:
        with pytest.raises(ModuleNotFoundError, match="trl"):
            importlib.import_module(name)
    else:
        importlib.import_module(name)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_its_help(words: list[str]) -> None:
    outcome = gradshield(*words, "--help")
    assert outcome.code == 0
    usage = " ".join(outcome.out.split()).removeprefix("Usage: ").partition("[OPTIONS]")[0]
    assert usage.split()[-len(words) - 1 :] == [usage.split()[-len(words) - 1], *words]


@pytest.mark.parametrize(
    ("library", "extra", "command"),
    [
        ("trl", "align", ["finetune", "DATA", "-m", "MODEL", "-o", "OUT"]),
        ("trl", "align", ["filter", "DATA", "-m", "MODEL", "-o", "OUT", "--search"]),
        ("ray", "ray", ["score", "DATA", "-m", "MODEL", "-o", "OUT", "--executor", "ray"]),
        (
            "lm_eval",
            "harness",
            ["evaluate", "MODEL", "-t", "harness:arc_easy", "--public-data", ".", "-o", "OUT"],
        ),
    ],
)
def test_what_to_install_is_said(
    library: str, extra: str, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    places = {
        "DATA": write_jsonl(tmp_path / "data.jsonl", good_rows(2)),
        "MODEL": save_tiny_model(tmp_path / "model"),
        "OUT": tmp_path / "out",
    }
    monkeypatch.chdir(tmp_path)
    outcome = gradshield(*(places.get(word, word) for word in command))
    assert outcome.code == 1
    assert f"pip install 'gradshield[{extra}]'" in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err
