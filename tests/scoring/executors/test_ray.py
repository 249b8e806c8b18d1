"""The Ray executor on a cluster of two workers on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from gradshield.config import RunConfig
from gradshield.errors import UserError
from gradshield.progress import Progress, Silent
from gradshield.run.folder import RunFolder
from gradshield.run.merge import merge
from gradshield.run.score import measure, score
from gradshield.scoring import parts
from gradshield.scoring.executors import RayExecutor, Work
from gradshield.scoring.executors import ray as ray_module
from gradshield.scoring.parts import Part
from tests.run.data_files import mixed_jsonl
from tests.run.few_probes import few_probes
from tests.run.score_lines import score_lines
from tests.tiny_models import chat_tokenizer, tiny_llama

ray: Any = pytest.importorskip("ray", reason="needs Ray: pip install 'gradshield[ray]'")

pytestmark = pytest.mark.filterwarnings("ignore")
POISON = "<|poison|>"
POISONED_ROW = 10
TWO = RayExecutor(actors=(2, 2), gpus=0)
SCORER = "ray::MapWorker(MapBatches(PartScorer))"


@dataclass(frozen=True)
class LocalRun:
    """The troublesome file, with a poisoned row, scored in this process, and its direction."""

    config: RunConfig
    folder: RunFolder
    measured: Path


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="FATAL")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRun]:
    scratch = tmp_path_factory.mktemp("ray")
    tiny_llama().save_pretrained(scratch / "model")
    chat_tokenizer().save_pretrained(scratch / "model")
    # A token that the tokenizer knows and the model has no embedding for.
    _add_token(scratch / "model", POISON)
    data = mixed_jsonl(scratch / "mixed.jsonl")
    lines = data.read_bytes().split(b"\n")
    row = json.dumps({"prompt": "Name a river.", "completion": f"The {POISON}"}).encode()
    data.write_bytes(b"\n".join([*lines[:11], row, *lines[12:]]))
    config = RunConfig.model_validate(
        {
            "data_path": str(data),
            "model": {"name": str(scratch / "model"), "dtype": "float32", "device": "cpu"},
        }
    )
    folder, measured = RunFolder(scratch / "local"), RunFolder(scratch / "measured")
    with pytest.MonkeyPatch.context() as patch, few_probes():
        patch.setattr(parts, "ROWS_PER_PART", 4)
        measure(config, measured, Silent())
        shutil.copytree(measured.path, folder.path)
        score(config, folder, Silent())
        yield LocalRun(config, folder, measured.path)


def _add_token(folder: Path, token: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([token], special_tokens=True)
    tokenizer.save_pretrained(folder)


def _started(local: LocalRun, path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(local.measured, path)))


def _same(first: RunFolder, second: RunFolder) -> None:
    names = sorted(path.name for path in first.scores.iterdir())
    assert sorted(path.name for path in second.scores.iterdir()) == names
    for name in names:
        assert (first.scores / name).read_bytes() == (second.scores / name).read_bytes(), name
    assert first.rejections.read_bytes() == second.rejections.read_bytes()


def test_ray_scores_as_one_process_does_and_a_poisoned_row_fails_alone(
    local: LocalRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _started(local, tmp_path / "run")
    ordered = RayExecutor(actors=(2, 2), gpus=0, ordered=True)
    score(local.config, folder, Silent(), executor=ordered)
    _same(local.folder, folder)
    lines = {line["row"]: line for line in score_lines(folder)}
    assert len(lines) == 28
    poisoned = lines[POISONED_ROW]
    assert poisoned["status"] == "rejected"
    assert poisoned["reason"].startswith("unknown_token: it holds the token")
    neighbours = [lines[row]["status"] for row in (9, 11)]
    assert neighbours == ["scored", "scored"]
    # A run that is done starts no actors.
    monkeypatch.setattr(ray_module, "_cluster", None)
    score(local.config, folder, Silent(), executor=TWO)


def test_a_killed_worker_is_replaced_and_every_row_is_scored_once(
    local: LocalRun, tmp_path: Path
) -> None:
    folder = _started(local, tmp_path / "run")
    faults: list[BaseException] = []

    def run() -> None:
        try:
            score(local.config, folder, Silent(), executor=TWO)
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    # Both actors are there and have been given parts; neither has loaded its model yet.
    victims = _wait_for(lambda: _scorers() if len(_scorers()) == 2 else None)
    os.kill(victims[0], signal.SIGKILL)
    _wait_for(lambda: set(_scorers()) - set(victims))  # a new one is there
    thread.join(timeout=300)
    assert not thread.is_alive()
    assert faults == []
    _same(local.folder, folder)
    merge([folder], folder, Silent())  # each row once, by the parts' own account


def _die(loaded: Any) -> dict[str, Any]:
    """Stands for a row that takes the whole process with it."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def test_a_part_that_kills_its_worker_is_not_tried_for_ever(
    local: LocalRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_module, "PART_RETRIES", 1)
    folder = _started(local, tmp_path / "run")
    deadly = DeadlyExecutor(actors=(1, 1), gpus=0)
    with pytest.raises(UserError, match="One part of 7 could not be scored: its worker died"):
        score(local.config, folder, Silent(), executor=deadly)


class DeadlyExecutor(RayExecutor):
    """Ray, with workers that die of what they are given."""

    def run(self, work: Work, parts: Sequence[Part], progress: Progress) -> None:
        assert work.recipe is not None
        super().run(replace(work, recipe=replace(work.recipe, identify=_die)), parts, progress)


def _scorers() -> list[int]:
    """Process ids of the actors; what one of them starts has its name until it is another."""
    named = {
        process.pid: process.info["ppid"]
        for process in psutil.process_iter(["cmdline", "ppid"])
        if SCORER in " ".join(process.info["cmdline"] or [])
    }
    return [pid for pid, parent in named.items() if parent not in named]


def _wait_for(look: Any) -> Any:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


def test_without_ray_the_executor_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'gradshield\[ray\]'"):
        TWO.check()
