"""Scores from a served model with two adapters, against finite differences along the same cut."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest
import torch

from gradshield.api import Patience
from gradshield.errors import UserError
from gradshield.models import load_model
from gradshield.models.low_rank import cut_to_rank
from gradshield.probes.direction import Direction
from gradshield.probes.export import export_direction, read_export
from gradshield.scoring.engines.finite_difference import FiniteDifference
from gradshield.scoring.served import ServedModel
from tests.scoring.fake_endpoint import FakeEndpoint, serving
from tests.tiny_models import mixed_examples, random_direction, save_tiny_model, tiny_llama

RANK, STEP = 4, 0.02
HASTE = Patience(retries=2, first_wait=0.0)


@dataclass(frozen=True)
class Exported:
    """A direction, its two adapters, and the models that they make."""

    direction: Direction
    folder: Path
    models: dict[str, Any]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    scratch = tmp_path_factory.mktemp("served")
    base = save_tiny_model(scratch / "base")
    direction = random_direction(tiny_llama())
    export_direction(direction, scratch / "adapters", rank=RANK, step=STEP, base_model=str(base))
    models = {
        name: load_model(
            str(base), adapter=scratch / "adapters" / name, dtype="float32", device="cpu"
        ).model
        for name in ("above", "below")
    }
    return Exported(direction, scratch / "adapters", models)


@pytest.fixture
def endpoint(exported: Exported) -> Iterator[FakeEndpoint]:
    with serving(exported.models) as fake:
        yield fake


def served(fake: FakeEndpoint, **options: Any) -> ServedModel:
    return ServedModel(fake.url, "above", "below", STEP, patience=HASTE, **options)


def expected(direction: Direction, reduction: Any) -> dict[int, Any]:
    """Finite differences in this process along the direction cut to the same rank.

    The engine moves a step along the cut made a unit long, and the adapters a step along the cut
    of the unit direction, whose length is below one: the step and the scores are in that ratio.
    """
    cut = cut_to_rank({n: t / direction.norm for n, t in direction.tensors.items()}, RANK)
    moved = Direction({name: b @ a for name, (a, b) in cut.factors.items()}, {})
    engine = FiniteDifference(STEP * moved.norm).prepare(tiny_llama(), moved, reduction, [])
    scores = {score.row: score for score in engine.score(mixed_examples())}
    return {row: replace(score, fihs=score.fihs * moved.norm) for row, score in scores.items()}


@pytest.mark.parametrize("by", ["prompt_logprobs", "echo"])
@pytest.mark.parametrize("reduction", ["sum_and_worst", "mean"])
def test_scores_are_finite_differences_along_the_low_rank_direction(
    exported: Exported, endpoint: FakeEndpoint, by: str, reduction: Any
) -> None:
    endpoint.knows_prompt_logprobs = by == "prompt_logprobs"
    done: list[int] = []
    lines = served(endpoint).score(mixed_examples(), {3: "mine"}, done.append, reduction)
    scores = expected(exported.direction, reduction)
    size = np.abs([score.fihs for score in scores.values()]).max()
    assert sum(done) == len(lines) == len(scores)
    for line in lines:
        score = scores[line["row"]]
        assert line["status"] == "scored"
        assert line["fihs"] == pytest.approx(score.fihs, abs=1e-3 * size)
        assert line["loss"] == pytest.approx(score.loss, rel=1e-4)
    assert {line["row"]: line["id"] for line in lines}[3] == "mine"
    example = mixed_examples()[0]
    sent = [body for body in endpoint.seen if body["prompt"] == list(example.input_ids)]
    assert {body["model"] for body in sent} == {"above", "below"}
    assert all(body["temperature"] == 0 and body["max_tokens"] == 1 for body in sent)


def test_a_row_that_is_too_long_for_the_endpoint_fails_alone(
    exported: Exported, endpoint: FakeEndpoint
) -> None:
    lengths = sorted(len(example.input_ids) for example in mixed_examples())
    endpoint.limit = lengths[-2]
    lines = served(endpoint).score(mixed_examples(), {}, lambda count: None, "sum")
    rejected = [line for line in lines if line["status"] == "rejected"]
    assert len(rejected) == 1
    assert rejected[0]["reason"].startswith("endpoint_declined: HTTP status 400: ")
    assert "maximum context length" in rejected[0]["reason"]


def test_a_busy_endpoint_is_asked_again(endpoint: FakeEndpoint) -> None:
    endpoint.busy = 2
    lines = served(endpoint, concurrency=1).score(
        mixed_examples()[:1], {}, lambda count: None, "sum"
    )
    assert lines[0]["status"] == "scored"


def test_an_endpoint_that_is_gone_is_an_error(exported: Exported) -> None:
    with serving(exported.models) as fake:
        model = served(fake)
    for act in (model.check, lambda: model.score(mixed_examples(), {}, print, "sum")):
        with pytest.raises(UserError, match=r"cannot be had \(.*in 3 tries.*goes on"):
            act()


def test_unknown_adapters_are_named(exported: Exported, endpoint: FakeEndpoint) -> None:
    served(endpoint).check()
    model = replace(served(endpoint), below="beneath")
    with pytest.raises(UserError) as refusal:
        model.check()
    assert str(refusal.value) == (
        f"The endpoint {endpoint.url} does not serve beneath, only base, above, below: start it "
        "with both adapters, as in `vllm serve MODEL --enable-lora --lora-modules "
        "above=ADAPTERS/above beneath=ADAPTERS/below`."
    )
    with pytest.raises(UserError, match=r"does not know the adapter beneath \(HTTP status 404"):
        model.score(mixed_examples(), {}, lambda count: None, "sum")


@pytest.mark.parametrize("by", ["prompt_logprobs", "echo"])
def test_other_tokens_than_were_sent_are_an_error(endpoint: FakeEndpoint, by: str) -> None:
    endpoint.knows_prompt_logprobs = by == "prompt_logprobs"
    endpoint.adds = (3, 4)
    one = mixed_examples()[2]
    with pytest.raises(UserError) as refusal:
        served(endpoint).score([one], {}, lambda count: None, "sum")
    sent = len(one.input_ids)
    found = sent + 2 + (by == "echo")  # what is generated comes behind what is echoed
    assert str(refusal.value) == (
        f"The endpoint {endpoint.url} has other tokens of row 2 than were sent ({found} tokens "
        f"instead of {sent}): it must serve the very model whose tokenizer is used here, and "
        "neither add nor cut tokens."
    )


def test_tokens_of_the_same_number_that_differ_are_an_error(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = endpoint.reply

    def swapped(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return honest({**body, "prompt": [token ^ 1 for token in body["prompt"]]})

    monkeypatch.setattr(endpoint, "reply", swapped)
    with pytest.raises(UserError, match=r"no log-probability of token \d+ at place 1\)"):
        served(endpoint).score(mixed_examples()[:1], {}, lambda count: None, "sum")


def test_an_endpoint_without_log_probabilities_is_an_error(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = (200, {"choices": [{"text": "x"}]})
    monkeypatch.setattr(endpoint, "reply", lambda body: reply)
    with pytest.raises(UserError, match="gives no log-probabilities of prompts"):
        served(endpoint).score(mixed_examples()[:1], {}, lambda count: None, "sum")
    monkeypatch.setattr(endpoint, "reply", lambda body: (200, {"choices": []}))
    with pytest.raises(UserError, match="gave no completion of row 0"):
        served(endpoint).score(mixed_examples()[:1], {}, lambda count: None, "sum")


def test_an_echo_without_a_generated_token_is_read(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.knows_prompt_logprobs = False
    one = mixed_examples()[1]
    expected = served(endpoint).losses("above", one)
    assert expected.dtype == torch.float64
    echoes = [body for body in endpoint.seen if "echo" in body]
    assert [(body["echo"], body["logprobs"]) for body in echoes] == [(True, 1)]
    honest = endpoint.reply

    def shorter(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        code, reply = honest(body)
        if "echo" in body:
            reply["choices"][0]["logprobs"]["token_logprobs"].pop()
        return code, reply

    monkeypatch.setattr(endpoint, "reply", shorter)
    assert torch.equal(served(endpoint).losses("above", one), expected)
    monkeypatch.setattr(
        endpoint, "reply", lambda body: (200, {"choices": []} if "echo" in body else ANSWERED)
    )
    with pytest.raises(UserError, match="gave no completion of row 1"):
        served(endpoint).losses("above", one)


ANSWERED = {"choices": [{"text": "x"}]}


def test_replies_that_are_no_json_and_other_faults_are_shown(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patience, "fetch", lambda patience, request: b"<html>Hi</html>")
    with pytest.raises(UserError, match=r"/v1/models does not reply in JSON: '<html>Hi</html>'\."):
        served(endpoint).check()

    def declined(patience: Patience, request: Any) -> bytes:
        raise HTTPError(request.full_url, 403, "no", Message(), io.BytesIO(b"Who are you?"))

    monkeypatch.setattr(Patience, "fetch", declined)
    with pytest.raises(UserError) as refusal:
        served(endpoint).check()
    assert str(refusal.value) == (
        f"{endpoint.url}/models declined with HTTP status 403: 'Who are you?'. Check the URL and "
        "the API key."
    )


def test_rows_under_way_are_as_many_as_asked_and_end_with_the_first_fault(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers: list[int] = []

    class Counted(ThreadPoolExecutor):
        def __init__(self, count: int) -> None:
            workers.append(count)
            super().__init__(count)

    monkeypatch.setattr("gradshield.scoring.served.ThreadPoolExecutor", Counted)
    model = replace(served(endpoint, concurrency=1), above="beyond")
    with pytest.raises(UserError, match="does not know the adapter beyond"):
        model.score(mixed_examples() * 20, {}, lambda count: None, "sum")
    assert workers == [1]
    assert len(endpoint.seen) < 20


def test_log_probabilities_that_are_no_list_are_of_other_tokens(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = (200, {"choices": [{"prompt_logprobs": {"0": -1.0}}]})
    monkeypatch.setattr(endpoint, "reply", lambda body: reply)
    with pytest.raises(UserError, match=r"\(0 tokens instead of \d+\)"):
        served(endpoint).score(mixed_examples()[:1], {}, lambda count: None, "sum")


@pytest.mark.parametrize(
    ("models", "text"),
    [
        ({"data": []}, " does not serve above and below, only nothing: start it with both"),
        ({}, "/models is no list of models: give the address of an OpenAI-compatible API"),
        ({"data": [{}]}, "/models is no list of models: give the address of an OpenAI-compatible"),
        ([], "/models is no list of models: give the address of an OpenAI-compatible API, which"),
    ],
)
def test_what_an_endpoint_says_of_its_models(
    models: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Any]] = []

    def fetch(patience: Patience, request: Any) -> bytes:
        asked.append((request.full_url, request.data))
        return json.dumps(models).encode()

    monkeypatch.setattr(Patience, "fetch", fetch)
    model = ServedModel("https://models.example/v1/", "above", "below", STEP)
    with pytest.raises(UserError) as refusal:
        model.check()
    assert f"https://models.example/v1/{text}" in str(refusal.value)
    assert asked == [("https://models.example/v1/models", None)]


def test_an_address_that_is_none_is_an_error() -> None:
    with pytest.raises(UserError) as refusal:
        ServedModel("localhost:8000", "above", "below", STEP).check()
    assert str(refusal.value) == (
        "The endpoint localhost:8000 is no http or https address: give one such as "
        "http://localhost:8000/v1."
    )


def test_the_record_of_an_export_is_read_back(exported: Exported, tmp_path: Path) -> None:
    record = read_export(exported.folder)
    assert (record.rank, record.step) == (RANK, STEP)
    assert 0 < record.energy_kept < 1
    with pytest.raises(UserError, match="no readable"):
        read_export(tmp_path)
