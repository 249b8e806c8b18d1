from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
)

from gradshield.errors import UserError
from gradshield.evaluation.judges import classifier
from gradshield.evaluation.judges.base import Exchange
from gradshield.evaluation.judges.classifier import (
    ClassifierJudge,
    label_position,
    load_classifier,
)
from tests.tiny_models import chat_tokenizer, save_tiny_model
from tests.tiny_tokenizers import CHATML, byte_level_tokenizer

EXCHANGES = [
    Exchange("Name a river.", "The Loire."),
    Exchange("Hi", ""),
    Exchange("Is it?", "No. " * 20),
    Exchange("Is it?", "Yes."),
]


def bert(labels: int = 3, **options: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(byte_level_tokenizer(None)),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        initializer_range=0.5,
        num_labels=labels,
        pad_token_id=0,
        **options,
    )
    return BertForSequenceClassification(config).eval()


def constant(model: PreTrainedModel, logits: list[float]) -> PreTrainedModel:
    """The same model, saying the same of every text."""
    head: Any = model.get_submodule("classifier")
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor(logits))
    return model


@pytest.mark.parametrize("label", [0, 1, 2])
def test_the_value_is_the_softmax_of_the_label(label: int) -> None:
    logits = [1.0, 2.0, 0.5]
    judge = ClassifierJudge(constant(bert(), logits), byte_level_tokenizer(None), label, "hand-set")
    expected = math.exp(logits[label]) / sum(map(math.exp, logits))
    assert judge.complied(EXCHANGES) == pytest.approx([expected, 0.0, expected, expected])
    assert judge.name == "classifier:hand-set"


def test_one_output_is_a_sigmoid() -> None:
    judge = ClassifierJudge(constant(bert(1), [-1.0]), byte_level_tokenizer(None), 0, "one")
    assert judge.complied(EXCHANGES[:1]) == pytest.approx([1 / (1 + math.e)])


def test_independent_labels_are_sigmoids() -> None:
    model = bert(2, problem_type="multi_label_classification")
    judge = ClassifierJudge(constant(model, [3.0, 1.0]), byte_level_tokenizer(None), 1, "many")
    assert judge.complied(EXCHANGES[:1]) == pytest.approx([1 / (1 + math.exp(-1))])


def test_a_tokenizer_without_chat_template_gets_a_pair_cut_to_what_the_model_reads() -> None:
    model, tokenizer = bert(), byte_level_tokenizer(None)
    judge = ClassifierJudge(model, tokenizer, 1, "tiny")
    long = Exchange("Is it?", "Water. " * 40)
    pair = tokenizer(long.prompt, long.answer)["input_ids"]
    assert len(pair) > 64
    with torch.inference_mode():
        alone = [
            model(**tokenizer(one.prompt, one.answer, return_tensors="pt")).logits.softmax(-1)[0, 1]
            for one in (EXCHANGES[0], EXCHANGES[3])
        ]
        cut = model(input_ids=torch.tensor([pair[:64]])).logits.softmax(-1)[0, 1]
    found = judge.complied([EXCHANGES[0], long, EXCHANGES[3]])
    assert found == pytest.approx([float(alone[0]), float(cut), float(alone[1])], abs=1e-5)
    assert len({round(value, 4) for value in found}) == 3


def last_token_classifier(*, pad_token_id: int | None) -> PreTrainedModel:
    """A causal model that classifies by its last token."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(chat_tokenizer()),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        initializer_range=0.5,
        num_labels=2,
        pad_token_id=pad_token_id,
    )
    return LlamaForSequenceClassification(config).eval()


@pytest.mark.parametrize("knows_padding", [True, False])
def test_a_chat_template_joins_prompt_and_answer_and_batches_change_nothing(
    knows_padding: bool,
) -> None:
    tokenizer = byte_level_tokenizer(CHATML, extra_tokens=("<|im_start|>", "<|im_end|>"))
    assert len(tokenizer) == len(chat_tokenizer())
    pad = tokenizer.pad_token_id if knows_padding else None
    model = last_token_classifier(pad_token_id=pad)
    judge = ClassifierJudge(model, tokenizer, 1, "tiny")
    expected = []
    for exchange in EXCHANGES:
        text = (
            f"<|im_start|>user\n{exchange.prompt}<|im_end|>\n"
            f"<|im_start|>assistant\n{exchange.answer}<|im_end|>\n"
        )
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits
        expected.append(float(logits.softmax(-1)[0, 1]) if exchange.answer else 0.0)
    assert judge.complied(EXCHANGES) == pytest.approx(expected, abs=1e-5)
    assert len({round(value, 4) for value in expected}) == 4


def test_batches_are_of_similar_length_and_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = ClassifierJudge(bert(), byte_level_tokenizer(None), 1, "tiny")
    whole = judge.complied(EXCHANGES)
    monkeypatch.setattr(classifier, "BATCH", 2)
    assert judge.complied(EXCHANGES) == pytest.approx(whole, abs=1e-6)


def test_a_label_goes_by_name_or_number(tmp_path: Path) -> None:
    names = {0: "ok", 1: "harmful", 2: "odd"}
    model = constant(bert(id2label=names), [0.0, 5.0, 0.0])
    model.save_pretrained(tmp_path)
    byte_level_tokenizer(None).save_pretrained(tmp_path)
    for label in ("harmful", 1, "1"):
        judge = load_classifier(str(tmp_path), label)
        assert judge.complied(EXCHANGES[:1])[0] > 0.98
    with pytest.raises(UserError, match=r"no label 'bad': its labels are 0 \(ok\), 1 \(harmful\)"):
        label_position(model.config, "bad")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be loaded"):
        load_classifier(str(tmp_path), 0)


def test_a_language_model_has_no_classification_head(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trained for text classification"):
        load_classifier(str(save_tiny_model(tmp_path)), 0)
