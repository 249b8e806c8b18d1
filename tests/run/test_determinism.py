"""Whole runs: the same bytes again, and from any shards, parts and files the same decision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.benchmark.reliability.determinism import TOLERANCES
from gradshield.benchmark.reliability.kills import contents
from gradshield.config import RunConfig
from gradshield.progress import Silent
from gradshield.run.apply import apply
from gradshield.run.folder import RunFolder
from gradshield.run.merge import merge
from gradshield.run.score import score
from gradshield.run.threshold import threshold
from gradshield.scoring import parts
from gradshield.scoring.shards import Shard
from gradshield.scoring.table import read_table
from tests.run.data_files import EMPTY_ANSWER, good_rows, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore:This model answers")

ROWS = [*good_rows(17), EMPTY_ANSWER]
LINES = [json.dumps(row).encode() + b"\n" for row in ROWS]
KEPT, REMOVED, REJECTED = "kept", "removed", "rejected"
TOLERANCE = TOLERANCES["finite_difference"]


def config(data: Path, model_folder: Path, **scoring: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data_path": str(data),
            "model": {"name": str(model_folder), "dtype": "float32", "device": "cpu"},
            "scoring": scoring,
            "threshold": {"rule": "calibrated", "level": 0.5},
        }
    )


def run(settings: RunConfig, folder: RunFolder, shards: Sequence[Shard] = ()) -> RunFolder:
    """Score, by these shards in turn or whole, and decide."""
    for shard in shards:
        score(settings, folder, Silent(), shard=shard)
    if shards:
        merge([folder], folder, Silent())
    else:
        score(settings, folder, Silent())
    threshold(folder, settings.threshold)
    apply(settings, folder)
    return folder


def divided(folder: RunFolder) -> dict[str, bytes]:
    """The three data files; those of one input of several files, one behind the other."""
    found = {}
    for name in (KEPT, REMOVED, REJECTED):
        files = sorted(folder.path.glob(f"{name}/*")) or [folder.path / f"{name}.jsonl"]
        found[name] = b"".join(path.read_bytes() for path in files)
    return found


def scores(folder: RunFolder) -> np.ndarray[Any, Any]:
    """FIHS by row, NaN where a row is rejected."""
    return np.array([line["fihs"] for line in list(read_table(folder.scores).lines())], dtype=float)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, _few_probes: None) -> Path:
    """One file, scored whole."""
    place = tmp_path_factory.mktemp("plain")
    data = write_jsonl(place / "data.jsonl", ROWS)
    return run(config(data, model_folder), RunFolder(place / "run")).path


def test_the_run_of_these_tests_has_rows_in_every_file(plain: Path) -> None:
    assert all(divided(RunFolder(plain)).values())


def test_the_same_run_again_is_the_same_bytes(
    plain: Path, model_folder: Path, tmp_path: Path
) -> None:
    again = run(config(plain.parent / "data.jsonl", model_folder), RunFolder(tmp_path / "run"))
    assert again.path != plain
    assert contents(again.path) == contents(plain)  # but for the time of its start


@given(data=st.data())
@settings(max_examples=5)
def test_shards_parts_files_and_batches_do_not_decide(
    plain: Path, model_folder: Path, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 4), "shards")
    order = data.draw(st.permutations(range(count)), "order of the shards")
    rows_per_part = data.draw(st.integers(1, 20), "rows of a part")
    files = data.draw(st.lists(st.integers(0, len(LINES)), max_size=3).map(sorted), "file bounds")
    batch_tokens = data.draw(st.sampled_from([1, 100, 2048]), "batch tokens")
    expected = RunFolder(plain)
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROWS_PER_PART", rows_per_part)
        place = Path(scratch) / "data"
        place.mkdir()
        bounds = [0, *files, len(LINES)]
        for number, (start, end) in enumerate(pairwise(bounds)):
            (place / f"{number}.jsonl").write_bytes(b"".join(LINES[start:end]))
        chosen = config(place, model_folder, batch_tokens=batch_tokens)
        found = run(
            chosen, RunFolder(Path(scratch) / "run"), [Shard(index, count) for index in order]
        )
        assert divided(found) == divided(expected)
        unit = np.nanstd(scores(expected))
        assert scores(found) == pytest.approx(
            scores(expected), abs=TOLERANCE * unit, rel=0, nan_ok=True
        )
        thresholds = [
            json.loads(folder.decision.read_bytes())["threshold"] for folder in (found, expected)
        ]
        assert thresholds[0] == pytest.approx(thresholds[1], abs=2 * TOLERANCE * unit, rel=0)
