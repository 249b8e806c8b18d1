from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from gradshield.errors import UserError
from gradshield.models import load as load_module
from gradshield.models import load_model
from gradshield.models.builtin import BUILTIN_MODELS
from tests.tiny_models import (
    chat_tokenizer,
    mixed_examples,
    same_weights,
    save_tiny_model,
    snapshot,
    tiny_llama,
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """A random LoRA adapter with B other than zero, and the logits of base plus adapter."""
    torch.manual_seed(1)
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"])
    model = get_peft_model(tiny_llama(), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("adapter") / "lora"
    model.save_pretrained(str(folder))
    return folder, logits(model.eval())


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        output: torch.Tensor = model(input_ids=torch.tensor([mixed_examples()[0].input_ids])).logits
        return output


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_local_folder_loads_as_it_was_saved(tied: bool, tmp_path: Path) -> None:
    loaded = load_model(str(save_tiny_model(tmp_path / "model", tied=tied)), device="cpu")
    assert same_weights(loaded.model, snapshot(tiny_llama(tied=tied)))
    assert loaded.tokenizer.get_vocab() == chat_tokenizer().get_vocab()
    assert loaded.tokenizer.chat_template == chat_tokenizer().chat_template
    assert not loaded.model.training
    assert loaded.model.dtype == torch.float32
    assert loaded.name == str(tmp_path / "model")
    assert loaded.adapter is None


def test_the_precision_can_be_chosen(saved: Path) -> None:
    assert load_model(str(saved), dtype="bfloat16", device="cpu").model.dtype == torch.bfloat16


def test_an_adapter_is_merged_into_plain_weights(
    saved: Path, adapted: tuple[Path, torch.Tensor]
) -> None:
    folder, expected = adapted
    loaded = load_model(str(saved), adapter=folder, device="cpu")
    torch.testing.assert_close(logits(loaded.model), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits(tiny_llama()), expected, atol=0.1)
    assert type(loaded.model).__name__ == "LlamaForCausalLM"
    assert not any("lora" in name for name, _ in loaded.model.named_parameters())
    assert loaded.adapter == str(folder)


def test_a_builtin_model_comes_with_its_own_adapter(
    saved: Path, adapted: tuple[Path, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, expected = adapted
    monkeypatch.setattr(load_module, "smollm2_folder", lambda say: saved)
    monkeypatch.setitem(BUILTIN_MODELS, "builtin:smollm2-aligned", folder)
    aligned = load_model("builtin:smollm2-aligned", device="cpu")
    torch.testing.assert_close(logits(aligned.model), expected, rtol=1e-4, atol=1e-4)
    assert aligned.adapter is None
    base = load_model("builtin:smollm2", device="cpu")
    torch.testing.assert_close(logits(base.model), logits(tiny_llama()))


def test_an_unknown_builtin_model_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"No built-in model builtin:gpt9: .*smollm2-aligned"):
        load_model("builtin:gpt9")


def test_a_missing_folder_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no model folder {tmp_path}/nowhere: check the path"):
        load_model(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"no model folder \./nowhere"):
        load_model("./nowhere")


def test_a_folder_without_weights_is_a_user_error(damaged: Path) -> None:
    (damaged / "model.safetensors").unlink()
    with pytest.raises(UserError, match=f"The model {damaged} could not be loaded .Error no file"):
        load_model(str(damaged))


def test_cut_off_weights_are_a_user_error(damaged: Path) -> None:
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="could not be loaded"):
        load_model(str(damaged))


def test_a_missing_weight_is_not_made_up(damaged: Path) -> None:
    tensors = load_file(damaged / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of its weights \(model\.layers\.1\.mlp\.up_pr"):
        load_model(str(damaged))


def test_weights_of_another_shape_are_a_user_error(damaged: Path) -> None:
    config = json.loads((damaged / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))
    with pytest.raises(UserError, match="could not be loaded"):
        load_model(str(damaged))


def test_a_base_model_without_chat_template_is_told_in_one_line(damaged: Path) -> None:
    (damaged / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"has no chat template.*instruct") as fault:
        load_model(str(damaged))
    assert "\n" not in str(fault.value)


def test_a_missing_adapter_is_a_user_error(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"adapter .*nothing could not be loaded.*adapter_config"):
        load_model(str(saved), adapter=tmp_path / "nothing", device="cpu")


def test_an_adapter_of_another_model_is_a_user_error(saved: Path, tmp_path: Path) -> None:
    config = LoraConfig(r=2, target_modules=["c_attn"])
    (tmp_path / "adapter_config.json").write_text(json.dumps(config.to_dict(), default=list))
    save_file({"x": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match="trained on this very base model"):
        load_model(str(saved), adapter=tmp_path, device="cpu")


def test_an_unknown_device_is_a_user_error(saved: Path) -> None:
    with pytest.raises(UserError, match="No device toaster"):
        load_model(str(saved), device="toaster")


def test_a_device_that_is_not_there_is_a_user_error(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*args: object) -> None:
        raise RuntimeError("CUDA out of memory\nmore lines")

    monkeypatch.setattr(nn.Module, "to", out_of_memory)
    with pytest.raises(UserError, match=r"on the device cpu \(CUDA out of memory\)"):
        load_model(str(saved), device="cpu")


def test_auto_takes_the_accelerator_only_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert load_module._place("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    assert load_module._place("auto") == torch.device("cuda")
    assert load_module._place("cpu") == torch.device("cpu")


def test_threads_that_load_at_once_leave_models_tied(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", tied=True)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: load_model(str(folder), device="cpu"), range(8)))
    model: Any = load_model(str(folder), device="cpu").model
    assert model.lm_head.weight is model.model.embed_tokens.weight
