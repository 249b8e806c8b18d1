from __future__ import annotations

from pathlib import Path

from gradshield.benchmark.grid import plots
from gradshield.benchmark.grid.tables import read_results


def test_success_by_attack_names_what_was_trained(folder: Path) -> None:
    chart = plots.success_by_attack_chart(read_results(folder))
    assert chart is not None
    cells = {(row["y"], row["x"]): row["value"] for row in chart["data"]["values"]}
    assert cells == {
        ("zeta, own_threshold", "b"): 0.2,
        ("zeta, own_threshold", "a"): 0.4,
        ("lisa", "b"): 0.9,
    }


def test_every_figure_of_a_whole_grid(finished: Path, tmp_path: Path) -> None:
    drawn = plots.draw(finished, tmp_path)
    names = ["separation.svg", "success.svg", "success_by_attack.svg"]
    assert [path.name for path in drawn] == names
    assert all(path.read_text().startswith("<svg") for path in drawn)
