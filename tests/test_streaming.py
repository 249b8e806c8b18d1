"""Streams are filtered like the same rows in memory, whatever order they are read in."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, IterableDataset, List, Value, load_dataset
from hypothesis import given
from hypothesis import strategies as st

from gradshield import FilterResult, GradShield, streaming
from gradshield.config import DataSettings, ThresholdSettings
from gradshield.errors import UserError
from gradshield.models.load import LoadedModel
from gradshield.streaming import fingerprint, score_stream
from gradshield.threshold import Decision
from tests.run.conftest import _few_probes, loaded, model_folder
from tests.run.data_files import good_rows, write_jsonl

__all__ = ["_few_probes", "loaded", "model_folder"]

RULE = ThresholdSettings(rule="calibrated", level=0.5)
FEATURES = Features(
    {
        "messages": List({"role": Value("string"), "content": Value("large_string")}),
        "label": ClassLabel(names=["a", "b"]),
        "nested": {"weights": List(Value("float32")), "note": Value("null")},
        "number": Value("int16"),
    }
)

pytestmark = pytest.mark.filterwarnings("ignore:This model answers")


def _row(number: int) -> dict[str, Any]:
    answer = "" if number % 7 == 3 else f"Yes. {number}" * (1 + number % 4)
    turns = [("user", f"Name river {number}"), ("assistant", answer)]
    return {
        "messages": [{"role": role, "content": content} for role, content in turns],
        "label": number % 2,
        "nested": {"weights": [number / 8] * (number % 3), "note": None},
        "number": number,
    }


ROWS = [_row(number) for number in range(24)]


def _data_set() -> Dataset:
    return Dataset.from_list(ROWS, features=FEATURES)


@pytest.fixture(scope="module")
def shield(loaded: LoadedModel, _few_probes: None) -> GradShield:
    return GradShield(loaded.model, loaded.tokenizer, threshold=RULE)


@pytest.fixture(scope="module")
def in_memory(shield: GradShield) -> FilterResult:
    return shield.filter(_data_set())


@pytest.fixture(scope="module")
def streamed(shield: GradShield) -> FilterResult:
    return shield.filter(_data_set().to_iterable_dataset(num_shards=3))


def _parts(result: FilterResult) -> list[list[int]]:
    parts = (result.kept, result.removed, result.rejected)
    return [[int(row["number"]) for row in part] for part in parts]


def test_a_stream_is_divided_like_the_rows_in_memory(
    streamed: FilterResult, in_memory: FilterResult
) -> None:
    assert _parts(streamed) == _parts(in_memory)
    assert all(_parts(streamed))
    assert streamed.decision == in_memory.decision
    assert list(streamed.kept) == list(in_memory.kept)
    assert _parts(streamed) == _parts(streamed), "a part can be read again"


def test_features_are_those_of_the_stream(streamed: FilterResult) -> None:
    for part in (streamed.kept, streamed.removed, streamed.rejected):
        assert isinstance(part, IterableDataset)
        assert part.features == FEATURES
        assert Dataset.from_list(list(part), features=FEATURES).features == FEATURES


def test_the_scores_of_a_stream_are_a_table_without_tokens(
    streamed: FilterResult, in_memory: FilterResult
) -> None:
    blank = {"token_ids": None, "token_fihs": None}
    assert list(streamed.scores) == [{**line, **blank} for line in in_memory.scores]
    assert streamed.scores[3]["reason"].startswith("empty_response")


@pytest.mark.parametrize("chunk", [1, 5, 24])
def test_the_chunk_does_not_matter(
    shield: GradShield, in_memory: FilterResult, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "CHUNK", chunk)
    stream = _data_set().to_iterable_dataset()
    result = shield.filter(stream)
    assert _parts(result) == _parts(in_memory)
    scored = [line for line in in_memory.scores if line["status"] == "scored"]
    found = [line["fihs"] for line in result.scores if line["status"] == "scored"]
    assert found == pytest.approx([line["fihs"] for line in scored], abs=1e-2)
    at_once = shield.filter(stream, decision=in_memory.decision)
    assert _parts(at_once) == _parts(in_memory)


def test_a_shuffle_later_on_changes_the_order_alone(
    streamed: FilterResult, in_memory: FilterResult
) -> None:
    shuffled = streamed.kept.shuffle(seed=1, buffer_size=8)
    for epoch in range(2):
        shuffled.set_epoch(epoch)
        found = [row["number"] for row in shuffled]
        assert found != _parts(in_memory)[0]
        assert sorted(found) == _parts(in_memory)[0]


def test_workers_share_the_kept_rows(streamed: FilterResult, in_memory: FilterResult) -> None:
    from torch.utils.data import DataLoader

    numbers = streamed.kept.select_columns(["number"])
    batches = DataLoader(numbers, batch_size=4, num_workers=2)
    assert sorted(n for batch in batches for n in batch["number"].tolist()) == _parts(in_memory)[0]


def test_the_format_is_that_of_the_stream(shield: GradShield, in_memory: FilterResult) -> None:
    import torch

    result = shield.filter(_data_set().to_iterable_dataset().with_format("torch"))
    assert _parts(result) == _parts(in_memory)
    row = next(iter(result.kept))
    assert isinstance(row["number"], torch.Tensor)


def test_a_json_file_that_is_streamed(shield: GradShield, tmp_path: Path) -> None:
    rows = [row for row in good_rows(24) if "messages" in row]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    options = {"data_files": str(data), "split": "train", "cache_dir": str(tmp_path / "cache")}
    stream = load_dataset("json", streaming=True, **options)
    result = shield.filter(stream)
    expected = shield.filter(rows)
    assert [row["id"] for row in result.kept] == [row["id"] for row in expected.kept]
    assert result.kept.features == stream.features


def test_rows_that_occur_twice_are_scored_once(
    shield: GradShield, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "CHUNK", 3)
    seen: list[int] = []

    def counted(rows: Any) -> list[dict[str, Any]]:
        seen.extend(row["number"] for row in rows)
        return shield.score(rows)

    rows = [ROWS[number] for number in (0, 1, 0, 0, 3, 1, 3, 5)]
    scored = score_stream(iter(rows), counted)
    assert seen == [0, 1, 3, 5]
    lines = scored.lines.to_pylist()
    assert [line["row"] for line in lines] == list(range(8))
    assert [line["response_tokens"] for line in lines] == [
        shield.score([row])[0]["response_tokens"] for row in rows
    ]
    assert len({line["fihs"] for line in lines}) == 4


def test_one_pass_with_a_known_threshold(shield: GradShield, in_memory: FilterResult) -> None:
    reads: Counter[int] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for row in ROWS:
            reads[row["number"]] += 1
            yield row

    stream = IterableDataset.from_generator(rows, features=FEATURES)
    result = shield.filter(stream, decision=in_memory.decision.threshold)
    assert not reads
    assert [row["number"] for row in result.kept] == _parts(in_memory)[0]
    assert set(reads.values()) == {1}
    assert result.kept.features == FEATURES
    assert len(result.scores) == 0
    assert result.decision.method == "given"


def test_a_known_decision_for_rows_in_memory(shield: GradShield) -> None:
    nothing = Decision(float("inf"), "another run", "why not", {})
    result = shield.filter(_data_set(), decision=nothing)
    assert result.decision is nothing
    assert len(result.removed) == 0
    everything = shield.filter(ROWS, decision=float("-inf"))
    assert everything.kept == []
    with pytest.raises(UserError, match="nan"):
        shield.filter(ROWS, decision=float("nan"))


def test_a_stream_of_other_rows_is_refused(shield: GradShield) -> None:
    calls = iter(range(1000))
    changing = _data_set().to_iterable_dataset().map(lambda row: {"number": next(calls)})
    result = shield.filter(changing)
    with pytest.raises(UserError, match="row that it did not give when it was scored"):
        list(result.kept)


def test_a_stream_without_rows(shield: GradShield) -> None:
    empty = _data_set().to_iterable_dataset().take(0)
    result = shield.filter(empty)
    assert [list(part) for part in (result.kept, result.removed, result.rejected)] == [[], [], []]
    assert result.kept.features == FEATURES
    assert result.decision.threshold == float("inf")


def test_a_generator_can_be_read_only_once(shield: GradShield) -> None:
    with pytest.raises(UserError, match="from_generator"):
        shield.filter(row for row in ROWS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(row=st.dictionaries(st.text(), JSON, max_size=4), key=st.text())
def test_a_fingerprint_is_that_of_the_content(row: dict[str, Any], key: str) -> None:
    backwards = dict(reversed(list(row.items())))
    assert fingerprint(row) == fingerprint(backwards)
    assert fingerprint({**row, key: "new"}) != fingerprint({**row, key: "other"})


def test_fingerprints_of_what_json_lacks() -> None:
    picture, other = object(), object()
    assert fingerprint({"image": picture}) == fingerprint({"image": other})
    assert fingerprint({"data": b"a"}) != fingerprint({"data": b"b"})
    days = [datetime.date(2026, 1, day) for day in (1, 2)]
    assert fingerprint({"day": days[0]}) != fingerprint({"day": days[1]})
    assert fingerprint({"a": "x", "b": None}) == fingerprint({"a": "x"})
    assert fingerprint({"a": "half \ud83d"})


def test_a_stream_is_read_as_its_trainer_does(loaded: LoadedModel) -> None:
    as_trl = GradShield(
        loaded.model, loaded.tokenizer, threshold=RULE, data=DataSettings(profile="trl")
    )
    rows = Dataset.from_list([{"prompt": f"Name {n}", "completion": "Yes" * n} for n in range(9)])
    in_memory = as_trl.filter(rows.with_format("torch"))
    streamed = as_trl.filter(rows.to_iterable_dataset())
    assert list(streamed.kept) == list(in_memory.kept.with_format(None))
    assert streamed.decision == in_memory.decision


def _preference(number: int) -> dict[str, Any]:
    answers = [f"Yes. {number}", "No."]
    if number % 2:
        answers.reverse()
    return {"prompt": f"Name river {number}", "chosen": answers[0], "rejected": answers[1]}


def test_preferences_are_streamed_too(shield: GradShield, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_the_median(scores: Any, *others: Any, **options: Any) -> Decision:
        return Decision(float(np.median(scores)), "median", "half and half", {})

    monkeypatch.setattr("gradshield.shield.decide", at_the_median)
    rows = Dataset.from_list([_preference(number) for number in range(12)])
    in_memory = shield.filter(rows)
    streamed = shield.filter(rows.to_iterable_dataset(num_shards=2))
    assert list(streamed.kept) == list(in_memory.kept)
    assert list(streamed.removed) == list(in_memory.removed)
    assert streamed.decision == in_memory.decision
    assert 0 < len(in_memory.kept) < 12


def test_kinds_that_cannot_be_compared_are_refused(
    shield: GradShield, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "CHUNK", 4)
    plain_rows = [{"prompt": f"Name {number}", "completion": "Yes."} for number in range(4)]
    mixed = [*plain_rows, *map(_preference, range(4))]
    stream = IterableDataset.from_generator(lambda: iter(mixed))
    with pytest.raises(UserError, match="plain and preference rows"):
        shield.filter(stream)
