"""Makes the golden masks by the real trainers, and LLaMA-Factory's templates.

Not run by the tests: the libraries are large, so install them without what they depend on, into an
environment of their own beside torch, transformers, datasets and peft:

    pip install --no-deps axolotl==0.19.0 llamafactory==0.9.5 unsloth_zoo==2026.10.9 \
        colorama addict pillow
    python -m tests.data.profiles.make_golden

Packages that they import and that have no part in making tokens (audio, telemetry, compilers) are
replaced by empty stand-ins in this script, where they are absent.
"""

from __future__ import annotations

import copy
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import MagicMock

from tests.data.profiles import cases
from tests.data.profiles.axolotl_cases import AXOLOTL_CASES
from tests.data.profiles.cases import Case, vocabulary_sha256
from tests.data.profiles.llamafactory_cases import LLAMAFACTORY_CASES
from tests.data.profiles.unsloth_cases import UNSLOTH_CASES

GOLDEN = Path(__file__).parent / "golden"
TEMPLATES = Path("src/gradshield/data/profiles/llamafactory/templates.json")
STAND_INS = ("posthog", "numba", "torchaudio", "omegaconf")


class StandIn(types.ModuleType):
    """A module without content, whose names are nothing and whose classes are empty."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {}) if name[:1].isupper() else MagicMock(name=name)


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for modules that nothing else finds."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname.split(".")[0] in STAND_INS:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> StandIn:
        return StandIn(spec.name)

    def exec_module(self, module: Any) -> None:
        """Nothing to do."""


def axolotl_labels(case: Case) -> dict[str, Any] | None:
    """Tokens and labels of a row, None if axolotl drops it."""
    from axolotl.utils.chat_templates import get_chat_template_from_config
    from axolotl.utils.data.utils import handle_long_seq_in_dataset
    from axolotl.utils.data.wrappers import get_dataset_wrapper
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.datasets import SFTDataset
    from datasets import Dataset
    from tokenizers import AddedToken

    tokenizer = copy.deepcopy(cases.tokenizer(case["tokenizer"]))
    config = copy.deepcopy(case["config"])
    given = config.pop("datasets")[0]
    # What axolotl's own checks of a configuration leave of it.
    entry = DictDefault(SFTDataset(**given).model_dump(exclude_none=True))
    cfg = DictDefault({"train_on_inputs": False, "sequence_len": 512, **config})
    for name, token in (config.get("special_tokens") or {}).items():
        tokenizer.add_special_tokens({name: AddedToken(token, rstrip=False, lstrip=False)})
    if config.get("chat_template"):  # as axolotl's loader of tokenizers does
        tokenizer.chat_template = get_chat_template_from_config(cfg, None, tokenizer)
    kind = entry["type"]
    base, _, style = kind.partition(":") if isinstance(kind, str) else (None, None, None)
    wrapped, _ = get_dataset_wrapper(
        entry, tokenizer, cfg, base, Dataset.from_list([case["row"]]), style or None
    )
    kept = handle_long_seq_in_dataset(wrapped, cfg.sequence_len, cfg)
    rows = list(kept)
    if len(rows) != 1:
        return None
    return {"input_ids": rows[0]["input_ids"], "labels": rows[0]["labels"]}


def llamafactory_labels(case: Case) -> dict[str, Any] | None:
    """Tokens and labels of a row, None if LLaMA-Factory drops it."""
    from llamafactory.data import template as template_module
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
    from llamafactory.hparams import DataArguments

    tokenizer = copy.deepcopy(cases.tokenizer(case["tokenizer"]))
    arguments = DataArguments(**case["training"])
    known = copy.deepcopy(template_module.TEMPLATES)
    try:
        template = template_module.get_template_and_fix_tokenizer(tokenizer, arguments)
        attributes = get_dataset_list(["rows"], {"rows": case["dataset_info"]})[0]
        converted = get_dataset_converter(attributes.formatting, attributes, arguments)(
            copy.deepcopy(case["row"])
        )
        processor = SupervisedDatasetProcessor(template, tokenizer, None, arguments)
        made = processor.preprocess_dataset({key: [value] for key, value in converted.items()})
    finally:
        template_module.TEMPLATES.clear()
        template_module.TEMPLATES.update(known)
    if not made.get("input_ids"):
        return None
    return {"input_ids": made["input_ids"][0], "labels": made["labels"][0]}


def unsloth_labels(case: Case) -> dict[str, Any] | None:
    """Tokens and labels of a row, as Unsloth's notebooks make them."""
    tokenizer = copy.deepcopy(cases.tokenizer(case["tokenizer"]))
    text = tokenizer.apply_chat_template(case["row"]["messages"], tokenize=False)
    bos = tokenizer.bos_token
    # As `sft_prepare_dataset` decides it.
    special = not (text.startswith(bos) or bos in tokenizer.chat_template)
    ids = tokenizer(text, add_special_tokens=special)["input_ids"][: case["max_length"]]
    mask = unsloth_function()(None, tokenizer=tokenizer, return_function=True, **case["arguments"])
    return {"input_ids": ids, "labels": mask({"input_ids": [ids]})["labels"][0]}


@cache
def unsloth_function() -> Any:
    """`train_on_responses_only`, without the package around it, which insists on a GPU."""
    spec = importlib.util.find_spec("unsloth_zoo")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = spec.submodule_search_locations[0]
    package = types.ModuleType("unsloth_zoo")
    package.__path__ = [folder]
    sys.modules["unsloth_zoo"] = package
    return importlib.import_module("unsloth_zoo.dataset_utils").train_on_responses_only


@dataclass(frozen=True)
class Golden:
    """What one library makes."""

    library: str
    labels: Any
    cases: Sequence[Case]

    def write(self) -> None:
        content = {
            "library": self.library,
            "version": version(self.library),
            "vocabulary_sha256": vocabulary_sha256(),
            "cases": [{**case, "golden": self.labels(case)} for case in self.cases],
        }
        lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in content["cases"])
        head = json.dumps({k: v for k, v in content.items() if k != "cases"})
        path = GOLDEN / f"{self.library}.json"
        path.write_text(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n', encoding="utf-8")
        print(path, len(self.cases))


def write_templates() -> None:
    """LLaMA-Factory's templates whose text parts are understood, with what text rows need."""
    from llamafactory.data import template as module

    kinds = {
        module.Template: {},
        module.Llama2Template: {"system_in_user": True},
        module.ReasoningTemplate: {"reasoning": True},
    }
    known = {}
    for name, template in module.TEMPLATES.items():
        pieces = {
            "user": _pieces(template.format_user.slots),
            "assistant": _pieces(template.format_assistant.slots),
            "system": _pieces(template.format_system.slots),
            "prefix": _pieces(template.format_prefix.slots),
        }
        if type(template) not in kinds or None in pieces.values():
            print("left out:", name)
            continue
        settings = {
            **pieces,
            "default_system": template.default_system,
            "stop_words": template.stop_words,
            "efficient_eos": template.efficient_eos,
            "replace_eos": template.replace_eos,
            "thought_words": list(template.thought_words),
            **kinds[type(template)],
        }
        defaults = {"thought_words": ["<think>\n", "\n</think>\n\n"], "system": ["{{content}}"]}
        known[name] = {
            key: value
            for key, value in settings.items()
            if value not in (False, "", []) and value != defaults.get(key)
        }
    lines = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(known[name], ensure_ascii=False)}"
        for name in sorted(known)
    )
    TEMPLATES.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    print(TEMPLATES, len(known))


def _pieces(slots: Sequence[Any]) -> list[Any] | None:
    """The pieces of a turn, None if one of them is more than text and a special token."""
    pieces: list[Any] = []
    for slot in slots:
        if isinstance(slot, set):
            pieces.append({"special": "bos" if "bos_token" in slot else "eos"})
        elif isinstance(slot, dict):
            pieces.append({"token": slot["token"]})
        elif "{{" in slot.replace("{{content}}", ""):
            return None
        else:
            pieces.append(slot)
    return pieces


if __name__ == "__main__":
    os.environ.update(AXOLOTL_DO_NOT_TRACK="1", DISABLE_VERSION_CHECK="1")
    sys.meta_path.append(StandIns())
    GOLDEN.mkdir(exist_ok=True)
    write_templates()
    for golden in (
        Golden("axolotl", axolotl_labels, AXOLOTL_CASES),
        Golden("llamafactory", llamafactory_labels, LLAMAFACTORY_CASES),
        Golden("unsloth_zoo", unsloth_labels, UNSLOTH_CASES),
    ):
        golden.write()
