"""Models that cannot be scored with are refused before any long work."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from gradshield.data.load import TokenizedRows
from gradshield.errors import UserError
from gradshield.models import load_model
from gradshield.models.usable import check_usable, readable_by
from gradshield.shield import GradShield
from tests.tiny_models import chat_example, chat_tokenizer, save_tiny_model, tiny_llama


def check(model: PreTrainedModel) -> None:
    check_usable(model, chat_tokenizer(), "tiny")


def test_a_sound_model_passes_whatever_its_precision() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        check(tiny_llama().to(dtype))
    check(tiny_llama().requires_grad_(False))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "weight", ["model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.weight"]
)
def test_a_weight_that_is_no_number_is_named(weight: str, value: float) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.get_parameter(weight).view(-1)[7] = value
    with pytest.raises(UserError, match=f"The weight {weight} of the model tiny"):
        check(model)


def test_weights_beyond_the_range_of_float16(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"].mul_(1e6)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_model(str(folder), device="cpu").model.dtype == torch.float32
    with pytest.raises(UserError, match="float16 may lack the range, use --dtype float32"):
        load_model(str(folder), device="cpu", dtype="float16")


def test_weights_that_are_not_in_memory() -> None:
    model = tiny_llama()
    model.model.layers[1].to("meta")
    with pytest.raises(UserError, match=r"9 weights .* on the device 'meta'.*without offloading"):
        check(model)
    with pytest.raises(UserError, match="on the device 'meta'"):
        GradShield(model, chat_tokenizer())


def test_weights_made_without_a_way_to_gradients() -> None:
    with torch.inference_mode():
        model = tiny_llama()
    with pytest.raises(UserError, match=r"torch\.inference_mode"):
        check(model)


def test_packed_matrices_without_gradients() -> None:
    """What a layer of a quantised model looks like that transformers knows and torch does not."""

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("packed", torch.zeros(4, dtype=torch.int32))

    model = tiny_llama()
    for block in model.model.layers:
        block.self_attn = block.mlp = Packed()
    with pytest.raises(UserError, match="in a form that has no gradients"):
        check(model)


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_gguf_model_is_told_by_its_name(tmp_path: Path, place: str) -> None:
    gguf = tmp_path / "chat.gguf"
    gguf.write_bytes(b"GGUF")
    with pytest.raises(UserError, match="holds a GGUF model, whose packed weights have no grad"):
        load_model(str(gguf if place == "file" else tmp_path))


def test_a_file_of_the_model_in_place_of_its_folder(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    with pytest.raises(UserError, match="is a file, but a model is a folder"):
        load_model(str(folder / "model.safetensors"))


def test_the_meta_device_is_none_to_score_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device meta holds no numbers"):
        load_model(str(save_tiny_model(tmp_path / "model")), device="meta")


def test_a_tokenizer_of_a_larger_vocabulary(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    size = len(chat_tokenizer()) - 50
    tensors = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = tensors[name][:size].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": size}))
    message = f"has 50 tokens .* is {size}, .*, …. beyond the {size} that .* another model"
    with pytest.raises(UserError, match=message):
        load_model(str(folder), device="cpu")


def test_an_added_token_rejects_only_the_rows_that_spell_it() -> None:
    tokenizer = copy.deepcopy(chat_tokenizer())
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model = tiny_llama()
    check_usable(model, tokenizer, "tiny")
    added = len(tokenizer) - 1
    sound, spelt = chat_example(0, "Hi", "Hello"), chat_example(1, "Hi", "Hello")
    spelt = replace(spelt, input_ids=(*spelt.input_ids[:-1], added))
    found = readable_by(model, TokenizedRows([sound, spelt], [], {}, "", ()))
    assert found.examples == [sound]
    assert list(found.rejections) == [1]
    assert str(found.rejections[1]).startswith(
        f"unknown_token: it holds the token {added}, for which"
    )


def test_code_beside_a_model_is_not_run_unasked(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "unheard-of", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}
    config["auto_map"]["AutoConfig"] = "evil.Config"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="could not be loaded"):
        load_model(str(folder), device="cpu")
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_weights_is_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(tmp_path / "ran"), "w")

    folder = save_tiny_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"x": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="could not be loaded"):
        load_model(str(folder), device="cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", ["[1]", "{", '{"model_type": 3}', '{"model_type": "llama", "hidden_size": "x"}']
)
def test_a_damaged_configuration_is_told_in_one_line(tmp_path: Path, content: str) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match="could not be loaded") as fault:
        load_model(str(folder), device="cpu")
    assert "\n" not in str(fault.value)
