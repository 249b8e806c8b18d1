"""The step `apply`, with a run folder made by hand: no model is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradshield.config import RunConfig
from gradshield.files import sha256_of
from gradshield.run.apply import RowsRejected, apply
from gradshield.run.folder import RunFolder, write_json
from gradshield.scoring.table import rejected_line, write_part
from tests.run.data_files import good_rows, split_file, write_jsonl


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, RunFolder]:
    """Five rows: 0 and 3 below the threshold, 1 and 4 at or above it, 2 rejected."""
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(5))
    folder = RunFolder(tmp_path / "run")
    lines = [_line(0, -1.0), _line(1, 0.5), _line(2, None), _line(3, 0.4), _line(4, 7.0)]
    write_part(lines, folder.scores / "part-00000.parquet")
    write_json(folder.rejections, [])
    write_json(folder.decision, {"threshold": 0.5})
    write_json(folder.provenance, {"data": str(data), "identity": {"data_sha256": sha256_of(data)}})
    return data, folder


def _line(row: int, fihs: float | None) -> dict[str, Any]:
    status = "rejected" if fihs is None else "scored"
    return rejected_line(row, None, "") | {"fihs": fihs, "status": status}


def _config(data: Path, on_reject: str) -> RunConfig:
    return RunConfig.model_validate({"data_path": str(data), "on_reject": on_reject})


def _rows(data: Path, folder: RunFolder, name: str) -> list[int]:
    lines = split_file(data)
    return [lines.index(line) for line in split_file(folder.output(name, ".jsonl"))]


@pytest.mark.parametrize(("on_reject", "kept"), [("hold", [0, 3]), ("keep", [0, 2, 3])])
def test_rows_go_where_the_decision_says(
    made: tuple[Path, RunFolder], on_reject: str, kept: list[int]
) -> None:
    data, folder = made
    rows = apply(_config(data, on_reject), folder)
    assert (rows.kept, rows.removed, rows.rejected) == ((0, 3), (1, 4), (2,))
    assert _rows(data, folder, "kept") == kept
    assert _rows(data, folder, "removed") == [1, 4]
    assert _rows(data, folder, "rejected") == [2]


def test_fail_takes_an_earlier_kept_file_away(made: tuple[Path, RunFolder]) -> None:
    data, folder = made
    apply(_config(data, "hold"), folder)
    with pytest.raises(RowsRejected, match=r"1 rows .* no kept file"):
        apply(_config(data, "fail"), folder)
    assert not folder.output("kept", ".jsonl").exists()
    assert _rows(data, folder, "removed") == [1, 4]
    assert _rows(data, folder, "rejected") == [2]


def test_it_works_from_any_folder(
    made: tuple[Path, RunFolder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data, folder = made
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    # The configuration keeps the path as it was typed.
    apply(_config(Path("data.jsonl"), "hold"), folder)
    assert _rows(data, folder, "kept") == [0, 3]


def test_infinite_threshold_removes_nothing(made: tuple[Path, RunFolder]) -> None:
    data, folder = made
    write_json(folder.decision, {"threshold": None})
    assert apply(_config(data, "hold"), folder).removed == ()
    assert _rows(data, folder, "kept") == [0, 1, 3, 4]
    assert _rows(data, folder, "removed") == []
