"""`gradshield hook`: from a trainer's configuration to one that reads kept rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gradshield.files import sha256_of
from tests.cli.command_line import Outcome, gradshield
from tests.hooks.configurations import axolotl_folder, llamafactory_folder

FOLDERS = {"axolotl": axolotl_folder, "llamafactory": llamafactory_folder}
# The scores of a random model say nothing: at this level both files lose rows, and keep some.
OPTIONS = ("--threshold", "calibrated", "--level", "0.25", "--dtype", "float32")


@pytest.fixture(params=FOLDERS)
def trainer(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.chdir(tmp_path)
    FOLDERS[request.param](tmp_path, model_folder)
    return str(request.param)


def _contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def _hook(trainer: str, *options: object) -> Outcome:
    return gradshield("hook", trainer, "train.yaml", *OPTIONS, *options)


def _rows(path: Path) -> list[object]:
    text = path.read_text()
    return json.loads(text) if path.suffix == ".json" else [*map(json.loads, text.splitlines())]


def test_the_new_configuration_reads_the_kept_rows(trainer: str, tmp_path: Path) -> None:
    before = _contents(tmp_path)
    outcome = _hook(trainer)
    assert outcome.code == 0, outcome.err
    after = _contents(tmp_path)
    assert {name: after[name] for name in before} == before, "what was there stays"
    text = Path("train.gradshield.yaml").read_text()
    assert text.startswith(f"# Written by `gradshield hook {trainer} train.yaml`")
    for run in sorted(Path("train.gradshield.runs").iterdir()):
        decision = json.loads((run / "decision.json").read_text())
        [kept] = run.glob("kept.*")
        assert len(_rows(kept)) == decision["kept"] > 0
        assert decision["removed"] > 0
    assert "train.gradshield.yaml" in outcome.out
    assert f"train {Path('train.gradshield.yaml')}" in outcome.out


def test_the_same_command_again_changes_nothing(trainer: str, tmp_path: Path) -> None:
    assert _hook(trainer).code == 0
    before = _contents(tmp_path)
    assert _hook(trainer).code == 0
    assert _contents(tmp_path) == before


def test_another_threshold_gives_trainers_no_old_rows(trainer: str) -> None:
    assert _hook(trainer).code == 0
    first = yaml.safe_load(Path("train.gradshield.yaml").read_text())
    assert _hook(trainer, "--level", "0.15").code == 0
    second = yaml.safe_load(Path("train.gradshield.yaml").read_text())
    if trainer == "axolotl":
        assert first.pop("dataset_prepared_path") != second.pop("dataset_prepared_path")
    assert first == second


def test_a_dry_run_writes_nothing(trainer: str, tmp_path: Path) -> None:
    before = _contents(tmp_path)
    outcome = _hook(trainer, "--dry-run")
    assert outcome.code == 0
    assert _contents(tmp_path) == before
    commands = [line for line in outcome.out.splitlines() if line.startswith("gradshield filter")]
    assert len(commands) == 2
    # What it prints can be run as it stands.
    run = gradshield(*commands[0].split()[1:])
    assert run.code == 0, run.err


def test_out_and_a_file_in_the_way(trainer: str) -> None:
    Path("new.yaml").write_text("mine: true\n")
    outcome = _hook(trainer, "--out", "new.yaml")
    assert outcome.code == 1
    assert "none of ours" in outcome.err
    assert not Path("new.runs").exists()
    assert Path("new.yaml").read_text() == "mine: true\n"
    assert _hook(trainer, "--out", "new.yaml", "--force").code == 0
    assert Path("new.yaml").read_text().startswith("# Written by")
    assert Path("new.runs").is_dir()
    assert _hook(trainer, "--out", "train.yaml").code == 1


def test_what_it_wrote_is_not_filtered_again(trainer: str) -> None:
    assert _hook(trainer).code == 0
    outcome = gradshield("hook", trainer, "train.gradshield.yaml")
    assert outcome.code == 1
    assert "was written by this command" in outcome.err


def test_data_of_which_nothing_is_kept_gives_no_configuration(trainer: str) -> None:
    rows = [{"prompt": "Hi", "answer": "no known format"}] * 3
    Path("data/chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = _hook(trainer)
    assert outcome.code == 1
    assert "No row of data/chat.jsonl" in outcome.err
    assert not Path("train.gradshield.yaml").exists()


def test_rejected_rows_under_fail(trainer: str) -> None:
    with Path("data/chat.jsonl").open("a") as stream:
        stream.write('{"messages": []}\n')
    outcome = _hook(trainer, "--on-reject", "fail")
    assert outcome.code == 2
    assert not Path("train.gradshield.yaml").exists()
    outcome = _hook(trainer)
    assert outcome.code == 0, outcome.err


def test_changed_data_is_refused_without_force(trainer: str) -> None:
    assert _hook(trainer).code == 0
    with Path("data/chat.jsonl").open("a") as stream:
        stream.write('{"messages": []}\n')
    outcome = _hook(trainer)
    assert outcome.code == 1
    assert "--force" in outcome.err
    assert _hook(trainer, "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("trainix", "train.yaml"), "choose one of axolotl, llamafactory"),
        (("axolotl", "gone.yaml"), "no configuration gone.yaml"),
        (("axolotl", "train.yaml", "--level", "2"), "--level 2"),
        (("axolotl", "train.yaml", "--on-reject", "drop"), "on_reject"),
        (("axolotl", "train.yaml", "--device", "quantum"), "quantum"),
    ],
)
def test_mistakes(
    arguments: tuple[str, ...],
    says: str,
    tmp_path: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    axolotl_folder(tmp_path, model_folder)
    outcome = gradshield("hook", *arguments)
    assert outcome.code == 1
    assert says in outcome.err
    assert outcome.err.splitlines()[-1].startswith("Error: ")


def test_a_json_configuration(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(llamafactory_folder(tmp_path, model_folder).read_text())
    Path("train.json").write_text(json.dumps(content, indent=2))
    for _ in range(2):
        outcome = gradshield("hook", "llamafactory", "train.json", *OPTIONS)
        assert outcome.code == 0, outcome.err
    new = json.loads(Path("train.gradshield.json").read_text())
    assert new["dataset"] == "chat_gradshield,alpaca_rows_gradshield"
    assert new["cutoff_len"] == 256
