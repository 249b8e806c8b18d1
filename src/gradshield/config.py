"""The typed configuration of a run; `config.yaml` in a run folder is its resolved form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from gradshield.data import FORMATS
from gradshield.evaluation.tasks import TASKS
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from gradshield.models.layers import LATE_MLP
from gradshield.models.load import DEFAULT_MODEL, DTypeName
from gradshield.probes.calibration import (
    DEFAULT_NORMALISATION,
    DEFAULT_TAKE_OUT,
    Normalisation,
    TakeOut,
)
from gradshield.probes.proxies import DEFAULT_PROXY, PROXIES
from gradshield.scoring.engines import ENGINES
from gradshield.scoring.engines.base import DEFAULT_REDUCTION, Reduction
from gradshield.threshold import DEFAULT_RULE, RULES


def _one_of(names: Iterable[str]) -> AfterValidator:
    known = tuple(names)

    def check(name: str) -> str:
        if name not in known:
            raise ValueError(f"unknown, choose one of {', '.join(known)}")
        return name

    return AfterValidator(check)


def _known_proxies(names: str) -> str:
    for name in names.split("+"):
        if name not in PROXIES:
            known = ", ".join(PROXIES)
            raise ValueError(
                f"unknown proxy {name}, choose one of {known}, or several joined by a plus"
            )
    return names


ProxyName = Annotated[str, AfterValidator(_known_proxies)]
EngineName = Annotated[str, _one_of(("auto", *ENGINES))]
RuleName = Annotated[str, _one_of(RULES)]
UtilityName = Annotated[str, _one_of(("held_out", *TASKS))]
FormatName = Annotated[str, _one_of(("auto", *(known.name for known in FORMATS)))]


def first_problem(fault: ValidationError) -> str:
    """The first thing that is wrong with settings: the field, if it is one's fault, and why."""
    first = fault.errors()[0]
    field = ".".join(map(str, first["loc"]))
    reason = first["msg"].removeprefix("Value error, ")
    return f"{field}: {reason}" if field else reason


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Settings):
    """Which model scores, and how its numbers are kept."""

    name: str = DEFAULT_MODEL
    adapter: str | None = None
    revision: str | None = None
    dtype: DTypeName = "auto"
    device: str = "auto"
    trust_remote_code: bool = False


class DataSettings(_Settings):
    """How rows become examples."""

    format: FormatName = "auto"
    response: Literal["all", "last"] = "all"
    max_length: int = Field(default=2048, ge=2)


class ScoringSettings(_Settings):
    """What FIHS is taken of, and how it is computed."""

    proxy: ProxyName = DEFAULT_PROXY
    modules: str = LATE_MLP
    probes_seed: int | None = Field(default=None, ge=0)
    take_out: TakeOut = DEFAULT_TAKE_OUT
    normalise: Normalisation = DEFAULT_NORMALISATION
    reduction: Reduction = DEFAULT_REDUCTION
    engine: EngineName = "auto"
    batch_tokens: int | None = Field(default=None, ge=1)
    compile: bool = False


class ThresholdSettings(_Settings):
    """How the threshold is chosen."""

    rule: RuleName = DEFAULT_RULE
    level: float = Field(default=0.02, gt=0, lt=1)
    seed: int = 0


class SearchSettings(_Settings):
    """How the threshold is searched for by finetuning, and with what."""

    target_asr: float = Field(default=0.06, gt=0, lt=1)
    utility_floor: float = Field(default=0.95, ge=0, le=1)
    tolerance: float = Field(default=0.03, gt=0, lt=1)
    max_finetunes: int = Field(default=8, ge=1)
    validation_prompts: int = Field(default=100, ge=10)
    validation_file: str | None = None
    answer_tokens: int = Field(default=32, ge=8)
    utility: UtilityName = "held_out"
    utility_data: str | None = None
    utility_items: int = Field(default=200, ge=1)
    training: TrainingSettings = TrainingSettings(learning_rate=1e-4, lora=LoraSettings())


class RunConfig(_Settings):
    """Everything that decides the outcome of `gradshield filter`."""

    data_path: str
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    scoring: ScoringSettings = ScoringSettings()
    threshold: ThresholdSettings = ThresholdSettings()
    on_reject: Literal["hold", "keep", "fail"] = "hold"
    action: Literal["drop", "annotate", "downweight"] = "drop"
    search: SearchSettings | None = None


class EvaluationConfig(_Settings):
    """What `gradshield evaluate` measures, and how."""

    model: ModelSettings = ModelSettings()
    aligned: str | None = None
    prompt_sets: tuple[str, ...] = ("harmful", "ordinary", "scary")
    harmful_prompts: tuple[str, ...] = ()
    harmless_prompts: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    public_data: str | None = None
    judges: tuple[str, ...] = ("refusal_phrases", "hidden_states")
    limit: int | None = Field(default=None, ge=1)
    answer_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = 0
