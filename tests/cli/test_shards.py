"""`gradshield score --shard`, `merge` and `direction measure`: many make what one would make."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradshield.progress import Silent
from gradshield.run.folder import RunFolder
from gradshield.run.merge import merge
from gradshield.run.score import score
from gradshield.scoring import parts
from gradshield.scoring.shards import Shard
from tests.cli.command_line import Outcome, gradshield
from tests.cli.conftest import RULE
from tests.run.data_files import good_rows, mixed_jsonl, write_jsonl

COUNT = 3
FILES = ("direction.safetensors", "reference.parquet", "engine.json", "probe_answers.json")


@dataclass(frozen=True)
class Shards:
    """The troublesome file of 28 rows, scored whole, and in three shards on one folder."""

    data: Path
    whole: Path
    shared: Path
    outcomes: Sequence[Outcome]


@pytest.fixture(scope="module", autouse=True)
def _short_parts() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROWS_PER_PART", 8)
        yield


@pytest.fixture(scope="module")
def shards(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, _few_probes: None
) -> Shards:
    scratch = tmp_path_factory.mktemp("shards")
    data = mixed_jsonl(scratch / "mixed.jsonl")
    whole, shared = scratch / "whole", scratch / "shared"
    assert gradshield("score", data, "-m", model_folder, "-o", whole).code == 0
    # Not in order: a launcher promises none.
    outcomes = [
        gradshield("score", data, "-m", model_folder, "-o", shared, "--shard", f"{index}/{COUNT}")
        for index in (2, 0, 1)
    ]
    return Shards(data, whole, shared, outcomes)


@pytest.fixture
def shared(shards: Shards, tmp_path: Path) -> Path:
    """A copy of the folder of the shards, to be spoilt."""
    return Path(shutil.copytree(shards.shared, tmp_path / "copy"))


def _same(first: Path, second: Path) -> None:
    names = [*FILES, "rejections.json"]
    names += [f"scores/{path.name}" for path in (first / "scores").iterdir()]
    assert len(list((second / "scores").iterdir())) == len(names) - len(FILES) - 1
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_shards_and_merge_leave_the_run_of_one_process(shards: Shards, shared: Path) -> None:
    for outcome in shards.outcomes:
        assert outcome.code == 0, outcome.err
        assert f"gradshield merge {shards.shared}" in outcome.err
    assert "Shard 1/3: rows 8 to 15 of 28." in shards.outcomes[2].err
    unfinished = gradshield("threshold", shared)
    assert unfinished.code == 1
    assert "gradshield merge" in unfinished.err

    merged = gradshield("merge", shared)
    assert merged.code == 0, merged.err
    assert "28 rows in 4 parts, each row once." in merged.err
    _same(shards.whole, shared)
    assert gradshield("merge", shared).code == 0  # again does no harm
    _same(shards.whole, shared)

    for folder in (shards.whole, shared):
        assert gradshield("threshold", folder, *RULE).code == 0
        assert gradshield("apply", folder).code == 0
    for name in ("kept.jsonl", "removed.jsonl", "rejected.jsonl", "decision.json"):
        assert (shards.whole / name).read_bytes() == (shared / name).read_bytes(), name


def test_folders_of_several_machines_are_merged_into_a_new_one(
    shards: Shards, model_folder: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / str(index) for index in range(2)]
    for index, folder in enumerate(folders):
        command = ("score", shards.data, "-m", model_folder, "-o", folder)
        assert gradshield(*command, "--shard", f"{index}/2").code == 0
    before = {path: path.read_bytes() for f in folders for path in f.rglob("*") if path.is_file()}
    assert "need an --out" in gradshield("merge", *folders).err
    outcome = gradshield("merge", *folders, "-o", tmp_path / "all")
    assert outcome.code == 0, outcome.err
    _same(shards.whole, tmp_path / "all")
    assert gradshield("threshold", tmp_path / "all", *RULE).code == 0
    after = {path: path.read_bytes() for f in folders for path in f.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.filterwarnings("ignore:This model answers")
def test_shards_that_start_together_agree(
    shards: Shards, model_folder: Path, tmp_path: Path
) -> None:
    """Three start in an empty folder at the same time, as tasks of an array do."""
    config = RunFolder(shards.whole).read_config()
    folder = RunFolder(tmp_path / "run")
    faults: list[BaseException] = []

    def one(index: int) -> None:
        try:
            score(config, folder, Silent(), shard=Shard(index, COUNT))
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    merge([folder], folder, Silent())
    _same(shards.whole, folder.path)
    assert not [path for path in folder.path.rglob("*") if path.name.startswith(".")]


def test_missing_rows_are_named(shared: Path) -> None:
    (shared / "scores" / "part-00001.parquet").unlink()
    (shared / "scores" / "part-00003.parquet").unlink()
    outcome = gradshield("merge", shared)
    assert outcome.code == 1
    assert "Rows 8 to 15, 24 to 27 of 28 are missing" in outcome.err
    assert not (shared / "rejections.json").exists()


def test_doubled_rows_are_named(shared: Path, tmp_path: Path) -> None:
    part = shared / "scores" / "part-00002.parquet"
    shutil.copy(part, part.with_name("part-00009.parquet"))
    outcome = gradshield("merge", shared)
    assert outcome.code == 1
    assert "Rows 16 to 23 are there more than once" in outcome.err
    outcome = gradshield("merge", shared, shared, "-o", tmp_path / "all")
    assert "Rows 0 to 27 are there more than once" in outcome.err
    assert not (tmp_path / "all").exists()


def test_a_part_with_other_rows_than_it_says_is_named(shared: Path) -> None:
    part = shared / "scores" / "part-00002.parquet"
    table = pq.read_table(part)
    pq.write_table(table.slice(0, 7), part)
    outcome = gradshield("merge", shared)
    assert outcome.code == 1
    assert "should hold rows 16 to 23" in outcome.err


def test_parts_of_other_inputs_and_strange_files_are_named(
    shards: Shards, shared: Path, model_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    command = ("score", shards.data, "-m", model_folder, "-o", other, "--max-length", "64")
    assert gradshield(*command, "--shard", "1/4").code == 0
    part = "scores/part-00001.parquet"
    shutil.copy(other / part, shared / part)
    outcome = gradshield("merge", shared)
    assert outcome.code == 1
    assert "Rows 8 to 15 are of other inputs" in outcome.err
    outcome = gradshield("merge", shards.shared, other, "-o", tmp_path / "all")
    assert "max_length: 64 there, 2048 here" in outcome.err

    pq.write_table(pa.table({"row": [1]}), shared / part)
    assert "does not say which rows it holds" in gradshield("merge", shared).err
    (shared / part).write_bytes(b"no parquet")
    outcome = gradshield("merge", shared)
    assert "is no part of a score table" in outcome.err
    assert "Traceback" not in outcome.err


def test_another_direction_is_not_merged(shards: Shards, shared: Path, tmp_path: Path) -> None:
    content = bytearray((shared / "direction.safetensors").read_bytes())
    content[-1] ^= 1
    (shared / "direction.safetensors").write_bytes(content)
    outcome = gradshield("merge", shards.shared, shared, "-o", tmp_path / "all")
    assert outcome.code == 1
    assert "another direction" in outcome.err
    assert "direction measure" in outcome.err


def test_measured_once_and_used_by_all(shards: Shards, model_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = (shards.data, "-m", model_folder, "-o", run)
    assert gradshield("direction", "measure", *command).code == 0
    assert not (run / "scores").exists()
    made = {name: (run / name).stat().st_mtime_ns for name in FILES}
    for index in range(COUNT):
        assert gradshield("score", *command, "--shard", f"{index}/{COUNT}").code == 0
    assert gradshield("merge", run).code == 0
    assert {name: (run / name).stat().st_mtime_ns for name in FILES} == made
    _same(shards.whole, run)


def _preferences(path: Path) -> Path:
    pair = {"prompt": "Name a river.", "chosen": "The Loire.", "rejected": "No."}
    pairs = [{**pair, "chosen": "The Loire." * (1 + number % 3)} for number in range(20)]
    return write_jsonl(path / "pairs.jsonl", [*pairs[:9], {"prompt": "Hi"}, *pairs[9:]])


def _several_files(path: Path) -> Path:
    folder = path / "data"
    folder.mkdir()
    for name, count in (("a", 5), ("b", 13)):
        rows = [*good_rows(count), {"prompt": "Hi"}]
        write_jsonl(folder / f"{name}.jsonl", rows)
    return folder


@pytest.mark.parametrize("make", [_preferences, _several_files])
@pytest.mark.parametrize("options", [(), ("--profile", "trl")], ids=["plain", "trl"])
def test_shards_of_other_inputs(
    model_folder: Path, tmp_path: Path, make: Callable[[Path], Path], options: tuple[str, ...]
) -> None:
    data = make(tmp_path)
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    command = ("score", data, "-m", model_folder, *options)
    outcome = gradshield(*command, "-o", whole)
    assert outcome.code == 0, outcome.err
    for shard in ("1/2", "0/2"):
        outcome = gradshield(*command, "-o", shared, "--shard", shard)
        assert outcome.code == 0, outcome.err
    assert gradshield("merge", shared).code == 0
    _same(whole, shared)


def test_more_shards_than_parts(shards: Shards, model_folder: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "two.jsonl", [{"prompt": "Hi", "completion": "Hello"}] * 2)
    command = ("score", data, "-m", model_folder, "-o", tmp_path / "run", "--shard")
    outcome = gradshield(*command, "0/2")
    assert outcome.code == 0
    assert "nothing to score" in outcome.err
    assert gradshield(*command, "1/2").code == 0
    assert gradshield("merge", tmp_path / "run").code == 0


@pytest.mark.parametrize("shard", ["3/3", "-1/3", "1", "1/0", "a/b", "1/3/5", "¹/3"])
def test_a_shard_that_is_none_is_refused(shards: Shards, tmp_path: Path, shard: str) -> None:
    outcome = gradshield("score", shards.data, "-o", tmp_path / "run", f"--shard={shard}")
    assert outcome.code == 1
    assert f"--shard {shard}: shards are counted from 0" in outcome.err
    assert not (tmp_path / "run").exists()


def test_force_and_shards_do_not_go_together(shards: Shards, tmp_path: Path) -> None:
    command = ("score", shards.data, "-o", tmp_path / "run", "--shard", "0/2", "--force")
    outcome = gradshield(*command)
    assert outcome.code == 1
    assert "what other shards wrote" in outcome.err
