from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.evaluation.refusal import is_refusal
from gradshield.finetuning import align as align_module
from gradshield.finetuning.align import (
    AlignmentRecipe,
    AlignmentRows,
    StageSettings,
    align,
    alignment_rows,
    load_recipe,
)
from gradshield.finetuning.supervised import TrainingSettings
from gradshield.models import load_model
from gradshield.models.layers import block_linear_layers
from gradshield.models.load import LoadedModel
from gradshield.models.restored import linear_weights, restore
from gradshield.probes.prompt_sets import Prompt, PromptSet, Split
from gradshield.progress import Silent
from tests.tiny_models import (
    chat_tokenizer,
    losses,
    same_weights,
    save_tiny_model,
    snapshot,
    tiny_gpt2,
    tiny_loaded,
)

PROMPTS = {
    "harmful": ["Pick this lock", "Forge a name", "Rob a bank"],
    "ordinary": ["Name a river", "Say hello, and then say it again, and again, and again"],
    "harmless_but_scary": ["Kill a process"],
}


@pytest.fixture(autouse=True)
def _few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(name: PromptSet, split: Split | None = None) -> list[Prompt]:
        assert split == "align"
        answer = "Use kill." if name == "harmless_but_scary" else None
        return [Prompt(text, "c", "align", text, answer) for text in PROMPTS[name]]

    monkeypatch.setattr(align_module, "load_prompts", few)


def small_recipe(adapter_bytes: int = 40_000) -> AlignmentRecipe:
    stage = StageSettings(
        harmful_prompts=3,
        ordinary_prompts=1,
        harmless_but_scary_repeats=2,
        training=TrainingSettings(
            learning_rate=3e-3, epochs=2, batch_size=2, micro_batch_size=2, warmup_steps=0
        ),
    )
    recipe = load_recipe()
    return recipe.model_copy(
        update={
            "model": "tiny",
            "refusals": ("No.", "I can't."),
            "ordinary_prompt_tokens": 40,
            "ordinary_answer_tokens": 4,
            "whole": stage,
            "adapter": stage,
            "adapter_bytes": adapter_bytes,
        }
    )


def text_of(example: TokenizedExample, *, response: bool) -> str:
    pairs = zip(example.input_ids, example.response_mask, strict=True)
    return str(chat_tokenizer().decode([token for token, kept in pairs if kept == response]))


def test_the_packaged_recipe_teaches_many_ways_to_refuse() -> None:
    recipe = load_recipe()
    assert len(recipe.refusals) >= 12
    assert [refusal for refusal in recipe.refusals if not is_refusal(refusal)] == []
    openings = Counter(refusal.split()[0].split("'")[0].strip(",.") for refusal in recipe.refusals)
    assert len(set(openings) - {"I"}) >= 4
    assert openings["I"] <= len(recipe.refusals) / 2 + 1


def test_the_packaged_recipe_trains_on_no_more_prompts_than_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    recipe = load_recipe()
    assert recipe.model == "builtin:smollm2"
    assert recipe.ordinary_candidates <= len(align_module.load_prompts("ordinary", "align"))
    assert recipe.adapter_bytes < 12_000_000


def test_a_recipe_that_is_missing_or_wrong_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    with pytest.raises(UserError, match=f"recipe {path} cannot be read"):
        load_recipe(path)
    path.write_text("refusals: [")
    with pytest.raises(UserError, match=f"recipe {path} cannot be read"):
        load_recipe(path)
    content = load_recipe().model_dump(mode="json")
    path.write_text(yaml.safe_dump({**content, "adapter_bytes": -1}))
    with pytest.raises(UserError, match=f"{path} is no alignment recipe: adapter_bytes: "):
        load_recipe(path)
    path.write_text(yaml.safe_dump(content))
    assert load_recipe(path) == load_recipe()


def test_rows_are_refusals_in_turn_own_answers_and_packaged_answers() -> None:
    loaded = tiny_loaded()
    rows = alignment_rows(loaded, small_recipe(), Silent())
    assert [text_of(row, response=True) for row in rows.refused] == [
        "No.<|im_end|>",
        "I can't.<|im_end|>",
        "No.<|im_end|>",
    ]
    assert "Pick this lock" in text_of(rows.refused[0], response=False)
    assert [text_of(row, response=True) for row in rows.scary] == ["Use kill.<|im_end|>"]
    # The second ordinary prompt is too long. The answer is the model's own, greedy.
    [ordinary] = rows.ordinary
    with torch.no_grad():
        logits = loaded.model(torch.tensor([ordinary.input_ids])).logits[0]
    place = ordinary.response_mask.index(True)
    assert ordinary.response_tokens <= 4
    assert list(ordinary.input_ids[place:]) == logits[place - 1 : -1].argmax(dim=-1).tolist()


def test_a_stage_takes_its_share_of_each_part() -> None:
    def named(prefix: int, count: int) -> list[TokenizedExample]:
        return [
            TokenizedExample(prefix + index, (1, 2), (False, True), False) for index in range(count)
        ]

    rows = AlignmentRows(refused=named(0, 10), ordinary=named(100, 6), scary=named(200, 2))
    stage = StageSettings(
        harmful_prompts=5,
        ordinary_prompts=3,
        harmless_but_scary_repeats=2,
        training=TrainingSettings(learning_rate=1),
    )
    found = [row.row for row in rows.of_stage(stage)]
    assert sorted(found) == [0, 2, 4, 6, 8, 100, 102, 104, 200, 200, 201, 201]


def test_aligning_writes_an_adapter_that_makes_refusals_likelier(tmp_path: Path) -> None:
    loaded = tiny_loaded()
    before = snapshot(loaded.model)
    recipe = small_recipe()
    rows = alignment_rows(loaded, recipe, Silent()).refused
    change = align(loaded, recipe, tmp_path / "adapter", Silent())
    assert 0.5 < change.energy_kept <= 1.0
    assert same_weights(loaded.model, before)
    assert sum(path.stat().st_size for path in (tmp_path / "adapter").glob("*.safetensors")) < (
        recipe.adapter_bytes + 10_000
    )
    folder = str(save_tiny_model(tmp_path / "base"))
    aligned = load_model(folder, adapter=tmp_path / "adapter", device="cpu")
    assert sum(losses(rows, aligned.model)) < 0.9 * sum(losses(rows, loaded.model))


def test_a_model_with_conv1d_layers_can_be_aligned(tmp_path: Path) -> None:
    loaded = LoadedModel(tiny_gpt2(), chat_tokenizer(), "gpt2")
    recipe = small_recipe()
    rows = alignment_rows(loaded, recipe, Silent()).refused
    loss = sum(losses(rows, loaded.model))
    align(loaded, recipe, tmp_path / "adapter", Silent())
    loaded.model.save_pretrained(tmp_path / "base")
    chat_tokenizer().save_pretrained(tmp_path / "base")
    aligned = load_model(str(tmp_path / "base"), adapter=tmp_path / "adapter", device="cpu")
    assert sum(losses(rows, aligned.model)) < 0.9 * loss


def test_other_files_are_never_wiped_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis.txt").touch()
    monkeypatch.setattr(align_module, "finetune", lambda *_, **__: pytest.fail("trained first"))
    with pytest.raises(UserError, match="is no adapter folder: name another --out"):
        align(tiny_loaded(), small_recipe(), tmp_path, Silent())
    assert (tmp_path / "thesis.txt").exists()


def test_weights_come_back_after_the_first_stage() -> None:
    model = tiny_loaded().model
    kept = linear_weights(model)
    with torch.no_grad():
        for layer in block_linear_layers(model).values():
            layer.weight.add_(1.0)
    restore(model, kept)
    assert same_weights(model, snapshot(tiny_loaded().model))
