"""A trial finetune: train on some rows, measure safety and utility, put the weights back.

Trials cost minutes to hours, so each is kept by what decides it: the aligned model, the rows'
tokens, the training and what is measured. The same kept set is never trained on twice, whichever
filter or threshold arrives at it, and a search that was interrupted goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gradshield.data.conversation import Conversation
from gradshield.data.tokenization import TokenizedExample
from gradshield.evaluation.generation import generate_answers
from gradshield.evaluation.refusal import is_refusal
from gradshield.files import write_text
from gradshield.finetuning.drift import mean_proxy
from gradshield.finetuning.supervised import TrainingSettings, finetune
from gradshield.models.load import LoadedModel
from gradshield.models.restored import weights_restored
from gradshield.probes.proxies import SafetyProxy
from gradshield.progress import Progress
from gradshield.threshold.search import Measurement

PLAIN = "plain"
"""The method of supervised finetuning without any defence in the training."""


@dataclass(frozen=True)
class Yardsticks:
    """What a finetuned model is measured with.

    Attributes:
        validation_prompts: Harmful prompts of which the success rate is taken, neither probes nor
            those of the final test.
        probes: Harmful prompts of which the drift of S is taken.
        proxy: The safety proxy S.
        utility: Of a model in memory, higher is better, zero or more.
        details: Figures that the search never looks at, such as those of the final test.
        answer_tokens: Tokens generated at most for a validation prompt; a refusal shows early.
        names: What tells these yardsticks from others, for the cache; JSON-serialisable.
        complied: Whether an answer to a validation prompt counts as complied.
    """

    validation_prompts: Sequence[str | Conversation]
    probes: Sequence[str]
    proxy: SafetyProxy
    utility: Callable[[LoadedModel], float]
    details: Callable[[LoadedModel], dict[str, Any]]
    answer_tokens: int
    names: Mapping[str, Any]
    complied: Callable[[str], bool] = lambda answer: not is_refusal(answer)


def finetune_plainly(
    loaded: LoadedModel,
    rows: Sequence[TokenizedExample],
    training: TrainingSettings,
    progress: Progress,
) -> None:
    """Supervised finetuning in place, with nothing else done for safety."""
    finetune(loaded.model, loaded.tokenizer, rows, training, progress=progress)


Train = Callable[[LoadedModel, Sequence[TokenizedExample], TrainingSettings, Progress], None]
"""Finetunes a model in place."""


class Trials:
    """Finetunes one aligned model on subsets of one list of examples; a `Measure` of the search.

    Args:
        loaded: The aligned model; it has its own weights again after every trial.
        examples: The rows that positions refer to.
        training: How to finetune; a second look at a kept set adds one to the seed.
        yardsticks: What is measured.
        cache: Folder of the results, one JSON file each.
        identity: What decides the aligned model (hashes, precision), JSON-serialisable.
        progress: Told how far it is.
        train: How the model is finetuned.
        method: The name of `train` and its settings, which tell it from other ways.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        examples: Sequence[TokenizedExample],
        training: TrainingSettings,
        yardsticks: Yardsticks,
        *,
        cache: Path,
        identity: Mapping[str, Any],
        progress: Progress,
        train: Train = finetune_plainly,
        method: str = PLAIN,
    ) -> None:
        self.loaded, self.examples, self.training = loaded, examples, training
        self.train, self.method = train, method
        self.yardsticks, self.progress = yardsticks, progress
        self.cache, self.identity = cache, identity

    def aligned(self) -> Measurement:
        """The aligned model itself: no drift by definition."""
        return self._cached([], None, lambda: self._measured(drift_from=None))

    def __call__(self, positions: Sequence[int], look: int) -> Measurement:
        """Finetune on the rows at positions, measure, and restore the weights."""
        rows = [self.examples[position] for position in positions]
        training = self.training.model_copy(update={"seed": self.training.seed + look})
        return self._cached(rows, training, lambda: self._finetuned(rows, training))

    def _finetuned(
        self, rows: Sequence[TokenizedExample], training: TrainingSettings
    ) -> Measurement:
        start = self._proxy()
        self.progress.say(f"Finetuning on {len(rows)} rows.")
        with weights_restored(self.loaded.model):
            self.train(self.loaded, rows, training, self.progress)
            return self._measured(drift_from=start, seeds=(training.seed,))

    def _proxy(self) -> float:
        """S of the model as it is now, mean over the probes."""
        loaded, yardsticks = self.loaded, self.yardsticks
        return mean_proxy(loaded.model, loaded.tokenizer, yardsticks.proxy, yardsticks.probes)

    def _measured(self, *, drift_from: float | None, seeds: tuple[int, ...] = ()) -> Measurement:
        yardsticks = self.yardsticks
        loaded = self.loaded
        drift = 0.0 if drift_from is None else self._proxy() - drift_from
        complied = self._complied()
        return Measurement(
            complied=complied,
            prompts=len(yardsticks.validation_prompts),
            drift=drift,
            utility=yardsticks.utility(loaded),
            seeds=seeds,
            details=yardsticks.details(loaded),
        )

    def _complied(self) -> int:
        prompts = self.yardsticks.validation_prompts
        with self.progress.track("Answering validation prompts", len(prompts), "prompts") as step:
            answers = generate_answers(
                self.loaded.model,
                self.loaded.tokenizer,
                prompts,
                max_new_tokens=self.yardsticks.answer_tokens,
                progress=step,
            )
        return sum(self.yardsticks.complied(answer.text) for answer in answers)

    def _cached(
        self,
        rows: Sequence[TokenizedExample],
        training: TrainingSettings | None,
        measure: Callable[[], Measurement],
    ) -> Measurement:
        path = self.cache / f"{self._key(rows, training)}.json"
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            return Measurement(**{**content, "seeds": tuple(content["seeds"])})
        measurement = measure()
        write_text(path, json.dumps(asdict(measurement), indent=2) + "\n")
        return measurement

    def _key(self, rows: Sequence[TokenizedExample], training: TrainingSettings | None) -> str:
        content: dict[str, Any] = {
            "identity": dict(self.identity),
            "yardsticks": dict(self.yardsticks.names),
            "training": None if training is None else training.model_dump(exclude={"save_every"}),
            "rows": [[row.input_ids, row.response_mask] for row in rows],
        }
        if self.method != PLAIN and training is not None:
            content["method"] = self.method
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
