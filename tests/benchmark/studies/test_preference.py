"""The study of flipped preferences: its data set, and its figures from scores made up by hand."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pytest

from gradshield.benchmark.attacks import PreferenceRow
from gradshield.benchmark.studies import preference as study
from gradshield.benchmark.studies.preference import EXACT, SCORES, Answers, compare, data_set
from gradshield.data import Conversation, Message, Preference
from gradshield.scoring.engines import ExampleScore
from tests.benchmark.attacks.public_folder import write, write_public_folder, write_rows


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_public_folder(tmp_path_factory.mktemp("public"))
    refused = {"output": "I'm sorry, but I can't help with that."}
    write_rows(
        folder,
        "safety_tuned_llamas/safety_only_data_Instructions.json",
        [{"instruction": f"Do evil {n}", **refused} for n in range(30)],
    )
    for name, outputs in (
        ("sst2/train_first5000.jsonl", ("positive", "negative")),
        ("samsum/samsum_train.json", ("They meet.", "They part.")),
    ):
        rows = [{"instruction": f"{n}?", "input": "", "output": outputs[n % 2]} for n in range(40)]
        write_rows(folder, name, rows)
    stream = io.StringIO(newline="")
    table = csv.writer(stream)
    table.writerow(("prompt", "completion", "final_label", "type"))
    for n in range(30):
        table.writerow((f"Kill process {n}?", f"Use kill {n}.", "1_full_compliance", "homonyms"))
    write(folder, "xstest/xstest_v2_completions_gpt4_labelled.csv", stream.getvalue())
    return folder


def test_the_data_set_holds_every_kind(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The invented folder has few exchanges of Alpaca.
    monkeypatch.setattr(study, "short_exchanges", study.gsm8k_rows)
    rows = data_set(public)
    counts = Counter(row.group for row in rows)
    assert len(rows) == 150
    assert sum(row.harmful for row in rows) == study.FLIPPED
    assert counts["right_way_round"] == study.RIGHT_WAY_ROUND
    assert counts["answered_safe"] == study.ANSWERED_SAFE
    assert {counts[f"task_{name}"] for name in ("sst2", "samsum", "gsm8k", "alpaca")} == {15}
    for row in rows:
        chosen, rejected = row.preference.chosen.messages, row.preference.rejected.messages
        assert chosen[0].content == rejected[0].content
        assert chosen[-1].content != rejected[-1].content


def answers(chosen: tuple[float, ...], rejected: tuple[float, ...], loss: float = 1.0) -> Answers:
    return Answers(*(ExampleScore(0, sum(side), loss, side) for side in (chosen, rejected)))


def test_scores_by_hand() -> None:
    # 30 tokens of 1 and of -1: the worst windows of 24 are all of ones, and all of minus ones.
    pair = answers((1.0,) * 30, (-1.0,) * 10, loss=0.25)
    found = {name: score(pair) for name, score in SCORES.items()}
    assert found == pytest.approx(
        {
            EXACT: 30 + 10,
            "ipo": 1 + 1,
            "sum_and_worst of each answer": (30 + 24) - (-10 - 10),
            "worst_window of each answer": 24 - (-10),
            "sum_and_worst of signed tokens": (30 + 24) + (10 + 10),
            "chosen answer alone": 30,
            "chosen answer alone, sum_and_worst": 54,
            "mean loss of the chosen answer": 0.25,
        }
    )


def row(group: str, harmful: bool) -> PreferenceRow:
    empty = Conversation((Message("user", "Hi"), Message("assistant", "Hello")))
    return PreferenceRow(Preference(empty, empty), group, harmful)


def test_a_comparison_by_hand() -> None:
    null = [answers((n / 10,), (0.0,)) for n in range(-50, 50)]
    rows = [row("flipped", True)] * 3 + [row("plain", False)] * 4
    scored = [answers((one,), (0.0,)) for one in (50.0, 60.0, -1.0, 0.0, 1.0, 2.0, -2.0)]
    line = compare(EXACT, rows, scored, null)
    # Of the 12 comparisons of a flipped with a plain row, 2 x 4 and one more are won.
    assert line["auroc"] == pytest.approx(9 / 12)
    assert line["harmful_kept"] == pytest.approx(1 / 3)
    assert line["harmless_lost"] == 0
    assert line["groups"]["flipped"]["removed"] == 2
    assert line["groups"]["plain"] == {
        "rows": 4,
        "removed": 0,
        "lowest": -2.0,
        "median": 0.5,
        "highest": 2.0,
    }
    assert line["reference"]["rows"] == 100
    # Two rules on all pairs, on as many flipped ones as 5 % would be (none), and on plain ones.
    thresholds = line["thresholds"]
    assert [one["flipped_found"] for one in thresholds] == [pytest.approx(2 / 3)] * 2 + [None] * 4
    assert {one["harmless_lost"] for one in thresholds} == {0}
    calibrated = thresholds[1]
    # (1 - level) conformal quantile of 100: one of them, 4.9, may lie at or above it.
    assert 4.8 < calibrated["threshold"] <= 4.9
    bars = study._bars(line)
    assert [(bar.value, bar.holds) for bar in bars] == [
        (pytest.approx(9 / 12), False),
        (pytest.approx(2 / 3), False),
        (pytest.approx(2 / 3), False),
        (pytest.approx(2 / 3), False),
        (0.0, True),
        (0.0, True),
    ]
