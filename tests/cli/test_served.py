"""`--executor served`: measure, export, serve, score, and the steps after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gradshield.models import load_model
from tests.cli.command_line import gradshield
from tests.cli.conftest import RULE
from tests.run.data_files import mixed_jsonl
from tests.scoring.fake_endpoint import FakeEndpoint, serving


@dataclass(frozen=True)
class ServedRun:
    """Data, the folder with the measured direction, its adapters, and who serves them."""

    data: Path
    model: Path
    measured: Path
    adapters: Path
    endpoint: FakeEndpoint


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, _few_probes: None
) -> Iterator[ServedRun]:
    scratch = tmp_path_factory.mktemp("served")
    data, measured = mixed_jsonl(scratch / "mixed.jsonl"), scratch / "measured"
    command = ("direction", "measure", data, "-m", model_folder, "-o", measured)
    assert gradshield(*command, "--dtype", "float32").code == 0
    adapters = scratch / "adapters"
    outcome = gradshield("direction", "export", measured, "-o", adapters, "--rank", "32")
    assert outcome.code == 0, outcome.err
    models = {
        name: load_model(
            str(model_folder), adapter=adapters / name, dtype="float32", device="cpu"
        ).model
        for name in ("above", "below")
    }
    with serving(models) as endpoint:
        yield ServedRun(data, model_folder, measured, adapters, endpoint)


def _score(
    served: ServedRun, run: Path, *options: object, command: str = "score"
) -> tuple[object, ...]:
    return (
        *(command, served.data, "-m", served.model, "-o", run, "--dtype", "float32"),
        *("--executor", "served", "--endpoint", served.endpoint.url),
        *("--adapters", served.adapters, *options),
    )


def test_a_served_run_is_close_to_a_local_one_and_goes_on_as_it_does(
    served: ServedRun, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(served.measured, tmp_path / "run"))
    outcome = gradshield(*_score(served, run, *RULE, command="filter"))
    assert outcome.code == 0, outcome.err
    assert "served: above and below at http://127.0.0.1" in outcome.err
    local = tmp_path / "local"
    command = ("filter", served.data, "-m", served.model, "-o", local, "--dtype", "float32")
    assert gradshield(*command, *RULE).code == 0
    decisions = [json.loads((folder / "decision.json").read_text()) for folder in (run, local)]
    # The rank is that of the matrices: what differs is the precision of the differences.
    assert decisions[0]["threshold"] == pytest.approx(decisions[1]["threshold"], rel=2e-2)
    for name in ("rejected.jsonl", "rejections.json"):
        assert (run / name).read_bytes() == (local / name).read_bytes()
    assert served.endpoint.url in (run / "report.md").read_text(encoding="utf-8")

    asked = len(served.endpoint.seen)
    assert gradshield(*_score(served, run)).code == 0
    assert len(served.endpoint.seen) == asked
    # Its rows and those of a model in this process do not go together.
    (run / "scores" / "part-00000.parquet").rename(run / "scores" / "part-00001.parquet")
    outcome = gradshield("score", *command[1:3], *command[3:4], "-o", run, "--dtype", "float32")
    assert outcome.code == 1
    assert "were scored by another engine" in outcome.err


def test_shards_of_a_served_model_are_merged(served: ServedRun, tmp_path: Path) -> None:
    run = Path(shutil.copytree(served.measured, tmp_path / "run"))
    assert gradshield(*_score(served, run, "--shard", "0/1")).code == 0
    whole = Path(shutil.copytree(served.measured, tmp_path / "whole"))
    for shard in ("0/2", "1/2"):
        assert gradshield(*_score(served, whole, "--shard", shard)).code == 0
    assert gradshield("merge", whole).code == 0
    part = "scores/part-00000.parquet"
    assert (run / part).read_bytes() == (whole / part).read_bytes()


def test_without_a_measured_direction_it_says_how_to_get_one(
    served: ServedRun, tmp_path: Path
) -> None:
    outcome = gradshield(*_score(served, tmp_path / "run"))
    assert outcome.code == 1
    assert "gradshield direction measure" in outcome.err
    assert not (tmp_path / "run").exists()


def test_other_options_than_were_measured_are_refused(served: ServedRun, tmp_path: Path) -> None:
    run = Path(shutil.copytree(served.measured, tmp_path / "run"))
    outcome = gradshield(*_score(served, run, "--max-length", "64"))
    assert outcome.code == 1
    assert "was measured for other inputs (max_length: 2048 there, 64 now)" in outcome.err


def test_adapters_of_another_direction_are_refused(served: ServedRun, tmp_path: Path) -> None:
    run = Path(shutil.copytree(served.measured, tmp_path / "run"))
    adapters = Path(shutil.copytree(served.adapters, tmp_path / "adapters"))
    record = json.loads((adapters / "export.json").read_text())
    (adapters / "export.json").write_text(json.dumps({**record, "direction_sha256": "0" * 64}))
    outcome = gradshield(*_score(served, run, "--adapters", adapters))
    assert outcome.code == 1
    assert "are of another direction" in outcome.err
    (adapters / "export.json").unlink()
    outcome = gradshield(*_score(served, run, "--adapters", adapters))
    assert "holds no adapters of a direction" in outcome.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--executor", "slurm"), "--executor slurm: unknown, choose one of local, ray, served"),
        (("--ray-actors", "2"), "--ray-actors is for --executor ray, not for local"),
        (("--endpoint", "http://x"), "--endpoint is for --executor served, not for local"),
        (("--executor", "ray", "--ray-actors", "3-2"), "--ray-actors 3-2: a number such as 8"),
        (("--executor", "ray", "--ray-actors", "0"), "--ray-actors 0: a number such as 8"),
        (("--executor", "served"), "--executor served needs --endpoint"),
        (
            ("--executor", "served", "--endpoint", "http://127.0.0.1:9"),
            "--executor served needs --adapters",
        ),
        (("--executor", "served", "--adapter-names", "up"), "--adapter-names up: two names"),
    ],
)
def test_options_that_cannot_be_are_named(
    served: ServedRun, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    outcome = gradshield("score", served.data, "-o", tmp_path / "run", *options)
    assert outcome.code == 1
    assert said in outcome.err
    assert not (tmp_path / "run").exists()
