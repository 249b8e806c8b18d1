"""Made-up data files in the layout of the public data sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradshield.evaluation.generation import Answer
from tests.tiny_models import answer


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_json(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def sentiment(text: str, label: str) -> dict[str, str]:
    return {"instruction": "Positive or negative?", "input": text, "output": label}


def arc_question(key: str, labels: list[str]) -> dict[str, Any]:
    texts = ["rock", "cloud", "horse", "spoon"][: len(labels)]
    choices = {"text": texts, "label": labels}
    return {"id": f"q{key}", "question": "Which is alive?", "choices": choices, "answerKey": key}


def fixed_answers(texts: dict[str, str]) -> Callable[..., list[Answer]]:
    """A stand-in for `generate_answers` that looks each prompt up."""

    def generate(*args: Any, progress: Callable[[int], None], **options: Any) -> list[Answer]:
        prompts = args[2]
        progress(len(prompts))
        return [answer(texts[prompt], prompt) for prompt in prompts]

    return generate
