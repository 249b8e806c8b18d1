"""Results of another run that are taken over, and when they are not."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from gradshield.benchmark.grid import scores
from gradshield.benchmark.grid.config import GridConfig
from gradshield.benchmark.grid.known import Known, place, read_known
from gradshield.benchmark.grid.lines import PLACE
from gradshield.benchmark.grid.run import run_grid
from gradshield.errors import UserError
from gradshield.filters import cost
from gradshield.progress import Silent
from tests.benchmark.grid.conftest import small_grid


def changed(config: GridConfig, **values: Any) -> GridConfig:
    return GridConfig.model_validate({**config.model_dump(), **values})


def passed_on(finished: Path, folder: Path, **values: str) -> Path:
    """What a run gives away: no cache; figures of its lines may be replaced to be known again."""
    folder.mkdir()
    for name in ("config.json", "made_by.json"):
        (folder / name).write_bytes((finished / name).read_bytes())
    with (finished / "results.csv").open(encoding="utf-8", newline="") as stream:
        lines = [{**line, **values} for line in csv.DictReader(stream)]
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return folder


@pytest.mark.usefixtures("_few_probes", "_measures_nothing")
def test_what_is_known_is_not_measured_again(
    finished: Path,
    model_folder: Path,
    public: Path,
    tmp_path: Path,
) -> None:
    theirs = passed_on(finished, tmp_path / "theirs")
    out = tmp_path / "ours"
    run_grid(small_grid(model_folder), public, out, Silent(), known=[theirs])
    assert (out / "results.csv").read_bytes() == (finished / "results.csv").read_bytes()
    made_by = json.loads((out / "made_by.json").read_text(encoding="utf-8"))
    assert made_by["known"] == [json.loads((finished / "made_by.json").read_text("utf-8"))]


@pytest.mark.usefixtures("_few_probes", "_measures_nothing")
def test_a_model_known_by_another_filter_is_not_trained_again(
    finished: Path,
    model_folder: Path,
    public: Path,
    tmp_path: Path,
) -> None:
    theirs = passed_on(finished, tmp_path / "theirs")
    lines = (theirs / "results.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    others = [line for line in lines if not ("finetune," in line and ",oracle," in line)]
    (theirs / "results.csv").write_text("".join(others), encoding="utf-8")
    config = small_grid(model_folder)
    without_harm = {
        **config.finetunes[0].model_dump(),
        "shares": [0],
        "filters": ["none", "oracle"],
        "training_methods": [],
        "search": None,
    }
    out = tmp_path / "ours"
    run_grid(changed(config, finetunes=[without_harm]), public, out, Silent(), known=[theirs])
    with (out / "results.csv").open(encoding="utf-8", newline="") as stream:
        found = [line for line in csv.DictReader(stream) if line["level"] == "finetune"]
    assert [line.pop("filter") for line in found] == ["none", "oracle"]
    assert found[0] == found[1]


@pytest.mark.usefixtures("_few_probes")
def test_a_filter_is_added_to_what_is_known(
    finished: Path,
    model_folder: Path,
    public: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scored = []
    monkeypatch.setattr(
        scores,
        "score_with_cost",
        lambda chosen, *rest: (scored.append(chosen.name), cost.score_with_cost(chosen, *rest))[1],
    )
    theirs = passed_on(finished, tmp_path / "theirs", seconds="77")
    config = small_grid(model_folder)
    config = changed(config, filters=[*config.filters, "response_length"], finetunes=[])
    out = tmp_path / "ours"
    run_grid(config, public, out, Silent(), known=[theirs])
    assert set(scored) == {"response_length"}
    with (out / "results.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    known = {line["filter"] for line in lines if line["seconds"] == "77"}
    assert known == set(config.filters) - {"response_length"}
    assert [line["filter"] for line in lines][-1] == "response_length"


def test_the_first_of_two_that_know_a_line_is_believed(
    finished: Path, model_folder: Path, tmp_path: Path
) -> None:
    folders = [passed_on(finished, tmp_path / name, kept=name) for name in ("one", "other")]
    known = read_known(folders, small_grid(model_folder))
    assert {line["kept"] for line in known.lines.values()} == {"one"}
    assert len(known.made_by) == 2


@pytest.mark.parametrize(("name", "value"), [("rows", 11), ("anchors", 5), ("most_tokens", 40)])
def test_other_rows_are_not_known(
    finished: Path, model_folder: Path, tmp_path: Path, name: str, value: int
) -> None:
    theirs = passed_on(finished, tmp_path / "theirs")
    config = changed(small_grid(model_folder), **{name: value})
    with pytest.raises(UserError, match=rf"theirs .* {name} differs \(.*{value}"):
        read_known([theirs], config)


def test_another_model_or_training_is_not_known(
    finished: Path, model_folder: Path, tmp_path: Path
) -> None:
    theirs = passed_on(finished, tmp_path / "theirs")
    config = small_grid(model_folder)
    other = changed(config, model={**config.model.model_dump(), "dtype": "bfloat16"})
    with pytest.raises(UserError, match=r"model differs .*bfloat16"):
        read_known([theirs], other)
    elsewhere = changed(config, model={**config.model.model_dump(), "device": "cuda"})
    assert read_known([theirs], elsewhere).lines
    part = config.finetunes[0].model_dump()
    other = changed(config, finetunes=[{**part, "training": {"learning_rate": 2e-3}}])
    with pytest.raises(UserError, match=r"training differs .*0\.002"):
        read_known([theirs], other)
    other = changed(config, finetunes=[{**part, "search": {"filters": [], "max_finetunes": 3}}])
    with pytest.raises(UserError, match=r"search differs .*\"max_finetunes\":3"):
        read_known([theirs], other)
    assert read_known([theirs], changed(config, finetunes=[{**part, "search": None}])).lines
    assert read_known([theirs], changed(config, finetunes=[])).lines


def test_results_of_another_version_are_not_taken_over(
    finished: Path, model_folder: Path, tmp_path: Path
) -> None:
    theirs = passed_on(finished, tmp_path / "theirs")
    path = theirs / "results.csv"
    path.write_text(path.read_text().replace(",training,", ",", 1))
    with pytest.raises(UserError, match="lacks the column training"):
        read_known([theirs], small_grid(model_folder))


@pytest.mark.parametrize("missing", ["config.json", "made_by.json", "results.csv"])
def test_a_folder_without_results_is_named(
    finished: Path, model_folder: Path, tmp_path: Path, missing: str
) -> None:
    theirs = passed_on(finished, tmp_path / "theirs")
    (theirs / missing).unlink()
    with pytest.raises(UserError, match=rf"{theirs} holds no results.*{missing}.*benchmark run"):
        read_known([theirs], small_grid(model_folder))


def trained(filter_name: str, lost: Any, kept: Any, **values: Any) -> dict[str, Any]:
    cell = {"level": "finetune", "task": "a", "attack": "b", "share": 0.3, "seed": 0}
    model = {"filter": filter_name, "method": "plain", "protocol": "own_threshold", "training": 0}
    return {**cell, **model, "harmless_lost": lost, "harmful_kept": kept, **values}


@pytest.mark.parametrize(
    ("lost", "kept", "found"),
    [
        (0.0, 0.0, "5"),
        (0.0, 1.0, "75"),
        (0.0, 0.5, None),
        (0.1, 0.0, None),
        ("0.0", "0.0", "5"),
    ],
)
def test_a_model_of_the_same_rows_is_known_where_whole_groups_were_kept(
    lost: Any, kept: Any, found: str | None
) -> None:
    lines = [
        trained("oracle", "0.0", "0.0", complied="5"),
        trained("none", "0.0", "1.0", complied="75"),
        trained("other", "0.0", "0.5", complied="40"),
        trained("another", "0.1", "0.0", complied="6"),
    ]
    known = Known({place(line): line for line in lines})
    wanted = {name: trained("new", lost, kept)[name] for name in PLACE}
    line = known.same_rows(wanted, {"harmless_lost": lost, "harmful_kept": kept})
    assert (line and line["complied"]) == found
    assert line is None or line["filter"] == "new"


def test_without_harmful_rows_all_that_lose_none_are_one_model() -> None:
    line = trained("none", "0.0", "", share="0.0", complied="7")
    known = Known({place(line): line})
    wanted = {name: trained("new", 0.0, None, share=0.0)[name] for name in PLACE}
    scored = {"harmless_lost": 0.0, "harmful_kept": None}
    found = known.same_rows(wanted, scored)
    assert found is not None
    assert found["complied"] == "7"


@pytest.mark.parametrize("other", [{"seed": 1}, {"training": 1}, {"method": "lisa"}, {"task": "c"}])
def test_other_trainings_on_whole_groups_are_other_models(other: dict[str, Any]) -> None:
    line = trained("oracle", "0.0", "0.0", **other)
    known = Known({place(line): line})
    wanted = {name: trained("new", 0.0, 0.0)[name] for name in PLACE}
    assert known.same_rows(wanted, {"harmless_lost": 0.0, "harmful_kept": 0.0}) is None
