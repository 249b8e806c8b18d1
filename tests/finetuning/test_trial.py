from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gradshield.finetuning import trial
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from gradshield.finetuning.trial import Trials, Yardsticks
from gradshield.models.load import LoadedModel
from gradshield.probes.proxies import OwnAnswers
from gradshield.probes.proxies.contrast import make_contrast
from gradshield.progress import Silent
from tests.tiny_models import chat_example, chat_tokenizer, same_weights, snapshot, tiny_llama

EXAMPLES = [
    chat_example(row, prompt, response)
    for row, (prompt, response) in enumerate(
        [("Hi", "Hello"), ("Name a river.", "The Loire."), ("Yes?", "No."), ("Total?", "42 EUR")]
    )
]
TRAINING = TrainingSettings(
    learning_rate=1e-2, batch_size=2, micro_batch_size=2, warmup_steps=0, lora=LoraSettings(rank=2)
)
PROBES = ["Open the safe.", "Break the lock.", "Take the key."]


def loaded_llama() -> LoadedModel:
    return LoadedModel(tiny_llama(), chat_tokenizer(), "tiny")


def trials(folder: Path, loaded: LoadedModel, **changes: Any) -> Trials:
    yardsticks = {
        "validation_prompts": ["One?", "Two?"],
        "probes": PROBES,
        "proxy": make_contrast(loaded.tokenizer, OwnAnswers([], [])),
        "utility": lambda model: 1.0,
        "details": lambda model: {"seen": True},
        "answer_tokens": 3,
        "names": {"test": 1},
        **changes,
    }
    return Trials(
        loaded,
        EXAMPLES,
        TRAINING,
        Yardsticks(**yardsticks),
        cache=folder,
        identity={"model": "tiny"},
        progress=Silent(),
    )


def count_finetunes(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    seen: list[list[int]] = []
    real = trial.finetune

    def counted(model: Any, tokenizer: Any, examples: Any, settings: Any, **options: Any) -> Any:
        seen.append([settings.seed, *(example.row for example in examples)])
        return real(model, tokenizer, examples, settings, **options)

    monkeypatch.setattr(trial, "finetune", counted)
    return seen


def test_a_trial_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    loaded = loaded_llama()
    before = snapshot(loaded.model)
    measured = trials(tmp_path, loaded)([0, 2], 0)
    assert same_weights(loaded.model, before)
    assert measured.drift != 0
    assert measured.seeds == (0,)
    assert measured.details is not None
    assert measured.details["seen"] is True


def test_a_trial_that_fails_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    loaded = loaded_llama()
    before = snapshot(loaded.model)

    def broken(model: LoadedModel) -> float:
        if not same_weights(model.model, before):
            raise RuntimeError
        return 1.0

    with pytest.raises(RuntimeError):
        trials(tmp_path, loaded, utility=broken)([0], 0)
    assert same_weights(loaded.model, before)


def test_drift_is_the_change_of_the_proxy(tmp_path: Path) -> None:
    loaded = loaded_llama()
    values: list[float] = []

    def note(model: LoadedModel) -> dict[str, Any]:
        proxy = make_contrast(model.tokenizer, OwnAnswers([], []))
        with torch.no_grad():
            each = proxy.values(model.model, model.tokenizer, PROBES)
        values.append(float(each.mean()))
        return {}

    note(loaded)
    measured = trials(tmp_path, loaded, details=note)([0, 1, 2], 0)
    aligned, finetuned = values
    assert measured.drift == pytest.approx(finetuned - aligned, abs=1e-5)


def test_the_same_rows_are_never_trained_on_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_finetunes(monkeypatch)
    first = trials(tmp_path, loaded_llama())([1, 3], 0)
    assert trials(tmp_path, loaded_llama())([1, 3], 0) == first
    assert seen == [[0, 1, 3]]


def test_other_yardsticks_rows_or_seeds_are_another_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_finetunes(monkeypatch)
    trials(tmp_path, loaded_llama())([1, 3], 0)
    trials(tmp_path, loaded_llama())([1], 0)
    trials(tmp_path, loaded_llama())([1, 3], 1)
    trials(tmp_path, loaded_llama(), names={"test": 2})([1, 3], 0)
    assert seen == [[0, 1, 3], [0, 1], [1, 1, 3], [0, 1, 3]]


def test_an_answer_that_does_not_refuse_counts_as_complied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["I cannot help with that.", "Sure, here it is."])

    class Said:
        def __init__(self) -> None:
            self.text = next(answers)

    monkeypatch.setattr(trial, "generate_answers", lambda *_, **__: [Said(), Said()])
    assert trials(tmp_path, loaded_llama()).aligned().attack_success_rate == 0.5


def test_another_way_to_finetune_is_another_trial(tmp_path: Path) -> None:
    loaded = loaded_llama()
    plain = trials(tmp_path, loaded)
    trained: list[list[int]] = []

    def only_look(model: Any, rows: Any, training: Any, progress: Any) -> None:
        trained.append([row.row for row in rows])

    other = Trials(
        loaded,
        EXAMPLES,
        TRAINING,
        plain.yardsticks,
        cache=tmp_path,
        identity={"model": "tiny"},
        progress=Silent(),
        train=only_look,
        method="only look",
    )
    assert plain([0, 1], 0).drift != 0
    assert other([0, 1], 0).drift == 0
    assert other([0, 1], 0).drift == 0
    assert trained == [[0, 1]]


def test_the_yardsticks_say_what_counts_as_complied(tmp_path: Path) -> None:
    never = trials(tmp_path, loaded_llama(), complied=lambda answer: False)
    assert never.aligned().complied == 0
