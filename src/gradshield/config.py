"""The typed configuration of a run; `config.yaml` in a run folder is its resolved form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from gradshield.data import DEFAULT_PROFILE, FORMATS, Profile, make_profile
from gradshield.errors import UserError
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

DEFAULT_BETA = 0.1
"""Of preference losses, as in TRL."""


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
ProfileSettings = Annotated[SerializeAsAny[Profile], BeforeValidator(make_profile)]
"""A trainer profile with its settings; its name, or a mapping of these, makes one."""
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
    """How rows become examples.

    `max_length` is by default what the profile's trainer has for one. Settings that contradict each
    other raise a `UserError`.
    """

    format: FormatName = "auto"
    response: Literal["all", "last"] = "all"
    profile: ProfileSettings = Field(default_factory=lambda: make_profile(DEFAULT_PROFILE))
    max_length: int = Field(default=2048, ge=2)

    @model_validator(mode="before")
    @classmethod
    def _usual_length(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("max_length") is not None:
            return given
        profile = make_profile(given.get("profile", DEFAULT_PROFILE))
        return {**given, "profile": profile, "max_length": profile.usual_length}

    @model_validator(mode="after")
    def _fits_the_profile(self) -> DataSettings:
        if self.response == "last" and self.profile.name != DEFAULT_PROFILE:
            raise UserError(
                f"--response last belongs to the profile {DEFAULT_PROFILE}: {self.profile.name} "
                "decides itself which answers carry loss. Leave one of them out."
            )
        if self.format != "auto" and self.profile.reads is not None:
            raise UserError(
                f"--format {self.format}: the profile {self.profile.name} reads rows by fields of "
                f"its own ({self.profile.reads}). Leave --format out."
            )
        return self


class InputSettings(_Settings):
    """Which part of a data set with several is read."""

    split: str | None = None
    subset: str | None = None
    data_revision: str | None = None


class ScoringSettings(_Settings):
    """What FIHS is taken of, and how it is computed."""

    proxy: ProxyName = DEFAULT_PROXY
    modules: str = LATE_MLP
    probes_seed: int | None = Field(default=None, ge=0)
    take_out: TakeOut = DEFAULT_TAKE_OUT
    normalise: Normalisation = DEFAULT_NORMALISATION
    reduction: Reduction = DEFAULT_REDUCTION
    preference_loss: Literal["dpo", "ipo"] = "dpo"
    beta: float = Field(default=DEFAULT_BETA, gt=0, allow_inf_nan=False)
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
    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    scoring: ScoringSettings = ScoringSettings()
    threshold: ThresholdSettings = ThresholdSettings()
    on_reject: Literal["hold", "keep", "fail"] = "hold"
    action: Literal["drop", "annotate", "downweight", "mask"] = "drop"
    shards: int | None = Field(default=None, ge=1)
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
